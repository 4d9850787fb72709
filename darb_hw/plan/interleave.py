"""Groups in an order in which short ones do not wait for the drain, and the idle cycles between them."""

from collections.abc import Sequence
from dataclasses import dataclass
from heapq import nsmallest

from darb_hw.plan.groups import Group
from darb_hw.plan.latency import Latency

__all__ = ["interleave", "pad_groups"]


_BEAM = 16
"""Orders of groups that are followed at a time."""


def pad_groups(groups: list[Group], latency: Latency, quiet: int = 0) -> list[Group]:
    """Insert idle cycles between the passes of a layer: a shadow row is not overwritten before it has drained, nor a
    row that is held before the next one has taken it; and a maximum is written before it is read again.

    Parameters
    ----------
    quiet : int
        If not 0, no lane reads while results are written: cycles from the last step of a pass to the last of its
        results in the memories, apart from the cycles in which they drain.
    """
    padded, last, leaves = [], 0, [0]  # last step of the group; since when the results of each so far leave
    for group, after in zip(groups, groups[1:] + [None], strict=True):
        if after is None:
            pad = 0
        else:
            held = latency.held if group.loop.passes == after.loop.passes == 1 else 0
            pad = _earliest(leaves, group.drain, held) - last - after.lead
        if group.loop.passes > 1:
            pad = max(pad, group.drain - group.lead)
        if group.loop.pooled:
            pad = max(pad, latency.renew - group.lead)
        if quiet:
            pad = max(pad, group.drain + quiet)
        padded.append(group.padded(max(pad, 0)))
        if after is not None:
            last += padded[-1].runs[-1].pad + after.lead
            leaves.append(max(last, leaves[-1] + group.drain))
    return padded


def _earliest(leaves: Sequence[int], drain: int, held: int) -> int:
    """Earliest last step of a group behind one whose results drain for so long: the cycle in which the shadow row is
    through, or in which one of the groups that are held has left its place. Between passes that are repeated, nothing
    waits."""
    if held:
        return leaves[-held] + held if len(leaves) >= held else 0
    return leaves[-1] + drain


@dataclass(frozen=True)
class _Order:
    """The first groups of an order: last step of the last one, since when the results of the last ones leave, how many
    groups of each kind are not in it, with their steps and results, and the order before its last group."""

    last: int
    leaves: tuple[int, ...]
    left: tuple[int, ...]
    lead_left: int
    drain_left: int
    kind: int
    before: "_Order | None" = None

    def kinds(self) -> list[int]:
        found, order = [], self
        while order:
            found.append(order.kind)
            order = order.before
        return found[::-1]

    def followed(self, kind: int, lead: int, drain: int, before: int, held: int) -> "_Order":
        """The order with a group behind it, whose own last group drains for ``before`` cycles."""
        last = max(_earliest(self.leaves, before, held), self.last + lead)
        leaves = *self.leaves, max(last, self.leaves[-1] + before)
        left = *self.left[:kind], self.left[kind] - 1, *self.left[kind + 1 :]
        return _Order(last, leaves[-held:], left, self.lead_left - lead, self.drain_left - drain, kind, self)


def interleave(groups: list[Group], latency: Latency) -> list[Group]:
    """Groups of one pass each in an order in which those whose results have to wait stand behind longer ones: first the
    longest, so that the next inference can follow; then what lanes and shadow row together are through with first, by
    a beam search: of all orders that are as long, those are followed whose least end that is still possible comes
    first."""
    kinds: dict[tuple[int, int], list[Group]] = {}
    for group in reversed(groups):
        kinds.setdefault((group.lead, group.drain), []).append(group)
    shapes = sorted(kinds, reverse=True)
    left = [len(kinds[shape]) for shape in shapes]
    left[0] -= 1
    leads, drains = (sum(n * shape[part] for n, shape in zip(left, shapes, strict=True)) for part in (0, 1))
    beam = [_Order(0, (0,), tuple(left), leads, drains, 0)]
    for _ in range(len(groups) - 1):
        found: dict[tuple, _Order] = {}
        for order in beam:
            for kind, shape in enumerate(shapes):
                if order.left[kind]:
                    one = order.followed(kind, *shape, shapes[order.kind][1], latency.held)
                    found.setdefault((one.left, one.last, one.leaves, shape[1]), one)

        def ends(order: _Order) -> tuple[int, int]:
            """Least end of the lanes and of the shadow row, of which a part lies in the next inference: the later one,
            and both."""
            lanes = order.last + order.lead_left
            shadow = order.leaves[-1] + shapes[order.kind][1] + order.drain_left + 1 - shapes[0][0]
            return max(lanes, shadow), lanes + shadow

        beam = nsmallest(_BEAM, found.values(), key=ends)
    return [kinds[shapes[kind]].pop() for kind in beam[0].kinds()]
