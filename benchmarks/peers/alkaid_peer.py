"""alkaid: every weight unrolled into a pipelined graph of adders; its Verilog, and a bench for it.

The whole network goes in with the engine's own requantisation, written in alkaid's fixed-point operations: the results
are the same integers. The multiplier of a row is a constant too, so alkaid turns it into adders. Without requantisation
(``sums``) a layer is the matrix product alone. That is what alkaid optimises, and what remains where scales are powers
of two.
"""

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers.dense import INPUT_BITS, Dense, evaluate, random_inputs

__all__ = ["generate"]

TOP = "peer"

BENCH = """`timescale 1ns / 1ps
module bench;
  reg clk = 0;
  reg [{inputs}:0] vectors [0:{last}];
  reg [{inputs}:0] x = 0;
  wire [{outputs}:0] y;
  integer cycle;
  peer dut (.clk(clk), .model_inp(x), .model_out(y));
  initial begin
    $readmemh("inputs.hex", vectors);
    // An input a cycle; outputs are shown as they stand before each edge.
    for (cycle = 0; cycle <= {end}; cycle = cycle + 1) begin
      x = vectors[cycle > {last} ? {last} : cycle];
      #1 $display("output %h", y);
      clk = 1;
      #1 clk = 0;
    end
    $finish;
  end
endmodule
"""


def generate(layers: list[Dense], folder: Path, cutoff: float, requantise: bool, samples: int) -> dict:
    """Write Verilog and a bench that gives it an input a cycle.

    Parameters
    ----------
    layers : list of Dense
    folder : Path
        Made if it is not there.
    cutoff : float
        Greatest delay between registers, in units of alkaid's model of delays (about that of an adder).
    requantise : bool
        If not, the precision layer is its matrix product alone.
    samples : int
        Inputs of the bench.

    Returns
    -------
    dict
        Plain values: top module, sources, cycles from an input to its output as alkaid says, its estimate of LUTs.
    """
    # Of the extra `peers`.
    from alkaid.codegen import RTLModel  # pyright: ignore[reportMissingImports]
    from alkaid.trace import FVArray, trace  # pyright: ignore[reportMissingImports]

    folder.mkdir(parents=True, exist_ok=True)
    columns = layers[0].weight.shape[1]
    source = FVArray.from_kif(np.ones(columns, int), np.full(columns, INPUT_BITS - 1), np.zeros(columns, int))
    result = source
    for layer in layers:
        result = result @ layer.weight.T.astype(float)
        if requantise:
            result = _requantise(result, layer)
    graph = trace(source, result)
    # Sums of three are for FPGAs that add three numbers in one carry chain; an ECP5 takes two chains and more LUTs.
    model = RTLModel(graph, folder, TOP, latency_cutoff=cutoff, ternary_fuse=False)
    model.write()
    sources = sorted(str(path.relative_to(folder)) for path in (folder / "src").rglob("*.v"))
    sources.remove(f"src/{TOP}_wrapper.v")

    inputs = random_inputs(layers, samples)
    np.save(folder / "expected.npy", evaluate(layers, inputs, requantise))
    (source_port,), (output,) = model.fsm.inp_signals, model.fsm.out_signals
    # An input that no weight reads has no bits.
    used = np.array([sum(precision) for precision in source_port.precisions]) > 0
    assert source_port.width == INPUT_BITS * used.sum()
    (folder / "inputs.hex").write_text("".join(_hex(row) + "\n" for row in inputs[:, used]))
    widths = {"inputs": source_port.width - 1, "outputs": output.width - 1}
    latency = int(model.latency)
    (folder / "bench.v").write_text(BENCH.format(**widths, last=samples - 1, end=samples + 2 * latency))
    return {
        "top": TOP,
        "clock": "clk",
        "sources": sources,
        "latency": latency,
        "estimated_luts": float(graph.cost),
        "fields": [[int(bits.signed), int(bits.integers), int(bits.fractional)] for bits in output.precisions],
    }


def _requantise(sums: Any, layer: Dense) -> Any:
    """In alkaid's fixed-point arrays: ``clamp(((sums + bias) * mult + half) >> shift, qmin, qmax)``."""
    scaled = (sums + layer.bias) * (layer.mult * 0.5**layer.shift)
    signed, bits = int(layer.qmin < 0), int(layer.qmax).bit_length()
    assert (layer.qmin, layer.qmax) == (-signed << bits, (1 << bits) - 1)
    return scaled.quantize(signed, bits, 0, overflow_mode="SAT", round_mode="RND")


def _hex(row: np.ndarray) -> str:
    """An input as a hexadecimal number: element 0 in the lowest bits."""
    digits = INPUT_BITS // 4
    return "".join(f"{value & ((1 << INPUT_BITS) - 1):0{digits}x}" for value in row[::-1].tolist())
