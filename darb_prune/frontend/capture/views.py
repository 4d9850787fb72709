"""Reshaping, permuting, padding and indexing: another look at the same value."""

import math
from dataclasses import replace
from math import prod
from typing import Any

from torch import Tensor

from darb_prune.frontend.capture.axes import Axis, permuted, reshaped
from darb_prune.frontend.capture.context import Context
from darb_prune.frontend.capture.recording import Node, TracedTensor

__all__ = ["OPERATORS"]

_RESHAPES = ("view", "reshape", "flatten", "squeeze", "unsqueeze", "unflatten", "ravel", "view_as", "reshape_as")
_PERMUTES = ("permute", "transpose", "swapaxes", "swapdims", "movedim", "moveaxis", "t")


def _reshape(context: Context, node: Node) -> None:
    ref = context.stored(node, context.read(node), node.name)
    made = reshaped(ref, node.outputs[0].shape)
    if made is None:
        context.fail(node, f"{node.name} to {node.outputs[0].shape} cuts channels, lines or samples apart")
    context.write(node, made)


def _permute(context: Context, node: Node) -> None:
    ref = context.stored(node, context.read(node), node.name)
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
        context.fail(node, f"padding that cuts lines or columns off ({tuple(pads)}); use a stride or smaller inputs")
    ref = context.stored(node, ref, "pad") if ref.layers or (ref.padded and ref.stride != (1, 1)) else ref
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
    count = len(context.read(node).dims)
    _index(context, node, (slice(None),) * (dim % count) + (index,))


def _getitem(context: Context, node: Node) -> None:
    index = node.args[1]
    _index(context, node, tuple(index) if isinstance(index, (tuple, list)) else (index,))


def _index(context: Context, node: Node, index: tuple) -> None:
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
    if any(isinstance(entry, slice) and entry.step not in (None, 1) for entry in index):
        ref = context.shaped(node, ref)
        ref = context.stored(node, ref, "indexing") if ref.padded or ref.first is not None else ref
    dims, left, made = [], list(ref.dims), {"last": ref.last, "stride": list(ref.stride)}
    for entry in index:
        dims += _entry(context, node, entry, None if entry is None else left.pop(0), made)
    context.write(node, replace(ref, dims=tuple(dims), last=made["last"], stride=tuple(made["stride"])))


def _entry(
    context: Context, node: Node, entry: Any, dim: tuple[Axis, ...] | None, made: dict
) -> list[tuple[Axis, ...]]:
    """What one entry of an index makes of a dimension; writes ``last`` and ``stride``."""
    if dim is None:
        return [()]
    size = prod(axis.size for axis in dim)
    if isinstance(entry, slice):
        start, stop, step = entry.indices(size)
        if (start, stop, step) == (0, size, 1):
            return [dim]
        name = dim[0].name if len(dim) == 1 else ""
        if name in ("h", "w") and start == 0 and stop == size:
            made["stride"]["hw".index(name)] *= step
            count = -(-size // step)
            return [(Axis(name, count),) if count > 1 else ()]
        if name in ("h", "w") and start == 0 and step == 1 and stop < size - 1 and entry.stop is not None:
            cut = size - stop
            context.fail(
                node,
                f"indexing other than the last step: the last {cut} of {size} positions are cut off; pad on the left "
                f"only, F.pad(x, ({cut}, 0)), in front of a convolution without padding",
            )
        entry, keep = (size - 1 if (start, stop) == (size - 1, size) else None), [()]
    else:
        keep = []
    if isinstance(entry, int) and entry in (-1, size - 1):
        if size == 1:
            return keep
        if len(dim) == 1 and dim[0].leading and context.recurrent:
            made["last"] = dim[0].name
            return keep
    return context.fail(node, "indexing other than the last step, h[layer], or every n-th line and column")


OPERATORS = {
    "pad": _pad,
    "getitem": _getitem,
    "select": _select,
    **dict.fromkeys(_RESHAPES, _reshape),
    **dict.fromkeys(_PERMUTES, _permute),
}
