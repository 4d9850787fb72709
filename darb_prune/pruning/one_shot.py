"""Prune a model in place: one call from ratio and method to masks on every prunable layer."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from torch import Tensor, nn

from darb_prune.errors import DarbError, ModelError
from darb_prune.frontend.example import stages_of
from darb_prune.frontend.tensors import Stored, stored_tensors
from darb_prune.modules.layers import PrunableLayer, check_finite, layers, select
from darb_prune.modules.masked import LevelPruning, apply_mask, restore_dense
from darb_prune.patterns.storage import stored_bits
from darb_prune.pruning.methods import Darb, Method, Selection, Unpruned, as_method
from darb_prune.pruning.selection import Request, select_weights
from darb_prune.pruning.uniform import Choice
from darb_prune.training.batches import inputs_of

__all__ = ["Pruned", "prune"]


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
    method: Method | str = Darb(),
    *,
    exclude: Sequence[str] = (),
    weight_bits: int = 8,
    samples: Iterable | None = None,
    example: Tensor | None = None,
    seed: int = 0,
    drop_softmax: bool = False,
) -> Pruned:
    """Prune every prunable layer of ``model``, in place, with masks of :mod:`torch.nn.utils.prune`.

    Masks are computed from the dense shadow weights: pruning a pruned model again starts afresh.

    Parameters
    ----------
    model : torch.nn.Module
        Any module with Linear, Conv1d, Conv2d, LSTM or GRU layers (see :mod:`darb_prune.modules.layers`).
    ratio : float
        Weights of the whole network per kept weight; excluded layers count too. A method with a budget of bits or
        cycles divides the bits of the dense weights, or the engine steps of the dense network, instead. The ratio
        reached is never lower.
    method : Method or str
        What to keep, with its options (:mod:`darb_prune.pruning.methods`); a name stands for its defaults.
    exclude : sequence of str
        Layers to leave dense, or modules that hold them.
    weight_bits : int
        Bits of a weight, for a budget of bits and for the stored bits.
    samples : iterable of (inputs, labels), optional
        Training data, for the saliencies ``taylor`` and ``fisher``.
    example : tensor, optional
        Inputs, a batch of at least one, as ``model`` takes them: they show which layers read the same tensor, and so
        share its storage order. If absent, an input of ``samples``, or one that fits the first layer and gets the model
        through (of images: 32x32 pixels or another usual size, square).
    seed : int
        Of the search for an order.
    drop_softmax : bool
        Whether a softmax, log-softmax or argmax at the end is left out when the model is captured, as in
        :func:`darb_prune.quantize`.

    Raises
    ------
    DarbError
        For a model without prunable layers, weights that are not finite, or a ratio that cannot be reached. Also for a
        model that cannot be captured (:func:`darb_prune.frontend.capture.capture`), unless the method has no encoding
        anyway. The model is as it was.
    """
    method = as_method(method)
    if isinstance(method, Selection):
        raise DarbError(f"method {method.name}: has no masks; use select_{method.name}(model, loader, ratio)")
    if weight_bits < 1:
        raise DarbError(f"weight bits {weight_bits} must be at least 1")
    if not (ratio >= 1 and math.isfinite(ratio)):
        raise DarbError(f"ratio {ratio} must be a number from 1 up")
    all_layers = layers(model)
    if not all_layers:
        raise ModelError(
            f"{type(model).__name__}: all its layers are block terms, which are not pruned; use fewer ranks"
        )
    check_finite(all_layers)
    chosen = [layer for layer, wanted in zip(all_layers, select(all_layers, exclude), strict=True) if wanted]
    total = sum(layer.weights for layer in all_layers)
    room = total / ratio - (total - sum(layer.weights for layer in chosen))
    if not isinstance(method, Unpruned) and (room <= 0 or not chosen):
        raise DarbError(f"ratio {ratio:g} cannot be reached: the excluded layers alone are larger; exclude fewer")
    tensors: tuple[Stored, ...] = ()
    if getattr(method, "order", "keep") != "keep":
        example = inputs_of(samples) if example is None else example
        tensors = stored_tensors(stages_of(model, example, drop_softmax), all_layers)
    request = Request(model, all_layers, chosen, tensors, ratio, room, weight_bits, samples, seed)
    choices = dict(zip(chosen, select_weights(method, request), strict=True))
    for layer in all_layers:
        for part in layer.parts:
            restore_dense(part.module, part.name)
    for layer, choice in choices.items():
        _apply(layer, choice)
    bits = sum(_bits(layer, method, choices.get(layer, Choice()), weight_bits) for layer in all_layers)
    return Pruned(total, sum(int(layer.mask().count_nonzero()) for layer in all_layers), bits)


def _apply(layer: PrunableLayer, choice: Choice) -> None:
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


def _bits(layer: PrunableLayer, method: Method, choice: Choice, weight_bits: int) -> int:
    dense = choice.mask is None and choice.levels is None
    return stored_bits(
        Unpruned.name if dense else method.name, layer.mask(), weight_bits, levels=choice.levels,
        segments=layer.segments, shape=choice.shape, group=choice.group, order=choice.order,
    ).bits  # fmt: skip
