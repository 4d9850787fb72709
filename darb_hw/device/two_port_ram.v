// Memory with two ports that read, of which port A writes as well. Tools infer a block RAM with two ports.
module darb_shared_ram #(
    parameter WIDTH = 8,
    parameter DEPTH = 2,
    parameter ADDRESS = 1,
    parameter FILE = ""
) (
    input  wire               clk,
    input  wire               write_enable,
    input  wire [WIDTH-1:0]   write_data,
    input  wire [ADDRESS-1:0] address_a,
    output reg  [WIDTH-1:0]   read_data_a,
    input  wire [ADDRESS-1:0] address_b,
    output reg  [WIDTH-1:0]   read_data_b
);
    // The schedule never reads an address in the cycle that writes it.
    (* no_rw_check *)
    reg [WIDTH-1:0] words [0:DEPTH-1];
    reg [WIDTH-1:0] fetched_a, fetched_b;
    generate
        if (FILE != "") begin : contents
            initial $readmemh(FILE, words);
        end
    endgenerate
    always @(posedge clk) begin
        if (write_enable) words[address_a] <= write_data;
        fetched_a <= words[address_a];
        fetched_b <= words[address_b];
        read_data_a <= fetched_a;
        read_data_b <= fetched_b;
    end
endmodule
