"""The encoded network: everything the hardware generator needs from pruning, and nothing else.

NumPy only; importing this module loads neither torch nor Amaranth, and it is all that the hardware side imports
of this package. Code order, fixed by the format: for each
row its segments in the layer's order, for each segment its blocks by rising start, for each block its ``m``
codes by rising index, filled up with codes of index 0 and weight 0.
"""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from darb_prune.container import DarbError, digest, pack_container, read_container, write_atomic, write_files
from darb_prune.validation import ACCUMULATOR_BITS_MAX, BLOCK_BITS_MAX, MULT_MAX, SHIFT_MAX, validate
from darb_prune.vectors import TestVectors

__all__ = [
    "ACCUMULATOR_BITS_MAX",
    "BLOCK_BITS_MAX",
    "DENSE",
    "EMPTY",
    "MULT_MAX",
    "SHIFT_MAX",
    "DarbError",
    "EncodedNetwork",
    "Layer",
    "Level",
    "Segment",
    "Tensor",
    "TestVectors",
    "write_atomic",
    "write_files",
]

FORMAT_VERSION = 1


@dataclass(frozen=True, order=True)
class Level:
    """A sparsity level ``(b, m)``: blocks of ``2**b`` columns, ``m`` weights kept in each.

    Parameters
    ----------
    bits : int
        ``b``, 0 to 15.
    kept : int
        ``m``, 1 to ``2**b``; 0 (with ``bits = 0``) is the empty level.
    """

    bits: int
    kept: int

    def __post_init__(self):
        if not 0 <= self.bits <= BLOCK_BITS_MAX:
            raise DarbError(f"level ({self.bits}, {self.kept}): block bits must be 0 to {BLOCK_BITS_MAX}")
        if self.kept == 0 and self.bits:
            raise DarbError(f"level ({self.bits}, 0): the empty level is written (0, 0)")
        if not 0 <= self.kept <= self.block:
            raise DarbError(f"level ({self.bits}, {self.kept}): a block of {self.block} keeps 1 to {self.block}")

    @property
    def block(self) -> int:
        """Columns in a block."""
        return 1 << self.bits

    @property
    def is_empty(self) -> bool:
        return self.kept == 0

    def codes(self, length: int) -> int:
        """Codes stored for a segment of ``length`` columns."""
        return -(-length // self.block) * self.kept

    def weights(self, length: int) -> int:
        """Weights kept in a segment of ``length`` columns: its codes without the fill of a partial block."""
        full, rest = divmod(length, self.block)
        return full * self.kept + min(rest, self.kept)

    def __str__(self):
        return "empty" if self.is_empty else f"({self.bits}, {self.kept})"


EMPTY = Level(0, 0)
DENSE = Level(0, 1)


@dataclass(frozen=True, eq=False)
class Tensor:
    """A vector of activations as the engine stores it.

    Parameters
    ----------
    name : str
    size : int
        Number of elements.
    bits : int
        Storage bits, two's complement, 2 to 16.
    qmin, qmax : int
        Range of values; a producer clamps to it. ReLU is ``qmin = 0``.
    scale : float
        Real value of one unit: ``real = scale * integer``.
    order : numpy.ndarray of int32, shape (size,), optional
        ``order[position]`` is the logical index of the element stored at ``position``; identity if absent.
    """

    name: str
    size: int
    bits: int
    qmin: int
    qmax: int
    scale: float
    order: np.ndarray | None = None

    @cached_property
    def position(self) -> np.ndarray:
        """``position[logical index]``, int64, shape (size,): the inverse of ``order``."""
        if self.order is None:
            return np.arange(self.size)
        position = np.empty(self.size, np.int64)
        position[self.order] = np.arange(self.size)
        return position


@dataclass(frozen=True)
class Segment:
    """Positions ``start .. start + length`` of ``tensor``, in storage order; blocks never cross its ends."""

    tensor: str
    start: int
    length: int


@dataclass(frozen=True, eq=False)
class Layer:
    """A matrix of encoded rows: ``output[r] = requantise(row r . segments)``.

    Parameters
    ----------
    name : str
    output : str
        Name of the tensor written, one element a row, rows in its logical order.
    segments : tuple of Segment
        What the columns of a row are, in order.
    weight_bits : int
        2 to 8.
    levels : tuple of Level
        The levels that ``row_level`` points into.
    row_level : numpy.ndarray of uint8, shape (rows,)
    index, weight : numpy.ndarray of uint16 and int8, shape (codes,)
        Codes of all rows one after another, in code order.
    bias, mult, shift : numpy.ndarray of int64, int32, uint8, shape (rows,)
        Requantisation of each row (see :mod:`darb_prune.quantization`).
    """

    name: str
    output: str
    segments: tuple[Segment, ...]
    weight_bits: int
    levels: tuple[Level, ...]
    row_level: np.ndarray
    index: np.ndarray
    weight: np.ndarray
    bias: np.ndarray
    mult: np.ndarray
    shift: np.ndarray

    @property
    def rows(self) -> int:
        return len(self.row_level)

    @property
    def columns(self) -> int:
        return sum(segment.length for segment in self.segments)

    def level_codes(self, level: Level) -> int:
        """Codes a row of ``level`` stores."""
        return sum(level.codes(segment.length) for segment in self.segments)

    @cached_property
    def row_offset(self) -> np.ndarray:
        """First code of each row, int64, shape (rows + 1,); the last entry is the number of codes."""
        per_level = np.array([self.level_codes(level) for level in self.levels], np.int64)
        return np.concatenate([[0], np.cumsum(per_level[self.row_level])]).astype(np.int64)

    @cached_property
    def kept(self) -> int:
        """Kept weights: codes without the fill of partial blocks."""
        per_level = [sum(lv.weights(s.length) for s in self.segments) for lv in self.levels]
        return int(np.bincount(self.row_level, minlength=len(self.levels)) @ np.array(per_level))

    def rows_of(self, level: int) -> np.ndarray:
        """Rows whose level is ``levels[level]``, rising, int64."""
        return np.flatnonzero(self.row_level == level)

    def codes_of(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Index and weight of the codes of ``rows`` (all of one level), each of shape (rows, codes a row)."""
        count = self.level_codes(self.levels[self.row_level[rows[0]]])
        where = self.row_offset[rows][:, None] + np.arange(count)
        return self.index[where], self.weight[where]

    def code_layout(self, level: Level) -> np.ndarray:
        """Where each code of a row of ``level`` stands: int64, shape (codes a row, 4).

        Columns: segment number, first column of the block within the segment, columns in the block
        (smaller than ``2**b`` for a partial block), number of the code inside its block.
        """
        parts = []
        for number, segment in enumerate(self.segments):
            start = np.repeat(np.arange(0, segment.length, level.block), level.kept)
            width = np.minimum(level.block, segment.length - start)
            nth = np.tile(np.arange(level.kept), len(start) // max(level.kept, 1))
            parts.append(np.stack([np.full_like(start, number), start, width, nth], axis=1))
        return np.concatenate(parts).astype(np.int64)


@dataclass(frozen=True, eq=False)
class EncodedNetwork:
    """A pruned, quantised and encoded network; checked in full whenever one is made or loaded.

    Parameters
    ----------
    name : str
    input, output : str
        Names of the tensors that the engine receives and sends.
    tensors : tuple of Tensor
    layers : tuple of Layer
        In order of execution; a layer reads tensors written before it.
    provenance : dict
        Anything JSON: package versions, seed, task, accuracies. Never read by the generator.

    Raises
    ------
    DarbError
        Naming the layer, the row and the field that is wrong.
    """

    name: str
    input: str
    output: str
    tensors: tuple[Tensor, ...]
    layers: tuple[Layer, ...]
    provenance: dict = field(default_factory=dict)

    def __post_init__(self):
        validate(self)

    @cached_property
    def _by_name(self) -> dict[str, Tensor]:
        return {tensor.name: tensor for tensor in self.tensors}

    def tensor(self, name: str) -> Tensor:
        return self._by_name[name]

    @property
    def weights(self) -> int:
        """Weights of the dense layers."""
        return sum(layer.rows * layer.columns for layer in self.layers)

    @property
    def kept(self) -> int:
        """Weights kept by pruning."""
        return sum(layer.kept for layer in self.layers)

    def accumulator_bounds(self, layer: Layer) -> tuple[np.ndarray, np.ndarray]:
        """Least and greatest ``acc + bias`` of each row over all legal inputs, int64, shape (rows,).

        Every partial sum of a row lies within the bounds of the row without its bias, widened to contain 0.
        """
        low, high = layer.bias.astype(np.int64), layer.bias.astype(np.int64)
        low, high = low.copy(), high.copy()
        for number, level in enumerate(layer.levels):
            rows = layer.rows_of(number)
            if level.is_empty or not len(rows):
                continue
            segment = layer.code_layout(level)[:, 0]
            ranges = [self.tensor(s.tensor) for s in layer.segments]
            qmin = np.array([t.qmin for t in ranges], np.int64)[segment]
            qmax = np.array([t.qmax for t in ranges], np.int64)[segment]
            weight = layer.codes_of(rows)[1].astype(np.int64)
            positive, negative = np.maximum(weight, 0), np.minimum(weight, 0)
            low[rows] += positive @ qmin + negative @ qmax
            high[rows] += positive @ qmax + negative @ qmin
        return low, high

    def _parts(self) -> tuple[dict, dict[str, np.ndarray]]:
        arrays = {}
        for number, tensor in enumerate(self.tensors):
            if tensor.order is not None:
                arrays[f"tensor.{number}.order"] = tensor.order.astype(np.int32)
        for number, layer in enumerate(self.layers):
            for name, dtype in _LAYER_ARRAYS.items():
                arrays[f"layer.{number}.{name}"] = getattr(layer, name).astype(dtype)
        header = {
            "name": self.name,
            "input": self.input,
            "output": self.output,
            "tensors": [
                {"name": t.name, "size": t.size, "bits": t.bits, "qmin": t.qmin, "qmax": t.qmax, "scale": t.scale}
                for t in self.tensors
            ],
            "layers": [
                {
                    "name": layer.name,
                    "output": layer.output,
                    "segments": [[s.tensor, s.start, s.length] for s in layer.segments],
                    "weight_bits": layer.weight_bits,
                    "levels": [[level.bits, level.kept] for level in layer.levels],
                }
                for layer in self.layers
            ],
            "provenance": self.provenance,
        }
        return header, arrays

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the contents: the identity of this network in manifests and test vectors."""
        return digest(*self._parts())

    def pack(self) -> bytes:
        """The bytes of the ``.darb`` file."""
        return pack_container("encoded network", FORMAT_VERSION, *self._parts())

    def save(self, path: str | Path) -> None:
        """Write the ``.darb`` file (temporary name, then moved into place)."""
        write_atomic(path, self.pack())

    @classmethod
    def load(cls, path: str | Path) -> "EncodedNetwork":
        """Load and check a ``.darb`` file.

        Raises
        ------
        DarbError
            If the file is truncated or altered, or what it holds is not a legal network.
        """
        header, arrays = read_container(path, "encoded network", FORMAT_VERSION)
        try:
            tensors = tuple(
                Tensor(**entry, order=arrays.get(f"tensor.{number}.order"))
                for number, entry in enumerate(header["tensors"])
            )
            layers = tuple(
                Layer(
                    name=entry["name"],
                    output=entry["output"],
                    segments=tuple(Segment(*segment) for segment in entry["segments"]),
                    weight_bits=entry["weight_bits"],
                    levels=tuple(Level(*level) for level in entry["levels"]),
                    **{name: arrays[f"layer.{number}.{name}"] for name in _LAYER_ARRAYS},
                )
                for number, entry in enumerate(header["layers"])
            )
            rest = {key: header[key] for key in ("name", "input", "output", "provenance")}
            return cls(tensors=tensors, layers=layers, **rest)
        except DarbError as error:
            raise DarbError(f"{path}: {error}") from None
        except (KeyError, TypeError, ValueError, ArithmeticError) as error:
            raise DarbError(f"{path}: missing or malformed field {error}; make the file again") from error


_LAYER_ARRAYS = {
    "row_level": np.uint8,
    "index": np.uint16,
    "weight": np.int8,
    "bias": np.int64,
    "mult": np.int32,
    "shift": np.uint8,
}
