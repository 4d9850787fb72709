"""Groups of rows that walk over tiles, and the stages that rotations are made of."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from darb_hw.config import EngineConfig
from darb_hw.plan.plan import Plan
from darb_hw.plan.tile_groups import Rotation
from darb_prune.encoded import EMPTY, Level
from tests.hw.plans import tile_plans
from tests.hw.small import convolution, layer, network, tensor


def reached(banks: int, fixed: int, stages: tuple[int, ...]) -> set[int]:
    """Rotations that some stages can make."""
    sums = {fixed % banks}
    for stage in stages:
        sums |= {(rotation + stage) % banks for rotation in sums}
    return sums


@given(st.sampled_from([2, 4, 8, 16]), st.data())
def test_rotations_have_the_fewest_stages(banks, data):
    rotations = sorted(data.draw(st.sets(st.integers(0, banks - 1), min_size=1, max_size=6)))
    made = Rotation.of(np.array(rotations), banks)
    powers = [1 << bit for bit in range(banks.bit_length() - 1)]
    assert set(made.stages) <= set(powers)
    for fewer in range(len(made.stages)):
        for stages in combinations(powers, fewer):
            assert not any(set(rotations) <= reached(banks, fixed, stages) for fixed in range(banks))
    bits = np.broadcast_to(made.bits(np.array(rotations)), len(rotations))
    for rotation, word in zip(rotations, bits.astype(int).tolist(), strict=True):
        by = made.fixed + sum(stage for bit, stage in enumerate(made.stages) if word >> bit & 1)
        assert by % banks == rotation == made.by(word)


@pytest.mark.parametrize(
    ("rotations", "fixed", "stages"),
    [((0,), 0, ()), ((3,), 3, ()), ((0, 1), 0, (1,)), ((15, 0), 15, (1,)), ((15, 0, 1), 15, (1, 2))],
)
def test_a_window_needs_a_stage_for_each_doubling_of_its_width(rotations, fixed, stages):
    assert Rotation.of(np.array(rotations), 16) == Rotation(16, fixed, stages)


@given(tile_plans())
def test_groups_are_all_rows_once_a_stream_each(made):
    _, plan = made
    for number, layer_ in enumerate(plan.network.layers):
        groups = [group for group in plan.schedule.groups if group.layer == number]
        assert len({group.loop for group in groups}) == 1
        rows = np.concatenate([group.rows for group in groups])
        assert sorted(rows.tolist()) == list(range(layer_.rows))
        position = plan.network.tensor(layer_.output).channel_position
        written = {}
        for group in groups:
            assert 1 <= len(group.rows) <= plan.config.streams
            assert (group.fold, group.positions.any()) == (0, False)
            levels = [layer_.levels[level] for level in layer_.row_level[group.rows]]
            assert all(level == group.level for level in levels[: group.coded])
            assert all(level.is_empty for level in levels[group.coded :])
            written.setdefault(group.level, []).extend(position[layer_.first + group.rows[: group.coded]].tolist())
        # Results of a level leave in the order in which the next layer reads them.
        assert all(places == sorted(places) for places in written.values())


def test_empty_rows_fill_the_streams_left_over():
    x, y = tensor("x", 1, 8, 4), tensor("y", 1, 8, 7)
    levels = [0, 1, 0, 1, 1, 0, 1]
    made = convolution("y", x, y, (1, 1), (0, 0), levels=(Level(1, 1), EMPTY), row_level=levels)
    plan = Plan.make(network([x, y], [made]), EngineConfig(lanes=8, positions=4, results=1))
    assert plan.config.streams == 2
    groups = [(group.coded, group.rows.tolist()) for group in plan.schedule.groups]
    assert groups == [(2, [0, 2]), (1, [5, 1]), (0, [3, 4]), (0, [6])]
    assert [group.steps for group in plan.schedule.groups] == [2, 2, 1, 1]


@pytest.mark.parametrize("width", [3, 4, 5, 8])
def test_tiles_run_over_the_ends_of_lines(width):
    """As few passes as the pixels of the map need, whatever its width is."""
    x, y = tensor("x", 3, width, 2), tensor("y", 3, width, 1)
    plan = Plan.make(network([x, y], [convolution("y", x, y)]), EngineConfig(lanes=4, positions=4))
    (group,) = plan.schedule.groups
    assert group.loop.passes == -(-3 * width // 4)
    assert group.steps == 9 * 2


def test_pixels_that_are_averaged_are_read_by_all_lanes_at_once():
    """A row of one position and equal weights: each lane reads a pixel, and the sums of the lanes are added."""
    x, a, y = tensor("x", 4, 4, 3), tensor("a", 3), tensor("y", 2)
    pixels = [("x", 3 * column, 3, line) for line in range(4) for column in range(4)]
    mean = layer("a", "a", pixels, 3, (Level(2, 1),), depthwise=True)
    mean = replace(mean, index=np.repeat(np.arange(3), 16), weight=np.ones(48, np.int8))
    plan = Plan.make(
        network([x, a, y], [mean, layer("y", "y", [("a", 0, 3)], 2)]), EngineConfig(lanes=8, positions=8, results=2)
    )
    first = plan.schedule.groups[0]
    assert first.loop.total
    assert (first.steps, first.loop.passes) == (2, 1)
    assert not plan.schedule.groups[-1].loop.total
