"""What the oracle is made of: tensors, layers, cells and embeddings on torch's int64 tensors.

Everything is computed as ``docs/arithmetic.md`` says, from masked *dense* integer weights in logical order; no code is
shared with encoder, plan or ROMs. Products are summed in float64, which is exact:
:mod:`darb_prune.integer.network` checks that no sum can reach ``2**53``.
"""

from dataclasses import dataclass
from functools import cached_property, reduce
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor

from darb_prune.frontend.stages import Addend, Factor, Window, arranged, positions_of

__all__ = [
    "GRU_BITS",
    "LSTM_BITS",
    "PRODUCT_BITS",
    "PRODUCT_SHIFT",
    "UNITS",
    "IntegerCell",
    "IntegerEmbedding",
    "IntegerMatrix",
    "IntegerTensor",
    "function_table",
    "requantize",
]

UNITS = {"sigmoid": 2.0**-4, "tanh": 2.0**-5}
"""Real value of one unit of the index of a function table."""
LSTM_BITS, GRU_BITS = 11, 15
"""Bits behind the point of the state of a cell (and, 11, of ``n_x`` and ``n_h`` of a GRU)."""
PRODUCT_BITS, PRODUCT_SHIFT = 16, 11
"""Bits of what is multiplied by a factor, and how far the product is shifted."""


def function_table(name: str, scale: float = 2.0**-15, qmin: int = -32767, qmax: int = 32767) -> Tensor:
    """Table of ``"sigmoid"`` or ``"tanh"`` for an output in units of ``scale``: int64, shape (256,)."""
    real = getattr(torch, name)(torch.arange(-128, 128, dtype=torch.float64) * UNITS[name])
    return (real / scale).round().clamp(qmin, qmax).to(torch.int64)


_TANH = function_table("tanh")


def requantize(acc: Tensor, bias: Tensor, mult: Tensor, shift: Tensor | int) -> Tensor:
    """``((acc + bias) * mult + (1 << (shift - 1))) >> shift`` on int64 tensors."""
    half = 1 << (torch.as_tensor(shift) - 1)
    return ((acc + bias) * mult + half) >> shift


@dataclass(frozen=True, eq=False)
class IntegerTensor:
    """A value between stages.

    Parameters
    ----------
    name : str
    shape : (int, int, int)
        Channels, height, width.
    bits, qmin, qmax : int
    scale : float
        Real value of one unit.
    zero : int
        Integer that stands for 0; another than 0 for the input only.
    initial : int64 tensor of shape (channels,), optional
        Of a value that is read before it is written: at the first time step; zeros if absent.
    """

    name: str
    shape: tuple[int, int, int]
    bits: int
    qmin: int
    qmax: int
    scale: float
    initial: Tensor | None = None
    zero: int = 0

    @property
    def size(self) -> int:
        return prod(self.shape)


@dataclass(frozen=True, eq=False)
class IntegerMatrix:
    """One integer layer.

    Parameters
    ----------
    name, output, inputs, first, window, channels, picks, operand, product, pool, maximum, spread, origin, transposed
        As in :class:`darb_prune.frontend.stages.Matrix`.
    weights : tuple of int64 tensors
        One an input, dense, in logical order, 0 where masked: (rows, size); with a window (rows, channels, height,
        width), channels of its group only: 1 if it is depthwise.
    bias, mult, shift : int64 tensors of shape (rows,)
    weight_bits : int
    clamp : (int, int)
        Range of the rows, in front of the product if there is one.
    tables : int64 tensor of shape (tables, 256)
    function : int64 tensor of shape (rows,)
        0 for none, ``k`` for ``tables[k - 1]``.
    kept : tuple of bool tensors or None
        Which weights are kept (a kept weight can be 0), as matrices of :mod:`darb_prune.modules.matrix`, one an
        input; all if absent. This and what follows is only passed on to the encoder.
    levels : int16 tensor of shape (rows, 2), optional
        Level of each row; absent if the mask is irregular.
    orders : tuple of int64 tensors or None
        Storage order of the columns of each input; absent if any will do.
    column : bool
        Whether it is a layer of a section, whose inputs are a column of each tensor.
    """

    name: str
    output: str
    inputs: tuple[str, ...]
    weights: tuple[Tensor, ...]
    bias: Tensor
    mult: Tensor
    shift: Tensor
    weight_bits: int
    clamp: tuple[int, int]
    first: int = 0
    window: Window | None = None
    channels: tuple[int, int] | None = None
    tables: Tensor | None = None
    function: Tensor | None = None
    picks: tuple[int, ...] | None = None
    operand: Addend | None = None
    product: Factor | None = None
    pool: tuple[int, int] = (1, 1)
    maximum: bool = False
    spread: tuple[int, int] = (1, 1)
    origin: tuple[int, int] = (0, 0)
    transposed: tuple[int, int] | None = None
    kept: tuple[Tensor | None, ...] = ()
    levels: Tensor | None = None
    orders: tuple[Tensor | None, ...] = ()
    column: bool = False

    @property
    def rows(self) -> int:
        return len(self.bias)

    @property
    def depthwise(self) -> bool:
        return self.window is not None and self.window.depthwise

    @property
    def groups(self) -> int:
        return 1 if self.window is None else self.window.groups

    @cached_property
    def _weights(self) -> tuple[Tensor, ...]:
        return tuple(weight.double() for weight in self.weights)

    def run(self, values: dict[str, Tensor], target: IntegerTensor) -> None:
        """Write the output into ``values``, whose tensors are int64 of shape (samples, channels, height, width)."""
        y = self.of_sums(self._accumulate(values, self.positions(target.shape)))
        if self.operand is not None:
            self._add(y, self.operand, values[self.operand.value])
        y = y.clamp(*self.clamp)
        if self.product is not None:
            factors = self._factors(self.product, values[self.product.value], y)
            y = ((y * factors + (1 << (PRODUCT_SHIFT - 1))) >> PRODUCT_SHIFT).clamp(target.qmin, target.qmax)
        if self.pool != (1, 1):
            y = y.unflatten(3, (-1, self.pool[1])).unflatten(2, (-1, self.pool[0])).amax((3, 5))
        if self.output not in values:
            values[self.output] = y.new_zeros(len(y), *target.shape)
        if self.transposed:
            stored = values[self.output].movedim(1, -1).reshape(len(y), -1, prod(self.transposed))
            stored[:, self.first : self.first + self.rows] = y.flatten(2)
            values[self.output] = arranged(stored, target.shape, last=True).contiguous()
            return
        (down, across), (top, left) = self.spread, self.origin
        target_rows = values[self.output][:, self.first : self.first + self.rows, top::down, left::across]
        target_rows[:] = torch.maximum(target_rows, y) if self.maximum else y

    def of_sums(self, acc: Tensor) -> Tensor:
        """Sums of products, int64 of shape (samples, rows, ...) -> what becomes of them in front of the operand."""
        columns = (slice(None), *(None,) * (acc.dim() - 2))
        y = requantize(acc, self.bias[columns], self.mult[columns], self.shift[columns])
        if self.function is None:
            return y
        assert self.tables is not None
        index = y.clamp(-128, 127) + 128 + 256 * (self.function[columns] - 1).clamp(min=0)
        return torch.where(self.function[columns] > 0, self.tables.flatten()[index], y)

    def positions(self, shape: tuple[int, int, int]) -> tuple[int, int]:
        """Output positions, height and width, before pooling, where the output has ``shape``."""
        return self.transposed or positions_of(shape[1:], self.pool, self.spread, self.origin)

    def _accumulate(self, values: dict[str, Tensor], positions: tuple[int, int]) -> Tensor:
        products = []
        for name, weight in zip(self.inputs, self._weights, strict=True):
            x, window = values[name].double(), self.window
            x = x if self.channels is None else x[:, slice(*self.channels)]
            x = x if self.picks is None else x[:, list(self.picks)]
            if window is None:
                products.append((x.flatten(1) @ weight.T)[:, :, None, None])
            else:
                groups = x.shape[1] if window.depthwise else window.groups
                x = _padded(x, window, positions)
                products.append(F.conv2d(x, weight, None, window.stride, 0, window.dilation, groups))
        return reduce(torch.add, products).to(torch.int64)

    @staticmethod
    def _add(y: Tensor, operand: Addend, added: Tensor) -> None:
        """Add channels of ``added`` to the rows of ``y`` that get one, in place."""
        (down, right), first = operand.stride, operand.first
        rows = slice(max(first, 0), min(y.shape[1], first + added.shape[1]))
        channels = slice(rows.start - first, rows.stop - first)
        y[:, rows] += added[:, channels, ::down, ::right][:, :, : y.shape[2], : y.shape[3]]

    @staticmethod
    def _factors(product: Factor, factors: Tensor, y: Tensor) -> Tensor:
        """The factor of each element of ``y``; one line or column is that of all if its stride is 0."""
        (down, right), (height, width) = product.stride, y.shape[2:]
        factors = factors[:, -product.first :][:, : y.shape[1]]
        factors = factors[:, :, ::down][:, :, :height] if down else factors[:, :, :1]
        return factors[..., ::right][..., :width] if right else factors[..., :1]


def _padded(x: Tensor, window: Window, positions: tuple[int, int]) -> Tensor:
    """``x`` with the zeros around it, or without the edges, so that there are exactly ``positions`` windows."""
    pads = []
    for axis in (1, 0):  # as F.pad wants them: last dimension first
        before = window.padding[axis] - window.offset[axis]
        span = (window.kernel[axis] - 1) * window.dilation[axis] + 1
        reach = (positions[axis] - 1) * window.stride[axis] + span
        pads += [before, reach - before - x.shape[2 + axis]]
    return F.pad(x, pads)


@dataclass(frozen=True, eq=False)
class IntegerCell:
    """Element-wise update of an LSTM or GRU layer.

    Parameters
    ----------
    name, kind, gates, output
        As in :class:`darb_prune.frontend.stages.CellStage`.
    state : int64 tensor of shape (units,), optional
        c (units ``2**-11``) or s (units ``2**-15``) at the first time step; zeros if absent.
    """

    name: str
    kind: str
    gates: str
    output: str
    state: Tensor | None = None

    @property
    def inputs(self) -> tuple[str, ...]:
        return (self.gates,)

    def run(self, gates: Tensor, state: Tensor, target: IntegerTensor) -> tuple[Tensor, Tensor]:
        """Output and new state; all int64, shapes (samples, 4 * units) and (samples, units)."""
        bits = target.bits
        if self.kind == "lstm":
            i, f, g, o = gates.chunk(4, 1)
            state = ((((f * state) << 4) + i * g + (1 << 18)) >> 19).clamp(-32768, 32767)
            t = _TANH[((state + 32) >> 6).clamp(-128, 127) + 128]
            output = (o * t + (1 << (30 - bits))) >> (31 - bits)
        else:
            r, z, n_x, n_h = gates.chunk(4, 1)
            n = _TANH[(((n_x << 15) + r * n_h + (1 << 20)) >> 21).clamp(-128, 127) + 128]
            output = state = n + ((z * (state - n) + (1 << 14)) >> 15)
            if bits < 16:
                output = (state + (1 << (15 - bits))) >> (16 - bits)
        return output.clamp(target.qmin, target.qmax), state


@dataclass(frozen=True, eq=False)
class IntegerEmbedding:
    """Rows of ``table``, int64 of shape (symbols, features), for the symbols of the input."""

    name: str
    input: str
    output: str
    table: Tensor

    @property
    def inputs(self) -> tuple[str, ...]:
        return (self.input,)
