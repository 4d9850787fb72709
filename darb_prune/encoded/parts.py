"""What an encoded network is made of: levels, tensors, segments, layers, cells, an embedding.

Code order, fixed by the format: for each row its segments in the layer's order, for each segment its blocks by rising
start, for each block its ``m`` codes by rising index, filled up with codes of index 0 and weight 0.
"""

from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np

from darb_prune.errors import NetworkError

__all__ = [
    "BLOCK_BITS_MAX",
    "DENSE",
    "EMPTY",
    "FACTOR_BITS",
    "FACTOR_RANGE",
    "PRODUCT_SHIFT",
    "Cell",
    "Embedding",
    "Layer",
    "Level",
    "Operand",
    "Section",
    "Segment",
    "TaskOutput",
    "Tensor",
    "part_sizes",
]

BLOCK_BITS_MAX = 15
"""Greatest ``b`` of a level: indices have 15 bits at most."""
FACTOR_BITS, PRODUCT_SHIFT = 16, 11
"""Bits of a value that is multiplied by an operand, and how far the product is shifted."""
FACTOR_RANGE = (-(1 << (FACTOR_BITS - 1)), (1 << (FACTOR_BITS - 1)) - 1)
"""Least and greatest value that is multiplied by an operand."""


def part_sizes(count: int, parts: int) -> tuple[int, ...]:
    """Sizes of ``parts`` parts of ``count`` things: equal up to one, the larger ones first."""
    return tuple(count // parts + (number < count % parts) for number in range(parts))


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

    def __post_init__(self) -> None:
        if not 0 <= self.bits <= BLOCK_BITS_MAX:
            raise NetworkError(f"level ({self.bits}, {self.kept}): block bits must be 0 to {BLOCK_BITS_MAX}")
        if self.kept == 0 and self.bits:
            raise NetworkError(f"level ({self.bits}, 0): the empty level is written (0, 0)")
        if not 0 <= self.kept <= self.block:
            raise NetworkError(f"level ({self.bits}, {self.kept}): a block of {self.block} keeps 1 to {self.block}")

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

    def __str__(self) -> str:
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
        Real value of one unit: ``real = scale * (integer - zero)``.
    order : numpy.ndarray of int32, shape (channels,), optional
        ``order[position]`` is the channel stored at ``position`` of every pixel; identity if absent.
    initial : numpy.ndarray of int32, shape (size,) or (channels,), optional
        Of a tensor that is read before it is written: its values at the first time step, in logical order; zeros if
        absent. Of a map whose columns a section writes: those in front of the first column.
    zero : int
        Integer that stands for 0; another than 0 for the input only.
    """

    name: str
    shape: tuple[int, int, int]
    bits: int
    qmin: int
    qmax: int
    scale: float
    order: np.ndarray | None = None
    initial: np.ndarray | None = None
    zero: int = 0

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
    """A tensor that is added to the rows of a layer, or that they are multiplied by: row ``r`` at ``(y, x)`` gets
    channel ``r - first``, if there is one, of pixel ``(y * stride[0], x * stride[1])``. Rows that are multiplied all
    get one, and a stride may be 0: then one pixel is that of all lines or columns."""

    tensor: str
    stride: tuple[int, int] = (1, 1)
    first: int = 0
    product: bool = False


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
        Codes of all rows one after another, in code order. A depthwise layer may have one code a row: it is that of
        each segment (``uniform``).
    bias, mult, shift : numpy.ndarray of int64, int32, uint8, shape (rows,)
        Requantisation of each row.
    function : numpy.ndarray of uint8, shape (rows,), optional
        0 for none, ``k`` for ``functions[k - 1]`` of the network; none for all rows if absent.
    first : int
        Channel of the output that row 0 writes; if it is transposed, the number that row 0 has among the rows of all
        layers that write the output.
    positions, stride : (int, int)
        Output positions, before pooling; how far the window moves. Height, width. In a section there is one position,
        which is a column of the output.
    padding : (int, int, int, int)
        Lines and pixels of zeros around the image: top, left, bottom, right.
    pool : (int, int)
        The output is the maximum over so many positions.
    maximum : bool
        The output is the maximum also with what it holds already.
    operand : Operand, optional
    clamp : (int, int), optional
        Range of the result, if it is not that of the output tensor; in front of a product, if it is not all of
        ``FACTOR_BITS`` bits.
    depthwise : bool
        Each segment is as many channels of one pixel as there are rows, always the same, and row ``r`` keeps the weight
        of the ``r``-th of them only: a depthwise convolution, a copy, a pooling. Or the only segment is one pixel, and
        each row keeps the weight of any channel: a copy that brings channels into another order.
    groups : int
        Rows, and channels of each segment, which is one pixel, are cut into so many groups; a row keeps weights of the
        channels of its own group only.
    spread, origin : (int, int)
        The result of position ``(y, x)`` is pixel ``(y, x) * spread + origin`` of the output. Layers of all origins
        write it.
    transposed : bool
        Results of a row are neighbours: that of row ``r`` at position ``p``, counted line by line, is stored element
        ``(first + r) * position_count + p`` of the output. Where these are its channels, channels and pixels change
        places.
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
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    pool: tuple[int, int] = (1, 1)
    maximum: bool = False
    operand: Operand | None = None
    clamp: tuple[int, int] | None = None
    depthwise: bool = False
    groups: int = 1
    spread: tuple[int, int] = (1, 1)
    origin: tuple[int, int] = (0, 0)
    transposed: bool = False

    @property
    def rows(self) -> int:
        return len(self.row_level)

    @property
    def columns(self) -> int:
        return sum(segment.length for segment in self.segments)

    @property
    def dense_weights(self) -> int:
        """Weights before pruning; of a depthwise layer one a row and segment, of groups those of their channels, of a
        uniform one one a row."""
        return self.rows if self.uniform else self._dense_a_position

    @property
    def _dense_a_position(self) -> int:
        """Multiplications at a position, if all weights were kept."""
        return self.rows * (len(self.segments) if self.depthwise else self.columns // self.groups)

    @property
    def uniform(self) -> bool:
        """Whether each row has one code, stored once, for all of its segments, as where pixels are averaged."""
        return self.depthwise and len(self.segments) > 1 and len(self.weight) == self.rows

    @property
    def reads(self) -> list[str]:
        """Names of the tensors it reads: that of each segment, and of the operand."""
        return [segment.tensor for segment in self.segments] + ([self.operand.tensor] if self.operand else [])

    @property
    def multiplies(self) -> bool:
        """Whether its rows are multiplied by an operand."""
        return self.operand is not None and self.operand.product

    @property
    def position_count(self) -> int:
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
        """Codes that a row of ``level`` takes at a position."""
        return sum(level.codes(segment.length) for segment in self.segments)

    def stored_codes(self, level: Level) -> int:
        """Codes that a row of ``level`` stores: those that it takes, or the same one each time."""
        return 1 if self.uniform else self.level_codes(level)

    @cached_property
    def row_offset(self) -> np.ndarray:
        """First code of each row, int64, shape (rows + 1,); the last entry is the number of codes."""
        per_level = np.array([self.stored_codes(level) for level in self.levels], np.int64)
        return np.concatenate([[0], np.cumsum(per_level[self.row_level])]).astype(np.int64)

    @cached_property
    def kept(self) -> int:
        """Kept weights: stored codes without the fill of partial blocks."""
        return self.rows if self.uniform else self._kept_a_position

    @cached_property
    def _kept_a_position(self) -> int:
        """Useful multiplications at a position."""
        per_level = [sum(lv.weights(s.length) for s in self.segments) for lv in self.levels]
        return int(np.bincount(self.row_level, minlength=len(self.levels)) @ np.array(per_level))

    @property
    def macs(self) -> int:
        """Useful multiply-accumulates of one run."""
        return self._kept_a_position * self.position_count

    @property
    def dense_macs(self) -> int:
        """Multiply-accumulates of one run, if all weights were kept."""
        return self._dense_a_position * self.position_count

    def rows_of(self, level: int) -> np.ndarray:
        """Rows whose level is ``levels[level]``, rising, int64."""
        return np.flatnonzero(self.row_level == level)

    def codes_of(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Index and weight of the codes of ``rows`` (all of one level), each of shape (rows, codes a row)."""
        if self.uniform:
            shape = len(rows), len(self.segments)
            return np.broadcast_to(self.index[rows][:, None], shape), np.broadcast_to(self.weight[rows][:, None], shape)
        count = self.level_codes(self.levels[self.row_level[rows[0]]])
        where = self.row_offset[rows][:, None] + np.arange(count)
        return self.index[where], self.weight[where]

    def code_layout(self, level: Level) -> np.ndarray:
        """Where each code of a row of ``level`` stands: int64, shape (codes a row, 4).

        Columns: segment number, first column of the block within the segment, columns in the block
        (smaller than ``2**b`` for a partial block), number of the code inside its block.
        """
        parts = []
        for segment_number, segment in enumerate(self.segments):
            start = np.repeat(np.arange(0, segment.length, level.block), level.kept)
            width = np.minimum(level.block, segment.length - start)
            nth = np.tile(np.arange(level.kept), len(start) // max(level.kept, 1))
            parts.append(np.stack([np.full_like(start, segment_number), start, width, nth], axis=1))
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
        c or s at the first time step; zeros if absent.
    """

    name: str
    kind: str
    gates: str
    output: str
    state: np.ndarray | None = None


@dataclass(frozen=True)
class Section:
    """Layers that run for each column of maps, one column after another: how a network takes a sequence that ends.

    All that they read and write are maps of ``T`` columns; what they write has one line. Step ``s`` reads and writes
    column ``s``, or ``T - 1 - s`` if the section runs ``backward``. What is read before it is written is that of the
    step before; at the first step its initial value.

    Parameters
    ----------
    first, stop : int
        Numbers of the first layer, and of the one behind the last. Cells belong to the layers that write their gates.
    backward : bool
    """

    first: int
    stop: int
    backward: bool = False

    def __contains__(self, layer_number: int) -> bool:
        return self.first <= layer_number < self.stop

    def column(self, step: int, columns: int) -> int:
        """The column of a step; that in front of the first step is outside of the map, on the side it comes from."""
        return columns - 1 - step if self.backward else step


@dataclass(frozen=True)
class TaskOutput:
    """One of several things that a network says of an input: some neighbouring elements of its output.

    Parameters
    ----------
    name : str
    size : int
        Elements of its output. Outputs of all tasks, in their order, are that of the network.
    """

    name: str
    size: int


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
