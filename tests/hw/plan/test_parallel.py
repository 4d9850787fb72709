"""How many positions and results at once: what is offered, in which order, and an estimate that is near the plan."""

import pytest

from darb_hw.config import EngineConfig
from darb_hw.errors import PlanError
from darb_hw.plan.parallel import choices_of, estimated_cycles
from darb_hw.plan.plan import Plan
from darb_hw.plan.resources import fitting_plan
from darb_prune.encoded import DENSE
from tests.hw.small import convolution, layer, lstm, network, tensor
from tests.map_networks import residual_network
from tests.networks import random_network


def large_map(channels: int = 16):
    """A layer whose map has many positions and few rows: 32 x 32 pixels."""
    x, y = tensor("x", 32, 32, channels), tensor("y", 32, 32, channels)
    z = tensor("z", 32, 32, 2)
    return network([x, y, z], [convolution("a", x, y, levels=(DENSE,)), convolution("b", y, z, levels=(DENSE,))])


def counts(candidates) -> list[tuple[int, int]]:
    return [(candidate.banks, candidate.ways) for candidate in candidates]


@pytest.mark.parametrize("kind", ["chain", "lstm", "gru"])
def test_networks_without_maps_run_rows_only(kind):
    made = random_network(3, kind).network
    assert counts(choices_of(made, EngineConfig(lanes=8))) == [(1, 1)]


def test_every_power_of_two_is_offered():
    made = residual_network().network
    offered = counts(choices_of(made, EngineConfig(lanes=12)))
    assert sorted(offered) == [(1, 1), (2, 1), (2, 2), (4, 1), (4, 2), (4, 4)]


def test_what_is_given_stays():
    made = residual_network().network
    assert counts(choices_of(made, EngineConfig(lanes=8, positions=4, results=2))) == [(4, 2)]
    assert {banks for banks, _ in counts(choices_of(made, EngineConfig(lanes=8, positions=4)))} == {4}
    assert counts(choices_of(made, EngineConfig(lanes=8, memory="shared", input="alone"))) == [(1, 1)]


def test_results_without_positions():
    made = residual_network().network
    assert sorted(counts(choices_of(made, EngineConfig(lanes=8, results=4)))) == [(4, 4), (8, 4)]
    with pytest.raises(PlanError, match="results = 2: lanes that compute different rows give one at a time"):
        fitting_plan(random_network(3, "chain").network, EngineConfig(lanes=8, results=2))


def test_copies_that_cannot_fit_are_left_out():
    offered = counts(choices_of(large_map(), EngineConfig(lanes=16, device="ecp5-25k")))
    assert (1, 1) not in offered
    assert offered[0][0] > 1
    assert fitting_plan(large_map(), EngineConfig(lanes=16, device="ecp5-25k")).banked


@pytest.mark.parametrize(("positions", "results"), [(1, 1), (2, 1), (4, 2), (8, 4)])
def test_the_estimate_is_near_the_plan(positions, results):
    made, config = large_map(4), EngineConfig(lanes=8, positions=positions, results=results)
    estimate, period = estimated_cycles(made, config), Plan.make(made, config).schedule.period
    assert estimate <= period <= 1.05 * estimate + 100


@pytest.mark.parametrize("results", [None, 2])
def test_positions_that_are_impossible_say_why(results):
    with pytest.raises(PlanError, match="LSTM, GRU or RNN: choose positions 1"):
        fitting_plan(lstm(3), EngineConfig(lanes=8, positions=4, results=results))
    x, a, b, y = tensor("x", 4, 4, 1), tensor("a", 4, 4, 2), tensor("b", 2, 2, 2), tensor("y", 5)
    layers = [convolution("a", x, a), convolution("b", x, b, stride=(2, 2))]
    strides = network([x, a, b, y], [*layers, layer("y", "y", [("a", 0, 32), ("b", 0, 8)], y.size)])
    with pytest.raises(PlanError, match=r"'x' is read with the strides \[1, 2\].*choose positions 1"):
        fitting_plan(strides, EngineConfig(lanes=8, positions=4, results=results))
    assert not fitting_plan(strides, EngineConfig(lanes=8)).banked
