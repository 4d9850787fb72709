"""The static schedule: when each group of each layer runs, and the words of the program that make it so.

Everything is decided here, so that the hardware only counts. Nothing arbitrates and nothing stalls inside an inference.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from operator import attrgetter, itemgetter

import numpy as np

from darb_hw.config import EngineConfig
from darb_hw.plan.arrivals import Arrivals, drains_of, result_times, tile_results
from darb_hw.plan.cluster_groups import cluster_groups_of
from darb_hw.plan.clusters import clusters_of
from darb_hw.plan.groups import OLD, Group, Loop, addresses_of, choices, fires_of
from darb_hw.plan.interleave import interleave, pad_groups
from darb_hw.plan.latency import WAIT_CYCLES_MIN, Latency
from darb_hw.plan.memory_map import MemoryMap
from darb_hw.plan.program import COLUMN_END, PROGRAM_END, TIME_STEP_END, Wait, Word, words_of
from darb_hw.plan.tile_groups import Tiles
from darb_prune.encoded import EncodedNetwork, Layer, layers_of, subsets_of

__all__ = ["Schedule", "Span", "make_schedule", "subset_schedules"]


@dataclass(frozen=True)
class Span:
    """When a layer runs, in cycles from the first step of the program; in a section for the first time.

    Parameters
    ----------
    start : int
        First step.
    stop : int
        Cycle behind its last group and the idle cycles of that group.
    written : int
        Last result on the write port; in a section that of the last time. If the layer fires a cell, the last output of
        the cell there.
    """

    start: int
    stop: int
    written: int


@dataclass(frozen=True)
class Repeat:
    """Groups, or items, that run once for each column of a sweep; or others, which run once.

    Parameters
    ----------
    first, stop : int
        Number of the first one, and of the one behind the last.
    steps : int
    period : int
        Cycles from a step to the next; 0 if there is one only.
    """

    first: int
    stop: int
    steps: int = 1
    period: int = 0


def _parts(repeats: Sequence[Repeat], count: int) -> tuple[Repeat, ...]:
    """All of ``count`` groups or items, in order, of which ``repeats`` run several times."""
    parts, done = [], 0
    for repeat in repeats:
        parts += [Repeat(done, repeat.first), repeat]
        done = repeat.stop
    return tuple(part for part in (*parts, Repeat(done, count)) if part.first < part.stop)


@dataclass(frozen=True, eq=False)
class Schedule:
    """The groups, the program that runs them, and when things happen. All times are cycles from the first step.

    What is named ``body`` is of a time step that is not the last one of its sequence, where only the last one gives an
    output. Else it equals the value of the whole program.

    Parameters
    ----------
    groups : tuple of Group
        In order of execution.
    words : tuple of Word
        The program.
    spans : tuple of Span
        Of each layer. One that does not run has no cycles.
    period, body_period : int
        Earliest first step of what runs next.
    release, body_release : int
        First cycle from which on nothing reads the input.
    written : int
        Last result of the output tensor on the write port.
    busy : int64 array
        Cycles in which a result or the output of a cell takes the write port of the activation memory, rising.
    body_busy : int
        How many of them are of the body. These come first.
    parts : tuple of Repeat
        All groups, in order: those of sweeps, and others.
    layers : tuple of int
        Numbers of the layers that run.
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
    parts: tuple[Repeat, ...]
    layers: tuple[int, ...]

    @property
    def walks(self) -> bool:
        """Whether a layer has more than one output position, or carries on what it writes, or follows the columns of a
        map: loops move addresses."""
        return any(part.period for part in self.parts) or any(
            group.loop.passes > 1 or group.loop.write_bank for group in self.groups
        )


class _Scheduler:
    """Schedules one layer after another. ``now`` is the cycle of the next step.

    With ``groups`` the layers are cut already, in the order in which codes and rows stand in their ROMs. What runs next
    may begin with the first group of any layer of ``next_layers`` then.
    """

    def __init__(
        self, network: EncodedNetwork, config: EngineConfig, memory: MemoryMap, latency: Latency, tiles: Tiles | None,
        groups: Sequence[list[Group]] | None = None, next_layers: Collection[int] = (),
    ) -> None:  # fmt: skip
        self._tiles = tiles
        self._cut = groups
        self._followers = [groups[layer_number][0] for layer_number in next_layers] if groups else []
        self._expected = 0  # the layer whose codes and rows come behind those of the last item
        self.jumps: dict[int, int] = {}  # items whose codes and rows do not: their layers
        self._network, self._config, self._memory, self._latency = network, config, memory, latency
        self._cells = {cell.gates: cell for cell in network.cells}
        self._last_writer = {layer.output: layer_number for layer_number, layer in enumerate(network.layers)}
        self._ideal_steps = max(network.macs / config.lanes, 1)
        self._ideal_codes = max(sum(layer.kept for layer in network.layers), 1)
        self._arrivals = Arrivals(memory.depth, latency)
        self._written: dict[str, int] = {}  # last write of each tensor, on the write port
        self._drained = -1  # first cycle in which the shadow row can take other sums
        self._cell_written = -1  # last output of a cell on the write port
        self._last_written = 0  # last result of all layers so far on the write port
        self._input_read = 0  # first cycle from which on another input may take the place of the one before
        self.now = 0
        self.items: list[Group | Wait] = []
        self.ends: dict[int, int] = {}  # what ends with an item of this number
        self.spans: list[Span] = []
        self.repeats: list[Repeat] = []
        self._opened, self._first = 0, 0  # what repeats: its first layer, its first item
        self._ready = 0  # earliest first step, if all before must be in the memories

    @property
    def groups(self) -> list[Group]:
        return [item for item in self.items if isinstance(item, Group)]

    def schedule_layer(self, layer_number: int) -> None:
        """Schedule a layer.

        Of all ways to cut it into groups it takes the one of the least cost: a share of the time of the whole network,
        and a share of its codes. Equal costs go to the way that comes first.
        """
        ways = self._choices(layer_number)
        best = min((self._costed(layer_number, groups, rank) for rank, groups in enumerate(ways)), key=itemgetter(0))
        for rank, groups in enumerate(ways):
            single = self._latency.held and not self._cut and all(group.loop.passes == 1 for group in groups)
            # Another order cannot take less than all steps.
            leads = sum(group.lead for group in groups) * self._network.times(layer_number)
            if single and self._cost(leads, groups) <= best[0][0]:
                ordered = self._costed(layer_number, interleave(groups, self._latency), rank + 0.5)
                best = min(best, ordered, key=itemgetter(0))
        _, start, groups = best
        if start > self.now:
            self._idle(start - self.now, groups[0].loop)
        self._run(layer_number, groups)

    def _choices(self, layer_number: int) -> list[list[Group]]:
        """Ways to cut a layer into groups."""
        if self._cut:
            return [self._cut[layer_number]]
        if self._tiles:
            return [self._tiles.groups[layer_number]]
        config, folds = self._config, self._latency.folds
        if clusters_of(self._network, layer_number) > 1:
            return [cluster_groups_of(self._network, layer_number, config.lanes, self._memory)]
        return list(choices(self._network, layer_number, config.lanes, self._memory, config.unroll, folds))

    def _costed(
        self, layer_number: int, groups: list[Group], rank: float
    ) -> tuple[tuple[float, float], int, list[Group]]:
        """Cost and rank of groups in this order, their first step, and the groups with their idle cycles."""
        bursts = max(group.bursts for group in groups)  # so that none waits for longer than about a pass
        groups = pad_groups(groups, self._latency, self._quiet(layer_number), bursts)
        start = self._start(layer_number, groups)
        cycles = start + sum(group.cycles for group in groups) - self.now
        return (self._cost(cycles * self._network.times(layer_number), groups), rank), start, groups

    def _cost(self, cycles: int, groups: list[Group]) -> float:
        """Share of the least time of the network, and share of its codes."""
        codes = self._config.lanes * sum(group.stored_steps for group in groups)
        return cycles / self._ideal_steps + codes / self._ideal_codes

    def _quiet(self, layer_number: int) -> int:
        """Cycles from the last step of a pass to its results in the memories, if no lane may read meanwhile; else 0."""
        layer, latency = self._network.layers[layer_number], self._latency
        if not latency.shared or not (layer.output in self._memory or layer.output in self._cells):
            return 0
        cell = latency.cell if layer.output in self._cells else 0
        return latency.drain + cell + latency.lag

    def _start(self, layer_number: int, groups: list[Group]) -> int:
        """Earliest first step of a layer."""
        layer, latency = self._network.layers[layer_number], self._latency
        # The layer waits for these until all of each is written.
        whole = {segment.tensor for segment in layer.segments if segment.tensor in self._memory.units}
        whole |= {layer.operand.tensor} if layer.operand else set()
        whole |= {layer.output} if layer.maximum else set()
        section = self._network.section_of(layer_number)
        if section:  # what the same step has written; what the one before has is there when the step begins
            before = self._memory.columns.before(layer_number)
            whole |= {name for name in layer.reads if name in self._network.sectioned} - {*before}
        ready = self._settled if self._latency.paired else self._ready
        start = max([self.now, ready, *(self._written[name] + latency.lag for name in whole if name in self._written)])
        start = max(start, self._drained + 1 - groups[0].lead)
        if layer.output in self._memory:  # no two results on the write port at once
            start = max(start, self._cell_written + 2 - groups[0].lead - latency.drain)
        return self._after_wait(self._arrivals.earliest(groups, start), groups[0].loop)

    def _after_wait(self, start: int, loop: Loop) -> int:
        """``start``, or later if idle cycles before it need a word of their own: that takes some time itself."""
        last = self.items[-1] if self.items else None
        if last and (last.loop != loop or (start > self.now and self._closed(loop))):
            return max(start, self.now + WAIT_CYCLES_MIN)
        return start

    def _closed(self, loop: Loop) -> bool:
        """Whether idle cycles cannot be added to the last item: the loop changes, the last group is repeated, or a
        time step may end with it."""
        return self.items[-1].loop != loop or loop.passes > 1 or len(self.items) - 1 in self.ends

    def _idle(self, cycles: int, loop: Loop) -> None:
        """Let cycles pass: behind the last group, or in a word of their own."""
        self.now += cycles
        last = self.items[-1]
        if self._closed(loop):
            self.items.append(Wait(cycles, loop))
        else:
            # Behind a wait come the groups of its layer, or an end, which closes it.
            assert isinstance(last, Group)
            self.items[-1] = last.padded(last.runs[-1].pad + cycles)

    def _run(self, layer_number: int, groups: list[Group]) -> None:
        """Append the groups of a layer, and note when their results arrive."""
        layer, latency, start = self._network.layers[layer_number], self._latency, self.now
        inside, fired = layer.output in self._memory, layer.output in self._cells
        drained = list(drains_of(groups, start))
        if inside:
            self._arrive(layer, drained)
        last_group, last_drains = drained[-1]
        written = _last_result(last_group, last_drains, latency)
        self.now += sum(group.cycles for group in groups)
        self._drained = int(last_drains[-1]) + last_group.drain
        self._written[layer.output] = written
        if fired:
            self._cell_written = written = written + latency.cell
            if self._last_writer[layer.output] == layer_number:  # earlier layers read the time step before
                self._written[self._cells[layer.output].output] = written
        self._last_written = max(self._last_written, written)
        renewed = {*([layer.operand.tensor] if layer.operand else []), *([layer.output] if layer.renews else [])}
        if any(map(self._memory.under_next_input, renewed)):
            self._input_read = max(self._input_read, self._drained + latency.look_back)
        self.spans.append(Span(start, self.now, written))
        if layer_number == self._opened:
            self._first = len(self.items)
        if layer_number != self._expected:
            self.jumps[len(self.items)] = layer_number
        self._expected = layer_number + 1
        self.items += groups

    def skip_layer(self) -> None:
        """A layer does not run."""
        self.spans.append(Span(self.now, self.now, 0))

    def _arrive(self, layer: Layer, drained: list[tuple[Group, np.ndarray]]) -> None:
        """Note when the results of the groups of a layer arrive."""
        rows = np.concatenate([group.rows for group, _ in drained])
        positions = np.concatenate([group.positions for group, _ in drained])
        first = addresses_of(self._network, layer, rows, positions, self._memory)
        loop, tiling = drained[0][0].loop, drained[0][0].tiling
        if tiling is None:
            addresses = loop.offsets(loop.write)[:, None] + first
            self._arrivals.write(addresses.ravel(), result_times(drained, self._latency).ravel())
            return
        tile = loop.offsets(loop.tile)
        times, _ = tile_results(drained, self._latency)
        addresses = first[:, None, None] + tiling.drainage.address[tile][:, None]
        valid = np.broadcast_to(tiling.drainage.valid[tile][:, None], addresses.shape)
        self._arrivals.write(addresses[valid], np.broadcast_to(times[..., None], addresses.shape)[valid])

    def open_sweep(self, first_layer: int) -> None:
        """A sweep begins with ``first_layer``, when the results of all before are in the memories."""
        self._opened, self._ready = first_layer, self._settled

    def close_sweep(self, steps: int) -> None:
        """The sweep is over: it has run ``steps`` times."""
        begun = self.spans[self._opened].start
        period = self.finish(COLUMN_END) - begun
        later = (steps - 1) * period
        self.repeats.append(Repeat(self._first, len(self.items), steps, period))
        self.spans[self._opened :] = [
            replace(span, written=span.written + later) for span in self.spans[self._opened :]
        ]
        self.now += later
        self._drained += later
        self._last_written += later
        if self._cell_written > begun:
            self._cell_written += later
        if self._input_read > begun:
            self._input_read = self.now
        self._opened = self._first = 0
        self._ready = self._settled  # so nobody asks any more when the tensors of the sweep were written

    @property
    def _settled(self) -> int:
        """Earliest first step behind which nothing that has been computed so far is still to be written."""
        return self._last_written + self._latency.lag if self.items else 0

    def finish(self, end: int) -> int:
        """Append the idle cycles until what repeats may begin again, and mark their item with ``end``.

        Parameters
        ----------
        end : int
            ``TIME_STEP_END`` if more groups come behind, which only the last time step of a sequence runs;
            ``COLUMN_END`` of a sweep; else ``PROGRAM_END``.

        Returns
        -------
        int
            First step of what runs next.
        """
        latency, stop = self._latency, self.now
        groups = [item for item in self.items[self._first :] if isinstance(item, Group)]
        opened = self.spans[self._opened].start
        first = self._next(groups[0])
        stop = max(stop, self._drained + 1 - first.lead)
        if self._network.cells and end == COLUMN_END:
            stop = max(stop, self._after_cells(groups))
        elif self._network.cells:
            stop = max(stop, self._cell_written + 2 - first.lead - latency.drain)
            # The last unit fires before the next time step is the one that runs.
            stop = max(stop, self._cell_written - latency.cell + latency.issue)
        for group in groups:  # the next step reads the outputs of cells of this one
            states = self._memory.columns.before(group.layer)
            if OLD in (group.loop.aux_bank, *(run.bank for run in group.runs)):
                read = self._network.layers[group.layer].reads
                states = [name for name in read if name in self._memory.units and name in self._written]
            begin = self.spans[group.layer].start - opened
            stop = max([stop, *(self._written[name] + latency.lag - begin for name in states)])
        if end != COLUMN_END:
            if self._memory.release is None:  # what is loaded next has the write port for itself
                stop = max(stop, self._last_written + latency.visible)
            stop = max(stop, self._input_read)
        loop = self._next_loop(groups[0].loop)
        stop = self._after_wait(stop, loop)
        if stop > self.now:
            self._idle(stop - self.now, loop)
        self.ends[len(self.items) - 1] = end
        return stop

    def _next(self, first: Group) -> Group:
        """The group whose lead is the shortest of all with which what runs next may begin. ``first`` is one of them."""
        return min([first, *self._followers], key=attrgetter("lead"))

    def _next_loop(self, first: Loop) -> Loop:
        """A loop with which what runs next may begin: not that of the last item, if there is another. ``first`` is one
        of them. A wait is long enough for whichever comes."""
        loops = [first, *(group.loop for group in self._followers)]
        return next((loop for loop in loops if loop != self.items[-1].loop), first)

    def _after_cells(self, groups: list[Group]) -> int:
        """Earliest begin of another step of ``groups``, all of a sweep, as far as its cells are concerned."""
        latency, opened = self._latency, self.spans[self._opened].start
        # What a step tells its cells waits for ``enter`` cycles, and where their outputs go for as long as they take.
        stop = opened + max(latency.enter, latency.cell)
        # The last unit has fired by then.
        stop = max(stop, self._cell_written - latency.cell + latency.issue - latency.enter)
        for group in {group.layer: group for group in groups[::-1]}.values():
            output, begin = self._network.layers[group.layer].output, self.spans[group.layer].start - opened
            first_result = begin + group.lead - 1 + latency.drain
            if output in self._cells:  # no gate of a unit that is being computed
                stop = max(stop, self._written.get(self._cells[output].output, 0) + 1 - first_result)
            elif output in self._memory:  # no two results on the write port at once
                stop = max(stop, self._cell_written + 1 - first_result)
        return stop

    def release_input(self) -> None:
        """No group behind the last item reads the input, or what another input may take the place of."""
        self._input_read = max(self._input_read, self.now)

    @property
    def release(self) -> int | None:
        """Number of the item with whose end another input may come in; none if it must wait for the end of all."""
        if self._memory.release is None:
            return None
        return int(np.searchsorted(self.item_ends, self._input_read))

    @property
    def item_ends(self) -> np.ndarray:
        """When each item is over, for the last time, int64."""
        cycles = np.array([item.cycles for item in self.items])
        for repeat in self.repeats:
            cycles[repeat.first] += (repeat.steps - 1) * repeat.period
        return np.cumsum(cycles)

    @property
    def parts(self) -> tuple[Repeat, ...]:
        """All groups, in order: those of sweeps, and others."""
        before = np.cumsum([0, *(isinstance(item, Group) for item in self.items)])  # groups before each item
        repeats = [replace(one, first=int(before[one.first]), stop=int(before[one.stop])) for one in self.repeats]
        return _parts(repeats, int(before[-1]))


def make_schedule(
    network: EncodedNetwork, config: EngineConfig, memory: MemoryMap, latency: Latency, tiles: Tiles | None = None
) -> Schedule:
    """Schedule all layers.

    Rows may be folded over up to ``2**latency.folds`` lanes. Where lanes share a memory, no lane reads while a result
    is written. ``tiles`` are the groups of all layers, where lanes compute neighbouring positions.
    """
    layers = tuple(range(len(network.layers)))
    return _schedule(_Scheduler(network, config, memory, latency, tiles), network, memory, latency, layers)


def subset_schedules(
    network: EncodedNetwork, config: EngineConfig, memory: MemoryMap, latency: Latency, whole: Schedule
) -> dict[int, Schedule]:
    """A schedule for each subset of tasks. They run the groups of ``whole``, a schedule of all layers, in its order, so
    all share its codes and rows. Whatever runs next may begin with a layer of any of them."""
    if not network.tasks:
        return {1: whole}
    groups: list[list[Group]] = [[] for _ in network.layers]
    for group in whole.groups:
        groups[group.layer].append(group.bare)
    layers = {subset: layers_of(network, subset) for subset in subsets_of(network)}
    first = sorted({numbers[0] for numbers in layers.values()})
    return {
        subset: _schedule(
            _Scheduler(network, config, memory, latency, None, groups, first), network, memory, latency, numbers
        )
        for subset, numbers in layers.items()
    }


def _schedule(
    scheduler: _Scheduler, network: EncodedNetwork, memory: MemoryMap, latency: Latency, layers: tuple[int, ...]
) -> Schedule:
    """Schedule ``layers``, one after another."""
    body_period, run = None, frozenset(layers)
    for layer_number in range(len(network.layers)):
        if network.emit == "last" and layer_number == network.tail > 0:
            body_period = scheduler.finish(TIME_STEP_END)
        sweep = memory.columns.sweep(layer_number)
        if sweep and layer_number == sweep.first:
            scheduler.open_sweep(layer_number)
        if layer_number in run:
            scheduler.schedule_layer(layer_number)
        else:
            scheduler.skip_layer()
        if sweep and layer_number == sweep.stop - 1:
            scheduler.close_sweep(sweep.steps)
        if layer_number == memory.release:
            scheduler.release_input()
    period = scheduler.finish(PROGRAM_END)
    groups, items = scheduler.groups, scheduler.items
    release_item = scheduler.release
    release = int(scheduler.item_ends[-1 if release_item is None else release_item])
    busy, body_busy = _busy(network, memory, latency, items, _parts(scheduler.repeats, len(items)))
    return Schedule(
        groups=tuple(groups),
        words=tuple(
            words_of(
                items, scheduler.ends, release_item, {repeat.first for repeat in scheduler.repeats}, scheduler.jumps
            )
        ),
        spans=tuple(scheduler.spans),
        period=period,
        body_period=body_period or period,
        release=release,
        body_release=min(release, body_period or period),
        written=max(
            span.written
            for span, layer in zip(scheduler.spans, network.layers, strict=True)
            if layer.output == network.output
        ),
        busy=busy,
        body_busy=body_busy,
        parts=scheduler.parts,
        layers=layers,
    )


def _last_result(group: Group, drains: np.ndarray, latency: Latency) -> int:
    """When the last result of a group is on the write port."""
    if group.tiling:
        last = np.flatnonzero(group.tiling.drainage.valid[-1].any(axis=1))[-1]
        return int(result_times([(group, drains)], latency)[-1, -1] + last)
    return int(result_times([(group, drains)], latency).max())


def _busy(
    network: EncodedNetwork, memory: MemoryMap, latency: Latency, items: list[Group | Wait], parts: Sequence[Repeat]
) -> tuple[np.ndarray, int]:
    """When the write port of the activation memory is taken, and how many of these cycles are not of the tail."""
    fires = iter(fires_of(network, [item for item in items if isinstance(item, Group)]))
    cycles, body, start = [np.zeros(0, np.int64)], 0, 0
    for part in parts:
        inside = items[part.first : part.stop]
        drained = list(drains_of(inside, start))
        taken = _taken(network, memory, latency, [(*pair, next(fires)) for pair in drained])
        steps = np.arange(part.steps)[:, None] * part.period
        for layer_number, of_layer in taken:
            cycles.append((of_layer + steps).ravel())
            body += of_layer.size * (layer_number < network.tail)
        start += part.period * part.steps if part.period else sum(item.cycles for item in inside)
    busy = np.sort(np.concatenate(cycles))
    in_tail = network.emit == "last" and network.tail
    return busy, body if in_tail else len(busy)


def _taken(
    network: EncodedNetwork, memory: MemoryMap, latency: Latency, drained: list[tuple[Group, np.ndarray, np.ndarray]]
) -> Iterator[tuple[int, np.ndarray]]:
    """Layers, and when their results take the write port of the activation memory, from groups with the cycles in which
    they drain, and whether their rows fire a cell."""
    for layer_number, triples in groupby(drained, key=lambda triple: triple[0].layer):
        groups, drains, fires_of_layer = zip(*triples, strict=True)
        of_layer = list(zip(groups, drains, strict=True))
        inside = network.layers[layer_number].output in memory
        if of_layer[0][0].tiling:
            times, some = tile_results(of_layer, latency)
            taken = times[some] if inside else times[:0].ravel()
        else:
            results = result_times(of_layer, latency)
            fire = np.concatenate(fires_of_layer)
            taken = (results if inside else results[:, fire] + latency.cell).ravel()
        yield layer_number, taken
