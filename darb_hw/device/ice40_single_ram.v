// Single-port RAMs: beside each other for 16 bits each, behind each other for 16K words each. They have no contents at
// power-up.
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
    localparam COLUMNS = (WIDTH + 15) / 16;
    localparam ROWS = (DEPTH + 16383) / 16384;
    wire [31:0] at = write_enable ? write_address : read_address;
    wire [16*COLUMNS-1:0] written = write_data;
    wire [16*COLUMNS*ROWS-1:0] fetched;
    reg [17:0] row;
    genvar r, c;
    generate
        for (r = 0; r < ROWS; r = r + 1) begin : rows
            for (c = 0; c < COLUMNS; c = c + 1) begin : columns
                SB_SPRAM256KA block (
                    .CLOCK(clk), .ADDRESS(at[13:0]), .DATAIN(written[16*c +: 16]),
                    .DATAOUT(fetched[16*(COLUMNS*r+c) +: 16]), .WREN(write_enable & (at[31:14] == r)),
                    .MASKWREN(4'b1111), .CHIPSELECT(1'b1), .STANDBY(1'b0), .SLEEP(1'b0), .POWEROFF(1'b1)
                );
            end
        end
    endgenerate
    always @(posedge clk) begin
        row <= at[31:14];
        read_data <= fetched[16*COLUMNS*row +: WIDTH];
    end
endmodule
