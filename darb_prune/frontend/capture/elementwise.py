"""Operators element by element: clamps, tables, and what does nothing."""

from functools import partial

import torch
from torch import Tensor

from darb_prune.frontend.capture.context import Context
from darb_prune.frontend.capture.curves import BEFORE, put_table
from darb_prune.frontend.capture.recording import Node, TracedTensor
from darb_prune.frontend.stages import Curve
from darb_prune.modules.grids import Grid

__all__ = ["OPERATORS"]

_DROPOUTS = ("dropout", "alpha_dropout", "feature_dropout", "feature_alpha_dropout", "dropout1d", "dropout2d")
_OWN_GRIDS = {"sigmoid": Grid(2.0**-8, 0, 0, 255, kept=True), "tanh": Grid(2.0**-7, 128, 0, 255, kept=True)}
"""What torch gives for its quantised tensors."""
_NOTHING = ("contiguous", "clone", "detach", "to", "type", "float", "double", "half", "bfloat16", "long", "int")


def _clamp(context: Context, node: Node, low: float | None, high: float | None) -> None:
    ref, numbers = context.open(node, context.shaped(node, context.read(node)), "maximum", on_grid=True)
    for stage_number, stage in context.open_stages(numbers):
        context.draft.change(
            [stage_number], low=_within(stage.low, low, high), high=_within(stage.high, low, high, False)
        )
    context.write(node, ref)


def _hardtanh(context: Context, node: Node) -> None:
    _clamp(context, node, *map(float, context.bind(node, "min_val max_val", min_val=-1.0, max_val=1.0)))


def _limits(context: Context, node: Node) -> None:
    names = {"clamp_min": "min", "clamp_max": "max"}.get(node.name, "min max")
    limits = dict(zip(names.split(), context.bind(node, names), strict=True))
    if any(isinstance(limit, (Tensor, TracedTensor)) for limit in limits.values()):
        context.fail(node, f"{node.name} to a tensor")
    _clamp(context, node, *(None if limits.get(k) is None else float(limits[k]) for k in ("min", "max")))


def _function(context: Context, node: Node) -> None:
    ref = context.shaped(node, context.read(node))
    # Of values on a grid a table can have an entry each; the units of the fixed tables do not fit them.
    exact, grids = Curve(node.name, getattr(torch, node.name), rising=True), context.draft.grids
    put_table(context, node, ref, exact if ref.value in grids else node.name)
    if ref.value in grids and grids[ref.value].kept:
        grids[context.look(node, node.outputs[0]).value] = _OWN_GRIDS[node.name]


def _hardsigmoid(context: Context, node: Node) -> None:
    ref, numbers = context.open(node, context.shaped(node, context.read(node)), *BEFORE, "pool")
    for stage_number, stage in context.open_stages(numbers):
        context.draft.change([stage_number], factor=stage.factor / 6, offset=stage.offset / 6 + 0.5, low=0.0, high=1.0)
    context.write(node, ref)


def _dropout(context: Context, node: Node) -> None:
    if context.bind(node, "p training" if "train" not in node.kwargs else "p train", training=True)[1]:
        context.fail(node, "dropout that is active in eval mode; give it training=self.training")
    _same(context, node)


def _same(context: Context, node: Node) -> None:
    if node.name in ("long", "int") and node.sources[0].floating:
        context.fail(node, f"operator {node.name} is not supported")
    context.write(node, context.read(node))


def _within(limit: float | None, low: float | None, high: float | None, lower: bool = True) -> float | None:
    """A limit of values that are clamped to ``low .. high`` again."""
    if limit is None:
        return low if lower else high
    limit = limit if low is None else max(limit, low)
    return limit if high is None else min(limit, high)


OPERATORS = {
    "relu": partial(_clamp, low=0.0, high=None),
    "relu6": partial(_clamp, low=0.0, high=6.0),
    "hardtanh": _hardtanh,
    "clamp": _limits,
    "clip": _limits,
    "clamp_min": _limits,
    "clamp_max": _limits,
    "sigmoid": _function,
    "tanh": _function,
    "hardsigmoid": _hardsigmoid,
    **dict.fromkeys(_DROPOUTS, _dropout),
    **dict.fromkeys(_NOTHING, _same),
}
