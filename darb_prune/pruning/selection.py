"""What each method keeps of the layers of a model: one function a kind of method."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import singledispatch

import torch
from torch import Tensor, nn

from darb_prune.encoded import Level
from darb_prune.errors import DarbError
from darb_prune.frontend.tensors import Stored
from darb_prune.modules.layers import PrunableLayer
from darb_prune.modules.masked import regrowing
from darb_prune.patterns import masks
from darb_prune.patterns.allocation import DARB_LEVELS, MIXED_LEVELS, by_budget, by_density
from darb_prune.patterns.floors import paid_floors
from darb_prune.patterns.saliency import WITH_GRADIENTS, Gradients, saliencies
from darb_prune.pruning.cycles import dense_cycles, least_cycles, passes
from darb_prune.pruning.methods import (
    BMWM,
    NM,
    Allocated,
    BankBalanced,
    Block,
    Darb,
    Irregular,
    Method,
    Structured,
    Unpruned,
    Weighed,
)
from darb_prune.pruning.ordering import ordered
from darb_prune.pruning.uniform import Choice, uniform
from darb_prune.training.batches import ResumableLoader
from darb_prune.training.gradients import collect
from darb_prune.training.heads import HeadLoss
from darb_prune.training.loop import Loss

__all__ = ["Request", "select_weights"]

FLOOR_SHARE = 0.05


@dataclass(frozen=True, eq=False)
class Request:
    """What weights are selected from, and how many may be kept.

    Parameters
    ----------
    model : torch.nn.Module
    layers : tuple of PrunableLayer
        All of ``model``.
    chosen : list of PrunableLayer
        Those to prune; the others stay dense.
    tensors : tuple of Stored
        What the layers read, for methods with a storage order.
    uses : dict of PrunableLayer to int
        How often each of ``layers`` is paid.
    output_positions : dict of PrunableLayer to int
        How often the rows of each of ``layers`` are computed for one input; empty if the budget is not of cycles.
    ratio : float
        Asked for.
    room : float
        Weights that ``chosen`` may keep, each as often as its layer is paid.
    weight_bits : int
    samples : iterable of (inputs, labels), or None
    loss : callable (outputs, labels) -> scalar tensor
    seed : int
    """

    model: nn.Module
    layers: tuple[PrunableLayer, ...]
    chosen: list[PrunableLayer]
    tensors: tuple[Stored, ...]
    uses: Mapping[PrunableLayer, int]
    output_positions: Mapping[PrunableLayer, int]
    ratio: float
    room: float
    weight_bits: int
    samples: Iterable | None
    loss: Loss
    seed: int

    def matrices(self) -> list[Tensor]:
        """The dense weights of ``chosen``."""
        return [layer.matrix() for layer in self.chosen]

    def widths(self) -> list[tuple[int, ...]]:
        """Widths of the segments of a row, for each of ``chosen``."""
        return [layer.segments for layer in self.chosen]

    def paid(self) -> list[int]:
        """How often each of ``chosen`` is paid."""
        return [self.uses[layer] for layer in self.chosen]


@singledispatch
def select_weights(method: Method, request: Request) -> list[Choice]:
    """What ``method`` keeps of each of ``request.chosen``.

    Raises
    ------
    DarbError
        If the ratio cannot be reached.
    """
    raise TypeError(f"{type(method).__name__}: give a method of darb_prune.pruning.methods")


@select_weights.register
def _dense(method: Unpruned, request: Request) -> list[Choice]:
    return [Choice() for _ in request.chosen]


@select_weights.register
def _irregular(method: Irregular, request: Request) -> list[Choice]:
    worth = _worth(method, request)
    ratio = sum(values.numel() for values in worth) / request.room
    return [Choice(mask) for mask in masks.irregular(worth, ratio, method.scope)]


@select_weights.register
def _block(method: Block, request: Request) -> list[Choice]:
    worth = _worth(method, request)
    kept = masks.blocks(worth, int(request.room), method.shape, method.scope, saliency=worth)
    return [Choice(mask, shape=method.shape) for mask in kept]


@select_weights.register
def _structured(method: Structured, request: Request) -> list[Choice]:
    worth = _worth(method, request)
    kept = masks.structured(worth, int(request.room), method.rows, method.columns, method.scope, saliency=worth)
    return [Choice(mask) for mask in kept]


@select_weights.register
def _uniform(method: BMWM | BankBalanced | NM, request: Request) -> list[Choice]:
    widths = request.widths()

    def allocate(stored: list[Tensor], orders: list[Tensor]) -> list[Choice]:
        return uniform(method, stored, orders, widths, request.room, request.ratio)

    return _in_order(method, request, allocate)


@select_weights.register
def _allocated(method: Allocated, request: Request) -> list[Choice]:
    widths = request.widths()
    menu = method.levels or (DARB_LEVELS if isinstance(method, Darb) else MIXED_LEVELS)
    limit = _limit(method, request)
    floors = _floors(method, request, menu, limit)
    times = [_times(method, request, layer) for layer in request.chosen]

    def allocate(stored: list[Tensor], orders: list[Tensor]) -> list[Choice]:
        if method.allocation == "density":
            tables = by_density(stored, limit, menu, method.budget, request.weight_bits, segments=widths)
        else:
            tables = by_budget(
                stored, limit, menu, method.budget, request.weight_bits, widths,
                saliencies=stored, streams=method.streams, floors=floors, drained=_drained(method), uses=times,
            )  # fmt: skip
        return [Choice(None, table, order) for table, order in zip(tables, orders, strict=True)]

    return _in_order(method, request, allocate)


def _in_order(
    method: BMWM | BankBalanced | NM | Allocated,
    request: Request,
    allocate: Callable[[list[Tensor], list[Tensor]], list[Choice]],
) -> list[Choice]:
    """What ``allocate`` chooses of the worth of each weight, in storage order."""
    worth = _worth(method, request)
    choices = ordered(request.tensors, request.layers, request.chosen, worth, method.order, allocate, request.seed)
    return [replace(choice, worth=values) for choice, values in zip(choices, worth, strict=True)]


def _drained(method: Allocated) -> bool:
    """Whether empty rows cost what their results cost, which are written at a fixed pace."""
    return method.budget == "cycles" or method.over_positions


def _times(method: Allocated, request: Request, layer: PrunableLayer) -> int:
    """How often the cost of a layer is paid: cycles in each pass over its positions, codes and bits once."""
    timed = method.budget == "cycles"
    return request.uses[layer] * (passes(method, layer, request.output_positions[layer]) if timed else 1)


def _floors(method: Allocated, request: Request, levels: Sequence[Level], limit: float) -> list[int]:
    """The least codes of a row of each layer, where fewer codes save no cycle.

    A convolution computes a row for many positions. A group of rows therefore takes at least as many cycles as it takes
    to write its results, however few its codes are. So does one of any other layer, where cycles are what is paid.
    """
    if method.budget == "cycles":
        return [least_cycles(method, layer) for layer in request.chosen]
    floors = [method.floor if layer.kind == "conv" else 0 for layer in request.chosen]
    if not _drained(method):
        cheap = FLOOR_SHARE * request.room
        return [
            floor if use * layer.shape[0] * floor <= cheap else 0
            for layer, floor, use in zip(request.chosen, floors, request.paid(), strict=True)
        ]
    rows = [layer.shape[0] for layer in request.chosen]
    return paid_floors(
        rows, request.widths(), floors, limit, levels, method.budget, request.weight_bits, request.paid()
    )


def _limit(method: Allocated, request: Request) -> float:
    """What the levels of ``request.chosen`` may cost, in the unit of the budget."""
    if method.budget == "codes":
        return request.room
    if method.budget == "bits":
        return request.room * request.weight_bits

    def cycles(layers: Iterable[PrunableLayer]) -> int:
        return sum(
            request.uses[layer] * dense_cycles(method, layer, request.output_positions[layer]) for layer in layers
        )

    excluded = cycles(layer for layer in request.layers if layer not in request.chosen)
    limit = cycles(request.layers) / request.ratio - excluded
    if limit <= 0:
        raise DarbError(
            f"ratio {request.ratio:g} cannot be reached: the excluded layers alone take longer; exclude fewer"
        )
    return limit


def _worth(method: Weighed, request: Request) -> list[Tensor]:
    """What each weight is worth. Saliencies from gradients of several tasks are added, each task in units of its sum:
    one that was learnt better has smaller gradients, and would lose all its weights."""
    matrices = request.matrices()
    if method.worth not in WITH_GRADIENTS:
        return saliencies(matrices, method.worth)
    if request.samples is None:
        raise DarbError(f"saliency {method.worth}: needs gradients; give samples, a loader of (inputs, labels)")
    if not isinstance(request.loss, HeadLoss):
        return saliencies(matrices, method.worth, _gradients(request, request.samples, request.loss))
    worth = [torch.zeros_like(matrix, dtype=torch.float64) for matrix in matrices]
    for loss in request.loss.alone():
        own = saliencies(matrices, method.worth, _gradients(request, request.samples, loss))
        unit = sum(float(values.sum()) for values in own) or 1.0
        worth = [total + values / unit for total, values in zip(worth, own, strict=True)]
    return worth


def _gradients(request: Request, samples: Iterable, loss: Loss) -> Gradients:
    """Gradients of a loss at the model as it is, masked weights included."""

    def read() -> list[Tensor]:
        gradients = [[part.parameter.grad for part in layer.parts] for layer in request.chosen]
        return [
            layer.join(
                part.shadow * 0 if gradient is None else gradient
                for part, gradient in zip(layer.parts, of_parts, strict=True)
            )
            for layer, of_parts in zip(request.chosen, gradients, strict=True)
        ]

    # Fine-tuning sees the same batches whatever the saliency.
    passes = samples.state() if isinstance(samples, ResumableLoader) else 0
    try:
        with regrowing(request.model):
            return collect(request.model, samples, loss, read)
    finally:
        if isinstance(samples, ResumableLoader):
            samples.restore(passes)
