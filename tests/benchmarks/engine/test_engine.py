"""The benchmark of the engine: what is measured of a small one, what is kept, goals and page."""

import copy
import json

import pytest
import torch
from rich.console import Console
from torch import nn

from benchmarks import builds
from benchmarks.engine import measure, page, plots
from benchmarks.engine.goals import goals
from darb_hw.config import EngineConfig
from darb_hw.plan import metrics
from darb_hw.plan.plan import Plan
from darb_prune.encoded import DarbError, EncodedNetwork, Level
from darb_prune.pruning.methods import Darb, Unpruned

LEVELS = (Level(1, 1), Level(2, 1))


def layer():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(24, 20)), torch.randn(9, 24), {"random": torch.randn(6, 24)}


@pytest.fixture
def engine(tmp_path, monkeypatch):
    """The benchmark with one small layer in a folder of its own."""

    def made(ratio, method):
        return lambda path: builds.one_shot(path, layer, ratio, 8, method)

    networks = {"small": made(3, Darb(lanes=4, levels=LEVELS)), "dense": made(1, Unpruned())}
    monkeypatch.setattr(measure, "NETWORKS", networks)
    monkeypatch.setattr(measure, "BUILD", tmp_path / "build")
    monkeypatch.setattr(measure, "FOLDER", tmp_path / "results")
    return measure


def measured(engine, point, **changes):
    options = {"seeds": range(1, 2), "jobs": 1, "synthesis": False, "again": False} | changes
    return engine.measure("one", point, console=Console(quiet=True), **options)


def test_what_the_plan_says(engine):
    found = measured(engine, engine.EnginePoint("small", 4, synthesis=False, dense="dense"))
    network = EncodedNetwork.load(engine.BUILD / "small.darb")
    plan = Plan.make(network, EngineConfig(lanes=4))
    seen = found["plan"]
    ideal = sum(
        (8 + level.bits) * (24 >> level.bits) * len(one.rows_of(number))
        for one in network.layers
        for number, level in enumerate(one.levels)
    )
    assert seen["ideal_bits"] == ideal
    assert seen["kept"] < 24 * 20 / 3
    assert (seen["stored_bits"], seen["cycles"]["interval"]) == (metrics.stored_bits(plan), plan.timing.interval_of(1))
    assert sum(seen["bits"].values()) == seen["stored_bits"]
    assert found["dense"]["interval"] > seen["cycles"]["interval"]
    assert (found["sim"], found["synth"]) == (None, None)
    assert json.loads((engine.FOLDER / "one.json").read_text()) == found


def test_too_large_for_the_device(engine, monkeypatch):
    def generate(*arguments):
        raise DarbError("does not fit")

    monkeypatch.setattr(engine, "generate", generate)
    found = measured(engine, engine.EnginePoint("small", 3, samples=3), synthesis=True)
    assert found["refused"] == "does not fit"
    assert found["plan"]["utilisation"] > 0


def test_nothing_is_measured_twice(engine, monkeypatch):
    calls = []

    def simulated(name, build, samples, console):
        calls.append("sim")
        return {"samples": samples, "interval": build.plan.timing.interval_of(1)}

    def synthesised(name, build, seeds, jobs, console):
        calls.append("synth")
        return {"fmax_mhz": dict.fromkeys(seeds, 100.0)}

    monkeypatch.setattr(engine, "simulated", simulated)
    monkeypatch.setattr(engine, "synthesised", synthesised)
    point = engine.EnginePoint("small", 4, samples=3)
    first = measured(engine, point, synthesis=True)
    assert calls == ["sim", "synth"]
    assert measured(engine, point, synthesis=True) == first
    assert measured(engine, point, seeds=range(1, 4)) == first  # what is known is kept without synthesis, too
    assert calls == ["sim", "synth"]
    more = {"synthesis": True, "seeds": range(1, 4)}
    measured(engine, point, **more)
    assert calls[2:] == ["synth"]
    other = engine.EnginePoint("small", 5, samples=2)
    measured(engine, other, **more)
    assert calls[3:] == ["sim", "synth"]
    measured(engine, other, again=True, **more)
    assert calls[5:] == ["sim", "synth"]


def result(**changes):
    """A measurement in which every figure is just at its limit."""
    plan = {
        "cycles": {"compute": 90, "interval": 100}, "utilisation": 0.97, "index_overhead": 1.02, "weights": 1600,
        "kept": 100, "macs": 100, "levels": [2, 3], "ideal_bits": 1000, "stored_bits": 1100,
        "bits": {"codes": 1020, "rows": 50, "program": 30}, "rows": {"count": 5, "bias": 6, "mult": 4},
        "block_rams": {"activation memory": 40, "ROM codes": 9}, "requantiser_dsps": 1,
        "layers": [{"steps": 2, "idle": 10}],
    }  # fmt: skip
    rates = {"fmax_median": 200.0, "fmax_min": 190.0, "fmax_max": 210.0, "dense_equivalent_gops": 130.0}
    rates |= {"inferences_per_second": 1e6, "actual_gops": 5.0}
    synth = {
        "luts": {"used": 65 * 64}, "ffs": {"used": 640}, "dsps": {"used": 65}, "block_rams": {"used": 41},
        "derived": rates, "tools": {"yosys": "0"}, "fmax_mhz": {"1": 200.0},
        "critical_path": {"start": "a", "end": "b"},
    }  # fmt: skip
    point = {"lanes": 64, "device": "ecp5-85k", "synthesis": True}
    sim = {"interval": 100, "samples": 7}
    found = {"plan": plan, "synth": synth, "sim": sim, "dense": {"interval": 1520}, "point": point}
    return copy.deepcopy(found) | changes


def by_name(goals, words):
    (goal,) = [goal for goal in goals if words in goal.name]
    return goal


def test_goals():
    probe = {"ecp5-85k": {"1": 300.0, "2": 250.0, "3": 400.0}}
    points = "lanes-64", "one-64", "shared-64", "lenet-300-100"
    found = goals({name: result() for name in points} | {"probe": probe})
    ratios = {"MHz, 64 lanes": 200 / 180, "utilisation, LeNet": 0.97 / 0.95}
    same = "LUT4", "DSP a lane", "activation block RAM", "index overhead", "stored bits", "1024x1024 at 16x", "speed-up"
    for words, ratio in (ratios | dict.fromkeys(same, 1)).items():
        goal = by_name(found, words)
        assert goal.ratio == pytest.approx(ratio), words
        assert goal.holds, words
    assert by_name(found, "limit probe, 64 lanes").value == pytest.approx(200 / 300)
    assert not by_name(found, "MHz, 32 lanes").measured
    assert not by_name(found, "MHz, 32 lanes").holds

    worse = result()
    worse["synth"]["luts"]["used"] += 1
    worse["synth"]["block_rams"]["used"] += 1
    worse["plan"]["stored_bits"] += 1
    worse["dense"]["interval"] -= 1
    found = goals(dict.fromkeys(points, worse))
    for words in ("LUT4", "activation block RAM", "stored bits", "speed-up"):
        assert by_name(found, words).measured
        assert not by_name(found, words).holds, words
    # An interval that no simulation has seen counts for nothing.
    for sim in (None, {"interval": 103, "samples": 7}):
        unseen = goals({name: result(sim=sim) for name in points})
        for words in ("utilisation, LeNet", "utilisation, 1024x1024", "speed-up"):
            assert not by_name(unseen, words).measured, words


def test_page_and_plots(tmp_path):
    folder = tmp_path / "engine"
    results = {name: result() for name in page.TITLES}
    page.write(results, folder)
    assert not list(tmp_path.iterdir())  # accuracies are missing
    of = {"dense": {"validation": 0.98, "test": 0.97}}
    of |= {"pruned": of["dense"], "integer": {"validation": 0.96, "test": 0.9}}
    results["accuracy"] = {"0": {"16": of, "8": of}, "1": {"16": of, "8": of}}
    results["lanes-8"] = result(synth=None, refused="does not fit: choose fewer lanes")
    page.write(results, folder)
    text = (tmp_path / "engine.md").read_text()
    assert "| LUT4 a lane, 64 lanes | 65.0 | &lt;= 65.0 | 1.000 | yes |" in text
    assert "does not fit: choose fewer lanes" in text
    assert "10 bits a row (bias 6, mult 4), 5 rows" in text
    assert "rows 5.00 %, program 3.00 %" in text
    assert "90.00 ± 0.00" in text
    for name in ("lanes.png", "bits.png", "cycles.png"):
        assert (folder / name).read_bytes().startswith(b"\x89PNG")


def test_shares_add_up():
    one = result()
    assert sum(plots.bit_shares(one).values()) == pytest.approx(1.1)
    shares = plots.cycle_shares(one)
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["multiply-accumulates"] == pytest.approx(100 / 64 / 100)
    assert shares["waits inside and between layers"] == pytest.approx(0.1)
