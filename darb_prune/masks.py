"""Sparsity patterns as pure functions: weight matrix -> boolean mask of the kept weights."""

from collections.abc import Sequence

import torch
from torch import Tensor

from darb_prune.container import DarbError
from darb_prune.encoded import EMPTY, Level

__all__ = ["bank_balanced", "bmwm", "irregular", "level_mask", "level_rows", "n_of_m", "power_of_two"]


def power_of_two(value: int, what: str) -> int:
    """``log2(value)``; :class:`DarbError` naming ``what`` unless ``value`` is a power of two, at least 1."""
    if value < 1 or value & (value - 1):
        raise DarbError(f"{what} {value} must be a power of two")
    return value.bit_length() - 1


def level_rows(level: Level, rows: int) -> Tensor:
    """The per-row level table of a matrix whose rows all have ``level``: int16, shape (rows, 2)."""
    return torch.tensor([[level.bits, level.kept]], dtype=torch.int16).repeat(rows, 1)


def irregular(weight: Tensor | Sequence[Tensor], ratio: float, scope: str = "global") -> Tensor | list[Tensor]:
    """Keep the ``floor(weights / ratio)`` weights of largest magnitude.

    Parameters
    ----------
    weight : tensor of shape (rows, columns), or a sequence of them
    ratio : float
        Pruning ratio, at least 1.
    scope : "global" or "layer"
        Whether the matrices of a sequence share one threshold or each keeps its own share.

    Returns
    -------
    Boolean mask of the shape of ``weight``; a list of them for a sequence.
    """
    if isinstance(weight, Tensor):
        return irregular([weight], ratio, scope)[0]
    if not ratio >= 1:
        raise DarbError(f"ratio {ratio} must be at least 1")
    if scope not in ("global", "layer"):
        raise DarbError(f"scope {scope!r}: choose global or layer")
    if scope == "layer":
        return [irregular([one], ratio)[0] for one in weight]
    flat = torch.cat([one.detach().abs().flatten() for one in weight])
    mask = torch.zeros(len(flat), dtype=torch.bool)
    mask[torch.topk(flat, int(len(flat) / ratio), sorted=False).indices] = True
    parts = mask.split([one.numel() for one in weight])
    return [part.reshape(one.shape) for part, one in zip(parts, weight, strict=True)]


def level_mask(weight: Tensor, levels: Tensor, order: Tensor | None = None) -> Tensor:
    """Keep, in every block of every row, the ``m`` weights of largest magnitude (the first of equals).

    Blocks are cut from the columns in storage order. A block of fewer than ``m`` columns (the last one of a
    row can be partial) is kept whole.

    Parameters
    ----------
    weight : tensor of shape (rows, columns)
        In logical order of its columns.
    levels : integer tensor of shape (rows, 2)
        ``(b, m)`` of each row; ``(0, 0)`` keeps nothing.
    order : int64 tensor of shape (columns,), optional
        ``order[position]`` is the column stored at ``position``; identity if absent.

    Returns
    -------
    Boolean tensor of shape (rows, columns), in logical order.
    """
    rows, columns = weight.shape
    if levels.shape != (rows, 2):
        raise DarbError(f"levels of shape {tuple(levels.shape)} for a matrix of {rows} rows; ({rows}, 2) is needed")
    magnitude = weight.detach().abs()
    if order is not None:
        if not torch.equal(order.sort().values, torch.arange(columns)):
            raise DarbError(f"order is no permutation of {columns} columns")
        magnitude = magnitude[:, order]
    stored = torch.zeros(rows, columns, dtype=torch.bool)
    for bits, kept in torch.unique(levels, dim=0).tolist():
        level = Level(bits, kept)
        if level == EMPTY:
            continue
        here = ((levels[:, 0] == bits) & (levels[:, 1] == kept)).nonzero()[:, 0]
        stored[here] = _blocks_mask(magnitude[here], level)
    if order is None:
        return stored
    mask = torch.empty_like(stored)
    mask[:, order] = stored
    return mask


def _blocks_mask(magnitude: Tensor, level: Level) -> Tensor:
    rows, columns = magnitude.shape
    if level.kept == level.block:
        return torch.ones(rows, columns, dtype=torch.bool)
    blocks = -(-columns // level.block)
    # Columns past the end rank below every real one, zeros included, and are cut off afterwards.
    padded = torch.nn.functional.pad(magnitude, (0, blocks * level.block - columns), value=-1.0)
    padded = padded.reshape(rows, blocks, level.block)
    if level.kept == 1:
        best = padded.argmax(dim=2, keepdim=True)
    else:
        best = padded.sort(dim=2, descending=True, stable=True).indices[:, :, : level.kept]
    mask = torch.zeros(padded.shape, dtype=torch.bool).scatter_(2, best, True)
    return mask.reshape(rows, -1)[:, :columns]


def bmwm(weight: Tensor, k: int, order: Tensor | None = None) -> Tensor:
    """Block-max weight masking: one kept weight per block of ``k`` (a power of two) consecutive columns."""
    return level_mask(weight, level_rows(Level(power_of_two(k, "block size"), 1), len(weight)), order)


def bank_balanced(weight: Tensor, bank: int, kept: int, order: Tensor | None = None) -> Tensor:
    """Keep ``kept`` weights in each bank of ``bank`` (a power of two) columns: the level (log2 bank, kept)."""
    return level_mask(weight, level_rows(Level(power_of_two(bank, "bank size"), kept), len(weight)), order)


def n_of_m(weight: Tensor, n: int, m: int, order: Tensor | None = None) -> Tensor:
    """N:M sparsity: keep ``n`` of every ``m`` (a power of two) columns: the level (log2 m, n)."""
    return level_mask(weight, level_rows(Level(power_of_two(m, "N:M group of"), n), len(weight)), order)
