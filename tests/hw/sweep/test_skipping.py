"""Which points of a sweep need not be built."""

from dataclasses import replace

import pytest

from darb_hw.errors import ToolError
from darb_hw.estimate.model import shipped
from darb_hw.jobs.threads import ThreadPool
from darb_hw.store.store import Store
from darb_hw.sweep.estimation import Estimation
from darb_hw.sweep.networks import Networks
from darb_hw.sweep.points import grid
from darb_hw.sweep.skipping import unbuilt
from darb_hw.sweep.spec import sweep_of
from tests.networks import random_network

MODEL = shipped()
NETWORK = random_network(5, sizes=(40, 60, 40, 4)).network


@pytest.fixture
def outcome(tmp_path):
    """What comes of axes: label -> result."""
    path = tmp_path / "net.darb"
    NETWORK.save(path)

    def outcome(model=MODEL, **axes):
        sweep = sweep_of({"networks": path, "axes": axes}, "x")
        points, store = grid(sweep), Store(tmp_path / "store")
        with ThreadPool(1, store) as pool:
            results = unbuilt(points, Networks(sweep), model, pool, store)
        return {points[number].label: result for number, result in results.items()}

    return outcome


def test_what_is_dominated_is_skipped(outcome):
    """Lanes that share memory rest while results are written."""
    results = outcome(lanes=[3, 12], memory=["private", "shared"], device="ice40-hx8k")
    (skipped,) = results.values()
    assert skipped.point.label == "net, ice40-hx8k, 12 lanes, memory shared"
    assert skipped.reason == "estimated to be no better than net, ice40-hx8k, 3 lanes, memory private in anything"
    assert skipped.status == "skipped"


def test_devices_without_a_clock_are_built(outcome):
    axes = {"lanes": [3, 12], "memory": ["private", "shared"], "device": ["ice40-hx8k", "ecp5-25k"]}
    assert any("ice40" in label for label in outcome(**axes))
    model = replace(MODEL, clocks={"ecp5-25k": MODEL.clocks["ecp5-25k"]})
    assert not any("ice40" in label for label in outcome(model, **axes))


def test_points_without_a_plan_are_tried(outcome):
    """The engine says why there is none."""
    assert outcome(lanes=[8, 16], lane_multiplier="dsp", device="ice40-up5k") == {}


def test_choices_that_do_not_go_together_have_failed(outcome):
    (result,) = outcome(lanes=3, positions=2, device="ecp5-25k").values()
    assert result.status == "failed"
    assert "positions = 2" in result.reason


def test_a_network_that_cannot_be_made_has_failed(tmp_path, monkeypatch):
    def files(self, point):
        raise ToolError("darb compile: ended by signal 9")
        yield

    monkeypatch.setattr(Networks, "files", files)
    sweep = sweep_of({"task": "digits", "axes": {"lanes": [2, 4]}}, "x")
    store = Store(tmp_path / "store")
    with ThreadPool(1, store) as pool:
        results = unbuilt(grid(sweep), Networks(sweep), MODEL, pool, store)
    assert [(result.status, result.reason) for result in results.values()] == [
        ("failed", "darb compile: ended by signal 9")
    ] * 2


def test_without_an_estimate_all_are_built(outcome, monkeypatch):
    def refuse(job, folder):
        raise ToolError("a worker has other versions")

    monkeypatch.setattr(Estimation, "made", refuse)
    assert outcome(lanes=[3, 12], memory=["private", "shared"], device="ice40-hx8k") == {}
