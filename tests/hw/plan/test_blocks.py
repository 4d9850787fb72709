"""How memories are made of block RAMs."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from darb_hw.config import DEVICES
from darb_hw.plan.blocks import BESIDE, SHAPES, Row, block_rams_of, rows_of

ROM = SHAPES["ecp5"]
RAM = {width: depth for width, depth in ROM.items() if width != BESIDE}


@pytest.mark.parametrize(
    ("shapes", "width", "depth", "rows"),
    [
        (ROM, 36, 512, [Row(36, 512, 1)]),
        (ROM, 37, 512, [Row(36, 512, 2)]),
        (RAM, 36, 512, [Row(18, 1024, 2)]),
        (RAM, 8, 1024, [Row(18, 1024, 1)]),
        (ROM, 8, 4096, [Row(4, 4096, 2)]),  # as many as 9 x 2048 in two rows, without a multiplexer
        (ROM, 64, 8227, [Row(2, 8192, 32), Row(36, 512, 2, 8192)]),  # as many as 36 x 512 in 17 rows
        (ROM, 128, 8227, [*(Row(9, 2048, 15, 2048 * n) for n in range(4)), Row(36, 512, 4, 8192)]),
        (ROM, 200, 3000, [Row(9, 2048, 23), Row(18, 1024, 12, 2048)]),
        (RAM, 1, 16384, [Row(1, 16384, 1)]),
        (ROM, 1, 16385, [Row(1, 16384, 1), Row(36, 512, 1, 16384)]),
    ],
)
def test_rows(shapes, width, depth, rows):
    assert list(rows_of(width, depth, shapes)) == rows


@given(st.integers(1, 600), st.integers(1, 70_000), st.sampled_from([ROM, RAM]))
def test_rows_hold_every_word(width, depth, shapes):
    rows = rows_of(width, depth, shapes)
    for before, row in pairwise(rows):
        assert row.first == before.first + before.depth
        assert row.depth <= before.depth
    assert rows[0].first == 0
    assert rows[-1].first < depth <= rows[-1].first + rows[-1].depth
    for row in rows:
        assert row.first % row.depth == 0
        assert shapes[row.width] == row.depth
        assert (row.columns - 1) * row.width < width <= row.columns * row.width
    blocks = sum(row.columns for row in rows)
    for wide, deep in shapes.items():  # never worse than blocks that are all alike
        assert (blocks, len(rows)) <= (-(-width // wide) * -(-depth // deep), -(-depth // deep))
    assert blocks == block_rams_of(DEVICES["ecp5-85k"], width, depth) or shapes is RAM or depth <= 32


@given(st.integers(1, 60), st.integers(1, 6_000))
def test_no_other_rows_are_better(width, depth):
    """All ways for few words, of three shapes."""
    shapes = {36: 512, 18: 1024, 9: 2048}
    ways = [
        (sum(n * -(-width // wide) for n, wide in zip(counts, shapes, strict=True)), sum(counts))
        for counts in ((a, b, c) for a in range(13) for b in range(7) for c in range(4))
        if sum(n * deep for n, deep in zip(counts, shapes.values(), strict=True)) >= depth
    ]
    rows = rows_of(width, depth, shapes)
    assert (sum(row.columns for row in rows), len(rows)) == min(ways)
