"""Lanes that are of no use."""

import pytest

from darb_hw.config import EngineConfig
from darb_hw.plan.pays import TOLERANCE, fewer_lanes
from darb_hw.plan.plan import Plan
from darb_hw.plan.resources import fitting_plan
from tests.networks import random_network


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("lanes", [4, 32, 128])
def test_fewer_lanes(seed, lanes):
    """About as fast, and half of them are slower, or there are none."""
    network = random_network(seed, sizes=(24, 18, 10)).network

    def interval(count: int) -> int:
        return fitting_plan(network, EngineConfig(count)).timing.interval_of(1)

    fewer = fewer_lanes(fitting_plan(network, EngineConfig(lanes)), EngineConfig(lanes))
    most = interval(lanes) * (1 + TOLERANCE)
    enough = lanes if fewer is None else fewer.config.lanes
    assert interval(enough) <= most
    assert enough == 1 or interval(enough // 2) > most
    assert fewer is not None or lanes < 128


def test_positions_stay_what_they_are():
    network = random_network(3, "convolution").network
    config = EngineConfig(lanes=16, positions=8, results=2, memory="private")
    fewer = fewer_lanes(Plan.make(network, config), config)
    assert fewer is None or fewer.config.lanes == 8


@pytest.mark.parametrize(
    "config",
    [
        EngineConfig(6, "ice40-up5k", memory="spram"),
        EngineConfig(2, "ice40-up5k", memory="spram"),
        EngineConfig(4, results=4),
        EngineConfig(8, results=8),
    ],
    ids=lambda config: f"{config.lanes}-{config.memory}-{config.results}",
)
def test_a_configuration_that_cannot_have_fewer_lanes(config):
    """It is left as it is, not refused."""
    network = random_network(3, "convolution").network
    fewer = fewer_lanes(fitting_plan(network, config), config)
    assert fewer is None or fewer.config.lanes < config.lanes
