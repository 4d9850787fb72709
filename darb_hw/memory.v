// Memories of the generated engine. Both have a read latency of two cycles (array, then output register), so
// that block RAMs never drive logic directly. And a register that synthesis keeps.

module darb_rom #(
    parameter WIDTH = 8,
    parameter DEPTH = 2,
    parameter ADDRESS = 1,
    parameter FILE = ""
) (
    input  wire               clk,
    input  wire [ADDRESS-1:0] address,
    output reg  [WIDTH-1:0]   data
);
    reg [WIDTH-1:0] words [0:DEPTH-1];
    reg [WIDTH-1:0] fetched;
    // Without a file (the module looked at on its own, before its parameters are known) there is nothing to read.
    generate
        if (FILE != "") begin : contents
            initial $readmemh(FILE, words);
        end
    endgenerate
    always @(posedge clk) begin
        fetched <= words[address];
        data <= fetched;
    end
endmodule

module darb_ram #(
    parameter WIDTH = 8,
    parameter DEPTH = 2,
    parameter ADDRESS = 1,
    parameter FILE = ""
) (
    input  wire               clk,
    input  wire               write_enable,
    input  wire [ADDRESS-1:0] write_address,
    input  wire [WIDTH-1:0]   write_data,
    input  wire               read_enable,
    input  wire [ADDRESS-1:0] read_address,
    output reg  [WIDTH-1:0]   read_data
);
    // The schedule never reads an address in the cycle that writes it.
    (* no_rw_check *)
    reg [WIDTH-1:0] words [0:DEPTH-1];
    reg [WIDTH-1:0] fetched;
    // A memory that is written before it is read needs no contents at power-up.
    generate
        if (FILE != "") begin : contents
            initial $readmemh(FILE, words);
        end
    endgenerate
    always @(posedge clk) begin
        if (write_enable) words[write_address] <= write_data;
        if (read_enable) begin
            fetched <= words[read_address];
            read_data <= fetched;
        end
    end
endmodule

// One of several registers that hold the same, each for a part of the readers. The attribute of the signal is for
// other tools: Yosys merges equal registers unless the cell that the block becomes has it.
module darb_copy #(
    parameter WIDTH = 1
) (
    input  wire             clk,
    input  wire [WIDTH-1:0] i,
    output wire [WIDTH-1:0] o
);
    (* keep *)
    reg [WIDTH-1:0] copy = 0;
    assign o = copy;
    (* keep *)
    always @(posedge clk) copy <= i;
endmodule
