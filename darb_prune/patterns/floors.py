"""The least codes of a row, where a row of fewer codes takes as many cycles: for which matrices a budget pays."""

from collections.abc import Sequence

from darb_prune.encoded import Level
from darb_prune.patterns.allocation import clip, level_cost

__all__ = ["paid_floors"]


def paid_floors(
    rows: Sequence[int],
    segments: Sequence[Sequence[int]],
    floors: Sequence[int],
    budget: float,
    levels: Sequence[Level],
    cost: str = "codes",
    weight_bits: int = 8,
    uses: Sequence[int] | None = None,
) -> list[int]:
    """The floors that a budget pays for.

    The even part of a matrix is its part of the budget by its weights. The matrices with a floor need no more than
    their even parts together, so that the others keep theirs. Matrices that need no more than their own part come
    first. Then come those that need least: the first convolutions of a network, which have the most positions.

    Parameters
    ----------
    rows : sequence of int
        Of each matrix.
    segments : sequence of sequences of int
        For each matrix the widths of the segments of a row.
    floors : sequence of int
        For each matrix the codes of a row from which on codes take cycles; 0 if all do.
    budget : float
        Codes or bits, for all matrices together.
    levels : sequence of Level
        What there is to choose from.
    cost : "codes" or "bits"
    weight_bits : int
        Bits of a weight, for ``cost="bits"``.
    uses : sequence of int, optional
        For each matrix how often its codes or bits are paid, 1 if absent.

    Returns
    -------
    list of int
        For each matrix the least codes of a row, 0 if the budget does not pay for its floor. They are fewer than the
        floor where no level has so many.
    """
    paid_rows = list(rows) if uses is None else [count * use for count, use in zip(rows, uses, strict=True)]
    weights = [count * sum(widths) for count, widths in zip(paid_rows, segments, strict=True)]
    parts = [budget * count / sum(weights) for count in weights]
    least_codes, needs = [], []
    for count, widths, floor in zip(paid_rows, segments, floors, strict=True):
        offered = {clip(level, widths) for level in levels}
        codes = {level: level_cost(level, widths) for level in offered}
        least = min(floor, max(codes.values(), default=0))
        long = [level_cost(level, widths, cost, weight_bits) for level in offered if codes[level] >= least]
        least_codes.append(least)
        needs.append(count * min(long, default=0))
    paid, spare = [0] * len(weights), 0.0  # what the matrices with a floor do not need of their parts
    for matrix in sorted(range(len(weights)), key=lambda matrix: (needs[matrix] > parts[matrix], needs[matrix])):
        left = spare + parts[matrix] - needs[matrix]
        if floors[matrix] and left >= 0:
            paid[matrix], spare = least_codes[matrix], left
    return paid
