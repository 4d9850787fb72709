"""The patterns with the same blocks for all rows: the densest one that a ratio allows."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from darb_prune.encoded import BLOCK_BITS_MAX, DENSE, Level
from darb_prune.errors import DarbError
from darb_prune.patterns import masks
from darb_prune.patterns.allocation import clip
from darb_prune.pruning.methods import BMWM, NM, BankBalanced

__all__ = ["Choice", "uniform"]


@dataclass(frozen=True, eq=False)
class Choice:
    """What is kept of a layer; all of it if there is neither a mask nor levels.

    Parameters
    ----------
    mask : bool tensor of shape (rows, columns), optional
    levels : int16 tensor of shape (rows, 2), optional
        Instead of a mask.
    order : int64 tensor of shape (columns,), optional
        Storage order of the columns that blocks are cut from.
    group : int, optional
        Columns of a block of a mask without levels.
    kept : int, optional
        Weights kept in each of such blocks, if there are as many in all.
    shape : (int, int), optional
        Rows and columns of a block of such a mask, where whole blocks are kept.
    worth : tensor of shape (rows, columns), optional
        Of each weight, in logical order: a block of ``levels`` keeps those that are worth most. Magnitudes if absent.
    """

    mask: Tensor | None = None
    levels: Tensor | None = None
    order: Tensor | None = None
    group: int | None = None
    kept: int | None = None
    shape: tuple[int, int] | None = None
    worth: Tensor | None = None

    @property
    def blocks(self) -> tuple[int, int] | None:
        """Columns of a block and weights kept in each, of a mask without levels that has such blocks."""
        return None if self.group is None or self.kept is None else (self.group, self.kept)


def uniform(
    method: BMWM | BankBalanced | NM,
    stored: list[Tensor],
    orders: list[Tensor],
    widths: list[tuple[int, ...]],
    room: float,
    ratio: float,
) -> list[Choice]:
    """The densest pattern with the same blocks everywhere that keeps at most ``room`` weights.

    Parameters
    ----------
    method : BMWM, BankBalanced or NM
    stored : list of tensors of shape (rows, columns)
        In storage order.
    orders : list of int64 tensors of shape (columns,)
        The storage orders.
    widths : list of tuples of int
        Segments of the rows.
    room, ratio : float

    Raises
    ------
    DarbError
        If no pattern of the method keeps so few weights.
    """
    group = method.group
    kept = None if isinstance(method, BMWM) else method.kept
    if kept is not None or (group is not None and group & (group - 1)):
        return _any_group(method, stored, orders, widths, room, ratio, group, kept)
    first = (method.default_group if group is None else group).bit_length() - 1
    most = 1 if isinstance(method, BMWM) else 1 << first
    menu = [DENSE, *(Level(first, count) for count in range(most, 0, -1))]
    menu += [Level(bits, 1) for bits in range(first + 1, BLOCK_BITS_MAX + 1)]
    left = 0
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


def _any_group(
    method: BMWM | BankBalanced | NM,
    stored: list[Tensor],
    orders: list[Tensor],
    widths: list[tuple[int, ...]],
    room: float,
    ratio: float,
    group: int | None,
    kept: int | None,
) -> list[Choice]:
    """``kept`` weights in each block, which gives the columns of ``ratio`` or the next more; or so many columns."""
    if kept is not None:
        widest = max(max(parts) for parts in widths)
        if kept > widest:
            raise DarbError(f"kept {kept}: the widest rows have segments of {widest} columns; give less")
        sizes = [(kept, size) for size in range(max(kept, min(int(kept * ratio), widest)), widest + 1)]
    else:
        assert group is not None
        sizes = [(count, group) for count in range(max(int(group / ratio), 1), 0, -1)]
    left = 0
    for count, size in sizes:
        left = sum(len(weight) * _kept(parts, count, size) for weight, parts in zip(stored, widths, strict=True))
        if left <= room * (1 + 1e-9):
            if not size & (size - 1):
                return _everywhere(Level(size.bit_length() - 1, count), stored, orders, widths)
            both = zip(stored, widths, strict=True)
            kept_of = [masks.n_of_m(weight, count, size, segments=parts) for weight, parts in both]
            return [
                Choice(masks.logical(mask, order), order=order, group=min(size, max(parts)), kept=count)
                for mask, order, parts in zip(kept_of, orders, widths, strict=True)
            ]
    raise _too_many(method, left, room)


def _kept(parts: Sequence[int], count: int, size: int) -> int:
    """Weights kept of a row."""
    return sum(width // size * count + min(width % size, count) for width in parts)


def _too_many(method: BMWM | BankBalanced | NM, left: int, room: float) -> DarbError:
    return DarbError(
        f"method {method.name} keeps at least {left} weights, the ratio allows {room:.0f}; lower the ratio"
    )
