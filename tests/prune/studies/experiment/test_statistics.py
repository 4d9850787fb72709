"""Statistics of an experiment."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from darb_prune.studies.experiment.statistics import Interval, Spread, best, interpolate, largest, quotient


def test_largest():
    assert largest([4, 16], [0.0, 0.02]).low == pytest.approx(8)
    assert largest([16, 4], [0.02, 0.0]) == largest([4, 16], [0.0, 0.02])
    assert largest([4, 16], [0.0, 0.01]) == Interval(pytest.approx(16), math.inf)
    assert largest([4, 16], [0.02, 0.0]) == Interval(0.0, pytest.approx(4))
    # A curve that comes back is above from where it first was.
    assert largest([4, 16, 64], [0.0, 0.02, 0.0]).high == pytest.approx(8)
    # Two settings that reach the same ratio are one point.
    assert largest([4, 16, 16], [0.0, 0.01, 0.03]).low == pytest.approx(8)


@given(
    st.lists(st.integers(10, 60), min_size=2, max_size=6, unique=True),
    st.lists(st.integers(-20, 40).filter(lambda loss: loss != 10), min_size=6, max_size=6),
)
def test_largest_is_the_first_crossing_of_the_line(exponents, losses):
    """Against a walk along the curve in small steps; x is ``1.1 ** exponent``."""
    points = sorted(zip(exponents, losses, strict=False))
    crossing = largest([1.1**exponent for exponent, _ in points], [loss / 1000 for _, loss in points])
    walk = np.arange(points[0][0], points[-1][0] + 1e-9, 0.001)
    above = np.interp(walk, *zip(*points, strict=True)) > 10
    if not above.any():
        assert crossing == Interval(pytest.approx(1.1 ** points[-1][0]), math.inf)
    elif above[0]:
        assert crossing == Interval(0.0, pytest.approx(1.1 ** points[0][0]))
    else:
        assert crossing.low == crossing.high == pytest.approx(1.1 ** walk[np.argmax(above)], rel=2e-4)


def test_interpolate():
    assert interpolate(8, [4, 16], [1.0, 3.0]) == pytest.approx(2)
    assert interpolate(4, [16, 4], [3.0, 1.0]) == pytest.approx(1)
    assert interpolate(3.9, [4, 16], [1.0, 3.0]) is None
    assert interpolate(17, [4, 16], [1.0, 3.0]) is None


def test_intervals():
    exact, above, below = Interval(20, 20), Interval(50, math.inf), Interval(0, 8)
    assert [interval.text() for interval in (exact, above, below, Interval(2, 3), Interval(0, math.inf))] == [
        "20.0", "> 50.0", "< 8.0", "2.0 to 3.0", "–",
    ]  # fmt: skip
    assert quotient(exact, Interval(10, 10)).text() == "2.0"
    assert quotient(exact, below).text() == "> 2.5"
    assert quotient(exact, above).text() == "< 0.4"
    assert quotient(above, exact).text() == "> 2.5"
    assert quotient(above, above).text() == "–"
    assert quotient(below, below).text() == "–"
    assert quotient(below, exact).text() == "< 0.4"
    assert best({}) is None
    assert best({"a": Interval(5, 5), "b": exact, "c": below}) == ("b", exact)
    # A method that was within everywhere may be better than any exact one.
    assert best({"a": exact, "b": Interval(13, math.inf)}) == ("a", Interval(20, math.inf))


def test_spread():
    assert Spread.of([1.0]).text() == "1.00"
    assert Spread.of([1.0, 2.0, 3.0]).text(1, 100, sign=True) == "+200.0 ± 100.0"
