"""The static schedule: groups, runs, loops, idle cycles and waits."""

import itertools
from collections import defaultdict

import numpy as np
import pytest
from hw.interpreter import unpack
from hw.plans import plans
from hw.small import convolution, layer, lstm, network, tensor
from hypothesis import given
from hypothesis import strategies as st
from networks import random_network

from darb_hw import roms
from darb_hw.config import EngineConfig
from darb_hw.latency import RUN_CYCLES_MIN, WAIT_CYCLES_MIN
from darb_hw.layout import layouts
from darb_hw.memory_map import memory_map
from darb_hw.plan import Plan
from darb_hw.schedule import NEW, OLD, Loop, Run, Schedule, groups_of, unrolls
from darb_prune.encoded import DENSE, EMPTY, Level, Operand, Segment

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


def runs_of(net, number=0, lanes=4, unroll=1):
    return groups_of(net, number, lanes, layouts(net), memory_map(net), unroll)[0].runs


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


def test_rows_without_codes_take_one_step():
    made = layer("a", "y", [("x", 3, 5)], 6, (EMPTY,))
    net = network([tensor("x", 30), tensor("y", 6)], [made])
    groups = groups_of(net, 0, 4, layouts(net), memory_map(net))
    assert [(group.coded, len(group.rows), group.steps) for group in groups] == [(0, 4, 1), (0, 2, 1)]


@given(plans())
def test_runs_are_the_blocks_of_the_segments(plan):
    """Base addresses of all steps, from segments and layouts alone."""
    net = plan.network
    for group in plan.schedule.groups:
        made = net.layers[group.layer]
        got = [
            (run.bank, run.base + line * run.pitch + code // run.level.kept * run.level.block)
            for run in group.runs for line in range(run.lines) for code in range(run.codes)
        ]  # fmt: skip
        if not group.coded:
            assert len(got) == 1
            continue
        expected = []
        for number, start, _, _ in made.code_layout(group.level):
            segment = made.segments[number]
            layout = plan.layouts[segment.tensor]
            base = layout.pixel(segment.line - made.padding[0], -made.padding[1]) + segment.start + start
            bank = 0
            for cell in net.cells:
                if cell.output == segment.tensor:
                    last = max(n for n, other in enumerate(net.layers) if other.output == cell.gates)
                    bank = NEW if group.layer > last else OLD
            expected.append((bank, plan.memory.start(segment.tensor) + base))
        assert got == expected
        for run in group.runs:
            assert run.steps + run.pad >= RUN_CYCLES_MIN


# Groups.


@given(plans())
def test_every_row_once_and_empty_rows_fill_spare_lanes(plan):
    lanes = plan.config.lanes
    for number, made in enumerate(plan.network.layers):
        groups = [group for group in plan.schedule.groups if group.layer == number]
        unroll = max(int(group.places.max()) for group in groups) + 1
        got = sorted((int(r), int(p)) for group in groups for r, p in zip(group.rows, group.places, strict=True))
        assert got == [(row, place) for row in range(made.rows) for place in range(unroll)]
        for group in groups:
            levels = [made.levels[made.row_level[row]] for row in group.rows]
            assert all(level == group.level for level in levels[: group.coded])
            assert all(level.is_empty for level in levels[group.coded :])
        if any(group.coded == 0 for group in groups):
            # Empty rows get groups of their own only once no lane is left over.
            assert all(group.coded == 0 or len(group.rows) == lanes for group in groups)


def test_unrolls_divide_the_width_of_the_output():
    x = tensor("x", 4, 24, 1)
    plain = convolution("a", x, tensor("y", 4, 24, 1))
    pooled = convolution("a", x, tensor("y", 2, 12, 1), pool=(2, 2))
    assert unrolls(plain, 16) == [1, 2, 3, 4, 6, 8, 12]
    assert unrolls(pooled, 16) == [1, 2, 3, 4, 6, 12]
    assert unrolls(pooled, 3) == [1, 2, 3]
    assert unrolls(layer("a", "y", [("x", 0, 96)], 5), 16) == [1]


def reads(net, lanes: int, unroll: int) -> dict:
    """For each (row, pass of the window, y, x): the addresses read and the weights there, zeros left out."""
    layout, memory = layouts(net), memory_map(net)
    groups = tuple(groups_of(net, 0, lanes, layout, memory, unroll))
    codes = unpack(roms.codes(net, Schedule(groups, (), (), 0, 0), lanes, 8))
    found, at = {}, 0
    for group in groups:
        words = codes[at : at + group.steps]
        at += group.steps
        bases = [
            run.base + line * run.pitch + code // run.level.kept * run.level.block
            for run in group.runs for line in range(run.lines) for code in range(run.codes)
        ]  # fmt: skip
        columns, inner = group.loop.counts[2], group.loop.counts[0] * group.loop.counts[1]
        for number, moved in enumerate(group.loop.offsets(group.loop.read).tolist()):
            within, (y, x) = number % inner, divmod(number // inner, columns)
            for lane, (row, place) in enumerate(zip(group.rows.tolist(), group.places.tolist(), strict=True)):
                sums = defaultdict(int)
                for base, word in zip(bases, words, strict=True):
                    sums[base + moved + word[lane]["index"]] += word[lane]["weight"]
                key = row, within, y, x * unroll + place
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
        "a", "a", segments, 5, levels, [0, 1, 2, 0, 1], positions=positions, padding=(1, 1), stride=stride, pool=pool
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
        return int(plan.schedule.groups[0].places.max()) + 1, plan.schedule.spans[0].stop

    assert columns_of(lanes=8) == (4, 6 * 2 * 18)
    assert columns_of(lanes=2) == (1, 6 * 8 * 18)
    assert columns_of(lanes=8, unroll=2) == (2, 6 * 4 * 18)
    assert columns_of(lanes=32) == (8, 6 * 18)


# Idle cycles.


@given(plans())
def test_groups_drain_before_they_are_overwritten(plan):
    """Passes, one after another: neither too early nor later than needed."""
    for number, _ in enumerate(plan.network.layers):
        groups = [group for group in plan.schedule.groups if group.layer == number]
        for group, after in zip(groups, groups[1:] + [None], strict=True):
            steps, pads = group.runs[-1].steps, group.runs[-1].pad
            needed = [0, RUN_CYCLES_MIN - steps]
            if group.loop.passes > 1:
                needed.append(len(group.rows) - group.lead)
            if after:
                needed.append(len(group.rows) - after.lead)
            if group.loop.pooled:
                needed.append(plan.latency.renew - group.lead)
            assert pads == max(needed)


def test_a_maximum_is_written_before_it_is_read_again():
    """Short passes of a pooled layer: one row, one code each."""
    x, y = tensor("x", 4, 4, 1), tensor("a", 2, 2, 1)
    net = network(
        [x, y, tensor("y", 1)], [convolution("a", x, y, (1, 1), (0, 0), pool=(2, 2)), layer("y", "y", [("a", 0, 4)], 1)]
    )
    plan = Plan.make(net, EngineConfig(lanes=1))
    group = plan.schedule.groups[0]
    latency = plan.latency
    read = latency.lane + latency.capture + latency.round + latency.function - latency.activation
    written = latency.lane + latency.capture + latency.requant + latency.write
    assert group.period + read > written
    assert group.period + read == written + 1
    assert group.runs[-1].pad == latency.renew - 1


def spans_of(plan):
    """Per layer, from the times of its passes alone: first step, last step, first and last result on the port, when
    the shadow row is free again."""
    found = []
    for number, span in enumerate(plan.schedule.spans):
        groups = [group for group in plan.schedule.groups if group.layer == number]
        now = span.start
        ends = []
        for group in groups:
            for _ in range(group.loop.passes):
                ends.append((now + group.lead - 1, len(group.rows)))
                now += group.period
        drain = plan.latency.drain
        assert span.stop == now
        for (before, rows), (after, _) in itertools.pairwise(ends):
            assert after >= before + rows
        found.append((ends[0][0] + drain, ends[-1][0] + drain + ends[-1][1] - 1, ends[0][0], ends[-1][0] + ends[-1][1]))
    return found


@given(plans())
def test_layers_begin_as_soon_as_they_may_and_not_before(plan):
    net, latency, spans = plan.network, plan.latency, plan.schedule.spans
    times = spans_of(plan)
    cells = {cell.gates: cell for cell in net.cells}
    last = {layer.output: number for number, layer in enumerate(net.layers)}
    written, cell_written, whole, free, stop = {}, None, 0, 0, 0
    for number, (made, span) in enumerate(zip(net.layers, spans, strict=True)):
        first, end, captured, next_free = times[number]
        needs = {segment.tensor for segment in made.segments}
        needs |= {made.operand.tensor} if made.operand else set()
        needs |= {made.output} if made.maximum else set()
        # One cycle after a write its address may be read; so many cycles after a step it is.
        slack = [span.start + latency.fetch - written[name] - 1 for name in needs if name in written]
        slack.append(captured - free)
        if cell_written is not None and made.output in plan.memory:
            slack.append(first - cell_written - 1)
        if net.emit == "last" and number == net.tail:
            slack.append(span.start - whole - 2)
        assert min(slack) >= 0
        gap = span.start - stop
        assert gap == 0 or gap >= WAIT_CYCLES_MIN
        assert min(slack) == 0 or gap in (0, WAIT_CYCLES_MIN)
        free, stop = next_free, span.stop
        written[made.output] = end
        if made.output in cells:
            end = cell_written = end + latency.cell
            if last[made.output] == number:
                written[cells[made.output].output] = end
        assert span.written == end
        whole = max(whole, end)
    assert plan.schedule.written == max(whole, stop + WAIT_CYCLES_MIN - 2)


@given(plans())
def test_the_loop_of_a_group_is_known_when_it_begins(plan):
    """It is fetched during a wait: no two groups of different loops without one between them."""
    words = plan.schedule.words
    assert words[-1].end == 1
    for before, after in itertools.pairwise(words):
        if after.loop != before.loop:
            assert after.idle or before.idle
        if before.idle:
            assert before.loop == after.loop
            assert before.run.pad >= WAIT_CYCLES_MIN
    assert words[-1].loop == words[0].loop


# Ends.


@pytest.mark.parametrize("emit", ["step", "last"])
def test_a_step_ends_before_the_tail_if_only_the_last_gives_an_output(emit):
    plan = Plan.make(lstm(3, emit=emit), EngineConfig(lanes=4))
    ends = [(number, word.end) for number, word in enumerate(plan.schedule.words) if word.end]
    if emit == "step":
        assert ends == [(len(plan.schedule.words) - 1, 1)]
        assert plan.schedule.body_written == 0
        return
    (middle, kind), last = ends
    assert kind == 2
    assert last == (len(plan.schedule.words) - 1, 1)
    steps = sum(word.run.steps * (word.repeat + 1) for word in plan.schedule.words[:middle] if not word.idle)
    assert steps == sum(group.steps for group in plan.schedule.groups if group.layer == 0)
    body, tail = plan.schedule.spans[:2]
    assert plan.schedule.body_written >= body.written
    assert tail.start == plan.schedule.body_written + 2


def test_equal_groups_are_words_once():
    net = random_network(8, sizes=(64, 256, 10), levels=(Level(3, 1),)).network
    plan = Plan.make(net, EngineConfig(lanes=4))
    # Layer 1: 64 groups and a wait; layer 2: two full groups, one of two rows, the end.
    assert len(plan.schedule.groups) == 64 + 3
    assert [(word.repeat, word.idle) for word in plan.schedule.words] == [
        (63, False), (0, True), (1, False), (0, False), (0, True)
    ]  # fmt: skip


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
