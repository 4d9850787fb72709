"""Addresses for tensors that live for a while: first fit, in the order that takes the least memory."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from darb_hw.plan.banks import BankedLayout
from darb_hw.plan.layout import Layout

__all__ = ["Region", "depth_of", "packed", "placed", "separate"]

_ORDERS = 16
"""Orders that are tried, beside that of birth."""
_GAIN = 1 / 16
"""One of them must save this share of the memory."""


@dataclass(frozen=True)
class Region:
    """Addresses that hold a tensor for a while.

    Parameters
    ----------
    tensor : str
        Its name.
    start : int
        First address.
    layout : Layout or BankedLayout
    first, last : int
        The layers while which it is needed. ``first`` is -1 for what is loaded before layer 0.
    again : int, optional
        The layer from which on it is needed once more, to the end: the next input comes in.
    align : int
        What ``start`` is a multiple of.
    rank : int
        Regions of a lower rank get their addresses before those of a higher one.
    over : str, optional
        A tensor of the same layout. Layer ``first`` reads it for the last time, and each of its elements just before it
        writes the same one of this tensor. So both may have the same addresses.
    room : int
        Addresses that it takes at least.
    """

    tensor: str
    start: int
    layout: Layout | BankedLayout
    first: int
    last: int
    again: int | None = None
    align: int = 1
    rank: int = 0
    over: str | None = None
    room: int = 0

    @cached_property
    def size(self) -> int:
        return max(self.layout.size, self.room)

    @cached_property
    def end(self) -> int:
        return self.start + self.size

    def lives(self, layer: int) -> bool:
        """Whether it is needed while a layer runs."""
        return self.first <= layer <= self.last or (self.again is not None and self.again <= layer)

    def lives_with(self, other: "Region") -> bool:
        """Whether both are needed while one of the layers runs."""
        if self.first <= other.last and other.first <= self.last:
            return True
        return any(one.again is not None and one.again <= two.last for one, two in ((self, other), (other, self)))

    def shares_with(self, other: "Region") -> bool:
        """Whether one of the two may be written over the other, although both are needed."""
        return other.tensor == self.over or self.tensor == other.over


def depth_of(regions: Iterable[Region]) -> int:
    """Addresses of a memory that holds all regions."""
    return max(region.end for region in regions)


def placed(regions: Iterable[Region]) -> list[Region]:
    """The regions, each at the first address that is free while it lives; in this order."""
    made: list[Region] = []
    for region in regions:
        starts = [other.start for other in made if region.shares_with(other)]
        starts += sorted({0} | {other.start for other in made} | {other.end for other in made})
        candidates = (replace(region, start=-(-start // region.align) * region.align) for start in starts)
        made.append(next(place for place in candidates if all(_apart(place, other) for other in made)))
    return made


def packed(regions: Sequence[Region]) -> list[Region]:
    """The regions with other addresses, if one of a few orders gives a memory that is clearly less deep.

    These are the given order, and that by size, the largest first. From each of them on, the region that ends last
    comes first in the next one.
    """
    best, least, enough = list(regions), _least_depth(regions), depth_of(regions) * (1 - _GAIN)
    if least > enough:
        return best
    for order in list(regions), sorted(regions, key=lambda region: (region.rank, -region.size)):
        for _ in range(_ORDERS // 2):
            if depth_of(best) == least:
                return best
            made = placed(order)
            best = min(best, made, key=depth_of)
            highest = max(range(len(made)), key=lambda number: made[number].end)
            order.insert(0, order.pop(highest))
            order.sort(key=lambda region: region.rank)
    return best if depth_of(best) <= enough else list(regions)


def _least_depth(regions: Sequence[Region]) -> int:
    """Addresses that are needed at once, while some layer runs."""
    begins = {begin for region in regions for begin in (region.first, region.again) if begin is not None}
    return max(
        sum(region.size for region in regions if region.lives(layer) and not (region.over and region.first == layer))
        for layer in begins
    )


def separate(region: Region, other: Region) -> bool:
    """Whether two regions have no common address."""
    return max(region.start, other.start) >= min(region.end, other.end)


def _apart(region: Region, other: Region) -> bool:
    """Whether two regions may have these addresses."""
    if separate(region, other):
        return True
    if region.lives_with(other):
        return region.shares_with(other) and region.start == other.start
    if region.layout == other.layout and region.start == other.start:
        return True
    if not region.layout.has_zeros and not other.layout.has_zeros:
        return True
    # Only maps that are not in banks have zeros around them.
    assert isinstance(region.layout, Layout)
    assert isinstance(other.layout, Layout)
    low, high = max(region.start, other.start), min(region.end, other.end)
    shared, other_shared = (
        layout.border[low - start : high - start]
        for layout, start in ((region.layout, region.start), (other.layout, other.start))
    )
    return bool(np.array_equal(shared, other_shared))
