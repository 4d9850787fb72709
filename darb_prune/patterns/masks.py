"""Sparsity patterns as pure functions: weight matrix -> boolean mask of the kept weights.

Matrices have shape (rows, columns), columns in reading order. Of equal weights the first is kept, in order of
matrix, row and column, so that a mask depends on its arguments alone.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from darb_prune.encoded import EMPTY, Level
from darb_prune.errors import DarbError

__all__ = [
    "bank_balanced",
    "blocks",
    "bmwm",
    "irregular",
    "level_mask",
    "level_rows",
    "logical",
    "n_of_m",
    "power_of_two",
    "structured",
]


def power_of_two(value: int, what: str) -> int:
    """``log2(value)``; :class:`DarbError` naming ``what`` unless ``value`` is a power of two, at least 1."""
    if value < 1 or value & (value - 1):
        raise DarbError(f"{what} {value} must be a power of two")
    return value.bit_length() - 1


def level_rows(level: Level, rows: int) -> Tensor:
    """The per-row level table of a matrix whose rows all have ``level``: int16, shape (rows, 2)."""
    return torch.tensor([[level.bits, level.kept]], dtype=torch.int16).repeat(rows, 1)


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
    if isinstance(weight, Tensor):
        return irregular([weight], ratio, scope, None if saliency is None else [saliency])[0]
    if not ratio >= 1:
        raise DarbError(f"ratio {ratio} must be at least 1")
    _check_scope(scope)
    worth = [one.detach().abs() for one in weight] if saliency is None else _checked(saliency, weight)
    if scope == "layer":
        return [irregular([one], ratio, saliency=[its])[0] for one, its in zip(weight, worth, strict=True)]
    flat = torch.cat([one.flatten() for one in worth])
    parts = _largest(flat, int(len(flat) / ratio)).split([one.numel() for one in weight])
    return [part.reshape(one.shape) for part, one in zip(parts, weight, strict=True)]


def _largest(flat: Tensor, kept: int) -> Tensor:
    """Mask of the ``kept`` largest values; of equal ones the first (``torch.topk`` takes any of them)."""
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

    Blocks are cut from the columns in storage order, each segment by itself. A block of fewer than ``m``
    columns (the last one of a segment can be partial) is kept whole.

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
        here = ((levels[:, 0] == bits) & (levels[:, 1] == kept)).nonzero()[:, 0]
        stored[here] = _segments_mask(magnitude[here], level.kept, level.block, segments)
    return logical(stored, order)


def bmwm(weight: Tensor, k: int, order: Tensor | None = None, segments: Sequence[int] | None = None) -> Tensor:
    """Block-max weight masking: one kept weight per block of ``k`` (a power of two) consecutive columns."""
    return level_mask(weight, level_rows(Level(power_of_two(k, "block size"), 1), len(weight)), order, segments)


def bank_balanced(
    weight: Tensor, bank: int, kept: int, order: Tensor | None = None, segments: Sequence[int] | None = None
) -> Tensor:
    """Keep ``kept`` weights in each bank of ``bank`` (a power of two) columns: the level (log2 bank, kept)."""
    return level_mask(weight, level_rows(Level(power_of_two(bank, "bank size"), kept), len(weight)), order, segments)


def n_of_m(
    weight: Tensor, n: int, m: int, order: Tensor | None = None, segments: Sequence[int] | None = None
) -> Tensor:
    """N:M sparsity: keep ``n`` of every ``m`` consecutive columns, for any ``1 <= n <= m``.

    ``order`` and ``segments`` as for :func:`level_mask`; a last group of fewer than ``n`` columns is kept whole.
    With ``m`` a power of two it is the level ``(log2 m, n)``.
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
    """A mask of the columns in storage order, back in the order of the columns themselves."""
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
    # Columns past the end rank below every real one, zeros included, and are cut off afterwards.
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
    """Block magnitude pruning: whole blocks of ``shape``, those of largest mean square first.

    Blocks at the lower and right border can be partial; their mean is over the elements they have. A block
    that no longer fits into the budget is passed over and smaller ones are tried, so that fewer weights than
    one full block are left over (per layer with ``scope="layer"``).

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
    worth = _squares(weights) if saliency is None else _checked(saliency, weights)
    if scope == "layer":
        shares = zip(worth, _shares(weights, kept), strict=True)
        return [blocks([one], share, shape, saliency=[one])[0] for one, share in shares]
    _check_kept(kept)
    sums, areas = [], []
    for one in worth:
        rows, columns = one.shape
        padded = torch.nn.functional.pad(one.double(), (0, -columns % width, 0, -rows % height))
        sums.append(padded.reshape(-(-rows // height), height, -(-columns // width), width).sum(dim=(1, 3)))
        areas.append(torch.outer(_sizes(rows, height), _sizes(columns, width)))
    area = torch.cat([one.flatten() for one in areas])
    mean = torch.cat([one.flatten() for one in sums]) / area
    best = mean.argsort(descending=True, stable=True)
    taken = torch.zeros(len(area), dtype=torch.bool)
    taken[best[_fitting(area[best], kept)]] = True
    return [
        grid.reshape(one.shape).repeat_interleave(height, 0).repeat_interleave(width, 1)[: len(weight), : len(weight.T)]
        for grid, one, weight in zip(taken.split([one.numel() for one in areas]), areas, weights, strict=True)
    ]


def _sizes(length: int, size: int) -> Tensor:
    """Elements in each of the pieces of ``size`` that ``length`` is cut into."""
    return (length - torch.arange(0, length, size)).clamp(max=size)


def _fitting(sizes: Tensor, room: int) -> Tensor:
    """Places of the ``sizes`` taken when, from first to last, everything is taken that still fits."""
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
    """Structured pruning: whole rows and columns are removed, the one of least mean square first.

    One at a time, the row or column whose remaining weights have the least mean square is dropped, of all
    matrices, until ``kept`` weights remain at most; means are then those of the smaller matrix. Of equal ones
    the first goes, by matrix, rows before columns. What is missing to ``kept`` is less than the last row or
    column dropped. A matrix keeps a row and a column as long as the budget allows it; after that whole
    matrices go, least mean square first.

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
    worth = _squares(weights) if saliency is None else _checked(saliency, weights)
    if scope == "layer":
        shares = zip(worth, _shares(weights, kept), strict=True)
        return [structured([one], share, rows, columns, saliency=[one])[0] for one, share in shares]
    _check_kept(kept)
    axes = [axis for axis, allowed in enumerate((rows, columns)) if allowed]
    matrices = [_Remaining(one.double().numpy(), axes) for one in worth]
    weakest = [matrix.weakest() for matrix in matrices]
    left = sum(matrix.size for matrix in matrices)
    while left > kept:
        number = min(range(len(matrices)), key=lambda i: weakest[i][0])
        mean, axis, index = weakest[number]
        if mean == np.inf:
            break
        left -= matrices[number].drop(axis, index)
        weakest[number] = matrices[number].weakest()
    for matrix in sorted(matrices, key=lambda matrix: matrix.mean):
        if left > kept:
            left -= matrix.clear()
    return [torch.from_numpy(np.outer(*matrix.alive)) for matrix in matrices]


class _Remaining:
    """The rows and columns left of one matrix, and their sums, kept up to date from drop to drop."""

    def __init__(self, worth: np.ndarray, axes: list[int]):
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
        """Mean, axis and index of the weakest row or column that is not the last; mean ``inf`` if there is none."""
        found = [(np.inf, 0, 0)]
        for axis in self.axes:
            if self.count[axis] > 1:
                index = int(np.argmin(self.sums[axis]))
                found.append((float(self.sums[axis][index]) / self.count[1 - axis], axis, index))
        return min(found)

    def drop(self, axis: int, index: int) -> int:
        """Remove a row (axis 0) or column (axis 1); returns the number of weights it had left."""
        self.sums[1 - axis] -= self.worth.take(index, axis)
        self.sums[axis][index] = np.inf  # never the weakest again
        self.alive[axis][index] = False
        self.count[axis] -= 1
        return self.count[1 - axis]

    def clear(self) -> int:
        """Remove all that is left; returns the number of weights."""
        size, self.count = self.size, [0, 0]
        for alive in self.alive:
            alive[:] = False
        return size


def _squares(weights: Sequence[Tensor]) -> list[Tensor]:
    return [weight.detach().double().square() for weight in weights]


def _checked(saliency: Sequence[Tensor], weights: Sequence[Tensor]) -> list[Tensor]:
    if len(saliency) != len(weights):
        raise DarbError(f"saliency: {len(saliency)} tensors for {len(weights)} matrices; give one for each")
    for number, (one, weight) in enumerate(zip(saliency, weights, strict=True)):
        if one.shape != weight.shape:
            raise DarbError(f"saliency {number} has shape {tuple(one.shape)}, its weights {tuple(weight.shape)}")
        if not bool((one >= 0).all()):
            raise DarbError(f"saliency {number}: values must be numbers from 0 up")
    return [one.detach() for one in saliency]


def _shares(weights: Sequence[Tensor], kept: int) -> list[int]:
    total = sum(weight.numel() for weight in weights)
    return [kept * weight.numel() // total for weight in weights]


def _check_kept(kept: int) -> None:
    if kept < 0:
        raise DarbError(f"kept {kept}: give the number of weights to keep, 0 or more")


def _check_scope(scope: str) -> None:
    if scope not in ("global", "layer"):
        raise DarbError(f"scope {scope!r}: choose global or layer")
