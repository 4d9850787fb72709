"""Stored bits of a sparsity pattern in its best-known encoding, counted exactly.

They allow comparing methods at equal bits and not only at equal ratio. A count holds what an encoder of the format
writes for the mask, fill and padding included. It is all that a decoder needs who knows the shape, the weight bits and
the parameters of the format. Only NumPy is needed; masks may be torch tensors.

A mask is a bool matrix of shape (rows, columns), its columns in storage order. Widths of fields are rounded up to whole
bits.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import comb
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike

from darb_prune.encoded import Level
from darb_prune.errors import DarbError

__all__ = [
    "METHODS",
    "Storage",
    "bitmap",
    "blocks",
    "by_level",
    "coordinate",
    "dense",
    "irregular",
    "n_of_m",
    "run_length",
    "stored_bits",
    "structured",
]

METHODS = ("dense", "irregular", "darb", "mixed", "bmwm", "bank", "nm", "block", "structured", "rows", "columns")
RUN_BITS_MAX = 16
"""Widest field that :func:`run_length` tries."""

_T = TypeVar("_T")


@dataclass(frozen=True)
class Storage:
    """The stored bits of a matrix.

    Parameters
    ----------
    bits : int
        Bits of weights, indices and fill, and of the parameters of each row.
    encoding : str
        Name of the encoding, as in ``"run-length 4"``.
    """

    bits: int
    encoding: str


def dense(mask: ArrayLike, weight_bits: int) -> Storage:
    """Every weight, kept or not."""
    return Storage(_checked(mask, weight_bits).size * weight_bits, "dense")


def bitmap(mask: ArrayLike, weight_bits: int) -> Storage:
    """A bit for each position, then the kept weights."""
    mask = _checked(mask, weight_bits)
    return Storage(mask.size + _count(mask) * weight_bits, "bitmap")


def coordinate(mask: ArrayLike, weight_bits: int) -> Storage:
    """Compressed sparse rows: the number of kept weights of each row; column and weight of each of them."""
    mask = _checked(mask, weight_bits)
    rows, columns = mask.shape
    bits = _count(mask) * (weight_bits + _width(columns)) + rows * _width(columns + 1)
    return Storage(bits, "coordinate")


def run_length(mask: ArrayLike, weight_bits: int) -> Storage:
    """Relative index: each weight with the number of zeros before it, in the run bits that cost least.

    As in EIE (Han et al., ISCA 2016). With ``r`` run bits an entry is (run of 0 to ``2**r - 1``, weight). A longer run
    of zeros takes padding entries: a full run and a weight of zero, which are ``2**r`` positions together. In EIE runs
    go down the columns of a processing element. Here they go along a row and start again with each row, and the
    number of entries of each row is stored. Zeros after the last weight of a row cost nothing.
    """
    mask = _checked(mask, weight_bits)
    rows, columns = mask.shape
    position = np.flatnonzero(mask)
    gap = np.diff(position, prepend=0) - 1
    entries = np.count_nonzero(mask, axis=1)
    first = (np.cumsum(entries) - entries)[entries > 0]
    gap[first] = position[first] % columns
    # Few gaps differ. They are counted first, so that trying all widths is quick.
    gaps = np.bincount(gap, minlength=1)
    bits, run_bits = min(
        (int(gaps @ (1 + (np.arange(len(gaps)) >> run_bits))) * (weight_bits + run_bits), run_bits)
        for run_bits in range(1, RUN_BITS_MAX + 1)
    )
    return Storage(bits + rows * _width(columns + 1), f"run-length {run_bits}")


def irregular(mask: ArrayLike, weight_bits: int) -> Storage:
    """The cheapest encoding that takes any mask."""
    return _cheapest(encode(mask, weight_bits) for encode in (dense, bitmap, coordinate, run_length))


def n_of_m(mask: ArrayLike, weight_bits: int, n: int, m: int, segments: Sequence[int] | None = None) -> Storage:
    """N:M: ``n`` weights of every group of ``m`` columns, filled up, and the cheaper of two kinds of index.

    One is an index in each code. The other is a number for each group: the rank of its subset among all
    ``comb(m, n)``.
    """
    mask = _checked(mask, weight_bits)
    if not 1 <= n <= m:
        raise DarbError(f"N:M {n}:{m}: a group of {m} keeps 1 to {m}")
    widths = _segments(segments, mask.shape[1])
    _check_blocks(mask, np.arange(len(mask)), widths, n, m)
    groups = len(mask) * sum(-(-width // m) for width in widths)
    return _cheapest(
        [
            Storage(groups * n * (weight_bits + _width(m)), f"{n}:{m} indices"),
            Storage(groups * (n * weight_bits + _width(comb(m, n))), f"{n}:{m} subsets"),
        ]
    )


def by_level(mask: ArrayLike, weight_bits: int, levels: ArrayLike, segments: Sequence[int] | None = None) -> Storage:
    """DARB, BMWM and bank-balanced rows as the engine stores them: codes, and the level of each row.

    Parameters
    ----------
    mask : bool array of shape (rows, columns)
    weight_bits : int
    levels : integer array of shape (rows, 2)
        ``(b, m)`` of each row. Its codes are ``weight_bits + b`` bits wide. Their number, fill included, follows from
        the segments (:meth:`darb_prune.encoded.Level.codes`).
    segments : sequence of int, optional
        Widths of the segments; their sum is ``columns``.

    Raises
    ------
    DarbError
        If a block keeps more weights than its level has room for.
    """
    mask = _checked(mask, weight_bits)
    levels = np.asarray(levels)
    if levels.shape != (len(mask), 2):
        raise DarbError(f"levels of shape {levels.shape} for a mask of {len(mask)} rows; ({len(mask)}, 2) is needed")
    widths = _segments(segments, mask.shape[1])
    pairs, level_of_row = np.unique(levels, axis=0, return_inverse=True)
    bits = len(mask) * _width(len(pairs))
    for index, (block_bits, kept) in enumerate(pairs.tolist()):
        level = Level(block_bits, kept)
        rows = np.flatnonzero(level_of_row == index)
        _check_blocks(mask, rows, widths, level.kept, level.block)
        bits += len(rows) * sum(level.codes(width) for width in widths) * (weight_bits + block_bits)
    return Storage(bits, "codes")


def blocks(mask: ArrayLike, weight_bits: int, shape: tuple[int, int]) -> Storage:
    """Whole blocks of ``shape`` (rows, columns), partial at the border, and the cheaper of two kinds of index.

    One is the number of kept blocks in each row of blocks and the block column of each. The other is a bit for each
    block.
    """
    mask = _checked(mask, weight_bits)
    height, width = shape
    if height < 1 or width < 1:
        raise DarbError(f"block shape {height}x{width}: give at least 1 row and 1 column")
    starts = [np.arange(0, length, size) for length, size in zip(mask.shape, shape, strict=True)]
    corners = mask[np.ix_(*starts)]
    whole = corners.repeat(height, axis=0).repeat(width, axis=1)[: mask.shape[0], : mask.shape[1]]
    if (wrong := whole != mask).any():
        row, column = np.argwhere(wrong)[0] // shape * shape
        raise DarbError(
            f"mask: the {height}x{width} block at row {row}, column {column} is kept in part; keep all of it"
        )
    block_rows, block_columns = corners.shape
    weights = _count(mask) * weight_bits
    index = _count(corners) * _width(block_columns) + block_rows * _width(block_columns + 1)
    return _cheapest(
        [Storage(weights + index, "block coordinate"), Storage(weights + corners.size, "block bitmap")],
    )


def structured(mask: ArrayLike, weight_bits: int, rows: bool = True, columns: bool = True) -> Storage:
    """A bit for each row and each column that can be removed, then the matrix that is left."""
    mask = _checked(mask, weight_bits)
    kept_rows = mask.any(axis=1) if rows else np.full(mask.shape[0], mask.any())
    kept_columns = mask.any(axis=0) if columns else np.full(mask.shape[1], mask.any())
    if (wrong := np.outer(kept_rows, kept_columns) & ~mask).any():
        row, column = np.argwhere(wrong)[0]
        raise DarbError(f"mask: row {row} lacks column {column}; remove whole rows and columns only")
    flags = rows * mask.shape[0] + columns * mask.shape[1]
    return Storage(flags + _count(mask) * weight_bits, "row and column flags")


def stored_bits(
    method: str,
    mask: ArrayLike,
    weight_bits: int,
    levels: ArrayLike | None = None,
    segments: Sequence[int] | None = None,
    shape: tuple[int, int] | None = None,
    group: tuple[int, int] | int | None = None,
    order: ArrayLike | None = None,
) -> Storage:
    """Stored bits of a matrix pruned by ``method``, in the cheapest encoding of the method.

    Parameters
    ----------
    method : str
        One of :data:`METHODS`.
    mask : bool array of shape (rows, columns)
    weight_bits : int
        Bits of one weight, at least 1.
    levels : integer array of shape (rows, 2)
        For ``darb``, ``mixed``, ``bmwm`` and ``bank``; for ``nm`` instead of ``group``, one level for all rows.
    segments : sequence of int, optional
        For the same methods and ``nm``: widths of the segments. One segment if absent.
    shape : (int, int)
        For ``block``: rows and columns of a block.
    group : (int, int) or int
        For ``nm``, and for ``bank`` without levels: N and M; or only M, if N is the most weights that a group keeps.
    order : int array of shape (columns,), optional
        ``order[position]`` is the column of ``mask`` stored at ``position``. It is the order of a tensor and costs
        nothing.

    Raises
    ------
    DarbError
        For an unknown method, a parameter that is missing, or a mask that does not have the structure of the method.
    """
    if method not in METHODS:
        raise DarbError(f"method {method!r}: choose one of {', '.join(METHODS)}")
    if order is not None:
        mask = _ordered(mask, order)
    if method == "nm":
        if group is None:
            group = _common_group(_needed(method, "group", levels))
        return n_of_m(mask, weight_bits, *_group(mask, group, segments), segments)
    if method == "bank" and levels is None:
        return n_of_m(mask, weight_bits, *_group(mask, _needed(method, "levels", group), segments), segments)
    if method in ("darb", "mixed", "bmwm", "bank"):
        return by_level(mask, weight_bits, _needed(method, "levels", levels), segments)
    if method == "block":
        return blocks(mask, weight_bits, _needed(method, "shape", shape))
    if method in ("structured", "rows", "columns"):
        return structured(mask, weight_bits, rows=method != "columns", columns=method != "rows")
    return dense(mask, weight_bits) if method == "dense" else irregular(mask, weight_bits)


def _needed(method: str, name: str, value: _T | None) -> _T:
    if value is None:
        raise DarbError(f"method {method}: its stored bits depend on {name}; give {name}")
    return value


def _common_group(levels: ArrayLike) -> tuple[int, int]:
    """N and M of the level that all rows have."""
    pairs = np.unique(np.asarray(levels), axis=0).tolist()
    if len(pairs) != 1 or pairs[0] == [0, 0]:
        raise DarbError("method nm: levels differ from row to row or are empty; give group, or use method mixed")
    level = Level(*pairs[0])
    return level.kept, level.block


def _group(mask: ArrayLike, group: tuple[int, int] | int, segments: Sequence[int] | None) -> tuple[int, int]:
    """N and M; if only M is known, N is the most weights that a group of ``mask`` keeps."""
    if not isinstance(group, int):
        return group
    mask = _checked(mask, 1)
    if group < 1:
        raise DarbError(f"group {group}: give the columns of a group, 1 or more")
    counts = np.add.reduceat(mask, _starts(_segments(segments, mask.shape[1]), group), axis=1, dtype=np.int32)
    return max(int(counts.max()), 1), group


def _checked(mask: ArrayLike, weight_bits: int) -> np.ndarray:
    mask = np.asarray(mask)
    if mask.ndim != 2 or mask.dtype != bool or not mask.size:
        raise DarbError(f"mask of shape {mask.shape} and type {mask.dtype}: give a matrix of bool that is not empty")
    if weight_bits < 1:
        raise DarbError(f"weight bits {weight_bits} must be at least 1")
    return mask


def _ordered(mask: ArrayLike, order: ArrayLike) -> np.ndarray:
    mask, order = np.asarray(mask), np.asarray(order)
    columns = mask.shape[-1] if mask.ndim else 0
    if not np.array_equal(np.sort(order), np.arange(columns)):
        raise DarbError(f"order is no permutation of {columns} columns")
    return mask[:, order]


def _segments(segments: Sequence[int] | None, columns: int) -> tuple[int, ...]:
    widths = (columns,) if segments is None else tuple(segments)
    if sum(widths) != columns or min(widths, default=0) < 1:
        raise DarbError(f"segments {widths}: give widths that sum to {columns}, the columns of the mask")
    return widths


def _starts(widths: tuple[int, ...], block: int) -> np.ndarray:
    """First column of each block; blocks are cut segment by segment."""
    ends = np.cumsum(widths)
    return np.concatenate([np.arange(end - width, end, block) for width, end in zip(widths, ends, strict=True)])


def _check_blocks(mask: np.ndarray, rows: np.ndarray, widths: tuple[int, ...], kept: int, block: int) -> None:
    """Raise unless every block of ``rows`` keeps at most ``kept`` weights; blocks are cut segment by segment."""
    if kept == block:
        return
    starts = _starts(widths, block)
    counts = np.add.reduceat(mask[rows], starts, axis=1, dtype=np.int32)
    if (wrong := counts > kept).any():
        row, index = np.argwhere(wrong)[0]
        raise DarbError(
            f"mask: row {rows[row]} keeps {counts[row, index]} weights in the block of {block} at column "
            f"{starts[index]}, its pattern {kept}; give the mask in storage order and the segments it was made with"
        )


def _cheapest(encodings: Iterable[Storage]) -> Storage:
    return min(encodings, key=lambda encoding: encoding.bits)


def _count(mask: np.ndarray) -> int:
    return int(np.count_nonzero(mask))


def _width(values: int) -> int:
    """Bits of a field of ``values`` different values: ``ceil(log2(values))``, exactly."""
    return (values - 1).bit_length()
