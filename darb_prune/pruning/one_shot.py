"""Prune a model in place: one call from ratio and method to masks on every prunable layer."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from torch import Tensor, nn

from darb_prune.encoded import Level
from darb_prune.errors import DarbError
from darb_prune.modules.layers import PrunableLayer, check_finite, layers, select
from darb_prune.modules.masked import LevelPruning, apply_mask, regrowing, restore_dense
from darb_prune.patterns.allocation import DARB_LEVELS, MIXED_LEVELS, by_budget, by_density
from darb_prune.patterns.order import ORDERS
from darb_prune.patterns.saliency import SALIENCIES, WITH_GRADIENTS, saliencies
from darb_prune.patterns.storage import stored_bits
from darb_prune.pruning.ordering import KEEP, ordered
from darb_prune.pruning.uniform import FREE, UNIFORM, Choice, free, uniform
from darb_prune.training.gradients import collect
from darb_prune.training.metrics import loss

__all__ = ["ALLOCATIONS", "BUDGETS", "ENCODABLE", "METHODS", "Pruned", "prune"]

METHODS = ("darb", "mixed", *UNIFORM, *FREE, "dense")
ENCODABLE = ("darb", "mixed", "bmwm", "bank", "nm", "dense")
"""Methods whose masks have levels, so that the engine can run them; ``bank``, ``nm`` if the group is a power of two."""
ALLOCATIONS = ("budget", "density")
BUDGETS = ("codes", "bits", "cycles")
FLOOR_SHARE = 0.05


@dataclass(frozen=True)
class Pruned:
    """What pruning left.

    Parameters
    ----------
    weights : int
        Weights of all prunable layers.
    kept : int
        Weights not masked.
    bits : int
        Stored bits of all prunable layers, in the best-known encoding of the method (see
        :mod:`darb_prune.patterns.storage`), without biases.
    """

    weights: int
    kept: int
    bits: int

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
    lanes: int | None = None,
    group: int | None = None,
    kept: int | None = None,
    shape: tuple[int, int] = (4, 4),
    scope: str = "global",
    samples: Iterable | None = None,
    seed: int = 0,
) -> Pruned:
    """Prune every prunable layer of ``model``, in place, with masks of :mod:`torch.nn.utils.prune`.

    Masks are computed from the dense shadow weights: pruning a pruned model again starts afresh.

    Parameters
    ----------
    model : torch.nn.Module
        Any module with Linear, Conv1d, Conv2d, LSTM or GRU layers (see :mod:`darb_prune.modules.layers`).
    ratio : float
        Weights of the whole network, excluded layers too, per kept weight (``budget="codes"``); bits of its
        dense weights per stored bit of code (``"bits"``); engine steps of the dense network per step
        (``"cycles"``). Never missed from below.
    method : str
        ``darb``: a block size per row, one weight kept in each block. ``mixed``: the same with several kept
        weights allowed. ``bmwm``, ``bank``, ``nm``: the same blocks for all rows. ``irregular``: any weight, by
        magnitude. ``block``: whole blocks of ``shape``. ``structured``, ``rows``, ``columns``: whole rows and
        columns. ``dense``: takes masks away. Methods that are not in ``ENCODABLE`` serve to compare.
    allocation : "budget" or "density"
        How ``darb`` and ``mixed`` give rows their level (see :mod:`darb_prune.patterns.allocation`).
    order : "none", "spread", "search" or "keep"
        Storage order of the channels of each tensor, for methods with blocks (see :mod:`darb_prune.patterns.order`).
        ``"keep"``: the one that the masks of ``model`` have now. Then blocks are nested: larger ones keep some of
        what smaller ones kept, where a new order would start all over.
    levels : sequence of Level, optional
        What ``darb`` and ``mixed`` choose from.
    budget : "codes", "bits" or "cycles"
    exclude : sequence of str
        Layers to leave dense, or modules that hold them.
    weight_bits : int
        Bits of a weight, for ``budget="bits"`` and the stored bits.
    saliency : str
        Of ``allocation="budget"`` (see :mod:`darb_prune.patterns.saliency`).
    lanes : int, optional
        Of the engine: rows of a level come in multiples of it where that costs little, and rows of convolutions
        have at least as many codes, for fewer would save no cycle, in layers where these codes are at most 5 % of
        all (see :func:`darb_prune.patterns.allocation.by_budget`). Needed for ``budget="cycles"``.
    group : int, optional
        Columns of a bank (``bank``), M (``nm``); a number that is no power of two has no encoding.
    kept : int, optional
        Weights of a bank, N of N:M: ``group`` follows from the ratio.
    shape : (int, int)
        Rows and columns of a block (``block``).
    scope : "global" or "layer"
        Whether ``irregular``, ``block``, ``structured``, ``rows`` and ``columns`` take the least weights of
        all layers together, or the same share of each.
    samples : iterable of (inputs, labels), optional
        Training data, for the saliencies ``taylor`` and ``fisher``.
    seed : int
        Of the search for an order.

    Raises
    ------
    DarbError
        For an unknown option, a model without prunable layers, weights that are not finite, or a ratio that
        cannot be reached.
    """
    _check("method", method, METHODS)
    _check("allocation", allocation, ALLOCATIONS)
    _check("budget", budget, BUDGETS)
    _check("order", order, (*ORDERS, KEEP))
    _check("saliency", saliency, SALIENCIES)
    _check("scope", scope, ("global", "layer"))
    if weight_bits < 1:
        raise DarbError(f"weight bits {weight_bits} must be at least 1")
    if budget != "codes" and method in (*UNIFORM, *FREE):
        raise DarbError(f"budget {budget}: method {method} allocates nothing; use darb or mixed, or give a ratio")
    if not (ratio >= 1 and math.isfinite(ratio)):
        raise DarbError(f"ratio {ratio} must be a number from 1 up")
    found = layers(model)
    check_finite(found)
    chosen = [layer for layer, wanted in zip(found, select(found, exclude), strict=True) if wanted]
    total = sum(layer.weights for layer in found)
    room = total / ratio - (total - sum(layer.weights for layer in chosen))
    if method != "dense" and (room <= 0 or not chosen):
        raise DarbError(f"ratio {ratio:g} cannot be reached: the excluded layers alone are larger; exclude fewer")
    matrices = [layer.matrix() for layer in chosen]
    if method == "dense":
        choices = [Choice() for _ in chosen]
    elif method in FREE:
        choices = free(method, matrices, room, shape, scope)
    else:
        widths = [layer.segments for layer in chosen]
        if method in UNIFORM:

            def allocate(stored: list[Tensor], orders: list[Tensor]) -> list[Choice]:
                return uniform(method, stored, orders, widths, room, ratio, group, kept)

        else:
            menu = tuple(levels) if levels else DARB_LEVELS if method == "darb" else MIXED_LEVELS
            _check_menu(method, menu)
            limit = {"codes": room, "bits": room * weight_bits}.get(budget)
            if limit is None:
                limit = _steps(found, lanes) / ratio - _steps([one for one in found if one not in chosen], lanes)
            # The engine writes back one result a cycle: where a row is computed for many positions, a group takes as
            # many cycles as it has rows, however few its codes.
            codes = lanes or 0
            floors = [
                codes * (layer.kind == "conv" and layer.shape[0] * codes <= FLOOR_SHARE * room) for layer in chosen
            ]
            worth = saliencies(matrices, saliency, _gradients(model, chosen, saliency, samples))

            def allocate(stored: list[Tensor], orders: list[Tensor]) -> list[Choice]:
                if allocation == "density":
                    tables = by_density(stored, limit, menu, budget, weight_bits, segments=widths)
                else:
                    moved = [one[:, order] for one, order in zip(worth, orders, strict=True)]
                    tables = by_budget(
                        stored, limit, menu, budget, weight_bits, widths, saliencies=moved, lanes=lanes, floors=floors
                    )
                return [Choice(None, table, order) for table, order in zip(tables, orders, strict=True)]

        choices = ordered(model, found, chosen, matrices, order, allocate, seed)
    for layer in found:
        for part in layer.parts:
            restore_dense(part.module, part.name)
    for layer, choice in zip(chosen, choices, strict=True):
        _put(layer, choice)
    of = dict(zip(chosen, choices, strict=True))
    bits = [_bits(layer, method, of.get(layer, Choice()), weight_bits, shape) for layer in found]
    return Pruned(total, sum(int(layer.mask().count_nonzero()) for layer in found), sum(bits))


def _check(what: str, value: str, legal: Sequence[str]) -> None:
    if value not in legal:
        raise DarbError(f"{what} {value!r}: choose one of {', '.join(legal)}")


def _check_menu(method: str, menu: tuple[Level, ...]) -> None:
    for level in menu:
        if method == "darb" and level.kept > 1:
            raise DarbError(f"level {level}: method darb keeps one weight a block; use method mixed")


def _steps(found: Sequence[PrunableLayer], lanes: int | None) -> int:
    """Engine steps of dense layers: groups of ``lanes`` rows, one column a step."""
    if lanes is None or lanes < 1:
        raise DarbError(f"lanes {lanes}: a budget of cycles needs the number of lanes, at least 1")
    return sum(-(-layer.shape[0] // lanes) * layer.shape[1] for layer in found)


def _gradients(model: nn.Module, chosen: list[PrunableLayer], saliency: str, samples: Iterable | None):
    """Gradients at the model as it is, masked weights included, if the saliency needs them."""
    if saliency not in WITH_GRADIENTS:
        return None
    if samples is None:
        raise DarbError(f"saliency {saliency}: needs gradients; give samples, a loader of (inputs, labels)")

    def read() -> list[Tensor]:
        grads = [[part.parameter.grad for part in layer.parts] for layer in chosen]
        return [
            layer.join(part.shadow * 0 if grad is None else grad for part, grad in zip(layer.parts, given, strict=True))
            for layer, given in zip(chosen, grads, strict=True)
        ]

    # Fine-tuning sees the same batches whatever the saliency.
    place = samples.state() if hasattr(samples, "state") else None
    try:
        with regrowing(model):
            return collect(model, samples, loss, read)
    finally:
        if place is not None:
            samples.restore(place)


def _put(layer: PrunableLayer, choice: Choice) -> None:
    starts = [0, *accumulate(part.columns for part in layer.parts)]
    orders = [
        None if choice.order is None else choice.order[start : start + part.columns] - start
        for part, start in zip(layer.parts, starts, strict=False)
    ]
    if choice.levels is not None:
        for part, order in zip(layer.parts, orders, strict=True):
            LevelPruning.apply(part.module, part.name, choice.levels, order)
    elif choice.mask is not None:
        for part, mask, order in zip(layer.parts, layer.split(choice.mask), orders, strict=True):
            apply_mask(part.module, mask, part.name, order)


def _bits(layer: PrunableLayer, method: str, choice: Choice, weight_bits: int, shape: tuple[int, int]) -> int:
    if choice.mask is None and choice.levels is None:
        method = "dense"
    return stored_bits(
        method, layer.mask(), weight_bits, levels=choice.levels, segments=layer.segments, shape=shape,
        group=choice.group, order=choice.order,
    ).bits  # fmt: skip
