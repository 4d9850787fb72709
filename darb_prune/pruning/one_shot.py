"""Prune a model in place: one call from ratio and method to masks on every prunable layer."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from torch import Tensor, nn

from darb_prune.errors import DarbError, ModelError
from darb_prune.frontend.example import stages_of
from darb_prune.frontend.positions import positions_of_layers
from darb_prune.frontend.tensors import Stored, stored_tensors
from darb_prune.modules.layers import PrunableLayer, check_finite, inside, layers, select
from darb_prune.modules.masked import LevelPruning, apply_mask, restore_dense
from darb_prune.patterns.storage import stored_bits
from darb_prune.pruning.methods import Allocated, Darb, Method, Selection, Unpruned, as_method, methods_with
from darb_prune.pruning.schedule import check_ratio
from darb_prune.pruning.selection import Request, select_weights
from darb_prune.pruning.uniform import Choice
from darb_prune.training.batches import inputs_of
from darb_prune.training.loop import Loss
from darb_prune.training.metrics import loss as cross_entropy

__all__ = ["Pruned", "bits_of", "check_uses", "prune"]


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
    group : int or None
        Columns of a block, for masks of blocks without levels.
    """

    weights: int
    kept: int
    bits: int
    group: int | None = None

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
    loss: Loss = cross_entropy,
    uses: Mapping[str, int] | None = None,
) -> Pruned:
    """Prune every prunable layer of ``model``, in place, with masks of :mod:`torch.nn.utils.prune`.

    Masks are computed from the dense shadow weights: pruning a pruned model again starts afresh.

    Parameters
    ----------
    model : torch.nn.Module
        Any module with Linear, Conv1d, Conv2d, LSTM or GRU layers (see :mod:`darb_prune.modules.layers`).
    ratio : float
        Weights of the whole network per kept weight; excluded layers count too. A method with a budget of bits or
        cycles divides the bits of the dense weights, or the engine steps of the dense network for one input (or time
        step), instead. The ratio reached is never lower.
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
        share its storage order, and for a budget of cycles how often each layer runs. If absent, an input of
        ``samples``, or one that fits the first layer and gets the model through (of images: 32x32 pixels or another
        usual size, square).
    seed : int
        Of the search for an order.
    drop_softmax : bool
        Whether a softmax, log-softmax or argmax at the end is left out when the model is captured, as in
        :func:`darb_prune.quantize`.
    loss : callable (outputs, labels) -> scalar tensor
        What the gradients of ``taylor`` and ``fisher`` are of: that of the training, as :class:`darb_prune.HeadLoss`.
    uses : mapping of str to int, optional
        How often a layer, or all layers of a module, are run; 1 where absent. ``ratio`` divides the weights that are
        run then (or their bits, or engine steps), and layers that are run more often keep fewer. A network of merged
        tasks knows its own: ``uses=model.uses()``. For methods that allocate levels by a budget, Darb and Mixed.

    Raises
    ------
    DarbError
        For a model without prunable layers, weights that are not finite, uses that name no layer or that the method
        does not take, or a ratio that cannot be reached. Also for a model that cannot be captured
        (:func:`darb_prune.frontend.capture.capture`), unless the method has no encoding anyway. The model is as it was.
    """
    method = as_method(method)
    if isinstance(method, Selection):
        raise DarbError(f"method {method.name}: has no masks; use select_{method.name}(model, loader, ratio)")
    if weight_bits < 1:
        raise DarbError(f"weight bits {weight_bits} must be at least 1")
    check_ratio(ratio)
    all_layers = layers(model)
    if not all_layers:
        raise ModelError(
            f"{type(model).__name__}: all its layers are block terms, which are not pruned; use fewer ranks"
        )
    check_finite(all_layers)
    paid = _paid(all_layers, uses or {}, method)
    chosen = [layer for layer, wanted in zip(all_layers, select(all_layers, exclude), strict=True) if wanted]
    total = sum(layer.weights for layer in all_layers)
    run = sum(use * layer.weights for layer, use in paid.items())
    room = run / ratio - (run - sum(paid[layer] * layer.weights for layer in chosen))
    timed = getattr(method, "budget", None) == "cycles"
    if not isinstance(method, Unpruned) and ((room <= 0 and not timed) or not chosen):
        raise DarbError(f"ratio {ratio:g} cannot be reached: the excluded layers alone are larger; exclude fewer")
    tensors: tuple[Stored, ...] = ()
    positions: dict[PrunableLayer, int] = {}
    ordered = getattr(method, "order", "keep") != "keep"
    if ordered or timed:
        stages = stages_of(model, inputs_of(samples) if example is None else example, drop_softmax)
        tensors = stored_tensors(stages, all_layers) if ordered else ()
        positions = positions_of_layers(stages, all_layers) if timed else {}
    request = Request(
        model, all_layers, chosen, tensors, paid, positions, ratio, room, weight_bits, samples, loss, seed
    )
    choices = dict(zip(chosen, select_weights(method, request), strict=True))
    for layer in all_layers:
        for part in layer.parts:
            restore_dense(part.module, part.name)
    for layer, choice in choices.items():
        _apply(layer, choice)
    group = max((choice.group for choice in choices.values() if choice.group is not None), default=None)
    kept = sum(int(layer.mask().count_nonzero()) for layer in all_layers)
    return Pruned(total, kept, bits_of(all_layers, method, weight_bits, group), group)


def bits_of(layers: Iterable[PrunableLayer], method: Method, weight_bits: int, group: int | None = None) -> int:
    """Stored bits of layers that ``method`` has pruned, as in :class:`Pruned`; ``group`` is what it says there."""
    return sum(_bits(layer, method, weight_bits, group) for layer in layers)


def _paid(prunable: Sequence[PrunableLayer], uses: Mapping[str, int], method: Method) -> dict[PrunableLayer, int]:
    """How often each layer is paid; of two names in ``uses`` that hold it the later one counts."""
    check_uses(uses, method)
    paid = dict.fromkeys(prunable, 1)
    for name, use in uses.items():
        if type(use) is not int or use < 1:
            raise DarbError(f"uses {name!r}: {use!r} is no whole number from 1 up")
        paid |= dict.fromkeys(inside(prunable, name, "uses"), use)
    return paid


def check_uses(uses: Mapping[str, int], method: Method) -> None:
    """Raise DarbError if there are uses, and ``method`` does not weigh what layers cost."""
    if uses and not (isinstance(method, Allocated) and method.allocation == "budget"):
        raise DarbError(
            f"uses: method {method.name} does not weigh layers against each other by what they cost; use "
            f"{' or '.join(methods_with('budget'))}, with allocation budget"
        )


def _apply(layer: PrunableLayer, choice: Choice) -> None:
    starts = [0, *accumulate(part.columns for part in layer.parts)]
    orders = [
        None if choice.order is None else choice.order[start : start + part.columns] - start
        for part, start in zip(layer.parts, starts, strict=False)
    ]
    if choice.levels is not None:
        worths = [None] * len(orders) if choice.worth is None else layer.split(choice.worth)
        for part, order, worth in zip(layer.parts, orders, worths, strict=True):
            LevelPruning.apply(part.module, part.name, choice.levels, order, worth)
    elif choice.mask is not None:
        for part, mask, order in zip(layer.parts, layer.split(choice.mask), orders, strict=True):
            apply_mask(part.module, mask, part.name, order)


def _bits(layer: PrunableLayer, method: Method, weight_bits: int, group: int | None) -> int:
    return stored_bits(
        method.name if layer.masked else Unpruned.name, layer.mask(), weight_bits, levels=layer.levels(),
        segments=layer.segments, shape=getattr(method, "shape", None),
        group=None if group is None else min(group, max(layer.segments)), order=layer.order,
    ).bits  # fmt: skip
