"""Prune a model in place: one call from ratio and method to masks on every Linear layer."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from darb_prune.container import DarbError
from darb_prune.density import DARB_LEVELS, MIXED_LEVELS, by_budget, by_density
from darb_prune.encoded import BLOCK_BITS_MAX, DENSE, Level
from darb_prune.graph import Stage, chain, check_finite
from darb_prune.masks import irregular, level_rows
from darb_prune.order import column_order
from darb_prune.pruned import LevelPruning, apply_mask, restore_dense, shadow_weight

__all__ = ["ALLOCATIONS", "ENCODABLE", "METHODS", "Pruned", "prune"]

METHODS = ("darb", "mixed", "bmwm", "bank", "nm", "irregular", "dense")
ENCODABLE = tuple(method for method in METHODS if method != "irregular")
ALLOCATIONS = ("budget", "density")
BANK = 64
"""Columns of a bank of ``method="bank"``, unless the ratio asks for larger ones."""
GROUP = 16
"""The M of ``method="nm"``, unless the ratio asks for a larger one."""


@dataclass(frozen=True)
class Pruned:
    """What pruning left.

    Parameters
    ----------
    weights : int
        Weights of all Linear layers.
    kept : int
        Weights not masked.
    """

    weights: int
    kept: int

    @property
    def ratio(self) -> float:
        """Pruning ratio of the whole network."""
        return self.weights / max(self.kept, 1)


def prune(
    model: nn.Module,
    ratio: float = 13,
    method: str = "darb",
    allocation: str = "budget",
    order: str = "spread",
    levels: Sequence[Level] | None = None,
    budget: str = "codes",
    exclude: Sequence[str] = (),
    weight_bits: int = 8,
    saliency: str = "mean",
) -> Pruned:
    """Prune every Linear layer of ``model``, in place, with masks of :mod:`torch.nn.utils.prune`.

    Masks are computed from the dense shadow weights: pruning a pruned model again starts afresh.

    Parameters
    ----------
    model : torch.nn.Module
        A chain of Linear and ReLU (see :func:`darb_prune.graph.chain`).
    ratio : float
        Weights of the whole network, excluded layers too, per kept weight (``budget="codes"``); or bits of
        its dense weights per stored bit (``budget="bits"``). Never missed from below.
    method : str
        ``darb``: a block size per row, one weight kept in each block. ``mixed``: the same with several kept
        weights allowed. ``bmwm``, ``bank``, ``nm``: one level for all rows. ``irregular``: any weight, by
        magnitude over all layers; cannot be encoded. ``dense``: takes masks away.
    allocation : "budget" or "density"
        How ``darb`` and ``mixed`` give rows their level (see :mod:`darb_prune.density`).
    order : "spread" or "none"
        Storage order of the columns (see :mod:`darb_prune.order`).
    levels : sequence of Level, optional
        What ``darb`` and ``mixed`` choose from.
    budget : "codes" or "bits"
    exclude : sequence of str
        Paths of layers to leave dense.
    weight_bits : int
        Bits of a weight, for ``budget="bits"``.
    saliency : str
        Of ``allocation="budget"`` (see :func:`darb_prune.density.by_budget`).

    Raises
    ------
    DarbError
        For an unknown option, a layer that is not supported, weights that are not finite, or a ratio that
        cannot be reached.
    """
    _check("method", method, METHODS)
    _check("allocation", allocation, ALLOCATIONS)
    _check("budget", budget, ("codes", "bits"))
    if not (ratio >= 1 and math.isfinite(ratio)):
        raise DarbError(f"ratio {ratio} must be a number from 1 up")
    stages = chain(model)
    check_finite(stages)
    names = [stage.name for stage in stages]
    if unknown := set(exclude) - set(names):
        raise DarbError(f"exclude {sorted(unknown)[0]!r}: no such layer; the model has {', '.join(names)}")
    total = sum(stage.linear.weight.numel() for stage in stages)
    chosen = [stage for stage in stages if stage.name not in exclude]
    room = total / ratio - sum(stage.linear.weight.numel() for stage in stages if stage.name in exclude)
    if room <= 0 and method != "dense":
        raise DarbError(f"ratio {ratio:g} cannot be reached: the excluded layers alone are larger; exclude fewer")
    pruned = sum(stage.linear.weight.numel() for stage in chosen)
    if method == "irregular":
        masks = irregular([shadow_weight(stage.linear) for stage in chosen], pruned / room)
        for stage in stages:
            restore_dense(stage.linear)
        for stage, mask in zip(chosen, masks, strict=True):
            apply_mask(stage.linear, mask)
    elif method == "dense":
        for stage in stages:
            restore_dense(stage.linear)
    else:
        orders = [column_order([shadow_weight(stage.linear)], order) for stage in chosen]
        stored = [shadow_weight(stage.linear)[:, order] for stage, order in zip(chosen, orders, strict=True)]
        if method in ("darb", "mixed"):
            menu = tuple(levels) if levels else DARB_LEVELS if method == "darb" else MIXED_LEVELS
            _check_menu(method, menu)
            room = room if budget == "codes" else room * weight_bits
            if allocation == "budget":
                tables = by_budget(stored, room, menu, budget, weight_bits, saliency)
            else:
                tables = by_density(stored, room, menu, budget, weight_bits)
        else:
            level = _uniform(method, stored, room)
            tables = [level_rows(level, len(weight)) for weight in stored]
        for stage in stages:
            restore_dense(stage.linear)
        for stage, table, columns in zip(chosen, tables, orders, strict=True):
            LevelPruning.apply(stage.linear, "weight", table, columns)
    return Pruned(total, sum(_kept(stage) for stage in stages))


def _check(what: str, value: str, legal: Sequence[str]) -> None:
    if value not in legal:
        raise DarbError(f"{what} {value!r}: choose one of {', '.join(legal)}")


def _check_menu(method: str, menu: tuple[Level, ...]) -> None:
    for level in menu:
        if method == "darb" and level.kept > 1:
            raise DarbError(f"level {level}: method darb keeps one weight a block; use method mixed")


def _uniform(method: str, weights: Sequence[Tensor], room: float) -> Level:
    """The densest level of a single-level method that keeps at most ``room`` weights of all matrices."""
    first = {"bmwm": 1, "bank": BANK, "nm": GROUP}[method].bit_length() - 1
    menu = [DENSE, *(Level(first, kept) for kept in range(1 << first, 0, -1))]
    menu += [Level(bits, 1) for bits in range(first + 1, BLOCK_BITS_MAX + 1)]
    for level in menu:
        kept = sum(len(weight) * level.weights(weight.shape[1]) for weight in weights)
        if kept <= room * (1 + 1e-9):
            return level
    raise DarbError(f"method {method} keeps at least {kept} weights, the ratio allows {room:.0f}; lower the ratio")


def _kept(stage: Stage) -> int:
    mask = getattr(stage.linear, "weight_mask", None)
    return stage.linear.weight.numel() if mask is None else int(mask.count_nonzero())
