"""TFLite operators without weights as functions of torch.

Tensors of three dimensions and more have their channels first here, as in torch, and last in the file. Axes and sizes
of a file are those of channels last.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from darb_prune.errors import ModelError
from darb_prune.frontend.graph_layers import pairs, same_padding
from darb_prune.frontend.tflite.reading import ELEMENTS_MAX, FileTensor
from darb_prune.modules.grids import Scales

__all__ = ["ACTIVATIONS", "ELEMENTWISE", "OPERATORS", "Function", "Known", "as_file", "as_torch", "window_padding"]

Function = Callable[..., Tensor | tuple[Tensor, ...]]
"""Of the inputs that are no constants."""
Pair = tuple[int, int]


@dataclass(frozen=True, eq=False)
class Known:
    """What is known of an operator when the model is built.

    Parameters
    ----------
    options : dict
    inputs : tuple of FileTensor or None
    outputs : tuple of FileTensor
    flattened : tuple of int, optional
        Shape of the image that RESHAPE has flattened to its first input, channels last.
    """

    options: dict[str, Any]
    inputs: tuple[FileTensor | None, ...]
    outputs: tuple[FileTensor, ...]
    flattened: tuple[int, ...] | None = None

    def tensor(self, input_number: int) -> FileTensor:
        """An input that must be there."""
        tensor = self.inputs[input_number] if input_number < len(self.inputs) else None
        if tensor is None:
            raise ModelError(f"it has {len(self.inputs)} inputs; convert it again")
        return tensor

    def has(self, input_number: int) -> bool:
        return input_number < len(self.inputs) and self.inputs[input_number] is not None

    def shape(self, input_number: int) -> tuple[int, ...]:
        return self.tensor(input_number).shape

    def image(self) -> tuple[int, int, int]:
        """Lines, columns and channels of the first input."""
        shape = self.shape(0)
        if len(shape) != 4:
            raise ModelError(f"it reads a tensor of shape {list(shape)}; an image has 4 dimensions")
        return shape[1], shape[2], shape[3]

    def constant(self, input_number: int, what: str) -> tuple[Tensor, Scales | None]:
        """Real numbers of an input that must be a constant, and the scales of its integers."""
        tensor = self.tensor(input_number)
        if tensor.data is None:
            raise ModelError(
                f"{what}, tensor {tensor.name!r}, must be constant; freeze the model before you convert it"
            )
        return tensor.real

    def integers(self, input_number: int) -> list[int]:
        """Sizes or axes."""
        return self.tensor(input_number).integers()

    def activation(self) -> str:
        """The function that belongs to the operator."""
        number = self.options["FusedActivationFunction"]
        if number not in _FUSED:
            raise ModelError(f"activation {number} is not supported; supported: {', '.join(_FUSED.values())}")
        return _FUSED[number]


_FUSED = {0: "NONE", 1: "RELU", 2: "RELU_N1_TO_1", 3: "RELU6", 4: "TANH"}
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "RELU": nn.ReLU, "RELU_N1_TO_1": nn.Hardtanh, "RELU6": nn.ReLU6, "TANH": nn.Tanh,
}  # fmt: skip


def as_torch(x: Tensor) -> Tensor:
    """Channels last -> channels first."""
    return x.movedim(-1, 1) if x.dim() > 2 else x


def as_file(x: Tensor) -> Tensor:
    """Channels first -> channels last."""
    return x.movedim(1, -1) if x.dim() > 2 else x


def _axis(axis: int, dims: int) -> int:
    """An axis of the file, here."""
    if not -dims <= axis < dims:
        raise ModelError(f"axis {axis} of {dims} dimensions; convert it again")
    axis %= dims
    if dims < 3 or axis == 0:
        return axis
    return 1 if axis == dims - 1 else axis + 1


def window_padding(known: Known, kernel: Pair, strides: Pair, dilations: Pair = (1, 1)) -> tuple[Pair, Pair]:
    """Zeros above and to the left of an image, below and to the right of it."""
    if min(*kernel, *strides, *dilations) < 1:
        raise ModelError(f"kernel {kernel}, stride {strides}, dilation {dilations}; convert it again")
    lines, columns, channels = known.image()
    if known.options["Padding"] == 1:  # VALID
        return (0, 0), (0, 0)
    sides = []
    for length, stride, dilation, size in zip(kernel, strides, dilations, (lines, columns), strict=True):
        sides.append(same_padding((length - 1) * dilation + 1, stride, size))
    (top, bottom), (left, right) = sides
    if (lines + top + bottom) * (columns + left + right) * channels > ELEMENTS_MAX:
        raise ModelError(f"kernel {kernel}, dilation {dilations} on an image of {lines} x {columns}; convert it again")
    return (top, left), (bottom, right)


def _pool_sizes(known: Known) -> tuple[Pair, Pair, Pair, Pair]:
    options = known.options
    kernel, strides = (options["FilterHeight"], options["FilterWidth"]), (options["StrideH"], options["StrideW"])
    return kernel, strides, *window_padding(known, kernel, strides)


def _max_pool(known: Known) -> Function:
    kernel, strides, before, after = _pool_sizes(known)
    sides = pairs(before, after)

    def call(x: Tensor) -> Tensor:
        return F.max_pool2d(F.pad(x, sides, value=float("-inf")) if any(sides) else x, kernel, strides)

    return call


def _average_pool(known: Known) -> Function:
    kernel, strides, before, after = _pool_sizes(known)
    if any((*before, *after)):
        raise ModelError("SAME padding does not count in its averages; use VALID, or sizes that need no padding")
    return partial(F.avg_pool2d, kernel_size=kernel, stride=strides)


def _reduced(function: Callable[..., Tensor], known: Known) -> Function:
    """Over axes that are a constant; they stay if the output has as many dimensions."""
    dims = len(known.shape(0))
    axes = [_axis(axis, dims) for axis in known.integers(1)]
    stays = len(known.outputs[0].shape) == dims
    if not stays and dims - len(axes) > 2:
        raise ModelError("it takes one axis of an image away; keep the dimensions (keepdims=True)")
    return lambda x: function(x, tuple(axes), stays)


def _samples(known: Known, input_number: int = 0) -> int:
    """How many samples the file was made for."""
    shape, made = known.shape(input_number), known.outputs[0].shape
    if not shape or not made or shape[0] != made[0]:
        raise ModelError(f"it makes {list(made)} of {list(shape)}; samples must stay the first dimension")
    return shape[0]


def _reshape(known: Known) -> Function:
    """Sizes are those of the output in the file, but for the number of samples."""
    _samples(known)
    shape, made = known.shape(0), known.outputs[0].shape
    if prod(shape) != prod(made):
        raise ModelError(f"it makes {list(made)} of {list(shape)}; convert it again")
    if len(shape) > 2 and len(made) == 2:
        return lambda x: x.flatten(1)
    return lambda x: as_torch(as_file(x).reshape(len(x), *made[1:]))


def _transpose(known: Known) -> Function:
    order = known.integers(1)
    if sorted(order) != list(range(len(known.shape(0)))):
        raise ModelError(f"it permutes {len(known.shape(0))} dimensions as {order}; convert it again")
    return lambda x: as_torch(as_file(x).permute(order))


def _pad(known: Known) -> Function:
    dims, sizes = len(known.shape(0)), known.integers(1)
    fill = float(known.constant(2, "the padding")[0]) if known.has(2) else 0.0
    if len(sizes) != 2 * dims or min(sizes) < 0 or sum(sizes) > ELEMENTS_MAX:
        raise ModelError(f"it pads {dims} dimensions by {sizes}; convert it again")
    padded = prod(
        size + before + after for size, before, after in zip(known.shape(0), sizes[::2], sizes[1::2], strict=True)
    )
    if padded > ELEMENTS_MAX:
        raise ModelError(f"it pads {list(known.shape(0))} by {sizes}; convert it again")
    before, after = [0] * dims, [0] * dims
    for axis in range(dims):
        before[_axis(axis, dims)], after[_axis(axis, dims)] = sizes[2 * axis : 2 * axis + 2]
    sides = pairs(before, after)
    while len(sides) > 2 and sides[-2:] == [0, 0]:  # of dimensions that are not padded
        del sides[-2:]
    return lambda x: F.pad(x, sides, value=fill)


def _concatenation(known: Known) -> Function:
    if any(tensor is None or tensor.data is not None for tensor in known.inputs):
        raise ModelError("it joins constants; leave them out")
    axis = _axis(known.options["Axis"], len(known.outputs[0].shape))
    return lambda *tensors: torch.cat(tensors, axis)


def _split(known: Known, axis_input: int = 0) -> Function:
    """SPLIT has its axis in front of the tensor, SPLIT_V sizes and axis behind it."""
    tensor = 1 - axis_input if axis_input < 2 else 0
    (axis,) = known.integers(axis_input)
    dims = len(known.shape(tensor))
    sizes = [out.shape[axis] if -len(out.shape) <= axis < len(out.shape) else 0 for out in known.outputs]
    return lambda x: x.split(sizes, _axis(axis, dims))


def _slice(known: Known) -> Function:
    begin, sizes, shape = known.integers(1), known.integers(2), known.shape(0)
    ends = [first + size if size >= 0 else None for first, size in zip(begin, sizes, strict=True)]
    return _indexed([slice(*entry) for entry in zip(begin, ends, strict=True)], shape)


def _strided_slice(known: Known) -> Function:
    options, shape = known.options, known.shape(0)
    if options["EllipsisMask"] or options["NewAxisMask"]:
        raise ModelError("an index with ... or a new axis; write the index of each dimension")
    index: list[slice | int] = []
    for axis, (begin, end, stride) in enumerate(zip(*map(known.integers, (1, 2, 3)), strict=True)):
        masks = {name: options[f"{name}Mask"] >> axis & 1 for name in ("Begin", "End", "ShrinkAxis")}
        if stride < 1:
            raise ModelError(f"a stride of {stride}; only strides from 1 on are supported")
        if masks["ShrinkAxis"]:
            index.append(begin)
        else:
            index.append(slice(None if masks["Begin"] else begin, None if masks["End"] else end, stride))
    return _indexed(index, shape)


def _indexed(index: list[Any], shape: tuple[int, ...]) -> Function:
    """An index of the file, which takes all samples, however many there are."""
    if not index or not isinstance(index[0], slice) or index[0].indices(shape[0]) != (0, shape[0], 1):
        raise ModelError("it takes some of the samples; index other dimensions only")
    rest = tuple(index[1:])
    return lambda x: as_torch(as_file(x)[(slice(None), *rest)])


def _binary(function: Callable[[Any, Any], Tensor], known: Known) -> Function:
    """Two tensors, or a tensor and a constant of one number."""
    sides: list[float | None] = []
    for input_number in (0, 1):
        if known.tensor(input_number).data is None:
            sides.append(None)
            continue
        value = known.constant(input_number, "a side")[0]
        if value.numel() != 1:
            raise ModelError(
                f"a constant of {value.numel()} elements; one number is possible, fold the others into a layer"
            )
        sides.append(float(value))

    def call(*tensors: Tensor) -> Tensor:
        left = iter(tensors)
        return function(*(next(left) if side is None else side for side in sides))

    return _activated(call, known)


def _activated(function: Function, known: Known) -> Function:
    """``function``, and the activation that belongs to the operator."""
    activation = known.activation()
    if activation == "NONE":
        return function
    module = ACTIVATIONS[activation]()
    return lambda *tensors: module(function(*tensors))


def _softmax(known: Known) -> Function:
    if known.options["Beta"] != 1.0:
        raise ModelError(f"beta {known.options['Beta']:g}; multiply the logits in the layer before instead")
    return partial(torch.softmax, dim=_axis(-1, len(known.shape(0))))


def _arg_max(known: Known) -> Function:
    (axis,) = known.integers(1)
    return partial(torch.argmax, dim=_axis(axis, len(known.shape(0))))


def _prelu(known: Known) -> Function:
    slopes = known.constant(1, "the slopes")[0].reshape(-1)
    return lambda x: F.prelu(x, slopes)


def _plain(function: Function) -> Callable[[Known], Function]:
    return lambda known: function


ELEMENTWISE: dict[str, Callable[[Known], Function]] = {
    "RELU": _plain(F.relu),
    "RELU6": _plain(F.relu6),
    "RELU_N1_TO_1": _plain(F.hardtanh),
    "RELU_0_TO_1": _plain(lambda x: x.clamp(0.0, 1.0)),
    "LOGISTIC": _plain(torch.sigmoid),
    "TANH": _plain(torch.tanh),
    "HARD_SWISH": _plain(F.hardswish),
    "LEAKY_RELU": lambda known: partial(F.leaky_relu, negative_slope=known.options["Alpha"]),
    "ELU": _plain(F.elu),
    "GELU": lambda known: partial(F.gelu, approximate="tanh" if known.options["Approximate"] else "none"),
    "ABS": _plain(torch.abs),
    "EXP": _plain(torch.exp),
    "NEG": _plain(torch.neg),
    "SQUARE": _plain(torch.square),
    "QUANTIZE": _plain(lambda x: x),
    "DEQUANTIZE": _plain(lambda x: x),
}
"""Operators of one tensor, element by element."""
OPERATORS: dict[str, Callable[[Known], Function]] = {
    **ELEMENTWISE,
    "ADD": partial(_binary, lambda x, y: x + y),
    "SUB": partial(_binary, lambda x, y: x - y),
    "MUL": partial(_binary, lambda x, y: x * y),
    "PRELU": _prelu,
    "SOFTMAX": _softmax,
    "LOG_SOFTMAX": lambda known: partial(torch.log_softmax, dim=_axis(-1, len(known.shape(0)))),
    "ARG_MAX": _arg_max,
    "MAX_POOL_2D": lambda known: _activated(_max_pool(known), known),
    "AVERAGE_POOL_2D": lambda known: _activated(_average_pool(known), known),
    "MEAN": partial(_reduced, torch.mean),
    "REDUCE_MAX": partial(_reduced, torch.amax),
    **dict.fromkeys(("RESHAPE", "SQUEEZE", "EXPAND_DIMS"), _reshape),
    "TRANSPOSE": _transpose,
    **dict.fromkeys(("PAD", "PADV2"), _pad),
    "CONCATENATION": lambda known: _activated(_concatenation(known), known),
    "SPLIT": _split,
    "SPLIT_V": partial(_split, axis_input=2),
    "SLICE": _slice,
    "STRIDED_SLICE": _strided_slice,
}
