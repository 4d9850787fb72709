"""Rows of the comparison: a peer that is not there, and the engine."""

import json
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.peers import limits, measure, simulate
from darb_prune.encoded import DarbError


@pytest.fixture
def row(subject, tmp_path, monkeypatch):
    """Measures a row of a peer that is not there; gives it and what was done for it."""
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


def test_row(row):
    found, done = row()
    assert done == ["generate", "simulate", "place 2"]
    assert {name: found[name] for name in ("samples", "elements", "latency", "interval", "luts", "estimated_luts")} == {
        "samples": 100, "elements": 1600, "latency": 7, "interval": 1, "luts": 50, "estimated_luts": 9.5,
    }  # fmt: skip
    assert measure.rate(found) == 100e6
    assert measure.rate(found | {"fmax_mhz": {}}) is None


def test_row_is_not_measured_twice(row):
    first, _ = row()
    assert row(before=first) == (first, [])
    assert row(seeds=3, before=first)[1] == ["place 3"]  # generated and simulated before
    assert row(cutoff=3.0, before=first)[1] == ["generate", "simulate", "place 2"]
    ended = first | {"fmax_mhz": {}, "reason": "did not fit"}
    assert row(cutoff=2.0, before=ended) == (ended, [])
    assert row(minutes=2.0, before=ended)[1] == ["generate", "simulate", "place 2"]


def test_row_that_ends_early(row, monkeypatch):
    found, done = row(obstacle="not tried: something else")
    assert (found["reason"], done) == ("not tried: something else", [])

    def stopped(*_):
        raise limits.Stopped("did not finish in 1 minutes")

    monkeypatch.setattr(measure, "simulate", stopped)
    found, done = row()
    assert found["unchecked"] == "the simulation did not finish in 1 minutes"
    assert done == ["generate", "place 2"]
    monkeypatch.setattr(measure, "run", stopped)
    found, done = row(cutoff=5.0)
    assert (found["reason"], found["too_large"], done) == ("alkaid did not finish in 1 minutes", True, [])


def test_contenders(subject):
    assert [contender.name for contender in measure.contenders(subject)] == [
        "darb, 4 lanes",
        "alkaid",
        "alkaid, sums only",
    ]
    large = replace(subject, layers=[replace(subject.layers[0], bias=np.zeros(300))] * 2)
    assert [contender.name for contender in measure.contenders(large)] == [
        "darb, 16 lanes", "darb, 64 lanes", "alkaid", "nngen, 4x4",
    ]  # fmt: skip
    assert [contender.name for contender in measure.contenders(large, 1.5)][2] == "alkaid, cutoff 1.5"


def test_row_of_the_engine(subject, tmp_path, monkeypatch):
    asked = []

    def failing(build, seeds, jobs, progress):
        asked.append(tuple(seeds))
        raise DarbError("does not fit: choose fewer lanes (see build/yosys.log)")

    monkeypatch.setattr(measure, "synthesise", failing)
    contender = measure.Contender("darb", "darb, 4 lanes", {"lanes": 4})
    found = measure.measure(subject, contender, (1, 2), 1, tmp_path / "row", {"old": 1}, None, lambda step: None)
    assert found["reason"] == "does not fit: choose fewer lanes"
    assert 0 < found["interval"] < found["latency"]
    assert asked == [(1, 2)]
