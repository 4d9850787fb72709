"""TFLite files as plain values: operators, tensors, constants. Everything that a file may lie about is checked here."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from darb_prune.errors import ModelError
from darb_prune.files import unreadable
from darb_prune.modules.grids import Grid, Scales, check_scales

__all__ = ["FileGraph", "FileOperator", "FileTensor", "read_graph"]

Table = Any
"""What a file consists of, in the classes of the package tflite, which is loaded with the first file."""

ELEMENTS_MAX = 1 << 26
"""Most elements of a tensor of one sample."""
COPIES_MAX = 16
"""How many times the bytes of a file may be read: tensors of a forged file can all be the same ones."""
LIMITS = {
    "INT8": (-128, 127), "UINT8": (0, 255), "INT16": (-32768, 32767), "INT32": (-(1 << 31), (1 << 31) - 1),
    "INT64": (-(1 << 63), (1 << 63) - 1),
}  # fmt: skip
_ARRAYS = {
    "FLOAT32": np.float32, "FLOAT16": np.float16, "INT8": np.int8, "UINT8": np.uint8, "INT16": np.int16,
    "INT32": np.int32, "INT64": np.int64, "BOOL": np.bool_,
}  # fmt: skip
_EMPTY = struct.pack("<HHi", 4, 4, 4)
"""A table without fields, which starts at byte 4: all options have their defaults."""
_WINDOW = "Padding StrideH StrideW FusedActivationFunction"
_OPTIONS = {
    "CONV_2D": ("Conv2DOptions", f"{_WINDOW} DilationHFactor DilationWFactor"),
    "DEPTHWISE_CONV_2D": ("DepthwiseConv2DOptions", f"{_WINDOW} DilationHFactor DilationWFactor"),
    "FULLY_CONNECTED": ("FullyConnectedOptions", "FusedActivationFunction WeightsFormat"),
    **dict.fromkeys(("AVERAGE_POOL_2D", "MAX_POOL_2D"), ("Pool2DOptions", f"{_WINDOW} FilterHeight FilterWidth")),
    "ADD": ("AddOptions", "FusedActivationFunction"),
    "SUB": ("SubOptions", "FusedActivationFunction"),
    "MUL": ("MulOptions", "FusedActivationFunction"),
    "CONCATENATION": ("ConcatenationOptions", "Axis FusedActivationFunction"),
    "SOFTMAX": ("SoftmaxOptions", "Beta"),
    "LEAKY_RELU": ("LeakyReluOptions", "Alpha"),
    "GELU": ("GeluOptions", "Approximate"),
    "STRIDED_SLICE": ("StridedSliceOptions", "BeginMask EndMask EllipsisMask NewAxisMask ShrinkAxisMask"),
}
"""Class of the options of operators, and those of them that are read."""


@dataclass(frozen=True, eq=False)
class FileTensor:
    """A tensor of the graph.

    Parameters
    ----------
    name : str
    shape : tuple of int
        In the order of TFLite, channels last; of one sample, or of as many as the file was made for.
    kind : str
        Type of its elements, as TFLite calls it.
    scales : Scales, optional
        What its integers stand for.
    data : tensor, optional
        Its elements, if it is a constant.
    """

    name: str
    shape: tuple[int, ...]
    kind: str
    scales: Scales | None = None
    data: Tensor | None = None

    @property
    def grid(self) -> Grid | None:
        """That of its integers, if they stand for real numbers."""
        return None if self.scales is None else self.scales.grid

    @cached_property
    def real(self) -> tuple[Tensor, Scales | None]:
        """Real numbers of a constant, float32, and the scales of its integers without a zero point."""
        assert self.data is not None, "only constants have data"
        return (self.data.to(torch.float32), None) if self.scales is None else self.scales.real(self.data)

    def integers(self) -> list[int]:
        """Elements of a constant: sizes, axes."""
        if self.data is None or self.data.is_floating_point() or self.data.numel() > 16:
            raise ModelError(f"tensor {self.name!r} is no constant of a few integers; convert it with fixed shapes")
        return [int(value) for value in self.data.reshape(-1)]


@dataclass(frozen=True, eq=False)
class FileOperator:
    """An operator of the graph.

    Parameters
    ----------
    name : str
        Its kind and its place in the file, ``"conv_2d_0"``.
    kind : str
        As TFLite calls it, ``"CONV_2D"``.
    inputs, outputs : tuple of int
        Numbers of tensors; -1 where an optional one is left out.
    options : dict
        By the names of the schema.
    """

    name: str
    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: dict[str, Any]


@dataclass(frozen=True, eq=False)
class FileGraph:
    """All of a file that is needed: one subgraph with one input.

    Parameters
    ----------
    tensors : dict of int to FileTensor
        Those that operators read or write, and the input.
    operators : tuple of FileOperator
        In the order of execution.
    source : int
        The input.
    outputs : tuple of int
    """

    tensors: dict[int, FileTensor]
    operators: tuple[FileOperator, ...]
    source: int
    outputs: tuple[int, ...]


def read_graph(path: str | Path) -> FileGraph:
    """The graph of a TFLite file.

    Raises
    ------
    ModelError
        If the package ``tflite`` is missing, or the file is no valid model with one subgraph and one input.
    """
    try:
        import tflite
    except ImportError as error:
        raise ModelError(f"{path}: reading it needs the package tflite; pip install 'darb[tflite]'") from error
    if reason := unreadable(Path(path)):
        raise ModelError(f"{path}: {reason}")
    try:
        contents = Path(path).read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror or error}") from error
    try:
        if contents[4:8] != b"TFL3":
            raise ModelError("it does not begin as one")
        return _Reader(tflite, contents).graph()
    except ModelError as error:
        raise ModelError(f"{path}: not a valid TFLite model ({error}); convert it again") from None
    # Whatever offsets, lengths and counts that point anywhere lead to.
    except (struct.error, ValueError, TypeError, IndexError, OverflowError, AttributeError, KeyError) as error:
        raise ModelError(f"{path}: not a valid TFLite model (it is damaged); convert it again") from error


class _Reader:
    def __init__(self, tflite: Any, contents: bytes) -> None:
        self.tflite, self.left = tflite, COPIES_MAX * len(contents)
        self.types = {number: name for name, number in vars(tflite.TensorType).items() if isinstance(number, int)}
        self.model = tflite.Model.GetRootAs(contents, 0)

    def _spend(self, size: int) -> None:
        """Count bytes that are read."""
        self.left -= size
        if self.left < 0:
            raise ModelError("the same bytes belong to many tensors")

    def graph(self) -> FileGraph:
        if self.model.SubgraphsLength() != 1:
            raise ModelError(f"{self.model.SubgraphsLength()} subgraphs, one is needed")
        graph = self.model.Subgraphs(0)
        sources, outputs = self._numbers(graph.InputsAsNumpy()), self._numbers(graph.OutputsAsNumpy())
        if len(sources) != 1:
            raise ModelError(f"{len(sources)} inputs, one is needed")
        if not outputs or min(*sources, *outputs) < 0:
            raise ModelError("no output")
        operators = tuple(self._operators(graph))
        used = {number for operator in operators for number in (*operator.inputs, *operator.outputs)} - {-1}
        tensors = {number: self._tensor(graph, number) for number in sorted(used | {*sources, *outputs})}
        return FileGraph(tensors, operators, sources[0], outputs)

    def _numbers(self, numbers: Any) -> tuple[int, ...]:
        """A vector of integers; one that is absent is 0 in the classes of tflite."""
        self._spend(getattr(numbers, "nbytes", 0))
        return tuple(int(number) for number in numbers) if isinstance(numbers, np.ndarray) else ()

    def _operators(self, graph: Table) -> Iterator[FileOperator]:
        for place in range(graph.OperatorsLength()):
            operator = graph.Operators(place)
            code = self.model.OperatorCodes(operator.OpcodeIndex())
            number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())  # old files have the second one only
            kind = self.tflite.opcode2name(number)
            options = self._options(operator, kind)
            inputs, outputs = self._numbers(operator.InputsAsNumpy()), self._numbers(operator.OutputsAsNumpy())
            if not outputs or min(outputs) < 0:
                raise ModelError(f"operator {place} has no output")
            yield FileOperator(f"{kind.lower()}_{place}", kind, inputs, outputs, options)

    def _options(self, operator: Table, kind: str) -> dict[str, Any]:
        if kind not in _OPTIONS:
            return {}
        name, fields = _OPTIONS[kind]
        table, given = getattr(self.tflite, name)(), operator.BuiltinOptions()
        if given is None or operator.BuiltinOptionsType() != getattr(self.tflite.BuiltinOptions, name):
            table.Init(_EMPTY, 4)
        else:
            table.Init(given.Bytes, given.Pos)
        return {field: getattr(table, field)() for field in fields.split()}

    def _tensor(self, graph: Table, number: int) -> FileTensor:
        if not 0 <= number < graph.TensorsLength():
            raise ModelError(f"there is no tensor {number}")
        tensor = graph.Tensors(number)
        name = (tensor.Name() or b"").decode(errors="replace")
        self._spend(len(name))
        shape, kind = self._numbers(tensor.ShapeAsNumpy()), self.types.get(tensor.Type(), "unknown")
        if len(shape) > 8 or not all(0 <= size <= ELEMENTS_MAX for size in shape) or prod(shape) > ELEMENTS_MAX:
            raise ModelError(f"tensor {number} has the shape {list(shape[:8])}")
        try:
            return FileTensor(name, shape, kind, self._scales(tensor, kind), self._data(tensor, shape, kind))
        except ModelError as error:
            raise ModelError(f"tensor {name!r}: {error}") from None

    def _scales(self, tensor: Table, kind: str) -> Scales | None:
        quantization = tensor.Quantization()
        if quantization is None or not quantization.ScaleLength() or kind not in LIMITS:
            return None
        scale, zero = quantization.ScaleAsNumpy(), quantization.ZeroPointAsNumpy()
        self._spend(scale.nbytes)
        zero = zero if isinstance(zero, np.ndarray) else np.zeros(1, np.int64)
        if zero.size not in (1, scale.size):
            raise ModelError(f"{scale.size} scales and {zero.size} zero points")
        scales = torch.from_numpy(scale.astype(np.float64))
        check_scales(scales)
        zeros = torch.from_numpy(np.broadcast_to(zero, scale.shape).astype(np.float64))
        return Scales(scales, zeros, quantization.QuantizedDimension(), *LIMITS[kind])

    def _data(self, tensor: Table, shape: tuple[int, ...], kind: str) -> Tensor | None:
        buffer = self.model.Buffers(tensor.Buffer())
        if buffer is None or not buffer.DataLength():
            return None
        contents = buffer.DataAsNumpy()
        self._spend(contents.nbytes)
        if kind not in _ARRAYS:
            raise ModelError(f"constants of type {kind}, supported: {', '.join(_ARRAYS)}")
        if contents.size != prod(shape) * np.dtype(_ARRAYS[kind]).itemsize:
            raise ModelError(f"{contents.size} bytes for {kind} of shape {list(shape)}")
        return torch.from_numpy(contents.view(_ARRAYS[kind]).reshape(shape).copy())
