# amaranth: UnusedElaboratable=no
"""Amaranth components as Verilog, by the Yosys that comes with Amaranth."""

import os
import subprocess

import pytest
from amaranth.back import verilog

from darb_hw.config import DEVICES
from darb_hw.device.memory import FileMemories, Ram
from darb_hw.device.verilog import verilog_of, verilog_with_primitives
from darb_hw.errors import ToolError


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
