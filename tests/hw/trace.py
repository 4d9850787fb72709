"""The same inputs, cycle by cycle, through a component in Amaranth's simulator and through its Verilog in Icarus."""

import shutil
import subprocess
from pathlib import Path

import pytest
from amaranth.hdl import Value
from amaranth.lib.wiring import In

from darb_hw.device import verilog
from darb_hw.device.memory import FileMemories
from tests.hw.amaranth_sim import simulate

__all__ = ["amaranth_trace", "icarus_trace", "run_icarus", "verilog_of"]

Trace = dict[str, list[int | None]]


def _members(component) -> tuple[dict[str, int], dict[str, int]]:
    """Bits of inputs and of outputs."""
    members = component.signature.members
    bits = {name: len(Value.cast(getattr(component, name))) for name in members}
    inputs = {name: bits[name] for name, member in members.items() if member.flow == In}
    return inputs, {name: bits[name] for name in members if name not in inputs}


def amaranth_trace(component, inputs: Trace) -> Trace:
    """Outputs after each clock edge, as unsigned numbers."""
    _, outputs = _members(component)
    seen = {name: [] for name in outputs}
    cycles = len(next(iter(inputs.values())))

    async def bench(ctx):
        for cycle in range(cycles):
            for name, values in inputs.items():
                ctx.set(getattr(component, name), values[cycle])
            await ctx.tick()
            for name, bits in outputs.items():
                seen[name].append(ctx.get(Value.cast(getattr(component, name))) & ((1 << bits) - 1))

    simulate(component, bench, cycles + 2)
    return seen


def verilog_of(component, platform: FileMemories) -> str:
    """Verilog of a component, called ``dut``."""
    return verilog.verilog_of(component, "dut", platform)


def icarus_trace(component, folder: Path, sources: list[Path], inputs: Trace, options=()) -> Trace:
    """Outputs after each clock edge of the module ``dut`` of ``sources``; ``None`` where a bit is unknown."""
    taken, shown = _members(component)
    cycles = len(next(iter(inputs.values())))
    width_in, width_out = sum(taken.values()), sum(shown.values())
    words = []
    for cycle in range(cycles):
        word, at = 0, 0
        for name, bits in taken.items():
            word |= (inputs[name][cycle] & ((1 << bits) - 1)) << at
            at += bits
        words.append(f"{word:x}\n")
    (folder / "inputs.hex").write_text("".join(words))
    head = next(text for source in sources for text in source.read_text().split(";") if "module dut" in text)
    ports = [".clk(clk)", ".rst(1'b0)"] if "rst" in head else [".clk(clk)"]
    for names, vector in ((taken, "taken"), (shown, "shown")):
        at = 0
        for name, bits in names.items():
            ports.append(f".{name}({vector}[{at} +: {bits}])")
            at += bits
    bench = f"""
module bench;
    reg clk = 0;
    reg [{width_in - 1}:0] inputs [0:{cycles - 1}];
    reg [{width_in - 1}:0] taken;
    wire [{width_out - 1}:0] shown;
    integer n;
    dut dut({", ".join(ports)});
    initial begin
        $readmemh("inputs.hex", inputs);
        for (n = 0; n < {cycles}; n = n + 1) begin
            taken = inputs[n];
            #1 clk = 1;
            #1 $display("%b", shown);
            clk = 0;
        end
    end
endmodule
"""
    lines = run_icarus(folder, bench, sources, options).split()
    seen = {name: [] for name in shown}
    for line in lines:
        at = len(line)
        for name, bits in shown.items():
            field = line[at - bits : at]
            seen[name].append(int(field, 2) if set(field) <= set("01") else None)
            at -= bits
    return seen


def run_icarus(folder: Path, bench: str, sources, options=()) -> str:
    """What the module ``bench`` prints."""
    if shutil.which("iverilog") is None:
        pytest.skip("Icarus Verilog is not installed")
    (folder / "bench.v").write_text(bench)
    command = ["iverilog", "-g2012", *options, "-s", "bench", "-o", "bench", "bench.v", *map(str, sources)]
    subprocess.run(command, cwd=folder, check=True)
    return subprocess.run(["vvp", "-n", "bench"], cwd=folder, check=True, capture_output=True, text=True).stdout
