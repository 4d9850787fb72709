"""An order of groups in which short ones do not wait for the drain, and the idle cycles between groups."""

from collections.abc import Sequence
from dataclasses import dataclass
from heapq import nsmallest

from darb_hw.plan.groups import Group
from darb_hw.plan.latency import Latency

__all__ = ["interleave", "pad_groups"]


_BEAM = 16
"""Orders of groups that are followed at a time."""


def pad_groups(groups: list[Group], latency: Latency, quiet: int = 0, idle: int = 0) -> list[Group]:
    """Insert idle cycles between the passes of a layer.

    They keep three rules. The shadow row takes no sums before those it holds have drained. A row of registers that
    holds sums takes no others before it has passed these on. A maximum is written before it is read again.

    Parameters
    ----------
    groups : list of Group
        All groups of a layer.
    latency : Latency
    quiet : int
        If not 0, no lane reads while results are written: cycles from the last step of a pass until the last of its
        results is in the memories, without the cycles in which they drain.
    idle : int
        Idle cycles that every pass needs at least.
    """
    padded = []
    last, drains = 0, [0]  # last step of the group; when the results of each group so far begin to drain
    for group, after in zip(groups, [*groups[1:], None], strict=True):
        if after is None:
            pad = 0
        else:
            held = latency.held if group.loop.passes == after.loop.passes == 1 else 0
            pad = _earliest(drains, group.drain, held) - last - after.lead
        if group.loop.passes > 1:
            pad = max(pad, group.drain - group.lead)
        if group.loop.pooled:
            pad = max(pad, latency.renew - group.lead)
        if quiet:
            pad = max(pad, group.drain + quiet)
        pad = max(pad, idle)
        padded.append(group.padded(max(pad, 0)))
        if after is not None:
            last += padded[-1].runs[-1].pad + after.lead
            drains.append(max(last, drains[-1] + group.drain))
    return padded


def _earliest(drains: Sequence[int], drain: int, held: int) -> int:
    """Earliest last step of the next group.

    Without held rows that is when the shadow row has drained. With held rows it is when the first of them is free
    again. Between passes that are repeated no row is held.

    Parameters
    ----------
    drains : sequence of int
        When the results of the groups before begin to drain.
    drain : int
        Cycles in which the last of them drains.
    held : int
        Rows that hold sums.
    """
    if held:
        return drains[-held] + held if len(drains) >= held else 0
    return drains[-1] + drain


_Shape = tuple[int, int]
"""Steps and results of a group. Groups of one shape are of one kind."""


@dataclass(frozen=True)
class _Order:
    """The first groups of an order.

    Parameters
    ----------
    last : int
        Last step of its last group.
    drains : tuple of int
        When the results of its last groups begin to drain.
    left : tuple of int
        How many groups of each kind are not in it.
    lead_left, drain_left : int
        Steps and results of the groups that are not in it.
    kind : int
        Kind of its last group.
    before : _Order, optional
        The order without its last group.
    """

    last: int
    drains: tuple[int, ...]
    left: tuple[int, ...]
    lead_left: int
    drain_left: int
    kind: int
    before: "_Order | None" = None

    def kinds(self) -> list[int]:
        """The kind of each group, in order."""
        kinds, order = [], self
        while order:
            kinds.append(order.kind)
            order = order.before
        return kinds[::-1]

    def followed(self, kind: int, shapes: Sequence[_Shape], held: int) -> "_Order":
        """This order with a group of a kind behind it."""
        lead, drain = shapes[kind]
        _, drain_before = shapes[self.kind]
        last = max(_earliest(self.drains, drain_before, held), self.last + lead)
        drains = *self.drains, max(last, self.drains[-1] + drain_before)
        left = *self.left[:kind], self.left[kind] - 1, *self.left[kind + 1 :]
        return _Order(last, drains[-held:], left, self.lead_left - lead, self.drain_left - drain, kind, self)

    def ends(self, shapes: Sequence[_Shape]) -> tuple[int, int]:
        """The least end that this order can have: the later one of lanes and shadow row, and the sum of both.

        The shadow row may still drain while the first group of the next inference runs.
        """
        lanes = self.last + self.lead_left
        shadow = self.drains[-1] + shapes[self.kind][1] + self.drain_left + 1 - shapes[0][0]
        return max(lanes, shadow), lanes + shadow


def interleave(groups: list[Group], latency: Latency) -> list[Group]:
    """Reorder groups of one pass each, so that those whose results have to wait come behind longer ones.

    The longest group comes first, so that the next inference can follow. The others are ordered by a beam search,
    group by group. Of the orders that are equally long, it follows those with the least end that is still possible.
    """
    kinds: dict[_Shape, list[Group]] = {}
    for group in reversed(groups):
        kinds.setdefault((group.lead, group.drain), []).append(group)
    shapes = sorted(kinds, reverse=True)
    left = [len(kinds[shape]) for shape in shapes]
    left[0] -= 1
    lead_left = sum(count * lead for count, (lead, _) in zip(left, shapes, strict=True))
    drain_left = sum(count * drain for count, (_, drain) in zip(left, shapes, strict=True))
    beam = [_Order(0, (0,), tuple(left), lead_left, drain_left, 0)]
    for _ in range(len(groups) - 1):
        orders: dict[tuple, _Order] = {}
        for order in beam:
            for kind in range(len(shapes)):
                if order.left[kind]:
                    longer = order.followed(kind, shapes, latency.held)
                    orders.setdefault((longer.left, longer.last, longer.drains, shapes[kind][1]), longer)
        beam = nsmallest(_BEAM, orders.values(), key=lambda order: order.ends(shapes))
    return [kinds[shapes[kind]].pop() for kind in beam[0].kinds()]
