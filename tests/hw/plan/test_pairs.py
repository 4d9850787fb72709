"""Two banks in one RAM: which taps are read twice, and which results are written together."""

import numpy as np
import pytest

from darb_hw.plan.pairs import ALL, LAST, OTHERS, Lines, Tap, burst_ends, mask_of_part, split
from darb_prune.encoded import Level


def lines(count: int, taps: int, codes: int, tap: int) -> Lines:
    return Lines(0, codes, Level(1, 1), count, tap, taps, taps, 4)


def test_lines_with_an_odd_tap_come_twice():
    """Three lines of a tap each, then one of two taps. Codes of a line stay together."""
    taps = [Tap("x", 0, x) for x in (0, 1, 2)] + [Tap("a", 0, 3), Tap("a", 0, 4)]
    runs = [("x", lines(3, 1, 2, 0)), ("a", lines(1, 2, 3, 3))]
    index = np.arange(9)[None]
    made, made_taps, codes = split(runs, taps, (index, index + 10, index + 20, 5), lambda tap: tap.x in (1, 4))
    assert [(name, run.count, run.tap, run.pitch, run.codes) for name, run in made] == [
        ("x", 4, 0, 1, 2), ("a", 2, 4, 2, 3),
    ]  # fmt: skip
    assert [(tap.x, tap.part) for tap in made_taps] == [
        (0, ALL), (1, OTHERS), (1, LAST), (2, ALL), (3, OTHERS), (4, OTHERS), (3, LAST), (4, LAST),
    ]  # fmt: skip
    order = [0, 1, 2, 3, 2, 3, 4, 5, 6, 7, 8, 6, 7, 8]
    assert [array[0].tolist() for array in codes[:3]] == [order, [n + 10 for n in order], [n + 20 for n in order]]
    assert codes[3] == 5


def test_no_line_comes_twice_where_no_tap_is_odd():
    runs, taps, index = [("x", lines(2, 1, 2, 0))], [Tap("x", 0, 0), Tap("x", 0, 1)], np.arange(4)[None]
    made, made_taps, codes = split(runs, taps, (index, index, index, 0), lambda tap: False)
    assert (made, made_taps, codes[0].tolist()) == (runs, taps, index.tolist())


@pytest.mark.parametrize("rotation", range(8))
def test_each_lane_reads_once(rotation):
    """The first step has all lanes but the last one, the other step that one; with an even rotation all are in the
    first."""
    mask = np.random.default_rng(rotation).random((5, 8)) < 0.8
    first, second = (mask_of_part(part, rotation, mask) for part in (OTHERS, LAST))
    assert not (first & second).any()
    assert ((first | second) == mask).all()
    assert (mask_of_part(ALL, rotation, mask) == mask).all()
    assert second[:, -1].any() == (rotation % 2 == 1)
    assert not second[:, :-1].any()


@pytest.mark.parametrize(
    ("valid", "bank", "address", "ends"),
    [
        ([1, 1, 1, 1], [0, 1, 2, 3], [4, 4, 4, 4], [0, 0, 0, 1]),
        ([1, 1, 1, 1], [2, 3, 0, 1], [4, 4, 5, 5], [0, 0, 0, 1]),  # each pair has one address
        ([1, 1, 1, 1], [1, 2, 3, 0], [4, 4, 4, 5], [0, 0, 1, 1]),  # banks 0 and 1 have two
        ([1, 1, 1, 1], [0, 0, 0, 0], [4, 5, 6, 7], [1, 1, 1, 1]),
        ([1, 0, 1, 0], [0, 1, 1, 3], [4, 9, 4, 4], [0, 0, 1, 0]),
        ([0, 0, 0, 0], [0, 1, 2, 3], [4, 4, 4, 4], [0, 0, 0, 0]),
    ],
)
def test_a_burst_ends_where_a_pair_has_another_address(valid, bank, address, ends):
    made = burst_ends(np.array([valid], bool), np.array([bank]), np.array([address]))
    assert made[0].astype(int).tolist() == ends
