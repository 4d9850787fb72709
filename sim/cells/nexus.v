// Models of cells that Yosys only has as black boxes, for simulating netlists. They know what our designs use, and
// stop the simulation at anything else.

// The contents of a block RAM: 64 texts of 32 bytes, hexadecimal, a byte in ten bits.
`define DARB_CONTENTS parameter [655:0] \
    INITVAL_00 = 0, INITVAL_01 = 0, INITVAL_02 = 0, INITVAL_03 = 0, INITVAL_04 = 0, INITVAL_05 = 0, INITVAL_06 = 0, \
    INITVAL_07 = 0, INITVAL_08 = 0, INITVAL_09 = 0, INITVAL_0A = 0, INITVAL_0B = 0, INITVAL_0C = 0, INITVAL_0D = 0, \
    INITVAL_0E = 0, INITVAL_0F = 0, INITVAL_10 = 0, INITVAL_11 = 0, INITVAL_12 = 0, INITVAL_13 = 0, INITVAL_14 = 0, \
    INITVAL_15 = 0, INITVAL_16 = 0, INITVAL_17 = 0, INITVAL_18 = 0, INITVAL_19 = 0, INITVAL_1A = 0, INITVAL_1B = 0, \
    INITVAL_1C = 0, INITVAL_1D = 0, INITVAL_1E = 0, INITVAL_1F = 0, INITVAL_20 = 0, INITVAL_21 = 0, INITVAL_22 = 0, \
    INITVAL_23 = 0, INITVAL_24 = 0, INITVAL_25 = 0, INITVAL_26 = 0, INITVAL_27 = 0, INITVAL_28 = 0, INITVAL_29 = 0, \
    INITVAL_2A = 0, INITVAL_2B = 0, INITVAL_2C = 0, INITVAL_2D = 0, INITVAL_2E = 0, INITVAL_2F = 0, INITVAL_30 = 0, \
    INITVAL_31 = 0, INITVAL_32 = 0, INITVAL_33 = 0, INITVAL_34 = 0, INITVAL_35 = 0, INITVAL_36 = 0, INITVAL_37 = 0, \
    INITVAL_38 = 0, INITVAL_39 = 0, INITVAL_3A = 0, INITVAL_3B = 0, INITVAL_3C = 0, INITVAL_3D = 0, INITVAL_3E = 0, \
    INITVAL_3F = 0;
`define DARB_ALL_CONTENTS { \
    INITVAL_3F, INITVAL_3E, INITVAL_3D, INITVAL_3C, INITVAL_3B, INITVAL_3A, INITVAL_39, INITVAL_38, \
    INITVAL_37, INITVAL_36, INITVAL_35, INITVAL_34, INITVAL_33, INITVAL_32, INITVAL_31, INITVAL_30, \
    INITVAL_2F, INITVAL_2E, INITVAL_2D, INITVAL_2C, INITVAL_2B, INITVAL_2A, INITVAL_29, INITVAL_28, \
    INITVAL_27, INITVAL_26, INITVAL_25, INITVAL_24, INITVAL_23, INITVAL_22, INITVAL_21, INITVAL_20, \
    INITVAL_1F, INITVAL_1E, INITVAL_1D, INITVAL_1C, INITVAL_1B, INITVAL_1A, INITVAL_19, INITVAL_18, \
    INITVAL_17, INITVAL_16, INITVAL_15, INITVAL_14, INITVAL_13, INITVAL_12, INITVAL_11, INITVAL_10, \
    INITVAL_0F, INITVAL_0E, INITVAL_0D, INITVAL_0C, INITVAL_0B, INITVAL_0A, INITVAL_09, INITVAL_08, \
    INITVAL_07, INITVAL_06, INITVAL_05, INITVAL_04, INITVAL_03, INITVAL_02, INITVAL_01, INITVAL_00}

// A block RAM whose words are told in texts: X18 is 18 bits.
module darb_ebr #(
    parameter [23:0] WIDTH_A = "X18",
    parameter [23:0] WIDTH_B = "X18",
    parameter [64*656-1:0] TEXTS = 0
) (
    input  wire        clk_a, ce_a, write_a,
    input  wire [13:0] ad_a,
    input  wire [35:0] di_a,
    output wire [35:0] do_a,
    input  wire        clk_b, ce_b, write_b,
    input  wire [13:0] ad_b,
    input  wire [35:0] di_b,
    output wire [35:0] do_b
);
    function [3:0] digit(input [7:0] text);
        digit = text >= "a" ? text - "a" + 10 : text >= "A" ? text - "A" + 10 : text - "0";
    endfunction
    function integer width(input [23:0] text);
        width = text[15:8] == "X" ? digit(text[7:0]) : 10 * digit(text[15:8]) + digit(text[7:0]);
    endfunction
    function [64*32*9-1:0] contents(input [64*656-1:0] texts);
        integer line, n;
        reg [319:0] bits;
        for (line = 0; line < 64; line = line + 1) begin
            for (n = 0; n < 80; n = n + 1) bits[n * 4 +: 4] = digit(texts[line * 656 + n * 8 +: 8]);
            for (n = 0; n < 32; n = n + 1) contents[(line * 32 + n) * 9 +: 9] = bits[n * 10 +: 9];
        end
    endfunction
    darb_bsram #(.WIDTH_A(width(WIDTH_A)), .WIDTH_B(width(WIDTH_B)), .CONTENTS(contents(TEXTS))) block (
        .clk_a(clk_a), .ce_a(ce_a), .oce_a(1'b0), .write_a(write_a), .ad_a(ad_a), .di_a(di_a), .do_a(do_a),
        .clk_b(clk_b), .ce_b(ce_b), .oce_b(1'b0), .write_b(write_b), .ad_b(ad_b), .di_b(di_b), .do_b(do_b)
    );
endmodule

module DP16K (
    input  CLKA, CEA, WEA, RSTA, CLKB, CEB, WEB, RSTB,
    input  [2:0] CSA, CSB,
    input  [13:0] ADA, ADB,
    input  [17:0] DIA, DIB,
    output [17:0] DOA, DOB
);
    parameter [23:0] DATA_WIDTH_A = "X18";
    parameter [23:0] DATA_WIDTH_B = "X18";
    parameter OUTREG_A = "BYPASSED";
    parameter OUTREG_B = "BYPASSED";
    parameter GSR = "DISABLED";
    parameter RESETMODE_A = "SYNC";
    parameter RESETMODE_B = "SYNC";
    parameter CSDECODE_A = "111";
    parameter CSDECODE_B = "111";
    parameter ASYNC_RST_RELEASE_A = "SYNC";
    parameter ASYNC_RST_RELEASE_B = "SYNC";
    `DARB_CONTENTS

    initial
        if (OUTREG_A != "BYPASSED" || OUTREG_B != "BYPASSED" || CSDECODE_A != "111" || CSDECODE_B != "111")
            $fatal(1, "DP16K: output registers and block select are not modelled");
    always @(posedge CLKA)
        if (RSTA !== 1'b0 || RSTB !== 1'b0 || CSA !== 3'b111 || CSB !== 3'b111)
            $fatal(1, "DP16K: reset and block select are not modelled");
    wire [35:0] read_a, read_b;
    assign DOA = read_a[17:0];
    assign DOB = read_b[17:0];
    darb_ebr #(.WIDTH_A(DATA_WIDTH_A), .WIDTH_B(DATA_WIDTH_B), .TEXTS(`DARB_ALL_CONTENTS)) block (
        .clk_a(CLKA), .ce_a(CEA), .write_a(WEA), .ad_a(ADA), .di_a({18'd0, DIA}), .do_a(read_a),
        .clk_b(CLKB), .ce_b(CEB), .write_b(WEB), .ad_b(ADB), .di_b({18'd0, DIB}), .do_b(read_b)
    );
endmodule

module PDPSC16K (
    input  CLK, CEW, CER, RST,
    input  [2:0] CSW, CSR,
    input  [13:0] ADW, ADR,
    input  [35:0] DI,
    output [35:0] DO,
    output ONEBITERR, TWOBITERR
);
    parameter [23:0] DATA_WIDTH_W = "X36";
    parameter [23:0] DATA_WIDTH_R = "X36";
    parameter OUTREG = "BYPASSED";
    parameter RESETMODE = "SYNC";
    parameter GSR = "DISABLED";
    parameter ECC = "DISABLED";
    parameter CSDECODE_W = "111";
    parameter CSDECODE_R = "111";
    parameter ASYNC_RST_RELEASE = "SYNC";
    `DARB_CONTENTS

    initial
        if (OUTREG != "BYPASSED" || ECC != "DISABLED" || CSDECODE_W != "111" || CSDECODE_R != "111")
            $fatal(1, "PDPSC16K: output registers, correction and block select are not modelled");
    always @(posedge CLK)
        if (RST !== 1'b0 || CSW !== 3'b111 || CSR !== 3'b111)
            $fatal(1, "PDPSC16K: reset and block select are not modelled");
    darb_ebr #(.WIDTH_A(DATA_WIDTH_W), .WIDTH_B(DATA_WIDTH_R), .TEXTS(`DARB_ALL_CONTENTS)) block (
        .clk_a(CLK), .ce_a(CEW), .write_a(1'b1), .ad_a(ADW), .di_a(DI), .do_a(),
        .clk_b(CLK), .ce_b(CER), .write_b(1'b0), .ad_b(ADR), .di_b(36'd0), .do_b(DO)
    );
endmodule
