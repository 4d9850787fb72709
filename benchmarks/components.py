"""Size and clock of single components of an engine, placed alone.

    python benchmarks/components.py NET.darb [--lanes 64] [--device ecp5-85k] [--seeds 3] [COMPONENT ...]

LUTs, flip-flops, block RAMs and DSP blocks are those of the component as it is. For the clock, its ports are those of
registers (inputs a shift register, outputs a registered tree of exclusive ors), and block RAMs and multipliers are
registers of the same latency: what they can do is measured with the engine, here it is the logic between them.
"""

import argparse
import json
import statistics
import subprocess
from pathlib import Path

from amaranth.back import verilog
from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from darb_hw import synth, tools
from darb_hw.cell import CellUnit
from darb_hw.config import DEVICES, EngineConfig
from darb_hw.drain import Drain
from darb_hw.memory import FileMemories, verilog_modules
from darb_hw.multiplier import Multiplier
from darb_hw.pipeline import delay
from darb_hw.plan import Plan
from darb_hw.requant import Requantiser
from darb_hw.sender import Sender
from darb_prune.encoded import EncodedNetwork

REGISTERS = """
module darb_rom #(parameter WIDTH = 8, parameter DEPTH = 2, parameter ADDRESS = 1, parameter FILE = "") (
    input wire clk, input wire [ADDRESS-1:0] address, output reg [WIDTH-1:0] data);
    reg [ADDRESS-1:0] at;
    always @(posedge clk) begin at <= address; data <= {data, ^{data[WIDTH-1], at[ADDRESS-1:0]}}; end
endmodule
module darb_ram #(parameter WIDTH = 8, parameter DEPTH = 2, parameter ADDRESS = 1, parameter FILE = "") (
    input wire clk, input wire write_enable, input wire [ADDRESS-1:0] write_address, input wire [WIDTH-1:0] write_data,
    input wire read_enable, input wire [ADDRESS-1:0] read_address, output reg [WIDTH-1:0] read_data);
    reg [ADDRESS-1:0] to, from; reg [WIDTH-1:0] in; reg write;
    always @(posedge clk) begin
        to <= write_address; in <= write_data; write <= write_enable;
        if (read_enable) begin from <= read_address; read_data <= in ^ {read_data, ^{to, from, write}}; end
    end
endmodule
"""


def cells(plan: Plan) -> CellUnit:
    cell = plan.network.cells[0]
    images, bits = plan.images, plan.network.tensor(cell.output).bits
    return CellUnit(cell.kind, plan.memory.bank, bits, images["cell_state"], images["cell_tanh"], plan.cell_style)


COMPONENTS = {"drain": Drain, "requant": Requantiser, "sender": Sender, "cells": cells}


class Registers(Multiplier):
    """A multiplier that is nothing but its registers."""

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.o.eq(delay(m, Cat(self.a, self.b), self.latency, "o"))
        return m


class Between(wiring.Component):
    """A component between registers, with one input and one output."""

    def __init__(self, component: wiring.Component):
        self._component = component
        super().__init__({"i": In(1), "o": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.component = component = self._component
        previous, outputs = self.i, []
        for path, member, value in component.signature.flatten(component):
            name = "_".join(map(str, path))
            value = Value.cast(value)
            register = Signal(len(value), name=name, reset_less=True)
            if member.flow == In:
                m.d.sync += register.eq(Cat(previous, register))
                m.d.comb += value.eq(register)
                previous = register[-1:]
            else:
                m.d.sync += register.eq(value)
                outputs += list(register)
        while len(outputs) > 1:
            count = -(-len(outputs) // 4)
            level = Signal(count, name=f"level_{count}", reset_less=True)
            m.d.sync += level.eq(Cat(Cat(outputs[4 * n : 4 * n + 4]).xor() for n in range(count)))
            outputs = list(level)
        m.d.comb += self.o.eq(outputs[0])
        return m


def run(command, folder: Path, log: str) -> None:
    with (folder / log).open("w") as out:
        subprocess.run(command, cwd=folder, stdout=out, stderr=subprocess.STDOUT, check=True)


def synthesise(component, folder: Path, memories: str, device, name: str, dsp: bool) -> dict[str, int]:
    """Write ``NAME.json`` for place and route; give the cells."""
    text = verilog.convert(component, name="top", platform=FileMemories(), emit_src=False)
    (folder / f"{name}.v").write_text(text + memories)
    options = {("ice40", True): " -dsp", ("ecp5", False): " -nodsp"}.get((device.family, dsp), "")
    (folder / f"{name}.ys").write_text(
        f"read_verilog {name}.v\nsynth_{device.family}{options} -top top\n"
        f"tee -q -o {name}.cells.json stat -json\nwrite_json {name}.json\n"
    )
    run([*tools.yosys().command, "-s", f"{name}.ys"], folder, f"{name}.yosys.log")
    return json.loads((folder / f"{name}.cells.json").read_text())["design"]["num_cells_by_type"]


def clock(folder: Path, device, seed: int) -> float:
    kind = {"ice40": "pcf", "ecp5": "lpf"}[device.family]
    run(
        [*tools.nextpnr(device.family).command, *device.nextpnr, "--json", "clock.json", "--top", "top", "--freq",
         "400", "--seed", str(seed), "--timing-allow-fail", f"--{kind}-allow-unconstrained", "--report",
         f"seed-{seed}.json", "--quiet"], folder, f"seed-{seed}.log",
    )  # fmt: skip
    return synth._fmax(json.loads((folder / f"seed-{seed}.json").read_text()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("network", type=Path)
    parser.add_argument("component", nargs="*", help=", ".join(COMPONENTS))
    parser.add_argument("--lanes", type=int, default=64)
    parser.add_argument("--device", default="ecp5-85k", choices=DEVICES)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    plan = Plan.make(EncodedNetwork.load(options.network), EngineConfig(lanes=options.lanes, device=options.device))
    device = plan.config.target
    made = [name for name in COMPONENTS if name in (options.component or COMPONENTS)]
    for name in made:
        if name == "cells" and not plan.network.cells:
            continue
        make = COMPONENTS[name]
        folder = Path("build") / "components" / f"{options.network.stem}-{options.device}-{options.lanes}" / name
        (folder / "rom").mkdir(parents=True, exist_ok=True)
        for image in plan.images.values():
            (folder / "rom" / f"{image.name}.hex").write_text(image.hex())
        dsp = plan.lane_style.dsp or plan.requant_style.dsp
        found = synthesise(make(plan), folder, verilog_modules(), device, "plain", dsp)
        size = {
            what: synth._count(synth._FAMILIES[device.family], found, what)
            for what in ("luts", "ffs", "block_rams", "dsps")
        }
        original = Multiplier.elaborate
        Multiplier.elaborate = Registers.elaborate
        rest = verilog_modules()
        rest = rest[rest.index("module darb_copy") :]
        synthesise(Between(make(plan)), folder, REGISTERS + rest, device, "clock", dsp)
        Multiplier.elaborate = original
        speeds = [clock(folder, device, seed) for seed in range(1, options.seeds + 1)]
        print(
            f"{name:8} {options.device} {options.lanes} lanes: {statistics.median(speeds):6.1f} MHz "
            f"({min(speeds):.0f}-{max(speeds):.0f})  " + "  ".join(f"{n} {what}" for what, n in size.items()),
            flush=True,
        )


if __name__ == "__main__":
    main()
