"""Points of a sweep that cannot win."""

from dataclasses import replace

import numpy as np
import pytest

from darb_hw.estimate.estimate import Estimate, NoPlan
from darb_hw.estimate.front import SweepChoice, hopeless
from darb_hw.estimate.model import Between
from darb_hw.sweep.plot import pareto


def made(mhz=(90, 100, 110), luts=(900, 1000, 1100), block_rams=10, lanes=4, device="ecp5-25k", fits="yes"):
    luts, clock = Between(*luts), Between(*mhz)
    return Estimate("net", device, lanes, 1000, 1000, block_rams, 0, luts, luts, luts, clock, fits)


def choice(network="a", accuracy=None, **options):
    return SweepChoice(network, accuracy, made(**options))


FAST = choice(mhz=(111, 120, 130), luts=(500, 600, 800), lanes=8)


def test_worse_in_everything():
    assert hopeless([choice(), FAST]) == {
        0: "not built: estimated to be no better than 8 lanes in anything",
    }


@pytest.mark.parametrize(
    "other",
    [
        choice(mhz=(109, 120, 130), luts=(500, 600, 800)),  # might be slower
        choice(mhz=(111, 120, 130), luts=(500, 600, 901)),  # might be larger
        choice(mhz=(111, 120, 130), luts=(500, 600, 800), block_rams=11),
        choice(mhz=(111, 120, 130), luts=(500, 600, 800), fits="perhaps"),
        choice(mhz=(111, 120, 130), luts=(500, 600, 800), device="ecp5-85k"),
        choice("b", mhz=(111, 120, 130), luts=(500, 600, 800)),  # of an accuracy that nobody knows
    ],
)
def test_may_win(other):
    assert hopeless([choice(), other]) == {}


@pytest.mark.parametrize(("accuracy", "beaten"), [(0.95, True), (0.96, True), (0.94, False), (None, False)])
def test_networks_beat_others_if_they_are_as_accurate(accuracy, beaten):
    other = replace(FAST, network="b", accuracy=accuracy)
    assert (0 in hopeless([choice(accuracy=0.95), other])) == beaten


def test_equal_points_stay():
    exact = choice(mhz=(100, 100, 100), luts=(500, 500, 500))
    assert hopeless([exact, exact]) == {}


def test_what_cannot_be_built():
    refused = SweepChoice("a", None, NoPlan("ecp5-25k", 4, "does not fit"))
    assert hopeless([refused, choice(fits="no"), choice(fits="perhaps")]) == {
        0: "does not fit",
        1: "not built: estimated not to fit ecp5-25k",
    }


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
    assert skipped > 200
