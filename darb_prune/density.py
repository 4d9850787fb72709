"""How rows get their level: from their density, or from one budget for the whole network.

Both take matrices whose columns are already in storage order and an absolute budget, in codes or in stored
bits, and return one int16 table of shape (rows, 2) per matrix. The cost never exceeds the budget.

The abstract of the DARB paper says that the block size of a row follows its density, not how: the rule in
:func:`by_density` is our reconstruction, and :func:`by_budget` is ours altogether.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from darb_prune.container import DarbError
from darb_prune.encoded import EMPTY, Level

__all__ = ["DARB_LEVELS", "MIXED_LEVELS", "by_budget", "by_density", "clip", "level_cost", "retained"]

DARB_LEVELS = (EMPTY, *(Level(bits, 1) for bits in range(8)))
"""Default: blocks of 1 to 128, one weight kept in each, and the empty level."""
MIXED_LEVELS = (*DARB_LEVELS, *(Level(bits, 1 << more) for bits in range(3, 8) for more in range(1, bits - 1)))
"""DARB levels and bank-balanced ones between them."""

SALIENCIES = ("mean", "frobenius", "magnitude")
_NEVER = 1e30  # cost of a level that a layer does not have


def clip(level: Level, columns: int) -> Level:
    """The level with the smallest blocks that keeps the same weights of a row of ``columns``."""
    bits = min(level.bits, (columns - 1).bit_length())
    return EMPTY if level == EMPTY else Level(bits, min(level.kept, 1 << bits))


def level_cost(level: Level, columns: int, cost: str = "codes", weight_bits: int = 8) -> int:
    """What a row of ``level`` costs: codes (``"codes"``) or stored bits (``"bits"``: weight and index)."""
    if cost not in ("codes", "bits"):
        raise DarbError(f"budget {cost!r}: choose codes or bits")
    codes = level.codes(columns)
    return codes if cost == "codes" else codes * (weight_bits + level.bits)


def retained(weight: Tensor, levels: Sequence[Level]) -> np.ndarray:
    """Sum of ``w**2`` over the weights that each level keeps of each row: float64, shape (rows, levels)."""
    rows, columns = weight.shape
    squares = weight.detach().double().square()
    gain = np.zeros((rows, len(levels)))
    for bits in sorted({level.bits for level in levels if level != EMPTY}):
        block = 1 << bits
        padded = torch.nn.functional.pad(squares, (0, -columns % block)).reshape(rows, -1, block)
        wanted = [(place, level.kept) for place, level in enumerate(levels) if level.bits == bits and level != EMPTY]
        partial = sorted({kept for _, kept in wanted if kept < block})
        sums = {block: padded.sum(dim=(1, 2), dtype=torch.float64)}
        if partial == [1]:
            sums[1] = padded.amax(dim=2).sum(dim=1, dtype=torch.float64)
        elif partial:
            top = torch.topk(padded, partial[-1], dim=2).values.sum(dim=1, dtype=torch.float64).cumsum(dim=1)
            sums |= {kept: top[:, kept - 1] for kept in partial}
        for place, kept in wanted:
            gain[:, place] = sums[kept].numpy()
    return gain


def _layer_levels(levels: Sequence[Level], columns: int, cost: str, weight_bits: int) -> tuple[list[Level], np.ndarray]:
    """Levels that make sense for a layer, cheapest first, and their costs."""
    if not levels:
        raise DarbError("levels: give at least one level")
    price = {level: level_cost(level, columns, cost, weight_bits) for level in {clip(lv, columns) for lv in levels}}
    chosen = sorted(price, key=lambda level: (price[level], level))
    return chosen, np.array([price[level] for level in chosen], np.float64)


def _too_small(least: float, budget: float) -> DarbError:
    return DarbError(
        f"levels: the sparsest choice costs {least:.0f}, the budget is {budget:.0f}; "
        "add the empty level or larger blocks, or lower the ratio"
    )


def _table(levels: list[Level], choice: np.ndarray) -> Tensor:
    pairs = np.array([[level.bits, level.kept] for level in levels], np.int16)
    return torch.from_numpy(pairs[choice])


def by_budget(
    weights: Sequence[Tensor],
    budget: float,
    levels: Sequence[Level] = DARB_LEVELS,
    cost: str = "codes",
    weight_bits: int = 8,
    saliency: str = "mean",
) -> list[Tensor]:
    """Levels that maximise the retained saliency of all rows of all layers at once, within one budget.

    Each row takes the level with the best ``saliency - lambda * cost``; lambda comes from bisection, and what
    is left of the budget goes to the upgrades with the best saliency per cost that still fit.

    Parameters
    ----------
    weights : sequence of tensors of shape (rows, columns)
    budget : float
        Codes or bits, for all matrices together.
    levels : sequence of Level
    cost : "codes" or "bits"
    weight_bits : int
        Bits of a weight, for ``cost="bits"``.
    saliency : str
        What a weight is worth. ``"mean"``: ``w**2`` in units of the mean ``w**2`` of its layer.
        ``"frobenius"``: in units of their sum, which gives every layer the same worth, and so spends most of a
        small budget on the smallest layers. ``"magnitude"``: ``w**2`` itself.

    Raises
    ------
    DarbError
        If the cheapest levels already exceed the budget.
    """
    menus = [_layer_levels(levels, weight.shape[1], cost, weight_bits) for weight in weights]
    rows = sum(len(weight) for weight in weights)
    width = max(len(menu) for menu, _ in menus)
    gain, price = np.full((rows, width), -_NEVER), np.full((rows, width), _NEVER)
    start = 0
    for weight, (menu, prices) in zip(weights, menus, strict=True):
        here = slice(start, start + len(weight))
        gain[here, : len(menu)] = retained(weight, menu) / _unit(weight, saliency)
        price[here, : len(menu)] = prices
        start += len(weight)
    if price[:, 0].sum() > budget:
        raise _too_small(price[:, 0].sum(), budget)
    gain[gain > 0] /= float(gain.max()) or 1.0
    choice = _spend(gain, price, _lagrange(gain, price, budget), budget)
    ends = np.cumsum([len(weight) for weight in weights])[:-1]
    return [_table(menu, part) for (menu, _), part in zip(menus, np.split(choice, ends), strict=True)]


def _unit(weight: Tensor, saliency: str) -> float:
    if saliency not in SALIENCIES:
        raise DarbError(f"saliency {saliency!r}: choose one of {', '.join(SALIENCIES)}")
    total = float(weight.detach().double().square().sum()) or 1.0
    return {"mean": total / weight.numel(), "frobenius": total, "magnitude": 1.0}[saliency]


def _paid(price: np.ndarray, choice: np.ndarray) -> np.ndarray:
    return np.take_along_axis(price, choice[:, None], axis=1)[:, 0]


def _lagrange(gain: np.ndarray, price: np.ndarray, budget: float) -> np.ndarray:
    """Choice of each row at the least multiplier whose total cost is within the budget."""

    def choose(multiplier: float) -> np.ndarray:
        return np.argmax(gain - multiplier * price, axis=1)  # the first of equals: the cheapest

    low, high = 0.0, float(gain.max()) + 1.0  # a saliency above the largest, per unit of cost, buys nothing
    if _paid(price, choose(low)).sum() <= budget:
        return choose(low)
    choice = np.zeros(len(gain), np.int64)
    for _ in range(64):
        middle = (low + high) / 2
        trial = choose(middle)
        if _paid(price, trial).sum() <= budget:
            high, choice = middle, trial
        else:
            low = middle
    return choice


def _spend(gain: np.ndarray, price: np.ndarray, choice: np.ndarray, budget: float) -> np.ndarray:
    """Upgrade rows, best saliency per cost first, while the budget lasts."""
    left = budget - _paid(price, choice).sum()
    while True:
        more_price = price - _paid(price, choice)[:, None]
        more_gain = gain - _paid(gain, choice)[:, None]
        legal = (more_price > 0) & (more_price <= left) & (more_gain > 0)
        rate = np.where(legal, more_gain / np.where(legal, more_price, 1), 0)
        best = np.argmax(rate, axis=1)
        rows = np.flatnonzero(_paid(rate, best) > 0)
        if not len(rows):
            return choice
        rows = rows[np.argsort(-rate[rows, best[rows]], kind="stable")]
        total = np.cumsum(more_price[rows, best[rows]])
        taken = rows[: np.searchsorted(total, left, side="right")]  # at least one: each fits alone
        choice[taken] = best[taken]
        left -= total[len(taken) - 1]


def by_density(
    weights: Sequence[Tensor],
    budget: float,
    levels: Sequence[Level] = DARB_LEVELS,
    cost: str = "codes",
    weight_bits: int = 8,
    scope: str = "layer",
) -> list[Tensor]:
    """The level of each row follows its density after irregular magnitude pruning.

    A row of density ``d`` takes the level whose density ``m / 2**b`` is nearest to ``d`` in log scale (for
    ``m = 1``: the power of two nearest to ``1 / d``; of two at the same distance the sparser), a row without
    weights the sparsest level. The threshold of the irregular pruning is searched so that the cost meets the
    budget.

    Parameters
    ----------
    weights, budget, levels, cost, weight_bits
        As for :func:`by_budget`.
    scope : "layer" or "global"
        One threshold a matrix, each with its share of the budget; or one for all, magnitudes being divided by
        the Frobenius norm of their matrix.

    Raises
    ------
    DarbError
        If the sparsest levels already exceed the budget.
    """
    if scope not in ("global", "layer"):
        raise DarbError(f"scope {scope!r}: choose global or layer")
    if scope == "layer" and len(weights) > 1:
        total = sum(weight.numel() for weight in weights)
        return [
            by_density([weight], budget * weight.numel() / total, levels, cost, weight_bits)[0] for weight in weights
        ]
    rules = []
    for weight in weights:
        menu, prices = _layer_levels(levels, weight.shape[1], cost, weight_bits)
        magnitude = weight.detach().abs().double()
        norm = float(magnitude.square().sum().sqrt()) or 1.0
        rules.append((magnitude / norm, menu, prices, _nearest(menu, weight.shape[1])))
    low, high = 0.0, max(float(magnitude.max()) for magnitude, *_ in rules)

    def choose(threshold: float) -> list[np.ndarray]:
        return [rule[(magnitude > threshold).sum(dim=1).numpy()] for magnitude, _, _, rule in rules]

    def total_cost(choices: list[np.ndarray]) -> float:
        return sum(prices[choice].sum() for choice, (_, _, prices, _) in zip(choices, rules, strict=True))

    best = choose(high)
    if total_cost(best) > budget:
        raise _too_small(total_cost(best), budget)
    for _ in range(40):
        middle = (low + high) / 2
        trial = choose(middle)
        if total_cost(trial) <= budget:
            high, best = middle, trial
        else:
            low = middle
    return [_table(menu, choice) for choice, (_, menu, _, _) in zip(best, rules, strict=True)]


def _nearest(menu: list[Level], columns: int) -> np.ndarray:
    """Place in ``menu`` of the level for a row that keeps 0, 1, .. ``columns`` weights."""
    density = [level.kept / level.block for level in menu]
    by_sparsity = sorted(range(len(menu)), key=density.__getitem__)
    real = [place for place in by_sparsity if menu[place] != EMPTY]
    rule = np.full(columns + 1, by_sparsity[0])
    if real:
        logs = np.log2([density[place] for place in real])
        wanted = np.log2(np.arange(1, columns + 1) / columns)
        rule[1:] = np.array(real)[np.argmin(np.abs(wanted[:, None] - logs), axis=1)]
    return rule
