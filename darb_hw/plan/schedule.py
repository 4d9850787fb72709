"""The static schedule: groups into the words of the program, and the idle cycles that keep them apart.

Everything is decided here, so that the hardware only counts: no arbitration and no stall inside an inference.
"""

from dataclasses import dataclass
from operator import itemgetter

import numpy as np

from darb_hw.plan.arrivals import Arrivals, drains_of, result_times
from darb_hw.plan.groups import OLD, Group, Loop, addresses_of, choices, fires_of
from darb_hw.plan.interleave import interleave, pad_groups
from darb_hw.plan.latency import WAIT_CYCLES_MIN, Latency
from darb_hw.plan.layout import Layout
from darb_hw.plan.memory_map import MemoryMap
from darb_hw.plan.program import Wait, Word, words_of
from darb_prune.encoded import EncodedNetwork

__all__ = ["Schedule", "Span", "make_schedule"]


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
        self._times = Arrivals(memory.depth, latency)
        self._visible: dict[str, int] = {}  # last write of each tensor, on the write port
        self._shadow = self._cell_written = -1
        self.now = self.written = 0
        self.items: list[Group | Wait] = []
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
            self.items.append(Wait(cycles, loop))
        else:
            self.items[-1] = self.items[-1].padded(self.items[-1].runs[-1].pad + cycles)

    def _run(self, number: int, groups: list[Group]) -> None:
        layer, latency, start = self.network.layers[number], self.latency, self.now
        inside, fired = layer.output in self.memory, layer.output in self._cells
        for group, drains in drains_of(groups, start):
            times = result_times(group, drains, latency)
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
        words=tuple(words_of(planner.items, planner.marks)),
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
    for (group, drains), fire in zip(drains_of(planner.items, 0), fires, strict=True):
        found = result_times(group, drains, latency)
        inside = network.layers[group.layer].output in planner.memory
        found = (found if inside else found[:, fire] + latency.cell).ravel()
        times.append(found)
        layers.append(np.full(len(found), group.layer))
    times, layers = np.concatenate(times), np.concatenate(layers)
    order = np.argsort(times)
    return times[order], int((layers < network.tail).sum()) if network.emit == "last" and network.tail else len(times)
