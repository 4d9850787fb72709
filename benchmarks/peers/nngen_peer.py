"""nngen: a dense engine with weights in external memory; its Verilog, and a bench that counts its cycles.

nngen requantises as the engine does, except that it rounds halves away from zero where the engine rounds them up. It
needs the same shift for all rows of a layer, and gets layers that are rewritten so.

The bench prints the cycles of every inference, from the write to the start register to the read of the busy register
that is zero again, and its outputs.
"""

import math
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from benchmarks.peers.dense import Dense, accumulator_bits, evaluate, one_shift, random_inputs
from darb_prune.encoded import DarbError

__all__ = ["generate"]

TOP = "peer"
CHUNK = 64  # bytes; nngen aligns what is in memory to this
SUM_BITS = 32
MEMORY_DELAY = 10  # cycles from a request to the first word; then a word a cycle


def generate(layers: list[Dense], folder: Path, left: int, right: int, samples: int) -> dict:
    """Write Verilog and bench for an engine of ``left * right`` multipliers.

    Parameters
    ----------
    layers : list of Dense
    folder : Path
        Made if it is not there.
    left, right : int
        Columns and rows that are computed at once.
    samples : int
        Inferences of the bench.

    Returns
    -------
    dict
        Plain values: top module, sources, memory of weights in bytes.

    Raises
    ------
    DarbError
        If a layer is beyond nngen's arithmetic.
    """
    import nngen as ng  # pyright: ignore[reportMissingImports]  # of the extra `peers`

    folder.mkdir(parents=True, exist_ok=True)
    bus = max(32, 8 * left)
    source = ng.placeholder(ng.int8, shape=(1, layers[0].weight.shape[1]), name="x")
    result = source
    for layer in layers:
        result = _layer(ng, layer, result)
        result.attribute(par_left_col=left, par_out_col=right)
    module = ng.to_veriloggen([result], TOP, silent=True, config={"maxi_datawidth": bus})
    (folder / "peer.v").write_text(module.to_verilog())

    weights = ng.export_ndarray([result], CHUNK)
    inputs = random_inputs(layers, samples)
    expected = evaluate(layers, inputs)
    step_in, step_out = (_chunks(int(np.prod(array.aligned_shape))) for array in (source, result))
    scratch = _chunks(len(weights))
    inputs_at = scratch + _chunks(sum(int(np.prod(layer.weight.shape[:1])) + CHUNK for layer in layers))
    outputs_at = inputs_at + samples * step_in
    memory = np.zeros(1 << math.ceil(math.log2(outputs_at + samples * step_out)), np.uint8)
    memory[: len(weights)] = weights.astype(np.int64) & 0xFF
    for sample, values in enumerate(inputs):
        at = inputs_at + sample * step_in
        memory[at : at + len(values)] = values & 0xFF
    (folder / "memory.hex").write_text("".join(f"{value:02x}\n" for value in memory))
    np.save(folder / "expected.npy", expected)
    addresses = {"scratch": scratch, "in": inputs_at, "out": outputs_at, "step in": step_in, "step out": step_out}
    bench = _bench(module, addresses, bus, samples, expected.shape[1], folder / "memory.hex")
    (folder / "bench.v").write_text(bench)
    return {"top": TOP, "clock": "CLK", "sources": ["peer.v"], "weight_bytes": len(weights), "bus_bits": bus}


def _layer(ng: ModuleType, layer: Dense, source: Any) -> Any:
    """A matrix product with requantisation, of nngen's own types."""
    layer = one_shift(layer)
    if layer.mult.max() >= 1 << 31:
        raise DarbError(f"layer {layer.name!r}: with one shift for all rows, multipliers need more than 32 bits")
    if accumulator_bits(layer) > SUM_BITS:
        raise DarbError(f"layer {layer.name!r}: its sums need more than nngen's {SUM_BITS} bits")
    if layer.qmax != 127 or layer.qmin not in (-128, 0):
        raise DarbError(f"layer {layer.name!r}: nngen clamps to 8 bits or to their half, not to other ranges")

    def variable(kind: str, dtype: Any, values: np.ndarray) -> Any:
        made = ng.variable(dtype, shape=values.shape, name=f"{kind}_{layer.name}")
        made.set_value(values)
        return made

    return ng.matmul(
        source,
        variable("weight", ng.int8, layer.weight),
        bias=variable("bias", ng.int32, layer.bias),
        scale=variable("scale", ng.int32, layer.mult),
        transposed_b=True,
        rshift_out=int(layer.shift[0]),
        act_func=ng.relu if layer.qmin == 0 else None,
        asymmetric_clip=True,
        dtype=ng.int8,
        mul_dtype=ng.int16,
        sum_dtype=ng.dtype_int(SUM_BITS),
        name=layer.name,
    )


def _chunks(size: int) -> int:
    return -(-size // CHUNK) * CHUNK


def _bench(module: Any, at: dict[str, int], bus: int, samples: int, outputs: int, image: Path) -> str:
    """Verilog of a bench: memory, a processor that starts the engine ``samples`` times, a counter of cycles."""
    # All of the extra `peers`.
    import nngen as ng  # pyright: ignore[reportMissingImports]
    import veriloggen as vg  # pyright: ignore[reportMissingImports]
    from veriloggen import simulation, thread  # pyright: ignore[reportMissingImports]
    from veriloggen.types import axi  # pyright: ignore[reportMissingImports]

    bench = vg.Module("bench")
    parameters, ports = bench.copy_params(module), bench.copy_sim_ports(module)
    clock, resetn = ports["CLK"], ports["RESETN"]
    reset = bench.Wire("RST")
    reset.assign(vg.Not(resetn))
    delays = {"write_delay": MEMORY_DELAY, "read_delay": MEMORY_DELAY, "sleep_interval": 0, "keep_sleep": 0}
    size = {"mem_addrwidth": 1, "memimg": str(image)}  # as large as the image
    memory = axi.AxiMemoryModel(bench, "memory", clock, reset, datawidth=bus, **size, **delays)
    memory.connect(ports, "maxi")
    host = thread.AXIMLite(bench, "host", clock, reset, noio=True)
    host.connect(ports, "saxi")
    cycles = bench.Reg("cycles", 32, initval=0)
    vg.Seq(bench, "counter", clock, reset)(cycles.inc())
    scratch, first_in, first_out, step_in, step_out = at.values()

    # Compiled to a state machine by veriloggen, which looks names up among the variables of this function.
    def control() -> None:
        for sample in range(samples):
            out = first_out + sample * step_out
            ng.sim.set_global_addrs(host, scratch, out, first_in + sample * step_in, 0)
            begin = cycles.value
            ng.sim.start(host)
            ng.sim.wait(host)
            print("cycles %d" % (cycles.value - begin))  # noqa: UP031
            for number in range(outputs):
                print("output %d" % memory.read_word(number, out, 8))  # noqa: UP031
        thread.finish()

    thread.Thread(bench, "control", clock, reset, control).start()
    bench.Instance(module, "dut", params=parameters and bench.connect_params(module), ports=bench.connect_ports(module))
    simulation.setup_clock(bench, clock, hperiod=5)
    simulation.setup_reset(bench, resetn, bench.make_reset(), period=100, polarity="low")
    return bench.to_verilog().replace(str(image), image.name)
