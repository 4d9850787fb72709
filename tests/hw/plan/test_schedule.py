"""The static schedule: idle cycles, waits, when layers begin, when an inference ends, and the words of the program."""

import itertools
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from darb_hw.config import EngineConfig
from darb_hw.plan.groups import LOADED, OLD, Group, Run
from darb_hw.plan.interleave import interleave, pad_groups
from darb_hw.plan.latency import RUN_CYCLES_MIN, WAIT_CYCLES_MIN, Latency
from darb_hw.plan.plan import Plan
from darb_prune.encoded import DENSE, Level, Operand
from tests.hw.interpreter import Machine, sequences
from tests.hw.plans import STREAMED, plans, tile_plans
from tests.hw.small import convolution, layer, lstm, network, tensor
from tests.hw.tile_interpreter import TileMachine
from tests.networks import random_inputs, random_network

# Idle cycles.


def quiet_of(plan, number: int) -> int:
    """Of memories that are shared: cycles from the last step of a pass of a layer to its results in them, apart from
    the cycles in which they drain; 0 if nothing is written there."""
    made, latency = plan.network.layers[number], plan.latency
    gates = {cell.gates for cell in plan.network.cells}
    if not latency.shared or not (made.output in plan.memory or made.output in gates):
        return 0
    return latency.drain + latency.cell * (made.output in gates) + latency.visible - latency.fetch


def pads_of(plan, number: int) -> list[int]:
    """Idle cycles that each group of a layer needs after each of its passes."""
    groups = [group for group in plan.schedule.groups if group.layer == number]
    pads, now, free, held = [], 0, 0, plan.latency.held  # until when the shadow row is in use
    begun = []  # when it took each pass
    for group, after in itertools.zip_longest(groups, groups[1:]):
        needed = [0, RUN_CYCLES_MIN - group.runs[-1].steps]
        rows = len(group.rows) << group.fold
        for _ in range(group.loop.passes):
            last = now + group.lead - 1
            begun.append(max(last, free))
            free = begun[-1] + rows
            now += group.period
        if group.loop.passes > 1:
            needed.append(rows - group.lead)
        if after and held and group.loop.passes == after.loop.passes == 1:
            if len(begun) >= held:
                needed.append(begun[-held] + held - last - after.lead)
        elif after:
            needed.append(free - last - after.lead)
        if group.loop.pooled:
            needed.append(plan.latency.renew - group.lead)
        if quiet_of(plan, number):
            needed.append(rows + quiet_of(plan, number))
        pads.append(max(needed))
    return pads


@given(plans(STREAMED))
def test_groups_drain_before_they_are_overwritten(plan):
    """Passes, one after another: neither too early nor later than needed. What comes behind the last pass of a layer
    may be idle cycles before the next one."""
    spans = plan.schedule.spans
    starts = [span.start for span in spans[1:]] + [plan.schedule.period]
    for number, (span, following) in enumerate(zip(spans, starts, strict=True)):
        groups = [group for group in plan.schedule.groups if group.layer == number]
        extra = [g.runs[-1].pad - pad for g, pad in zip(groups, pads_of(plan, number), strict=True)]
        assert not any(extra[:-1])
        ahead = {0, following - span.stop}
        if plan.network.emit == "last" and number + 1 == plan.network.tail:
            ahead.add(plan.schedule.body_period - span.stop)  # what follows may wait again
        assert extra[-1] in ahead
        assert not extra[-1] or groups[-1].loop.passes == 1


def test_a_maximum_is_written_before_it_is_read_again():
    """Short passes of a pooled layer: one row, one code each."""
    x, y = tensor("x", 4, 4, 1), tensor("a", 2, 2, 1)
    net = network(
        [x, y, tensor("y", 1)], [convolution("a", x, y, (1, 1), (0, 0), pool=(2, 2)), layer("y", "y", [("a", 0, 4)], 1)]
    )
    plan = Plan.make(net, EngineConfig(lanes=1))
    group = plan.schedule.groups[0]
    latency = plan.latency
    read = latency.lane + latency.shadow + latency.look - latency.activation
    readable = latency.drain + latency.visible
    assert group.period + read == readable
    assert group.runs[-1].pad == latency.renew - 1


# When layers begin.


@dataclass
class Layer:
    """A layer by its passes, one by one: cycles of first and last steps, when the shadow row takes each (a pass that
    finds it free: with its last step), rows (with their lanes) of each."""

    first: list[int]
    last: list[int]
    drains: list[int]
    groups: list[Group]
    drained: int = 0


def passes_of(plan, number: int) -> Layer:
    now, found = plan.schedule.spans[number].start, Layer([], [], [], [])
    mine = [group for group in plan.schedule.groups if group.layer == number]
    for group, pad in zip(mine, pads_of(plan, number), strict=True):
        for _ in range(group.loop.passes):
            found.first.append(now)
            found.last.append(now + group.lead - 1)
            found.drains.append(max(found.last[-1], found.drained))
            found.drained = found.drains[-1] + (len(group.rows) << group.fold)
            found.groups.append(group)
            now += group.lead + pad
    assert plan.schedule.spans[number].stop == now
    held = plan.latency.held
    if held:
        # Rows of registers for those that wait: each moves on when the one behind it has done so.
        assert all(last >= taken + held for taken, last in zip(found.drains, found.last[held:], strict=False))
    else:
        assert found.drains == found.last
    return found


def results_of(plan, passes: Layer) -> list[tuple[int, Group, int]]:
    """(cycle on the write port, group, number of the row in it) of each result of a layer."""
    return [
        (taken + plan.latency.drain + (row + 1 << group.fold) - 1, group, row)
        for taken, group in zip(passes.drains, passes.groups, strict=True)
        for row in range(len(group.rows))
    ]


def blocks_of(passes: Layer):
    """(cycle of the step, first address, columns) of each block that any lane may read from a tensor that stands in
    one bank."""
    offsets = {id(group): iter(group.loop.offsets(group.loop.read).tolist()) for group in passes.groups}
    for now, group in zip(passes.first, passes.groups, strict=True):
        moved = next(offsets[id(group)])
        for run in group.runs:
            if not run.bank:
                for step, address in enumerate(run.addresses().tolist()):
                    for position in range(int(group.positions.max()) + 1):
                        yield now + step, address + moved + position * group.ahead, run.level.block
            now += run.cycles


@given(plans(STREAMED))
def test_layers_begin_as_soon_as_they_may_and_not_before(plan):
    """Element by element: a step may read what is written, while the rest of its tensor is still to come."""
    net, latency, spans = plan.network, plan.latency, plan.schedule.spans
    cells = {cell.gates: cell for cell in net.cells}
    last_writer = {layer.output: number for number, layer in enumerate(net.layers)}
    lag = latency.visible - latency.fetch  # a write, to the first step that may read it
    there = np.full(plan.memory_depth, -(1 << 30))  # cycle of the latest write of each element
    written, cell_written, free, stop = {}, None, 0, 0
    for number, (made, span) in enumerate(zip(net.layers, spans, strict=True)):
        passes = passes_of(plan, number)
        slack = [cycle - int(there[at : at + columns].max()) - lag for cycle, at, columns in blocks_of(passes)]
        whole = {segment.tensor for segment in made.segments} & {cell.output for cell in net.cells}
        whole |= {made.operand.tensor} if made.operand else set()
        whole |= {made.output} if made.maximum else set()
        slack += [span.start - written[name] - lag for name in whole if name in written]
        slack.append(passes.last[0] - free)
        results = results_of(plan, passes)
        if cell_written is not None and made.output in plan.memory:
            slack.append(passes.last[0] + latency.drain - cell_written - 1)
        if net.emit == "last" and number == net.tail:
            stop = plan.schedule.body_period
            slack.append(span.start - stop)
        assert min(slack) >= 0
        gap = span.start - stop
        assert min(slack) == 0 or gap in (0, WAIT_CYCLES_MIN)
        free, stop = passes.drained, span.stop
        written[made.output] = end = max(cycle for cycle, *_ in results)
        if made.output in plan.memory:
            values = plan.writes.element[plan.writes.layer == number]
            layout = plan.memory.layouts[made.output].elements(net.tensor(made.output)) + plan.memory.start(made.output)
            for (cycle, *_), element in zip(results, values.tolist(), strict=True):
                there[layout[element]] = max(there[layout[element]], cycle)
        if made.output in cells:
            end = cell_written = end + latency.cell
            if last_writer[made.output] == number:
                written[cells[made.output].output] = end
        assert span.written == end
    assert plan.schedule.written == written[net.output]


def test_a_layer_begins_before_its_input_is_complete():
    """Rows in the order of their results: the last group of the first layer is still on its way when the second layer
    reads what the first group wrote."""
    x, a, y = tensor("x", 64), tensor("a", 256), tensor("y", 8)
    layers = [layer("a", "a", [("x", 0, 64)], 256), layer("y", "y", [("a", 0, 256)], 8)]
    plan = Plan.make(network([x, a, y], layers), EngineConfig(lanes=8))
    first, second = plan.schedule.spans
    assert second.start == first.stop
    assert second.start < first.written
    # What is read first is written long before; what is written last is read last.
    assert second.start + 255 > first.written
    order = network([x, tensor("a", 256, order=np.random.default_rng(0).permutation(256)), y], layers)
    spans = Plan.make(order, EngineConfig(lanes=8)).schedule.spans
    assert (spans[1].start, spans[1].written) == (second.start, second.written)


def test_a_layer_waits_for_the_element_that_comes_last():
    """One group a layer: the second one needs all of it at once, and none of its steps may come earlier."""
    tensors = [tensor("x", 40), tensor("a", 4), tensor("y", 4)]
    plan = Plan.make(
        network(tensors, [layer("a", "a", [("x", 0, 40)], 4), layer("y", "y", [("a", 0, 4)], 4)]), EngineConfig(lanes=4)
    )
    latency, (first, second) = plan.latency, plan.schedule.spans
    groups = plan.schedule.groups
    assert [group.fold for group in groups] == [0, 0]
    # Row k is written at first.written - 3 + k, and read in step k.
    assert second.start + latency.fetch == first.written - 3 + latency.visible


def test_a_layer_that_begins_too_early_is_found():
    """By the interpreter: the same words with a shorter wait read what nobody has written, or what is old."""
    tensors = [tensor("x", 40), tensor("a", 4), tensor("y", 4)]
    layers = [layer("a", "a", [("x", 0, 40)], 4), layer("y", "y", [("a", 0, 4)], 4)]
    net = network(tensors, layers)
    plan = Plan.make(net, EngineConfig(lanes=4))
    inputs = random_inputs(1, net, 2)
    assert len(list(sequences(plan, inputs))) == 2
    image = plan.images["program"]
    cycles = image.field("cycles")
    assert cycles[0] > 40
    early = replace(plan, images={**plan.images, "program": _changed(image, "cycles", 0, int(cycles[0]) - 1)})
    with pytest.raises(AssertionError, match=r"which nobody has written|read while it is written"):
        list(sequences(early, inputs))


def test_a_layer_of_tiles_that_begins_too_early_is_found():
    """A line of three codes waits for all that it reads. So its layer could begin a step earlier, and no more."""
    x, a, y = tensor("x", 1, 8, 1), tensor("a", 1, 8, 1), tensor("y", 1, 8, 1)
    net = network([x, a, y], [convolution("a", x, a, (1, 1), (0, 0)), convolution("y", a, y, (1, 3), (0, 1))])
    plan = Plan.make(net, EngineConfig(lanes=4, positions=4, results=2))
    image, inputs = plan.images["program"], random_inputs(1, net, 2)
    wait = next(number for number, word in enumerate(plan.schedule.words) if word.idle)
    cycles = int(image.field("cycles")[wait])

    def earlier(steps: int) -> Plan:
        changed = _changed(image, "cycles", wait, cycles - steps)
        return replace(plan, images={**plan.images, "program": changed})

    assert len(list(sequences(earlier(1), inputs, machine_type=TileMachine))) == 2
    with pytest.raises(AssertionError, match=r"which nobody has written|read while it is written"):
        list(sequences(earlier(2), inputs, machine_type=TileMachine))


@pytest.mark.parametrize("positions", [1, 4])
def test_an_operand_under_the_next_input_is_read_before_that_comes(positions, monkeypatch):
    x, a, b, y = tensor("x", 1, 16, 1), tensor("a", 1, 16, 1), tensor("b", 1, 1, 1), tensor("y", 1, 1, 1)
    layers = [convolution("a", x, a, (1, 1), (0, 0)), layer("b", "b", [("a", 0, 16)], 1)]
    net = network([x, a, b, y], [*layers, layer("y", "y", [("a", 0, 1)], 1, operand=Operand("b"))])
    inputs, machine = random_inputs(1, net, 6), TileMachine if positions > 1 else Machine

    def outputs(loading: str) -> list[list[int]]:
        plan = Plan.make(net, EngineConfig(lanes=4, positions=positions, input=loading))
        assert plan.memory.under_next_input("b") == (loading == "reused")
        return [output for _, _, _, output in sequences(plan, inputs, machine_type=machine)]

    assert outputs("reused") == outputs("alone")
    look_back = Latency.look_back.fget
    monkeypatch.setattr(Latency, "look_back", property(lambda latency: look_back(latency) - 1))
    with pytest.raises(AssertionError, match="read while it is written"):
        outputs("reused")


@given(tile_plans())
def test_no_two_words_of_results_leave_at_once(made):
    """Neither in an inference nor with the next one as close behind as it may be."""
    schedule = made[1].schedule
    assert (np.diff(schedule.busy) > 0).all()
    assert not set((schedule.busy + schedule.period).tolist()) & set(schedule.busy.tolist())


def _changed(image, name: str, word: int, value: int):
    """An image with another value in one field of one word."""
    from darb_hw.plan.image import pack

    fields = {field: image.field(field.name).copy() for field in image.fields}
    next(values for field, values in fields.items() if field.name == name)[word] = value
    return pack(image.name, fields)


def test_lanes_that_share_a_memory_rest_while_results_are_written():
    net = network(
        [tensor("x", 40), tensor("a", 9), tensor("y", 2)],
        [layer("a", "a", [("x", 0, 40)], 9), layer("y", "y", [("a", 0, 9)], 2)],
    )
    plan = Plan.make(net, EngineConfig(lanes=4, memory="shared"))
    assert plan.latency.shared
    latency = plan.latency
    steps = {cycle + latency.fetch for n in range(2) for cycle in _steps(plan, n)}
    stored = {cycle + latency.visible - 1 for cycle, *_ in results_of(plan, passes_of(plan, 0))}
    assert len(stored) == 9
    assert not steps & stored


def _steps(plan, number: int):
    for first, group in zip(*(getattr(passes_of(plan, number), name) for name in ("first", "groups")), strict=True):
        now = first
        for run in group.runs:
            yield from range(now, now + run.steps)
            now += run.cycles


# Words.


@given(plans())
def test_the_loop_of_a_group_is_known_when_it_begins(plan):
    """It is fetched during a wait, which names it: no two groups of different loops without one between them; nor at
    the end of a step, behind which the program begins anew."""
    words = plan.schedule.words
    assert words[-1].end == 1
    for before, after in itertools.pairwise(words):
        assert after.idle or after.loop == before.loop
    opened = words[0]
    for word in words:
        if word.idle:
            assert word.run.cycles >= WAIT_CYCLES_MIN
        opened = word if word.opens else opened
        if word.end:
            assert word.loop == (opened if word.end == 3 else words[0]).loop


@given(plans())
def test_words_are_the_groups_and_take_the_period(plan):
    """Repetitions written out: the runs of each group in turn, with its fold and its bits, and all cycles."""
    schedule, runs = plan.schedule, []
    sweeps = iter([part for part in schedule.parts if part.period])
    cycles, now, ends, releases, step = 0, [], {}, [], []
    for word in schedule.words:
        now.append(word)
        step = [word] if word.opens else [*step, word]
        if not word.last:
            continue
        times = 1 if word.idle else (word.repeat + 1)
        if not word.idle:
            runs += [(tuple(one.run for one in now), word.rows, word.fold, word.index_bits, word.loop)] * times
        cycles += times * sum(one.run.cycles for one in now) * (1 if word.idle else word.loop.passes)
        if word.end == 3:  # as often as there are columns
            sweep = next(sweeps)
            assert sum(one.run.cycles * (1 if one.idle else (one.repeat + 1)) for one in step) == sweep.period
            cycles += (sweep.steps - 1) * sweep.period
        elif word.end:
            ends[word.end] = cycles
        if word.release:
            releases.append(cycles)
        now = []
    assert runs == [(g.runs, len(g.rows), g.fold, g.index_bits, g.loop) for g in schedule.groups]
    assert ends.pop(1) == schedule.period
    assert ends.pop(2, schedule.period) == schedule.body_period
    assert not ends
    assert releases == ([schedule.release] if plan.overlapped else [])


@given(plans())
def test_the_input_is_released_when_nothing_reads_it_any_more(plan):
    """With the last group of the last layer that reads it, idle cycles behind it included; a whole inference later if
    there is one input only."""
    schedule = plan.schedule
    assert schedule.body_release == min(schedule.release, schedule.body_period)
    assert schedule.release <= schedule.body_period or not plan.overlapped
    if not plan.overlapped:
        assert schedule.release == schedule.period
        return
    readers = [n for n, made in enumerate(plan.network.layers) if any(s.tensor == plan.loaded for s in made.segments)]
    last = max(readers)
    starts = [span.start for span in schedule.spans[1:]] + [schedule.period]
    assert schedule.spans[last].stop <= schedule.release <= starts[last]
    for group in schedule.groups:
        assert group.layer in readers or all(run.bank != LOADED for run in group.runs)


@given(plans())
def test_no_two_results_take_the_port_at_once(plan):
    """Neither in an inference nor with the next one as close behind as it may be."""
    schedule = plan.schedule
    assert (np.diff(schedule.busy) > 0).all()
    body = schedule.busy[: schedule.body_busy]
    for one, period in ((schedule.busy, schedule.period), (body, schedule.body_period)):
        assert not set((schedule.busy + period).tolist()) & set(one.tolist())


# Ends.


@given(plans())
def test_the_next_inference_follows_as_soon_as_it_may(plan):
    """Its first results behind the last ones of this one, its first reads behind outputs of cells; with one input
    only, when the memory has the last result."""
    net, latency, schedule = plan.network, plan.latency, plan.schedule
    first, last = passes_of(plan, 0), passes_of(plan, len(net.layers) - 1)
    gates = {cell.gates: cell for cell in net.cells}
    fired = [
        (span.written, made) for span, made in zip(schedule.spans, net.layers, strict=True) if made.output in gates
    ]
    slack = [schedule.period + first.last[0] - first.first[0] - last.drained]
    if fired:
        last_output = max(written for written, _ in fired)
        slack.append(schedule.period + first.last[0] - first.first[0] + latency.drain - last_output - 1)
        slack.append(schedule.period + latency.cell - last_output - latency.issue)
    for number, (span, made) in enumerate(zip(schedule.spans, net.layers, strict=True)):
        groups = [group for group in schedule.groups if group.layer == number]
        if any(OLD in (group.loop.aux_bank, *(run.bank for run in group.runs)) for group in groups):
            names = {segment.tensor for segment in made.segments} | ({made.operand.tensor} if made.operand else set())
            ends = [written for written, writer in fired if gates[writer.output].output in names]
            slack.append(schedule.period + span.start + latency.fetch - latency.visible - max(ends))
    if not plan.overlapped:
        slack.append(schedule.period - max(span.written for span in schedule.spans) - latency.visible)
    assert min(slack) >= 0
    gap = schedule.period - schedule.spans[-1].stop
    assert min(slack) == 0 or gap in (0, WAIT_CYCLES_MIN)


@pytest.mark.parametrize("emit", ["step", "last"])
def test_a_step_ends_before_the_tail_if_only_the_last_gives_an_output(emit):
    plan = Plan.make(lstm(3, emit=emit), EngineConfig(lanes=4))
    schedule = plan.schedule
    ends = [(number, word.end) for number, word in enumerate(schedule.words) if word.end]
    if emit == "step":
        assert ends == [(len(schedule.words) - 1, 1)]
        assert (schedule.body_period, schedule.body_release) == (schedule.period, schedule.release)
        assert schedule.body_busy == len(schedule.busy)
        return
    (middle, kind), last = ends
    assert kind == 2
    assert last == (len(schedule.words) - 1, 1)
    steps = sum(word.run.steps * (word.repeat + 1) for word in schedule.words[: middle + 1] if not word.idle)
    assert steps == sum(group.steps for group in schedule.groups if group.layer == 0)
    body, tail = schedule.spans[:2]
    # The last unit fires in this step, and its output is there when the next one reads it.
    assert schedule.body_period >= body.written - plan.latency.cell + plan.latency.issue
    assert schedule.body_period < schedule.period
    assert tail.start >= schedule.body_period
    assert schedule.body_busy == 3  # of the cell; the layer behind it belongs to the tail
    assert len(schedule.busy) == 3 + 5


def test_equal_groups_are_words_once():
    net = random_network(8, sizes=(64, 256, 10), levels=(Level(3, 1),)).network
    plan = Plan.make(net, EngineConfig(lanes=4))
    # Layer 1: 64 groups, of which the last releases the input; layer 2: two full groups, one of two rows, folded.
    assert len(plan.schedule.groups) == 64 + 3
    words = [word for word in plan.schedule.words if not word.idle]
    assert [(word.repeat, word.rows, word.fold, word.release) for word in words] == [
        (63, 4, 0, True), (1, 4, 0, False), (0, 2, 1, False)
    ]  # fmt: skip


# Groups that wait for the shadow row.


def mixed(rows_of: dict[Level, int], columns: int = 64):
    """One layer with so many rows of each level."""
    levels = tuple(rows_of)
    places = [place for place, count in enumerate(rows_of.values()) for _ in range(count)]
    return network(
        [tensor("x", columns), tensor("y", len(places))],
        [layer("y", "y", [("x", 0, columns)], len(places), levels, places)],
    )


def plain(groups):
    return [replace(group, runs=(replace(group.runs[0], pad=0),)) for group in groups]


def test_short_groups_drain_behind_long_ones():
    """Groups of 32 and of 8 steps over 16 lanes; each drains 16 cycles. One row of shadow registers: a short one waits
    for the drain before it. Two or three: the results of two short groups leave while they and a long one run."""
    net = mixed({Level(1, 1): 32, Level(3, 1): 64})
    plan = Plan.make(net, EngineConfig(lanes=16))
    assert plan.latency.held == 2
    assert [(group.lead, group.runs[-1].pad) for group in plan.schedule.groups] == [(32, 0), (8, 0), (8, 0)] * 2
    assert plan.schedule.period == 2 * (32 + 8 + 8)

    def waits(groups, held: int) -> list[int]:
        return [group.runs[0].pad for group in pad_groups(plain(groups), replace(plan.latency, held=held))]

    assert waits(plan.schedule.groups, 1) == [0, 1, 0, 0, 1, 0]
    assert waits(plan.schedule.groups, 0) == [8, 8, 0, 8, 8, 0]
    in_order = sorted(plan.schedule.groups, key=lambda group: -group.lead)
    assert waits(in_order, 1) == [0, 0, 1, 8, 8, 0]
    assert waits(in_order, 2) == [0, 0, 0, 0, 2, 0]


def test_nothing_waits_where_it_gains_nothing():
    one = Plan.make(mixed({Level(2, 1): 64}), EngineConfig(lanes=16))
    bound = Plan.make(mixed({Level(3, 1): 64}), EngineConfig(lanes=16))  # by 64 results, one a cycle
    assert not one.latency.held
    assert not bound.latency.held


def single_passes(sizes) -> list[Group]:
    """A group of one pass for each number of steps and rows."""
    return [
        Group(0, DENSE, np.arange(rows), np.zeros(rows, np.int64), rows, (Run(number, steps, DENSE),))
        for number, (steps, rows) in enumerate(sizes)
    ]


@given(st.lists(st.tuples(st.integers(1, 40), st.integers(1, 16)), min_size=1, max_size=12), st.sampled_from([1, 2]))
def test_interleaved_groups_are_the_same_groups(sizes, held):
    groups = single_passes(sizes)
    found = interleave(groups, Latency(2, 2, held=held))
    assert sorted(group.runs[0].base for group in found) == list(range(len(groups)))
    assert found[0].lead == max(steps for steps, _ in sizes)
    for kind in set(sizes):  # groups of one kind stay in order
        bases = [g.runs[0].base for g in found if (g.lead, g.drain) == kind]
        assert bases == sorted(bases)


def period_of(sizes, held: int) -> int:
    """Cycles until the first group may come again: a group ends when a row is empty, its results leave behind those of
    the one before it."""
    last, free, begun = 0, 0, []
    for number, (steps, rows) in enumerate(sizes):
        last = last + steps if number else 0
        if len(begun) >= held:
            last = max(last, begun[-held] + held)
        begun.append(max(last, free))
        free = begun[-1] + rows
    return max(last, free + 1 - sizes[0][0])


@given(st.lists(st.tuples(st.integers(1, 40), st.integers(1, 16)), min_size=2, max_size=5), st.sampled_from([1, 2]))
def test_no_order_behind_the_longest_group_is_faster(sizes, held):
    longest = max(sizes)
    others = sizes.copy()
    others.remove(longest)
    found = [(group.lead, group.drain) for group in interleave(single_passes(sizes), Latency(2, 2, held=held))]
    best = min(period_of([longest, *order], held) for order in itertools.permutations(others))
    assert period_of(found, held) == best
