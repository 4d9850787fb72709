"""When results arrive: on the write port, and in the activation memory."""

from collections.abc import Iterable, Iterator, Sequence
from functools import cache

import numpy as np

from darb_hw.plan.groups import Group, Run
from darb_hw.plan.latency import Latency
from darb_hw.plan.pairs import Lines
from darb_hw.plan.program import Wait
from darb_hw.plan.tiles import Tiling

__all__ = ["Arrivals", "drains_of", "result_times", "tile_results"]

_NEVER = -(1 << 40)
"""Before any cycle: an element that no layer has written."""


class Arrivals:
    """When each element of the activation memory is written by the layers that are scheduled so far."""

    def __init__(self, depth: int, latency: Latency) -> None:
        self._latency = latency
        self._written = np.full(depth, _NEVER, np.int64)
        self._newest = cache(self._window)

    def _window(self, span: int) -> np.ndarray:
        """Latest write to the ``span`` elements from each address on. ``span`` is a power of two."""
        newest, width = self._written.copy(), 1
        while width < span:
            newest[:-width] = np.maximum(newest[:-width], newest[width:])
            width *= 2
        return newest

    def write(self, addresses: np.ndarray, times: np.ndarray) -> None:
        """Note that elements are written at these times. An element may be written several times."""
        np.maximum.at(self._written, addresses, times)
        self._newest = cache(self._window)

    def earliest(self, groups: list[Group], now: int) -> int:
        """Earliest start of ``groups``, from ``now`` on, with which no step reads an element before it is written.

        Tensors that are in several banks, and columns of maps in sections, are left out: the schedule waits until all
        of them is written.
        """
        lag = self._latency.lag
        horizon = int(self._written.max()) + lag - now  # later steps can read anything
        offset = late = 0
        for group in groups:
            if offset >= horizon:
                break
            if group.tiling:
                late = max(late, self._tiles(group, offset, horizon, now))
                offset += group.cycles
                continue
            shifts = np.arange(int(group.positions.max(initial=0)) + 1) * group.ahead
            for moved in group.loop.offsets(group.loop.read):
                for run in group.runs:
                    if offset >= horizon:
                        return now + late
                    first = run.addresses()[: horizon - offset]
                    if not (run.bank or run.follow):
                        blocks = np.minimum(first[:, None] + moved + shifts, len(self._written) - 1)
                        needed = self._newest(run.level.block)[blocks].max(axis=1) + lag
                        late = max(late, int((needed - np.arange(len(first))).max()) - now - offset)
                    offset += run.cycles
        return now + late

    def _tiles(self, group: Group, begin: int, horizon: int, now: int) -> int:
        """How much later than ``begin`` a group must start that walks over tiles.

        A line of codes waits until all that it may read is written: in all banks, of the tile and of the one behind.
        """
        tiling, offset, late = group.tiling, begin, 0
        assert tiling is not None
        taps = group.loop.offsets(group.loop.tap)
        for moved, tap in zip(group.loop.offsets(group.loop.read), taps, strict=True):
            for run, (_, lines) in zip(group.runs, tiling.lines, strict=False):
                if offset >= horizon:
                    return late
                if not run.bank:
                    late = max(late, self._lines(tiling, run, lines, int(moved), int(tap)) - now - offset)
                offset += run.cycles
        return late

    def _lines(self, tiling: Tiling, run: Run, lines: Lines, moved: int, tap: int) -> int:
        """Earliest first step of a run with which none of its lines reads what is not yet written."""
        line = np.arange(run.lines)
        first = run.tap - tiling.first_tap + tap + line * run.tap_pitch
        offsets = tiling.offsets[np.minimum(first[:, None] + np.arange(lines.taps), len(tiling.offsets) - 1)]
        span, last = lines.span, len(self._written) - 1
        starts = run.base + moved + offsets.reshape(run.lines, -1)
        whole = 1 << (span.bit_length() - 1)
        newest = self._newest(whole)
        inside = (starts >= 0) & (starts <= last)
        starts, ends = np.clip(starts, 0, last), np.clip(starts + span - whole, 0, last)
        needed = np.where(inside, np.maximum(newest[starts], newest[ends]), _NEVER).max(axis=1)
        return int((needed + self._latency.lag - line * run.codes).max())


def drains_of(items: Iterable[Group | Wait], start: int) -> Iterator[tuple[Group, np.ndarray]]:
    """Each group with the cycle in which each of its passes begins to drain, int64, shape (passes,).

    A pass drains with its last step if the shadow row is free then, else as soon as it is.
    """
    free = start
    for item in items:
        if isinstance(item, Group):
            passes = np.arange(item.loop.passes)
            drains = np.maximum(start + item.lead - 1 + passes * item.period, free + passes * item.drain)
            yield item, drains
            free = int(drains[-1]) + item.drain
        start += item.cycles


def result_times(drained: Sequence[tuple[Group, np.ndarray]], latency: Latency) -> np.ndarray:
    """When the results of groups of a layer are on the write port, int64, shape (passes, rows of all groups).

    ``drained`` are the groups with the cycles in which their passes begin to drain. Where a row has several results,
    the times are those of the first ones.
    """
    begin = np.repeat([drains for _, drains in drained], [len(group.rows) for group, _ in drained], axis=0)
    behind = np.concatenate([_behind(group) for group, _ in drained])
    return begin.T + latency.drain + behind


def _behind(group: Group) -> np.ndarray:
    """Cycles from the begin of the drain to the first result of each row."""
    rows = np.arange(len(group.rows))
    return rows * group.row_cycles if group.tiling else (rows + 1 << group.fold) - 1


def tile_results(drained: Sequence[tuple[Group, np.ndarray]], latency: Latency) -> tuple[np.ndarray, np.ndarray]:
    """When results of groups of a layer that walks over tiles are on the write port, and whether there are any in that
    cycle.

    Both have the shape (passes, rows of all groups, words); a word is a cycle in which a row drains.
    """
    group = drained[0][0]  # the groups of a layer have one loop, and so one drainage
    assert group.tiling is not None
    drainage = group.tiling.drainage
    times = result_times(drained, latency)[:, :, None] + np.arange(drainage.words)
    some = np.asarray(drainage.valid.any(axis=2))[group.loop.offsets(group.loop.tile)]
    return times, np.broadcast_to(some[:, None], times.shape)
