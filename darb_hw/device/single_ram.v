`ifndef DARB_PRIMITIVES
// One port: a cycle writes or reads. It has no contents at power-up.
module darb_single_ram #(
    parameter WIDTH = 8,
    parameter DEPTH = 2,
    parameter ADDRESS = 1
) (
    input  wire               clk,
    input  wire               write_enable,
    input  wire [ADDRESS-1:0] write_address,
    input  wire [WIDTH-1:0]   write_data,
    input  wire [ADDRESS-1:0] read_address,
    output reg  [WIDTH-1:0]   read_data
);
    reg [WIDTH-1:0] memory [0:DEPTH-1];
    reg [WIDTH-1:0] fetched;
    always @(posedge clk) begin
        if (write_enable) memory[write_address] <= write_data;
        else fetched <= memory[read_address];
        read_data <= fetched;
    end
endmodule
`endif
