"""Rows into groups: which rows run at once, over which lanes, and where they read."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod

import numpy as np

from darb_hw.plan.clusters import PartLayout
from darb_hw.plan.latency import RUN_CYCLES_MIN
from darb_hw.plan.memory_map import MemoryMap
from darb_hw.plan.tiles import Tiling
from darb_prune.encoded import DENSE, EMPTY, EncodedNetwork, Layer, Level

__all__ = [
    "LOADED", "NEW", "OLD", "Group", "Loop", "Run", "addresses_of", "bank_of", "choices", "fires_of", "groups_of",
    "long_enough", "unrolls",
]  # fmt: skip

OLD, NEW, LOADED = 1, 2, 3
"""Banks: units of the time step before and of this one; the input that this time step works on."""

Counters = tuple[int, int, int, int]
"""A value for each counter of a loop, the innermost first: pool columns, pool rows, columns, rows."""


@dataclass(frozen=True)
class Loop:
    """How a group walks over the output positions of its layer, with four counters one inside the other.

    Parameters
    ----------
    counts : tuple of 4 int
        Passes of each counter, the innermost first: pool columns, pool rows, columns, rows.
    read, write, aux : tuple of 4 int
        How far an address moves when that counter advances: the addresses that lanes read, the ones written, and the
        ones read for the write-back.
    maximum : bool
        Whether already the first result of a window is the maximum with what is in memory.
    aux_bank : int
        Bank of units that are read for the write-back: ``OLD``, ``NEW``, or 0 for none.
    write_bank : int
        ``NEW`` if what is written is carried on to the next time step, else 0.
    write_follow, aux_follow : int
        In a section, the move of what is written, and of what is read for the write-back, from a step to the next.
    tap, tile : tuple of 4 int
        How far the number of a tap, of a tile moves, where lanes compute neighbouring positions. The third counter
        counts tiles then, and ``write`` moves the word that says where results go.
    first_write, first_tile : int
        Of the first tile: that word, and its number.
    words, repeat : int
        Words of a row, and of neighbouring results.
    total : bool
        Whether the lanes of a row are added up.
    """

    counts: Counters = (1, 1, 1, 1)
    read: Counters = (0, 0, 0, 0)
    write: Counters = (0, 0, 0, 0)
    aux: Counters = (0, 0, 0, 0)
    maximum: bool = False
    aux_bank: int = 0
    write_bank: int = 0
    write_follow: int = 0
    aux_follow: int = 0
    tap: Counters = (0, 0, 0, 0)
    tile: Counters = (0, 0, 0, 0)
    first_write: int = 0
    first_tile: int = 0
    words: int = 1
    repeat: int = 1
    total: bool = False

    @cached_property
    def passes(self) -> int:
        """How often the group runs."""
        return prod(self.counts)

    @property
    def pooled(self) -> bool:
        return self.counts[:2] != (1, 1)

    def deltas(self, moves: Counters) -> list[int]:
        """What is added to an address when each counter advances and the counters inside it start again."""
        spans = [(count - 1) * move for count, move in zip(self.counts, moves, strict=True)]
        return [move - sum(spans[:counter]) for counter, move in enumerate(moves)]

    def offsets(self, moves: Counters) -> np.ndarray:
        """How far an address has moved in each pass, in order, int64, shape (passes,)."""
        outermost_first = np.unravel_index(np.arange(self.passes), self.counts[::-1])
        return np.array(moves[::-1]) @ np.array(outermost_first)


@dataclass(frozen=True)
class Run:
    """What the lanes read in successive steps, and the idle cycles behind it.

    Parameters
    ----------
    base : int
        First address.
    codes : int
        Codes of a line. Every ``level.kept`` codes the address advances by ``level.block``.
    level : Level
    lines : int
        Number of lines.
    pitch : int
        Distance from a line to the next.
    pad : int
        Idle cycles behind the last line.
    bank : int
        ``OLD``, ``NEW`` or ``LOADED``, or 0 for a tensor that is in memory once.
    follow : int
        In a section, the move of ``base`` from a step to the next: a number of ``Columns.moves``, from 1 on.
    tap, tap_pitch : int
        Where lanes compute neighbouring positions: first tap of the first line, and taps from a line to the next.
    """

    base: int
    codes: int
    level: Level
    lines: int = 1
    pitch: int = 0
    pad: int = 0
    bank: int = 0
    follow: int = 0
    tap: int = 0
    tap_pitch: int = 0

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

    A row that is *folded* has ``2**fold`` lanes, side by side. Its blocks go to them in turn, so that all its lanes add
    their index to the same address. The write-back adds up what they hold.

    Parameters
    ----------
    layer : int
        Number of the layer.
    level : Level
        Level of the rows that have codes.
    rows : numpy.ndarray of int64
        Rows of the layer: first ``coded`` rows of the level, then rows without codes that use lanes left over.
    positions : numpy.ndarray of int64
        Output position of each row, among those that are computed at once: 0, 1 ...
    coded : int
        Number of rows that have codes.
    runs : tuple of Run
    loop : Loop
    ahead : int
        Distance between what lanes at neighbouring positions read.
    fold : int
        log2 of the lanes of a row.
    tiling : Tiling, optional
        Where lanes compute neighbouring positions: the walk over them.
    first_row : int
        Number of the first row among those that have the tiling.
    uniform : bool
        Whether all steps of a pass take the same codes.
    apart : bool
        Whether the lanes of a row are in different clusters: each has the codes of a segment, and the address of its
        own part.
    """

    layer: int
    level: Level
    rows: np.ndarray
    positions: np.ndarray
    coded: int
    runs: tuple[Run, ...]
    loop: Loop = Loop()
    ahead: int = 0
    fold: int = 0
    tiling: Tiling | None = None
    first_row: int = 0
    uniform: bool = False
    apart: bool = False

    @property
    def row_cycles(self) -> int:
        """Cycles in which the results of a row leave the shadow row."""
        return self.tiling.drainage.words if self.tiling else 1 << self.fold

    @property
    def drain(self) -> int:
        """Cycles in which the results of a pass leave the shadow row."""
        return len(self.rows) * self.row_cycles

    @property
    def bursts(self) -> int:
        """Cycles in which the results of a pass are written to single-port RAMs, at most."""
        return len(self.rows) * self.tiling.drainage.bursts if self.tiling else 0

    @property
    def index_bits(self) -> int:
        """Bits of the index of a code. It counts from the address that all lanes share, so it covers the blocks of the
        other lanes of a row and the distance between positions."""
        if not self.coded:
            return 0
        if self.tiling:
            return self.tiling.index_bits
        fold = 0 if self.apart else self.fold
        greatest = (self.level.block << fold) - 1 + int(self.positions.max()) * self.ahead
        return greatest.bit_length()

    @property
    def column_bits(self) -> int:
        """Bits in which a code says how many taps behind that of its line it reads."""
        return self.tiling.column_bits if self.tiling and self.coded else 0

    @cached_property
    def steps(self) -> int:
        """Steps of one pass."""
        return sum(run.steps for run in self.runs)

    @property
    def stored_steps(self) -> int:
        """Steps whose codes are stored: the first one where all take the same."""
        return 1 if self.uniform else self.steps

    @cached_property
    def lead(self) -> int:
        """Cycles of one pass, from its first step to its last, both included."""
        return sum(run.cycles for run in self.runs) - self.runs[-1].pad

    @property
    def period(self) -> int:
        """Cycles of one pass, with the idle cycles behind it."""
        return self.lead + self.runs[-1].pad

    @property
    def cycles(self) -> int:
        """Cycles of all passes."""
        return self.period * self.loop.passes

    @property
    def bare(self) -> "Group":
        """This group with no idle cycles but those in which the next word of the program is fetched."""
        last = long_enough(replace(self.runs[-1], pad=0))
        return replace(self, runs=(*self.runs[:-1], last))

    def padded(self, pad: int) -> "Group":
        """This group with at least ``pad`` idle cycles after each pass."""
        last = self.runs[-1]
        return self if pad <= last.pad else replace(self, runs=(*self.runs[:-1], replace(last, pad=pad)))


def unrolls(layer: Layer, greatest: int) -> list[int]:
    """How many output columns can be computed at once: divisors of the width of the output, up to ``greatest``."""
    width = layer.positions[1] // layer.pool[1]
    return [count for count in range(1, min(width, greatest) + 1) if width % count == 0]


def bank_of(network: EncodedNetwork, layer_number: int, tensor: str, memory: MemoryMap) -> int:
    """The bank in which a layer reads ``tensor``; 0 if the tensor is in memory once."""
    if tensor == memory.loaded and memory.second:
        return LOADED
    if tensor not in memory.units:
        return 0
    writes = next((cell.gates for cell in network.cells if cell.output == tensor), tensor)
    last_writer = max(writer for writer, layer in enumerate(network.layers) if layer.output == writes)
    return OLD if layer_number <= last_writer else NEW


def _loop(network: EncodedNetwork, layer_number: int, memory: MemoryMap, unroll: int) -> Loop:
    """The walk of a layer over its output positions, ``unroll`` columns of its output at once."""
    layer = network.layers[layer_number]
    source = memory.layouts[layer.segments[0].tensor]
    target = memory.layouts[layer.output]
    (pool_y, pool_x), (stride_y, stride_x) = layer.pool, layer.stride
    columns, rows = layer.positions[1] // pool_x // unroll, layer.positions[0] // pool_y
    down, across = layer.spread
    x, y = stride_x * source.channels, stride_y * source.line
    if layer.output == network.output:  # leaves in the order of the model
        write = (0, 0, unroll, target.shape[1])
    elif layer.transposed:  # positions are neighbours
        write = (0, 0, unroll, layer.positions[1])
    else:
        write = (0, 0, unroll * across * target.channels, down * target.line)
    aux, bank = write if layer.renews else (0, 0, 0, 0), 0
    if layer.operand:
        bank = bank_of(network, layer_number, layer.operand.tensor, memory)
        added, (step_y, step_x) = memory.layouts[layer.operand.tensor], layer.operand.stride
        aux = (0, 0, unroll * step_x * added.channels, step_y * added.line)
    counts = (pool_x, pool_y, columns, rows)

    def moving(moves: Counters) -> Counters:
        """Moves of the counters that count, so that equal walks are equal loops."""
        a, b, c, d = (move if count > 1 else 0 for move, count in zip(moves, counts, strict=True))
        return a, b, c, d

    read = (x, y, unroll * pool_x * x, pool_y * y)
    carried = NEW if layer.output in memory.units else 0
    aux_follow = memory.columns.read(layer_number, layer.operand.tensor).follow if layer.operand else 0
    return Loop(
        counts, moving(read), moving(write), moving(aux), layer.maximum, bank, carried,
        memory.columns.write(layer.output).follow, aux_follow,
    )  # fmt: skip


def _runs(network: EncodedNetwork, layer_number: int, level: Level, fold: int, memory: MemoryMap) -> tuple[Run, ...]:
    """Runs of a row. Segments of one length at equal distances become the lines of one run."""
    layer = network.layers[layer_number]
    if level.is_empty:
        # Rows without codes still pass through the lanes: one step of null codes.
        tensor = layer.segments[0].tensor
        bank = bank_of(network, layer_number, tensor, memory)
        return (long_enough(Run(memory.start(tensor), 1, DENSE, bank=bank)),)
    runs: list[Run] = []
    previous = None
    together = Level(level.bits + fold, level.kept)  # the blocks of all lanes of a row, side by side
    for segment in layer.segments:
        layout, column = memory.layouts[segment.tensor], memory.columns.read(layer_number, segment.tensor)
        base = memory.start(segment.tensor) + layout.base(layer, segment, column.first)
        bank = bank_of(network, layer_number, segment.tensor, memory)
        run = Run(base, together.codes(segment.length), together, bank=bank, follow=column.follow)
        before = runs[-1] if runs else None
        length = segment.length
        if before and (before.bank, previous) == (run.bank, (segment.tensor, length)):
            pitch = base - (before.base + (before.lines - 1) * before.pitch)
            if pitch >= 0 and (before.lines == 1 or pitch == before.pitch):
                runs[-1] = replace(before, lines=before.lines + 1, pitch=pitch)
                continue
        runs.append(run)
        previous = segment.tensor, length
    return tuple(long_enough(run) for run in runs)


def long_enough(run: Run) -> Run:
    """The run with the idle cycles in which the next word of the program is fetched."""
    return replace(run, pad=max(0, RUN_CYCLES_MIN - run.steps))


def addresses_of(
    network: EncodedNetwork, layer: Layer, rows: np.ndarray, positions: np.ndarray, memory: MemoryMap
) -> np.ndarray:
    """Address of the result of each row in the first pass, int64, shape (rows,). The output must be in memory.

    Where the memory has banks, it is that of pixel 0.
    """
    channel_position = network.tensor(layer.output).channel_position
    if memory.banked:
        return memory.start(layer.output) + channel_position[layer.first + rows]
    layout = memory.layouts[layer.output]
    if isinstance(layout, PartLayout):
        return memory.start(layer.output) + layout.elements(network.tensor(layer.output))[layer.first + rows]
    if layer.transposed:
        pixel, channel = np.divmod((layer.first + rows) * layer.position_count, layout.channels)
        return memory.start(layer.output) + layout.pixel(*np.divmod(pixel, layout.shape[1])) + channel + positions
    top, left = layer.origin
    start = memory.start(layer.output) + layout.pixel(top, left + memory.columns.write(layer.output).first)
    return start + channel_position[layer.first + rows] + positions * layer.spread[1] * layout.channels


def groups_of(
    network: EncodedNetwork, layer_number: int, lanes: int, memory: MemoryMap, unroll: int = 1, fold: int = 0
) -> list[Group]:
    """Cut the rows of a layer into groups of one level. Empty rows fill the lanes left over.

    Parameters
    ----------
    unroll : int
        Output columns computed at once. Each row is in the groups this many times.
    fold : int
        Rows that are too few for all lanes may have up to ``2**fold`` lanes each.
    """
    layer = network.layers[layer_number]
    loop = _loop(network, layer_number, memory, unroll)
    ahead = layer.pool[1] * layer.stride[1] * memory.layouts[layer.segments[0].tensor].channels
    channel_position = network.tensor(layer.output).channel_position

    def at_all_positions(rows: np.ndarray) -> np.ndarray:
        """(row, position) of a set of rows, int64, shape (unroll * rows, 2). They are in the order in which the memory
        holds their results: the next layer reads last what is written last."""
        if not layer.transposed:  # else their results rise already
            rows = rows[np.argsort(channel_position[layer.first + rows], kind="stable")]
        return np.stack([np.tile(rows, unroll), np.repeat(np.arange(unroll), len(rows))], axis=1).astype(np.int64)

    def group(level: Level, coded: np.ndarray, empty: np.ndarray, runs: tuple[Run, ...], fold: int) -> Group:
        rows, positions = np.concatenate([coded, empty]).T
        uniform = layer.uniform and len(coded) > 0
        return Group(layer_number, level, rows, positions, len(coded), runs, loop, ahead, fold, uniform=uniform)

    empty = [layer.rows_of(level_number) for level_number, level in enumerate(layer.levels) if level.is_empty]
    spare = at_all_positions(np.concatenate([*empty, np.zeros(0, np.int64)]).astype(np.int64))
    groups = []
    for level in sorted({level for level in layer.levels if not level.is_empty}):
        # A level may be listed twice: its rows are one set all the same.
        numbers = [level_number for level_number, other in enumerate(layer.levels) if other == level]
        rows = at_all_positions(np.flatnonzero(np.isin(layer.row_level, numbers)))
        blocks = max(-(-segment.length // level.block) for segment in layer.segments)
        fold_max = min(fold, blocks.bit_length() - 1)  # more lanes than blocks have nothing to do
        for row_fold in range(fold_max + 1):
            at_once = lanes >> row_fold
            runs = _runs(network, layer_number, level, row_fold, memory)
            while len(rows) >= at_once or (row_fold == fold_max and len(rows)):
                coded, rows = rows[:at_once], rows[at_once:]
                left_over = at_once - len(coded)
                groups.append(group(level, coded, spare[:left_over], runs, row_fold))
                spare = spare[left_over:]
    runs = _runs(network, layer_number, EMPTY, 0, memory)
    of_empty_rows = (group(EMPTY, spare[:0], spare[n : n + lanes], runs, 0) for n in range(0, len(spare), lanes))
    return [*groups, *of_empty_rows]


def choices(
    network: EncodedNetwork, layer_number: int, lanes: int, memory: MemoryMap, unroll_max: int, fold_max: int
) -> Iterator[list[Group]]:
    """Ways to cut a layer into groups.

    A layer that walks over positions can compute several output columns at once. A layer with one output position can
    fold rows over several lanes; the shortest of its groups may then be the first one, where it waits for nothing.
    """
    layer = network.layers[layer_number]
    for unroll in unrolls(layer, unroll_max):
        for fold in range(fold_max + 1 if layer.position_count == 1 else 1):
            groups = groups_of(network, layer_number, lanes, memory, unroll, fold)
            if any(group.fold < fold for group in groups) and not any(group.fold == fold for group in groups):
                break
            yield groups
            if fold:
                shortest = min(range(len(groups)), key=lambda group_number: groups[group_number].steps)
                yield [groups[shortest], *groups[:shortest], *groups[shortest + 1 :]]


def fires_of(network: EncodedNetwork, groups: Sequence[Group]) -> list[np.ndarray]:
    """Which rows of each group are the last gate of their unit, bool, shape (rows,): after them the cell runs."""
    cells = {cell.gates: cell for cell in network.cells}
    fires = [np.zeros(len(group.rows), bool) for group in groups]
    seen: set[tuple[str, int]] = set()
    for group, fire in reversed(list(zip(groups, fires, strict=True))):
        layer = network.layers[group.layer]
        if layer.output in cells:
            size = network.tensor(cells[layer.output].output).channels
            for index, row in reversed(list(enumerate(group.rows))):
                unit = layer.output, int(layer.first + row) % size
                fire[index] = unit not in seen
                seen.add(unit)
    return fires
