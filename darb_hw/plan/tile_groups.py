"""Rows into groups, where lanes compute neighbouring output positions: a row for each stream of codes."""

from collections.abc import Mapping
from dataclasses import dataclass
from operator import attrgetter

import numpy as np

from darb_hw.config import EngineConfig
from darb_hw.plan.banks import BankedLayout
from darb_hw.plan.groups import Group, Loop, Run, bank_of, long_enough
from darb_hw.plan.memory_map import MemoryMap
from darb_hw.plan.tiles import Tables, Tiling, taps_of, tiling_of
from darb_prune.encoded import DENSE, EMPTY, EncodedNetwork, Layer

__all__ = ["Rotation", "Tiles", "tile_groups_of", "tiles_of"]


@dataclass(frozen=True)
class Rotation:
    """How the rotations of a network are made of stages, each of which rotates by a power of two, or not.

    Parameters
    ----------
    banks : int
    fixed : int
        What is always rotated by.
    stages : tuple of int
        What each stage rotates by besides, if its bit is set.
    """

    banks: int
    fixed: int
    stages: tuple[int, ...]

    @classmethod
    def of(cls, rotations: np.ndarray, banks: int) -> "Rotation":
        """The fewest stages for these rotations, each 0 to ``banks - 1``."""
        best = None
        for shift in range(banks):
            shifted = (np.unique(rotations) + shift) % banks
            varying = np.bitwise_or.reduce(shifted) & ~np.bitwise_and.reduce(shifted)
            stages = tuple(1 << bit for bit in range(banks.bit_length()) if varying >> bit & 1)
            if best is None or len(stages) < len(best.stages):
                best = cls(banks, int((np.bitwise_and.reduce(shifted) - shift) % banks), stages)
        assert best is not None
        return best

    def bits(self, rotations: np.ndarray) -> np.ndarray:
        """The bits that set the stages for each rotation."""
        varying = (rotations - self.fixed) % self.banks
        return sum(((varying & stage > 0) << bit for bit, stage in enumerate(self.stages)), np.zeros_like(varying))

    def by(self, bits: int) -> int:
        """What stages with these bits rotate by, 0 to ``banks - 1``. So many banks read one tile further."""
        return (self.fixed + sum(stage for bit, stage in enumerate(self.stages) if bits >> bit & 1)) % self.banks


@dataclass(frozen=True, eq=False)
class Tiles:
    """The groups of all layers, where lanes compute neighbouring positions, and what they look up.

    Parameters
    ----------
    groups : tuple of list of Group
        Of each layer.
    tables : Tables
    rotation : Rotation
    """

    groups: tuple[list[Group], ...]
    tables: Tables
    rotation: Rotation

    @property
    def spot_shift(self) -> int:
        """How many of the last bits are zero in the addresses of all pixels that are written, or read by the
        write-back: what the numbers of channels have in common."""
        words = self.tables.drains.words
        addresses = int(np.bitwise_or.reduce(words.reshape(-1, 5 + self.tables.paired)[:, [2, 4]], axis=None))
        return (addresses & -addresses).bit_length() - 1 if addresses else 0

    @property
    def total(self) -> bool:
        """Whether lanes of a row are added up."""
        return any(group.loop.total for groups in self.groups for group in groups)


def tiles_of(network: EncodedNetwork, config: EngineConfig, memory: MemoryMap) -> Tiles | None:
    """The groups of all layers; none if each lane has a copy of the memory."""
    if not memory.banked:
        return None
    tables = Tables(config.banks, config.ways, config.memory == "spram")
    groups = tuple(
        tile_groups_of(network, layer_number, config.streams, memory, tables, config.ways)
        for layer_number in range(len(network.layers))
    )
    return Tiles(groups, tables, Rotation.of(tables.taps.words[:, 2], config.banks))


def tile_groups_of(
    network: EncodedNetwork, layer_number: int, streams: int, memory: MemoryMap, tables: Tables, ways: int
) -> list[Group]:
    """Cut the rows of a layer into groups of one level, a row for each stream. Empty rows fill the streams left over.

    Parameters
    ----------
    streams : int
        Codes that are read at once.
    tables : Tables
        What the walk looks up is added to it.
    ways : int
        Results written at once.
    """
    layer = network.layers[layer_number]
    layouts = memory.banked
    spare = _in_order(network, layer, [n for n, level in enumerate(layer.levels) if level.is_empty])
    groups = []
    window = max(taps_of(layer, level, layouts, tables.paired) for level in layer.levels)
    for level in sorted({level for level in layer.levels if not level.is_empty}):
        rows = _in_order(network, layer, [n for n, other in enumerate(layer.levels) if other == level])
        if not len(rows):
            continue
        tiling = tiling_of(network, layer, level, rows, layouts, tables, streams, ways, window)
        loop = _loop(layer, layouts, tiling)
        runs = _runs(network, layer_number, tiling, memory)
        for first in range(0, len(rows), streams):
            coded = rows[first : first + streams]
            left_over = streams - len(coded)
            together = np.concatenate([coded, spare[:left_over]])
            spare = spare[left_over:]
            positions = np.zeros(len(together), np.int64)
            groups.append(
                Group(
                    layer_number, level, together, positions, len(coded), runs, loop, tiling=tiling, first_row=first,
                    uniform=layer.uniform,
                )
            )  # fmt: skip
    # The words of a group name its loop; the loop of another layer takes a wait to be fetched.
    assert len({group.loop for group in groups}) <= 1
    if len(spare):  # rows without codes still pass through the lanes: one step of null codes at every tile
        tiling = groups[0].tiling if groups else None
        if tiling is None:
            tiling = tiling_of(network, layer, EMPTY, spare, layouts, tables, streams, ways, window)
        run = _runs(network, layer_number, tiling, memory)[0]
        runs = (long_enough(Run(run.base, 1, DENSE, bank=run.bank, tap=run.tap)),)
        loop = _loop(layer, layouts, tiling)
        for first in range(0, len(spare), streams):
            rows = spare[first : first + streams]
            positions = np.zeros(len(rows), np.int64)
            groups.append(Group(layer_number, EMPTY, rows, positions, 0, runs, loop, tiling=tiling))
    if tables.paired:  # the idle cycles of a pass are those in which the results of another one are written
        groups.sort(key=attrgetter("lead"), reverse=True)
    return groups


def _in_order(network: EncodedNetwork, layer: Layer, levels: list[int]) -> np.ndarray:
    """Rows of some levels, in the order in which the memory holds their results: the next layer reads last what is
    written last. int64, shape (rows,)."""
    rows = np.flatnonzero(np.isin(layer.row_level, levels)).astype(np.int64)
    channel_position = network.tensor(layer.output).channel_position
    return rows[np.argsort(channel_position[layer.first + rows], kind="stable")]


def _loop(layer: Layer, layouts: Mapping[str, BankedLayout], tiling: Tiling) -> Loop:
    """The walk of a layer over the tiles of its output."""
    channels = layouts[layer.segments[0].tensor].channels
    pool_y, pool_x = layer.pool
    counts = (pool_x, pool_y, tiling.tiles, 1)
    moving = int(tiling.tiles > 1)
    drainage = tiling.drainage
    return Loop(
        counts,
        read=(0, 0, channels * moving, 0),
        write=(0, 0, drainage.words * moving, 0),
        maximum=layer.maximum,
        tap=(tiling.window * (pool_x > 1), tiling.window * pool_x * (pool_y > 1), 0, 0),
        tile=(0, 0, moving, 0),
        first_write=drainage.first,
        first_tile=tiling.first_tile,
        words=drainage.words,
        repeat=drainage.repeat,
        total=tiling.total,
    )


def _runs(network: EncodedNetwork, layer_number: int, tiling: Tiling, memory: MemoryMap) -> tuple[Run, ...]:
    """Runs of a row."""
    runs = []
    for tensor, lines in tiling.lines:
        base = memory.start(tensor) + lines.start
        bank = bank_of(network, layer_number, tensor, memory)
        tap = tiling.first_tap + lines.tap
        run = Run(base, lines.codes, lines.level, lines.count, 0, bank=bank, tap=tap, tap_pitch=lines.pitch)
        runs.append(long_enough(run))
    return tuple(runs)
