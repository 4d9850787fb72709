"""The patterns that need no allocation: what each method keeps of all layers at a given ratio."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from darb_prune.encoded import BLOCK_BITS_MAX, DENSE, Level
from darb_prune.errors import DarbError
from darb_prune.patterns import masks
from darb_prune.patterns.allocation import clip

__all__ = ["FREE", "UNIFORM", "Choice", "free", "uniform"]

UNIFORM = ("bmwm", "bank", "nm")
"""The same blocks for all rows."""
FREE = ("irregular", "block", "structured", "rows", "columns")
"""Masks without levels."""
BANK = 64
"""Columns of a bank of ``method="bank"``, unless the ratio asks for larger ones."""
GROUP = 16
"""The M of ``method="nm"``, unless the ratio asks for a larger one."""


@dataclass(frozen=True, eq=False)
class Choice:
    """What is kept of a layer: nothing given, all of it.

    Parameters
    ----------
    mask : bool tensor of shape (rows, columns), optional
    levels : int16 tensor of shape (rows, 2), optional
        Instead of a mask.
    order : int64 tensor of shape (columns,), optional
        Storage order of the columns that blocks are cut from.
    group : int, optional
        Columns of a block of a mask without levels.
    """

    mask: Tensor | None = None
    levels: Tensor | None = None
    order: Tensor | None = None
    group: int | None = None


def free(method: str, matrices: list[Tensor], room: float, shape: tuple[int, int], scope: str) -> list[Choice]:
    """Masks that keep at most ``room`` weights of all matrices together."""
    if method == "irregular":
        found = masks.irregular(matrices, sum(matrix.numel() for matrix in matrices) / room, scope)
    elif method == "block":
        found = masks.blocks(matrices, int(room), shape, scope)
    else:
        which = {"structured": (True, True), "rows": (True, False), "columns": (False, True)}[method]
        found = masks.structured(matrices, int(room), *which, scope=scope)
    return [Choice(mask) for mask in found]


def uniform(
    method: str,
    stored: list[Tensor],
    orders: list[Tensor],
    widths: list[tuple[int, ...]],
    room: float,
    ratio: float,
    group: int | None,
    kept: int | None,
) -> list[Choice]:
    """The densest pattern with the same blocks everywhere that keeps at most ``room`` weights.

    Parameters
    ----------
    method : "bmwm", "bank" or "nm"
    stored : list of tensors of shape (rows, columns)
        In storage order.
    orders : list of int64 tensors of shape (columns,)
        The storage orders.
    widths : list of tuples of int
        Segments of the rows.
    room, ratio : float
    group, kept : int, optional
        Columns of a block; or weights kept in each, which gives the group of ``ratio`` or the next larger one.
    """
    for name, value in (("group", group), ("kept", kept)):
        if value is not None and value < 1:
            raise DarbError(f"{name} {value} must be at least 1")
    if group is not None and kept is not None:
        raise DarbError("group and kept exclude each other; the ratio gives the one from the other")
    if kept is not None or (group is not None and group & (group - 1)):
        if method == "bmwm":
            raise DarbError("method bmwm: blocks are powers of two with one weight each; choose bank or nm for others")
        return _any_group(method, stored, orders, widths, room, ratio, group, kept)
    first = ({"bmwm": 1, "bank": BANK, "nm": GROUP}[method] if group is None else group).bit_length() - 1
    most = 1 if method == "bmwm" else 1 << first
    menu = [DENSE, *(Level(first, count) for count in range(most, 0, -1))]
    menu += [Level(bits, 1) for bits in range(first + 1, BLOCK_BITS_MAX + 1)]
    for level in menu:
        left = sum(
            len(weight) * sum(level.weights(width) for width in parts)
            for weight, parts in zip(stored, widths, strict=True)
        )
        if left <= room * (1 + 1e-9):
            return _everywhere(level, stored, orders, widths)
    raise _too_many(method, left, room)


def _everywhere(
    level: Level, stored: list[Tensor], orders: list[Tensor], widths: list[tuple[int, ...]]
) -> list[Choice]:
    """``level`` for all rows of all layers."""
    return [
        Choice(None, masks.level_rows(clip(level, parts), len(weight)), order)
        for weight, order, parts in zip(stored, orders, widths, strict=True)
    ]


def _any_group(method, stored, orders, widths, room, ratio, group, kept) -> list[Choice]:
    if group is None:
        widest = max(max(parts) for parts in widths)
        if kept > widest:
            raise DarbError(f"kept {kept}: the widest rows have segments of {widest} columns; give less")
        sizes = ((kept, size) for size in range(max(kept, min(int(kept * ratio), widest)), widest + 1))
    else:
        sizes = ((count, group) for count in range(max(int(group / ratio), 1), 0, -1))
    for count, size in sizes:
        left = sum(len(weight) * _kept(parts, count, size) for weight, parts in zip(stored, widths, strict=True))
        if left <= room * (1 + 1e-9):
            if not size & (size - 1):
                return _everywhere(Level(size.bit_length() - 1, count), stored, orders, widths)
            both = zip(stored, widths, strict=True)
            found = [masks.n_of_m(weight, count, size, segments=parts) for weight, parts in both]
            return [
                Choice(masks.logical(mask, order), order=order, group=min(size, max(parts)))
                for mask, order, parts in zip(found, orders, widths, strict=True)
            ]
    raise _too_many(method, left, room)


def _kept(parts: Sequence[int], count: int, size: int) -> int:
    """Weights kept of a row."""
    return sum(width // size * count + min(width % size, count) for width in parts)


def _too_many(method: str, left: int, room: float) -> DarbError:
    return DarbError(f"method {method} keeps at least {left} weights, the ratio allows {room:.0f}; lower the ratio")
