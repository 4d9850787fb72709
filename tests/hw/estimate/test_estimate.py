"""Estimates of networks."""

import json
import time
from dataclasses import replace

import pytest

from darb_hw.config import DEVICES, EngineConfig
from darb_hw.estimate.estimate import Estimate, NoPlan, estimate, estimates
from darb_hw.estimate.model import FittedFigure, Model, shipped
from darb_hw.estimate.sample import planned
from darb_hw.plan.plan import Plan
from darb_prune.encoded import DarbError
from tests.networks import random_network

NETWORK = random_network(5, sizes=(64, 128, 10)).network


def model_of(luts: float, low: float = 1.0, high: float = 1.0, cells: float = 0.5) -> Model:
    """Every engine has so many LUTs and flip-flops, and 100 MHz."""

    def figure(**weights):
        return FittedFigure(weights, low, high, 0.0, 0.0, 1, 1)

    area = {family: figure(engine=luts) for family in ("ice40", "ecp5")}
    clock = {device: figure(engine=4.605170186) for device in DEVICES}
    return Model({"luts": area, "ffs": area}, {family: figure(luts=cells) for family in area}, clock)


def test_to_json_and_back():
    made = estimate(Plan.make(NETWORK, EngineConfig(lanes=4)), shipped())
    assert Estimate.from_dict(json.loads(json.dumps(made.as_dict()))) == made


def test_what_is_exact():
    plan = Plan.make(NETWORK, EngineConfig(lanes=4, device="ice40-hx8k"))
    made = estimate(plan, model_of(1000, 0.9, 1.2))
    assert (made.latency_cycles, made.interval_cycles) == (plan.timing.latency_of(1), plan.timing.interval_of(1))
    assert (made.block_rams, made.dsps) == planned(plan)
    assert (made.luts.low, made.luts.value, made.luts.high) == pytest.approx((900, 1000, 1200))
    assert made.fmax_mhz.value == pytest.approx(100)
    assert made.inferences_per_second.value == pytest.approx(1e8 / plan.timing.interval_of(1))
    assert made.inferences_per_second.high == pytest.approx(1.2e8 / plan.timing.interval_of(1))


@pytest.mark.parametrize(
    ("luts", "low", "high", "fits"),
    [
        (4000, 1, 1, "yes"),
        (8000, 1, 1, "no"),
        (4000, 0.9, 2, "perhaps"),
        (6000, 0.9, 1, "no"),
        (5500, 0.9, 1, "perhaps"),
    ],
)
def test_whether_it_fits(luts, low, high, fits):
    """On iCE40 flip-flops and half of the LUTs take logic cells: 7680 are there."""
    plan = Plan.make(NETWORK, EngineConfig(lanes=4, device="ice40-hx8k"))
    assert estimate(plan, model_of(luts, low, high)).fits == fits


def test_too_many_block_rams():
    plan = Plan.make(NETWORK, EngineConfig(lanes=33, device="ice40-hx8k"))
    assert planned(plan)[0] > 32
    assert estimate(plan, model_of(10)).fits == "no"


def test_all_devices_and_lanes():
    devices = [*shipped().clocks, "ice40-hx1k", "ecp5-12k"]
    made = list(estimates(NETWORK, EngineConfig(), devices, (1, 8), shipped()))
    assert [(one.device, one.lanes) for one in made] == [(device, lanes) for device in devices for lanes in (1, 8)]
    ecp5 = [one for one in made if isinstance(one, Estimate) and one.device == "ecp5-25k"]
    assert ecp5[0].luts.value < ecp5[1].luts.value
    assert ecp5[0].interval_cycles > ecp5[1].interval_cycles
    assert all(one.luts.low <= one.luts.value <= one.luts.high for one in ecp5)


def test_a_network_that_does_not_fit_is_refused_with_the_reason():
    large = random_network(5, sizes=(900, 900, 10)).network
    (refusal,) = estimates(large, EngineConfig(), ["ice40-up5k"], [2], shipped())
    assert isinstance(refusal, NoPlan)
    assert refusal.reason.startswith("does not fit ice40-up5k")
    assert refusal.as_dict() == {"device": "ice40-up5k", "lanes": 2, "reason": refusal.reason}


def test_unknown_devices():
    with pytest.raises(DarbError, match="unknown device 'x'"):
        list(estimates(NETWORK, EngineConfig(), ["x"], [2], shipped()))


def test_devices_that_the_model_does_not_have():
    model = model_of(100)
    del model.clocks["ecp5-25k"]
    with pytest.raises(DarbError, match="the model has no ecp5-25k: give darb refit placed builds for it"):
        list(estimates(NETWORK, EngineConfig(), ["ecp5-25k"], [2], model))


def test_under_two_seconds_a_configuration():
    start = time.process_time()
    made = list(estimates(NETWORK, EngineConfig(), shipped().clocks, (4, 8, 16), shipped()))
    assert (time.process_time() - start) / len(made) < 2


def test_other_choices_of_the_configuration_hold():
    config = replace(EngineConfig(), lane_multiplier="lut")
    (luts,) = estimates(NETWORK, config, ["ecp5-25k"], [4], shipped())
    (dsps,) = estimates(NETWORK, EngineConfig(), ["ecp5-25k"], [4], shipped())
    assert luts.dsps == dsps.dsps - 4
    assert luts.luts.value > dsps.luts.value
