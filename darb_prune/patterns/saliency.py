"""What a weight is worth: masks keep what is worth most, and allocation sums it over the weights a level keeps."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

import torch
from torch import Tensor

from darb_prune.errors import DarbError
from darb_prune.patterns.choices import Saliency

__all__ = ["SALIENCIES", "WITH_GRADIENTS", "Gradients", "saliencies"]

SALIENCIES: tuple[str, ...] = get_args(Saliency)
WITH_GRADIENTS = ("taylor", "fisher")
"""The saliencies that need gradients."""


@dataclass(frozen=True, eq=False)
class Gradients:
    """Means of gradients over mini-batches: for each matrix a tensor of its shape.

    Parameters
    ----------
    absolute : list of float tensors of shape (rows, columns)
        Mean of ``|g|`` over mini-batches.
    square : list of float tensors of shape (rows, columns)
        Mean of ``g**2`` over mini-batches.
    """

    absolute: list[Tensor]
    square: list[Tensor]


def saliencies(matrices: Sequence[Tensor], kind: str, gradients: Gradients | None = None) -> list[Tensor]:
    """Worth of every weight, comparable across ``matrices``.

    Parameters
    ----------
    matrices : sequence of float tensors of shape (rows, columns)
    kind : str
        ``"mean"``: ``w**2`` in units of the mean ``w**2`` of its matrix.
        ``"frobenius"``: ``w**2`` in units of their sum over the matrix. All matrices are then worth the same, so most
        of a small budget goes to the smallest ones.
        ``"magnitude"``: ``w**2`` itself.
        ``"row"``: ``w**2`` in units of the mean ``w**2`` of its row. All rows of a matrix are then worth the same.
        ``"taylor"``: ``|w| E|g|``, the first-order estimate of how the loss changes with the weight gone
        (Molchanov et al. 2017, arXiv 1611.06440, eq. 6-7, for one weight).
        ``"fisher"``: ``w**2 E[g**2] / 2``, the second-order one of optimal brain damage (LeCun et al. 1990)
        with the diagonal empirical Fisher information as curvature (Theis et al. 2018, arXiv 1801.05787, eq. 8).
        The last two are in units of the loss, up to a factor common to all weights, so no matrix is normalised.
    gradients : Gradients, optional
        Of ``matrices``, for ``"taylor"`` and ``"fisher"``.

    Returns
    -------
    list of float64 tensors with the shapes of ``matrices``, not negative, detached.

    Raises
    ------
    DarbError
        If ``kind`` is unknown, or gradients are missing or of other shapes.
    """
    if kind not in SALIENCIES:
        raise DarbError(f"saliency {kind!r}: choose one of {', '.join(SALIENCIES)}")
    # In double precision: squares of weights of any scale stay apart.
    weights = [matrix.detach().double() for matrix in matrices]
    if kind not in WITH_GRADIENTS:
        return [weight.square() / _unit(weight.square(), kind) for weight in weights]
    if gradients is None:
        raise DarbError(f"saliency {kind!r} needs gradients; give batches to collect them from")
    means = gradients.absolute if kind == "taylor" else gradients.square
    shapes, needed = [tuple(mean.shape) for mean in means], [tuple(weight.shape) for weight in weights]
    if shapes != needed:
        raise DarbError(f"gradients of shapes {shapes} for matrices of shapes {needed}; collect them from this model")
    if kind == "taylor":
        return [weight.abs() * mean for weight, mean in zip(weights, means, strict=True)]
    return [weight.square() * mean / 2 for weight, mean in zip(weights, means, strict=True)]


def _unit(squares: Tensor, kind: str) -> Tensor:
    """The ``w**2`` that is worth 1; itself 1 where all weights are 0."""
    if kind == "row":
        unit = squares.mean(dim=1, keepdim=True, dtype=torch.float64)
    else:
        unit = squares.sum(dtype=torch.float64) if kind == "frobenius" else squares.mean(dtype=torch.float64)
        unit = torch.ones_like(unit) if kind == "magnitude" else unit
    return torch.where(unit > 0, unit, 1.0).to(squares.dtype)
