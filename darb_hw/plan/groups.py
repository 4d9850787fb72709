"""Rows into groups: which rows run at once, over which lanes, and where they read."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from darb_hw.plan.latency import RUN_CYCLES_MIN
from darb_hw.plan.layout import Layout
from darb_hw.plan.memory_map import MemoryMap
from darb_prune.encoded import DENSE, EncodedNetwork, Layer, Level

__all__ = [
    "LOADED", "NEW", "OLD", "Group", "Loop", "Run", "addresses_of", "choices", "fires_of", "groups_of", "unrolls",
]  # fmt: skip

OLD, NEW, LOADED = 1, 2, 3
"""Banks: cell outputs of the step before and of this step; the input that this step works on."""


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
        return prod(self.counts)

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
    """``lines`` lines of ``codes`` codes, from address ``base`` on and ``pitch`` apart, then ``pad`` idle cycles. Every
    ``level.kept`` codes the address advances by ``level.block``."""

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

    @property
    def cycles(self) -> int:
        return self.steps + self.pad

    def addresses(self) -> np.ndarray:
        """First address of the block of each step, int64, shape (steps,)."""
        line, code = np.divmod(np.arange(self.steps), self.codes)
        return self.base + line * self.pitch + code // self.level.kept * self.level.block


@dataclass(frozen=True, eq=False)
class Group:
    """Up to ``lanes >> fold`` rows, in lock-step, at every output position in turn.

    A row that is *folded* has ``2**fold`` lanes, side by side; its blocks go to them in turn, so that all its lanes
    add their index to the same address, and the write-back adds up what they hold.

    Parameters
    ----------
    layer : int
    level : Level
        Level of the rows that have codes.
    rows : numpy.ndarray of int64
        Rows of the layer: first ``coded`` rows of the level, then rows without codes that use lanes left over.
    places : numpy.ndarray of int64
        Of the output columns that are computed at once, the one of each row.
    coded : int
    runs : tuple of Run
    loop : Loop
    ahead : int
        How far a lane reads behind the lane of the same row and the place before.
    fold : int
        log2 of the lanes of a row.
    """

    layer: int
    level: Level
    rows: np.ndarray
    places: np.ndarray
    coded: int
    runs: tuple[Run, ...]
    loop: Loop = Loop()
    ahead: int = 0
    fold: int = 0

    @property
    def drain(self) -> int:
        """Cycles in which the results of a pass leave the shadow row."""
        return len(self.rows) << self.fold

    @property
    def index_bits(self) -> int:
        """Bits of the index of a code: in its block, behind the blocks of other lanes of its row."""
        if not self.coded:
            return 0
        greatest = (self.level.block << self.fold) - 1 + int(self.places.max()) * self.ahead
        return greatest.bit_length()

    @property
    def steps(self) -> int:
        """Steps of one pass."""
        return sum(run.steps for run in self.runs)

    @property
    def lead(self) -> int:
        """Cycles of one pass, from its first step to its last."""
        return sum(run.cycles for run in self.runs) - self.runs[-1].pad

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


def unrolls(layer: Layer, greatest: int) -> list[int]:
    """How many output columns can be computed at once: divisors of the width of the output."""
    width = layer.positions[1] // layer.pool[1]
    return [count for count in range(1, min(width, greatest) + 1) if width % count == 0]


def _bank(network: EncodedNetwork, number: int, tensor: str, memory: MemoryMap) -> int:
    """Which bank layer ``number`` reads if ``tensor`` is the output of a cell, or the input and there twice."""
    if tensor == memory.loaded and memory.second:
        return LOADED
    for cell in network.cells:
        if cell.output == tensor:
            writers = [place for place, layer in enumerate(network.layers) if layer.output == cell.gates]
            return OLD if number <= max(writers) else NEW
    return 0


def _loop(network: EncodedNetwork, number: int, layouts: dict[str, Layout], memory: MemoryMap, unroll: int) -> Loop:
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
        bank = _bank(network, number, layer.operand.tensor, memory)
        added, (step_y, step_x) = layouts[layer.operand.tensor], layer.operand.stride
        aux = (0, 0, unroll * step_x * added.channels, step_y * added.line)
    counts = (pool_x, pool_y, columns, rows)

    def moving(moves: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(move if count > 1 else 0 for move, count in zip(moves, counts, strict=True))

    read = (x, y, unroll * pool_x * x, pool_y * y)
    return Loop(counts, moving(read), moving(write), moving(aux), layer.maximum, bank)


def _runs(
    network: EncodedNetwork, number: int, level: Level, fold: int, layouts: dict[str, Layout], memory: MemoryMap
) -> tuple[Run, ...]:
    """Runs of a row: segments of one length at equal distances become the lines of one run."""
    layer = network.layers[number]
    if level.is_empty:
        # Rows without codes still pass through the lanes: one step of null codes.
        first = layer.segments[0].tensor
        bank = _bank(network, number, first, memory)
        return (_minimal(Run(memory.start(first), 1, DENSE, bank=bank)),)
    runs: list[Run] = []
    previous = None
    together = Level(level.bits + fold, level.kept)  # of all lanes of a row
    for segment in layer.segments:
        base = memory.start(segment.tensor) + layouts[segment.tensor].base(layer, segment)
        bank = _bank(network, number, segment.tensor, memory)
        run = Run(base, together.codes(segment.length), together, bank=bank)
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


def addresses_of(
    network: EncodedNetwork,
    layer: Layer,
    rows: np.ndarray,
    places: np.ndarray,
    layouts: dict[str, Layout],
    memory: MemoryMap,
) -> np.ndarray:
    """Address of the result of each row in the first pass, int64, shape (rows,): of a tensor in memory."""
    layout, position = layouts[layer.output], network.tensor(layer.output).channel_position
    return memory.start(layer.output) + layout.pixel(0, 0) + position[layer.first + rows] + places * layout.channels


def groups_of(
    network: EncodedNetwork,
    number: int,
    lanes: int,
    layouts: dict[str, Layout],
    memory: MemoryMap,
    unroll: int = 1,
    fold: int = 0,
) -> list[Group]:
    """Cut the rows of a layer into groups of one level; empty rows fill the lanes left over.

    Parameters
    ----------
    unroll : int
        Output columns computed at once: each row is there so many times.
    fold : int
        Rows that are too few for all lanes may have up to ``2**fold`` lanes each.
    """
    layer = network.layers[number]
    loop = _loop(network, number, layouts, memory, unroll)
    ahead = layer.pool[1] * layer.stride[1] * layouts[layer.segments[0].tensor].channels
    position = network.tensor(layer.output).channel_position

    def all_of(rows: np.ndarray) -> np.ndarray:
        """(rows, places) of a set of rows, shape (unroll * rows, 2), by the place of their results in memory: the
        next layer reads those last that come last."""
        rows = rows[np.argsort(position[layer.first + rows], kind="stable")]
        return np.stack([np.tile(rows, unroll), np.repeat(np.arange(unroll), len(rows))], axis=1).astype(np.int64)

    empty = [layer.rows_of(i) for i, level in enumerate(layer.levels) if level.is_empty]
    spare = all_of(np.concatenate([*empty, np.zeros(0, np.int64)]).astype(np.int64))
    groups = []

    def add(level: Level, coded: np.ndarray, spare: np.ndarray, fold: int) -> None:
        mine = np.concatenate([coded, spare])
        runs = _runs(network, number, level, fold, layouts, memory)
        groups.append(Group(number, level, mine[:, 0], mine[:, 1], len(coded), runs, loop, ahead, fold))

    for level in sorted({level for level in layer.levels if not level.is_empty}):
        # A level may be listed twice: its rows are one set all the same.
        rows = np.flatnonzero(np.isin(layer.row_level, [i for i, lv in enumerate(layer.levels) if lv == level]))
        rows = all_of(rows)
        blocks = max(-(-segment.length // level.block) for segment in layer.segments)
        most = min(fold, blocks.bit_length() - 1)  # more lanes than blocks have nothing to do
        for place in range(most + 1):
            at_once = lanes >> place
            while len(rows) >= at_once or (place == most and len(rows)):
                coded, rows = rows[:at_once], rows[at_once:]
                take = at_once - len(coded)
                add(level, coded, spare[:take], place)
                spare = spare[take:]
    for start in range(0, len(spare), lanes):
        add(Level(0, 0), spare[:0], spare[start : start + lanes], 0)
    return groups


def choices(
    network: EncodedNetwork,
    number: int,
    lanes: int,
    layouts: dict[str, Layout],
    memory: MemoryMap,
    unroll_max: int,
    fold_max: int,
) -> Iterator[list[Group]]:
    """Ways to cut a layer into groups: several output columns at once; rows folded over several lanes where there is
    one output position; the shortest group in front, where it waits for nothing."""
    for unroll in unrolls(network.layers[number], unroll_max):
        for fold in range(fold_max + 1 if network.layers[number].position_count == 1 else 1):
            groups = groups_of(network, number, lanes, layouts, memory, unroll, fold)
            if any(group.fold < fold for group in groups) and not any(group.fold == fold for group in groups):
                break
            yield groups
            if fold:
                short = min(range(len(groups)), key=lambda place: groups[place].steps)
                yield [groups[short], *groups[:short], *groups[short + 1 :]]


def fires_of(network: EncodedNetwork, groups: Sequence[Group]) -> list[np.ndarray]:
    """Of the rows of each group, those that are the last gate of their unit: the cell runs for it then."""
    cells = {cell.gates: cell for cell in network.cells}
    fires = [np.zeros(len(group.rows), bool) for group in groups]
    seen: set[tuple[str, int]] = set()
    for group, fire in reversed(list(zip(groups, fires, strict=True))):
        layer = network.layers[group.layer]
        if layer.output in cells:
            size = network.tensor(cells[layer.output].output).size
            for place in reversed(range(len(group.rows))):
                unit = layer.output, int(layer.first + group.rows[place]) % size
                fire[place] = unit not in seen
                seen.add(unit)
    return fires
