"""The comparison with other generators: what it gives them, and what it makes of their answers."""

import importlib.util
import json
import sys
from dataclasses import replace

import numpy as np
import pytest

from darb_hw.config import DEVICES
from darb_hw.synthesis import tools
from darb_prune.encoded import DarbError, Level
from tests.draws import SeedDraw
from tests.networks import random_chain, random_inputs

EIGHT = (Level(3, 1), Level(2, 1))


@pytest.fixture
def peers():
    """Imports a module of the package."""
    return lambda name: importlib.import_module(f"benchmarks.peers.{name}")


def chain(seed, *sizes, **options):
    return random_chain(SeedDraw(seed), sizes=sizes, levels=EIGHT, **options)


@pytest.mark.parametrize("seed", range(4))
def test_layers_compute_what_the_reference_does(peers, seed):
    dense = peers("dense")
    random = chain(seed, 13, 24, 9)
    inputs = random_inputs(seed, random.network, 20)
    layers = dense.layers_of(random.network)
    assert np.array_equal(dense.evaluate(layers, inputs), random.trace(inputs)[random.network.output])
    sums = dense.evaluate(layers[:1], inputs, requantise=False)
    assert np.array_equal(sums + layers[0].bias, random.sums(inputs).reshape(20, -1))


def test_bits_of_the_accumulator(peers):
    dense = peers("dense")
    layers = dense.layers_of(chain(1, 13, 24).network)
    worst = max(abs(row).sum() * 128 + abs(bias) for row, bias in zip(layers[0].weight, layers[0].bias, strict=True))
    assert 2 ** (dense.accumulator_bits(layers[0]) - 2) <= worst < 2 ** (dense.accumulator_bits(layers[0]) - 1)


@pytest.mark.parametrize("seed", range(4))
def test_one_shift_for_all_rows_changes_nothing(peers, seed):
    dense = peers("dense")
    random = chain(seed, 13, 24)
    (layer,) = dense.layers_of(random.network)
    inputs = random_inputs(seed, random.network, 20)
    shifts = 20 + np.arange(24) % 5
    layer = replace(layer, shift=shifts, mult=layer.mult % 256)
    same = dense.one_shift(layer)
    assert len(np.unique(same.shift)) == 1
    assert np.array_equal(dense.evaluate([same], inputs), dense.evaluate([layer], inputs))
    assert np.array_equal(same.mult, layer.mult * 2.0 ** (24 - shifts))


def test_identity_sees_every_number(peers):
    dense = peers("dense")
    (made,) = dense.layers_of(chain(1, 5, 4).network)
    found = {dense.digest([made])}
    for name in ("weight", "bias", "mult", "shift"):
        values = getattr(made, name).copy()
        values.flat[0] += 1
        found.add(dense.digest([replace(made, **{name: values})]))
    found |= {dense.digest([replace(made, qmin=made.qmin + 1)]), dense.digest([replace(made, qmax=made.qmax - 1)])}
    assert len(found) == 7


def test_only_chains_of_linear_layers(peers):
    dense = peers("dense")
    with pytest.raises(DarbError, match="'layer1': the peers are compared on chains"):
        dense.layers_of(chain(3, 9, 4, split=True).network)
    with pytest.raises(DarbError, match="'layer1': the peers are compared with 8-bit"):
        dense.layers_of(chain(1, 9, 4, activation_bits=9).network)


def test_ladder_is_the_same_every_time(peers, tmp_path):
    ladder, dense = peers("ladder"), peers("dense")
    path = ladder.named("linear-24", tmp_path / "new")
    made = ladder.make(24)
    assert dense.digest(dense.layers_of(made)) == dense.digest(dense.layers_of(type(made).load(path)))
    assert made.weights / made.kept == pytest.approx(ladder.RATIO, rel=0.05)
    assert ladder.named(str(path), tmp_path) == path
    for wrong in ("linear-1", "linear-x", "nothing.darb"):
        with pytest.raises(DarbError, match=f"{wrong}: neither"):
            ladder.named(wrong, tmp_path)


# Programs and their limit.


def test_programs_are_stopped(peers, tmp_path):
    limits = peers("limits")
    with pytest.raises(limits.Stopped, match=r"did not finish in 0\.01 minutes"):
        limits.run([sys.executable, "-c", "while True: pass"], tmp_path, "log", 0.01)
    with pytest.raises(DarbError, match=r"failed: ValueError: an error of seven \(see") as failed:
        limits.run([sys.executable, "-c", "raise ValueError('an error of seven')"], tmp_path, "log", 1)
    assert not isinstance(failed.value, limits.Stopped)
    assert limits.run([sys.executable, "-c", "print(5)"], tmp_path, "log", 1) >= 0
    assert (tmp_path / "log").read_text() == "5\n"


def test_modules_run_in_any_folder(peers, tmp_path):
    limits = peers("limits")
    limits.run(limits.module("generate", "--help"), tmp_path, "log", 1)
    assert "a .darb file" in (tmp_path / "log").read_text()


# Simulations.


def shown(values, fields):
    """Lines of a bench: the elements of each cycle in one number, element 0 lowest."""
    lines = []
    for row in values:
        word, start = 0, 0
        for value, (signed, integers, fraction) in zip(row, fields, strict=True):
            width = max(signed + integers + fraction, 0)
            word |= ((int(value) << max(fraction, 0) >> max(-fraction, 0)) & ((1 << width) - 1)) << start
            start += width
        lines.append(f"output {word:0{-(-start // 4)}x}")
    return lines


FIELDS = [[1, 7, 0], [0, 7, 0], [0, 0, 0], [1, 5, 2], [1, 9, -2], [1, 20, 0]]


def expected_of(samples=30):
    rng = np.random.default_rng(3)
    low, high = np.array([-128, 0, 0, -32, -512, -(1 << 20)]), np.array([127, 127, 0, 31, 508, (1 << 20) - 1])
    values = rng.integers(low, high + 1, (samples, 6))
    values[:, 4] &= ~3
    return values


@pytest.mark.parametrize("latency", [0, 1, 6])
def test_pipeline(peers, latency):
    simulate = peers("simulate")
    expected = expected_of()
    lines = ["output xxxxx"] * latency + shown(expected, FIELDS) + ["output 0", "- finished"]
    assert simulate._pipeline(lines, expected, FIELDS) == simulate.Seen(30, 180, latency, 1)


def test_pipeline_with_one_wrong_element(peers):
    simulate = peers("simulate")
    expected = expected_of()
    wrong = expected.copy()
    wrong[17, 5] ^= 1
    with pytest.raises(DarbError, match="1 of 180 elements differ"):
        simulate._pipeline(shown(wrong, FIELDS), expected, FIELDS)


def test_frames(peers):
    simulate = peers("simulate")
    expected = np.array([[5, -3], [7, 0]])
    lines = ["cycles 40", "output 5", "output -3", "cycles 42", "output 7", "output 0"]
    assert simulate._frames(lines, expected) == simulate.Seen(2, 4, 42, 42)
    with pytest.raises(DarbError, match="1 of 4 elements differ"):
        simulate._frames([*lines[:-1], "output 1"], expected)
    with pytest.raises(DarbError, match="4 of 4 elements differ"):
        simulate._frames(lines[:-1], expected)


# Place and route, with programs that stand for the tools.

YOSYS = """
import json, sys, time
from pathlib import Path
cells = json.loads(Path("wanted.json").read_text())
forever = cells.pop("forever", 0)
while forever: pass
Path("cells.json").write_text(json.dumps({"design": {"num_cells_by_type": cells}}))
with open("calls", "a") as calls: calls.write("yosys ")
"""
NEXTPNR = """
import json, sys
from pathlib import Path
seed = int(sys.argv[sys.argv.index("--seed") + 1])
while seed == 3: pass
clock = {"achieved": 100 + seed / 2}
Path("part.json").write_text(json.dumps({"fmax": {"$glbnet$clk": clock}}))
with open("calls", "a") as calls: calls.write(f"{seed} ")
"""
DESIGN = {"top": "peer", "clock": "clk", "sources": ["peer.v"]}


@pytest.fixture
def placed(peers, tmp_path, monkeypatch):
    """Places a design of such cells; gives the result and what was called."""
    for name, text in (("yosys", YOSYS), ("nextpnr", NEXTPNR)):
        (tmp_path / f"{name}.py").write_text(text)
        tool = tools.Tool(name, (sys.executable, str(tmp_path / f"{name}.py")), "1")
        monkeypatch.setattr(tools, name, lambda *_, tool=tool: tool)
    place = peers("place").place

    def run(seeds, verilog="module", **cells):
        (tmp_path / "peer.v").write_text(verilog)
        (tmp_path / "wanted.json").write_text(json.dumps(cells))
        (tmp_path / "calls").write_text("")
        found = place(tmp_path, DESIGN, DEVICES["ecp5-85k"], seeds, 0.02, lambda step: None)
        return found, (tmp_path / "calls").read_text().split()

    return run


def test_place(placed):
    found, calls = placed((1, 2), LUT4=10, CCU2C=3, TRELLIS_FF=7, MULT18X18D=2, DP16KD=4)
    assert calls == ["yosys", "1", "2"]
    assert found == {
        "luts": 16, "ffs": 7, "dsps": 2, "block_rams": 4, "fmax_mhz": {"1": 100.5, "2": 101.0},
        "tools": {"yosys": "1", "nextpnr": "1"},
    }  # fmt: skip
    assert placed((1, 2, 4))[1] == ["4"]  # the others are there
    assert placed((1,), verilog="another")[1] == ["yosys", "1"]


def test_place_what_is_too_large(placed):
    found, calls = placed((1,), LUT4=10, TRELLIS_FF=90_000, MULT18X18D=157)
    assert calls == ["yosys"]
    assert found["reason"] == "does not fit: too many ffs, dsps"
    assert found["too_large"]
    assert found["luts"] == 10


def test_place_stops(placed):
    found, calls = placed((1, 3, 4), LUT4=10)
    assert calls == ["yosys", "1"]
    assert found["reason"] == "nextpnr did not finish in 0.02 minutes of processor time"
    assert found["fmax_mhz"] == {"1": 100.5}
    assert "too_large" not in found
    found, calls = placed((1,), verilog="endless", forever=1)
    assert found["reason"].startswith("Yosys did not finish")
    assert found["too_large"]
    assert not calls


# Rows.


@pytest.fixture
def subject(peers, tmp_path):
    path = tmp_path / "tiny.darb"
    chain(2, 12, 16).network.save(path)
    return peers("measure").Subject.of(path)


@pytest.fixture
def row(peers, subject, tmp_path, monkeypatch):
    """Measures a row of a peer that is not there; gives it and what was done for it."""
    measure, simulate = peers("measure"), peers("simulate")
    done = []

    def generated(command, folder, log, minutes):
        done.append("generate")
        (folder / "generated.json").write_text(json.dumps({"estimated_luts": 9.5}))

    def place(folder, design, device, seeds, minutes, progress):
        done.append(f"place {len(seeds)}")
        return {"fmax_mhz": {str(seed): 100.0 for seed in seeds}, "luts": 50}

    monkeypatch.setattr(measure, "_version", lambda tool: "1.0")
    monkeypatch.setattr(measure, "run", generated)
    monkeypatch.setattr(measure, "simulate", lambda *_: done.append("simulate") or simulate.Seen(100, 1600, 7, 1))
    monkeypatch.setattr(measure, "place", place)

    def run(seeds=2, minutes=1.0, before=None, obstacle=None, cutoff=2.0):
        contender = measure.Contender("alkaid", "alkaid", {"cutoff": cutoff})
        done.clear()
        arguments = range(1, seeds + 1), minutes, tmp_path / "row", before, obstacle, lambda step: None
        return json.loads(json.dumps(measure.measure(subject, contender, *arguments))), list(done)

    return run


def test_row(peers, row):
    found, done = row()
    assert done == ["generate", "simulate", "place 2"]
    assert {name: found[name] for name in ("samples", "elements", "latency", "interval", "luts", "estimated_luts")} == {
        "samples": 100, "elements": 1600, "latency": 7, "interval": 1, "luts": 50, "estimated_luts": 9.5,
    }  # fmt: skip
    assert peers("measure").rate(found) == 100e6
    assert peers("measure").rate(found | {"fmax_mhz": {}}) is None


def test_row_is_not_measured_twice(row):
    first, _ = row()
    assert row(before=first) == (first, [])
    assert row(seeds=3, before=first)[1] == ["place 3"]  # generated and simulated before
    assert row(cutoff=3.0, before=first)[1] == ["generate", "simulate", "place 2"]
    ended = first | {"fmax_mhz": {}, "reason": "did not fit"}
    assert row(cutoff=2.0, before=ended) == (ended, [])
    assert row(minutes=2.0, before=ended)[1] == ["generate", "simulate", "place 2"]


def test_row_that_ends_early(peers, row, monkeypatch):
    measure = peers("measure")
    found, done = row(obstacle="not tried: something else")
    assert (found["reason"], done) == ("not tried: something else", [])

    def stopped(*_):
        raise peers("limits").Stopped("did not finish in 1 minutes")

    monkeypatch.setattr(measure, "simulate", stopped)
    found, done = row()
    assert found["unchecked"] == "the simulation did not finish in 1 minutes"
    assert done == ["generate", "place 2"]
    monkeypatch.setattr(measure, "run", stopped)
    found, done = row(cutoff=5.0)
    assert (found["reason"], found["too_large"], done) == ("alkaid did not finish in 1 minutes", True, [])


def test_contenders(peers, subject):
    measure = peers("measure")
    assert [one.name for one in measure.contenders(subject)] == ["darb, 4 lanes", "alkaid", "alkaid, sums only"]
    large = replace(subject, layers=[replace(subject.layers[0], bias=np.zeros(300))] * 2)
    assert [one.name for one in measure.contenders(large)] == [
        "darb, 16 lanes", "darb, 64 lanes", "alkaid", "nngen, 4x4",
    ]  # fmt: skip
    assert [one.name for one in measure.contenders(large, 1.5)][2] == "alkaid, cutoff 1.5"


def test_row_of_the_engine(peers, subject, tmp_path, monkeypatch):
    measure, asked = peers("measure"), []

    def failing(build, seeds, jobs, progress):
        asked.append(tuple(seeds))
        raise DarbError("does not fit: choose fewer lanes (see build/yosys.log)")

    monkeypatch.setattr(measure, "synthesise", failing)
    contender = measure.Contender("darb", "darb, 4 lanes", {"lanes": 4})
    found = measure.measure(subject, contender, (1, 2), 1, tmp_path / "row", {"old": 1}, None, lambda step: None)
    assert found["reason"] == "does not fit: choose fewer lanes"
    assert 0 < found["interval"] < found["latency"]
    assert asked == [(1, 2)]


# Results and page.


def results_of(peers):
    """Two networks: the larger one too large for alkaid."""
    results = peers("results").Results()
    common = {"minutes": 10.0, "tools": {"yosys": "0.7"}, "ffs": 90, "dsps": 1, "block_rams": 0}
    identity = {"identity": {"generator": "alkaid 9"}}
    darb = common | {"identity": {}, "tool": "darb", "luts": 500, "latency": 90, "interval": 50}
    alkaid = common | identity | {"tool": "alkaid", "luts": 2_000, "latency": 7, "interval": 1}
    results.networks = {
        "linear-16": {
            "shape": [16, 16], "weights": 256, "kept": 32,
            "rows": {
                "darb, 4 lanes": darb | {"fmax_mhz": {"1": 100.0, "2": 120.0, "3": 110.0}},
                "alkaid": alkaid | {"fmax_mhz": {"1": 80.0}, "samples": 100, "elements": 1_600},
            },
        },
        "linear-99": {
            "shape": [99, 99], "weights": 9_801, "kept": 1_225,
            "rows": {
                "darb, 4 lanes": darb | {"fmax_mhz": {"1": 101.0}, "interval": 400},
                "alkaid": alkaid | {
                    "fmax_mhz": {}, "luts": 99_999, "reason": "does not fit: too many luts", "too_large": True,
                    "unchecked": "the simulation did not finish",
                },
            },
        },
    }  # fmt: skip
    return results


def test_results(peers, subject, tmp_path):
    measure, results = peers("measure"), results_of(peers)
    path = tmp_path / "new" / "peers.json"
    results.put(subject, measure.Contender("alkaid", "alkaid", {}), {"luts": 3})
    results.save(path)
    loaded = peers("results").Results.load(path)
    assert loaded == results
    assert loaded.row("tiny", "alkaid") == {"tool": "alkaid", "luts": 3}
    assert loaded.networks["tiny"]["shape"] == [12, 16]
    assert loaded.networks["tiny"]["weights"] == 192
    assert loaded.row("tiny", "nngen") is None
    assert not peers("results").Results.load(tmp_path / "absent.json").networks
    path.write_text("[]")
    with pytest.raises(DarbError, match=r"peers\.json: damaged"):
        peers("results").Results.load(path)


def test_what_is_too_large_ends_the_ladder(peers, subject):
    results, contender = results_of(peers), peers("measure").Contender("alkaid", "alkaid", {})
    assert results.obstacle(replace(subject, kept=1_224), contender) is None
    assert (
        results.obstacle(replace(subject, kept=1_225), contender)
        == "not tried: linear-99, no larger, does not fit: too many luts"
    )
    other = peers("measure").Contender("darb", "darb, 4 lanes", {"lanes": 4})
    assert results.obstacle(replace(subject, kept=9_999), other) is None


def test_page(peers, tmp_path):
    page, results = peers("page"), results_of(peers)
    page.write(results, tmp_path / "peers.json")
    text = (tmp_path / "peers.md").read_text()
    assert (
        "| linear-16 | darb, 4 lanes | 500 | 90 | 1 | 0 | 110.0 (100 to 120) | 3 | 90 | 50 | 2,200,000 | 4,400.0 |"
        in text
    )
    assert "| linear-16 | alkaid | 2,000 | 90 | 1 | 0 | 80.0 | 1 | 7 | 1 | 80,000,000 | 40,000.0 |" in text
    assert "- linear-99, alkaid: does not fit: too many luts; 99,999 LUT4 and 90 FF after synthesis" in text
    # alkaid: 4 times the LUTs, 80 to 2.2 million a second; behind a stream of 16 elements 5 million.
    assert "| linear-16 | 4.0 | 36 | 9.1 | 2.27 |" in text
    largest = "linear-16 (256 weights, 32 kept)", "linear-99 (9,801 weights, 1,225 kept)"
    assert f"| alkaid | {largest[0]} | {largest[0]} | {largest[1]} |" in text
    assert f"| darb | {largest[1]} | {largest[1]} | {largest[1]} |" in text
    assert "| linear-16 | alkaid | 100 | 1,600 | 0 |" in text
    assert "| linear-99 | alkaid | – | the simulation did not finish | – |" in text
    assert "alkaid 9" in text
    for name in ("peers-area.png", "peers-size.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
        assert f"]({name})" in text


def test_page_says_which_rows_are_missing(peers, tmp_path):
    results = peers("results").Results()
    peers("page").write(results, tmp_path / "peers.json")
    text = (tmp_path / "peers.md").read_text()
    large = "linear-128, linear-256, linear-1024, linear-2048\n"
    assert f"- darb, not measured yet: linear-16, linear-32, linear-64, {large}" in text
    assert f"- nngen, not measured yet: {large}" in text
    assert "Rows are missing still" in text
    for size in peers("ladder").SIZES:
        rows = {tool: {"tool": tool, "identity": {}, "fmax_mhz": {}} for tool in peers("measure").TOOLS}
        results.networks[f"linear-{size}"] = {"shape": [size, size], "weights": 1, "kept": 1, "rows": rows}
    peers("page").write(results, tmp_path / "peers.json")
    text = (tmp_path / "peers.md").read_text()
    assert "not measured yet" not in text
    assert "Rows are missing still" not in text
    assert "None." in text


def test_command(peers, tmp_path, monkeypatch):
    from typer import Typer
    from typer.testing import CliRunner

    main, app = peers("__main__"), Typer()
    app.command()(main.main)
    monkeypatch.setattr(main, "measure", lambda subject, *_: {"identity": {}, "fmax_mhz": {"1": 50.0}, "interval": 10})
    monkeypatch.setattr(main.page, "write", lambda results, path: None)
    output = tmp_path / "out.json"
    arguments = ["linear-16", "--tools", "darb,alkaid", "-o", str(output), "--build", str(tmp_path / "build")]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert "linear-16: alkaid, sums only: 50.0 MHz, 5,000,000 inferences/s" in done.output
    assert list(json.loads(output.read_text())["networks"]["linear-16"]["rows"]) == [
        "darb, 4 lanes", "alkaid", "alkaid, sums only",
    ]  # fmt: skip
    for wrong, message in ((["linear-x"], "linear-x: neither"), (["--tools", "vivado"], "choose from darb")):
        done = CliRunner().invoke(app, [*wrong, "-o", str(output), "--build", str(tmp_path / "build")])
        assert done.exit_code == 2
        assert message in done.output


# The peers themselves, where they are installed.


def needs(*modules):
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    return pytest.mark.skipif(bool(missing), reason=f"{', '.join(missing)} not installed: pip install 'darb[peers]'")


def checked(peers, tmp_path, network, tool, samples, *options):
    """What the simulation of a generated peer showed."""
    path, limits = tmp_path / "net.darb", peers("limits")
    network.save(path)
    folder = tmp_path / tool
    folder.mkdir()
    command = limits.module("generate", path, folder, "--tool", tool, "--samples", samples, *options)
    limits.run(command, folder, "log", 5)
    return peers("simulate").simulate(folder, json.loads((folder / "generated.json").read_text()), 5, "icarus")


@pytest.mark.simulator
@needs("alkaid")
@pytest.mark.parametrize("options", [(), ("--sums",)])
def test_alkaid(peers, tmp_path, options):
    made = peers("ladder").make(12)
    seen = checked(peers, tmp_path, made, "alkaid", 100, "--cutoff", "2", *options)
    assert (seen.samples, seen.elements, seen.interval) == (100, 1200, 1)
    assert seen.latency > 1


@pytest.mark.simulator
@needs("nngen")
def test_nngen(peers, tmp_path):
    made = peers("ladder").make(12)
    (layer,) = made.layers  # with the shifts of multipliers of 8 bits, which differ
    less = np.arange(layer.rows) % 3
    narrow = replace(layer, mult=(layer.mult >> 8 + less).astype(np.int32), shift=layer.shift - (8 + less))
    made = replace(made, layers=(replace(narrow, shift=narrow.shift.astype(np.uint8)),))
    seen = checked(peers, tmp_path, made, "nngen", 3, "--left", "2", "--right", "2")
    assert (seen.samples, seen.elements) == (3, 36)
    assert seen.interval > 12 * 12 / 4
