// A single-port RAM holds both banks, a byte each. It has no contents at power-up.
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
    wire [13:0] at = address;
    wire [7:0] low = write_data[WIDTH-1:0];
    wire [7:0] high = write_data[2*WIDTH-1:WIDTH];
    wire [15:0] fetched;
    SB_SPRAM256KA block (
        .CLOCK(clk), .ADDRESS(at), .DATAIN({high, low}), .DATAOUT(fetched), .WREN(|write_enable),
        .MASKWREN({{2{write_enable[1]}}, {2{write_enable[0]}}}), .CHIPSELECT(1'b1),
        .STANDBY(1'b0), .SLEEP(1'b0), .POWEROFF(1'b1)
    );
    always @(posedge clk) read_data <= {fetched[8+WIDTH-1:8], fetched[WIDTH-1:0]};
endmodule
