// Primitives of Gowin's devices.

// Memory with two ports that read, of which port A writes as well. Tools infer a block RAM with two ports.
module darb_shared_ram #(
    parameter WIDTH = 8,
    parameter DEPTH = 2,
    parameter ADDRESS = 1,
    parameter FILE = ""
) (
    input  wire               clk,
    input  wire               write_enable,
    input  wire [WIDTH-1:0]   write_data,
    input  wire [ADDRESS-1:0] address_a,
    output reg  [WIDTH-1:0]   read_data_a,
    input  wire [ADDRESS-1:0] address_b,
    output reg  [WIDTH-1:0]   read_data_b
);
    // The schedule never reads an address in the cycle that writes it.
    (* no_rw_check *)
    reg [WIDTH-1:0] words [0:DEPTH-1];
    reg [WIDTH-1:0] fetched_a, fetched_b;
    generate
        if (FILE != "") begin : contents
            initial $readmemh(FILE, words);
        end
    endgenerate
    always @(posedge clk) begin
        if (write_enable) words[address_a] <= write_data;
        fetched_a <= words[address_a];
        fetched_b <= words[address_b];
        read_data_a <= fetched_a;
        read_data_b <= fetched_b;
    end
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
