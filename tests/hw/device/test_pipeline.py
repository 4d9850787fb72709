"""Delay lines, and copies of a register that synthesis does not merge."""

import json
import subprocess

import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from darb_hw.device.memory import FileMemories
from darb_hw.device.modules import verilog_modules
from darb_hw.device.pipeline import delay, fanout
from darb_hw.device.verilog import verilog_of
from darb_hw.synthesis import tools
from tests.hw.amaranth_sim import simulate


class Spread(wiring.Component):
    """Each copy selects between two inputs, as that of a shadow register does."""

    def __init__(self, copies: int, cycles: int):
        self._copies, self._cycles = copies, cycles
        super().__init__({"i": In(1), "a": In(copies), "b": In(copies), "o": Out(copies)})

    def elaborate(self, platform):
        m = Module()
        for number, copy in enumerate(fanout(m, self.i, self._copies, "spread", cycles=self._cycles)):
            m.d.sync += self.o[number].eq((self.a[number] & copy) | (self.b[number] & ~copy))
        return m


@pytest.mark.parametrize(("copies", "cycles"), [(1, 1), (5, 1), (16, 2), (7, 2), (27, 3)])
def test_all_copies_follow(copies, cycles):
    dut = Spread(copies, cycles)
    pattern = [1, 0, 0, 1, 1, 0, 1, 0]

    async def bench(ctx):
        ctx.set(dut.a, -1)
        seen = []
        for value in [*pattern, *[0] * cycles]:
            ctx.set(dut.i, value)
            await ctx.tick()
            seen.append(ctx.get(dut.o))
        whole = (1 << copies) - 1
        assert seen == [0] * cycles + [value * whole for value in pattern]

    simulate(dut, bench)


def test_delay():
    m, i = Module(), Signal(4)
    same, later = delay(m, i, 0, "none"), delay(m, i, 3, "later")

    async def bench(ctx):
        seen = []
        for value in range(1, 9):
            ctx.set(i, value)
            assert ctx.get(same) == value
            seen.append(ctx.get(later))
            await ctx.tick()
        assert seen == [0, 0, 0, 1, 2, 3, 4, 5]

    simulate(m, bench)


@pytest.mark.synthesis
@pytest.mark.parametrize(("family", "register"), [("ecp5", "TRELLIS_FF"), ("ice40", "SB_DFF")])
def test_synthesis_keeps_the_copies(family, register, tmp_path):
    """An output register for each copy and, of a tree of two levels, 4 + 16 registers."""
    text = verilog_of(Spread(16, 2), "spread", FileMemories())
    (tmp_path / "all.v").write_text(text + verilog_modules())
    script = f"read_verilog all.v\nsynth_{family} -top spread\ntee -q -o cells.json stat -json\n"
    (tmp_path / "run.ys").write_text(script)
    done = subprocess.run(
        [*tools.yosys().command, "-s", "run.ys"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    cells = json.loads((tmp_path / "cells.json").read_text())["design"]["num_cells_by_type"]
    assert sum(count for cell, count in cells.items() if cell.startswith(register)) == 16 + 4 + 16
