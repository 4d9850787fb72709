`ifndef DARB_PRIMITIVES
// Two banks side by side with one address: a cycle writes banks, or reads both.
module darb_paired_ram #(
    parameter WIDTH = 8,
    parameter DEPTH = 2,
    parameter ADDRESS = 1
) (
    input  wire               clk,
    input  wire [2-1:0]       write_enable,
    input  wire [ADDRESS-1:0] address,
    input  wire [2*WIDTH-1:0] write_data,
    output reg  [2*WIDTH-1:0] read_data
);
    reg [WIDTH-1:0] first [0:DEPTH-1];
    reg [WIDTH-1:0] second [0:DEPTH-1];
    reg [2*WIDTH-1:0] fetched;
    always @(posedge clk) begin
        if (write_enable[0]) first[address] <= write_data[WIDTH-1:0];
        if (write_enable[1]) second[address] <= write_data[2*WIDTH-1:WIDTH];
        if (!write_enable) fetched <= {second[address], first[address]};
        read_data <= fetched;
    end
endmodule
`endif
