// Models of cells that Yosys only has as black boxes, for simulating netlists. They know what our designs use, and
// stop the simulation at anything else.

// Block RAM, after Lattice TN1264 (ECP5 memory usage guide): two ports with their own word widths; reading takes a
// clock edge, and one more with the output register. In write mode NORMAL, what a port reads stays while it writes.
// Port B does not write here. The read of a word in the very cycle that the other port writes it is unknown, and so is
// everything before the first read.
module DP16KD (
    input DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9, DIA8, DIA7, DIA6, DIA5, DIA4, DIA3, DIA2,
        DIA1, DIA0,
    input ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3, ADA2, ADA1, ADA0,
    input CEA, OCEA, CLKA, WEA, RSTA, CSA2, CSA1, CSA0,
    output DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6, DOA5, DOA4, DOA3, DOA2,
        DOA1, DOA0,
    input DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9, DIB8, DIB7, DIB6, DIB5, DIB4, DIB3, DIB2,
        DIB1, DIB0,
    input ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3, ADB2, ADB1, ADB0,
    input CEB, OCEB, CLKB, WEB, RSTB, CSB2, CSB1, CSB0,
    output DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6, DOB5, DOB4, DOB3, DOB2,
        DOB1, DOB0
);
    parameter DATA_WIDTH_A = 18;
    parameter REGMODE_A = "NOREG";
    parameter WRITEMODE_A = "NORMAL";
    parameter CSDECODE_A = "0b000";
    parameter CLKAMUX = "CLKA";
    parameter DATA_WIDTH_B = 18;
    parameter REGMODE_B = "NOREG";
    parameter WRITEMODE_B = "NORMAL";
    parameter CSDECODE_B = "0b000";
    parameter CLKBMUX = "CLKB";
    parameter RESETMODE = "SYNC";
    parameter ASYNC_RESET_RELEASE = "SYNC";
    parameter GSR = "DISABLED";
    // Each holds 16 rows of two bytes of 9 bits, in 20 bits.
    parameter [319:0] INITVAL_00 = 320'h0;
    parameter [319:0] INITVAL_01 = 320'h0;
    parameter [319:0] INITVAL_02 = 320'h0;
    parameter [319:0] INITVAL_03 = 320'h0;
    parameter [319:0] INITVAL_04 = 320'h0;
    parameter [319:0] INITVAL_05 = 320'h0;
    parameter [319:0] INITVAL_06 = 320'h0;
    parameter [319:0] INITVAL_07 = 320'h0;
    parameter [319:0] INITVAL_08 = 320'h0;
    parameter [319:0] INITVAL_09 = 320'h0;
    parameter [319:0] INITVAL_0A = 320'h0;
    parameter [319:0] INITVAL_0B = 320'h0;
    parameter [319:0] INITVAL_0C = 320'h0;
    parameter [319:0] INITVAL_0D = 320'h0;
    parameter [319:0] INITVAL_0E = 320'h0;
    parameter [319:0] INITVAL_0F = 320'h0;
    parameter [319:0] INITVAL_10 = 320'h0;
    parameter [319:0] INITVAL_11 = 320'h0;
    parameter [319:0] INITVAL_12 = 320'h0;
    parameter [319:0] INITVAL_13 = 320'h0;
    parameter [319:0] INITVAL_14 = 320'h0;
    parameter [319:0] INITVAL_15 = 320'h0;
    parameter [319:0] INITVAL_16 = 320'h0;
    parameter [319:0] INITVAL_17 = 320'h0;
    parameter [319:0] INITVAL_18 = 320'h0;
    parameter [319:0] INITVAL_19 = 320'h0;
    parameter [319:0] INITVAL_1A = 320'h0;
    parameter [319:0] INITVAL_1B = 320'h0;
    parameter [319:0] INITVAL_1C = 320'h0;
    parameter [319:0] INITVAL_1D = 320'h0;
    parameter [319:0] INITVAL_1E = 320'h0;
    parameter [319:0] INITVAL_1F = 320'h0;
    parameter [319:0] INITVAL_20 = 320'h0;
    parameter [319:0] INITVAL_21 = 320'h0;
    parameter [319:0] INITVAL_22 = 320'h0;
    parameter [319:0] INITVAL_23 = 320'h0;
    parameter [319:0] INITVAL_24 = 320'h0;
    parameter [319:0] INITVAL_25 = 320'h0;
    parameter [319:0] INITVAL_26 = 320'h0;
    parameter [319:0] INITVAL_27 = 320'h0;
    parameter [319:0] INITVAL_28 = 320'h0;
    parameter [319:0] INITVAL_29 = 320'h0;
    parameter [319:0] INITVAL_2A = 320'h0;
    parameter [319:0] INITVAL_2B = 320'h0;
    parameter [319:0] INITVAL_2C = 320'h0;
    parameter [319:0] INITVAL_2D = 320'h0;
    parameter [319:0] INITVAL_2E = 320'h0;
    parameter [319:0] INITVAL_2F = 320'h0;
    parameter [319:0] INITVAL_30 = 320'h0;
    parameter [319:0] INITVAL_31 = 320'h0;
    parameter [319:0] INITVAL_32 = 320'h0;
    parameter [319:0] INITVAL_33 = 320'h0;
    parameter [319:0] INITVAL_34 = 320'h0;
    parameter [319:0] INITVAL_35 = 320'h0;
    parameter [319:0] INITVAL_36 = 320'h0;
    parameter [319:0] INITVAL_37 = 320'h0;
    parameter [319:0] INITVAL_38 = 320'h0;
    parameter [319:0] INITVAL_39 = 320'h0;
    parameter [319:0] INITVAL_3A = 320'h0;
    parameter [319:0] INITVAL_3B = 320'h0;
    parameter [319:0] INITVAL_3C = 320'h0;
    parameter [319:0] INITVAL_3D = 320'h0;
    parameter [319:0] INITVAL_3E = 320'h0;
    parameter [319:0] INITVAL_3F = 320'h0;

    initial begin
        if (DATA_WIDTH_A != 1 && DATA_WIDTH_A != 2 && DATA_WIDTH_A != 4 && DATA_WIDTH_A != 9 && DATA_WIDTH_A != 18)
            $fatal(1, "DP16KD: DATA_WIDTH_A = %0d is not modelled", DATA_WIDTH_A);
        if (REGMODE_A != "NOREG" && REGMODE_A != "OUTREG") $fatal(1, "DP16KD: REGMODE_A is not modelled");
        if (CSDECODE_A != "0b000") $fatal(1, "DP16KD: CSDECODE_A is not modelled");
        if (CLKAMUX != "CLKA") $fatal(1, "DP16KD: CLKAMUX is not modelled");
        if (DATA_WIDTH_B != 1 && DATA_WIDTH_B != 2 && DATA_WIDTH_B != 4 && DATA_WIDTH_B != 9 && DATA_WIDTH_B != 18)
            $fatal(1, "DP16KD: DATA_WIDTH_B = %0d is not modelled", DATA_WIDTH_B);
        if (REGMODE_B != "NOREG" && REGMODE_B != "OUTREG") $fatal(1, "DP16KD: REGMODE_B is not modelled");
        if (CSDECODE_B != "0b000") $fatal(1, "DP16KD: CSDECODE_B is not modelled");
        if (CLKBMUX != "CLKB") $fatal(1, "DP16KD: CLKBMUX is not modelled");
    end

    reg [8:0] bytes [0:2047];
    integer n;
    task load(input integer number, input [319:0] rows);
        for (n = 0; n < 32; n = n + 1) bytes[number * 32 + n] = rows[(n / 2) * 20 + (n % 2) * 9 +: 9];
    endtask
    initial begin
        load(0, INITVAL_00); load(1, INITVAL_01); load(2, INITVAL_02); load(3, INITVAL_03);
        load(4, INITVAL_04); load(5, INITVAL_05); load(6, INITVAL_06); load(7, INITVAL_07);
        load(8, INITVAL_08); load(9, INITVAL_09); load(10, INITVAL_0A); load(11, INITVAL_0B);
        load(12, INITVAL_0C); load(13, INITVAL_0D); load(14, INITVAL_0E); load(15, INITVAL_0F);
        load(16, INITVAL_10); load(17, INITVAL_11); load(18, INITVAL_12); load(19, INITVAL_13);
        load(20, INITVAL_14); load(21, INITVAL_15); load(22, INITVAL_16); load(23, INITVAL_17);
        load(24, INITVAL_18); load(25, INITVAL_19); load(26, INITVAL_1A); load(27, INITVAL_1B);
        load(28, INITVAL_1C); load(29, INITVAL_1D); load(30, INITVAL_1E); load(31, INITVAL_1F);
        load(32, INITVAL_20); load(33, INITVAL_21); load(34, INITVAL_22); load(35, INITVAL_23);
        load(36, INITVAL_24); load(37, INITVAL_25); load(38, INITVAL_26); load(39, INITVAL_27);
        load(40, INITVAL_28); load(41, INITVAL_29); load(42, INITVAL_2A); load(43, INITVAL_2B);
        load(44, INITVAL_2C); load(45, INITVAL_2D); load(46, INITVAL_2E); load(47, INITVAL_2F);
        load(48, INITVAL_30); load(49, INITVAL_31); load(50, INITVAL_32); load(51, INITVAL_33);
        load(52, INITVAL_34); load(53, INITVAL_35); load(54, INITVAL_36); load(55, INITVAL_37);
        load(56, INITVAL_38); load(57, INITVAL_39); load(58, INITVAL_3A); load(59, INITVAL_3B);
        load(60, INITVAL_3C); load(61, INITVAL_3D); load(62, INITVAL_3E); load(63, INITVAL_3F);
    end

    // The lowest bit of a word, where each byte has 9.
    function [14:0] first(input integer width, input [13:0] ad);
        case (width)
            18: first = ad[13:4] * 18;
            9: first = ad[13:3] * 9;
            4: first = ad[13:3] * 9 + {ad[2], 2'b00};
            2: first = ad[13:3] * 9 + {ad[2:1], 1'b0};
            default: first = ad[13:3] * 9 + ad[2:0];
        endcase
    endfunction

    function [17:0] read(input integer width, input [13:0] ad);
        case (width)
            18: read = {bytes[{ad[13:4], 1'b1}], bytes[{ad[13:4], 1'b0}]};
            9: read = bytes[ad[13:3]];
            4: read = ad[2] ? bytes[ad[13:3]][7:4] : bytes[ad[13:3]][3:0];
            2: read = bytes[ad[13:3]] >> {ad[2:1], 1'b0} & 18'd3;
            default: read = bytes[ad[13:3]] >> ad[2:0] & 18'd1;
        endcase
    endfunction

    wire [13:0] ad_a = {ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3, ADA2, ADA1, ADA0};
    wire [14:0] first_a = first(DATA_WIDTH_A, ad_a);
    reg [17:0] array_a, output_a;
    assign {DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6, DOA5, DOA4, DOA3, DOA2,
        DOA1, DOA0} = REGMODE_A == "OUTREG" ? output_a : array_a;

    wire [13:0] ad_b = {ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3, ADB2, ADB1, ADB0};
    wire [14:0] first_b = first(DATA_WIDTH_B, ad_b);
    reg [17:0] array_b, output_b;
    assign {DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6, DOB5, DOB4, DOB3, DOB2,
        DOB1, DOB0} = REGMODE_B == "OUTREG" ? output_b : array_b;

    wire [17:0] di = {DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9, DIA8, DIA7, DIA6, DIA5, DIA4,
        DIA3, DIA2, DIA1, DIA0};
    wire write = CEA && WEA;
    wire both = write && first_a < first_b + DATA_WIDTH_B && first_b < first_a + DATA_WIDTH_A;

    always @(posedge CLKA) begin
        if (RSTA !== 1'b0 || CSA2 !== 1'b0 || CSA1 !== 1'b0 || CSA0 !== 1'b0)
            $fatal(1, "DP16KD: reset and chip select of port A are not modelled");
        if (write && WRITEMODE_A != "NORMAL") $fatal(1, "DP16KD: WRITEMODE_A is not modelled");
        if (write !== 1'b0 && ^{write, ad_a} === 1'bx) begin
            for (n = 0; n < 2048; n = n + 1) bytes[n] <= 9'bx;
        end else if (write) begin
            case (DATA_WIDTH_A)
                18: begin
                    if (ad_a[0]) bytes[{ad_a[13:4], 1'b0}] <= di[8:0];
                    if (ad_a[1]) bytes[{ad_a[13:4], 1'b1}] <= di[17:9];
                end
                9: bytes[ad_a[13:3]] <= di[8:0];
                4: if (ad_a[2]) bytes[ad_a[13:3]][7:4] <= di[3:0]; else bytes[ad_a[13:3]][3:0] <= di[3:0];
                2: bytes[ad_a[13:3]][{ad_a[2:1], 1'b0} +: 2] <= di[1:0];
                default: bytes[ad_a[13:3]][ad_a[2:0]] <= di[0];
            endcase
        end
        if (CEA && !WEA) array_a <= read(DATA_WIDTH_A, ad_a);
        if (OCEA) output_a <= array_a;
    end

    always @(posedge CLKB) begin
        if (RSTB !== 1'b0 || CSB2 !== 1'b0 || CSB1 !== 1'b0 || CSB0 !== 1'b0 || WEB !== 1'b0)
            $fatal(1, "DP16KD: reset, chip select and writing of port B are not modelled");
        if (CEB) array_b <= both === 1'b0 ? read(DATA_WIDTH_B, ad_b) : 18'bx;
        if (OCEB) output_b <= array_b;
    end
endmodule

// Multiplier, after Lattice TN1267 (ECP5 sysDSP usage guide): registers at the operands, within, and at the product,
// each there or not, all on clock 0. Operands come from the fabric.
module MULT18X18D (
    input A17, A16, A15, A14, A13, A12, A11, A10, A9, A8, A7, A6, A5, A4, A3, A2, A1, A0,
    input B17, B16, B15, B14, B13, B12, B11, B10, B9, B8, B7, B6, B5, B4, B3, B2, B1, B0,
    input C17, C16, C15, C14, C13, C12, C11, C10, C9, C8, C7, C6, C5, C4, C3, C2, C1, C0,
    input SIGNEDA, SIGNEDB, SOURCEA, SOURCEB,
    input CLK3, CLK2, CLK1, CLK0, CE3, CE2, CE1, CE0, RST3, RST2, RST1, RST0,
    output P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20, P19, P18, P17, P16, P15,
        P14, P13, P12, P11, P10, P9, P8, P7, P6, P5, P4, P3, P2, P1, P0,
    output SIGNEDP
);
    parameter REG_INPUTA_CLK = "NONE";
    parameter REG_INPUTA_CE = "CE0";
    parameter REG_INPUTA_RST = "RST0";
    parameter REG_INPUTB_CLK = "NONE";
    parameter REG_INPUTB_CE = "CE0";
    parameter REG_INPUTB_RST = "RST0";
    parameter REG_INPUTC_CLK = "NONE";
    parameter REG_PIPELINE_CLK = "NONE";
    parameter REG_PIPELINE_CE = "CE0";
    parameter REG_PIPELINE_RST = "RST0";
    parameter REG_OUTPUT_CLK = "NONE";
    parameter REG_OUTPUT_CE = "CE0";
    parameter REG_OUTPUT_RST = "RST0";
    parameter GSR = "ENABLED";
    parameter RESETMODE = "SYNC";

    localparam IN_A = REG_INPUTA_CLK != "NONE";
    localparam IN_B = REG_INPUTB_CLK != "NONE";
    localparam PIPELINE = REG_PIPELINE_CLK != "NONE";
    localparam OUT = REG_OUTPUT_CLK != "NONE";
    localparam CLOCKED = IN_A || IN_B || PIPELINE || OUT;

    initial begin
        if ((IN_A && REG_INPUTA_CLK != "CLK0") || (IN_B && REG_INPUTB_CLK != "CLK0")
            || (PIPELINE && REG_PIPELINE_CLK != "CLK0") || (OUT && REG_OUTPUT_CLK != "CLK0"))
            $fatal(1, "MULT18X18D: only clock 0 is modelled");
        if (REG_INPUTA_CE != "CE0" || REG_INPUTB_CE != "CE0" || REG_PIPELINE_CE != "CE0" || REG_OUTPUT_CE != "CE0")
            $fatal(1, "MULT18X18D: only clock enable 0 is modelled");
        if (REG_INPUTA_RST != "RST0" || REG_INPUTB_RST != "RST0" || REG_PIPELINE_RST != "RST0"
            || REG_OUTPUT_RST != "RST0" || RESETMODE != "SYNC")
            $fatal(1, "MULT18X18D: only synchronous reset 0 is modelled");
        if (REG_INPUTC_CLK != "NONE") $fatal(1, "MULT18X18D: operand C is not modelled");
    end

    wire [17:0] a = {A17, A16, A15, A14, A13, A12, A11, A10, A9, A8, A7, A6, A5, A4, A3, A2, A1, A0};
    wire [17:0] b = {B17, B16, B15, B14, B13, B12, B11, B10, B9, B8, B7, B6, B5, B4, B3, B2, B1, B0};
    reg [17:0] held_a, held_b;
    wire [17:0] at_a = IN_A ? held_a : a;
    wire [17:0] at_b = IN_B ? held_b : b;
    wire signed [35:0] wide_a = {{18{SIGNEDA & at_a[17]}}, at_a};
    wire signed [35:0] wide_b = {{18{SIGNEDB & at_b[17]}}, at_b};
    wire [35:0] product = wide_a * wide_b;
    reg [35:0] held_product, held_p;
    wire [35:0] passed = PIPELINE ? held_product : product;
    assign {P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20, P19, P18, P17, P16, P15,
        P14, P13, P12, P11, P10, P9, P8, P7, P6, P5, P4, P3, P2, P1, P0} = OUT ? held_p : passed;
    assign SIGNEDP = SIGNEDA | SIGNEDB;

    always @(SOURCEA or SOURCEB)
        if (SOURCEA !== 1'b0 || SOURCEB !== 1'b0) $fatal(1, "MULT18X18D: cascades are not modelled");

    generate
        if (CLOCKED) begin : registers
            always @(posedge CLK0)
                if (RST0) begin
                    held_a <= 0;
                    held_b <= 0;
                    held_product <= 0;
                    held_p <= 0;
                end else if (CE0) begin
                    held_a <= a;
                    held_b <= b;
                    held_product <= product;
                    held_p <= passed;
                end
        end
    endgenerate
endmodule
