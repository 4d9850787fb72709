// Multiplier of Gowin's devices. Signed product of registered operands, registered.
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
            wire [17:0] wide_a = a;
            wire [17:0] wide_b = b;
            wire [35:0] p;
            assign o = p;
            MULT18X18 #(.AREG(1'b1), .BREG(1'b1), .OUT_REG(1'b1), .PIPE_REG(1'b0)) block (
                .CLK(clk), .CE(1'b1), .RESET(1'b0), .A(wide_a), .B(wide_b), .ASIGN(1'b1), .BSIGN(1'b1), .DOUT(p),
                .SIA(18'd0), .SIB(18'd0), .ASEL(1'b0), .BSEL(1'b0)
            );
        end else begin : several
            darb_multiply_plain #(.A_WIDTH(A_WIDTH), .B_WIDTH(B_WIDTH)) plain (.clk(clk), .a(a), .b(b), .o(o));
        end
    endgenerate
endmodule
