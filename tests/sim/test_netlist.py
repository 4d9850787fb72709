"""Synthesised netlists, driven by their ports: what nextpnr places does what the oracle does, at the cycles planned."""

import re
import shutil

import numpy as np
import pytest
from typer.testing import CliRunner

from darb_hw.config import EngineConfig
from darb_hw.emit import Build
from darb_hw.synthesis import tools
from darb_hw.synthesis.synth import netlist
from darb_prune.encoded import DarbError
from sim.cli import app
from sim.netlist import cell_models, simulate_netlist
from sim.scenario import Scenario
from tests.map_networks import residual_network
from tests.networks import random_inputs, random_lengths, random_network

pytestmark = [pytest.mark.simulator, pytest.mark.synthesis]

# name: (seed, options of random_network), configuration. All have DSP blocks in lanes, those of ECP5 in the requantiser
# too, and block RAMs.
DESIGNS = {
    "ecp5": ((5, {"sizes": (40, 23, 9)}), EngineConfig(3, "ecp5-25k")),
    "ice40": ((5, {"sizes": (40, 17, 6)}), EngineConfig(2, "ice40-up5k")),
    "ecp5, shared memories": ((5, {"sizes": (40, 23, 9)}), EngineConfig(4, "ecp5-25k", input="alone", memory="shared")),
    "ecp5, groups that wait": ((8, {"sizes": (30, 20)}), EngineConfig(4, "ecp5-25k")),
    "ecp5, many groups that wait": ((8, {"sizes": (40, 30, 20)}), EngineConfig(8, "ecp5-25k")),
    "ecp5, convolutions with pooling and additions": ((46, {"kind": "convolution"}), EngineConfig(2, "ecp5-25k")),
    "ecp5, many convolutions with pooling and additions": ((3, {"kind": "convolution"}), EngineConfig(3, "ecp5-25k")),
    "ecp5, LSTM": ((52, {"kind": "lstm"}), EngineConfig(2, "ecp5-25k")),
    "ecp5, embedding and GRUs": ((255, {"kind": "gru"}), EngineConfig(3, "ecp5-25k")),
    "ecp5, maps in banks": ("maps", EngineConfig(4, "ecp5-25k", positions=4, results=2)),
    "ice40, maps in banks": ("maps", EngineConfig(2, "ice40-up5k", positions=2, results=2)),
    "ice40, maps in banks of single-port RAMs": (
        "maps",
        EngineConfig(2, "ice40-up5k", positions=2, results=1, memory="spram", input="alone"),
    ),
    "ice40, ROMs in single-port RAMs": ((5, {"sizes": (20, 30, 6)}), EngineConfig(2, "ice40-up5k", roms="spram")),
    "ice40, convolution and LSTM": ((293, {"kind": "lstm"}), EngineConfig(2, "ice40-up5k")),
    "gowin, shared memories": ((5, {"sizes": (40, 23, 9)}), EngineConfig(2, "gw2a-18", input="alone", memory="shared")),
    "nexus, shared memories": (
        (5, {"sizes": (40, 23, 9)}),
        EngineConfig(2, "lifcl-40", input="alone", memory="shared"),
    ),
}
# Of each there is another one that is like it.
LONG = "ice40, maps in banks", "ice40, convolution and LSTM", "ecp5, many groups that wait"
LONG += ("ecp5, many convolutions with pooling and additions",)
CELLS = {
    "ecp5": ("DP16KD", "MULT18X18D"), "ice40": ("SB_RAM40_4K", "SB_MAC16"), "gowin": ("DPX9B", "MULT18X18"),
    "nexus": ("DP16K", "PDPSC16K", "MULT9X9"),
}  # fmt: skip
SCENARIOS = [Scenario((0, 1)), Scenario((2,), idle=0.2, stall=0.3, burst=3, resets=1, bad_frames=True, seed=1)]


@pytest.fixture(params=[pytest.param(name, marks=[pytest.mark.long] * (name in LONG)) for name in DESIGNS])
def build(request, make_build) -> Build:
    made, config = DESIGNS[request.param]
    seed = 5 if made == "maps" else made[0]
    random = residual_network(2, 3, short=True) if made == "maps" else random_network(seed, **made[1])
    lengths = random_lengths(seed, random.network, 3)
    lengths = None if lengths is None else np.minimum(lengths, 2)  # Icarus is slow on netlists
    inputs = random_inputs(seed, random.network, 3 if lengths is None else int(lengths.sum()))
    slug = re.sub(r"\W+", "-", request.param)
    return make_build(f"netlist-{slug}", random.network, random.vectors(inputs, lengths), config)


def copy(build: Build, folder) -> Build:
    shutil.copytree(build.folder, folder, ignore=shutil.ignore_patterns("sim"))
    return Build.load(folder)


def test_the_netlist_is_exact(build):
    text = netlist(build).read_text()
    for cell in CELLS[build.plan.config.target.family]:
        assert f"  {cell} #(" in text
    assert text.count("  SB_SPRAM256KA ") == build.plan.sprams
    reports = simulate_netlist(build, SCENARIOS)
    assert [report.mismatch for report in reports] == [None, None]
    for report, scenario in zip(reports, SCENARIOS, strict=True):
        assert report.frames == len(scenario.samples)
        assert report.compute == [build.plan.timing.offer]
    if (
        not build.plan.network.recurrent
    ):  # sequences are of several lengths: the scoreboard has compared each with the plan
        timing = build.plan.timing
        assert (reports[0].latency, reports[0].interval) == (timing.latency_of(1), timing.interval_of(1))
    assert (reports[1].resets, reports[1].bad_frames) == (1, 1)


def test_designs_have_what_their_names_say(build, request):
    plan, network = build.plan, build.plan.network
    name = request.node.callspec.params["build"]
    assert plan.latency.shared == ("shared" in name)
    assert plan.latency.held >= ("wait" in name)
    assert {cell.kind for cell in network.cells} == {kind for kind in ("gru", "lstm") if kind.upper() in name}
    assert plan.banked == ("banks" in name)
    assert bool(plan.sprams) == ("single-port" in name)
    if "banks" in name:
        assert plan.latency.paired == ("single-port" in name)
        assert plan.config.ways == 2 - plan.latency.paired
        assert plan.latency.operand
        assert any(any(layer.padding) for layer in network.layers)
    if "convolution" in name:
        assert any(layer.positions != (1, 1) for layer in network.layers)
        assert any(layer.pool != (1, 1) for layer in network.layers)
    if "additions" in name:
        assert any(layer.operand for layer in network.layers)


def flipped(text: str, parameter: str) -> str:
    """``text`` with a bit of a parameter of a block RAM changed, the lowest that is set in any of them."""
    match = next(m for m in re.finditer(rf"\.{parameter}\(\d+'h([0-9a-f]+)\)", text) if int(m[1], 16))
    value = int(match[1], 16)
    digits = f"{value ^ (value & -value):0{len(match[1])}x}"
    return text[: match.start(1)] + digits + text[match.end(1) :]


@pytest.mark.parametrize("build", ["ecp5"], indirect=True)
def test_a_netlist_with_one_wrong_bit_is_noticed(build, tmp_path, monkeypatch):
    """A bit of a block RAM's contents, and a constant of a cell."""
    broken = copy(build, tmp_path / "b")
    path = netlist(broken)
    monkeypatch.setattr("sim.netlist.netlist", lambda build: path)
    right = path.read_text()
    for wrong in (flipped(right, "INITVAL_00"), right.replace('.REG_OUTPUT_CLK("CLK0")', '.REG_OUTPUT_CLK("NONE")', 1)):
        assert wrong != right
        path.write_text(wrong)
        (report,) = simulate_netlist(broken, [Scenario((0, 1, 2))])
        assert report.mismatch


@pytest.mark.parametrize("build", ["ice40", "gowin, shared memories", "nexus, shared memories"], indirect=True)
def test_a_multiplier_without_a_register_is_noticed(build, tmp_path, monkeypatch):
    broken = copy(build, tmp_path / "b")
    path = netlist(broken)
    monkeypatch.setattr("sim.netlist.netlist", lambda build: path)
    right = path.read_text()
    there, gone = {
        "ice40": (".A_REG(1'h1)", ".A_REG(1'h0)"), "gowin": (".OUT_REG(1'h1)", ".OUT_REG(1'h0)"),
        "nexus": ('.REGOUTPUT("REGISTER")', '.REGOUTPUT("BYPASS")'),
    }[broken.plan.config.target.family]  # fmt: skip
    wrong = right.replace(there, gone, 1)
    assert wrong != right
    path.write_text(wrong)
    (report,) = simulate_netlist(broken, [Scenario((0, 1, 2))])
    assert report.mismatch


@pytest.mark.parametrize("build", ["ecp5"], indirect=True)
def test_command(build):
    done = CliRunner().invoke(app, ["sim", str(build.folder), "--netlist", "--samples", "2"])
    assert done.exit_code == 0, done.output
    assert re.search(r"netlist .* exact", done.output)
    refused = CliRunner().invoke(app, ["sim", str(build.folder), "--netlist", "--simulator", "icarus"])
    assert isinstance(refused.exception, DarbError)
    assert "--netlist runs on Icarus: leave out --simulator" in str(refused.exception)


def test_models_of_a_yosys_without_libraries(monkeypatch, tmp_path):
    monkeypatch.setattr(tools, "yosys", lambda: tools.Tool("yosys", (str(tmp_path / "bin" / "yosys"),), "Yosys 0.40"))
    with pytest.raises(DarbError, match=r"no cell libraries in .*share/yosys"):
        tools.yosys_data.__wrapped__()
    assert "module DP16KD" in cell_models("ecp5")
