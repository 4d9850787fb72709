"""Points of a sweep that cannot win."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from darb_hw.estimate.estimate import Estimate
from darb_hw.estimate.front import SweepChoice, hopeless
from darb_hw.estimate.model import Between
from darb_prune.pareto import pareto


def made(mhz=(90, 100, 110), luts=(900, 1000, 1100), block_rams=10, dsps=5, lanes=4, device="ecp5-25k", fits="yes"):
    luts, clock = Between(*luts), Between(*mhz)
    return Estimate("net", device, lanes, 1000, 1000, block_rams, dsps, luts, luts, luts, clock, fits)


def choice(network="a", accuracy=None, task="digits", **options):
    estimate = made(**options)
    return SweepChoice(f"{network}, {estimate.lanes} lanes", network, task, accuracy, estimate)


def beats(other, one):
    """Whether all figures of a choice that fits, at their worst, are below those of another one at their best."""
    slow, fast = other.estimate.inferences_per_second.low, one.estimate.inferences_per_second.high
    return slow > fast and other.estimate.luts.high < one.estimate.luts.low


FAST = choice(mhz=(111, 120, 130), luts=(500, 600, 800), lanes=8)


def test_worse_in_everything():
    assert hopeless([choice(), FAST]) == {0: "estimated to be no better than a, 8 lanes in anything"}


@pytest.mark.parametrize(
    "other",
    [
        choice(mhz=(109, 120, 130), luts=(500, 600, 800)),  # might be slower
        choice(mhz=(111, 120, 130), luts=(500, 600, 901)),  # might be larger
        choice(mhz=(111, 120, 130), luts=(500, 600, 800), block_rams=11),
        choice(mhz=(111, 120, 130), luts=(500, 600, 800), dsps=6),
        choice(mhz=(111, 120, 130), luts=(500, 600, 800), fits="perhaps"),
        choice(mhz=(111, 120, 130), luts=(500, 600, 800), device="ecp5-85k"),
        choice("b", mhz=(111, 120, 130), luts=(500, 600, 800)),  # of an accuracy that nobody knows
    ],
)
def test_may_win(other):
    assert hopeless([choice(), other]) == {}


@pytest.mark.parametrize(
    ("accuracy", "beaten"), [(0.95, True), (0.96, True), (0.94, False), (None, False), (float("nan"), False)]
)
def test_networks_beat_others_if_they_are_as_accurate(accuracy, beaten):
    other = replace(FAST, network="b", accuracy=accuracy)
    assert (0 in hopeless([choice(accuracy=0.95), other])) == beaten


@pytest.mark.parametrize("task", ["mnist", None])
def test_accuracies_of_other_tasks_say_nothing(task):
    other = replace(FAST, network="b", accuracy=0.99, task=task)
    assert hopeless([choice(accuracy=0.95), other]) == {}
    assert hopeless([choice(accuracy=0.95, task=task), replace(other, task="digits")]) == {}


def test_equal_points_stay():
    exact = choice(mhz=(100, 100, 100), luts=(500, 500, 500))
    assert hopeless([exact, exact]) == {}


def test_what_cannot_fit():
    assert hopeless([choice(fits="no"), choice(fits="perhaps")]) == {0: "estimated not to fit ecp5-25k"}


def test_what_cannot_fit_beats_nothing():
    assert list(hopeless([choice(), replace(FAST, estimate=replace(FAST.estimate, fits="no"))])) == [1]


def test_reasons_name_what_is_built():
    """The slowest one is beaten by both others, of which one beats the other."""
    faster = choice(mhz=(140, 150, 160), luts=(300, 350, 400), lanes=16)
    for order in itertools.permutations([choice(), FAST, faster]):
        reasons = hopeless(order)
        assert set(reasons.values()) == {"estimated to be no better than a, 16 lanes in anything"}
        assert {order[index].estimate.lanes for index in reasons} == {4, 8}


def test_the_front_of_what_is_left_is_that_of_all():
    """For whatever synthesis may say within the intervals."""
    rng = np.random.default_rng(0)
    skipped = 0
    for _ in range(200):
        clocks, areas = rng.uniform(50, 200, 8), rng.uniform(500, 2000, 8)
        choices = [
            choice(mhz=(0.9 * mhz, mhz, 1.1 * mhz), luts=(0.9 * luts, luts, 1.1 * luts))
            for mhz, luts in zip(clocks, areas, strict=True)
        ]
        left_out = hopeless(choices)
        skipped += len(left_out)
        points = [
            (luts * rng.uniform(0.9, 1.1), mhz * rng.uniform(0.9, 1.1)) for mhz, luts in zip(clocks, areas, strict=True)
        ]
        assert not set(pareto(points)) & set(left_out)
        assert left_out.keys() == {
            index for index, one in enumerate(choices) if any(beats(other, one) for other in choices)
        }
    assert skipped > 200
