"""ONNX operators on torch tensors: those without weights, and the numbers that shapes are made of."""

from collections.abc import Callable, Sequence
from functools import reduce
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor

from darb_prune.errors import ModelError
from darb_prune.frontend.graph_layers import pairs, same_padding

__all__ = ["FUNCTIONS", "explicit_pads"]

_POOLS = {
    "max": {3: F.max_pool1d, 4: F.max_pool2d},
    "average": {3: F.avg_pool1d, 4: F.avg_pool2d},
    "adaptive": {3: F.adaptive_avg_pool1d, 4: F.adaptive_avg_pool2d},
}
Numbers = Tensor | Sequence[int]

_TYPES = {
    1: torch.float32, 2: torch.uint8, 3: torch.int8, 6: torch.int32, 7: torch.int64, 9: torch.bool, 10: torch.float16,
    11: torch.float64,
}  # fmt: skip


def explicit_pads(
    attributes: dict, kernel: Sequence[int], strides: Sequence[int], image: Sequence[int | None]
) -> list[int]:
    """Zeros before each dimension of the image, then those behind, in whatever form the attributes say it.

    Parameters
    ----------
    kernel : sequence of int
        Number of taps; how far apart they are is an attribute.
    image : sequence of int or None
        Sizes, as far as they are known.
    """
    kind = attributes.get("auto_pad", "NOTSET")
    if kind == "NOTSET":
        return list(attributes.get("pads", [0] * 2 * len(kernel)))
    if kind == "VALID":
        return [0] * 2 * len(kernel)
    less, more = [], []
    dilations = attributes.get("dilations", [1] * len(kernel))
    spans = [(taps - 1) * dilation + 1 for taps, dilation in zip(kernel, dilations, strict=True)]
    for length, stride, size in zip(spans, strides, image, strict=True):
        if size is None and stride != 1:
            raise ModelError(f"auto_pad {kind} of an image of unknown size; export with explicit pads")
        before, after = same_padding(length, stride, size or length)
        less.append(before)
        more.append(after)
    return less + more if kind == "SAME_UPPER" else more + less


def _numbers(values: Numbers) -> list[int]:
    return values.reshape(-1).tolist() if isinstance(values, Tensor) else list(values)


def _axes(a: dict, axes: Numbers | None) -> list[int] | None:
    """Axes, an attribute in old models and an input in new ones."""
    return a.get("axes") if axes is None else _numbers(axes)


def _clip(a: dict, x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
    limits = [a.get("min") if low is None else float(low), a.get("max") if high is None else float(high)]
    return x.clamp(*limits)


def _hard_sigmoid(a: dict, x: Tensor) -> Tensor:
    alpha, beta = a.get("alpha", 0.2), a.get("beta", 0.5)
    if abs(alpha - 1 / 6) < 1e-6 and abs(beta - 0.5) < 1e-6:
        return F.hardsigmoid(x)
    return (x * alpha + beta).clamp(0, 1)


def _prelu(a: dict, x: Tensor, slope: Tensor) -> Tensor:
    sizes = (1,) * (x.dim() - slope.dim()) + tuple(slope.shape)
    if slope.numel() > 1 and sizes != (1, x.shape[1], *[1] * (x.dim() - 2)):
        raise ModelError(f"PRelu with slopes of shape {tuple(slope.shape)}; one for each channel, or one for all")
    return F.prelu(x, slope.reshape(-1))


def _gelu(a: dict, x: Tensor) -> Tensor:
    return F.gelu(x, approximate=a.get("approximate", "none"))


def _selu(a: dict, x: Tensor) -> Tensor:
    return F.elu(x, a.get("alpha", 1.6732632423543772)) * a.get("gamma", 1.0507009873554805)


def _div(a: dict, x: Tensor, y: Tensor) -> Tensor:
    whole = not x.is_floating_point() and not y.is_floating_point()  # numbers that shapes are made of
    return torch.div(x, y, rounding_mode="trunc" if whole else None)


def _pool(a: dict, x: Tensor, fill: float) -> tuple[Tensor, list[int], list[int], list[int]]:
    """The map, with ``fill`` around it if its sides differ; kernel, strides, and the padding that is left to do."""
    kernel = a["kernel_shape"]
    strides = a.get("strides", [1] * len(kernel))
    if x.dim() not in (3, 4):
        raise ModelError(f"pooling of {x.dim()} dimensions")
    pads = explicit_pads(a, kernel, strides, list(x.shape[2:]))
    before, after = pads[: len(kernel)], pads[len(kernel) :]
    if before == after:
        return x, kernel, strides, before
    return F.pad(x, pairs(before, after), value=fill), kernel, strides, [0] * len(kernel)


def _max_pool(a: dict, x: Tensor) -> Tensor:
    x, kernel, strides, pads = _pool(a, x, float("-inf"))
    dilation = a.get("dilations", [1] * len(kernel))
    return _POOLS["max"][x.dim()](x, kernel, strides, pads, dilation, bool(a.get("ceil_mode", 0)))


def _average_pool(a: dict, x: Tensor) -> Tensor:
    if set(a.get("dilations", [1])) != {1}:
        raise ModelError("AveragePool with dilation")
    counts, image = bool(a.get("count_include_pad", 0)), x
    x, kernel, strides, pads = _pool(a, x, 0.0)
    if x is not image and not counts:
        raise ModelError("AveragePool with padding that is not symmetric and does not count; set count_include_pad")
    return _POOLS["average"][x.dim()](x, kernel, strides, pads, bool(a.get("ceil_mode", 0)), counts)


def _reshape(a: dict, x: Tensor, shape: Tensor) -> Tensor:
    # An export for one batch size has the size in it: what stands in front and stays is taken from the tensor.
    sizes, fixed = _numbers(shape), a.get("fixed") or []
    for axis, (wanted, size) in enumerate(zip(sizes, fixed, strict=False)):
        if wanted != size:
            break
        sizes[axis] = x.shape[axis]
    zero = not a.get("allowzero", 0)
    return x.reshape([x.shape[axis] if size == 0 and zero else size for axis, size in enumerate(sizes)])


def _flatten(a: dict, x: Tensor) -> Tensor:
    axis = a.get("axis", 1) % max(x.dim(), 1)
    return x.flatten(axis) if axis == 1 else x.reshape(prod(x.shape[:axis]), -1)


def _squeeze(a: dict, x: Tensor, axes: Tensor | None = None) -> Tensor:
    numbers = _axes(a, axes)
    return x.squeeze() if numbers is None else x.squeeze(tuple(numbers))


def _unsqueeze(a: dict, x: Tensor, axes: Tensor | None = None) -> Tensor:
    numbers = _axes(a, axes) or []
    for axis in sorted(axis % (x.dim() + len(numbers)) for axis in numbers):
        x = x.unsqueeze(axis)
    return x


def _gather(a: dict, x: Tensor, index: Tensor) -> Tensor:
    axis, count = a.get("axis", 0), index.numel()
    if index.dim() == 0:
        return x.select(axis, int(index))
    return x.select(axis, int(index)).unsqueeze(axis) if count == 1 and index.dim() == 1 else x[
        (slice(None),) * (axis % x.dim()) + (index,)
    ]  # fmt: skip


def _slice(
    a: dict,
    x: Tensor,
    starts: Tensor | None = None,
    ends: Tensor | None = None,
    axes: Tensor | None = None,
    steps: Tensor | None = None,
) -> Tensor:
    first, last = (_numbers(a[k] if v is None else v) for k, v in (("starts", starts), ("ends", ends)))
    numbers = _axes(a, axes) or list(range(len(first)))
    strides = [1] * len(first) if steps is None else _numbers(steps)
    for axis, start, end, step in zip(numbers, first, last, strides, strict=True):
        index = (slice(None),) * (axis % x.dim())
        size = x.shape[axis]
        start, end, step = slice(max(start, -size - 1), max(min(end, size), -size - 1), step).indices(size)
        # Only shapes are read backwards.
        x = x[(*index, slice(start, end, step) if step > 0 else torch.arange(start, end, step))]
    return x


def _split(a: dict, x: Tensor, sizes: Tensor | None = None) -> tuple[Tensor, ...]:
    axis = a.get("axis", 0)
    lengths = a.get("split") if sizes is None else _numbers(sizes)
    if lengths is not None:
        return x.split(list(lengths), axis)
    return x.split(-(-x.shape[axis] // a.get("num_outputs", a["outputs"])), axis)


def _pad(
    a: dict, x: Tensor, pads: Tensor | None = None, value: Tensor | None = None, axes: Tensor | None = None
) -> Tensor:
    sizes = _numbers(a["pads"] if pads is None else pads)
    half = len(sizes) // 2
    before, after = [0] * x.dim(), [0] * x.dim()
    for pad_number, axis in enumerate(range(half) if axes is None else _numbers(axes)):
        before[axis], after[axis] = sizes[pad_number], sizes[half + pad_number]
    fill = float(a.get("value", 0.0) if value is None else value)
    sides, mode = pairs(before, after), a.get("mode", "constant")
    while len(sides) > 2 and sides[-2:] == [0, 0]:  # of dimensions that are not padded
        del sides[-2:]
    return F.pad(x, sides, mode, fill if mode == "constant" else None)


def _mean(a: dict, x: Tensor, axes: Tensor | None = None) -> Tensor:
    return x.mean(*_reduced(a, x, axes))


def _max(a: dict, x: Tensor, axes: Tensor | None = None) -> Tensor:
    return x.amax(*_reduced(a, x, axes))


def _reduced(a: dict, x: Tensor, axes: Tensor | None) -> tuple[tuple[int, ...], bool]:
    """The axes that a Reduce operator takes together, all of them if it names none, and whether they stay."""
    numbers = _axes(a, axes)
    return tuple(range(x.dim()) if numbers is None else numbers), bool(a.get("keepdims", 1))


def _resize(a: dict, x: Tensor, *others: Tensor | None) -> Tensor:
    """Others are the factors; or a region that is not used, the factors, and sizes instead of them."""
    scales, sizes = others[len(others) > 1], others[2] if len(others) > 2 else None
    if scales is not None and scales.numel():
        goal = [round(size * scale) for size, scale in zip(x.shape, scales.tolist(), strict=True)]
    else:
        goal = list(x.shape) if sizes is None else _numbers(sizes)
    mode, place = a.get("mode", "nearest"), a.get("coordinate_transformation_mode", "half_pixel")
    rounding = a.get("nearest_mode", "round_prefer_floor")
    factors = [divmod(size, old) for old, size in zip(x.shape[2:], goal[2:], strict=True)]
    if "half_pixel" in place:
        nearest = rounding.startswith("round")
    else:
        halves = rounding == "round_prefer_floor" and max(factors)[0] <= 2
        nearest = place == "asymmetric" and (rounding == "floor" or halves)
    if mode != "nearest" or not nearest or any(rest for _, rest in factors) or goal[1] != x.shape[1]:
        raise ModelError(
            f"Resize from {tuple(x.shape)} to {tuple(goal)}, {mode}, {place}, {rounding}; use nearest with an integer "
            "factor"
        )
    return F.interpolate(x, size=tuple(goal[2:]), mode="nearest")


def _constant_of_shape(a: dict, shape: Tensor) -> Tensor:
    value = a.get("value")
    value = torch.zeros(1) if value is None else value
    return torch.full(_numbers(shape), value.reshape(-1)[0].item(), dtype=value.dtype)


def _expand(a: dict, x: Tensor, shape: Tensor) -> Tensor:
    sizes = _numbers(shape)
    for axis, size in enumerate(sizes):
        # A state exported for one batch size, the same for all samples.
        if len(sizes) == x.dim() and x.shape[axis] not in (1, size) and bool((x == x.narrow(axis, 0, 1)).all()):
            x = x.narrow(axis, 0, 1)
    return x.expand(torch.broadcast_shapes(x.shape, sizes))


def _cast(a: dict, x: Tensor) -> Tensor:
    if a["to"] not in _TYPES:
        raise ModelError(f"Cast to type {a['to']}")
    return x.to(_TYPES[a["to"]])


def _sum(a: dict, *inputs: Tensor) -> Tensor:
    total = inputs[0]
    for value in inputs[1:]:
        total = total + value
    return total


FUNCTIONS: dict[str, Callable] = {
    "Softmax": lambda a, x: torch.softmax(x, a.get("axis", -1)),
    "LogSoftmax": lambda a, x: torch.log_softmax(x, a.get("axis", -1)),
    "ArgMax": lambda a, x: torch.argmax(x, a.get("axis", 0), bool(a.get("keepdims", 1))),
    "Relu": lambda a, x: F.relu(x),
    "Clip": _clip,
    "Sigmoid": lambda a, x: torch.sigmoid(x),
    "Tanh": lambda a, x: torch.tanh(x),
    "HardSigmoid": _hard_sigmoid,
    "LeakyRelu": lambda a, x: F.leaky_relu(x, a.get("alpha", 0.01)),
    "PRelu": _prelu,
    "Elu": lambda a, x: F.elu(x, a.get("alpha", 1.0)),
    "Celu": lambda a, x: F.celu(x, a.get("alpha", 1.0)),
    "Selu": _selu,
    "Gelu": _gelu,
    "Mish": lambda a, x: F.mish(x),
    "HardSwish": lambda a, x: F.hardswish(x),
    "Softplus": lambda a, x: F.softplus(x),
    "Softsign": lambda a, x: F.softsign(x),
    "ThresholdedRelu": lambda a, x: F.threshold(x, a.get("alpha", 1.0), 0.0),
    "Erf": lambda a, x: torch.erf(x),
    "Exp": lambda a, x: torch.exp(x),
    "Log": lambda a, x: torch.log(x),
    "Sqrt": lambda a, x: torch.sqrt(x),
    "Abs": lambda a, x: torch.abs(x),
    "Neg": lambda a, x: -x,
    "Reciprocal": lambda a, x: torch.reciprocal(x),
    "Mul": lambda a, x, y: x * y,
    "Div": _div,
    "Sub": lambda a, x, y: x - y,
    "Pow": lambda a, x, y: torch.pow(x, y),
    "Max": lambda a, *inputs: reduce(torch.maximum, inputs),
    "Min": lambda a, *inputs: reduce(torch.minimum, inputs),
    "MaxPool": _max_pool,
    "AveragePool": _average_pool,
    "GlobalAveragePool": lambda a, x: _POOLS["adaptive"][x.dim()](x, 1),
    "GlobalMaxPool": lambda a, x: _POOLS["max"][x.dim()](x, list(x.shape[2:])),
    "ReduceMean": _mean,
    "ReduceMax": _max,
    "Resize": _resize,
    "Upsample": lambda a, x, scales: _resize(
        a | {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}, x, scales
    ),
    "Flatten": _flatten,
    "Reshape": _reshape,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Transpose": lambda a, x: x.permute(a.get("perm", list(reversed(range(x.dim()))))),
    "Add": lambda a, x, y: x + y,
    "Sum": _sum,
    "Concat": lambda a, *inputs: torch.cat(inputs, a["axis"]),
    "Gather": _gather,
    "Slice": _slice,
    "Split": _split,
    "Pad": _pad,
    "Identity": lambda a, x: x,
    "Dropout": lambda a, x, *_: x,
    "Cast": _cast,
    "Shape": lambda a, x: torch.tensor(list(x.shape))[a.get("start", 0) : a.get("end")],
    "ConstantOfShape": _constant_of_shape,
    "Expand": _expand,
}
