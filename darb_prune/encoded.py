"""The encoded network: everything the hardware generator needs from pruning, and nothing else.

NumPy only; importing this module loads neither torch nor Amaranth. Code order, fixed by the format: for each
row its segments in the layer's order, for each segment its blocks by rising start, for each block its ``m``
codes by rising index, filled up with codes of index 0 and weight 0.
"""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from darb_prune.container import DarbError, digest, read_container, write_atomic, write_container

__all__ = [
    "DENSE",
    "EMPTY",
    "DarbError",
    "EncodedNetwork",
    "Layer",
    "Level",
    "Segment",
    "Tensor",
    "TestVectors",
    "write_atomic",
]

FORMAT_VERSION = 1
VECTORS_VERSION = 1
ACCUMULATOR_BITS_MAX = 40
"""Widest ``acc + bias`` allowed, bits, two's complement: times a 16-bit ``mult`` it stays within 64 bits."""
BLOCK_BITS_MAX = 15
SHIFT_MAX = 47
MULT_MAX = (1 << 16) - 1


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
        Requantisation of each row (see :mod:`darb_prune.quantize`).
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
        _validate(self)

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

    def save(self, path: str | Path) -> None:
        """Write the ``.darb`` file (temporary name, then moved into place)."""
        write_container(path, "encoded network", FORMAT_VERSION, *self._parts())

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
        except (KeyError, TypeError) as error:
            raise DarbError(f"{path}: missing or malformed field {error}; make the file again") from error
        try:
            return cls(tensors=tensors, layers=layers, **rest)
        except DarbError as error:
            raise DarbError(f"{path}: {error}") from None


_LAYER_ARRAYS = {
    "row_level": np.uint8,
    "index": np.uint16,
    "weight": np.int8,
    "bias": np.int64,
    "mult": np.int32,
    "shift": np.uint8,
}


@dataclass(frozen=True, eq=False)
class TestVectors:
    """What the oracle computes for some inputs: every tensor, so that a mismatch can be located.

    Parameters
    ----------
    network : str
        Digest of the network the values belong to.
    tensors : dict of str to numpy.ndarray of int32, shape (samples, size)
        Integer values of every tensor, in logical order.
    labels : numpy.ndarray of int32, shape (samples,), optional
    """

    __test__ = False  # not a pytest class

    network: str
    tensors: dict[str, np.ndarray]
    labels: np.ndarray | None = None

    @property
    def samples(self) -> int:
        return len(next(iter(self.tensors.values())))

    def save(self, path: str | Path) -> None:
        arrays = {f"tensor.{name}": values.astype(np.int32) for name, values in self.tensors.items()}
        if self.labels is not None:
            arrays["labels"] = self.labels.astype(np.int32)
        write_container(path, "test vectors", VECTORS_VERSION, {"network": self.network}, arrays)

    @classmethod
    def load(cls, path: str | Path) -> "TestVectors":
        header, arrays = read_container(path, "test vectors", VECTORS_VERSION)
        labels = arrays.pop("labels", None)
        tensors = {name.removeprefix("tensor."): values for name, values in arrays.items()}
        return cls(header["network"], tensors, labels)

    def check(self, network: EncodedNetwork) -> None:
        """Raise :class:`DarbError` unless these are vectors of ``network``, complete and of the right shapes."""
        if self.network != network.digest:
            raise DarbError("the test vectors belong to another network; run darb compile again")
        for tensor in network.tensors:
            values = self.tensors.get(tensor.name)
            if values is None or values.shape != (self.samples, tensor.size):
                raise DarbError(f"test vectors: tensor {tensor.name!r} is missing or of the wrong shape")
            if values.size and not (tensor.qmin <= values.min() and values.max() <= tensor.qmax):
                raise DarbError(f"test vectors: tensor {tensor.name!r} leaves its range {tensor.qmin}..{tensor.qmax}")


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise DarbError(message)


def _validate(network: EncodedNetwork) -> None:
    _require(bool(network.tensors and network.layers), "the network has no layers")
    names = [tensor.name for tensor in network.tensors]
    _require(len(set(names)) == len(names), f"two tensors of one name among {names}")
    for tensor in network.tensors:
        _validate_tensor(tensor)
    for role in (network.input, network.output):
        _require(role in names, f"tensor {role!r} is not in the network")
    source = network.tensor(network.input)
    full = -(1 << (source.bits - 1)), (1 << (source.bits - 1)) - 1
    _require(
        (source.qmin, source.qmax) == full,
        f"tensor {source.name!r}: nothing clamps an input, so its range must be all of {full[0]}..{full[1]}",
    )
    written = {network.input}
    for layer in network.layers:
        _validate_layer(network, layer, names, written)
        written.add(layer.output)
    _require(written == set(names), f"tensors without a producer: {sorted(set(names) - written)}")
    _require(network.output != network.input, "the output of the network is its input")


def _validate_tensor(tensor: Tensor) -> None:
    where = f"tensor {tensor.name!r}"
    _require(tensor.size >= 1, f"{where}: size {tensor.size} must be at least 1")
    _require(2 <= tensor.bits <= 16, f"{where}: bits {tensor.bits} must be 2 to 16")
    low, high = -(1 << (tensor.bits - 1)), (1 << (tensor.bits - 1)) - 1
    _require(
        low <= tensor.qmin <= 0 < tensor.qmax <= high,
        f"{where}: range {tensor.qmin}..{tensor.qmax} must hold 0 and lie in {low}..{high}",
    )
    _require(bool(np.isfinite(tensor.scale)) and tensor.scale > 0, f"{where}: scale {tensor.scale} must be positive")
    if tensor.order is not None:
        legal = tensor.order.shape == (tensor.size,) and np.array_equal(np.sort(tensor.order), np.arange(tensor.size))
        _require(legal, f"{where}: order is no permutation of its {tensor.size} elements")


def _validate_layer(network: EncodedNetwork, layer: Layer, names: list[str], written: set[str]) -> None:
    where = f"layer {layer.name!r}"
    _require(layer.output in names, f"{where}: output tensor {layer.output!r} is not in the network")
    _require(layer.output not in written, f"{where}: output tensor {layer.output!r} is written twice")
    size = network.tensor(layer.output).size
    _require(layer.rows == size, f"{where}: {layer.rows} rows, but its output tensor has {size} elements")
    _require(2 <= layer.weight_bits <= 8, f"{where}: weight bits {layer.weight_bits} must be 2 to 8")
    _require(bool(layer.segments), f"{where}: no segments")
    for segment in layer.segments:
        _require(segment.tensor in written, f"{where}: reads tensor {segment.tensor!r} before it is written")
        size = network.tensor(segment.tensor).size
        inside = segment.start >= 0 and segment.length >= 1 and segment.start + segment.length <= size
        _require(inside, f"{where}: segment {segment} leaves its tensor of {size} elements")
    _require(bool(layer.levels), f"{where}: no levels")
    for name in _LAYER_ARRAYS:
        array = getattr(layer, name)
        _require(
            array.ndim == 1 and np.issubdtype(array.dtype, np.integer), f"{where}: {name} must be a vector of integers"
        )
    _validate_rows(layer, where)
    _validate_codes(layer, where)
    low, high = network.accumulator_bounds(layer)
    limit = 1 << (ACCUMULATOR_BITS_MAX - 1)
    _fail_row((low < -limit) | (high >= limit), where, f"accumulator may leave {ACCUMULATOR_BITS_MAX} bits")


def _fail_row(bad: np.ndarray, where: str, message: str) -> None:
    if bad.any():
        raise DarbError(f"{where}, row {int(np.argmax(bad))}: {message}")


def _validate_rows(layer: Layer, where: str) -> None:
    _fail_row(layer.row_level >= len(layer.levels), where, f"level number is not below {len(layer.levels)}")
    for name in ("bias", "mult", "shift"):
        array = getattr(layer, name)
        _require(len(array) == layer.rows, f"{where}: {len(array)} values of {name} for {layer.rows} rows")
    _fail_row((layer.mult < 0) | (layer.mult > MULT_MAX), where, f"mult must be 0 to {MULT_MAX}")
    _fail_row((layer.shift < 1) | (layer.shift > SHIFT_MAX), where, f"shift must be 1 to {SHIFT_MAX}")
    limit = 1 << (ACCUMULATOR_BITS_MAX - 1)
    _fail_row((layer.bias < -limit) | (layer.bias >= limit), where, f"bias leaves {ACCUMULATOR_BITS_MAX} bits")


def _validate_codes(layer: Layer, where: str) -> None:
    expected = int(layer.row_offset[-1])
    for name in ("index", "weight"):
        count = len(getattr(layer, name))
        _require(count == expected, f"{where}: {count} codes in {name}, its rows and levels need {expected}")
    limit = 1 << (layer.weight_bits - 1)
    bad = (layer.weight < -limit) | (layer.weight >= limit)
    if bad.any():
        row = int(np.searchsorted(layer.row_offset, np.argmax(bad), side="right")) - 1
        raise DarbError(f"{where}, row {row}: weight {layer.weight[np.argmax(bad)]} leaves {layer.weight_bits} bits")
    for number, level in enumerate(layer.levels):
        rows = layer.rows_of(number)
        if level.is_empty or not len(rows):
            continue
        layout = layer.code_layout(level)
        index, weight = layer.codes_of(rows)
        bad = index >= layout[:, 2]
        if bad.any():
            row, code = np.argwhere(bad)[0]
            raise DarbError(
                f"{where}, row {rows[row]}: index {index[row, code]} outside its block of {layout[code, 2]} columns"
            )
        follows = layout[1:, 3] > 0
        rising = (index[:, 1:] > index[:, :-1]) | ((index[:, 1:] == 0) & (weight[:, 1:] == 0)) | ~follows
        _fail_row_of(~rising.all(axis=1), rows, where, "indices of a block must rise")


def _fail_row_of(bad: np.ndarray, rows: np.ndarray, where: str, message: str) -> None:
    if bad.any():
        raise DarbError(f"{where}, row {rows[np.argmax(bad)]}: {message}")
