"""Designs synthesised for real, results used again."""

import json
from dataclasses import replace

import pytest

from darb_hw.config import DEVICES, EngineConfig
from darb_hw.emit import generate
from darb_hw.errors import PlanError, ToolError
from darb_hw.plan import metrics
from darb_hw.plan.resources import estimated_block_rams
from darb_hw.store.store import Store
from darb_hw.synthesis import synth, tools
from darb_hw.synthesis.circuit import Circuit
from darb_hw.synthesis.report import SynthReport
from darb_hw.synthesis.route import Route
from darb_hw.synthesis.synth import synthesise
from darb_hw.synthesis.yosys import Synthesis
from darb_prune.encoded import DENSE, DarbError
from tests.networks import random_network


@pytest.fixture(scope="module")
def network():
    return random_network(5, sizes=(9, 11, 4)).network


def test_no_seeds(network, tmp_path):
    build = generate(network, EngineConfig(lanes=1), tmp_path)
    with pytest.raises(DarbError, match="no seeds"):
        synthesise(build, seeds=())


def test_multipliers_decide_about_dsp_blocks(network, tmp_path):
    expected = {
        ("ice40-up5k", "dsp"): "synth_ice40 -top", ("ice40-up5k", "lut"): "synth_ice40 -top",
        ("ecp5-25k", "dsp"): "synth_ecp5 -top", ("ecp5-25k", "lut"): "synth_ecp5 -nodsp ",
        ("gw1nr-9", "dsp"): "synth_gowin -family gw1n -nodsp -noiopads -top",
        ("gw2a-18", "lut"): "synth_gowin -family gw2a -nodsp -noiopads -top",
        ("lifcl-40", "dsp"): "synth_lattice -family lifcl -nodsp -noiopad -top",
    }  # fmt: skip
    for (device, style), command in expected.items():
        config = EngineConfig(lanes=2, device=device, lane_multiplier=style, requant_multiplier="lut")
        build = generate(network, config, tmp_path / f"{device}-{style}")
        script = Circuit.of(build).script
        assert command in script
        assert "read_verilog -D DARB_PRIMITIVES engine.v primitives.v\n" in script
        assert ("darb_multiply #(" in build.verilog.read_text().partition("module darb_")[0]) == (style == "dsp")
        # What goes into a board has pins; what is placed alone has none but that of the clock, where all need one.
        whole = Circuit.of(build).script_for("top")
        assert ("delete -port engine/* engine/clk %d" in script) == DEVICES[device].needs_pins
        assert "-noiopad" not in whole
        assert "delete" not in whole
    build = generate(network, EngineConfig(lanes=2, device="ice40-hx8k"), tmp_path / "hx8k")
    assert "read_verilog engine.v\n" in Circuit.of(build).script


def test_multiply_accumulates_of_convolutions(tmp_path):
    """Each weight counts at every output position, the dense ones too."""
    network = random_network(3, "convolution").network
    build = generate(network, EngineConfig(lanes=2, device="ice40-hx8k"), tmp_path)
    path = {"from": {"cell": "a"}, "to": {"cell": "b"}, "type": "logic", "delay": 1.0}
    routed = {
        "fmax": {"clk": {"achieved": 100.0}},
        "critical_paths": [{"from": "posedge clk", "to": "posedge clk", "path": [path]}],
        "utilization": {"ICESTORM_LC": {"used": 5, "available": 7680}},
    }
    needed = dict.fromkeys(("luts", "ffs", "block_rams", "dsps"), 1)
    report = synth._report(Circuit.of(build), needed, {1: routed}, {})
    macs = [layer.kept * layer.positions[0] * layer.positions[1] for layer in network.layers]
    dense = [layer.dense_weights * layer.positions[0] * layer.positions[1] for layer in network.layers]
    assert report.kept < report.macs == sum(macs)
    assert report.weights < report.dense_macs == sum(dense)
    # At 100 MHz; utilisation is the share of the lanes' cycles that are useful.
    assert report.actual_gops == pytest.approx(2 * 0.1 * 2 * report.utilisation)


def test_the_netlist_of_what_was_placed(network, tmp_path, log):
    """Pins do not matter to it, another engine does. What stands in the folder is replaced by what the store has.
    (Stand-ins take the place of the tools.)"""
    build = generate(network, EngineConfig(lanes=1, device="ecp5-25k"), tmp_path / "b")
    store = Store(tmp_path / "store")
    synthesise(build, seeds=(1,), board="ulx3s-25f", store=store)
    keys, folder = list(store.keys()), tmp_path / "b" / "synth"
    text = (folder / "netlist.v").read_text()
    (folder / "netlist.v").write_text("of another engine")
    assert synth.netlist(build, store) == folder / "netlist.v"
    assert (folder / "netlist.v").read_text() == text
    assert list(store.keys()) == keys
    build.verilog.write_text(build.verilog.read_text() + "// another engine\n")
    synth.netlist(build, store)
    assert len(list(store.keys())) == len(keys) + 1


@pytest.mark.synthesis
@pytest.mark.parametrize(
    ("device", "lanes", "board"),
    [
        ("ice40-hx8k", 1, None),
        ("ice40-up5k", 2, "icebreaker"),
        pytest.param("ecp5-25k", 3, None, marks=pytest.mark.long),
        pytest.param("ecp5-25k", 1, "ulx3s-25f", marks=pytest.mark.long),
        ("gw1nr-9", 1, None),
        ("lifcl-40", 1, None),
    ],
)
def test_real_synthesis(network, tmp_path, device, lanes, board):
    build = generate(network, EngineConfig(lanes=lanes, device=device), tmp_path)
    ended = []
    report = synthesise(build, seeds=(3,), board=board, progress=ended.append)
    assert ended == ["synthesis", "seed 3"]
    plan, target = build.plan, DEVICES[device]
    assert (report.device, report.lanes, report.weight_bits) == (device, lanes, 8)
    assert (report.interval_cycles, report.latency_cycles) == (plan.timing.interval_of(1), plan.timing.latency_of(1))
    assert (report.weights, report.kept, report.digest) == (network.weights, network.kept, build.digest)
    assert report.utilisation == metrics.utilisation(plan)
    assert set(report.fmax_mhz) == {3}
    assert 10 < report.fmax_median < 500
    # A path may take half a period only, so the Fmax is at most what the whole delay allows.
    assert report.critical_path.delay_ns <= 1000 / report.fmax_median * 1.01
    assert report.critical_path.delay_ns > report.critical_path.routing_ns > 0
    assert report.luts.available == target.luts
    assert report.block_rams.available == target.block_rams
    assert report.dsps.available == target.dsps
    assert 0 < report.luts.used <= report.logic_cells.used < report.logic_cells.available
    assert report.ffs.used > 100
    styles = ((plan.lane_style, lanes), (plan.requant_style, plan.requant_style.limbs))
    assert report.dsps.used == sum(number for style, number in styles if style.dsp)
    assert 0 <= report.block_rams.used <= estimated_block_rams(plan)
    assert set(report.tools) == {"yosys", tools.nextpnr(target.family).name}
    # The frequency of the constraints is the one asked for on the command line.
    routed = json.loads((tmp_path / "synth" / "seed-3.json").read_text())
    (clock,) = routed["fmax"].values()
    assert clock["constraint"] == pytest.approx(target.target_mhz, rel=1e-3)
    assert SynthReport.load(tmp_path / "synth" / "report.json") == report
    assert {"netlist.v", "report.json", "seed-3.json", "seed-3.log", "yosys.log"} <= {
        path.name for path in (tmp_path / "synth").iterdir()
    }


@pytest.fixture
def tools_of_one_run(monkeypatch, log):
    """Jobs run stand-ins the first time, and give those very results after that; the list has what was run."""
    made, ran = {}, []

    def once(real):
        def run(job, folder):
            ran.append("yosys" if job.kind == "synthesis" else str(job.seed))
            if job.kind not in made:
                made[job.kind] = real(job, folder)
            return made[job.kind]

        return run

    for job in (Synthesis, Route):
        monkeypatch.setattr(job, "run", once(job.run))
    return ran


def test_results_are_used_again(network, tmp_path, monkeypatch, tools_of_one_run):
    build = generate(network, EngineConfig(lanes=1, device="ice40-hx8k"), tmp_path / "b")
    store = Store(tmp_path / "store")

    def ran(**options):
        """What a call started: "yosys", or the seed of a place-and-route run."""
        tools_of_one_run.clear()
        report = synthesise(build, store=store, **options)
        return sorted(tools_of_one_run), report

    first, one = ran(seeds=(1,))
    assert first == ["1", "yosys"]
    again, same = ran(seeds=(1,))
    assert (again, same) == ([], one)
    more, two = ran(seeds=(1, 2))
    assert more == ["2"]
    assert set(two.fmax_mhz) == {1, 2}
    assert two.fmax_mhz[1] == one.fmax_mhz[1]

    # Other pins are placed again, from the same netlist; so is all with another version of a tool.
    pins = tmp_path / "mine.pcf"
    pins.write_text("set_io clk J3\n")
    assert ran(seeds=(1,), board=str(pins))[0] == ["1"]
    newer = replace(tools.nextpnr("ice40"), version="99")
    monkeypatch.setattr(synth.tools, "nextpnr", lambda family: newer)
    started, report = ran(seeds=(1,), board=str(pins))
    assert started == ["1"]
    assert report.tools["nextpnr-ice40"] == "99"

    # A build elsewhere of the same design needs nothing; a damaged entry is made again.
    elsewhere = generate(network, EngineConfig(lanes=1, device="ice40-hx8k"), tmp_path / "elsewhere")
    tools_of_one_run.clear()
    assert synthesise(elsewhere, (1,), board=str(pins), store=store) == report
    assert tools_of_one_run == []
    (synthesis,) = [record for record in store.records() if record.kind == "synthesis"]
    path = store.folder / synthesis.key[:2] / f"{synthesis.key}.zip"
    path.write_bytes(path.read_bytes()[:-50])
    assert ran(seeds=(1,), board=str(pins))[0] == ["yosys"]


@pytest.mark.synthesis
def test_constraints_that_are_wrong(network, tmp_path):
    build = generate(network, EngineConfig(lanes=1, device="ice40-hx8k"), tmp_path)
    pins = tmp_path / "mine.pcf"
    pins.write_text("set_io clk NOWHERE\n")
    expected = r"^nextpnr-ice40 failed: .*NOWHERE.* \(see .*seed-1.log\)$"
    with pytest.raises(ToolError, match=expected) as error:
        synthesise(build, seeds=(1,), board=str(pins))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "synth" / "report.json").exists()


@pytest.mark.synthesis
@pytest.mark.parametrize(
    ("sizes", "there", "least"), [((9, 11, 4), 1, 2), pytest.param((200, 100), 30, 41, marks=pytest.mark.long)]
)
def test_does_not_fit(sizes, there, least, tmp_path, monkeypatch):
    """200 x 100 dense codes of 8 bits: 160 kbit, the device has 120. Few codes, and a device that has less. As if the
    estimate had not known."""
    monkeypatch.setattr("darb_hw.plan.resources.check_fit", lambda plan, asked: None)
    monkeypatch.setitem(DEVICES, "ice40-up5k", replace(DEVICES["ice40-up5k"], block_rams=there))
    wide = random_network(3, sizes=sizes, levels=(DENSE,)).network
    build = generate(wide, EngineConfig(lanes=1, device="ice40-up5k"), tmp_path)
    expected = rf"^does not fit ice40-up5k: \d+ block RAMs needed, {there} there: choose "
    with pytest.raises(PlanError, match=expected) as error:
        synthesise(build, seeds=(1,))
    assert int(str(error.value).split()[4]) >= least
    assert not (tmp_path / "synth" / "report.json").exists()


@pytest.mark.synthesis
def test_verilog_that_yosys_cannot_read(network, tmp_path):
    build = generate(network, EngineConfig(lanes=1, device="ice40-hx8k"), tmp_path)
    build.verilog.write_text("module engine(\n")
    with pytest.raises(ToolError, match=r"^yosys failed: .*syntax error.*yosys.log\)$"):
        synthesise(build, seeds=(1,))


def test_flip_flops_can_be_what_is_lacking():
    """Gowin's devices have fewer of them than LUTs."""
    device = DEVICES["gw1nr-9"]
    needed = {"luts": 7000, "ffs": 6481, "block_rams": 26, "dsps": 20}
    assert str(synth.lacking_of(needed, device)) == (
        "does not fit gw1nr-9: 6481 flip-flops needed, 6480 there: choose fewer lanes or a larger device"
    )
    assert synth.lacking_of(needed | {"ffs": 6480}, device) is None
    assert synth.lacking_of(needed | {"block_rams": 0, "dsps": 0}, DEVICES["ice40-hx8k"]) is None


@pytest.mark.parametrize(
    ("name", "cell", "most"), [("ice40-hx4k", "ICESTORM_LC", 3520), ("ecp5-12k", "TRELLIS_COMB", 12000)]
)
def test_a_die_may_have_more_than_its_data_sheet(name, cell, most):
    """nextpnr places on all of it; what the data sheet promises counts."""
    device = DEVICES[name]
    needed = {"luts": most - 1, "ffs": most - 1, "block_rams": 5, "dsps": 0}
    assert synth.lacking_of(needed, device) is None
    assert "flip-flops needed" in str(synth.lacking_of(needed | {"ffs": most + 1}, device))

    def report(cells: int) -> dict:
        return {"utilization": {cell: {"used": cells, "available": 2 * most}}}

    usage = synth.usage_of(device, needed, report(most))
    assert (usage["luts"].available, usage["logic_cells"].used, usage["logic_cells"].available) == (most, most, most)
    with pytest.raises(PlanError, match=f"{most + 1} logic cells needed, {most} there: choose fewer lanes"):
        synth.usage_of(device, needed, report(most + 1))
