// One of several registers that hold the same, each for a part of the readers. The attribute of the signal is for
// other tools: Yosys merges equal registers unless the cell that the block becomes has it.
module darb_copy #(
    parameter WIDTH = 1
) (
    input  wire             clk,
    input  wire [WIDTH-1:0] i,
    output wire [WIDTH-1:0] o
);
    (* keep *)
    reg [WIDTH-1:0] held = 0;
    assign o = held;
    (* keep *)
    always @(posedge clk) held <= i;
endmodule

// Memories and multipliers of the generated engine, as any tool takes them. Where DARB_PRIMITIVES is defined, another
// file brings modules of the same names and latencies.
//
// Memories have a read latency of two cycles (array, then output register), so that block RAMs never drive logic
// directly.
`ifndef DARB_PRIMITIVES

// A ROM takes its address several times: all copies are the same, and each is for a part of its blocks. With LATE it has
// another register at the output: what many blocks read is multiplexed between the two.
module darb_rom #(
    parameter WIDTH = 8,
    parameter DEPTH = 2,
    parameter ADDRESS = 1,
    parameter COPIES = 1,
    parameter LATE = 0,
    parameter FILE = ""
) (
    input  wire                      clk,
    input  wire [COPIES*ADDRESS-1:0] address,
    output reg  [WIDTH-1:0]          data
);
    reg [WIDTH-1:0] words [0:DEPTH-1];
    reg [WIDTH-1:0] fetched, waiting;
    // Without a file (the module looked at on its own, before its parameters are known) there is nothing to read.
    generate
        if (FILE != "") begin : contents
            initial $readmemh(FILE, words);
        end
    endgenerate
    always @(posedge clk) begin
        fetched <= words[address[ADDRESS-1:0]];
        waiting <= fetched;
        data <= LATE ? waiting : fetched;
    end
endmodule

module darb_ram #(
    parameter WIDTH = 8,
    parameter DEPTH = 2,
    parameter ADDRESS = 1,
    parameter FILE = ""
) (
    input  wire               clk,
    input  wire               write_enable,
    input  wire [ADDRESS-1:0] write_address,
    input  wire [WIDTH-1:0]   write_data,
    input  wire               read_enable,
    input  wire               output_enable,
    input  wire [ADDRESS-1:0] read_address,
    output reg  [WIDTH-1:0]   read_data
);
    // The schedule never reads an address in the cycle that writes it.
    (* no_rw_check *)
    reg [WIDTH-1:0] words [0:DEPTH-1];
    reg [WIDTH-1:0] fetched;
    // A memory that is written before it is read needs no contents at power-up.
    generate
        if (FILE != "") begin : contents
            initial $readmemh(FILE, words);
        end
    endgenerate
    always @(posedge clk) begin
        if (write_enable) words[write_address] <= write_data;
        if (read_enable) fetched <= words[read_address];
        if (output_enable) read_data <= fetched;
    end
endmodule

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
    output wire [WIDTH-1:0]   read_data_a,
    input  wire [ADDRESS-1:0] address_b,
    output wire [WIDTH-1:0]   read_data_b
);
    // Two copies, one for each reader: not every tool infers a memory with two ports.
    darb_ram #(.WIDTH(WIDTH), .DEPTH(DEPTH), .ADDRESS(ADDRESS), .FILE(FILE)) a (
        .clk(clk), .write_enable(write_enable), .write_address(address_a), .write_data(write_data),
        .read_enable(1'b1), .output_enable(1'b1), .read_address(address_a), .read_data(read_data_a)
    );
    darb_ram #(.WIDTH(WIDTH), .DEPTH(DEPTH), .ADDRESS(ADDRESS), .FILE(FILE)) b (
        .clk(clk), .write_enable(write_enable), .write_address(address_a), .write_data(write_data),
        .read_enable(1'b1), .output_enable(1'b1), .read_address(address_b), .read_data(read_data_b)
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
    output reg  signed [A_WIDTH+B_WIDTH-1:0] o
);
    reg signed [A_WIDTH-1:0] held_a;
    reg signed [B_WIDTH-1:0] held_b;
    always @(posedge clk) begin
        held_a <= a;
        held_b <= b;
        o <= held_a * held_b;
    end
endmodule

// A sum that grows while it is enabled; with ``clear`` it begins anew.
module darb_accumulate #(
    parameter WIDTH = 24,
    parameter P_WIDTH = 16
) (
    input  wire                      clk,
    input  wire                      enable,
    input  wire                      clear,
    input  wire signed [P_WIDTH-1:0] p,
    output reg  signed [WIDTH-1:0]   o
);
    always @(posedge clk) if (enable) o <= $signed(clear ? {WIDTH{1'b0}} : o) + p;
endmodule
`endif
