"""Features of plans that are known."""

from dataclasses import replace

import pytest

from darb_hw.config import EngineConfig
from darb_hw.estimate.features import PRIOR, features_of
from darb_hw.plan.plan import Plan
from tests.hw import small
from tests.networks import KINDS, random_network

CONFIG = EngineConfig(lanes=4, device="ecp5-25k", positions=1, results=1)


def test_a_fit_has_a_start_for_each():
    assert PRIOR.keys() == features_of(plan_of()).keys()


def plan_of(kind="chain", seed=10, config=CONFIG):
    return Plan.make(random_network(seed, kind).network, config)


@pytest.mark.parametrize("kind", ["chain", *KINDS])
def test_all_are_numbers_from_0_up(kind):
    features = features_of(plan_of(kind))
    assert features["engine"] == 1
    assert min(features.values()) >= 0
    assert {type(value) for value in features.values()} == {float}


def test_the_same_names_for_every_engine():
    names = [sorted(features_of(plan_of(kind))) for kind in ("chain", *KINDS)]
    assert all(other == names[0] for other in names)


def test_lanes():
    plan = plan_of()
    features, widths = features_of(plan), plan.widths
    assert features["lane"] == 4
    assert features["lane sums"] == 4 * widths.accumulator
    assert features["weights"] == 4 * widths.weight
    more = features_of(plan_of(config=replace(CONFIG, lanes=8)))
    assert more["lane sums"] == 2 * features["lane sums"]


def test_multipliers_on_luts():
    """Two bits of the weight a partial product; multiples and partial products are two bits wider than the activation.
    A bit is chosen by two LUTs, or is that of a sum. All are in registers, and the operands."""
    before, plan = features_of(plan_of()), plan_of(config=replace(CONFIG, lane_multiplier="lut"))
    features, width = features_of(plan), plan.widths.activation + 2
    assert plan.widths.weight == 8
    sums = 2 * (width) + (width + 4)  # two of pairs, then of these
    assert before["LUT multipliers"] == before["registers of LUT multipliers"] == 0
    assert features["LUT multipliers"] == 4 * (2 * 4 * width + 2 * width + sums)
    operands = plan.widths.activation + 8
    assert features["registers of LUT multipliers"] == 4 * (4 * width + 2 * width + sums + operands)
    assert features["sums of limbs"] == before["sums of limbs"]


def test_shared_memories():
    config = replace(CONFIG, memory="shared", input="alone")
    assert features_of(plan_of(config=config))["lane addresses shared"] == 4 * plan_of(config=config).widths.address
    assert features_of(plan_of())["lane addresses shared"] == 0


def test_what_only_some_engines_have():
    chain, lstm, gru = (features_of(plan_of(kind)) for kind in ("chain", "lstm", "gru"))
    assert (chain["lstm"], lstm["lstm"], gru["lstm"]) == (0, 1, 0)
    assert (chain["gru"], lstm["gru"], gru["gru"]) == (0, 0, 1)
    assert chain["banked lanes"] == chain["banked rotations"] == 0


def test_lanes_over_positions():
    plan = Plan.make(small_network(), replace(CONFIG, lanes=8, positions=4, results=None))
    features = features_of(plan)
    assert features["banked lanes"] == 8 * plan.widths.activation
    assert features["banked streams"] == 2 * plan.widths.address
    assert features["lane addresses"] == 0


def small_network():
    """A convolution of 8x8 pixels."""
    x, y = small.tensor("x", 8, 8, 2), small.tensor("y", 8, 8, 4)
    return small.network([x, y], [small.convolution("conv", x, y)])
