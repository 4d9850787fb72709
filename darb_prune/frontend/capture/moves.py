"""Channels in another order: shuffles, flips, repetitions. A copy picks a channel for each of its rows."""

from dataclasses import replace
from itertools import product
from math import prod

import torch

from darb_prune.frontend.capture.axes import Ref, whole
from darb_prune.frontend.capture.context import Context
from darb_prune.frontend.capture.recording import Node

__all__ = ["OPERATORS", "joined", "moved"]


def joined(context: Context, node: Node, ref: Ref) -> Ref:
    """``ref``; where parts of its channels stand side by side in another order, they become the channels of a copy."""
    for dim_number, dim in enumerate(ref.dims):
        parts = tuple(axis for axis in dim if axis.total)
        start = dim.index(parts[0]) if parts else 0
        end = start + len(parts)
        steps = [range(0, axis.size * axis.stride, axis.stride) for axis in parts]
        picks = tuple(sum(numbers) for numbers in product(*steps))
        if parts and dim[start:end] == parts and len(picks) == parts[0].total:
            own = *dim[:start], *whole((len(picks), 1, 1)), *dim[end:]
            dims = *ref.dims[:dim_number], own, *ref.dims[dim_number + 1 :]
            return _copy(context, node, replace(ref, dims=dims), picks)
    return ref


def moved(context: Context, node: Node) -> bool:
    """Write the result of ``node``, if it does nothing but pick channels of its only source: it is asked."""
    if len(node.sources) != 1:
        return False
    ref = context.shaped(node, context.read(node))
    places = [dim_number for dim_number, dim in enumerate(ref.dims) if [axis.name for axis in dim] == ["c"]]
    places += [1] if context.draft.channels(ref) == 1 and len(ref.dims) > 1 and not ref.dims[1] else []
    if not places or len(node.outputs) != 1:
        return False
    (place,), shape = places, node.sources[0].shape
    asked = torch.arange(prod(shape)).reshape(shape)
    result = node.function(asked, *node.args[1:], **node.kwargs)
    if result.dim() != asked.dim() or 0 in result.shape:
        return False
    first = result.movedim(place, 0).flatten(1)[:, 0]
    picks = first // asked.stride(place) % shape[place]
    if not torch.equal(asked.index_select(place, picks), result):
        return False
    dims = *ref.dims[:place], whole((len(picks), 1, 1)), *ref.dims[place + 1 :]
    ref = replace(context.direct(node, ref), dims=dims)
    context.write(node, _copy(context, node, ref, tuple(picks.tolist())))
    return True


def _copy(context: Context, node: Node, ref: Ref, picks: tuple[int, ...]) -> Ref:
    """A stage that copies the channels ``picks`` of those that ``ref`` looks at, which has their dimensions already."""
    own = tuple(ref.start + channel for channel in picks)
    size = context.draft.shapes[ref.value][1:]
    value = context.draft.depthwise(context.name(node), ref, size, picks=own)
    return replace(ref, value=value, sole=True, channels=None)


def _move(context: Context, node: Node) -> None:
    if not moved(context, node):
        context.fail(node, f"{node.name} of other dimensions than the channels; move channels only")


OPERATORS = dict.fromkeys(
    ("channel_shuffle", "flip", "roll", "index_select", "repeat", "tile", "repeat_interleave"), _move
)
