"""Synthesised netlists, driven by their ports: what nextpnr places does what the oracle does, at the cycles planned."""

import re
import shutil

import pytest
from networks import random_inputs, random_network
from typer.testing import CliRunner

from darb_hw import tools
from darb_hw.config import EngineConfig
from darb_hw.emit import Build
from darb_hw.synth import netlist
from darb_prune.encoded import DarbError
from sim.cli import app
from sim.netlist import cell_models, simulate_netlist
from sim.scenario import Scenario

pytestmark = [pytest.mark.simulator, pytest.mark.synthesis]

# device: sizes, lanes. Both have DSP blocks in lanes, that of ECP5 in the requantiser too, and block RAMs.
DESIGNS = {"ecp5-25k": ((40, 23, 9), 3), "ice40-up5k": ((40, 17, 6), 2)}
SCENARIOS = [Scenario((0, 1, 2)), Scenario((0, 1, 2), idle=0.2, stall=0.3, burst=3, resets=1, bad_frames=True, seed=1)]


@pytest.fixture(params=DESIGNS)
def build(request, make_build) -> Build:
    sizes, lanes = DESIGNS[request.param]
    random = random_network(5, sizes=sizes)
    vectors = random.vectors(random_inputs(5, random.network, 3))
    return make_build(f"netlist-{request.param}", random.network, vectors, EngineConfig(lanes, request.param))


def copy(build: Build, folder) -> Build:
    shutil.copytree(build.folder, folder, ignore=shutil.ignore_patterns("sim"))
    return Build.load(folder)


def test_the_netlist_is_exact(build):
    text = netlist(build).read_text()
    cells = {"ecp5-25k": ("DP16KD", "MULT18X18D"), "ice40-up5k": ("SB_RAM40_4K", "SB_MAC16")}
    for cell in cells[build.plan.config.device]:
        assert f"  {cell} #(" in text
    reports = simulate_netlist(build, SCENARIOS)
    assert [report.mismatch for report in reports] == [None, None]
    for report in reports:
        assert report.frames == 3
        assert report.compute == [build.plan.timing.offer]
    begun = [steps[0].begun for steps in build.plan.timing.steps([1, 1, 1])]
    assert (reports[0].latency, reports[0].interval) == (build.plan.latency_cycles, begun[2] - begun[1])
    assert (reports[1].resets, reports[1].bad_frames) == (1, 3)


def flipped(text: str, parameter: str) -> str:
    """``text`` with a bit of a parameter of a block RAM changed, the lowest that is set in any of them."""
    match = next(m for m in re.finditer(rf"\.{parameter}\(\d+'h([0-9a-f]+)\)", text) if int(m[1], 16))
    value = int(match[1], 16)
    digits = f"{value ^ (value & -value):0{len(match[1])}x}"
    return text[: match.start(1)] + digits + text[match.end(1) :]


@pytest.mark.parametrize("build", ["ecp5-25k"], indirect=True)
def test_a_netlist_with_one_wrong_bit_is_noticed(build, tmp_path):
    """A bit of a block RAM's contents, and a constant of a cell."""
    broken = copy(build, tmp_path / "b")
    path = netlist(broken)
    right = path.read_text()
    for wrong in (flipped(right, "INITVAL_00"), right.replace('.REG_OUTPUT_CLK("CLK0")', '.REG_OUTPUT_CLK("NONE")', 1)):
        assert wrong != right
        path.write_text(wrong)
        (report,) = simulate_netlist(broken, SCENARIOS[:1])
        assert report.mismatch


@pytest.mark.parametrize("build", ["ice40-up5k"], indirect=True)
def test_a_multiplier_without_a_register_is_noticed(build, tmp_path):
    broken = copy(build, tmp_path / "b")
    path = netlist(broken)
    right = path.read_text()
    wrong = right.replace(".A_REG(1'h1)", ".A_REG(1'h0)", 1)
    assert wrong != right
    path.write_text(wrong)
    (report,) = simulate_netlist(broken, SCENARIOS[:1])
    assert report.mismatch


@pytest.mark.parametrize("build", ["ecp5-25k"], indirect=True)
def test_command(build):
    done = CliRunner().invoke(app, [str(build.folder), "--netlist", "--samples", "2"])
    assert done.exit_code == 0, done.output
    assert re.search(r"netlist .* exact", done.output)
    refused = CliRunner().invoke(app, [str(build.folder), "--netlist", "--simulator", "icarus"])
    assert isinstance(refused.exception, DarbError)
    assert "--netlist runs on Icarus: leave out --simulator" in str(refused.exception)


def test_models_of_a_yosys_without_libraries(monkeypatch, tmp_path):
    monkeypatch.setattr(tools, "yosys", lambda: tools.Tool("yosys", (str(tmp_path / "bin" / "yosys"),), "Yosys 0.40"))
    with pytest.raises(DarbError, match=r"no cell libraries in .*share/yosys"):
        tools.yosys_data.__wrapped__()
    assert "module DP16KD" in cell_models("ecp5")
