"""Tensor orders: which column is stored where. An order costs nothing in hardware."""

import numpy as np
import torch
from torch import Tensor

from darb_prune.container import DarbError

__all__ = ["ORDERS", "bit_reverse", "column_order"]

ORDERS = ("none", "spread")


def bit_reverse(count: int) -> np.ndarray:
    """Numbers ``0 .. count - 1`` with their bits reversed in the width of ``count - 1``: int64."""
    width = max(count - 1, 0).bit_length()
    numbers = np.arange(count)
    reverse = np.zeros(count, np.int64)
    for bit in range(width):
        reverse |= (numbers >> bit & 1) << (width - 1 - bit)
    return reverse


def column_order(weights: list[Tensor], order: str) -> Tensor:
    """Storage order of the tensor that the columns of ``weights`` read.

    ``"spread"`` ranks the columns by their L2 norm over all rows that read them, strongest first, and sorts
    them by bit-reversed rank: for every block size at once the strongest columns land in different blocks.
    It is our addition to DARB. Ranks beyond the columns leave no holes.

    Parameters
    ----------
    weights : list of tensors of shape (any, columns)
        Every matrix that reads the tensor.
    order : "none" or "spread"

    Returns
    -------
    int64 tensor of shape (columns,); ``order[position]`` is the column stored at ``position``.
    """
    columns = weights[0].shape[1]
    if order == "none":
        return torch.arange(columns)
    if order != "spread":
        raise DarbError(f"order {order!r}: choose {' or '.join(ORDERS)}")
    energy = sum(weight.detach().double().square().sum(dim=0) for weight in weights)
    ranked = torch.sort(energy, descending=True, stable=True).indices
    return ranked[torch.from_numpy(np.argsort(bit_reverse(columns), kind="stable"))]
