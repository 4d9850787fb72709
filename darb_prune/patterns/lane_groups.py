"""Levels for engines whose lanes run rows of one level in lock-step: rows get them in groups."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from darb_prune.patterns import knapsack

__all__ = ["by_groups"]

_ROUNDS = 4


def by_groups(
    gains: Sequence[np.ndarray], prices: Sequence[np.ndarray], budget: float, lanes: int, per_group: bool
) -> list[np.ndarray]:
    """Option of every row, the same for all rows of a group of ``lanes``.

    The rows of a matrix are sorted by the option that they would like, and cut into groups; groups are the
    items of :func:`darb_prune.patterns.knapsack.solve`. Then rows change places where that gains something, and it all
    starts again with the new groups, as long as it helps.

    Parameters
    ----------
    gains : sequence of float64 arrays of shape (rows, options)
        One for each matrix; a group never holds rows of two.
    prices : sequence of float64 arrays of shape (options,)
        Of a row.
    budget : float
    lanes : int
    per_group : bool
        Whether a group costs what one of its rows does (engine steps), or what all do.

    Returns
    -------
    list of int64 arrays of shape (rows,): in each, the rows of an option are a multiple of ``lanes``, but for
    one option if the rows of the matrix are not. The total price is at most ``budget``.
    """
    sizes = [_sizes(len(gain), lanes) for gain in gains]
    group_prices = [price * np.ones((len(size), 1)) if per_group else price * size[:, None]
                    for price, size in zip(prices, sizes, strict=True)]  # fmt: skip
    shares = [price / lanes if per_group else price for price in prices]
    wishes = _wishes(gains, shares, budget)
    # Densest first, so that a group that is not full, which is the last one, is cheap.
    orders = [np.argsort(-wish, kind="stable") for wish in wishes]
    best, best_gain = None, -np.inf
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
        found = knapsack.total(gains, choices)
        if found <= best_gain * (1 + 1e-12):
            break
        best, best_gain = choices, found
        orders = [_fill(*each) for each in zip(slots, choices, wishes, strict=True)]
    return best


def _sizes(rows: int, lanes: int) -> np.ndarray:
    """Rows of each group."""
    full, rest = divmod(rows, lanes)
    return np.array([lanes] * full + [rest] * (rest > 0))


def _wishes(gains: Sequence[np.ndarray], prices: Sequence[np.ndarray], budget: float) -> list[np.ndarray]:
    """What each row would pay on its own: a mean over multipliers, so that few rows wish the same."""
    multiplier = knapsack.lagrange(gains, prices, budget)
    return [
        np.mean([price[np.argmax(gain - factor * multiplier * price, axis=1)] for factor in np.logspace(-1, 1, 21)], 0)
        for gain, price in zip(gains, prices, strict=True)
    ]


def _exchange(gain: np.ndarray, choice: np.ndarray) -> np.ndarray:
    """Let rows of different options change places until no two options have a pair that gains by it."""
    used = np.unique(choice)
    # Neighbours first: most exchanges are between them.
    pairs = [*pairwise(used), *((a, b) for place, a in enumerate(used) for b in used[place + 2 :])]
    for _ in range(_ROUNDS):
        before = choice
        for one, other in pairs:
            rows = np.flatnonzero((choice == one) | (choice == other))
            count = np.count_nonzero(choice[rows] == other)
            more = gain[rows, other] - gain[rows, one]
            ranked = rows[np.lexsort((choice[rows] != other, -more))]  # of equals, those that have it keep it
            choice = choice.copy()
            choice[ranked[:count]], choice[ranked[count:]] = other, one
        if np.array_equal(before, choice):
            break
    return choice


def _fill(slots: np.ndarray, choice: np.ndarray, wish: np.ndarray) -> np.ndarray:
    """Order of the rows that gives every slot a row with its option, the rows of an option sorted by wish."""
    order = np.empty_like(slots)
    order[np.argsort(slots, kind="stable")] = np.lexsort((-wish, choice))
    return order
