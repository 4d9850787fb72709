// Block RAM of the iCE40 family as a ROM: 16 bits x 256 words, or narrower words, of which several share 16 bits.
//
// MODE 0 to 3: words of 16, 8, 4 and 2 bits. The address bits above the lowest eight choose among those that share 16.
// CONTENTS: 256 rows of 16 bits, the first one lowest.
module darb_sb_rom #(
    parameter MODE = 0,
    parameter [4095:0] CONTENTS = 4096'd0
) (
    input  wire        clk,
    input  wire [10:0] address,
    output wire [15:0] q
);
    SB_RAM40_4K #(
        .READ_MODE(MODE), .WRITE_MODE(MODE),
        .INIT_0(CONTENTS[0 * 256 +: 256]), .INIT_1(CONTENTS[1 * 256 +: 256]),
        .INIT_2(CONTENTS[2 * 256 +: 256]), .INIT_3(CONTENTS[3 * 256 +: 256]),
        .INIT_4(CONTENTS[4 * 256 +: 256]), .INIT_5(CONTENTS[5 * 256 +: 256]),
        .INIT_6(CONTENTS[6 * 256 +: 256]), .INIT_7(CONTENTS[7 * 256 +: 256]),
        .INIT_8(CONTENTS[8 * 256 +: 256]), .INIT_9(CONTENTS[9 * 256 +: 256]),
        .INIT_A(CONTENTS[10 * 256 +: 256]), .INIT_B(CONTENTS[11 * 256 +: 256]),
        .INIT_C(CONTENTS[12 * 256 +: 256]), .INIT_D(CONTENTS[13 * 256 +: 256]),
        .INIT_E(CONTENTS[14 * 256 +: 256]), .INIT_F(CONTENTS[15 * 256 +: 256])
    ) block (
        .RCLK(clk), .RCLKE(1'b1), .RE(1'b1), .RADDR(address), .RDATA(q),
        .WCLK(1'b0), .WCLKE(1'b0), .WE(1'b0), .WADDR(11'd0), .MASK(16'd0), .WDATA(16'd0)
    );
endmodule
