"""The encoded network: everything the hardware generator needs from pruning, and nothing else.

What it computes is in ``docs/arithmetic.md``.

NumPy only; importing this module loads neither torch nor Amaranth, and it is all that the hardware side imports
of this package. Code order, fixed by the format: for each
row its segments in the layer's order, for each segment its blocks by rising start, for each block its ``m``
codes by rising index, filled up with codes of index 0 and weight 0.
"""

import json
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from math import prod
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
    "Cell",
    "DarbError",
    "Embedding",
    "EncodedNetwork",
    "Layer",
    "Level",
    "Operand",
    "Segment",
    "Tensor",
    "TestVectors",
    "write_atomic",
    "write_files",
]

FORMAT_VERSION = 2


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
    """A feature map of activations as the engine stores it, pixel by pixel; a vector is a map of one pixel.

    Parameters
    ----------
    name : str
    shape : (int, int, int)
        Height, width, channels.
    bits : int
        Storage bits, two's complement, 2 to 16.
    qmin, qmax : int
        Range of values; a producer clamps to it. ReLU is ``qmin = 0``.
    scale : float
        Real value of one unit: ``real = scale * integer``.
    order : numpy.ndarray of int32, shape (channels,), optional
        ``order[position]`` is the channel stored at ``position`` of every pixel; identity if absent.
    initial : numpy.ndarray of int32, shape (size,), optional
        Of a tensor that is read before it is written: its values at the first step, in logical order; zeros if absent.
    """

    name: str
    shape: tuple[int, int, int]
    bits: int
    qmin: int
    qmax: int
    scale: float
    order: np.ndarray | None = None
    initial: np.ndarray | None = None

    @property
    def size(self) -> int:
        """Number of elements."""
        return prod(self.shape)

    @property
    def channels(self) -> int:
        return self.shape[2]

    @cached_property
    def channel_position(self) -> np.ndarray:
        """``channel_position[channel]``, int64, shape (channels,): the inverse of ``order``."""
        position = np.arange(self.channels)
        if self.order is not None:
            position[self.order] = np.arange(self.channels)
        return position

    @cached_property
    def position(self) -> np.ndarray:
        """Storage position of each element in logical order (channels outermost), int64, shape (size,)."""
        height, width, channels = self.shape
        pixel = np.arange(height * width) * channels
        return (self.channel_position[:, None] + pixel).reshape(-1)


@dataclass(frozen=True)
class Segment:
    """``length`` stored elements of image row ``line`` of a layer's window, from element ``start`` on.

    For a vector: positions ``start .. start + length``, in storage order. Blocks never cross the ends of a segment.
    """

    tensor: str
    start: int
    length: int
    line: int = 0


@dataclass(frozen=True)
class Operand:
    """A tensor that is added to the rows of a layer: row ``r`` at ``(y, x)`` gets channel ``r - first``, if there
    is one, of pixel ``(y * stride[0], x * stride[1])``."""

    tensor: str
    stride: tuple[int, int] = (1, 1)
    first: int = 0


@dataclass(frozen=True, eq=False)
class Layer:
    """A matrix of encoded rows, applied at every output position.

    Parameters
    ----------
    name : str
    output : str
        Name of the tensor written.
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
        Requantisation of each row.
    function : numpy.ndarray of uint8, shape (rows,), optional
        0 for none, ``k`` for ``functions[k - 1]`` of the network; none for all rows if absent.
    first : int
        Channel of the output that row 0 writes.
    positions, stride, padding : (int, int)
        Output positions, before pooling; how far the window moves; zeros around the image. Height, width.
    pool : (int, int)
        The output is the maximum over so many positions.
    maximum : bool
        The output is the maximum also with what it holds already.
    operand : Operand, optional
    clamp : (int, int), optional
        Range of the result, if it is not that of the output tensor.
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
    function: np.ndarray | None = None
    first: int = 0
    positions: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    pool: tuple[int, int] = (1, 1)
    maximum: bool = False
    operand: Operand | None = None
    clamp: tuple[int, int] | None = None

    @property
    def rows(self) -> int:
        return len(self.row_level)

    @property
    def columns(self) -> int:
        return sum(segment.length for segment in self.segments)

    @property
    def places(self) -> int:
        """Output positions: how often each row is computed."""
        return prod(self.positions)

    @property
    def renews(self) -> bool:
        """Whether results are the maximum with what the output holds: of its window so far, or of earlier layers."""
        return self.maximum or self.pool != (1, 1)

    @property
    def row_function(self) -> np.ndarray:
        """``function``, with zeros if it is absent."""
        return np.zeros(self.rows, np.uint8) if self.function is None else self.function

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

    @property
    def macs(self) -> int:
        """Useful multiply-accumulates of one run."""
        return self.kept * self.places

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
class Cell:
    """Element-wise update of the units of an LSTM or GRU layer; runs when all its gates are written.

    Parameters
    ----------
    name : str
    kind : str
        ``"lstm"`` or ``"gru"``.
    gates, output : str
        Tensors of ``4 * units`` and of ``units`` channels.
    state : numpy.ndarray of int32, shape (units,), optional
        c or s at the first step; zeros if absent.
    """

    name: str
    kind: str
    gates: str
    output: str
    state: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Embedding:
    """Rows of a table for the symbols of the input tensor.

    Parameters
    ----------
    name : str
    output : str
        Tensor of symbols x features channels.
    table : numpy.ndarray of int16, shape (symbols, features)
    """

    name: str
    output: str
    table: np.ndarray


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
        In order of execution; a layer reads tensors written before it, or in the step before.
    cells : tuple of Cell
        A network with a cell is recurrent.
    embedding : Embedding, optional
    functions : tuple of numpy.ndarray of int16, shape (256,)
        Tables; entry ``i`` is the value of ``i - 128``.
    emit : str
        ``"step"`` or ``"last"``: whether a sequence gives an output at every step or at its last.
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
    cells: tuple[Cell, ...] = ()
    embedding: Embedding | None = None
    functions: tuple[np.ndarray, ...] = ()
    emit: str = "step"
    provenance: dict = field(default_factory=dict)

    def __post_init__(self):
        validate(self)

    @cached_property
    def _by_name(self) -> dict[str, Tensor]:
        return {tensor.name: tensor for tensor in self.tensors}

    def tensor(self, name: str) -> Tensor:
        return self._by_name[name]

    @property
    def recurrent(self) -> bool:
        """Whether it keeps something from step to step."""
        return bool(self.cells or self.delayed)

    @cached_property
    def delayed(self) -> tuple[str, ...]:
        """Tensors that are read before they are written, and so hold their value of the step before."""
        written, delayed = {self.input}, []
        if self.embedding:
            written.add(self.embedding.output)
        cells = {cell.gates: cell for cell in self.cells}
        last = {layer.output: number for number, layer in enumerate(self.layers)}
        for number, layer in enumerate(self.layers):
            reads = [segment.tensor for segment in layer.segments] + ([layer.operand.tensor] if layer.operand else [])
            delayed += [name for name in reads if name not in written and name not in delayed]
            if last[layer.output] == number:
                written.add(layer.output)
                if layer.output in cells:
                    written.add(cells[layer.output].output)
        return tuple(delayed)

    @cached_property
    def tail(self) -> int:
        """Number of the first layer of the tail: no cell and no delayed tensor depends on it or those behind it."""
        keeps = {cell.gates for cell in self.cells} | set(self.delayed)
        return max((number + 1 for number, layer in enumerate(self.layers) if layer.output in keeps), default=0)

    def dense_weights(self, layer: Layer) -> int:
        """Weights of ``layer`` before pruning; of a depthwise layer (copies and pooling too) one a row and segment."""
        channels = {self.tensor(segment.tensor).channels for segment in layer.segments}
        if layer.levels == (Level((layer.rows - 1).bit_length(), 1),) and channels == {layer.rows}:
            place = self.tensor(layer.segments[0].tensor).channel_position
            index, _ = layer.codes_of(np.arange(layer.rows))
            if index.shape[1] == len(layer.segments) and (index == place[:, None]).all():
                return layer.rows * len(layer.segments)
        return layer.rows * layer.columns

    @property
    def weights(self) -> int:
        """Weights of the dense layers."""
        return sum(self.dense_weights(layer) for layer in self.layers)

    @property
    def kept(self) -> int:
        """Weights kept by pruning."""
        return sum(layer.kept for layer in self.layers)

    @property
    def macs(self) -> int:
        """Useful multiply-accumulates of one run."""
        return sum(layer.macs for layer in self.layers)

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
            qmin = np.array([t.qmin for t in ranges], np.int64)[segment]  # 0 lies in every range: padding is legal
            qmax = np.array([t.qmax for t in ranges], np.int64)[segment]
            weight = layer.codes_of(rows)[1].astype(np.int64)
            positive, negative = np.maximum(weight, 0), np.minimum(weight, 0)
            low[rows] += positive @ qmin + negative @ qmax
            high[rows] += positive @ qmax + negative @ qmin
        return low, high

    def _parts(self) -> tuple[dict, dict[str, np.ndarray]]:
        groups = {
            "tensor": self.tensors,
            "layer": self.layers,
            "cell": self.cells,
            "embedding": (self.embedding,) if self.embedding else (),
        }
        arrays = {f"function.{number}": table.astype(np.int16) for number, table in enumerate(self.functions)}
        header = {name: getattr(self, name) for name in _HEADER}
        for kind, entries in groups.items():
            header[kind] = [_plain(entry, _ARRAYS[kind]) for entry in entries]
            for number, entry in enumerate(entries):
                for name, dtype in _ARRAYS[kind].items():
                    if getattr(entry, name) is not None:
                        arrays[f"{kind}.{number}.{name}"] = getattr(entry, name).astype(dtype)
        header["functions"] = len(self.functions)
        return json.loads(json.dumps(header)), arrays

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
            parts = {
                kind: tuple(of(**_frozen(entry), **_take(arrays, kind, n)) for n, entry in enumerate(header[kind]))
                for kind, of in _KINDS.items()
            }
            tables = tuple(arrays.pop(f"function.{number}") for number in range(header["functions"]))
            if arrays:
                raise KeyError(next(iter(arrays)))
            return cls(
                tensors=parts["tensor"],
                layers=parts["layer"],
                cells=parts["cell"],
                embedding=parts["embedding"][0] if parts["embedding"] else None,
                functions=tables,
                **{key: header[key] for key in _HEADER},
            )
        except DarbError as error:
            raise DarbError(f"{path}: {error}") from None
        except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
            raise DarbError(f"{path}: missing or malformed field {error}; make the file again") from error


_OPTIONAL = {"order", "initial", "function", "state"}
_HEADER = ("name", "input", "output", "emit", "provenance")
_KINDS = {"tensor": Tensor, "layer": Layer, "cell": Cell, "embedding": Embedding}
_ARRAYS = {
    "tensor": {"order": np.int32, "initial": np.int32},
    "layer": {
        "row_level": np.uint8,
        "index": np.uint16,
        "weight": np.int8,
        "bias": np.int64,
        "mult": np.int32,
        "shift": np.uint8,
        "function": np.uint8,
    },
    "cell": {"state": np.int32},
    "embedding": {"table": np.int16},
}


def _plain(entry, arrays: dict) -> dict:
    """Fields of a dataclass that are no arrays, as JSON takes them."""
    return {
        name: value for name, value in asdict(replace(entry, **dict.fromkeys(arrays))).items() if name not in arrays
    }


def _take(arrays: dict, kind: str, number: int) -> dict:
    """Arrays of an entry, out of those of the file; the optional ones may be absent."""
    names = {name: f"{kind}.{number}.{name}" for name in _ARRAYS[kind]}
    return {n: arrays.pop(key, None) if n in _OPTIONAL else arrays.pop(key) for n, key in names.items()}


def _frozen(entry: dict) -> dict:
    """The inverse of :func:`_plain`: lists become tuples, dictionaries their classes."""
    made = {name: tuple(value) if isinstance(value, list) else value for name, value in entry.items()}
    if "segments" in made:
        made["segments"] = tuple(Segment(**segment) for segment in made["segments"])
        made["levels"] = tuple(Level(**level) for level in made["levels"])
    if made.get("operand") is not None:
        operand = made["operand"]
        made["operand"] = Operand(**operand | {"stride": tuple(operand["stride"])})
    return made
