"""Bursts of results that wait until nothing is read from single-port RAMs: how many at a time."""

from bisect import bisect_right
from collections.abc import Sequence

import numpy as np

from darb_hw.plan.arrivals import drains_of
from darb_hw.plan.groups import Group
from darb_hw.plan.latency import Latency

__all__ = ["most_waiting"]


def most_waiting(groups: Sequence[Group], latency: Latency) -> int:
    """Most bursts of a layer that wait at a time.

    A burst waits from ``latency.gather`` cycles after its last result on. A cycle takes one of them, if no lane reads
    then.

    Parameters
    ----------
    groups : sequence of Group
        All groups of the layer, with the idle cycles behind their passes. Nothing waits when they begin.
    latency : Latency
    """
    come = _ends(groups, latency) + latency.gather
    begins, ends = _reads(groups, latency)
    leaves: list[int] = []
    for cycle in come.tolist():
        free = max(cycle, leaves[-1] + 1) if leaves else cycle
        number = bisect_right(begins, free) - 1
        while 0 <= number < len(begins) and begins[number] <= free < ends[number]:
            free = ends[number]
            number += 1
        leaves.append(free)
    before = np.searchsorted(leaves, come)  # so many have left when a burst comes
    return int((np.arange(1, len(come) + 1) - before).max(initial=0))


def _ends(groups: Sequence[Group], latency: Latency) -> np.ndarray:
    """When the last result of each burst is on the write port, rising, in cycles from the first step of the layer."""
    cycles = [np.zeros(0, np.int64)]
    for group, drains in drains_of(groups, 0):
        assert group.tiling is not None
        tile, word = np.nonzero(group.tiling.drainage.ends[group.loop.offsets(group.loop.tile)])
        rows = np.arange(len(group.rows))[:, None] * group.row_cycles
        cycles.append((drains[tile] + word + rows).ravel() + latency.drain)
    return np.sort(np.concatenate(cycles))


def _reads(groups: Sequence[Group], latency: Latency) -> tuple[list[int], list[int]]:
    """First cycle of each pass in which no burst can leave, and the one behind its last: the steps of the pass, idle
    cycles between them included."""
    begins, start = [np.zeros(0, np.int64)], 0
    for group in groups:
        begins.append(start + np.arange(group.loop.passes) * group.period)
        start += group.cycles
    first = np.concatenate(begins) + latency.fetch - 1  # a cycle before the address
    leads = np.repeat([group.lead for group in groups], [group.loop.passes for group in groups])
    return first.tolist(), (first + leads).tolist()
