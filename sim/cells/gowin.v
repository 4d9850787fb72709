// Models of cells that Yosys only has as black boxes, for simulating netlists. They know what our designs use, and
// stop the simulation at anything else.

// The contents of a block RAM: 64 parameters of 32 bytes.
`define DARB_CONTENTS(BITS) parameter [BITS-1:0] \
    INIT_RAM_00 = 0, INIT_RAM_01 = 0, INIT_RAM_02 = 0, INIT_RAM_03 = 0, INIT_RAM_04 = 0, INIT_RAM_05 = 0, \
    INIT_RAM_06 = 0, INIT_RAM_07 = 0, INIT_RAM_08 = 0, INIT_RAM_09 = 0, INIT_RAM_0A = 0, INIT_RAM_0B = 0, \
    INIT_RAM_0C = 0, INIT_RAM_0D = 0, INIT_RAM_0E = 0, INIT_RAM_0F = 0, INIT_RAM_10 = 0, INIT_RAM_11 = 0, \
    INIT_RAM_12 = 0, INIT_RAM_13 = 0, INIT_RAM_14 = 0, INIT_RAM_15 = 0, INIT_RAM_16 = 0, INIT_RAM_17 = 0, \
    INIT_RAM_18 = 0, INIT_RAM_19 = 0, INIT_RAM_1A = 0, INIT_RAM_1B = 0, INIT_RAM_1C = 0, INIT_RAM_1D = 0, \
    INIT_RAM_1E = 0, INIT_RAM_1F = 0, INIT_RAM_20 = 0, INIT_RAM_21 = 0, INIT_RAM_22 = 0, INIT_RAM_23 = 0, \
    INIT_RAM_24 = 0, INIT_RAM_25 = 0, INIT_RAM_26 = 0, INIT_RAM_27 = 0, INIT_RAM_28 = 0, INIT_RAM_29 = 0, \
    INIT_RAM_2A = 0, INIT_RAM_2B = 0, INIT_RAM_2C = 0, INIT_RAM_2D = 0, INIT_RAM_2E = 0, INIT_RAM_2F = 0, \
    INIT_RAM_30 = 0, INIT_RAM_31 = 0, INIT_RAM_32 = 0, INIT_RAM_33 = 0, INIT_RAM_34 = 0, INIT_RAM_35 = 0, \
    INIT_RAM_36 = 0, INIT_RAM_37 = 0, INIT_RAM_38 = 0, INIT_RAM_39 = 0, INIT_RAM_3A = 0, INIT_RAM_3B = 0, \
    INIT_RAM_3C = 0, INIT_RAM_3D = 0, INIT_RAM_3E = 0, INIT_RAM_3F = 0;
`define DARB_ALL_CONTENTS { \
    INIT_RAM_3F, INIT_RAM_3E, INIT_RAM_3D, INIT_RAM_3C, INIT_RAM_3B, INIT_RAM_3A, INIT_RAM_39, INIT_RAM_38, \
    INIT_RAM_37, INIT_RAM_36, INIT_RAM_35, INIT_RAM_34, INIT_RAM_33, INIT_RAM_32, INIT_RAM_31, INIT_RAM_30, \
    INIT_RAM_2F, INIT_RAM_2E, INIT_RAM_2D, INIT_RAM_2C, INIT_RAM_2B, INIT_RAM_2A, INIT_RAM_29, INIT_RAM_28, \
    INIT_RAM_27, INIT_RAM_26, INIT_RAM_25, INIT_RAM_24, INIT_RAM_23, INIT_RAM_22, INIT_RAM_21, INIT_RAM_20, \
    INIT_RAM_1F, INIT_RAM_1E, INIT_RAM_1D, INIT_RAM_1C, INIT_RAM_1B, INIT_RAM_1A, INIT_RAM_19, INIT_RAM_18, \
    INIT_RAM_17, INIT_RAM_16, INIT_RAM_15, INIT_RAM_14, INIT_RAM_13, INIT_RAM_12, INIT_RAM_11, INIT_RAM_10, \
    INIT_RAM_0F, INIT_RAM_0E, INIT_RAM_0D, INIT_RAM_0C, INIT_RAM_0B, INIT_RAM_0A, INIT_RAM_09, INIT_RAM_08, \
    INIT_RAM_07, INIT_RAM_06, INIT_RAM_05, INIT_RAM_04, INIT_RAM_03, INIT_RAM_02, INIT_RAM_01, INIT_RAM_00}

module SP (
    input  CLK, CE, OCE, WRE, RESET,
    input  [2:0] BLKSEL,
    input  [13:0] AD,
    input  [31:0] DI,
    output [31:0] DO
);
    parameter BIT_WIDTH = 32;
    parameter READ_MODE = 1'b0;
    parameter WRITE_MODE = 0;
    parameter BLK_SEL = 3'b000;
    parameter RESET_MODE = "SYNC";
    `DARB_CONTENTS(256)

    wire [35:0] read;
    assign DO = {read[34:27], read[25:18], read[16:9], read[7:0]};
    always @(posedge CLK)
        if (RESET !== 1'b0 || BLKSEL !== BLK_SEL) $fatal(1, "SP: reset and block select are not modelled");
    wire [35:0] data = {1'b0, DI[31:24], 1'b0, DI[23:16], 1'b0, DI[15:8], 1'b0, DI[7:0]};
    darb_bsram #(
        .WIDTH_A(BIT_WIDTH), .WIDTH_B(BIT_WIDTH), .READ_MODE_A(READ_MODE), .WRITE_MODE_A(WRITE_MODE), .BYTE(8),
        .CONTENTS(`DARB_ALL_CONTENTS)
    ) block (
        .clk_a(CLK), .ce_a(CE), .oce_a(OCE), .write_a(WRE), .ad_a(AD), .di_a(data), .do_a(read),
        .clk_b(1'b0), .ce_b(1'b0), .oce_b(1'b0), .write_b(1'b0), .ad_b(14'd0), .di_b(36'd0), .do_b()
    );
endmodule

module SPX9 (
    input  CLK, CE, OCE, WRE, RESET,
    input  [2:0] BLKSEL,
    input  [13:0] AD,
    input  [35:0] DI,
    output [35:0] DO
);
    parameter BIT_WIDTH = 36;
    parameter READ_MODE = 1'b0;
    parameter WRITE_MODE = 0;
    parameter BLK_SEL = 3'b000;
    parameter RESET_MODE = "SYNC";
    `DARB_CONTENTS(288)

    wire [35:0] read;
    assign DO = read;
    always @(posedge CLK)
        if (RESET !== 1'b0 || BLKSEL !== BLK_SEL) $fatal(1, "SPX9: reset and block select are not modelled");
    darb_bsram #(
        .WIDTH_A(BIT_WIDTH), .WIDTH_B(BIT_WIDTH), .READ_MODE_A(READ_MODE), .WRITE_MODE_A(WRITE_MODE), .BYTE(9),
        .CONTENTS(`DARB_ALL_CONTENTS)
    ) block (
        .clk_a(CLK), .ce_a(CE), .oce_a(OCE), .write_a(WRE), .ad_a(AD), .di_a(DI), .do_a(read),
        .clk_b(1'b0), .ce_b(1'b0), .oce_b(1'b0), .write_b(1'b0), .ad_b(14'd0), .di_b(36'd0), .do_b()
    );
endmodule

module SDPB (
    input  CLKA, CEA, RESETA, CLKB, CEB, OCE, RESETB,
    input  [2:0] BLKSELA, BLKSELB,
    input  [13:0] ADA, ADB,
    input  [31:0] DI,
    output [31:0] DO
);
    parameter BIT_WIDTH_0 = 32;
    parameter BIT_WIDTH_1 = 32;
    parameter READ_MODE = 1'b0;
    parameter BLK_SEL_0 = 3'b000;
    parameter BLK_SEL_1 = 3'b000;
    parameter RESET_MODE = "SYNC";
    `DARB_CONTENTS(256)

    wire [35:0] read;
    assign DO = {read[34:27], read[25:18], read[16:9], read[7:0]};
    always @(posedge CLKB)
        if (RESETA !== 1'b0 || RESETB !== 1'b0 || BLKSELA !== BLK_SEL_0 || BLKSELB !== BLK_SEL_1)
            $fatal(1, "SDPB: reset and block select are not modelled");
    wire [35:0] data = {1'b0, DI[31:24], 1'b0, DI[23:16], 1'b0, DI[15:8], 1'b0, DI[7:0]};
    darb_bsram #(
        .WIDTH_A(BIT_WIDTH_0), .WIDTH_B(BIT_WIDTH_1), .READ_MODE_B(READ_MODE), .BYTE(8), .CONTENTS(`DARB_ALL_CONTENTS)
    ) block (
        .clk_a(CLKA), .ce_a(CEA), .oce_a(1'b0), .write_a(1'b1), .ad_a(ADA), .di_a(data), .do_a(),
        .clk_b(CLKB), .ce_b(CEB), .oce_b(OCE), .write_b(1'b0), .ad_b(ADB), .di_b(36'd0), .do_b(read)
    );
endmodule

module SDPX9B (
    input  CLKA, CEA, RESETA, CLKB, CEB, OCE, RESETB,
    input  [2:0] BLKSELA, BLKSELB,
    input  [13:0] ADA, ADB,
    input  [35:0] DI,
    output [35:0] DO
);
    parameter BIT_WIDTH_0 = 36;
    parameter BIT_WIDTH_1 = 36;
    parameter READ_MODE = 1'b0;
    parameter BLK_SEL_0 = 3'b000;
    parameter BLK_SEL_1 = 3'b000;
    parameter RESET_MODE = "SYNC";
    `DARB_CONTENTS(288)

    wire [35:0] read;
    assign DO = read;
    always @(posedge CLKB)
        if (RESETA !== 1'b0 || RESETB !== 1'b0 || BLKSELA !== BLK_SEL_0 || BLKSELB !== BLK_SEL_1)
            $fatal(1, "SDPX9B: reset and block select are not modelled");
    darb_bsram #(
        .WIDTH_A(BIT_WIDTH_0), .WIDTH_B(BIT_WIDTH_1), .READ_MODE_B(READ_MODE), .BYTE(9), .CONTENTS(`DARB_ALL_CONTENTS)
    ) block (
        .clk_a(CLKA), .ce_a(CEA), .oce_a(1'b0), .write_a(1'b1), .ad_a(ADA), .di_a(DI), .do_a(),
        .clk_b(CLKB), .ce_b(CEB), .oce_b(OCE), .write_b(1'b0), .ad_b(ADB), .di_b(36'd0), .do_b(read)
    );
endmodule

module DPB (
    input  CLKA, CEA, OCEA, WREA, RESETA, CLKB, CEB, OCEB, WREB, RESETB,
    input  [2:0] BLKSELA, BLKSELB,
    input  [13:0] ADA, ADB,
    input  [15:0] DIA, DIB,
    output [15:0] DOA, DOB
);
    parameter BIT_WIDTH_0 = 16;
    parameter BIT_WIDTH_1 = 16;
    parameter READ_MODE0 = 1'b0;
    parameter READ_MODE1 = 1'b0;
    parameter WRITE_MODE0 = 0;
    parameter WRITE_MODE1 = 0;
    parameter BLK_SEL_0 = 3'b000;
    parameter BLK_SEL_1 = 3'b000;
    parameter RESET_MODE = "SYNC";
    `DARB_CONTENTS(256)

    wire [35:0] read_a, read_b;
    assign DOA = {read_a[16:9], read_a[7:0]};
    assign DOB = {read_b[16:9], read_b[7:0]};
    always @(posedge CLKA)
        if (RESETA !== 1'b0 || RESETB !== 1'b0 || BLKSELA !== BLK_SEL_0 || BLKSELB !== BLK_SEL_1)
            $fatal(1, "DPB: reset and block select are not modelled");
    wire [35:0] data_a = {1'b0, DIA[15:8], 1'b0, DIA[7:0]};
    wire [35:0] data_b = {1'b0, DIB[15:8], 1'b0, DIB[7:0]};
    darb_bsram #(
        .WIDTH_A(BIT_WIDTH_0), .WIDTH_B(BIT_WIDTH_1), .READ_MODE_A(READ_MODE0), .READ_MODE_B(READ_MODE1),
        .WRITE_MODE_A(WRITE_MODE0), .WRITE_MODE_B(WRITE_MODE1), .BYTE(8), .CONTENTS(`DARB_ALL_CONTENTS)
    ) block (
        .clk_a(CLKA), .ce_a(CEA), .oce_a(OCEA), .write_a(WREA), .ad_a(ADA), .di_a(data_a), .do_a(read_a),
        .clk_b(CLKB), .ce_b(CEB), .oce_b(OCEB), .write_b(WREB), .ad_b(ADB), .di_b(data_b), .do_b(read_b)
    );
endmodule

module DPX9B (
    input  CLKA, CEA, OCEA, WREA, RESETA, CLKB, CEB, OCEB, WREB, RESETB,
    input  [2:0] BLKSELA, BLKSELB,
    input  [13:0] ADA, ADB,
    input  [17:0] DIA, DIB,
    output [17:0] DOA, DOB
);
    parameter BIT_WIDTH_0 = 18;
    parameter BIT_WIDTH_1 = 18;
    parameter READ_MODE0 = 1'b0;
    parameter READ_MODE1 = 1'b0;
    parameter WRITE_MODE0 = 0;
    parameter WRITE_MODE1 = 0;
    parameter BLK_SEL_0 = 3'b000;
    parameter BLK_SEL_1 = 3'b000;
    parameter RESET_MODE = "SYNC";
    `DARB_CONTENTS(288)

    wire [35:0] read_a, read_b;
    assign DOA = read_a[17:0];
    assign DOB = read_b[17:0];
    always @(posedge CLKA)
        if (RESETA !== 1'b0 || RESETB !== 1'b0 || BLKSELA !== BLK_SEL_0 || BLKSELB !== BLK_SEL_1)
            $fatal(1, "DPX9B: reset and block select are not modelled");
    darb_bsram #(
        .WIDTH_A(BIT_WIDTH_0), .WIDTH_B(BIT_WIDTH_1), .READ_MODE_A(READ_MODE0), .READ_MODE_B(READ_MODE1),
        .WRITE_MODE_A(WRITE_MODE0), .WRITE_MODE_B(WRITE_MODE1), .BYTE(9), .CONTENTS(`DARB_ALL_CONTENTS)
    ) block (
        .clk_a(CLKA), .ce_a(CEA), .oce_a(OCEA), .write_a(WREA), .ad_a(ADA), .di_a({18'd0, DIA}), .do_a(read_a),
        .clk_b(CLKB), .ce_b(CEB), .oce_b(OCEB), .write_b(WREB), .ad_b(ADB), .di_b({18'd0, DIB}), .do_b(read_b)
    );
endmodule

// Multiplier, after Gowin UG287 (DSP user guide): registers at the operands, within, and at the product, each there or
// not. Operands come from the fabric.
module MULT18X18 (
    input  CLK, CE, RESET, ASIGN, BSIGN, ASEL, BSEL,
    input  [17:0] A, B, SIA, SIB,
    output [35:0] DOUT,
    output [17:0] SOA, SOB
);
    parameter AREG = 1'b0;
    parameter BREG = 1'b0;
    parameter OUT_REG = 1'b0;
    parameter PIPE_REG = 1'b0;
    parameter ASIGN_REG = 1'b0;
    parameter BSIGN_REG = 1'b0;
    parameter SOA_REG = 1'b0;
    parameter MULT_RESET_MODE = "SYNC";

    initial
        if (ASIGN_REG || BSIGN_REG || SOA_REG) $fatal(1, "MULT18X18: registers of signs and cascades are not modelled");
    always @(ASEL or BSEL)
        if (ASEL !== 1'b0 || BSEL !== 1'b0) $fatal(1, "MULT18X18: cascades are not modelled");

    reg [17:0] held_a, held_b;
    wire [17:0] at_a = AREG ? held_a : A;
    wire [17:0] at_b = BREG ? held_b : B;
    wire signed [35:0] wide_a = {{18{ASIGN & at_a[17]}}, at_a};
    wire signed [35:0] wide_b = {{18{BSIGN & at_b[17]}}, at_b};
    wire [35:0] product = wide_a * wide_b;
    reg [35:0] held_product, held_p;
    wire [35:0] passed = PIPE_REG ? held_product : product;
    assign DOUT = OUT_REG ? held_p : passed;

    always @(posedge CLK) begin
        if (RESET !== 1'b0) $fatal(1, "MULT18X18: reset is not modelled");
        if (CE) begin
            held_a <= A;
            held_b <= B;
            held_product <= product;
            held_p <= passed;
        end
    end
endmodule
