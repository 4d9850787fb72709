"""The benchmark of MLPerf Tiny: what is measured of a small network in the place of one of these, goals and page."""

import json

import pytest
import torch
from rich.console import Console
from torch import nn

from benchmarks import builds
from benchmarks.mlperf import measure, networks, page
from benchmarks.mlperf.goals import FITTING, PLACED, RATES, UTILISATIONS, goals
from benchmarks.mlperf.measure import POINTS, MlperfPoint
from darb_prune.encoded import EncodedNetwork
from darb_prune.pruning.methods import Unpruned

ACCURACY = {"dense": {"test": 0.9}, "integer": {"test": 0.89}}


def small():
    torch.manual_seed(1)
    model = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 3))
    return model, torch.randn(9, 2, 6, 6), {"random": torch.randn(4, 2, 6, 6)}


@pytest.fixture
def small_network(tmp_path, monkeypatch):
    """Every reference network is the same small one, in a folder of its own."""
    path = tmp_path / "small.darb"
    builds.one_shot(path, small, 1, method=Unpruned())
    network = EncodedNetwork.load(path)
    network.provenance.update({"ratio": 1.0, "metric": "accuracy", "accuracy": ACCURACY})
    network.save(path)
    path.with_suffix(".vectors").unlink()  # of the network as it was; nothing is simulated here
    monkeypatch.setattr(measure, "network_file", lambda name, ratio: (path, [f"darb train {name}"]))
    monkeypatch.setattr(measure, "BUILD", tmp_path / "build")
    monkeypatch.setattr(measure, "FOLDER", tmp_path / "results")
    monkeypatch.setattr(
        measure, "simulated", lambda name, build, samples, console: {"samples": samples, "elements": 30, "cycles": 99}
    )
    return network


def measured(point, synthesis=False, again=False):
    return measure.measure(point, range(1, 3), 1, synthesis, again, Console(quiet=True))


def synthesis_of(mhz):
    used = {resource: {"used": 64} for resource in ("luts", "ffs", "block_rams", "dsps")}
    clocks = {"fmax_median": mhz, "fmax_min": mhz - 1, "fmax_max": mhz + 1}
    return {"fmax_mhz": {"1": mhz, "2": mhz}, "derived": clocks, **used}


def test_a_point_is_measured_once(small_network, monkeypatch):
    point = MlperfPoint("kws", 1, 4)
    runs = []
    monkeypatch.setattr(measure, "synthesised", lambda name, *_: runs.append(name) or synthesis_of(200.0))
    first = measured(point)
    assert (first["synth"], runs) == (None, [])
    assert first["macs"] == small_network.macs
    assert first["provenance"] == {"ratio": 1.0, "metric": "accuracy", "accuracy": ACCURACY}
    assert first["commands"][-1].startswith("darb verilog")
    placed = measured(point, synthesis=True)
    assert placed["synth"]["derived"]["fmax_median"] == 200
    # What is known of the same design is kept, without synthesis too.
    assert measured(point, synthesis=True) == measured(point) == placed
    assert runs == [point.name]
    measured(point, synthesis=True, again=True)
    assert runs == [point.name] * 2


def test_what_is_too_large_is_refused_with_the_reason(small_network, monkeypatch):
    def refuse(*arguments):
        raise measure.DarbError("does not fit")

    monkeypatch.setattr(measure, "generate", refuse)
    result = measured(MlperfPoint("ic", 4, 8, "ecp5-25k"))
    assert result["refused"] == "does not fit"
    assert "plan" not in result


def test_commands_make_a_network(tmp_path, monkeypatch):
    asked = []

    def darb(*words, done):
        asked.append((words[0], done))
        return " ".join(map(str, words))

    monkeypatch.setattr(networks, "darb", darb)
    path, commands = networks.network_file("kws", 4)
    assert commands == [
        "train --task mlperf-kws -o runs/mlperf/kws",
        "prune runs/mlperf/kws --ratio 4 -o runs/mlperf/kws-4x",
        "compile runs/mlperf/kws-4x --vectors 100 -o build/mlperf/kws-4x.darb",
    ]
    assert asked[-1] == ("compile", path)
    assert [name for name, _ in asked] == ["train", "prune", "compile"]
    assert len(networks.network_file("kws", 1)[1]) == 2


def test_goals_name_points_that_are_measured():
    named = {*UTILISATIONS, *PLACED, *RATES, *(name for names in FITTING.values() for name in names)}
    assert named <= POINTS.keys()
    assert all(not goal.measured for goal in goals({}))


def test_goals_and_page(small_network, tmp_path, monkeypatch):
    monkeypatch.setattr(measure, "synthesised", lambda *_: synthesis_of(180.0))
    result = measured(MlperfPoint("kws", 1, 4), synthesis=True)  # what it gives for any point
    results = {name: result | {"point": vars(point)} for name, point in POINTS.items()}
    results["vww-1x-16"] = {**results["vww-1x-16"], "refused": "too large"}
    figures = {goal.name: goal for goal in goals(results)}
    assert figures["MHz, IC 4x, 32 lanes"].value == 180
    assert figures["LUT4 a lane, KWS dense, 32 lanes"].text == "2.0"
    interval = results["kws-4x-32"]["plan"]["interval"]
    assert figures["inferences/s, KWS 4x, 32 lanes"].value == pytest.approx(180e6 / interval)
    assert figures["networks that fit: dense, 16 lanes, ecp5-85k"].value == 3
    assert figures["networks that fit: 8 lanes, ecp5-25k"].holds
    page.write(json.loads(json.dumps(results)), tmp_path / "page.md")
    text = (tmp_path / "page.md").read_text()
    assert "| DS-CNN, keyword spotting | 1 | closed |" in text
    assert "- `vww-1x-16`: too large" in text
    assert "| ZedBoard, Zynq 7020 | closed | 3,088 | 2,431 | 105 | - |" in text
    assert "open division" in text
