// Multiplier of Nexus. Signed product of registered operands, registered.
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
        if (A_WIDTH <= 9 && B_WIDTH <= 9) begin : half
            wire [8:0] wide_a = a;
            wire [8:0] wide_b = b;
            wire [17:0] z;
            assign o = z;
            MULT9X9 #(
                .REGINPUTA("REGISTER"), .REGINPUTB("REGISTER"), .REGOUTPUT("REGISTER"), .GSR("DISABLED"),
                .RESETMODE("SYNC")
            ) block (
                .CLK(clk), .A(wide_a), .B(wide_b), .SIGNEDA(1'b1), .SIGNEDB(1'b1), .Z(z),
                .CEA(1'b1), .CEB(1'b1), .CEOUT(1'b1), .RSTA(1'b0), .RSTB(1'b0), .RSTOUT(1'b0)
            );
        end else if (A_WIDTH <= 18 && B_WIDTH <= 18) begin : one
            wire [17:0] wide_a = a;
            wire [17:0] wide_b = b;
            wire [35:0] z;
            assign o = z;
            MULT18X18 #(
                .REGINPUTA("REGISTER"), .REGINPUTB("REGISTER"), .REGOUTPUT("REGISTER"), .GSR("DISABLED"),
                .RESETMODE("SYNC")
            ) block (
                .CLK(clk), .A(wide_a), .B(wide_b), .SIGNEDA(1'b1), .SIGNEDB(1'b1), .Z(z),
                .CEA(1'b1), .CEB(1'b1), .CEOUT(1'b1), .RSTA(1'b0), .RSTB(1'b0), .RSTOUT(1'b0)
            );
        end else begin : several
            darb_multiply_plain #(.A_WIDTH(A_WIDTH), .B_WIDTH(B_WIDTH)) plain (.clk(clk), .a(a), .b(b), .o(o));
        end
    endgenerate
endmodule
