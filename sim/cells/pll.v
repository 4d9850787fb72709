// Loops of iCE40, ECP5 and Gowin, as far as boards use them: the period of what comes in is measured, and what the
// parameters make of it goes out. Lock comes after 20 periods that were alike. It is lost once, as it may be: then the
// reset of a board has an edge, without which Icarus leaves out blocks whose inputs never change.

module darb_pll #(
    parameter integer MULTIPLY = 1,
    parameter integer DIVIDE = 1
) (
    input  wire i,
    output reg  o,
    output reg  locked
);
    real edge_before, period, half;
    integer alike, periods;
    initial begin
        o = 0;
        locked = 0;
        edge_before = 0;
        period = 0;
        alike = 0;
        periods = 0;
    end
    always @(posedge i) begin
        if ($realtime - edge_before - period < 0.002 && edge_before + period - $realtime < 0.002) alike = alike < 20 ? alike + 1 : 20;
        else alike = 0;
        period = $realtime - edge_before;
        edge_before = $realtime;
        half = period * DIVIDE / MULTIPLY / 2;
        periods = periods + 1;
        locked <= alike == 20 && (periods < 600 || periods > 620);
    end
    always begin
        if (alike < 20) @(posedge i);
        else begin
            #(half);
            o = ~o;
        end
    end
endmodule

module EHXPLLL #(
    parameter integer CLKI_DIV = 1,
    parameter integer CLKFB_DIV = 1,
    parameter integer CLKOP_DIV = 8,
    parameter integer CLKOP_CPHASE = 0,
    parameter integer CLKOP_FPHASE = 0,
    parameter CLKOP_ENABLE = "ENABLED",
    parameter FEEDBK_PATH = "CLKOP"
) (
    input  wire CLKI, CLKFB, RST, STDBY, PHASESEL0, PHASESEL1, PHASEDIR, PHASESTEP, PHASELOADREG, PLLWAKESYNC, ENCLKOP,
    output wire CLKOP, LOCK
);
    darb_pll #(.MULTIPLY(CLKFB_DIV), .DIVIDE(CLKI_DIV)) pll (.i(CLKI), .o(CLKOP), .locked(LOCK));
endmodule

module SB_PLL40_2_PAD #(
    parameter FEEDBACK_PATH = "SIMPLE",
    parameter [3:0] DIVR = 0,
    parameter [6:0] DIVF = 0,
    parameter [2:0] DIVQ = 0,
    parameter [2:0] FILTER_RANGE = 0
) (
    input  wire PACKAGEPIN, RESETB, BYPASS,
    output wire PLLOUTGLOBALA, PLLOUTGLOBALB, LOCK
);
    assign PLLOUTGLOBALA = PACKAGEPIN;
    darb_pll #(.MULTIPLY(DIVF + 1), .DIVIDE((DIVR + 1) << DIVQ)) pll (.i(PACKAGEPIN), .o(PLLOUTGLOBALB), .locked(LOCK));
endmodule

module SB_PLL40_CORE #(
    parameter FEEDBACK_PATH = "SIMPLE",
    parameter [3:0] DIVR = 0,
    parameter [6:0] DIVF = 0,
    parameter [2:0] DIVQ = 0,
    parameter [2:0] FILTER_RANGE = 0
) (
    input  wire REFERENCECLK, RESETB, BYPASS,
    output wire PLLOUTGLOBAL, LOCK
);
    darb_pll #(.MULTIPLY(DIVF + 1), .DIVIDE((DIVR + 1) << DIVQ)) pll (.i(REFERENCECLK), .o(PLLOUTGLOBAL), .locked(LOCK));
endmodule

module rPLL #(
    parameter FCLKIN = "100.0",
    parameter DEVICE = "GW1N-1",
    parameter DYN_IDIV_SEL = "false",
    parameter integer IDIV_SEL = 0,
    parameter DYN_FBDIV_SEL = "false",
    parameter integer FBDIV_SEL = 0,
    parameter DYN_ODIV_SEL = "false",
    parameter integer ODIV_SEL = 8,
    parameter DYN_DA_EN = "false",
    parameter CLKFB_SEL = "internal",
    parameter CLKOUT_BYPASS = "false"
) (
    input  wire CLKIN, CLKFB, RESET, RESET_P,
    input  wire [5:0] FBDSEL, IDSEL, ODSEL,
    input  wire [3:0] PSDA, DUTYDA, FDLY,
    output wire CLKOUT, LOCK
);
    darb_pll #(.MULTIPLY(FBDIV_SEL + 1), .DIVIDE(IDIV_SEL + 1)) pll (.i(CLKIN), .o(CLKOUT), .locked(LOCK));
endmodule
