"""Sparsity patterns as pure functions: weight matrix -> boolean mask of the kept weights.

Matrices have shape (rows, columns), columns in reading order. Of equal weights the first is kept, in order of
matrix, row and column, so that a mask depends on its arguments alone.
"""

from collections.abc import Sequence
from typing import overload

import numpy as np
import torch
from torch import Tensor

from darb_prune.encoded import EMPTY, Level
from darb_prune.errors import DarbError

__all__ = [
    "blocks",
    "irregular",
    "level_mask",
    "level_rows",
    "logical",
    "n_of_m",
    "structured",
]


def level_rows(level: Level, rows: int) -> Tensor:
    """The level table of a matrix whose rows all have ``level``: int16, shape (rows, 2)."""
    return torch.tensor([[level.bits, level.kept]], dtype=torch.int16).repeat(rows, 1)


@overload
def irregular(weight: Tensor, ratio: float, scope: str = "global", saliency: Tensor | None = None) -> Tensor: ...


@overload
def irregular(
    weight: Sequence[Tensor], ratio: float, scope: str = "global", saliency: Sequence[Tensor] | None = None
) -> list[Tensor]: ...


def irregular(
    weight: Tensor | Sequence[Tensor],
    ratio: float,
    scope: str = "global",
    saliency: Tensor | Sequence[Tensor] | None = None,
) -> Tensor | list[Tensor]:
    """Keep the ``floor(weights / ratio)`` weights of largest magnitude.

    Parameters
    ----------
    weight : tensor of shape (rows, columns), or a sequence of them
    ratio : float
        Pruning ratio, at least 1.
    scope : "global" or "layer"
        Whether the matrices of a sequence share one threshold or each keeps its own share.
    saliency : like ``weight``, optional
        What each weight is worth, 0 or more, instead of its magnitude.

    Returns
    -------
    Boolean mask of the shape of ``weight``; a list of them for a sequence.
    """
    # A tensor is a matrix by itself here, not the sequence of its rows.
    matrices = [weight] if isinstance(weight, Tensor) else weight
    worths = [saliency] if isinstance(saliency, Tensor) else saliency
    masks = _irregular(matrices, ratio, scope, worths)
    return masks[0] if isinstance(weight, Tensor) else masks


def _irregular(weights: Sequence[Tensor], ratio: float, scope: str, saliency: Sequence[Tensor] | None) -> list[Tensor]:
    if not ratio >= 1:
        raise DarbError(f"ratio {ratio} must be at least 1")
    _check_scope(scope)
    worths = [weight.detach().abs() for weight in weights] if saliency is None else _checked(saliency, weights)
    if scope == "layer":
        pairs = zip(weights, worths, strict=True)
        return [_irregular([weight], ratio, "global", [worth])[0] for weight, worth in pairs]
    flat = torch.cat([worth.flatten() for worth in worths])
    masks = _largest(flat, int(len(flat) / ratio)).split([weight.numel() for weight in weights])
    return [mask.reshape(weight.shape) for mask, weight in zip(masks, weights, strict=True)]


def _largest(flat: Tensor, kept: int) -> Tensor:
    """Mask of the ``kept`` largest values, of equal ones the first."""
    # Not torch.topk: of equal values it takes any.
    if kept == 0:
        return torch.zeros(len(flat), dtype=torch.bool)
    threshold = flat.kthvalue(len(flat) - kept + 1).values
    mask = flat > threshold
    equal = (flat == threshold).nonzero()[:, 0]
    mask[equal[: kept - int(mask.sum())]] = True
    return mask


def level_mask(
    weight: Tensor, levels: Tensor, order: Tensor | None = None, segments: Sequence[int] | None = None
) -> Tensor:
    """Keep, in every block of every row, the ``m`` weights of largest magnitude (the first of equals).

    The columns are put into storage order, and each segment is cut into blocks by itself. The last block of a
    segment can be partial. A block of at most ``m`` columns is kept whole.

    Parameters
    ----------
    weight : tensor of shape (rows, columns)
        In logical order of its columns.
    levels : integer tensor of shape (rows, 2)
        ``(b, m)`` of each row; ``(0, 0)`` keeps nothing.
    order : int64 tensor of shape (columns,), optional
        ``order[position]`` is the column stored at ``position``; identity if absent.
    segments : sequence of int, optional
        Widths of the segments, in storage order; their sum is ``columns``. One segment if absent.

    Returns
    -------
    Boolean tensor of shape (rows, columns), in logical order.
    """
    rows = len(weight)
    if levels.shape != (rows, 2):
        raise DarbError(f"levels of shape {tuple(levels.shape)} for a matrix of {rows} rows; ({rows}, 2) is needed")
    magnitude = _stored(weight, order)
    stored = torch.zeros(magnitude.shape, dtype=torch.bool)
    for bits, kept in torch.unique(levels, dim=0).tolist():
        level = Level(bits, kept)
        if level == EMPTY:
            continue
        members = ((levels[:, 0] == bits) & (levels[:, 1] == kept)).nonzero()[:, 0]
        stored[members] = _segments_mask(magnitude[members], level.kept, level.block, segments)
    return logical(stored, order)


def n_of_m(
    weight: Tensor, n: int, m: int, order: Tensor | None = None, segments: Sequence[int] | None = None
) -> Tensor:
    """N:M sparsity: keep ``n`` of every ``m`` consecutive columns, for any ``1 <= n <= m``.

    A last group of fewer than ``n`` columns is kept whole. If ``m`` is a power of two, this is the level
    ``(log2 m, n)``.

    Parameters
    ----------
    weight, order, segments
        As for :func:`level_mask`.
    n, m : int
        Weights kept in a group, and columns of a group.

    Returns
    -------
    Boolean tensor of shape (rows, columns), in logical order.
    """
    if not 1 <= n <= m:
        raise DarbError(f"N:M {n}:{m}: a group of {m} keeps 1 to {m}")
    return logical(_segments_mask(_stored(weight, order), n, m, segments), order)


def _stored(weight: Tensor, order: Tensor | None) -> Tensor:
    """Magnitudes with the columns in storage order."""
    magnitude = weight.detach().abs()
    if order is None:
        return magnitude
    columns = weight.shape[1]
    if not torch.equal(order.sort().values, torch.arange(columns)):
        raise DarbError(f"order is no permutation of {columns} columns")
    return magnitude[:, order]


def logical(stored: Tensor, order: Tensor | None) -> Tensor:
    """Put a mask of stored columns back into the logical order of the columns."""
    if order is None:
        return stored
    mask = torch.empty_like(stored)
    mask[:, order] = stored
    return mask


def _segments_mask(magnitude: Tensor, kept: int, block: int, segments: Sequence[int] | None) -> Tensor:
    columns = magnitude.shape[1]
    widths = (columns,) if segments is None else tuple(segments)
    if sum(widths) != columns or min(widths, default=0) < 1:
        raise DarbError(f"segments {widths}: give widths that sum to {columns}, the columns of the matrix")
    return torch.cat([_blocks_mask(part, kept, block) for part in magnitude.split(widths, dim=1)], dim=1)


def _blocks_mask(magnitude: Tensor, kept: int, block: int) -> Tensor:
    rows, columns = magnitude.shape
    block = min(block, columns)
    if kept >= block:
        return torch.ones(rows, columns, dtype=torch.bool)
    # Columns past the end are worth less than every real one, zeros included, and are cut off afterwards.
    padded = torch.nn.functional.pad(magnitude, (0, -columns % block), value=-1.0)
    padded = padded.reshape(rows, -1, block)
    if kept == 1:
        best = padded.argmax(dim=2, keepdim=True)
    else:
        best = padded.sort(dim=2, descending=True, stable=True).indices[:, :, :kept]
    mask = torch.zeros(padded.shape, dtype=torch.bool).scatter_(2, best, True)
    return mask.reshape(rows, -1)[:, :columns]


def blocks(
    weights: Sequence[Tensor],
    kept: int,
    shape: tuple[int, int] = (4, 4),
    scope: str = "global",
    saliency: Sequence[Tensor] | None = None,
) -> list[Tensor]:
    """Block magnitude pruning: keep whole blocks of ``shape``, the largest mean square first.

    Blocks at the lower and the right border can be partial; their mean is over the elements they have. A block
    that does not fit into the rest of the budget is left out, and smaller ones are tried. So the unused budget is
    smaller than one full block (in each layer with ``scope="layer"``).

    Parameters
    ----------
    weights : sequence of tensors of shape (rows, columns)
    kept : int
        Weights to keep at most, of all matrices together.
    shape : (int, int)
        Rows and columns of a block.
    scope : "global" or "layer"
        Whether the matrices compete, or each has a share of the budget in proportion to its weights.
    saliency : sequence of tensors shaped like ``weights``, optional
        What each weight is worth, 0 or more, instead of its square.

    Returns
    -------
    Boolean masks shaped like ``weights``.
    """
    height, width = shape
    if height < 1 or width < 1:
        raise DarbError(f"block shape {height}x{width}: give at least 1 row and 1 column")
    _check_scope(scope)
    worths = _squares(weights) if saliency is None else _checked(saliency, weights)
    if scope == "layer":
        shares = zip(worths, _shares(weights, kept), strict=True)
        return [blocks([worth], share, shape, saliency=[worth])[0] for worth, share in shares]
    _check_kept(kept)
    sums, areas = [], []
    for worth in worths:
        rows, columns = worth.shape
        padded = torch.nn.functional.pad(worth.double(), (0, -columns % width, 0, -rows % height))
        sums.append(padded.reshape(-(-rows // height), height, -(-columns // width), width).sum(dim=(1, 3)))
        areas.append(torch.outer(_sizes(rows, height), _sizes(columns, width)))
    flat_areas = torch.cat([area.flatten() for area in areas])
    means = torch.cat([total.flatten() for total in sums]) / flat_areas
    best = means.argsort(descending=True, stable=True)
    taken = torch.zeros(len(flat_areas), dtype=torch.bool)
    taken[best[_fitting(flat_areas[best], kept)]] = True
    masks = []
    for grid, area, weight in zip(taken.split([area.numel() for area in areas]), areas, weights, strict=True):
        whole = grid.reshape(area.shape).repeat_interleave(height, 0).repeat_interleave(width, 1)
        masks.append(whole[: weight.shape[0], : weight.shape[1]])
    return masks


def _sizes(length: int, size: int) -> Tensor:
    """Sizes of the pieces when ``length`` elements are cut every ``size`` elements."""
    return (length - torch.arange(0, length, size)).clamp(max=size)


def _fitting(sizes: Tensor, room: int) -> Tensor:
    """Indices of the ``sizes`` that are taken: from first to last, whatever still fits into ``room``."""
    candidates, taken = torch.arange(len(sizes)), []
    while len(candidates):
        total = sizes[candidates].cumsum(0)
        count = int((total <= room).sum())
        taken.append(candidates[:count])
        room -= int(total[count - 1]) if count else 0
        rest = candidates[count:]
        candidates = rest[sizes[rest] <= room]
    return torch.cat([*taken, torch.arange(0)])


def structured(
    weights: Sequence[Tensor],
    kept: int,
    rows: bool = True,
    columns: bool = True,
    scope: str = "global",
    saliency: Sequence[Tensor] | None = None,
) -> list[Tensor]:
    """Structured pruning: remove whole rows and columns, the least mean square first.

    Each turn removes one row or column: the one whose remaining weights have the least mean square in all
    matrices. Then the means of the smaller matrix are computed anew. The turns end when at most ``kept`` weights
    remain. Of equal means the first goes: by matrix, then rows before columns. The unused budget is smaller than
    the row or column removed last. The last row and the last column of a matrix stay as long as the budget allows
    it; after that whole matrices go, the least mean square first.

    Parameters
    ----------
    weights : sequence of tensors of shape (rows, columns)
    kept : int
        Weights to keep at most, of all matrices together.
    rows, columns : bool
        What may be removed.
    scope, saliency
        As for :func:`blocks`.

    Returns
    -------
    Boolean masks shaped like ``weights``, each the outer product of its kept rows and its kept columns.
    """
    if not (rows or columns):
        raise DarbError("structured pruning: allow rows, columns or both")
    _check_scope(scope)
    worths = _squares(weights) if saliency is None else _checked(saliency, weights)
    if scope == "layer":
        shares = zip(worths, _shares(weights, kept), strict=True)
        return [structured([worth], share, rows, columns, saliency=[worth])[0] for worth, share in shares]
    _check_kept(kept)
    axes = [axis for axis, allowed in enumerate((rows, columns)) if allowed]
    matrices = [_Remaining(worth.double().numpy(), axes) for worth in worths]
    weakest = [matrix.weakest() for matrix in matrices]
    left = sum(matrix.size for matrix in matrices)
    while left > kept:
        target = min(range(len(matrices)), key=lambda i: weakest[i][0])
        mean, axis, index = weakest[target]
        if mean == np.inf:
            break
        left -= matrices[target].drop(axis, index)
        weakest[target] = matrices[target].weakest()
    for matrix in sorted(matrices, key=lambda matrix: matrix.mean):
        if left > kept:
            left -= matrix.clear()
    return [torch.from_numpy(np.outer(*matrix.alive)) for matrix in matrices]


class _Remaining:
    """The rows and columns left of a matrix. Their sums follow each removal."""

    def __init__(self, worth: np.ndarray, axes: list[int]) -> None:
        self.worth = worth
        self.axes = axes
        self.alive = [np.ones(length, bool) for length in worth.shape]
        self.count = list(worth.shape)
        self.sums = [worth.sum(axis=1), worth.sum(axis=0)]

    @property
    def size(self) -> int:
        return self.count[0] * self.count[1]

    @property
    def mean(self) -> float:
        return float(self.sums[0][self.alive[0]].sum()) / max(self.size, 1)

    def weakest(self) -> tuple[float, int, int]:
        """Mean, axis and index of the weakest row or column, the last of an axis left out; mean ``inf`` for none."""
        candidates = [(np.inf, 0, 0)]
        for axis in self.axes:
            if self.count[axis] > 1:
                index = int(np.argmin(self.sums[axis]))
                candidates.append((float(self.sums[axis][index]) / self.count[1 - axis], axis, index))
        return min(candidates)

    def drop(self, axis: int, index: int) -> int:
        """Remove a row (axis 0) or column (axis 1); return how many weights were left in it."""
        self.sums[1 - axis] -= self.worth.take(index, axis)
        self.sums[axis][index] = np.inf  # never the weakest again
        self.alive[axis][index] = False
        self.count[axis] -= 1
        return self.count[1 - axis]

    def clear(self) -> int:
        """Remove all that is left; return how many weights that were."""
        size, self.count = self.size, [0, 0]
        for alive in self.alive:
            alive[:] = False
        return size


def _squares(weights: Sequence[Tensor]) -> list[Tensor]:
    return [weight.detach().double().square() for weight in weights]


def _checked(saliency: Sequence[Tensor], weights: Sequence[Tensor]) -> list[Tensor]:
    if len(saliency) != len(weights):
        raise DarbError(f"saliency: {len(saliency)} tensors for {len(weights)} matrices; give one for each")
    for index, (worth, weight) in enumerate(zip(saliency, weights, strict=True)):
        if worth.shape != weight.shape:
            raise DarbError(f"saliency {index} has shape {tuple(worth.shape)}, its weights {tuple(weight.shape)}")
        if not bool((worth >= 0).all()):
            raise DarbError(f"saliency {index}: values must be numbers from 0 up")
    return [worth.detach() for worth in saliency]


def _shares(weights: Sequence[Tensor], kept: int) -> list[int]:
    total = sum(weight.numel() for weight in weights)
    return [kept * weight.numel() // total for weight in weights]


def _check_kept(kept: int) -> None:
    if kept < 0:
        raise DarbError(f"kept {kept}: give the number of weights to keep, 0 or more")


def _check_scope(scope: str) -> None:
    if scope not in ("global", "layer"):
        raise DarbError(f"scope {scope!r}: choose global or layer")
