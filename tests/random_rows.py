"""Random rows of a layer: their dense matrix, and the same encoded block by block in plain loops."""

import numpy as np

from darb_prune.encoded import DENSE, EMPTY, Layer, Level, Segment, Tensor
from tests.reference import Columns, Matrix

LEVELS = (DENSE, EMPTY, Level(1, 1), Level(2, 1), Level(2, 2), Level(3, 1), Level(3, 3), Level(4, 2), Level(5, 1))


def draw_codes(
    rng, segments: tuple[Segment, ...], levels: tuple[Level, ...], row_level, weight_bits: int, extreme=False, taps=None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Dense matrix (rows, columns of all segments), and index and weight of its codes.

    Parameters
    ----------
    taps : list of int, optional
        For each row, the column that it keeps of every segment; where it is absent, columns are drawn.
    """
    low, high = -(1 << (weight_bits - 1)), (1 << (weight_bits - 1)) - 1
    starts = np.cumsum([0, *(segment.length for segment in segments)])
    dense = np.zeros((len(row_level), starts[-1]), np.int64)
    index, weight = [], []
    for row, number in enumerate(row_level):
        level = levels[number]
        for segment, at in zip(segments, starts, strict=False):
            for start in range(0, segment.length, level.block):
                width = min(level.block, segment.length - start)
                if taps is None:
                    kept = np.sort(rng.permutation(width)[: min(level.kept, width)])
                else:
                    kept = [taps[row]][: level.kept]
                for column in kept:
                    value = int(rng.choice([low, high])) if extreme else int(rng.integers(low, high + 1))
                    index.append(int(column))
                    weight.append(value)
                    dense[row, at + start + column] = value
                for _ in range(level.kept - len(kept)):
                    index.append(0)
                    weight.append(0)
    return dense, np.array(index, np.uint16), np.array(weight, np.int8)


def matrix_of(dense: np.ndarray, segments: tuple[Segment, ...], tensors: dict[str, Tensor]) -> Matrix:
    return Matrix(dense, tuple(Columns.of(tensors[segment.tensor], segment) for segment in segments))


def requantisation(rng, sums: np.ndarray, greatest: np.ndarray) -> dict[str, np.ndarray]:
    """Bias, mult and shift that bring sums of about ``sums`` to about ``greatest``, and some far beyond.

    Parameters
    ----------
    sums, greatest : numpy.ndarray of float64, shape (rows,)
    """
    rows = len(sums)
    factor = greatest / np.maximum(sums, 1.0) * np.exp(rng.uniform(np.log(0.3), np.log(3), rows))
    shift = np.clip(rng.integers(11, 16, rows) - np.floor(np.log2(factor)).astype(int), 1, 47)
    mult = np.clip(np.round(factor * 2.0**shift), 0, 65535)
    bias = np.round(sums * rng.uniform(-0.3, 0.3, rows))
    return {"bias": bias.astype(np.int64), "mult": mult.astype(np.int32), "shift": shift.astype(np.uint8)}


def edge_requantisation(rng, rows: int) -> dict[str, np.ndarray]:
    """Every shift, multiplier and bias that is legal, at its ends."""
    mult = rng.choice([0, 1, 2, 255, 32768, 65535], rows).astype(np.int32)
    shift = rng.choice([1, 2, 15, 16, 17, 30, 47], rows).astype(np.uint8)
    bias = rng.choice([-(1 << 38), 1 << 38, 0, 1, -1, 12345], rows)
    return {"bias": bias.astype(np.int64), "mult": mult, "shift": shift}


def make_layer(name: str, output: str, segments, weight_bits: int, levels, row_level, index, weight, **fields) -> Layer:
    return Layer(
        name, output, segments, weight_bits, tuple(levels), np.asarray(row_level, np.uint8), index, weight, **fields
    )
