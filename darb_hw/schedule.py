"""The static schedule: rows into groups, groups into runs, and the idle cycles that keep them apart.

Everything is decided here, so that the hardware only counts: no arbitration and no stall inside an inference.
"""

from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np

from darb_hw.latency import RUN_CYCLES_MIN, WAIT_CYCLES_MIN, Latency
from darb_hw.layout import Layout
from darb_hw.memory_map import MemoryMap
from darb_prune.encoded import DENSE, EncodedNetwork, Layer, Level

__all__ = ["Group", "Loop", "Run", "Schedule", "Span", "Word", "groups_of", "make_schedule", "pad_groups", "unrolls"]

OLD, NEW = 1, 2
"""Banks of cell outputs: of the step before, of this step."""


@dataclass(frozen=True)
class Loop:
    """How a group walks over the output positions of its layer: pool columns, pool rows, columns, rows.

    Parameters
    ----------
    counts : tuple of 4 int
    read, write, aux : tuple of 4 int
        By how much the addresses read by the lanes, written, and read for the write-back move with each.
    maximum : bool
        Whether results are the maximum with what is there in the first pass of a window already.
    aux_bank : int
        0, ``OLD`` or ``NEW``: of a cell output that is read for the write-back.
    """

    counts: tuple[int, int, int, int] = (1, 1, 1, 1)
    read: tuple[int, int, int, int] = (0, 0, 0, 0)
    write: tuple[int, int, int, int] = (0, 0, 0, 0)
    aux: tuple[int, int, int, int] = (0, 0, 0, 0)
    maximum: bool = False
    aux_bank: int = 0

    @property
    def passes(self) -> int:
        return int(np.prod(self.counts))

    @property
    def pooled(self) -> bool:
        return self.counts[:2] != (1, 1)

    def deltas(self, moves: tuple[int, ...]) -> tuple[int, ...]:
        """What is added to an address when the counter of that place advances and those before it wrap."""
        return tuple(
            move - sum((count - 1) * before for count, before in zip(self.counts[:place], moves, strict=False))
            for place, move in enumerate(moves)
        )

    def offsets(self, moves: tuple[int, ...]) -> np.ndarray:
        """Offset of each pass, in order, int64, shape (passes,)."""
        place = np.unravel_index(np.arange(self.passes), self.counts[::-1])
        return sum(move * np.asarray(at) for move, at in zip(moves, place[::-1], strict=True))


@dataclass(frozen=True)
class Run:
    """``lines`` lines of ``codes`` codes, from address ``base`` on and ``pitch`` apart, then ``pad`` idle cycles."""

    base: int
    codes: int
    level: Level
    lines: int = 1
    pitch: int = 0
    pad: int = 0
    bank: int = 0

    @property
    def steps(self) -> int:
        return self.codes * self.lines


@dataclass(frozen=True, eq=False)
class Group:
    """Up to one row a lane, in lock-step, at every output position in turn.

    Parameters
    ----------
    layer : int
    level : Level
        Level of the rows that have codes.
    rows : numpy.ndarray of int64
        Rows of the layer, lane by lane: first ``coded`` rows of the level, then rows without codes that use
        lanes left over.
    places : numpy.ndarray of int64
        Of the output columns that are computed at once, the one of each lane.
    coded : int
    runs : tuple of Run
    loop : Loop
    ahead : int
        How far a lane reads behind the lane of the same row and the place before.
    """

    layer: int
    level: Level
    rows: np.ndarray
    places: np.ndarray
    coded: int
    runs: tuple[Run, ...]
    loop: Loop = Loop()
    ahead: int = 0

    @property
    def steps(self) -> int:
        """Steps of one pass."""
        return sum(run.steps for run in self.runs)

    @property
    def lead(self) -> int:
        """Cycles of one pass, from its first step to its last."""
        return sum(run.steps + run.pad for run in self.runs) - self.runs[-1].pad

    @property
    def period(self) -> int:
        """Cycles of one pass, idle cycles behind it included."""
        return self.lead + self.runs[-1].pad

    @property
    def cycles(self) -> int:
        return self.period * self.loop.passes

    def padded(self, pad: int) -> "Group":
        """This group with at least ``pad`` idle cycles after each pass."""
        last = self.runs[-1]
        return replace(self, runs=self.runs[:-1] + (replace(last, pad=max(pad, last.pad)),))


@dataclass(frozen=True)
class Word:
    """A word of the program: one run of a group, and how often the group is repeated with other rows; or a wait.

    ``end`` is 1 for the end of the program, 2 for the end of a step that is not the last one of its sequence.
    """

    run: Run
    rows: int
    repeat: int
    loop: Loop
    first: bool = True
    last: bool = True
    idle: bool = False
    end: int = 0


@dataclass(frozen=True)
class Span:
    """When a layer runs, in cycles from the first step of the program on: first step, cycle after its last group
    with its idle cycles, last result on the write port (of its cell, if it fires one)."""

    start: int
    stop: int
    written: int


@dataclass(frozen=True, eq=False)
class Schedule:
    """Groups in order of execution, the program that runs them, when each layer runs, and when the last result is on
    the write port: of the whole program, and of the steps that end before the tail."""

    groups: tuple[Group, ...]
    words: tuple[Word, ...]
    spans: tuple[Span, ...]
    written: int
    body_written: int


def unrolls(layer: Layer, greatest: int) -> list[int]:
    """How many output columns can be computed at once: divisors of the width of the output."""
    width = layer.positions[1] // layer.pool[1]
    return [count for count in range(1, min(width, greatest) + 1) if width % count == 0]


def _bank(network: EncodedNetwork, number: int, tensor: str) -> int:
    """Which bank layer ``number`` reads if ``tensor`` is the output of a cell."""
    for cell in network.cells:
        if cell.output == tensor:
            writers = [place for place, layer in enumerate(network.layers) if layer.output == cell.gates]
            return OLD if number <= max(writers) else NEW
    return 0


def _loop(network: EncodedNetwork, number: int, layouts: dict[str, Layout], unroll: int) -> Loop:
    """The walk of a layer over its output positions, ``unroll`` columns of its output at once."""
    layer = network.layers[number]
    source = layouts[layer.segments[0].tensor]
    target = layouts[layer.output]
    (pool_y, pool_x), (stride_y, stride_x) = layer.pool, layer.stride
    columns, rows = layer.positions[1] // pool_x // unroll, layer.positions[0] // pool_y
    x, y = stride_x * source.channels, stride_y * source.line
    if layer.output == network.output:  # leaves in the order of the model
        write = (0, 0, unroll, target.shape[1])
    else:
        write = (0, 0, unroll * target.channels, target.line)
    aux, bank = write if layer.renews else (0, 0, 0, 0), 0
    if layer.operand:
        bank = _bank(network, number, layer.operand.tensor)
        added, (step_y, step_x) = layouts[layer.operand.tensor], layer.operand.stride
        aux = (0, 0, unroll * step_x * added.channels, step_y * added.line)
    counts = (pool_x, pool_y, columns, rows)

    def moving(moves: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(move if count > 1 else 0 for move, count in zip(moves, counts, strict=True))

    read = (x, y, unroll * pool_x * x, pool_y * y)
    return Loop(counts, moving(read), moving(write), moving(aux), layer.maximum, bank)


def _runs(network: EncodedNetwork, number: int, level: Level, layouts: dict[str, Layout], memory: MemoryMap):
    """Runs of a row: segments of one length at equal distances become the lines of one run."""
    layer = network.layers[number]
    if level.is_empty:
        # Rows without codes still pass through the lanes: one step of null codes.
        return (_minimal(Run(memory.start(layer.segments[0].tensor), 1, DENSE)),)
    runs: list[Run] = []
    previous = None
    for segment in layer.segments:
        base = memory.start(segment.tensor) + layouts[segment.tensor].base(layer, segment)
        run = Run(base, level.codes(segment.length), level, bank=_bank(network, number, segment.tensor))
        before = runs[-1] if runs else None
        length = segment.length
        if before and (before.bank, previous) == (run.bank, (segment.tensor, length)):
            pitch = base - (before.base + (before.lines - 1) * before.pitch)
            if pitch >= 0 and (before.lines == 1 or pitch == before.pitch):
                runs[-1] = replace(before, lines=before.lines + 1, pitch=pitch)
                continue
        runs.append(run)
        previous = segment.tensor, length
    return tuple(_minimal(run) for run in runs)


def _minimal(run: Run) -> Run:
    return replace(run, pad=max(0, RUN_CYCLES_MIN - run.steps))


def groups_of(
    network: EncodedNetwork, number: int, lanes: int, layouts: dict[str, Layout], memory: MemoryMap, unroll: int = 1
) -> list[Group]:
    """Cut the rows of a layer into groups of one level; empty rows fill the lanes left over.

    Parameters
    ----------
    unroll : int
        Output columns computed at once: each row is there so many times.
    """
    layer = network.layers[number]
    loop = _loop(network, number, layouts, unroll)
    ahead = layer.pool[1] * layer.stride[1] * layouts[layer.segments[0].tensor].channels

    def all_of(rows: np.ndarray) -> np.ndarray:
        """(rows, places) of a set of rows, shape (unroll * rows, 2)."""
        return np.stack([np.tile(rows, unroll), np.repeat(np.arange(unroll), len(rows))], axis=1).astype(np.int64)

    empty = [layer.rows_of(i) for i, level in enumerate(layer.levels) if level.is_empty]
    spare = all_of(np.concatenate([*empty, np.zeros(0, np.int64)]))
    groups = []

    def add(level: Level, coded: np.ndarray, spare: np.ndarray) -> None:
        mine = np.concatenate([coded, spare])
        runs = _runs(network, number, level, layouts, memory)
        groups.append(Group(number, level, mine[:, 0], mine[:, 1], len(coded), runs, loop, ahead))

    for level in sorted({level for level in layer.levels if not level.is_empty}):
        # A level may be listed twice: its rows are one set all the same.
        rows = np.flatnonzero(np.isin(layer.row_level, [i for i, lv in enumerate(layer.levels) if lv == level]))
        rows = all_of(rows)
        for start in range(0, len(rows), lanes):
            coded = rows[start : start + lanes]
            take = lanes - len(coded)
            add(level, coded, spare[:take])
            spare = spare[take:]
    for start in range(0, len(spare), lanes):
        add(Level(0, 0), spare[:0], spare[start : start + lanes])
    return groups


def pad_groups(groups: list[Group], latency: Latency) -> list[Group]:
    """Insert idle cycles between the passes of a layer: a shadow row is not overwritten before it has drained, and a
    maximum is written before it is read again."""
    padded = []
    for group, after in zip(groups, groups[1:] + [None], strict=True):
        pad = 0 if after is None else len(group.rows) - after.lead
        if group.loop.passes > 1:
            pad = max(pad, len(group.rows) - group.lead)
        if group.loop.pooled:
            pad = max(pad, latency.renew - group.lead)
        padded.append(group.padded(max(pad, 0)))
    return padded


def layer_groups(
    network: EncodedNetwork,
    number: int,
    lanes: int,
    layouts: dict[str, Layout],
    memory: MemoryMap,
    latency: Latency,
    unroll_max: int,
) -> list[Group]:
    """Groups of a layer with as many output columns at once as give the fewest cycles; fewer columns if the gain
    is below 2 %."""
    best = None
    for unroll in unrolls(network.layers[number], unroll_max):
        groups = pad_groups(groups_of(network, number, lanes, layouts, memory, unroll), latency)
        cycles = sum(group.cycles for group in groups)
        if best is None or cycles < 0.98 * best[0]:
            best = cycles, groups
    return best[1]


def make_schedule(
    network: EncodedNetwork,
    lanes: int,
    layouts: dict[str, Layout],
    memory: MemoryMap,
    latency: Latency,
    unroll_max: int = 1,
) -> Schedule:
    """Groups, waits between layers and at the end, and the time of everything."""
    groups, words, spans = [], [], []
    cells = {cell.gates: cell for cell in network.cells}
    last_writer = {layer.output: number for number, layer in enumerate(network.layers)}
    visible = {}  # last write of each tensor, on the write port
    now = written = body_written = 0
    shadow = -1  # when the shadow row is free again: no group may end earlier
    cell_written = -1
    for number, layer in enumerate(network.layers):
        mine = layer_groups(network, number, lanes, layouts, memory, latency, unroll_max)
        inside = layer.output in memory
        ends_step = network.emit == "last" and number == network.tail > 0
        if ends_step:
            wait = max(written - now + 2, WAIT_CYCLES_MIN)
            words.append(_wait(wait, mine[0].loop, end=2))
            now += wait
            body_written = now - 2  # no step ends before its last wait does
        reads = {segment.tensor for segment in layer.segments}
        reads |= {layer.operand.tensor} if layer.operand else set()
        reads |= {layer.output} if layer.maximum else set()
        earliest = max([now, *(visible[name] + 1 - latency.fetch for name in reads if name in visible)])
        earliest = max(earliest, shadow + 1 - mine[0].lead)
        if inside:  # no two results on the write port at once
            earliest = max(earliest, cell_written + 2 - mine[0].lead - latency.drain)
        if earliest > now or (number and mine[0].loop != groups[-1].loop and not ends_step):
            wait = max(earliest - now, WAIT_CYCLES_MIN)
            words.append(_wait(wait, mine[0].loop))
            now += wait
        start = now
        now += sum(group.cycles for group in mine)
        last = now - mine[-1].runs[-1].pad - 1
        shadow = last + len(mine[-1].rows)
        layer_written = last + latency.drain + len(mine[-1].rows) - 1
        visible[layer.output] = layer_written
        if layer.output in cells:
            cell_written = layer_written = layer_written + latency.cell
            if last_writer[layer.output] == number:  # those before it read the step before
                visible[cells[layer.output].output] = layer_written
        written = max(written, layer_written)
        spans.append(Span(start, now, layer_written))
        groups += mine
        words += _words(mine)
    words.append(_wait(max(written - now + 2, WAIT_CYCLES_MIN), groups[0].loop, end=1))
    written = now + words[-1].run.pad - 2
    return Schedule(tuple(groups), tuple(words), tuple(spans), written, body_written)


def _wait(cycles: int, loop: Loop, end: int = 0) -> Word:
    return Word(Run(0, 1, DENSE, pad=cycles), 1, 0, loop, idle=True, end=end)


def _words(groups: list[Group]) -> list[Word]:
    """Part of the program: equal groups in succession become one group that is repeated."""
    words = []
    for _, same in groupby(groups, key=lambda group: (group.runs, len(group.rows), group.loop)):
        same = list(same)
        runs = same[0].runs
        words += [
            Word(run, len(same[0].rows), len(same) - 1, same[0].loop, first=i == 0, last=i == len(runs) - 1)
            for i, run in enumerate(runs)
        ]
    return words
