"""The Pareto front of points that have a cost and a gain."""

from collections.abc import Sequence

__all__ = ["pareto"]


def pareto(points: Sequence[tuple[float, float]]) -> list[int]:
    """Indices of the points ``(cost, gain)`` that no other point beats, by rising cost.

    A point beats another if it costs no more, gains no less and is better in one of the two. Of equal points the
    first one counts.
    """
    front, best = [], float("-inf")
    for index in sorted(range(len(points)), key=lambda index: (points[index][0], -points[index][1], index)):
        if points[index][1] > best:
            best = points[index][1]
            front.append(index)
    return front
