"""The main job: real digits through the generated Verilog, every test image, bit for bit; some on several engines."""

import pytest

from darb_hw.config import EngineConfig
from sim.launch import simulate
from sim.scenario import Scenario

pytestmark = pytest.mark.simulator
LANES = {1: "ecp5-25k", 4: "ice40-hx8k", 7: "ice40-up5k", 16: "ecp5-85k"}
# All images on 16 lanes, and other ones of them on each of the slower engines.
IMAGES = {1: range(0, 360, 12), 4: range(1, 360, 9), 7: range(2, 360, 9), 16: range(360)}


def build_of(lanes, digits, make_build):
    network, vectors = digits
    assert vectors.samples == 360
    return make_build(f"digits-{lanes}", network, vectors, EngineConfig(lanes=lanes, device=LANES[lanes]))


def check(build, simulator, scenarios):
    reports = simulate(build, simulator, scenarios)
    assert [report.mismatch for report in reports] == [None] * len(scenarios)
    plan = build.plan
    for report, scenario in zip(reports, scenarios, strict=True):
        assert report.frames == len(scenario.samples)
        assert report.rows >= report.frames * 202
        assert report.compute == [plan.timing.offer]
    assert (reports[0].latency, reports[0].interval) == (plan.timing.latency_of(1), plan.timing.interval_of(1))


@pytest.mark.parametrize("lanes", [1, 16, *(pytest.param(lanes, marks=pytest.mark.long) for lanes in (4, 7))])
def test_all_test_images_on_verilator(lanes, digits, make_build):
    scenarios = [
        Scenario(tuple(IMAGES[lanes])),
        Scenario(tuple(range(0, 360, 30)), idle=0.2, stall=0.3, burst=4, seed=lanes),
        Scenario(tuple(range(5)), idle=0.05, resets=4, seed=lanes),
    ]
    check(build_of(lanes, digits, make_build), "verilator", scenarios)


@pytest.mark.parametrize("lanes", LANES)
def test_some_test_images_on_icarus(lanes, digits, make_build):
    scenarios = [Scenario(tuple(range(4))), Scenario((32, 33), idle=0.2, stall=0.3, burst=4, seed=lanes)]
    check(build_of(lanes, digits, make_build), "icarus", scenarios)
