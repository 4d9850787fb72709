// Primitives of the ECP5 family, behind ports that are vectors.

// Block RAM with two ports that read, of which port A writes as well; each has a register behind the array and one
// at the output. While it writes, what port A reads stays as it was.
//
// WIDTH_A, WIDTH_B: 1, 2, 4, 9 or 18 bits a word. Addresses count bits, the word stands in the upper part of them
// (4 bits stand below it in words of 18 bits, 3 in words of 9, 2 of 4, 1 of 2, none of 1). In words of
// 18 bits the lowest two address bits enable the two bytes of a write.
// CONTENTS: 1024 rows of 18 bits, each in 20 bits.
module darb_dp16kd #(
    parameter WIDTH_A = 18,
    parameter WIDTH_B = 18,
    parameter [20479:0] CONTENTS = 20480'd0
) (
    input  wire        clk,
    input  wire        enable_a,
    input  wire        write_a,
    input  wire [13:0] address_a,
    input  wire [17:0] data_a,
    output wire [17:0] q_a,
    input  wire        enable_b,
    input  wire        output_b,
    input  wire [13:0] address_b,
    output wire [17:0] q_b
);
    DP16KD #(
        .DATA_WIDTH_A(WIDTH_A), .DATA_WIDTH_B(WIDTH_B), .REGMODE_A("OUTREG"), .REGMODE_B("OUTREG"),
        .WRITEMODE_A("NORMAL"), .WRITEMODE_B("NORMAL"), .RESETMODE("SYNC"), .ASYNC_RESET_RELEASE("SYNC"),
        .CSDECODE_A("0b000"), .CSDECODE_B("0b000"), .CLKAMUX("CLKA"), .CLKBMUX("CLKB"), .GSR("DISABLED"),
        .INITVAL_00(CONTENTS[0 * 320 +: 320]), .INITVAL_01(CONTENTS[1 * 320 +: 320]),
        .INITVAL_02(CONTENTS[2 * 320 +: 320]), .INITVAL_03(CONTENTS[3 * 320 +: 320]),
        .INITVAL_04(CONTENTS[4 * 320 +: 320]), .INITVAL_05(CONTENTS[5 * 320 +: 320]),
        .INITVAL_06(CONTENTS[6 * 320 +: 320]), .INITVAL_07(CONTENTS[7 * 320 +: 320]),
        .INITVAL_08(CONTENTS[8 * 320 +: 320]), .INITVAL_09(CONTENTS[9 * 320 +: 320]),
        .INITVAL_0A(CONTENTS[10 * 320 +: 320]), .INITVAL_0B(CONTENTS[11 * 320 +: 320]),
        .INITVAL_0C(CONTENTS[12 * 320 +: 320]), .INITVAL_0D(CONTENTS[13 * 320 +: 320]),
        .INITVAL_0E(CONTENTS[14 * 320 +: 320]), .INITVAL_0F(CONTENTS[15 * 320 +: 320]),
        .INITVAL_10(CONTENTS[16 * 320 +: 320]), .INITVAL_11(CONTENTS[17 * 320 +: 320]),
        .INITVAL_12(CONTENTS[18 * 320 +: 320]), .INITVAL_13(CONTENTS[19 * 320 +: 320]),
        .INITVAL_14(CONTENTS[20 * 320 +: 320]), .INITVAL_15(CONTENTS[21 * 320 +: 320]),
        .INITVAL_16(CONTENTS[22 * 320 +: 320]), .INITVAL_17(CONTENTS[23 * 320 +: 320]),
        .INITVAL_18(CONTENTS[24 * 320 +: 320]), .INITVAL_19(CONTENTS[25 * 320 +: 320]),
        .INITVAL_1A(CONTENTS[26 * 320 +: 320]), .INITVAL_1B(CONTENTS[27 * 320 +: 320]),
        .INITVAL_1C(CONTENTS[28 * 320 +: 320]), .INITVAL_1D(CONTENTS[29 * 320 +: 320]),
        .INITVAL_1E(CONTENTS[30 * 320 +: 320]), .INITVAL_1F(CONTENTS[31 * 320 +: 320]),
        .INITVAL_20(CONTENTS[32 * 320 +: 320]), .INITVAL_21(CONTENTS[33 * 320 +: 320]),
        .INITVAL_22(CONTENTS[34 * 320 +: 320]), .INITVAL_23(CONTENTS[35 * 320 +: 320]),
        .INITVAL_24(CONTENTS[36 * 320 +: 320]), .INITVAL_25(CONTENTS[37 * 320 +: 320]),
        .INITVAL_26(CONTENTS[38 * 320 +: 320]), .INITVAL_27(CONTENTS[39 * 320 +: 320]),
        .INITVAL_28(CONTENTS[40 * 320 +: 320]), .INITVAL_29(CONTENTS[41 * 320 +: 320]),
        .INITVAL_2A(CONTENTS[42 * 320 +: 320]), .INITVAL_2B(CONTENTS[43 * 320 +: 320]),
        .INITVAL_2C(CONTENTS[44 * 320 +: 320]), .INITVAL_2D(CONTENTS[45 * 320 +: 320]),
        .INITVAL_2E(CONTENTS[46 * 320 +: 320]), .INITVAL_2F(CONTENTS[47 * 320 +: 320]),
        .INITVAL_30(CONTENTS[48 * 320 +: 320]), .INITVAL_31(CONTENTS[49 * 320 +: 320]),
        .INITVAL_32(CONTENTS[50 * 320 +: 320]), .INITVAL_33(CONTENTS[51 * 320 +: 320]),
        .INITVAL_34(CONTENTS[52 * 320 +: 320]), .INITVAL_35(CONTENTS[53 * 320 +: 320]),
        .INITVAL_36(CONTENTS[54 * 320 +: 320]), .INITVAL_37(CONTENTS[55 * 320 +: 320]),
        .INITVAL_38(CONTENTS[56 * 320 +: 320]), .INITVAL_39(CONTENTS[57 * 320 +: 320]),
        .INITVAL_3A(CONTENTS[58 * 320 +: 320]), .INITVAL_3B(CONTENTS[59 * 320 +: 320]),
        .INITVAL_3C(CONTENTS[60 * 320 +: 320]), .INITVAL_3D(CONTENTS[61 * 320 +: 320]),
        .INITVAL_3E(CONTENTS[62 * 320 +: 320]), .INITVAL_3F(CONTENTS[63 * 320 +: 320])
    ) block (
        .CLKA(clk), .CEA(enable_a), .OCEA(enable_a), .WEA(write_a), .RSTA(1'b0),
        .CSA0(1'b0), .CSA1(1'b0), .CSA2(1'b0),
        .ADA0(address_a[0]), .ADA1(address_a[1]), .ADA2(address_a[2]), .ADA3(address_a[3]), .ADA4(address_a[4]), .ADA5(address_a[5]), .ADA6(address_a[6]),
        .ADA7(address_a[7]), .ADA8(address_a[8]), .ADA9(address_a[9]), .ADA10(address_a[10]), .ADA11(address_a[11]), .ADA12(address_a[12]), .ADA13(address_a[13]),
        .DIA0(data_a[0]), .DIA1(data_a[1]), .DIA2(data_a[2]), .DIA3(data_a[3]), .DIA4(data_a[4]), .DIA5(data_a[5]), .DIA6(data_a[6]), .DIA7(data_a[7]), .DIA8(data_a[8]),
        .DIA9(data_a[9]), .DIA10(data_a[10]), .DIA11(data_a[11]), .DIA12(data_a[12]), .DIA13(data_a[13]), .DIA14(data_a[14]), .DIA15(data_a[15]), .DIA16(data_a[16]), .DIA17(data_a[17]),
        .DOA0(q_a[0]), .DOA1(q_a[1]), .DOA2(q_a[2]), .DOA3(q_a[3]), .DOA4(q_a[4]), .DOA5(q_a[5]), .DOA6(q_a[6]), .DOA7(q_a[7]), .DOA8(q_a[8]),
        .DOA9(q_a[9]), .DOA10(q_a[10]), .DOA11(q_a[11]), .DOA12(q_a[12]), .DOA13(q_a[13]), .DOA14(q_a[14]), .DOA15(q_a[15]), .DOA16(q_a[16]), .DOA17(q_a[17]),
        .CLKB(clk), .CEB(enable_b), .OCEB(output_b), .WEB(1'b0), .RSTB(1'b0),
        .CSB0(1'b0), .CSB1(1'b0), .CSB2(1'b0),
        .ADB0(address_b[0]), .ADB1(address_b[1]), .ADB2(address_b[2]), .ADB3(address_b[3]), .ADB4(address_b[4]), .ADB5(address_b[5]), .ADB6(address_b[6]),
        .ADB7(address_b[7]), .ADB8(address_b[8]), .ADB9(address_b[9]), .ADB10(address_b[10]), .ADB11(address_b[11]), .ADB12(address_b[12]), .ADB13(address_b[13]),
        .DIB0(1'b0), .DIB1(1'b0), .DIB2(1'b0), .DIB3(1'b0), .DIB4(1'b0), .DIB5(1'b0), .DIB6(1'b0), .DIB7(1'b0), .DIB8(1'b0),
        .DIB9(1'b0), .DIB10(1'b0), .DIB11(1'b0), .DIB12(1'b0), .DIB13(1'b0), .DIB14(1'b0), .DIB15(1'b0), .DIB16(1'b0), .DIB17(1'b0),
        .DOB0(q_b[0]), .DOB1(q_b[1]), .DOB2(q_b[2]), .DOB3(q_b[3]), .DOB4(q_b[4]), .DOB5(q_b[5]), .DOB6(q_b[6]), .DOB7(q_b[7]), .DOB8(q_b[8]),
        .DOB9(q_b[9]), .DOB10(q_b[10]), .DOB11(q_b[11]), .DOB12(q_b[12]), .DOB13(q_b[13]), .DOB14(q_b[14]), .DOB15(q_b[15]), .DOB16(q_b[16]), .DOB17(q_b[17])
    );
endmodule

// Signed product of registered operands, registered.
module darb_multiply #(
    parameter A_WIDTH = 18,
    parameter B_WIDTH = 18
) (
    input  wire                              clk,
    input  wire signed [A_WIDTH-1:0]         a,
    input  wire signed [B_WIDTH-1:0]         b,
    output wire signed [A_WIDTH+B_WIDTH-1:0] o
);
    generate
        if (A_WIDTH <= 18 && B_WIDTH <= 18) begin : one
            // Not signed themselves: Yosys would look at this module again once it knows the primitive.
            wire [17:0] wide_a = a;
            wire [17:0] wide_b = b;
            wire [35:0] p;
            assign o = p;
            MULT18X18D #(
                .REG_INPUTA_CLK("CLK0"), .REG_INPUTA_CE("CE0"), .REG_INPUTA_RST("RST0"),
                .REG_INPUTB_CLK("CLK0"), .REG_INPUTB_CE("CE0"), .REG_INPUTB_RST("RST0"),
                .REG_INPUTC_CLK("NONE"), .REG_PIPELINE_CLK("NONE"),
                .REG_OUTPUT_CLK("CLK0"), .REG_OUTPUT_CE("CE0"), .REG_OUTPUT_RST("RST0"), .GSR("DISABLED")
            ) block (
                .CLK0(clk), .CE0(1'b1), .RST0(1'b0),
                .SIGNEDA(1'b1), .SIGNEDB(1'b1), .SOURCEA(1'b0), .SOURCEB(1'b0),
        .A0(wide_a[0]), .A1(wide_a[1]), .A2(wide_a[2]), .A3(wide_a[3]), .A4(wide_a[4]), .A5(wide_a[5]), .A6(wide_a[6]), .A7(wide_a[7]), .A8(wide_a[8]),
        .A9(wide_a[9]), .A10(wide_a[10]), .A11(wide_a[11]), .A12(wide_a[12]), .A13(wide_a[13]), .A14(wide_a[14]), .A15(wide_a[15]), .A16(wide_a[16]), .A17(wide_a[17]),
        .B0(wide_b[0]), .B1(wide_b[1]), .B2(wide_b[2]), .B3(wide_b[3]), .B4(wide_b[4]), .B5(wide_b[5]), .B6(wide_b[6]), .B7(wide_b[7]), .B8(wide_b[8]),
        .B9(wide_b[9]), .B10(wide_b[10]), .B11(wide_b[11]), .B12(wide_b[12]), .B13(wide_b[13]), .B14(wide_b[14]), .B15(wide_b[15]), .B16(wide_b[16]), .B17(wide_b[17]),
        .P0(p[0]), .P1(p[1]), .P2(p[2]), .P3(p[3]), .P4(p[4]), .P5(p[5]), .P6(p[6]), .P7(p[7]), .P8(p[8]),
        .P9(p[9]), .P10(p[10]), .P11(p[11]), .P12(p[12]), .P13(p[13]), .P14(p[14]), .P15(p[15]), .P16(p[16]), .P17(p[17]),
        .P18(p[18]), .P19(p[19]), .P20(p[20]), .P21(p[21]), .P22(p[22]), .P23(p[23]), .P24(p[24]), .P25(p[25]), .P26(p[26]),
        .P27(p[27]), .P28(p[28]), .P29(p[29]), .P30(p[30]), .P31(p[31]), .P32(p[32]), .P33(p[33]), .P34(p[34]), .P35(p[35])
            );
        end else begin : several
            darb_multiply_plain #(.A_WIDTH(A_WIDTH), .B_WIDTH(B_WIDTH)) plain (.clk(clk), .a(a), .b(b), .o(o));
        end
    endgenerate
endmodule

// A sum that grows while it is enabled; with ``clear`` it begins anew. A carry chain in which each LUT holds back the old
// sum as well: synthesis would spend one more LUT a bit.
module darb_accumulate #(
    parameter WIDTH = 24,
    parameter P_WIDTH = 16
) (
    input  wire                      clk,
    input  wire                      enable,
    input  wire                      clear,
    input  wire signed [P_WIDTH-1:0] p,
    output wire signed [WIDTH-1:0]   o
);
    localparam PAIRS = (WIDTH + 1) / 2;
    wire signed [2*PAIRS-1:0] product = p;
    wire [2*PAIRS-1:0] wide = product;
    wire [2*PAIRS-1:0] sum;
    wire [PAIRS:0] carry;
    reg [2*PAIRS-1:0] held;
    assign carry[0] = 1'b0;
    assign o = held[WIDTH-1:0];
    always @(posedge clk) if (enable) held <= sum;
    // Propagate: A ^ (C & ~D); generate: A, which is the same where C and D are 0.
    genvar n;
    generate
        for (n = 0; n < PAIRS; n = n + 1) begin : pair
            CCU2C #(.INIT0(16'hAA5A), .INIT1(16'hAA5A), .INJECT1_0("NO"), .INJECT1_1("NO")) ccu2c (
                .CIN(carry[n]), .COUT(carry[n+1]),
                .A0(wide[2*n]), .B0(1'b0), .C0(held[2*n]), .D0(clear), .S0(sum[2*n]),
                .A1(wide[2*n+1]), .B1(1'b0), .C1(held[2*n+1]), .D1(clear), .S1(sum[2*n+1])
            );
        end
    endgenerate
endmodule
