"""Levels in groups of rows: an engine runs rows of one level in lock-step."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from darb_prune.patterns import knapsack

__all__ = ["by_groups"]

_ROUNDS = 4


def by_groups(
    gains: Sequence[np.ndarray], prices: Sequence[np.ndarray], budget: float, streams: int, per_group: bool
) -> list[np.ndarray]:
    """The option of every row; all rows of a group of ``streams`` get the same.

    The rows of a matrix are sorted by the price that each would choose alone, and cut into groups. The groups are the
    items of :func:`darb_prune.patterns.knapsack.solve`. Then pairs of rows exchange their options where that gains
    something. All of it is repeated with the new groups as long as the gain rises.

    Parameters
    ----------
    gains : sequence of float64 arrays of shape (rows, options)
        An array for each matrix. A group holds rows of one matrix only.
    prices : sequence of float64 arrays of shape (options,)
        Prices of a row.
    budget : float
    streams : int
        Rows of a group.
    per_group : bool
        Whether a group costs as much as one of its rows (engine steps), or as much as all of them.

    Returns
    -------
    list of int64 arrays of shape (rows,)
        In each matrix, the number of rows of an option is a multiple of ``streams``. One option is an exception if the
        rows of the matrix are no multiple. The total price is at most ``budget``.
    """
    sizes = [_sizes(len(gain), streams) for gain in gains]
    group_prices = [price * np.ones((len(size), 1)) if per_group else price * size[:, None]
                    for price, size in zip(prices, sizes, strict=True)]  # fmt: skip
    shares = [price / streams if per_group else price for price in prices]
    wishes = _wishes(gains, shares, budget)
    # Densest first: the last group, which may not be full, is then a cheap one.
    orders = [np.argsort(-wish, kind="stable") for wish in wishes]
    best: list[np.ndarray] = []
    best_gain = -np.inf
    for _ in range(_ROUNDS):
        group_gains = [np.add.reduceat(gain[order], np.cumsum(size) - size, axis=0)
                       for gain, order, size in zip(gains, orders, sizes, strict=True)]  # fmt: skip
        picks = knapsack.solve(group_gains, group_prices, budget)
        slots = [np.repeat(pick, size) for pick, size in zip(picks, sizes, strict=True)]
        choices = []
        for gain, order, slot in zip(gains, orders, slots, strict=True):
            choice = np.empty_like(slot)
            choice[order] = slot
            choices.append(_exchange(gain, choice))
        gain_now = knapsack.total(gains, choices)
        if gain_now <= best_gain * (1 + 1e-12):
            break
        best, best_gain = choices, gain_now
        orders = [_fill(*each) for each in zip(slots, choices, wishes, strict=True)]
    return best


def _sizes(rows: int, streams: int) -> np.ndarray:
    """Rows of each group."""
    full, rest = divmod(rows, streams)
    return np.array([streams] * full + [rest] * (rest > 0))


def _wishes(gains: Sequence[np.ndarray], prices: Sequence[np.ndarray], budget: float) -> list[np.ndarray]:
    """The price that each row would choose alone; a mean over multipliers, so that few rows choose the same."""
    multiplier = knapsack.lagrange(gains, prices, budget)
    return [
        np.mean([price[np.argmax(gain - factor * multiplier * price, axis=1)] for factor in np.logspace(-1, 1, 21)], 0)
        for gain, price in zip(gains, prices, strict=True)
    ]


def _exchange(gain: np.ndarray, choice: np.ndarray) -> np.ndarray:
    """Exchange options between pairs of rows while that gains something."""
    used = np.unique(choice)
    # Neighbours first: most exchanges are between them.
    pairs = [*pairwise(used), *((a, b) for index, a in enumerate(used) for b in used[index + 2 :])]
    for _ in range(_ROUNDS):
        before = choice
        for low, high in pairs:
            rows = np.flatnonzero((choice == low) | (choice == high))
            count = np.count_nonzero(choice[rows] == high)
            more = gain[rows, high] - gain[rows, low]
            ranked = rows[np.lexsort((choice[rows] != high, -more))]  # of equals, a row that has ``high`` keeps it
            choice = choice.copy()
            choice[ranked[:count]], choice[ranked[count:]] = high, low
        if np.array_equal(before, choice):
            break
    return choice


def _fill(slots: np.ndarray, choice: np.ndarray, wish: np.ndarray) -> np.ndarray:
    """Order of the rows in which every slot holds a row of its option; rows of an option are sorted by wish."""
    order = np.empty_like(slots)
    order[np.argsort(slots, kind="stable")] = np.lexsort((-wish, choice))
    return order
