"""The oracle: an integer network, executed exactly as ``docs/arithmetic.md`` says, on torch's int64 tensors.

It is built from masked *dense* integer weights in logical order and shares no code with encoder, plan or ROMs.
Products are summed in float64, which is exact as long as no sum can reach ``2**53``; that is checked.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from darb_prune.container import DarbError
from darb_prune.encoded import EncodedNetwork, TestVectors
from darb_prune.stages import Operand, Window

__all__ = [
    "GRU_BITS",
    "LSTM_BITS",
    "UNITS",
    "IntegerCell",
    "IntegerEmbedding",
    "IntegerMatrix",
    "IntegerNetwork",
    "IntegerTensor",
    "function_table",
    "requantize",
]

UNITS = {"sigmoid": 2.0**-4, "tanh": 2.0**-5}
"""Real value of one step of the index of a function table."""
LSTM_BITS, GRU_BITS = 11, 15
"""Bits behind the point of the state of a cell (and, 11, of ``n_x`` and ``n_h`` of a GRU)."""
CHUNK = 1 << 21  # elements of all tensors of a frame, over samples: bounds memory


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
    initial : int64 tensor of shape (size,), optional
        Of a value that is read before it is written: at the first step; zeros if absent.
    """

    name: str
    shape: tuple[int, int, int]
    bits: int
    qmin: int
    qmax: int
    scale: float
    initial: Tensor | None = None

    @property
    def size(self) -> int:
        return prod(self.shape)


@dataclass(frozen=True, eq=False)
class IntegerMatrix:
    """One integer layer.

    Parameters
    ----------
    name, output, inputs, first, window, operand, pool, maximum
        As in :class:`darb_prune.stages.Matrix`.
    weights : tuple of int64 tensors
        One an input, dense, in logical order, 0 where masked: (rows, size); with a window (rows, channels, height,
        width), 1 channel if it is depthwise.
    bias, mult, shift : int64 tensors of shape (rows,)
    weight_bits : int
    clamp : (int, int)
    tables : int64 tensor of shape (tables, 256)
    function : int64 tensor of shape (rows,)
        0 for none, ``k`` for ``tables[k - 1]``.
    kept : tuple of bool tensors or None
        Which weights are kept (a kept weight can be 0), as matrices of :mod:`darb_prune.matrix`, one an input; all if
        absent. This and what follows is only passed on to the encoder.
    levels : int16 tensor of shape (rows, 2), optional
        Level of each row; absent if the mask is irregular.
    orders : tuple of int64 tensors or None
        Storage order of the columns of each input; absent if any will do.
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
    tables: Tensor | None = None
    function: Tensor | None = None
    operand: Operand | None = None
    pool: tuple[int, int] = (1, 1)
    maximum: bool = False
    kept: tuple[Tensor | None, ...] = ()
    levels: Tensor | None = None
    orders: tuple[Tensor | None, ...] = ()

    @property
    def rows(self) -> int:
        return len(self.bias)

    @cached_property
    def _weights(self) -> tuple[Tensor, ...]:
        return tuple(weight.double() for weight in self.weights)

    def run(self, values: dict[str, Tensor], target: IntegerTensor) -> None:
        """Write the output into ``values``, whose tensors are int64 of shape (samples, channels, height, width)."""
        positions = [size * pool for size, pool in zip(target.shape[1:], self.pool, strict=True)]
        columns = (slice(None), None, None)
        acc = self._accumulate(values, positions)
        y = requantize(acc, self.bias[columns], self.mult[columns], self.shift[columns])
        if self.function is not None:
            index = y.clamp(-128, 127) + 128 + 256 * (self.function[columns] - 1).clamp(min=0)
            y = torch.where(self.function[columns] > 0, self.tables.flatten()[index], y)
        if self.operand is not None:
            self._add(y, values[self.operand.value])
        y = y.clamp(*self.clamp)
        if self.pool != (1, 1):
            y = y.unflatten(3, (-1, self.pool[1])).unflatten(2, (-1, self.pool[0])).amax((3, 5))
        if self.output not in values:
            values[self.output] = y.new_zeros(len(y), *target.shape)
        place = values[self.output][:, self.first : self.first + self.rows]
        place[:] = torch.maximum(place, y) if self.maximum else y

    def _accumulate(self, values: dict[str, Tensor], positions: list[int]) -> Tensor:
        total = None
        for name, weight in zip(self.inputs, self._weights, strict=True):
            x = values[name].double()
            if self.window is None:
                acc = (x.flatten(1) @ weight.T)[:, :, None, None]
            else:
                groups = x.shape[1] if self.window.depthwise else 1
                acc = F.conv2d(self._padded(x, positions), weight, None, self.window.stride, groups=groups)
            total = acc if total is None else total + acc
        return total.to(torch.int64)

    def _padded(self, x: Tensor, positions: list[int]) -> Tensor:
        """``x`` with the zeros around it, or without the edges, so that there are exactly ``positions`` windows."""
        window, pads = self.window, []
        for axis in (1, 0):  # as F.pad wants them: last dimension first
            before = window.padding[axis] - window.offset[axis]
            reach = (positions[axis] - 1) * window.stride[axis] + window.kernel[axis]
            pads += [before, reach - before - x.shape[2 + axis]]
        return F.pad(x, pads)

    def _add(self, y: Tensor, operand: Tensor) -> None:
        """Add the channels that there are to the rows that get them, in place."""
        (down, right), first = self.operand.stride, self.operand.first
        rows = slice(max(first, 0), min(self.rows, first + operand.shape[1]))
        channels = slice(rows.start - first, rows.stop - first)
        y[:, rows] += operand[:, channels, ::down, ::right][:, :, : y.shape[2], : y.shape[3]]


@dataclass(frozen=True, eq=False)
class IntegerCell:
    """Element-wise update of an LSTM or GRU layer.

    Parameters
    ----------
    name, kind, gates, output
        As in :class:`darb_prune.stages.Cell`.
    state : int64 tensor of shape (units,), optional
        c (units ``2**-11``) or s (units ``2**-15``) at the first step; zeros if absent.
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


class IntegerNetwork(nn.Module):
    """The oracle.

    Parameters
    ----------
    name : str
    input, output : str
    tensors : iterable of IntegerTensor
    stages : iterable of IntegerMatrix, IntegerCell and IntegerEmbedding
        In order of execution.
    recurrent : bool
    emit : str
        As in :class:`darb_prune.stages.Stages`.

    Raises
    ------
    DarbError
        If the accumulator of a layer may grow beyond what is computed exactly.
    """

    def __init__(
        self,
        name: str,
        input: str,
        output: str,
        tensors: Iterable[IntegerTensor],
        stages: Iterable[IntegerMatrix | IntegerCell | IntegerEmbedding],
        recurrent: bool = False,
        emit: str = "step",
    ):
        super().__init__()
        self.name, self.input, self.output, self.recurrent, self.emit = name, input, output, recurrent, emit
        self.tensors = {tensor.name: tensor for tensor in tensors}
        self.stages = tuple(stages)
        for matrix in self.matrices:
            ends = [max(-self.tensors[name].qmin, self.tensors[name].qmax) for name in matrix.inputs]
            most = sum(
                int(weight.flatten(1).abs().sum(1).max()) * end
                for weight, end in zip(matrix.weights, ends, strict=True)
            )
            if most >= 1 << 53:
                raise DarbError(f"layer {matrix.name!r}: a sum may reach {most}; use fewer bits")

    @property
    def matrices(self) -> list[IntegerMatrix]:
        return [stage for stage in self.stages if isinstance(stage, IntegerMatrix)]

    @property
    def delayed(self) -> list[str]:
        """Tensors that are read before they are written."""
        written, found = {self.input}, []
        for stage in self.stages:
            reads = [*stage.inputs]
            if isinstance(stage, IntegerMatrix) and stage.operand:
                reads.append(stage.operand.value)
            found += [name for name in reads if name not in written and name not in found]
            written.add(stage.output)
        return found

    def quantize_input(self, x: Tensor) -> Tensor:
        """Real inputs, samples (and steps) first -> int64 of shape (samples[, steps], size), rounded and clamped.

        Symbols (a tensor of integers) stay what they are.
        """
        source = self.tensors[self.input]
        x = x.reshape(*x.shape[: 1 + self.recurrent], -1)
        if not x.is_floating_point():
            return x.to(torch.int64)
        return (x.double() / source.scale).round().clamp(source.qmin, source.qmax).to(torch.int64)

    def trace(self, x: Tensor, lengths: Tensor | None = None) -> dict[str, Tensor]:
        """All tensors by name, in logical order.

        Parameters
        ----------
        x : integer tensor of shape (samples, size); of a recurrent network (samples, steps, size)
        lengths : integer tensor of shape (samples,), optional
            Steps of each sequence, the rest being fill; all of them if absent.

        Returns
        -------
        dict of str to int64 tensor of shape (frames, size)
            A frame is a sample, or a step of a sequence; the frames of a sequence follow each other. The tail of a
            network that emits at the last step is computed in every frame.
        """
        lengths = self._check(x, lengths)
        parts = {name: [] for name in self.tensors}
        for piece, count in zip(x.split(self._chunk), lengths.split(self._chunk), strict=True):
            taken = torch.arange(x.shape[1])[None] < count[:, None] if self.recurrent else slice(None)
            frames = [{name: value.flatten(1) for name, value in step.items()} for step, _ in self._steps(piece)]
            for name, found in parts.items():
                values = [frame[name] for frame in frames]
                found.append((torch.stack(values, 1) if self.recurrent else values[0])[taken])
        return {name: torch.cat(found) for name, found in parts.items()}

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Integers of the output tensor for integers of the input tensor; arguments as for :meth:`trace`.

        Returns
        -------
        int64 tensor of shape (samples, size), or (samples, steps, size) if the network emits at every step.
        """
        lengths = self._check(x, lengths)
        pieces = zip(x.split(self._chunk), lengths.split(self._chunk), strict=True)
        return torch.cat([self._emitted(self.run(piece)[0], count) for piece, count in pieces])

    def run(self, x: Tensor, state: dict | None = None) -> tuple[Tensor, dict]:
        """Output at every step of ``x``, and the state behind it, which the next call goes on from."""
        outputs, left = [], state
        for values, left in self._steps(x, state):  # noqa: B007
            outputs.append(values[self.output].flatten(1))
        return torch.stack(outputs, 1) if self.recurrent else outputs[0], left

    def vectors(self, encoded: EncodedNetwork, x: Tensor, labels: Tensor | None = None) -> TestVectors:
        """Test vectors of ``encoded``, which was made of this network.

        Parameters
        ----------
        encoded : EncodedNetwork
        x : tensor, as for :meth:`quantize_input`
        labels : integer tensor, optional
        """
        x = self.quantize_input(x)
        traced = {name: values.numpy().astype(np.int32) for name, values in self.trace(x).items()}
        lengths = np.full(len(x), x.shape[1], np.int32) if self.recurrent else None
        made = TestVectors(encoded.digest, traced, None if labels is None else labels.flatten().numpy(), lengths)
        made.check(encoded)
        return made

    def _emitted(self, outputs: Tensor, lengths: Tensor) -> Tensor:
        if self.recurrent and self.emit == "last":
            return outputs[torch.arange(len(outputs)), lengths - 1]
        return outputs

    @property
    def _chunk(self) -> int:
        """Samples at a time."""
        return max(CHUNK // sum(tensor.size for tensor in self.tensors.values()), 1)

    def _check(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        source = self.tensors[self.input]
        shape = f"(samples, {'steps, ' if self.recurrent else ''}{source.size})"
        if x.is_floating_point() or x.dim() != 2 + self.recurrent or x.shape[-1] != source.size:
            raise DarbError(f"integer inputs of shape {shape} are needed; use quantize_input")
        if x.numel() and not (source.qmin <= int(x.min()) and int(x.max()) <= source.qmax):
            raise DarbError(f"an input leaves the range {source.qmin}..{source.qmax}")
        steps = x.shape[1] if self.recurrent else 1
        lengths = torch.full((len(x),), steps) if lengths is None else torch.as_tensor(lengths)
        if lengths.shape != (len(x),) or not bool(((lengths >= 1) & (lengths <= steps)).all()):
            raise DarbError(f"lengths must be {len(x)} numbers from 1 to {steps}")
        return lengths

    def _steps(self, x: Tensor, state: dict | None = None):
        """All tensors, int64 of shape (samples, channels, height, width), and the state behind it, step by step."""
        if state is None:
            held = [self.tensors[name] for name in self.delayed]
            state = {tensor.name: self._initial(len(x), tensor.initial, tensor) for tensor in held}
            for stage in self.stages:
                if isinstance(stage, IntegerCell):
                    state[stage] = self._initial(len(x), stage.state, self.tensors[stage.output]).flatten(1)
        for frame in x.unbind(1) if self.recurrent else (x,):
            values = {self.input: frame.to(torch.int64).view(len(x), *self.tensors[self.input].shape)}
            values |= {name: state[name] for name in self.delayed}
            state = dict(state)
            for stage in self.stages:
                target = self.tensors[stage.output]
                if isinstance(stage, IntegerMatrix):
                    stage.run(values, target)
                elif isinstance(stage, IntegerCell):
                    output, state[stage] = stage.run(values[stage.gates].flatten(1), state[stage], target)
                    values[stage.output] = output.view(len(x), *target.shape)
                else:
                    values[stage.output] = stage.table[values[self.input].flatten(1)].view(len(x), *target.shape)
            state |= {name: values[name] for name in self.delayed}
            yield values, state

    @staticmethod
    def _initial(samples: int, values: Tensor | None, tensor: IntegerTensor) -> Tensor:
        values = torch.zeros(tensor.size, dtype=torch.int64) if values is None else values
        return values.view(1, *tensor.shape).repeat(samples, 1, 1, 1)
