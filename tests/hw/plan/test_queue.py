"""How many bursts wait at a time until no lane reads."""

import numpy as np
import pytest

from darb_hw.config import EngineConfig
from darb_hw.plan.plan import Plan
from tests.hw.interpreter import sequences
from tests.hw.small import convolution, layer, network, tensor
from tests.hw.tile_interpreter import TileMachine
from tests.map_networks import residual_network

CONFIG = EngineConfig(8, "ice40-up5k", positions=8, results=1, memory="spram", input="alone")


def pointwise(width: int) -> Plan:
    """8 channels of 2 lines -> 3 channels -> 1, with passes of 9 cycles: 8 codes, a burst."""
    x, a, y = tensor("x", 2, width, 8), tensor("a", 2, width, 3), tensor("y", 1)
    layers = [convolution("a", x, a, (1, 1), (0, 0)), layer("y", "y", [("a", 0, 3)], 1)]
    return Plan.make(network([x, a, y], layers), CONFIG)


@pytest.mark.parametrize(("width", "queue"), [(8, 1), (5, 2), (4, 1)])
def test_a_tile_that_is_not_full_comes_early(width, queue):
    """16 and 8 positions are whole tiles. Of 10 positions the last tile has two, whose burst ends six cycles early: the
    one before still waits."""
    plan = pointwise(width)
    assert {group.bursts for group in plan.schedule.groups if group.layer == 0} == {1}
    assert plan.queue == queue


def test_there_is_no_queue_without_single_port_rams():
    assert Plan.make(residual_network().network, EngineConfig(8, positions=8)).queue == 0


def test_one_place_less_is_too_few():
    """The interpreter counts by itself."""
    random = residual_network()
    plan = Plan.make(random.network, CONFIG)
    list(sequences(plan, np.zeros((2, random.network.tensor("x").size), np.int64), machine_type=TileMachine))
    plan.__dict__["queue"] -= 1
    with pytest.raises(AssertionError, match=f"{plan.queue + 1} bursts wait"):
        list(sequences(plan, np.zeros((2, random.network.tensor("x").size), np.int64), machine_type=TileMachine))
