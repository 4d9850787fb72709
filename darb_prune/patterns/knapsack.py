"""The multiple-choice knapsack: an option for each item, the largest total gain within a budget.

Items are rows, or groups of rows. Options are levels. The solution is a Lagrangian one with greedy upgrades after it.
It misses the best gain by less than one upgrade of one item.
"""

from collections.abc import Sequence

import numpy as np

__all__ = ["lagrange", "solve", "total"]

_NEVER = 1e30  # cost of an option that an item does not have


def solve(gains: Sequence[np.ndarray], prices: Sequence[np.ndarray], budget: float) -> list[np.ndarray]:
    """The option of every item.

    Each item takes the option with the best ``gain - lambda * price``, and bisection finds lambda. What is left of
    the budget pays for upgrades, the best gain per price first.

    Parameters
    ----------
    gains : sequence of float64 arrays of shape (items, options)
        An array for each kind of items.
    prices : sequence of float64 arrays of shape (items, options) or (options,)
        Whole numbers, the first option being the cheapest.
    budget : float
        At least the price of the first options.

    Returns
    -------
    list of int64 arrays of shape (items,). Their total price is at most ``budget``.
    """
    gain, price = _stack(gains, prices)
    choice, _ = _lagrange(gain, price, budget)
    return _split(_spend(gain, price, choice, budget), gains)


def lagrange(gains: Sequence[np.ndarray], prices: Sequence[np.ndarray], budget: float) -> float:
    """The least multiplier whose choices are within the budget, in units of gain per price; see :func:`solve`."""
    gain, price = _stack(gains, prices)
    return _lagrange(gain, price, budget)[1]


def total(values: Sequence[np.ndarray], choices: Sequence[np.ndarray]) -> float:
    """Sum of ``values`` (gains or prices, as for :func:`solve`) over the options chosen."""
    return sum(
        float(_paid(np.broadcast_to(value, (len(choice), value.shape[-1])), choice).sum())
        for value, choice in zip(values, choices, strict=True)
    )


def _stack(gains: Sequence[np.ndarray], prices: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """All gains in one array, and all prices; missing options are filled with ones that are never taken."""
    shape = sum(len(gain) for gain in gains), max(gain.shape[1] for gain in gains)
    all_gains, all_prices = np.full(shape, -_NEVER), np.full(shape, _NEVER)
    start = 0
    for gain, price in zip(gains, prices, strict=True):
        region = slice(start, start + len(gain)), slice(gain.shape[1])
        all_gains[region], all_prices[region] = gain, price
        start += len(gain)
    return all_gains, all_prices


def _split(choice: np.ndarray, gains: Sequence[np.ndarray]) -> list[np.ndarray]:
    return np.split(choice, np.cumsum([len(gain) for gain in gains])[:-1])


def _paid(price: np.ndarray, choice: np.ndarray) -> np.ndarray:
    return np.take_along_axis(price, choice[:, None], axis=1)[:, 0]


def _lagrange(gain: np.ndarray, price: np.ndarray, budget: float) -> tuple[np.ndarray, float]:
    """The least multiplier whose choices are within the budget: these choices, and the multiplier."""

    def choose(multiplier: float) -> np.ndarray:
        return np.argmax(gain - multiplier * price, axis=1)  # the first of equals: the cheapest

    choice = choose(0.0)
    if _paid(price, choice).sum() <= budget:
        return choice, 0.0
    choice = np.zeros(len(gain), np.int64)
    low, high = 0.0, 2 * float(gain.max())  # a gain above the largest, per unit of price, buys nothing
    for _ in range(64):
        middle = (low + high) / 2
        trial = choose(middle)
        if _paid(price, trial).sum() <= budget:
            high, choice = middle, trial
        else:
            low = middle
    return choice, high


def _spend(gain: np.ndarray, price: np.ndarray, choice: np.ndarray, budget: float) -> np.ndarray:
    """Upgrade items while the budget lasts, the best gain per price first."""
    left = budget - _paid(price, choice).sum()
    while True:
        more_price = price - _paid(price, choice)[:, None]
        more_gain = gain - _paid(gain, choice)[:, None]
        legal = (more_price > 0) & (more_price <= left) & (more_gain > 0)
        rate = np.where(legal, more_gain / np.where(legal, more_price, 1), 0)
        best = np.argmax(rate, axis=1)
        items = np.flatnonzero(_paid(rate, best) > 0)
        if not len(items):
            return choice
        items = items[np.argsort(-rate[items, best[items]], kind="stable")]
        spent = np.cumsum(more_price[items, best[items]])
        taken = items[: np.searchsorted(spent, left, side="right")]  # at least one: each fits alone
        choice[taken] = best[taken]
        left -= spent[len(taken) - 1]
