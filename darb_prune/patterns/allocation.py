"""How rows get their level: from their density, or from one budget for the whole network.

Both functions take matrices whose columns are already in storage order, and an absolute budget in codes, stored bits
or engine cycles. Both return an int16 table of shape (rows, 2) for each matrix. The cost never exceeds the budget.

The abstract of the DARB paper says that the block size of a row follows its density. It does not say how. The rule of
:func:`by_density` is our reconstruction, and :func:`by_budget` is our own.
"""

from collections.abc import Sequence
from typing import get_args

import numpy as np
import torch
from torch import Tensor

from darb_prune.encoded import EMPTY, Level
from darb_prune.errors import DarbError
from darb_prune.patterns import knapsack
from darb_prune.patterns.choices import Budget
from darb_prune.patterns.row_groups import by_groups
from darb_prune.patterns.saliency import saliencies as worth_of

__all__ = ["COSTS", "DARB_LEVELS", "MIXED_LEVELS", "by_budget", "by_density", "clip", "level_cost", "retained"]

DARB_LEVELS = (EMPTY, *(Level(bits, 1) for bits in range(8)))
"""Default: blocks of 1 to 128, one weight kept in each, and the empty level."""
MIXED_LEVELS = (*DARB_LEVELS, *(Level(bits, 1 << more) for bits in range(3, 8) for more in range(1, bits - 1)))
"""DARB levels and bank-balanced ones between them."""

COSTS: tuple[str, ...] = get_args(Budget)
_CHUNK = 1 << 20  # weights ranked at a time, so that sorting needs little memory


def clip(level: Level, columns: int | Sequence[int]) -> Level:
    """The level with the smallest blocks that keeps the same weights of a row of ``columns`` (or segments)."""
    bits = min(level.bits, (max(_widths(columns)) - 1).bit_length())
    return EMPTY if level == EMPTY else Level(bits, min(level.kept, 1 << bits))


def level_cost(level: Level, columns: int | Sequence[int], cost: str = "codes", weight_bits: int = 8) -> int:
    """What a row of ``level`` costs.

    Parameters
    ----------
    level : Level
    columns : int or sequence of int
        Width of the row, or widths of its segments.
    cost : str
        ``"codes"``; ``"bits"``: stored bits of weight and index; ``"cycles"``: engine steps of the group of the row,
        a step for each code.
    weight_bits : int
        Bits of a weight, for ``"bits"``.
    """
    if cost not in COSTS:
        raise DarbError(f"budget {cost!r}: choose one of {', '.join(COSTS)}")
    codes = sum(level.codes(width) for width in _widths(columns))
    return codes * (weight_bits + level.bits) if cost == "bits" else codes


def _widths(columns: int | Sequence[int]) -> Sequence[int]:
    return (columns,) if isinstance(columns, int) else columns


def retained(
    weight: Tensor,
    levels: Sequence[Level],
    segments: Sequence[int] | None = None,
    saliency: Tensor | None = None,
) -> np.ndarray:
    """Saliency of the weights that each level keeps of each row.

    A level keeps the largest magnitudes of each block (the first of equals), whatever their saliency.

    Parameters
    ----------
    weight : tensor of shape (rows, columns)
        In storage order.
    levels : sequence of Level
    segments : sequence of int, optional
        Widths of the segments of a row. One segment if absent.
    saliency : tensor of shape (rows, columns), optional
        ``weight**2`` if absent.

    Returns
    -------
    float64 array of shape (rows, levels).
    """
    rows, columns = weight.shape
    _check_segments(segments, columns)
    if saliency is not None and saliency.shape != weight.shape:
        raise DarbError(f"saliency of shape {tuple(saliency.shape)} for weights of shape {tuple(weight.shape)}")
    gain = np.zeros((rows, len(levels)))
    step = max(_CHUNK // columns, 1)
    for start in range(0, rows, step):
        magnitude = weight[start : start + step].detach().abs()
        worth = magnitude.double().square() if saliency is None else saliency[start : start + step].detach().double()
        rows_gain, first = gain[start : start + step], 0
        for width in segments or (columns,):
            end = first + width
            _add_retained(rows_gain, magnitude[:, first:end], worth[:, first:end], levels)
            first = end
    return gain


def _check_segments(segments: Sequence[int] | None, columns: int) -> None:
    if segments is not None and sum(segments) != columns:
        raise DarbError(f"segments {tuple(segments)} do not add up to {columns} columns")


def _add_retained(gain: np.ndarray, magnitude: Tensor, worth: Tensor, levels: Sequence[Level]) -> None:
    """Add to ``gain``, of shape (rows, levels), what each level keeps of a segment."""
    rows, width = magnitude.shape
    by_block: dict[int, list[tuple[int, int]]] = {}
    for index, level in enumerate(levels):
        if level == EMPTY:
            continue
        if level.kept < level.block:
            by_block.setdefault(level.bits, []).append((index, level.kept))
        else:
            gain[:, index] += worth.sum(dim=1).numpy()
    for bits, partial in by_block.items():
        block = 1 << bits
        fill = (0, -width % block)
        blocks = torch.nn.functional.pad(worth, fill).reshape(rows, -1, block)
        # Columns past the end are worth less than every real one, zeros included.
        ranks = torch.nn.functional.pad(magnitude, fill, value=-1.0).reshape(rows, -1, block)
        most = max(kept for _, kept in partial)
        if most == 1:
            first = ranks.argmax(dim=2, keepdim=True)
        else:
            first = ranks.sort(dim=2, descending=True, stable=True).indices[:, :, :most]
        sums = blocks.gather(2, first).sum(dim=1).cumsum(dim=1).numpy()
        for index, kept in partial:
            gain[:, index] += sums[:, kept - 1]


def _menu(
    levels: Sequence[Level], segments: Sequence[int], cost: str, weight_bits: int, floor: int = 0,
    drained: bool = False, use: int = 1,
) -> tuple[list[Level], np.ndarray]:  # fmt: skip
    """Levels that make sense for a matrix, the cheapest first, and the cost of a row of each level."""
    if not levels:
        raise DarbError("levels: give at least one level")
    offered = {clip(level, segments) for level in levels}
    price = {level: level_cost(level, segments, cost, weight_bits) for level in offered}
    if drained and cost == "cycles":
        price = {level: max(cycles, floor) for level, cycles in price.items()}
    else:
        codes = {level: level_cost(level, segments) for level in offered}
        long = {level for level in offered if codes[level] >= floor}
        if long:
            offered = long if drained else long | (offered & {EMPTY})
    chosen = sorted(offered, key=lambda level: (price[level], level))
    return chosen, use * np.array([price[level] for level in chosen], np.float64)


def _all_segments(weights: Sequence[Tensor], segments: Sequence[Sequence[int]] | None) -> list[tuple[int, ...]]:
    if segments is None:
        return [(weight.shape[1],) for weight in weights]
    if len(segments) != len(weights):
        raise DarbError(f"segments of {len(segments)} matrices for {len(weights)} matrices")
    for weight, widths in zip(weights, segments, strict=True):
        _check_segments(widths, weight.shape[1])
    return [tuple(widths) for widths in segments]


def _too_small(least: float, budget: float) -> DarbError:
    return DarbError(
        f"levels: the sparsest choice costs {least:.0f}, the budget is {budget:.0f}; add the empty level or larger "
        "blocks, or lower the ratio"
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
    segments: Sequence[Sequence[int]] | None = None,
    saliencies: Sequence[Tensor] | None = None,
    streams: int | None = None,
    floors: Sequence[int] | None = None,
    drained: bool = False,
    uses: Sequence[int] | None = None,
) -> list[Tensor]:
    """Levels that retain the most saliency of all rows of all layers together, within one budget.

    This is a multiple-choice knapsack, solved with a Lagrangian multiplier (:mod:`darb_prune.patterns.knapsack`). No
    matrix loses all its weights, unless the budget leaves no choice.

    Parameters
    ----------
    weights : sequence of tensors of shape (rows, columns)
        In storage order.
    budget : float
        Codes, bits or cycles, for all matrices together.
    levels : sequence of Level
    cost : "codes", "bits" or "cycles"
        Cycles are engine steps: ``ceil(rows / streams)`` times the codes of a row, summed over matrices and levels.
    weight_bits : int
        Bits of a weight, for ``cost="bits"``.
    segments : sequence of sequences of int, optional
        For each matrix the widths of the segments of a row. One segment if absent.
    saliencies : sequence of tensors of shape (rows, columns), optional
        What each weight is worth, comparable across matrices, also in storage order (see
        :mod:`darb_prune.patterns.saliency`). ``"mean"`` if absent.
    streams : int, optional
        Rows that the engine computes at once, needed for cycles. If given, the number of rows of a level is a multiple
        of it; one level of a matrix is an exception if its rows are no multiple. A matrix of fewer rows has one level
        (:mod:`darb_prune.patterns.row_groups`).
    floors : sequence of int, optional
        For each matrix the least codes of a row that is not empty, where fewer codes would save no cycle. A floor has
        no effect on a matrix where no level has so many codes.
    drained : bool
        Whether an empty row takes as many cycles as one with the codes of the floor, because the results of all rows
        are written at a fixed pace. Then the empty level is not offered either, unless the budget does not pay for the
        floors: they are given up. With a budget of cycles all levels are offered, and a row costs at least its floor.
    uses : sequence of int, optional
        For each matrix how often its codes, bits or cycles are paid, 1 if absent.

    Returns
    -------
    list of int16 tensors of shape (rows, 2).

    Raises
    ------
    DarbError
        If the cheapest levels already exceed the budget, or an argument does not fit.
    """
    if cost == "cycles" and streams is None:
        raise DarbError("budget cycles: give the rows that the engine computes at once")
    if streams is not None and streams < 1:
        raise DarbError(f"streams {streams}: an engine has at least 1")
    segments = _all_segments(weights, segments)
    worths = worth_of(weights, "mean") if saliencies is None else saliencies
    if len(worths) != len(weights):
        raise DarbError(f"saliencies of {len(worths)} matrices for {len(weights)} matrices")
    floors = [0] * len(weights) if floors is None else floors
    uses = [1] * len(weights) if uses is None else uses
    rows_paid = streams if streams is not None and cost == "cycles" else 1
    counts = [-(-len(weight) // rows_paid) for weight in weights]
    offered = [tuple(levels)] * len(weights)
    tables: list[Tensor] = []
    while True:
        menus = [
            _menu(offer, widths, cost, weight_bits, floor, drained, use)
            for offer, widths, floor, use in zip(offered, segments, floors, uses, strict=True)
        ]
        prices = [price for _, price in menus]
        least = sum(count * price[0] for count, price in zip(counts, prices, strict=True))
        if least > budget:
            if drained and any(floors) and cost != "cycles":
                floors = [0] * len(weights)
                continue
            if tables:
                return tables
            written = sum(count * floor * use for count, floor, use in zip(counts, floors, uses, strict=True))
            if cost == "cycles" and drained and written > budget:
                raise DarbError(
                    f"ratio: writing all results takes {written:.0f} cycles, however few weights are kept, and the "
                    f"budget is {budget:.0f}; lower the ratio"
                )
            raise _too_small(least, budget)
        gains = [
            retained(weight, menu, widths, worth)
            for weight, (menu, _), widths, worth in zip(weights, menus, segments, worths, strict=True)
        ]
        if streams is None:
            choices = knapsack.solve(gains, prices, budget)
        else:
            choices = by_groups(gains, prices, budget, streams, per_group=cost == "cycles")
        tables = [_table(menu, choice) for (menu, _), choice in zip(menus, choices, strict=True)]
        # A matrix without any weight would cut the network in two. So allocate again without its empty level, if the
        # budget allows that.
        emptied = [not table.any() and set(offer) != {EMPTY} for table, offer in zip(tables, offered, strict=True)]
        if not any(emptied):
            return tables
        offered = [
            tuple(level for level in offer if level != EMPTY) if empty else offer
            for offer, empty in zip(offered, emptied, strict=True)
        ]


def by_density(
    weights: Sequence[Tensor],
    budget: float,
    levels: Sequence[Level] = DARB_LEVELS,
    cost: str = "codes",
    weight_bits: int = 8,
    scope: str = "layer",
    segments: Sequence[Sequence[int]] | None = None,
) -> list[Tensor]:
    """The level of each row follows its density after irregular magnitude pruning.

    A row of density ``d`` takes the level whose density ``m / 2**b`` is nearest to ``d`` in log scale; for ``m = 1``
    this is the power of two nearest to ``1 / d``. Of two levels at the same distance it takes the sparser. A row
    without weights takes the sparsest level. Bisection finds the threshold of the irregular pruning at which the cost
    meets the budget.

    Parameters
    ----------
    weights, budget, levels, cost, weight_bits, segments
        As for :func:`by_budget`; cycles have no meaning here.
    scope : "layer" or "global"
        ``"layer"``: a threshold for each matrix, which has its share of the budget. ``"global"``: one threshold for
        all matrices, on magnitudes divided by the Frobenius norm of their matrix.

    Raises
    ------
    DarbError
        If the sparsest levels already exceed the budget.
    """
    if scope not in ("global", "layer"):
        raise DarbError(f"scope {scope!r}: choose global or layer")
    if cost == "cycles":
        raise DarbError("budget cycles: allocation by density knows no lanes; allocate by budget")
    segments = _all_segments(weights, segments)
    if scope == "layer" and len(weights) > 1:
        total = sum(weight.numel() for weight in weights)
        return [
            by_density([weight], budget * weight.numel() / total, levels, cost, weight_bits, scope, [widths])[0]
            for weight, widths in zip(weights, segments, strict=True)
        ]
    rules = []
    for weight, widths in zip(weights, segments, strict=True):
        menu, prices = _menu(levels, widths, cost, weight_bits)
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
    """For rows that keep 0, 1, .. ``columns`` weights: the index of their level in ``menu``."""
    density = [level.kept / level.block for level in menu]
    by_sparsity = sorted(range(len(menu)), key=density.__getitem__)
    real = [index for index in by_sparsity if menu[index] != EMPTY]
    rule = np.full(columns + 1, by_sparsity[0])
    if real:
        logs = np.log2([density[index] for index in real])
        wanted = np.log2(np.arange(1, columns + 1) / columns)
        rule[1:] = np.array(real)[np.argmin(np.abs(wanted[:, None] - logs), axis=1)]
    return rule
