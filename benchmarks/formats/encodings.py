"""Masked integer matrices as codes for lanes in lock-step, in every format, and back.

NumPy only. A matrix has shape (rows, columns), columns in storage order. Its mask says which weights are kept: a kept
weight whose integer is 0 is a code like any other.

Lanes work in lock-step: a group of rows takes as many steps as its longest row, and the other rows wait on codes of
weight 0. Rows of different length are sorted first, the longest first: no other grouping takes fewer steps.
"""

from dataclasses import dataclass

import numpy as np

from darb_hw.plan.image import unsigned_bits
from darb_prune.encoded import DarbError, Level

__all__ = ["Encoded", "blocks", "by_level", "columns", "coordinate", "decode", "run_length"]

RUN_BITS = 4
"""Of the relative index, as in EIE (Han et al., ISCA 2016)."""


@dataclass(frozen=True, eq=False)
class Encoded:
    """A matrix as codes.

    Parameters
    ----------
    kind : str
        ``"level"``, ``"run"``, ``"coordinate"`` or ``"block"``: which decoder reads it.
    shape : (int, int)
        Rows and columns of the matrix.
    kept : int
        Weights that the mask keeps.
    rows : int array of shape (groups, lanes)
        The row of each lane, -1 where there is none.
    steps : int array of shape (groups,)
    weights : int array of shape (steps, lanes)
        0 where a row has no code for the step.
    index : int array of shape (words, copies)
        Where the weights are: a word for every ``span`` steps, a copy for every ``lanes / copies`` lanes.
    index_bits : int
    span : int
        Steps that share an index; 1 but for blocks.
    levels : int array of shape (groups, 2), optional
        Block bits and weights a block of each group; block bits never rise from a group to the next.
    lengths : int array
        Codes of each row (blocks: of each strip of rows). The padding of the format counts, that of the lock-step does
        not.
    """

    kind: str
    shape: tuple[int, int]
    kept: int
    rows: np.ndarray
    steps: np.ndarray
    weights: np.ndarray
    index: np.ndarray
    index_bits: int
    lengths: np.ndarray
    span: int = 1
    levels: np.ndarray | None = None

    @property
    def group_levels(self) -> np.ndarray:
        """``levels`` of an encoding that has them."""
        assert self.levels is not None
        return self.levels

    @property
    def lanes(self) -> int:
        return self.weights.shape[1]

    @property
    def copies(self) -> int:
        """Addresses a step: the number of decoders, and of copies of the activations."""
        return self.index.shape[1]

    @property
    def imbalance(self) -> float:
        """Longest row over mean row: how much the lanes would wait with unsorted rows in a single group."""
        return float(self.lengths.max() * len(self.lengths) / max(self.lengths.sum(), 1))

    @property
    def waiting(self) -> float:
        """Steps x lanes over codes: what the lock-step adds, with sorted rows; groups that are not full count."""
        return float(self.steps.sum() * self.lanes / (max(self.lengths.sum(), 1) * self.span))

    @property
    def offset_bits(self) -> int:
        """Bits of the number of any column that is read, those past the end of a partial block included."""
        width = unsigned_bits(self.shape[1] - 1)
        if self.kind == "level":
            width = max(width, int(self.group_levels[:, 0].max()))
        return max(width, unsigned_bits(self.span - 1), 1)


def _checked(weight: np.ndarray, mask: np.ndarray, lanes: int) -> tuple[np.ndarray, np.ndarray]:
    weight, mask = np.asarray(weight, np.int64), np.asarray(mask)
    if weight.ndim != 2 or weight.shape != mask.shape or mask.dtype != bool or not weight.size:
        raise DarbError(f"weights of shape {weight.shape}, mask of shape {mask.shape}: give two matrices of one shape")
    if lanes < 1:
        raise DarbError(f"lanes {lanes}: an engine has at least 1")
    return np.where(mask, weight, 0), mask


@dataclass(frozen=True)
class _Grouped:
    """Rows of different lengths in groups, longest first: the step and lane of each of their codes."""

    rows: np.ndarray
    steps: np.ndarray
    step: np.ndarray
    lane: np.ndarray

    @classmethod
    def of(cls, row: np.ndarray, count: int, lanes: int) -> "_Grouped":
        """``row`` of each code, ascending; of ``count`` rows."""
        lengths = np.bincount(row, minlength=count)
        order = np.argsort(-lengths, kind="stable")
        rows = np.full(-(-count // lanes) * lanes, -1)
        rows[:count] = order
        rows = rows.reshape(-1, lanes)
        steps = np.maximum(lengths[rows[:, 0]], 1)
        rank = np.empty(count, np.int64)
        rank[order] = np.arange(count)
        code = np.arange(len(row)) - (np.cumsum(lengths) - lengths)[row]
        start = np.cumsum(steps) - steps
        return cls(rows, steps, start[rank[row] // lanes] + code, rank[row] % lanes)

    def scatter(self, values: np.ndarray) -> np.ndarray:
        """Values of the codes, by step and lane; 0 where there is none."""
        table = np.zeros((self.steps.sum(), self.rows.shape[1], *values.shape[1:]), np.int64)
        table[self.step, self.lane] = values
        return table


def by_level(weight: np.ndarray, mask: np.ndarray, levels: np.ndarray, lanes: int) -> Encoded:
    """Rows of levels: dense, DARB, bank-balanced and N:M.

    Parameters
    ----------
    weight, mask : arrays of shape (rows, columns)
    levels : int array of shape (rows, 2)
        ``(b, m)`` of each row.
    lanes : int

    Raises
    ------
    DarbError
        If a block keeps more weights than its level has room for.
    """
    weight, mask = _checked(weight, mask, lanes)
    levels = np.asarray(levels, np.int64)
    width = mask.shape[1]
    lengths = np.array([Level(*pair).codes(width) for pair in levels.tolist()])
    empty = np.flatnonzero(levels[:, 1] == 0)
    if mask[empty].any():
        raise DarbError("mask: a row of the empty level keeps weights")
    groups = []
    for pair in sorted({tuple(pair) for pair in levels.tolist() if pair[1]}, reverse=True):
        rows = np.flatnonzero((levels == pair).all(axis=1))
        groups += [(Level(*pair), rows[start : start + lanes]) for start in range(0, len(rows), lanes)]
    # Rows without weights fill lanes that are free; the rest of them are groups of one step.
    parts, free = [], list(empty)
    for level, rows in groups:
        fill = [free.pop(0) for _ in range(min(lanes - len(rows), len(free)))]
        parts.append((level, np.concatenate([rows, fill]).astype(np.int64), level.codes(width)))
    last = parts[-1][0] if parts else Level(0, 1)
    while free:
        fill, free = free[:lanes], free[lanes:]
        parts.append((last, np.array(fill, np.int64), 1))
    table = np.full((len(parts), lanes), -1)
    coded = []
    for group, (level, rows, steps) in enumerate(parts):
        table[group, : len(rows)] = rows
        coded.append(_level_codes(weight[rows], mask[rows], level, steps, lanes))
    pairs = np.array([(level.bits, level.kept) for level, *_ in parts])
    dense = not pairs[:, 0].any()
    index = np.concatenate([index for index, _ in coded])
    return Encoded(
        kind="level",
        shape=mask.shape,
        kept=int(mask.sum()),
        rows=table,
        steps=np.array([steps for *_, steps in parts]),
        weights=np.concatenate([weights for _, weights in coded]),
        # Dense rows read the same column at the same time: one address serves all lanes.
        index=index[:, :1] if dense else index,
        index_bits=int(pairs[:, 0].max()),
        lengths=lengths,
        levels=pairs,
    )


def _level_codes(
    weight: np.ndarray, mask: np.ndarray, level: Level, steps: int, lanes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Index and weight of each code of a group, by step and lane."""
    fill = (0, -weight.shape[1] % level.block)
    blocks = np.pad(mask, ((0, 0), fill)).reshape(len(mask), -1, level.block)
    if (blocks.sum(axis=2) > level.kept).any():
        raise DarbError(f"mask: a block of level {level} keeps more than {level.kept}; give the mask of its levels")
    # Kept columns first, in their order.
    index = np.argsort(~blocks, axis=2, kind="stable")[:, :, : level.kept]
    there = np.take_along_axis(blocks, index, axis=2)
    values = np.take_along_axis(np.pad(weight, ((0, 0), fill)).reshape(blocks.shape), index, axis=2)
    tables = []
    for table in (np.where(there, index, 0), np.where(there, values, 0)):
        by_step = np.zeros((steps, lanes), np.int64)
        by_step[:, : len(weight)] = table.reshape(len(weight), -1).T[:steps]
        tables.append(by_step)
    return tables[0], tables[1]


def coordinate(weight: np.ndarray, mask: np.ndarray, lanes: int) -> Encoded:
    """The column of every kept weight."""
    weight, mask = _checked(weight, mask, lanes)
    row, column = np.nonzero(mask)
    grouped = _Grouped.of(row, len(mask), lanes)
    return Encoded(
        kind="coordinate",
        shape=mask.shape,
        kept=len(row),
        rows=grouped.rows,
        steps=grouped.steps,
        weights=grouped.scatter(weight[row, column]),
        index=grouped.scatter(column),
        index_bits=unsigned_bits(mask.shape[1] - 1),
        lengths=np.bincount(row, minlength=len(mask)),
    )


def run_length(weight: np.ndarray, mask: np.ndarray, lanes: int, run_bits: int = RUN_BITS) -> Encoded:
    """Every kept weight with the number of zeros before it in its row.

    For ``2**run_bits`` zeros or more, codes of weight 0 with full runs come first.
    """
    weight, mask = _checked(weight, mask, lanes)
    row, column = np.nonzero(mask)
    first = np.diff(row, prepend=-1) > 0
    gap = np.where(first, column, np.diff(column, prepend=0) - 1)
    codes = 1 + (gap >> run_bits)
    last = np.cumsum(codes) - 1
    runs = np.full(codes.sum(), (1 << run_bits) - 1)
    values = np.zeros(codes.sum(), np.int64)
    runs[last] = gap & ((1 << run_bits) - 1)
    values[last] = weight[row, column]
    owner = np.repeat(row, codes)
    grouped = _Grouped.of(owner, len(mask), lanes)
    return Encoded(
        kind="run",
        shape=mask.shape,
        kept=len(row),
        rows=grouped.rows,
        steps=grouped.steps,
        weights=grouped.scatter(values),
        index=grouped.scatter(runs),
        index_bits=run_bits,
        lengths=np.bincount(owner, minlength=len(mask)),
    )


def blocks(weight: np.ndarray, mask: np.ndarray, lanes: int, size: int) -> Encoded:
    """Whole blocks of ``size`` x ``size``: a column of the block a step, a row of it a lane, one index for all.

    Raises
    ------
    DarbError
        If a block is kept in part, or ``size`` is no power of two that divides the lanes.
    """
    weight, mask = _checked(weight, mask, lanes)
    if size < 2 or size & (size - 1) or lanes % size:
        raise DarbError(f"blocks of {size}x{size} on {lanes} lanes: give a power of two that divides the lanes")
    count, width = mask.shape
    fill = (0, -count % size), (0, -width % size)
    cut = (-(-count // size), size, -(-width // size), size)
    values = np.pad(weight, fill).reshape(cut)
    kept = mask[::size, ::size]
    if (kept.repeat(size, 0).repeat(size, 1)[:count, :width] != mask).any():
        raise DarbError(f"mask: a block of {size}x{size} is kept in part; give the mask of whole blocks")
    strip, column = np.nonzero(kept)
    grouped = _Grouped.of(strip, len(kept), lanes // size)
    # By word, lane group, row of the block, column of the block -> by step, lane.
    weights = grouped.scatter(values[strip, :, column, :]).transpose(0, 3, 1, 2).reshape(-1, lanes)
    rows = np.where(grouped.rows[:, :, None] < 0, -1, grouped.rows[:, :, None] * size + np.arange(size))
    rows = np.where(rows < count, rows, -1).reshape(-1, lanes)
    return Encoded(
        kind="block",
        shape=mask.shape,
        kept=int(mask.sum()),
        rows=rows,
        steps=grouped.steps * size,
        weights=weights,
        index=grouped.scatter(column),
        index_bits=unsigned_bits(kept.shape[1] - 1),
        lengths=size * np.bincount(strip, minlength=len(kept)),
        span=size,
    )


def columns(encoded: Encoded) -> np.ndarray:
    """Reference of the decoders: the column that each address stands for, int64, shape (steps, copies).

    It is computed from the stored values alone. The column of a code that only waits can lie past the end.
    """
    start = np.repeat(np.cumsum(encoded.steps) - encoded.steps, encoded.steps)
    step = np.arange(len(start)) - start
    index = encoded.index.repeat(encoded.span, axis=0)
    if encoded.kind == "coordinate":
        return index
    if encoded.kind == "block":
        return index * encoded.span + (step % encoded.span)[:, None]
    if encoded.kind == "run":
        total = np.cumsum(index + 1, axis=0)
        before = np.concatenate([np.zeros_like(total[:1]), total])[start]
        return total - before - 1
    bits, kept = np.repeat(encoded.group_levels, encoded.steps, axis=0).T
    return ((step // kept) << bits)[:, None] + index


def decode(encoded: Encoded) -> np.ndarray:
    """The matrix that the codes stand for, int64, shape ``encoded.shape``."""
    column = columns(encoded).repeat(encoded.lanes // encoded.copies, axis=1)
    row = encoded.rows.repeat(encoded.steps, axis=0)
    matrix = np.zeros(encoded.shape, np.int64)
    # Codes that wait have weight 0, so that it does not matter where they point.
    there = (row >= 0) & (encoded.weights != 0)
    np.add.at(matrix, (row[there], column[there]), encoded.weights[there])
    return matrix
