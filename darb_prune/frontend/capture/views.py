"""Reshaping, permuting, padding and indexing: another look at the same value."""

import math
from dataclasses import replace
from math import prod
from typing import Any

from torch import Tensor

from darb_prune.frontend.capture.axes import Axis, Ref, permuted, reshaped
from darb_prune.frontend.capture.context import Context
from darb_prune.frontend.capture.moves import joined, moved
from darb_prune.frontend.capture.recording import Node, TracedTensor

__all__ = ["OPERATORS"]

_RESHAPES = ("view", "reshape", "flatten", "squeeze", "unsqueeze", "unflatten", "ravel", "view_as", "reshape_as")
_PERMUTES = ("permute", "transpose", "swapaxes", "swapdims", "movedim", "moveaxis", "t")


def _reshape(context: Context, node: Node) -> None:
    ref = context.direct(node, context.read(node))
    made = reshaped(ref, node.outputs[0].shape)
    if made is None:
        context.fail(node, f"{node.name} to {node.outputs[0].shape} cuts lines, columns or samples apart")
    context.write(node, joined(context, node, made))


def _permute(context: Context, node: Node) -> None:
    ref = context.direct(node, context.read(node))
    context.write(node, permuted(ref, node.function, node.args[1:], node.kwargs))


def _pad(context: Context, node: Node) -> None:
    pads, mode, value = context.bind(node, "pad mode value", mode="constant", value=0)
    ref = context.shaped(node, context.read(node))
    if value == -math.inf and mode == "constant":
        # Nothing is less: zeros do the same where nothing is less than they are, and only the maximum is taken.
        if not context.readers(node) <= {"max_pool1d", "max_pool2d"}:
            context.fail(node, "padding with -inf is supported in front of a max pooling only; pad with zeros")
        if not context.draft.from_zero(ref.value):
            context.fail(node, "padding of a max pooling needs values from 0 on; put it behind a ReLU")
    elif mode != "constant" or value not in (None, 0):
        what = f"{value}" if mode == "constant" else f"mode {mode!r}"
        context.fail(node, f"padding other than with zeros ({what}); train the model with zeros around its maps")
    if min(pads) < 0:
        context.fail(node, f"padding that cuts lines or columns off ({tuple(pads)}); index them, as in x[..., :-1]")
    if ref.layers or ref.channels or (ref.padded and ref.stride != (1, 1)):
        ref = context.stored(node, ref, "pad")
    count = len(ref.dims)
    names = {2: "c", 3: "cw", 4: "chw"}.get(count, "")
    dims, before, after, first = list(ref.dims), [*ref.before], [*ref.after], ref.first
    for from_last in range(len(pads) // 2):
        near, far = pads[2 * from_last : 2 * from_last + 2]
        if near == far == 0:
            continue
        dim = count - 1 - from_last
        name = names[dim - 1] if 0 < dim <= len(names) else ""
        if not name or [axis.name for axis in dims[dim]] not in ([], [name]):
            context.fail(node, "padding of other dimensions than channels, height and width")
        if name == "c":
            if first is not None:
                context.fail(node, "padding of channels twice")
            first = near
        else:
            if ref.stride != (1, 1):
                context.fail(node, "padding of a strided slice; pad before")
            before["hw".index(name)] += near
            after["hw".index(name)] += far
        dims[dim] = (Axis(name, node.outputs[0].shape[dim]),)
    if first is not None and (any(before) or any(after)):
        context.fail(node, "padding of channels and of the image")
    context.write(node, replace(ref, dims=tuple(dims), before=tuple(before), after=tuple(after), first=first))


def _select(context: Context, node: Node) -> None:
    dim, index = context.bind(node, "dim index")
    _part(context, node, dim, index)


def _narrow(context: Context, node: Node) -> None:
    dim, start, length = context.bind(node, "dim start length")
    count = node.sources[0].shape[dim]
    start = int(start) % count
    _part(context, node, dim, slice(start, start + length))


def _split(context: Context, node: Node) -> None:
    """Parts that follow each other along a dimension."""
    names = {"chunk": "chunks dim", "split": "split_size_or_sections dim", "split_with_sizes": "split_sizes dim"}
    dim = context.bind(node, names.get(node.name, "indices_or_sections dim"), dim=0)[1]
    end = 0
    for output_number, output in enumerate(node.outputs):
        end += output.shape[dim]
        _part(context, node, dim, slice(end - output.shape[dim], end), output_number)


def _unbind(context: Context, node: Node) -> None:
    (dim,) = context.bind(node, "dim", dim=0)
    for output_number in range(len(node.outputs)):
        _part(context, node, dim, output_number, output_number)


def _getitem(context: Context, node: Node) -> None:
    index = node.args[1]
    index = tuple(index) if isinstance(index, tuple) else (index,)
    picks = any(isinstance(entry, (list, Tensor)) or getattr(entry, "step", None) for entry in index)
    if not (picks and moved(context, node)):
        _index(context, node, index)


def _part(context: Context, node: Node, dim: int, entry: int | slice, output_number: int = 0) -> None:
    """An output that is a part of a dimension; nothing for one that nobody reads."""
    if context.is_read(node.outputs[output_number]):
        count = len(context.read(node).dims)
        _index(context, node, (slice(None),) * (dim % count) + (entry,), output_number)


def _index(context: Context, node: Node, index: tuple, output_number: int = 0) -> None:
    ref = context.read(node)
    count = sum(entry is not None and entry is not Ellipsis for entry in index)
    if any(isinstance(entry, (Tensor, TracedTensor)) for entry in index):
        context.fail(node, "indexing with a tensor")
    if Ellipsis in index:
        dots = index.index(Ellipsis)
        index = index[:dots] + (slice(None),) * (len(ref.dims) - count) + index[dots + 1 :]
    else:
        index = index + (slice(None),) * (len(ref.dims) - count)
    if ref.layers and isinstance(index[0], int):
        ref = replace(ref, value=ref.layers[index[0]], dims=ref.dims[1:], layers=())
        index = index[1:]
    dims = [dim for dim, entry in zip(_spread(ref, index), index, strict=True) if not _is_whole(dim, entry)]
    if any(not axis.leading for dim in dims for axis in dim or ()):
        ref = context.shaped(node, ref)
        ref = context.stored(node, ref, "indexing") if ref.padded or ref.first is not None else ref
    made, parts = [], _Parts(ref)
    for dim, entry in zip(_spread(ref, index), index, strict=True):
        made += _entry(context, node, entry, dim, parts)
    # Other parts of the same tensor may be read as well.
    ref = replace(ref, last=parts.last, sole=ref.sole and sum(map(context.is_read, node.outputs)) == 1)
    ref = _cropped(context, node, ref, parts)
    if parts.channels is not None:
        ref = replace(ref, channels=parts.channels)
    stride = ref.stride[0] * parts.stride[0], ref.stride[1] * parts.stride[1]
    context.write(node, replace(ref, dims=tuple(made), stride=stride), output_number)


def _spread(ref: Ref, index: tuple) -> list[tuple[Axis, ...] | None]:
    """The dimension that each entry of an index stands for; none for a new one."""
    left = iter(ref.dims)
    return [None if entry is None else next(left) for entry in index]


def _is_whole(dim: tuple[Axis, ...] | None, entry: Any) -> bool:
    if dim is None or not isinstance(entry, slice):
        return dim is None
    size = prod(axis.size for axis in dim)
    return entry.indices(size) == (0, size, 1)


class _Parts:
    """What an index takes of a tensor: every how many-th line and column of a part of its image, and channels."""

    def __init__(self, ref: Ref) -> None:
        self.last = ref.last
        self.stride = [1, 1]
        self.image: list[tuple[int, int] | None] = [None, None]
        self.first = ref.start
        self.channels: tuple[int, int] | None = None


def _entry(
    context: Context, node: Node, entry: Any, dim: tuple[Axis, ...] | None, parts: _Parts
) -> list[tuple[Axis, ...]]:
    """What one entry of an index makes of a dimension; says in ``parts`` what it takes."""
    if dim is None:
        return [()]
    if _is_whole(dim, entry):
        return [dim]
    size = prod(axis.size for axis in dim)
    if isinstance(entry, slice):
        start, stop, step = entry.indices(size)
    else:
        start, stop, step = entry % size, entry % size + 1, 1
    name, keep = dim[0].name if len(dim) == 1 else "", [()] if isinstance(entry, slice) else []
    if size == 1 and (start, stop) == (0, 1):
        return keep
    if len(dim) == 1 and dim[0].leading and context.recurrent and (start, stop) == (size - 1, size):
        parts.last = name
        return keep
    if name not in ("c", "h", "w") or stop <= start:
        context.fail(node, "indexing other than the last step, h[layer], channels or lines and columns of an image")
    if name == "c":
        if step != 1:
            context.fail(
                node,
                f"every {step}-th channel is read, and a part of another dimension; index the channels by themselves",
            )
        parts.channels = parts.first + start, parts.first + stop
    else:
        axis = "hw".index(name)
        parts.stride[axis] = step
        parts.image[axis] = None if (start, stop) == (0, size) else (start, stop)
    count = len(range(start, stop, step))
    return [(Axis(name, count),)] if count > 1 else keep


def _cropped(context: Context, node: Node, ref: Ref, parts: _Parts) -> Ref:
    """``ref`` without the lines and columns that are left out: the stages that write it do not compute them, or else a
    copy is made of the others."""
    if parts.image == [None, None]:
        return ref
    whole = [(0, size) for size in context.size(ref)]
    start, size = [], []
    for taken, all_of in zip(parts.image, whole, strict=True):
        first, end = taken or all_of
        start.append(first)
        size.append(end - first)
    ref, numbers = context.open(node, ref, "spread", *(("operand",) if any(start) else ()))
    context.draft.crop(numbers, (start[0], start[1]), (size[0], size[1]))
    return ref


OPERATORS = {
    "pad": _pad,
    "getitem": _getitem,
    "select": _select,
    "narrow": _narrow,
    "unbind": _unbind,
    **dict.fromkeys(("chunk", "split", "split_with_sizes", "tensor_split"), _split),
    **dict.fromkeys(_RESHAPES, _reshape),
    **dict.fromkeys(_PERMUTES, _permute),
}
