"""When results are there: on the write port, and in the activation memory."""

from collections.abc import Iterable, Iterator
from functools import cache

import numpy as np

from darb_hw.plan.groups import Group
from darb_hw.plan.latency import Latency
from darb_hw.plan.program import Wait

__all__ = ["Arrivals", "drains_of", "result_times"]


class Arrivals:
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


def drains_of(items: Iterable[Group | Wait], start: int) -> Iterator[tuple[Group, np.ndarray]]:
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


def result_times(group: Group, drains: np.ndarray, latency: Latency) -> np.ndarray:
    """When the results of a group are on the write port: int64, shape (passes, rows)."""
    return drains[:, None] + latency.drain + ((np.arange(len(group.rows)) + 1) << group.fold) - 1
