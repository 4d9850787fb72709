"""The static schedule: groups into the words of the program, and the idle cycles that keep them apart.

Everything is decided here, so that the hardware only counts: no arbitration and no stall inside an inference.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from heapq import nsmallest
from itertools import groupby
from operator import itemgetter

import numpy as np

from darb_hw.groups import OLD, Group, Loop, Run, addresses_of, choices, fires_of
from darb_hw.latency import WAIT_CYCLES_MIN, Latency
from darb_hw.layout import Layout
from darb_hw.memory_map import MemoryMap
from darb_prune.encoded import DENSE, EncodedNetwork

__all__ = ["Schedule", "Span", "Word", "interleave", "make_schedule", "pad_groups"]

_BEAM = 16
"""Orders of groups that are followed at a time."""


@dataclass(frozen=True)
class Word:
    """A word of the program: one run of a group, and how often the group is repeated with other rows; or a wait.

    ``end`` is 1 for the end of the program, 2 for the end of a step that is not the last one of its sequence;
    behind ``release`` nothing reads the input.
    """

    run: Run
    rows: int
    repeat: int
    loop: Loop
    first: bool = True
    last: bool = True
    idle: bool = False
    end: int = 0
    fold: int = 0
    index_bits: int = 0
    release: bool = False


@dataclass(frozen=True)
class Span:
    """When a layer runs, in cycles from the first step of the program on: first step, cycle after its last group
    with its idle cycles, last result on the write port (of its cell, if it fires one)."""

    start: int
    stop: int
    written: int


@dataclass(frozen=True, eq=False)
class Schedule:
    """Groups in order of execution, the program that runs them, and when things happen, in cycles from its first step.

    Parameters
    ----------
    groups : tuple of Group
    words : tuple of Word
    spans : tuple of Span
        Of each layer.
    period, body_period : int
        The first step of the next inference may follow then; of a step that is not the last of its sequence.
    release, body_release : int
        Nothing reads the input from then on.
    written : int
        Last result of the output tensor on the write port.
    busy : int64 array
        When a result or an output of a cell takes the write port of the activation memory, in order; those of the
        tail come behind ``body_busy`` others.
    body_busy : int
    """

    groups: tuple[Group, ...]
    words: tuple[Word, ...]
    spans: tuple[Span, ...]
    period: int
    body_period: int
    release: int
    body_release: int
    written: int
    busy: np.ndarray
    body_busy: int


@dataclass(frozen=True)
class _Wait:
    """Idle cycles in a word of their own, which names the loop of what comes behind."""

    cycles: int
    loop: Loop


def pad_groups(groups: list[Group], latency: Latency, quiet: int = 0) -> list[Group]:
    """Insert idle cycles between the passes of a layer: a shadow row is not overwritten before it has drained, nor a
    row that is held before the next one has taken it; and a maximum is written before it is read again.

    Parameters
    ----------
    quiet : int
        If not 0, no lane reads while results are written: cycles from the last step of a pass to the last of its
        results in the memories, apart from the cycles in which they drain.
    """
    padded, last, leaves = [], 0, [0]  # last step of the group; since when the results of each so far leave
    for group, after in zip(groups, groups[1:] + [None], strict=True):
        if after is None:
            pad = 0
        else:
            held = latency.held if group.loop.passes == after.loop.passes == 1 else 0
            pad = _earliest(leaves, group.drain, held) - last - after.lead
        if group.loop.passes > 1:
            pad = max(pad, group.drain - group.lead)
        if group.loop.pooled:
            pad = max(pad, latency.renew - group.lead)
        if quiet:
            pad = max(pad, group.drain + quiet)
        padded.append(group.padded(max(pad, 0)))
        if after is not None:
            last += padded[-1].runs[-1].pad + after.lead
            leaves.append(max(last, leaves[-1] + group.drain))
    return padded


def _earliest(leaves: Sequence[int], drain: int, held: int) -> int:
    """Earliest last step of a group behind one whose results drain for so long: the cycle in which the shadow row is
    through, or in which one of the groups that are held has left its place. Between passes that are repeated, nothing
    waits."""
    if held:
        return leaves[-held] + held if len(leaves) >= held else 0
    return leaves[-1] + drain


@dataclass(frozen=True)
class _Order:
    """The first groups of an order: last step of the last one, since when the results of the last ones leave, how many
    groups of each kind are not in it, with their steps and results, and the order before its last group."""

    last: int
    leaves: tuple[int, ...]
    left: tuple[int, ...]
    lead_left: int
    drain_left: int
    kind: int
    before: "_Order | None" = None

    def kinds(self) -> list[int]:
        found, order = [], self
        while order:
            found.append(order.kind)
            order = order.before
        return found[::-1]

    def followed(self, kind: int, lead: int, drain: int, before: int, held: int) -> "_Order":
        """The order with a group behind it, whose own last group drains for ``before`` cycles."""
        last = max(_earliest(self.leaves, before, held), self.last + lead)
        leaves = *self.leaves, max(last, self.leaves[-1] + before)
        left = *self.left[:kind], self.left[kind] - 1, *self.left[kind + 1 :]
        return _Order(last, leaves[-held:], left, self.lead_left - lead, self.drain_left - drain, kind, self)


def interleave(groups: list[Group], latency: Latency) -> list[Group]:
    """Groups of one pass each in an order in which those whose results have to wait stand behind longer ones: first the
    longest, so that the next inference can follow; then what lanes and shadow row together are through with first, by
    a beam search: of all orders that are as long, those are followed whose least end that is still possible comes
    first."""
    kinds: dict[tuple[int, int], list[Group]] = {}
    for group in reversed(groups):
        kinds.setdefault((group.lead, group.drain), []).append(group)
    shapes = sorted(kinds, reverse=True)
    left = [len(kinds[shape]) for shape in shapes]
    left[0] -= 1
    leads, drains = (sum(n * shape[part] for n, shape in zip(left, shapes, strict=True)) for part in (0, 1))
    beam = [_Order(0, (0,), tuple(left), leads, drains, 0)]
    for _ in range(len(groups) - 1):
        found: dict[tuple, _Order] = {}
        for order in beam:
            for kind, shape in enumerate(shapes):
                if order.left[kind]:
                    one = order.followed(kind, *shape, shapes[order.kind][1], latency.held)
                    found.setdefault((one.left, one.last, one.leaves, shape[1]), one)

        def ends(order: _Order) -> tuple[int, int]:
            """Least end of the lanes and of the shadow row, of which a part lies in the next inference: the later one,
            and both."""
            lanes = order.last + order.lead_left
            shadow = order.leaves[-1] + shapes[order.kind][1] + order.drain_left + 1 - shapes[0][0]
            return max(lanes, shadow), lanes + shadow

        beam = nsmallest(_BEAM, found.values(), key=ends)
    return [kinds[shapes[kind]].pop() for kind in beam[0].kinds()]


class _Times:
    """When each element of the activation memory is written, as far as the layers before have been placed."""

    def __init__(self, depth: int, latency: Latency):
        self._latency = latency
        self._written = np.full(depth, -(1 << 40), np.int64)
        self._newest = cache(self._window)

    def _window(self, span: int) -> np.ndarray:
        """The latest of ``span`` (a power of two) elements from each address on."""
        newest, step = self._written.copy(), 1
        while step < span:
            newest[:-step] = np.maximum(newest[:-step], newest[step:])
            step *= 2
        return newest

    def write(self, addresses: np.ndarray, times: np.ndarray) -> None:
        """A layer writes these elements then; an element may be written several times."""
        np.maximum.at(self._written, addresses, times)
        self._newest = cache(self._window)

    def earliest(self, groups: list[Group], now: int) -> int:
        """Least start of ``groups``, not before ``now``, with which nothing is read before it is written. Tensors
        that stand in several banks are not looked at."""
        lag = self._latency.visible - self._latency.fetch
        horizon = int(self._written.max()) + lag - now  # steps from then on can read anything
        offset = late = 0
        for group in groups:
            places = np.arange(int(group.places.max(initial=0)) + 1) * group.ahead
            for moved in group.loop.offsets(group.loop.read):
                for run in group.runs:
                    if offset >= horizon:
                        return now + late
                    first = run.addresses()[: horizon - offset]
                    if not run.bank:
                        blocks = np.minimum(first[:, None] + moved + places, len(self._written) - 1)
                        needed = self._newest(run.level.block)[blocks].max(axis=1) + lag
                        late = max(late, int((needed - np.arange(len(first))).max()) - now - offset)
                    offset += run.cycles
        return now + late


def _drains_of(items: Iterable["Group | _Wait"], start: int) -> Iterator[tuple[Group, np.ndarray]]:
    """Each group with the cycles from which on its passes drain, if a pass does so from its last step on that finds
    the shadow row free."""
    free = start
    for item in items:
        if isinstance(item, Group):
            passes = np.arange(item.loop.passes)
            drains = np.maximum(start + item.lead - 1 + passes * item.period, free + passes * item.drain)
            yield item, drains
            free = int(drains[-1]) + item.drain
        start += item.cycles


def _result_times(group: Group, drains: np.ndarray, latency: Latency) -> np.ndarray:
    """When the results of a group are on the write port: int64, shape (passes, rows)."""
    return drains[:, None] + latency.drain + ((np.arange(len(group.rows)) + 1) << group.fold) - 1


class _Planner:
    """Places one layer after another; ``now`` is the cycle of the next step."""

    def __init__(
        self, network: EncodedNetwork, lanes: int, layouts: dict[str, Layout], memory: MemoryMap, latency: Latency,
        unroll_max: int, fold_max: int, exclusive: bool, quiet: bool,
    ):  # fmt: skip
        self.network, self.layouts, self.memory, self.latency = network, layouts, memory, latency
        self._lanes, self._exclusive, self._quiet = lanes, exclusive, quiet
        self._unroll_max, self._fold_max = unroll_max, fold_max
        self._cells = {cell.gates: cell for cell in network.cells}
        self._last_writer = {layer.output: number for number, layer in enumerate(network.layers)}
        self._ideal_steps = max(network.macs / lanes, 1)
        self._ideal_codes = max(network.kept, 1)
        self._times = _Times(memory.depth, latency)
        self._visible: dict[str, int] = {}  # last write of each tensor, on the write port
        self._shadow = self._cell_written = -1
        self.now = self.written = 0
        self.items: list[Group | _Wait] = []
        self.marks: dict[int, dict] = {}  # what the word of an item says besides
        self.spans: list[Span] = []

    @property
    def groups(self) -> list[Group]:
        return [item for item in self.items if isinstance(item, Group)]

    def place(self, number: int) -> None:
        """Place a layer: of all ways to cut it into groups, the one that costs least of the time and of the codes
        of the whole network."""
        ways = list(
            choices(self.network, number, self._lanes, self.layouts, self.memory, self._unroll_max, self._fold_max)
        )
        best = min((self._costed(number, groups, way) for way, groups in enumerate(ways)), key=itemgetter(0))
        for way, groups in enumerate(ways):
            single = self.latency.held and all(group.loop.passes == 1 for group in groups)
            # Another order cannot take less than all steps.
            if single and self._cost(sum(group.lead for group in groups), groups) <= best[0][0]:
                ordered = self._costed(number, interleave(groups, self.latency), way + 0.5)
                best = min(best, ordered, key=itemgetter(0))
        _, start, groups = best
        if start > self.now:
            self._idle(start - self.now, groups[0].loop)
        self._run(number, groups)

    def _costed(self, number: int, groups: list[Group], way: float) -> tuple[tuple[float, float], int, list[Group]]:
        """What groups cost in this order, and which way that is (of equals the first one is taken); their first step;
        they with their idle cycles."""
        groups = pad_groups(groups, self.latency, self._pause(number))
        start = self._start(number, groups)
        return (self._cost(start + sum(group.cycles for group in groups) - self.now, groups), way), start, groups

    def _cost(self, cycles: int, groups: list[Group]) -> float:
        codes = self._lanes * sum(group.steps for group in groups)
        return cycles / self._ideal_steps + codes / self._ideal_codes

    def _pause(self, number: int) -> int:
        """Cycles from the last step of a pass to its results, if the lanes must not read while they are written."""
        layer = self.network.layers[number]
        if not self._quiet or not (layer.output in self.memory or layer.output in self._cells):
            return 0
        cell = self.latency.cell if layer.output in self._cells else 0
        return self.latency.drain + cell + self.latency.visible - self.latency.fetch

    def _start(self, number: int, groups: list[Group]) -> int:
        """Earliest first step of a layer."""
        layer, latency = self.network.layers[number], self.latency
        whole = {segment.tensor for segment in layer.segments if segment.tensor in self.memory.units}
        whole |= {layer.operand.tensor} if layer.operand else set()
        whole |= {layer.output} if layer.maximum else set()
        lag = latency.visible - latency.fetch
        start = max([self.now, *(self._visible[name] + lag for name in whole if name in self._visible)])
        start = max(start, self._shadow + 1 - groups[0].lead)
        if layer.output in self.memory:  # no two results on the write port at once
            start = max(start, self._cell_written + 2 - groups[0].lead - latency.drain)
        return self._after_loop(self._times.earliest(groups, start), groups[0].loop)

    def _after_loop(self, start: int, loop: Loop) -> int:
        """``start``, or later if there must be a word in between."""
        last = self.items[-1] if self.items else None
        if last and (last.loop != loop or (start > self.now and self._closed(loop))):
            return max(start, self.now + WAIT_CYCLES_MIN)
        return start

    def _closed(self, loop: Loop) -> bool:
        """Whether idle cycles need a word of their own: the loop changes, the last group comes again, or a step may
        end with it."""
        return self.items[-1].loop != loop or loop.passes > 1 or "end" in self.marks.get(len(self.items) - 1, {})

    def _idle(self, cycles: int, loop: Loop) -> None:
        """Let cycles pass: behind the last group, or in a word of their own."""
        self.now += cycles
        if self._closed(loop):
            self.items.append(_Wait(cycles, loop))
        else:
            self.items[-1] = self.items[-1].padded(self.items[-1].runs[-1].pad + cycles)

    def _run(self, number: int, groups: list[Group]) -> None:
        layer, latency, start = self.network.layers[number], self.latency, self.now
        inside, fired = layer.output in self.memory, layer.output in self._cells
        for group, drains in _drains_of(groups, start):
            times = _result_times(group, drains, latency)
            if inside:
                address = addresses_of(self.network, layer, group.rows, group.places, self.layouts, self.memory)
                moved = group.loop.offsets(group.loop.write)[:, None] + address
                self._times.write(moved.ravel(), times.ravel())
        written = int(times.max())
        self.now += sum(group.cycles for group in groups)
        self._shadow = int(drains[-1]) + groups[-1].drain
        self._visible[layer.output] = written
        if fired:
            self._cell_written = written = written + latency.cell
            if self._last_writer[layer.output] == number:  # those before it read the step before
                self._visible[self._cells[layer.output].output] = written
        self.written = max(self.written, written)
        self.spans.append(Span(start, self.now, written))
        self.items += groups

    def finish(self, tail: bool) -> int:
        """Idle cycles behind the last group until the program may begin again, and the mark that it does; ``tail`` if
        more comes behind in the last step of a sequence."""
        latency, first, end = self.latency, self.items[0], self.now
        end = max(end, self._shadow + 1 - first.lead)
        if self.network.cells:
            end = max(end, self._cell_written + 2 - first.lead - latency.drain)
            # The last unit fires before the next step is the one that runs.
            end = max(end, self._cell_written - latency.cell + latency.issue)
        for group in self.groups:  # the next step reads the outputs of cells of this one
            if OLD not in (group.loop.aux_bank, *(run.bank for run in group.runs)):
                continue
            layer = self.network.layers[group.layer]
            read = [*(segment.tensor for segment in layer.segments), *([layer.operand.tensor] if layer.operand else [])]
            lag = latency.visible - latency.fetch - self.spans[group.layer].start
            kept = (name for name in read if name in self.memory.units and name in self._visible)
            end = max([end, *(self._visible[name] + lag for name in kept)])
        if self._exclusive:  # what is loaded next has the write port for itself
            end = max(end, self.written + latency.visible)
        end = self._after_loop(end, first.loop)
        if end > self.now:
            self._idle(end - self.now, first.loop)
        self.mark(end=2 if tail else 1)
        return end

    def mark(self, **what) -> None:
        """The word of the last item says this besides."""
        self.marks[len(self.items) - 1] = self.marks.get(len(self.items) - 1, {}) | what


def make_schedule(
    network: EncodedNetwork,
    lanes: int,
    layouts: dict[str, Layout],
    memory: MemoryMap,
    latency: Latency,
    unroll_max: int = 1,
    fold_max: int = 0,
    quiet: bool = False,
) -> Schedule:
    """Groups, idle cycles between layers and at the end, and the time of everything.

    Parameters
    ----------
    unroll_max : int
        Output columns of a convolution that are computed at once, at most.
    fold_max : int
        log2 of the lanes of one row, at most.
    quiet : bool
        No lane reads the activation memory while a result is written.
    """
    planner = _Planner(
        network, lanes, layouts, memory, latency, unroll_max, fold_max, exclusive=not memory.second, quiet=quiet
    )
    reads = [n for n, layer in enumerate(network.layers) if any(s.tensor == memory.loaded for s in layer.segments)]
    body_period = 0
    for number in range(len(network.layers)):
        if network.emit == "last" and number == network.tail > 0:
            body_period = planner.finish(tail=True)
        planner.place(number)
        if memory.second and number == max(reads):
            planner.mark(release=True)
    period = planner.finish(tail=False)
    busy, in_body = _busy(planner)
    marked = max((place for place, mark in planner.marks.items() if "release" in mark), default=len(planner.items) - 1)
    release = sum(item.cycles for item in planner.items[: marked + 1])
    return Schedule(
        groups=tuple(planner.groups),
        words=tuple(_words(planner.items, planner.marks)),
        spans=tuple(planner.spans),
        period=period,
        body_period=body_period or period,
        release=release,
        body_release=min(release, body_period or period),
        written=max(
            span.written
            for span, layer in zip(planner.spans, network.layers, strict=True)
            if layer.output == network.output
        ),
        busy=busy,
        body_busy=in_body,
    )


def _busy(planner: _Planner) -> tuple[np.ndarray, int]:
    """When the write port of the activation memory is taken, and how many of these times are not of the tail."""
    network, latency = planner.network, planner.latency
    times, layers = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    fires = fires_of(network, planner.groups)
    for (group, drains), fire in zip(_drains_of(planner.items, 0), fires, strict=True):
        found = _result_times(group, drains, latency)
        inside = network.layers[group.layer].output in planner.memory
        found = (found if inside else found[:, fire] + latency.cell).ravel()
        times.append(found)
        layers.append(np.full(len(found), group.layer))
    times, layers = np.concatenate(times), np.concatenate(layers)
    order = np.argsort(times)
    return times[order], int((layers < network.tail).sum()) if network.emit == "last" and network.tail else len(times)


def _words(items: list[Group | _Wait], marks: dict[int, dict]) -> list[Word]:
    """The program: equal groups in succession become one group that is repeated."""
    words, numbered = [], list(enumerate(items))

    def kind(entry):
        number, item = entry
        marked = sum(place < number for place in marks)  # nothing is repeated over a mark
        if isinstance(item, _Wait):
            return (number,)
        return marked, item.runs, len(item.rows), item.fold, item.index_bits, item.loop

    for _, same in groupby(numbered, key=kind):
        same = list(same)
        mark, item = marks.get(same[-1][0], {}), same[0][1]
        if isinstance(item, _Wait):
            words.append(Word(Run(0, 1, DENSE, pad=item.cycles - 1), 0, 0, item.loop, idle=True, **mark))
            continue
        for number, run in enumerate(item.runs):
            first, last = number == 0, number == len(item.runs) - 1
            words.append(
                Word(
                    run, len(item.rows), len(same) - 1, item.loop, first, last, fold=item.fold,
                    index_bits=item.index_bits, **(mark if last else {}),
                )
            )  # fmt: skip
    return words
