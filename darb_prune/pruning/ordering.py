"""The storage order of every tensor that pruned layers read, chosen in turn with what each row keeps."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from darb_prune.frontend.tensors import Reading, Stored
from darb_prune.modules.layers import PrunableLayer
from darb_prune.modules.matrix import as_matrix
from darb_prune.patterns.order import Reader, channel_order
from darb_prune.pruning.uniform import Choice

__all__ = ["ordered"]


ORDER_ROUNDS = 2
"""How often ``order="search"`` and the allocation take turns: each depends on the other."""


def ordered(
    tensors: Sequence[Stored],
    all_layers: tuple[PrunableLayer, ...],
    chosen: list[PrunableLayer],
    matrices: list[Tensor],
    order: str,
    allocate: Callable[[list[Tensor], list[Tensor]], list[Choice]],
    seed: int,
) -> list[Choice]:
    """What ``allocate`` chooses for the columns in their storage order.

    Parameters
    ----------
    tensors : sequence of Stored
        What the layers read. Not needed for the order "keep".
    all_layers, chosen : sequences of PrunableLayer
        All layers of a model, and those to prune.
    matrices : list of tensors of shape (rows, columns)
        The weights of ``chosen``.
    order : "none", "spread", "search" or "keep"
    allocate : callable (matrices in storage order, orders) -> choices
    seed : int
        Of the search.
    """
    if order == "keep":
        orders = [layer.order for layer in chosen]
        return allocate(_reordered(matrices, orders), orders)
    index = {all_layers.index(layer): position for position, layer in enumerate(chosen)}
    choices = [Choice() for _ in chosen]
    for turn in range(1 + (ORDER_ROUNDS if order == "search" else 0)):
        # Every part of a layer reads exactly one tensor.
        of_parts: list[dict[int, Tensor]] = [{} for _ in chosen]
        for tensor in tensors:
            channels = torch.arange(tensor.channels)
            readings = [reading for reading in tensor.readings if reading.layer in index]
            if tensor.movable and readings and order != "none":
                readers = [
                    _reader(all_layers[reading.layer], reading, choices[index[reading.layer]]) for reading in readings
                ]
                channels = channel_order(tensor.channels, readers, order if turn else "spread", seed=seed)
            for reading in readings:
                of_parts[index[reading.layer]][reading.part] = reading.order(channels)
        orders = [
            layer.join_orders([parts[part] for part in range(len(layer.parts))])
            for layer, parts in zip(chosen, of_parts, strict=True)
        ]
        choices = allocate(_reordered(matrices, orders), orders)
    return choices


def _reordered(matrices: list[Tensor], orders: list[Tensor]) -> list[Tensor]:
    return [matrix[:, order] for matrix, order in zip(matrices, orders, strict=True)]


def _reader(layer: PrunableLayer, reading: Reading, choice: Choice) -> Reader:
    part = layer.parts[reading.part]
    weight = as_matrix(part.shadow)[:, reading.columns.reshape(-1)]
    return Reader(weight, part.segments, choice.levels, choice.blocks)
