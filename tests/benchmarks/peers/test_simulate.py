"""What the benches of the peers print is compared with the integers."""

import numpy as np
import pytest

from benchmarks.peers import simulate
from darb_prune.encoded import DarbError


def shown(values, fields):
    """Lines of a bench: the elements of each cycle in one number, element 0 lowest."""
    lines = []
    for row in values:
        word, start = 0, 0
        for value, (signed, integers, fraction) in zip(row, fields, strict=True):
            width = max(signed + integers + fraction, 0)
            word |= ((int(value) << max(fraction, 0) >> max(-fraction, 0)) & ((1 << width) - 1)) << start
            start += width
        lines.append(f"output {word:0{-(-start // 4)}x}")
    return lines


FIELDS = [[1, 7, 0], [0, 7, 0], [0, 0, 0], [1, 5, 2], [1, 9, -2], [1, 20, 0]]


def expected_of(samples=30):
    rng = np.random.default_rng(3)
    low, high = np.array([-128, 0, 0, -32, -512, -(1 << 20)]), np.array([127, 127, 0, 31, 508, (1 << 20) - 1])
    values = rng.integers(low, high + 1, (samples, 6))
    values[:, 4] &= ~3
    return values


@pytest.mark.parametrize("latency", [0, 1, 6])
def test_pipeline(latency):
    expected = expected_of()
    lines = ["output xxxxx"] * latency + shown(expected, FIELDS) + ["output 0", "- finished"]
    assert simulate._pipeline(lines, expected, FIELDS) == simulate.Seen(30, 180, latency, 1)


def test_pipeline_with_one_wrong_element():
    expected = expected_of()
    wrong = expected.copy()
    wrong[17, 5] ^= 1
    with pytest.raises(DarbError, match="1 of 180 elements differ"):
        simulate._pipeline(shown(wrong, FIELDS), expected, FIELDS)


def test_frames():
    expected = np.array([[5, -3], [7, 0]])
    lines = ["cycles 40", "output 5", "output -3", "cycles 42", "output 7", "output 0"]
    assert simulate._frames(lines, expected) == simulate.Seen(2, 4, 42, 42)
    with pytest.raises(DarbError, match="1 of 4 elements differ"):
        simulate._frames([*lines[:-1], "output 1"], expected)
    with pytest.raises(DarbError, match="4 of 4 elements differ"):
        simulate._frames(lines[:-1], expected)
