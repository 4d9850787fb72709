"""Rows into groups: loops, runs, which rows run at once, over which lanes, and what they read."""

from collections import defaultdict
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from darb_hw.config import EngineConfig
from darb_hw.plan import metrics, roms
from darb_hw.plan.groups import LOADED, NEW, OLD, Group, Loop, Run, choices, groups_of, unrolls
from darb_hw.plan.latency import RUN_CYCLES_MIN
from darb_hw.plan.memory_map import memory_map
from darb_hw.plan.plan import Plan
from darb_prune.encoded import DENSE, EMPTY, Level, Operand, Segment
from tests.hw.interpreter import unpack
from tests.hw.plans import plans
from tests.hw.small import convolution, layer, lstm, network, tensor
from tests.random_rows import LEVELS

# Loops.

counts = st.tuples(*[st.integers(1, 4)] * 4)
moves = st.tuples(*[st.integers(-50, 50)] * 4)


@given(counts, moves)
def test_offsets_are_those_of_nested_loops(counts, moves):
    expected = [
        sum(at * move for at, move in zip((px, py, x, y), moves, strict=True))
        for y in range(counts[3]) for x in range(counts[2]) for py in range(counts[1]) for px in range(counts[0])
    ]  # fmt: skip
    loop = Loop(counts)
    assert loop.offsets(moves).tolist() == expected
    assert loop.passes == len(expected)
    assert loop.pooled == (counts[0] * counts[1] > 1)


@given(counts, moves)
def test_deltas_lead_from_offset_to_offset(counts, moves):
    loop = Loop(counts)
    deltas, place, now = loop.deltas(moves), [0] * 4, 0
    for expected in loop.offsets(moves).tolist():
        assert now == expected
        advancing = next((n for n in range(4) if place[n] < counts[n] - 1), None)
        if advancing is not None:
            place[:advancing] = [0] * advancing
            place[advancing] += 1
            now += deltas[advancing]


# Runs.


def groups(net, number=0, lanes=4, unroll=1, fold=0, twice=False) -> list[Group]:
    return groups_of(net, number, lanes, memory_map(net, lanes, twice), unroll, fold)


def runs_of(net, number=0, **options):
    return groups(net, number, **options)[0].runs


def test_rows_of_a_kernel_are_the_lines_of_one_run():
    x, y = tensor("x", 5, 6, 2), tensor("y", 5, 6, 4)
    (run,) = runs_of(network([x, y], [convolution("a", x, y)]))
    assert run == Run(0, 6, DENSE, lines=3, pitch=(6 + 1) * 2)


def test_a_kernel_without_padding_in_a_padded_map():
    """The second reader pads wider, so the map has zeros that the first one steps over."""
    x, y, z = tensor("x", 5, 6, 2), tensor("y", 3, 4, 4), tensor("z", 1)
    tensors = [x, tensor("t", 5, 6, 2), y, z]
    layers = [
        convolution("wide", x, tensors[1]),
        convolution("narrow", x, y, padding=(0, 0)),
        layer("z", "z", [("t", 0, 60), ("y", 0, 48)], 1),
    ]
    (run,) = runs_of(network(tensors, layers), 1)
    assert run == Run(14 + 2, 6, DENSE, lines=3, pitch=14)


def test_taps_of_a_depthwise_convolution():
    """Taps of an image row are as far apart as pixels; the next row is further away, and so a run of its own."""
    x, y = tensor("x", 5, 6, 4), tensor("y", 4, 5, 4)
    segments = [Segment("x", tap * 4, 4, line) for line in range(2) for tap in range(2)]
    made = layer("a", "y", segments, 4, (Level(2, 1),), positions=(4, 5))
    first, second = runs_of(network([x, y], [made]))
    assert first == Run(0, 1, Level(2, 1), lines=2, pitch=4, pad=RUN_CYCLES_MIN - 2)
    assert second == Run(24, 1, Level(2, 1), lines=2, pitch=4, pad=RUN_CYCLES_MIN - 2)


@pytest.mark.parametrize(
    ("segments", "count"),
    [
        ([(0, 8), (8, 8), (16, 8)], 1),
        ([(0, 8), (16, 8), (20, 8)], 2),  # other distances
        ([(16, 8), (8, 8)], 2),  # backwards
        ([(0, 8), (8, 4), (12, 8)], 3),  # other lengths
        ([(0, 8), (0, 8)], 1),  # the same columns twice
        ([(0, 8), (0, 8), (8, 8)], 2),
    ],
)
def test_only_equal_segments_at_equal_distances_are_lines(segments, count):
    made = layer("a", "y", [("x", *one) for one in segments], 2)
    runs = runs_of(network([tensor("x", 30), tensor("y", 2)], [made]))
    assert len(runs) == count
    assert [run.base + line * run.pitch for run in runs for line in range(run.lines)] == [one[0] for one in segments]


def test_segments_of_two_banks_are_two_runs():
    runs = runs_of(lstm(4))
    assert [(run.bank, run.lines) for run in runs] == [(0, 1), (OLD, 1)]
    assert runs_of(lstm(4), 1)[0].bank == NEW


def test_only_an_input_that_is_there_twice_has_a_bank():
    assert [run.bank for run in runs_of(lstm(4), twice=True)] == [LOADED, OLD]
    empty = network([tensor("x", 5), tensor("y", 2)], [layer("a", "y", [("x", 0, 5)], 2, (EMPTY,))])
    assert [run.bank for run in runs_of(empty, twice=True)] == [LOADED]


def test_rows_without_codes_take_one_step():
    made = layer("a", "y", [("x", 3, 5)], 6, (EMPTY,))
    found = groups(network([tensor("x", 30), tensor("y", 6)], [made]), fold=2)
    assert [(g.coded, len(g.rows), g.steps, g.fold, g.index_bits) for g in found] == [(0, 4, 1, 0, 0), (0, 2, 1, 0, 0)]


@given(plans())
def test_runs_are_the_blocks_of_the_segments(plan):
    """Base addresses of all steps, from segments and layouts alone: of a folded row, those of its first lane."""
    net = plan.network
    for group in plan.schedule.groups:
        made = net.layers[group.layer]
        got = [
            (run.bank, run.follow, run.base + line * run.pitch + code // run.level.kept * run.level.block)
            for run in group.runs for line in range(run.lines) for code in range(run.codes)
        ]  # fmt: skip
        assert got == [(run.bank, run.follow, at) for run in group.runs for at in run.addresses().tolist()]
        if not group.coded:
            assert len(got) == 1
            continue
        expected = []
        for number, start, _, _ in made.code_layout(group.level):
            if start // group.level.block % (1 << group.fold):
                continue
            segment = made.segments[number]
            layout = plan.memory.layouts[segment.tensor]
            column = plan.memory.columns.read(group.layer, segment.tensor)
            base = layout.pixel(segment.line - made.padding[0], column.first - made.padding[1]) + segment.start + start
            bank = LOADED if plan.memory.second and segment.tensor == plan.loaded else 0
            for cell in net.cells if net.recurrent else ():
                if cell.output == segment.tensor:
                    last = max(n for n, other in enumerate(net.layers) if other.output == cell.gates)
                    bank = NEW if group.layer > last else OLD
            expected.append((bank, column.follow, plan.memory.start(segment.tensor) + base))
        assert got == expected
        for run in group.runs:
            assert run.steps + run.pad >= RUN_CYCLES_MIN


# Groups.


@given(plans())
def test_every_row_once_and_empty_rows_fill_spare_lanes(plan):
    lanes = plan.config.lanes
    for number, made in enumerate(plan.network.layers):
        groups = [group for group in plan.schedule.groups if group.layer == number]
        unroll = max(int(group.positions.max()) for group in groups) + 1
        got = sorted((int(r), int(p)) for group in groups for r, p in zip(group.rows, group.positions, strict=True))
        assert got == [(row, position) for row in range(made.rows) for position in range(unroll)]
        for group in groups:
            levels = [made.levels[made.row_level[row]] for row in group.rows]
            assert all(level == group.level for level in levels[: group.coded])
            assert all(level.is_empty for level in levels[group.coded :])
            assert len(group.rows) << group.fold <= lanes
            assert group.drain == len(group.rows) << group.fold
        if any(group.coded == 0 for group in groups):
            # Empty rows get groups of their own only once no lane is left over.
            assert all(group.coded == 0 or len(group.rows) == lanes >> group.fold for group in groups)


@given(plans())
def test_rows_of_a_level_are_in_the_order_of_their_results(plan):
    """What the next layer reads last is written last: the rest of it is there when it begins."""
    for number, made in enumerate(plan.network.layers):
        channel_position = plan.network.tensor(made.output).channel_position
        for level in {group.level for group in plan.schedule.groups if group.layer == number}:
            mine = [g for g in plan.schedule.groups if (g.layer, g.level) == (number, level)]
            mine.sort(key=lambda group: group.fold)
            rows = np.concatenate([group.rows[: group.coded] for group in mine])
            positions = np.concatenate([group.positions[: group.coded] for group in mine])
            key = list(zip(positions.tolist(), channel_position[made.first + rows].tolist(), strict=True))
            # The shortest group may stand in front of all.
            swaps = [n for n, (one, other) in enumerate(pairwise(key)) if one > other]
            assert len(swaps) <= 1


def test_unrolls_divide_the_width_of_the_output():
    x = tensor("x", 4, 24, 1)
    plain = convolution("a", x, tensor("y", 4, 24, 1))
    pooled = convolution("a", x, tensor("y", 2, 12, 1), pool=(2, 2))
    assert unrolls(plain, 16) == [1, 2, 3, 4, 6, 8, 12]
    assert unrolls(pooled, 16) == [1, 2, 3, 4, 6, 12]
    assert unrolls(pooled, 3) == [1, 2, 3]
    assert unrolls(layer("a", "y", [("x", 0, 96)], 5), 16) == [1]


def lane_codes(net, groups, lanes: int, weight_bits: int = 8) -> list[list[list[tuple[int, int]]]]:
    """Per group and step, (index, weight) of every lane, from the words of all ROMs of codes."""
    images = roms.codes(net, tuple(groups), lanes, weight_bits)
    weights, at, low = iter(unpack(images.pop("weights"))), 0, 0
    parts = []
    while f"index_{at}" in images:
        image = images.pop(f"index_{at}")
        parts.append((low, iter(unpack(image))))
        low, at = low + image.fields[0].width, at + 1
    assert not images
    found = []
    for group in groups:
        found.append([])
        for _ in range(group.stored_steps):
            index = [0] * lanes
            for low, words in parts:
                if group.index_bits > low:
                    index = [have | word["index"] << low for have, word in zip(index, next(words), strict=True)]
            found[-1].append([(one, word["weight"]) for one, word in zip(index, next(weights), strict=True)])
        found[-1] *= group.steps if group.uniform else 1
    assert all(next(words, None) is None for words in [weights, *(words for _, words in parts)])
    return found


def reads(net, lanes: int, unroll: int) -> dict:
    """For each (row, pass of the window, y, x): the addresses read and the weights there, zeros left out."""
    made = groups(net, 0, lanes, unroll)
    found = {}
    for group, words in zip(made, lane_codes(net, made, lanes), strict=True):
        bases = [
            run.base + line * run.pitch + code // run.level.kept * run.level.block
            for run in group.runs for line in range(run.lines) for code in range(run.codes)
        ]  # fmt: skip
        columns, inner = group.loop.counts[2], group.loop.counts[0] * group.loop.counts[1]
        for number, moved in enumerate(group.loop.offsets(group.loop.read).tolist()):
            within, (y, x) = number % inner, divmod(number // inner, columns)
            for lane, (row, position) in enumerate(zip(group.rows.tolist(), group.positions.tolist(), strict=True)):
                sums = defaultdict(int)
                for base, word in zip(bases, words, strict=True):
                    index, weight = word[lane]
                    sums[base + moved + index] += weight
                key = row, within, y, x * unroll + position
                assert key not in found
                found[key] = {address: weight for address, weight in sums.items() if weight}
    return found


@pytest.mark.parametrize("pool", [(1, 1), (1, 2), (2, 3)])
@pytest.mark.parametrize("stride", [(1, 1), (2, 2)])
def test_columns_at_once_read_what_they_read_one_after_another(stride, pool):
    x = tensor("x", 2 * pool[0] * stride[0], 6 * pool[1] * stride[1], 2)
    levels = (Level(2, 1), DENSE, EMPTY)
    segments = [("x", 0, 3 * 2, line) for line in range(3)]
    positions = 2 * pool[0], 6 * pool[1]
    made = layer(
        "a",
        "a",
        segments,
        5,
        levels,
        [0, 1, 2, 0, 1],
        positions=positions,
        padding=(1, 1) * 2,
        stride=stride,
        pool=pool,
    )
    net = network([x, tensor("a", 2, 6, 5), tensor("y", 1)], [made, layer("y", "y", [("a", 0, 60)], 1)])
    expected = reads(net, 4, 1)
    assert len(expected) == 5 * np.prod(positions)
    assert any(expected.values())
    for unroll in (2, 3, 6):
        assert reads(net, 4, unroll) == expected


def test_as_many_columns_at_once_as_fill_the_lanes():
    x, y = tensor("x", 6, 8, 2), tensor("y", 6, 8, 2)
    net = network([x, y], [convolution("a", x, y)])

    def columns_of(**options):
        plan = Plan.make(net, EngineConfig(**options))
        return int(plan.schedule.groups[0].positions.max()) + 1, plan.schedule.spans[0].stop

    assert columns_of(lanes=8) == (4, 6 * 2 * 18)
    assert columns_of(lanes=2) == (1, 6 * 8 * 18)
    assert columns_of(lanes=8, unroll=2) == (2, 6 * 4 * 18)
    assert columns_of(lanes=32) == (8, 6 * 18)


def test_an_operand_of_the_step_before_is_in_the_old_bank():
    net = lstm(3)
    tensors = [tensor for tensor in net.tensors if tensor.name != "y1"] + [tensor("y1", 3, scale=2.0**-7)]
    tensors[0] = tensor("x", 4)
    tensors.insert(1, tensor("mixed", 3, scale=2.0**-7))
    layers = [
        layer("mix", "mixed", [("x", 0, 4)], 3, operand=Operand("h")),
        layer("gate", "gates", [("mixed", 0, 3)], 12),
        layer("y0", "y0", [("h", 0, 3)], 5),
        layer("y1", "y1", [("y0", 0, 5)], 3, operand=Operand("h")),
    ]
    plan = Plan.make(network(tensors, layers, cells=net.cells), EngineConfig(lanes=4))
    banks = {group.layer: group.loop.aux_bank for group in plan.schedule.groups}
    assert banks == {0: OLD, 1: 0, 2: 0, 3: NEW}


# Folded rows.


def linear(rows: int, columns: int, levels=(DENSE,), row_level=None):
    made = layer("a", "y", [("x", 0, columns)], rows, levels, row_level)
    return network([tensor("x", columns), tensor("y", rows)], [made])


@pytest.mark.parametrize(
    ("rows", "columns", "level", "fold", "expected"),
    [
        (4, 64, DENSE, 2, [(4, 0, 64)]),  # no lane is left over
        (5, 64, DENSE, 0, [(4, 0, 64), (1, 0, 64)]),
        (5, 64, DENSE, 1, [(4, 0, 64), (1, 1, 32)]),
        (5, 64, DENSE, 2, [(4, 0, 64), (1, 2, 16)]),
        (7, 64, DENSE, 2, [(4, 0, 64), (2, 1, 32), (1, 2, 16)]),
        (7, 64, DENSE, 1, [(4, 0, 64), (2, 1, 32), (1, 1, 32)]),
        (1, 64, Level(3, 2), 2, [(1, 2, 4)]),
        (1, 60, Level(3, 2), 2, [(1, 2, 4)]),
        (1, 66, Level(3, 2), 2, [(1, 2, 6)]),  # a third time for the last of nine blocks
        (1, 10, Level(3, 1), 2, [(1, 1, 1)]),  # two blocks keep two lanes busy, no more
        (1, 8, Level(3, 1), 2, [(1, 0, 1)]),
    ],
)
def test_rows_left_over_share_the_lanes(rows, columns, level, fold, expected):
    found = groups(linear(rows, columns, (level,)), lanes=4, fold=fold)
    assert [(len(group.rows), group.fold, group.steps) for group in found] == expected
    assert all(group.index_bits == group.level.bits + group.fold for group in found)


def test_lanes_that_are_no_power_of_two():
    found = groups(linear(8, 64), lanes=7, fold=2)
    assert [(len(group.rows), group.fold) for group in found] == [(7, 0), (1, 2)]
    found = groups(linear(10, 64), lanes=7, fold=2)
    assert [(len(group.rows), group.fold) for group in found] == [(7, 0), (3, 1)]


def test_empty_rows_take_lanes_that_folded_rows_leave():
    found = groups(linear(9, 64, (DENSE, EMPTY), [0, 1, 0, 1, 0, 1, 1, 1, 1]), lanes=8, fold=1)
    assert [(group.coded, len(group.rows), group.fold) for group in found] == [(3, 4, 1), (0, 5, 0)]


@given(plans())
def test_codes_of_a_row_are_dealt_to_its_lanes_in_turn(plan):
    """Block 0 to the first lane, block 1 to the second ...; a lane without a block, or without a row, has null codes.
    All lanes add their index to one address."""
    net, lanes = plan.network, plan.config.lanes
    every = lane_codes(net, plan.schedule.groups, lanes, plan.widths.weight)
    for group, words in zip(plan.schedule.groups, every, strict=True):
        made, level, share = net.layers[group.layer], group.level, 1 << group.fold
        bases = np.concatenate([run.addresses() for run in group.runs])
        expected = [[(0, 0)] * lanes for _ in range(group.steps)]
        # First step of each segment: all lanes of a row begin with it together.
        steps = [-(-segment.length // (level.block * share)) * level.kept for segment in made.segments]
        starts = np.cumsum([0, *steps]).tolist()
        for slot, row in enumerate(group.rows[: group.coded].tolist()):
            ahead = int(group.positions[slot]) * group.ahead
            codes = zip(
                made.code_layout(level).tolist(),
                *(one[0].tolist() for one in made.codes_of(np.array([row]))),
                strict=True,
            )
            for (number, start, _, nth), index, weight in codes:
                turn, lane = divmod(start // level.block, share)
                step = starts[number] + turn * level.kept + nth
                segment = made.segments[number]
                column = plan.memory.columns.read(group.layer, segment.tensor).first
                layout = plan.memory.layouts[segment.tensor]
                base = plan.memory.start(segment.tensor) + layout.base(made, segment, column)
                address = base + start + index + ahead
                expected[step][slot * share + lane] = address - int(bases[step]), weight
        assert words == expected
        assert all(index < 1 << group.index_bits for word in words for index, _ in word)


def test_ways_to_cut_a_layer():
    """Unfolded; folded; the short group in front. More lanes a row than blocks are no other way."""

    def ways(net, number=0, lanes=4, unroll=16, fold=2):
        ways = choices(net, number, lanes, memory_map(net, lanes), unroll, fold)
        return [[(len(group.rows), group.fold) for group in groups] for groups in ways]

    assert ways(linear(4, 64))[0] == [(4, 0)]
    assert ways(linear(5, 64)) == [
        [(4, 0), (1, 0)],
        [(4, 0), (1, 1)], [(1, 1), (4, 0)],
        [(4, 0), (1, 2)], [(1, 2), (4, 0)],
    ]  # fmt: skip
    assert ways(linear(5, 2)) == [[(4, 0), (1, 0)], [(4, 0), (1, 1)], [(1, 1), (4, 0)]]
    x, y = tensor("x", 4, 6, 1), tensor("y", 4, 6, 1)
    walking = network([x, y], [convolution("a", x, y)])
    assert ways(walking) == [[(1, 0)], [(2, 0)], [(3, 0)], [(4, 0), (2, 0)]]
    assert ways(walking, unroll=1) == [[(1, 0)]]


def test_few_rows_are_folded_until_no_lane_is_left_over():
    """Two rows over eight lanes each, then one over all sixteen."""
    plan = Plan.make(linear(3, 256), EngineConfig(lanes=16))
    found = sorted((group.fold, len(group.rows), group.steps) for group in plan.schedule.groups)
    assert found == [(3, 2, 32), (4, 1, 16)]
    assert plan.schedule.spans[0].stop == 3 * 256 / 16
    assert (plan.folds, plan.index_widths, plan.latency.fold) == (4, [3, 4], 1)
    plan = Plan.make(linear(16, 256), EngineConfig(lanes=16))
    assert (plan.folds, plan.index_widths, plan.latency.fold) == (0, [], 0)


# Bits of codes.


@given(
    st.lists(st.sampled_from([level for level in LEVELS if not level.is_empty]), min_size=1, max_size=6, unique=True),
    st.integers(1, 8),
    st.integers(1, 3),
    st.integers(2, 8),
)
def test_a_code_takes_the_bits_of_its_weight_and_of_its_index_whatever_the_mix(levels, lanes, times, bits):
    """All groups full: exactly ``w + b`` bits a code."""
    row_level = np.repeat(np.arange(len(levels)), times * lanes)
    made = layer(
        "a", "y", [("x", 0, 64)], len(row_level), tuple(levels), np.random.default_rng(0).permutation(row_level)
    )
    half = network([tensor("x", 64), tensor("y", len(row_level))], [made])
    weight = np.clip(made.weight, -(1 << bits - 1), (1 << bits - 1) - 1)
    net = network(half.tensors, [replace(made, weight=weight.astype(np.int8), weight_bits=bits)])
    plan = Plan.make(net, EngineConfig(lanes=lanes))
    ideal = sum(times * lanes * 64 // level.block * level.kept * (bits + level.bits) for level in levels)
    assert metrics.code_bits(plan) == ideal
    assert metrics.index_overhead(plan) == 1
    assert plan.index_widths == sorted({level.bits for level in levels} - {0})


def test_what_partial_groups_and_folds_cost():
    """Three of four lanes; a row over four lanes, of which each code says which block of the four it is in."""
    net = linear(3, 64, (Level(2, 1),))
    memory = memory_map(net, 4)
    plain = groups_of(net, 0, 4, memory)
    folded = groups_of(linear(1, 64, (Level(2, 1),)), 0, 4, memory, fold=2)

    def bits(net, made):
        return sum(image.bits for image in roms.codes(net, tuple(made), 4, 8).values())

    assert bits(net, plain) == 4 * 16 * (8 + 2)
    assert bits(linear(1, 64, (Level(2, 1),)), folded) == 16 * (8 + 2 + 2)
