// Primitives of the iCE40 UltraPlus family.

// Signed product of registered operands, registered.
module darb_multiply #(
    parameter A_WIDTH = 16,
    parameter B_WIDTH = 16
) (
    input  wire                              clk,
    input  wire signed [A_WIDTH-1:0]         a,
    input  wire signed [B_WIDTH-1:0]         b,
    output wire signed [A_WIDTH+B_WIDTH-1:0] o
);
    generate
        if (A_WIDTH <= 16 && B_WIDTH <= 16) begin : one
            wire [15:0] wide_a = a;
            wire [15:0] wide_b = b;
            wire [31:0] p;
            assign o = p;
            // Registers at the operands and, of the four at the output, those of the 16 x 16 product (select 3).
            SB_MAC16 #(
                .A_REG(1'b1), .B_REG(1'b1), .A_SIGNED(1'b1), .B_SIGNED(1'b1), .MODE_8x8(1'b0),
                .PIPELINE_16x16_MULT_REG2(1'b1), .TOPOUTPUT_SELECT(2'b11), .BOTOUTPUT_SELECT(2'b11)
            ) block (
                .CLK(clk), .CE(1'b1), .A(wide_a), .B(wide_b), .C(16'd0), .D(16'd0), .O(p),
                .AHOLD(1'b0), .BHOLD(1'b0), .CHOLD(1'b0), .DHOLD(1'b0),
                .IRSTTOP(1'b0), .IRSTBOT(1'b0), .ORSTTOP(1'b0), .ORSTBOT(1'b0),
                .OLOADTOP(1'b0), .OLOADBOT(1'b0), .OHOLDTOP(1'b0), .OHOLDBOT(1'b0),
                .ADDSUBTOP(1'b0), .ADDSUBBOT(1'b0), .CI(1'b0), .ACCUMCI(1'b0), .SIGNEXTIN(1'b0)
            );
        end else begin : several
            darb_multiply_plain #(.A_WIDTH(A_WIDTH), .B_WIDTH(B_WIDTH)) plain (.clk(clk), .a(a), .b(b), .o(o));
        end
    endgenerate
endmodule
