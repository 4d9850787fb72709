# amaranth: UnusedElaboratable=no
"""Amaranth components as Verilog, by the Yosys that comes with Amaranth."""

import os
import subprocess

import pytest
from amaranth.back import verilog
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from darb_hw.config import DEVICES, EngineConfig
from darb_hw.device.memory import FileMemories, Ram
from darb_hw.device.verilog import verilog_of, verilog_with_primitives
from darb_hw.emit import verilog_texts
from darb_hw.errors import ToolError
from darb_hw.plan.plan import Plan
from darb_hw.synthesis import tools
from tests.networks import random_network


def test_the_text_is_that_of_amaranth(monkeypatch):
    monkeypatch.setenv("AMARANTH_USE_YOSYS", "builtin")
    expected = verilog.convert(
        Ram(4, 40), name="ram", platform=FileMemories(), emit_src=False, strip_internal_attrs=True
    )
    assert verilog_of(Ram(4, 40), "ram", FileMemories()) == expected


def test_the_environment_stays_and_does_not_matter(monkeypatch):
    expected = verilog_of(Ram(4, 40), "ram", FileMemories())
    monkeypatch.setenv("AMARANTH_USE_YOSYS", "system")
    monkeypatch.setenv("PATH", "/nowhere")
    before = dict(os.environ)
    assert verilog_of(Ram(4, 40), "ram", FileMemories()) == expected
    assert dict(os.environ) == before


@pytest.mark.parametrize(("device", "cell"), [("ecp5-25k", "DP16KD"), ("ice40-up5k", "SB_MAC16"), ("ice40-hx8k", None)])
def test_primitives_stand_in_for_the_plain_modules(device, cell):
    text, primitives = verilog_with_primitives(Ram(4, 40), "ram", DEVICES[device])
    assert "module ram(" in text
    assert "module darb_ram #(" in text
    assert (primitives is None) if cell is None else (cell in primitives)


def test_yosys_that_fails(monkeypatch):
    broken = subprocess.CompletedProcess([], 1, "", "warning\nERROR: no such pass\n")
    monkeypatch.setattr("darb_hw.device.verilog.subprocess.run", lambda *_, **__: broken)
    with pytest.raises(ToolError, match=r"^Amaranth's Yosys failed: ERROR: no such pass; install it again: pip "):
        verilog_of(Ram(4, 40), "ram", FileMemories())


class Child(wiring.Component):
    """Gives a register to its parent; the upper bit is always 0."""

    i: Signal
    o: Signal

    def __init__(self):
        super().__init__({"i": In(1), "o": Out(2)})

    def elaborate(self, platform):
        m = Module()
        state = Signal(2)
        m.d.sync += state.eq(self.i)
        m.d.comb += self.o.eq(state)
        return m


class Parent(Child):
    """Has registers of its own, and a child that reads one of them and gives another."""

    def elaborate(self, platform):
        m = Module()
        m.submodules.child = child = Child()
        taken = Signal(2, init=2)
        m.d.sync += [taken.eq(child.o), self.o.eq(taken)]
        m.d.comb += child.i.eq(self.i ^ taken[0])
        return m


def test_initial_values_stand_at_registers_alone():
    """At other wires of the same signal they would be the same value twice, which tools need not keep equal."""
    text = verilog_of(Parent(), "parent", FileMemories())
    assert "(* init" not in text
    assert "reg [1:0] taken = 2'h2;" in text
    assert "reg [1:0] state = 2'h0;" in text


@pytest.mark.synthesis
@pytest.mark.parametrize("kind", ["chain", "convolution", "gru"])
def test_a_flat_engine_can_be_optimised(kind, tmp_path):
    """Constant registers are removed, whose bits have aliases in other modules."""
    plan = Plan.make(random_network(5, kind).network, EngineConfig(lanes=2))
    (tmp_path / "engine.v").write_text(verilog_texts(plan)["engine.v"])
    (tmp_path / "run.ys").write_text("read_verilog engine.v\nproc\nflatten\nopt\n")
    command = [*tools.yosys().command, "-s", "run.ys"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, (done.stdout + done.stderr)[-300:]
