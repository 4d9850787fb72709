// Block RAM, after Gowin UG285 (BSRAM and SSRAM user guide) and Lattice FPGA-TN-02094 (memory of Nexus): 2048 bytes of
// 9 bits, two ports. Reading takes a clock edge, and one more in READ_MODE 1. In WRITE_MODE 0 what a port reads stays while it writes, in 1 it is what is
// written, in 2 what was there. The read of a word in the very cycle that the other port writes it is unknown, so is
// everything before the first read. Words of less than 8 bits leave the ninth bit of a byte unused. In words of several
// bytes the lowest address bits enable the bytes of a write.
module darb_bsram #(
    parameter WIDTH_A = 36,
    parameter WIDTH_B = 36,
    parameter READ_MODE_A = 0,
    parameter READ_MODE_B = 0,
    parameter WRITE_MODE_A = 0,
    parameter WRITE_MODE_B = 0,
    parameter BYTE = 9,
    parameter [64*32*BYTE-1:0] CONTENTS = 0
) (
    input  wire        clk_a, ce_a, oce_a, write_a,
    input  wire [13:0] ad_a,
    input  wire [35:0] di_a,
    output wire [35:0] do_a,
    input  wire        clk_b, ce_b, oce_b, write_b,
    input  wire [13:0] ad_b,
    input  wire [35:0] di_b,
    output wire [35:0] do_b
);
    function known(input integer width);
        known = width == 1 || width == 2 || width == 4 || width == BYTE || width == 2 * BYTE || width == 4 * BYTE;
    endfunction

    reg [8:0] bytes [0:2047];
    integer n;
    initial begin
        if (!known(WIDTH_A) || !known(WIDTH_B))
            $fatal(1, "block RAM: words of %0d and %0d bits are not modelled", WIDTH_A, WIDTH_B);
        for (n = 0; n < 2048; n = n + 1) bytes[n] = CONTENTS[n * BYTE +: BYTE];
    end

    // The first byte of a word; how many it has, and the bits of one that it has; where these begin within it.
    function [10:0] first(input integer width, input [13:0] ad);
        first = width == 4 * BYTE ? {ad[13:5], 2'b00} : width == 2 * BYTE ? {ad[13:4], 1'b0} : ad[13:3];
    endfunction
    function [2:0] count(input integer width);
        count = width > BYTE ? width / BYTE : 1;
    endfunction
    function [3:0] size(input integer width);
        size = width < BYTE ? width : 9;
    endfunction
    function [2:0] low(input integer width, input [13:0] ad);
        low = width == 4 ? {ad[2], 2'b00} : width == 2 ? {ad[2:1], 1'b0} : width == 1 ? ad[2:0] : 3'd0;
    endfunction
    function [35:0] read(input integer width, input [13:0] ad);
        integer k;
        begin
            read = 0;
            for (k = 0; k < count(width); k = k + 1)
                read[k * 9 +: 9] = bytes[first(width, ad) + k] >> low(width, ad) & (1 << size(width)) - 1;
        end
    endfunction
    task store(input integer width, input [13:0] ad, input [35:0] data);
        integer k, j;
        if (^ad === 1'bx) for (k = 0; k < 2048; k = k + 1) bytes[k] = 9'bx;
        else for (k = 0; k < count(width); k = k + 1)
            if (count(width) == 1 || ad[k])
                for (j = 0; j < size(width); j = j + 1)
                    bytes[first(width, ad) + k][low(width, ad) + j] = data[k * 9 + j];
    endtask

    reg [35:0] array_a, output_a, array_b, output_b;
    assign do_a = READ_MODE_A ? output_a : array_a;
    assign do_b = READ_MODE_B ? output_b : array_b;
    wire storing_a = ce_a && write_a, storing_b = ce_b && write_b;
    // Whether the ports are at a bit that both have.
    wire [15:0] place_a = first(WIDTH_A, ad_a) * 9 + low(WIDTH_A, ad_a);
    wire [15:0] place_b = first(WIDTH_B, ad_b) * 9 + low(WIDTH_B, ad_b);
    wire met = place_a < place_b + count(WIDTH_B) * size(WIDTH_B) && place_b < place_a + count(WIDTH_A) * size(WIDTH_A);

    reg [35:0] there_a, there_b;
    always @(posedge clk_a) begin
        if (READ_MODE_A && oce_a) output_a <= array_a;
        there_a = storing_b !== 1'b0 && met !== 1'b0 ? 36'bx : read(WIDTH_A, ad_a);
        if (storing_a !== 1'b0) store(WIDTH_A, ad_a, di_a);
        if (ce_a && !(write_a && WRITE_MODE_A == 0))
            array_a <= write_a && WRITE_MODE_A == 1 ? read(WIDTH_A, ad_a) : there_a;
    end

    always @(posedge clk_b) begin
        if (READ_MODE_B && oce_b) output_b <= array_b;
        there_b = storing_a !== 1'b0 && met !== 1'b0 ? 36'bx : read(WIDTH_B, ad_b);
        if (storing_b !== 1'b0) store(WIDTH_B, ad_b, di_b);
        if (ce_b && !(write_b && WRITE_MODE_B == 0))
            array_b <= write_b && WRITE_MODE_B == 1 ? read(WIDTH_B, ad_b) : there_b;
    end
endmodule
