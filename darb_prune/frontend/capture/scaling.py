"""Arithmetic with numbers, which becomes part of a stage or a copy."""

from math import isfinite
from typing import Any

import torch
from torch import Tensor

from darb_prune.frontend.capture.axes import Ref
from darb_prune.frontend.capture.context import Context
from darb_prune.frontend.capture.curves import curve_of, put_table
from darb_prune.frontend.capture.products import product
from darb_prune.frontend.capture.recording import Node, TracedTensor
from darb_prune.frontend.stages import Curve, Matrix

__all__ = ["OPERATORS", "number", "scaled"]


def number(context: Context, node: Node, value: Any) -> float:
    """A constant that ``node`` reads, which must be one number."""
    shapes = {source.shape for source in node.sources}
    if isinstance(value, Tensor) and (value.numel() != 1 or value.dim() > max(map(len, shapes))):
        context.fail(
            node,
            f"{node.name} with a constant tensor of {tuple(value.shape)}; only single numbers are possible, "
            "a BatchNorm scales and shifts channels",
        )
    value = float(value)
    if not isfinite(value):
        context.fail(node, f"{node.name} with {value}")
    return value


def scaled(context: Context, node: Node, ref: Ref, factor: float, offset: float) -> Ref:
    """``ref * factor + offset``, made by the stages that write it, or by a copy."""
    ref = context.shaped(node, ref)
    # A maximum over a pool, or of several taps, stays one for positive factors only.
    ref, numbers = context.open(node, ref, "operand", *(("pool", "maximum") if factor < 0 else ()))
    for stage_number, stage in context.open_stages(numbers):
        limits = [None if end is None else end * factor + offset for end in (stage.low, stage.high)]
        low, high = limits if factor >= 0 else limits[::-1]
        context.draft.change([stage_number], low=low, high=high, **_inner(stage, factor, offset))
    return ref


def _inner(stage: Matrix, factor: float, offset: float) -> dict[str, Any]:
    """What else of a stage changes: its functions, or else its factor and offset."""
    if not stage.functions:
        return {"factor": stage.factor * factor, "offset": stage.offset * factor + offset}
    ((function, rows),) = stage.functions
    assert function is not None, "only the gates of a cell have functions for some rows"
    plain = function if isinstance(function, Curve) else Curve(function, getattr(torch, function), True)

    def call(values: Tensor) -> Tensor:
        return plain.call(values) * factor + offset

    return {"functions": ((Curve(plain.name, call, plain.rising and factor >= 0, plain.alike), rows),)}


def _mul(context: Context, node: Node) -> None:
    if len(node.sources) > 1:
        product(context, node)
        return
    factor = number(context, node, _other(context, node))
    context.write(node, scaled(context, node, context.look(node, node.sources[0]), factor, 0.0))


def _div(context: Context, node: Node) -> None:
    other = _other(context, node)
    if node.kwargs.get("rounding_mode") is not None:
        context.fail(node, f"{node.name} with rounding")
    value, ref = number(context, node, other), context.look(node, node.sources[0])
    if node.args[0] is not node.sources[0] or node.function.__name__.startswith("__r"):
        put_table(context, node, context.shaped(node, ref), curve_of(node))
    elif value == 0:
        context.fail(node, f"{node.name} by 0")
    else:
        context.write(node, scaled(context, node, ref, 1 / value, 0.0))


def _neg(context: Context, node: Node) -> None:
    context.write(node, scaled(context, node, context.read(node), -1.0, 0.0))


def _other(context: Context, node: Node) -> Any:
    """What stands beside the only tensor that ``node`` reads."""
    if len(node.sources) > 1:
        context.fail(node, f"{node.name} of two tensors; of what only depends on one tensor it would be a table")
    (other,) = (value for value in (node.args[0], *context.bind(node, "other")) if not isinstance(value, TracedTensor))
    return other


OPERATORS = {
    **dict.fromkeys(("mul", "multiply"), _mul),
    **dict.fromkeys(("div", "divide", "true_divide", "truediv", "rdiv"), _div),
    **dict.fromkeys(("neg", "negative"), _neg),
}
