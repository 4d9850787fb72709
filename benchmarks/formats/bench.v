// Fills the activation memory, multiplies the vector of each region in turn, and prints every beat of sums.
`timescale 1ns / 1ps

module bench;
    parameter ADDRESS = 11;  // bits
    parameter REGION = 1;    // bits
    parameter SUMS = 24;     // bits of all chains together
    parameter BEATS = 16;    // of one product
    parameter TIMEOUT = 1000000;

    reg clk = 0, rst = 1, write_enable = 0, start = 0;
    reg [ADDRESS-1:0] write_address = 0;
    reg [7:0] write_data = 0;
    reg [REGION-1:0] region = 0;
    wire busy, valid;
    wire [SUMS-1:0] sums;
    reg [7:0] activations [0:(1<<ADDRESS)-1];
    integer number, beat, since, out;

    skeleton dut (.clk(clk), .rst(rst), .write_enable(write_enable), .write_address(write_address),
                  .write_data(write_data), .start(start), .region(region), .busy(busy), .valid(valid), .sums(sums));

    always #5 clk = ~clk;

    // Inputs change away from the edge.
    initial begin
        $readmemh("activations.hex", activations);
        out = $fopen("sums.txt", "w");
        repeat (4) @(negedge clk);
        rst = 0;
        write_enable = 1;
        for (number = 0; number < (1 << ADDRESS); number = number + 1) begin
            write_address = number;
            write_data = activations[number];
            @(negedge clk);
        end
        write_enable = 0;
        repeat (4) @(negedge clk);
        for (number = 0; number < (1 << REGION); number = number + 1) begin
            region = number;
            start = 1;
            since = 0;
            beat = 0;
            while (beat < BEATS && since < TIMEOUT) begin
                @(negedge clk);
                start = 0;
                since = since + 1;
                if (valid) begin
                    $fdisplay(out, "%0d %h", since, sums);
                    beat = beat + 1;
                end
            end
            // Nothing may come after that.
            repeat (40) begin
                @(negedge clk);
                if (valid) $fdisplay(out, "late %h", sums);
            end
        end
        $fclose(out);
        $finish;
    end
endmodule
