"""Functions of one value that become tables: operators, and expressions of one tensor such as ``x * sigmoid(x)``."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map_only

from darb_prune.frontend.capture.axes import Ref
from darb_prune.frontend.capture.context import Context
from darb_prune.frontend.capture.recording import Node, Recording, TracedTensor, needed
from darb_prune.frontend.stages import Curve

__all__ = ["BEFORE", "OPERATORS", "curve_of", "joined", "put_table"]

BEFORE = ("functions", "operand", "low", "high", "maximum")
"""What comes behind a function in a stage, and so must not be there yet.

A maximum over a pool commutes with a function that rises.
"""
_CURVES = (
    "leaky_relu", "prelu", "elu", "celu", "selu", "silu", "gelu", "mish", "softplus", "hardswish", "logsigmoid",
    "log_sigmoid", "softsign", "tanhshrink", "softshrink", "hardshrink", "threshold", "_threshold", "erf", "exp",
    "expm1", "log", "log1p", "abs", "absolute", "square", "pow", "sqrt", "rsqrt", "reciprocal", "sin", "cos", "atan",
    "arctan", "sign", "maximum", "minimum",
)  # fmt: skip
"""Operators of one tensor."""
_INSIDE = (
    *_CURVES, "relu", "relu6", "hardtanh", "clamp", "clip", "clamp_min", "clamp_max", "sigmoid", "tanh", "hardsigmoid",
    "add", "sub", "mul", "div", "truediv", "divide", "multiply", "subtract", "neg", "negative",
)  # fmt: skip
"""Operators that expressions of one tensor are made of."""
_SUMS = ("add", "sub", "subtract")
"""Those that stages have of two tensors."""


def _constants(arguments: Any) -> list[Tensor]:
    """Tensors that do not depend on the input."""
    leaves = tree_leaves(arguments, is_leaf=lambda leaf: isinstance(leaf, TracedTensor))
    return [leaf for leaf in leaves if isinstance(leaf, Tensor)]


def _curve(context: Context, node: Node) -> None:
    if len(node.sources) > 1:
        context.fail(node, f"{node.name} of two tensors")
    ref = context.shaped(node, context.look(node, node.sources[0]))
    curve = curve_of(node)
    if not curve.alike:
        if node.name != "prelu":
            context.fail(node, f"{node.name} with a constant tensor; only single numbers are possible")
        ref = context.channels_second(ref)
        if len(ref.dims) < 2 or [axis.name for axis in ref.dims[1]] != ["c"]:
            context.fail(node, f"{node.name} must read (samples, channels, ...), steps of a sequence among the samples")
        if len(context.draft.writers(ref) or ()) > 1:  # each of them would need a part of the parameters
            ref = replace(ref, sole=False)
    put_table(context, node, ref, curve)


def curve_of(node: Node) -> Curve:
    """What ``node`` does with the only tensor that it reads."""
    (source,) = node.sources

    def call(values: Tensor) -> Tensor:
        return _replay(node, {source: values}, values)

    constants = _constants((node.args, node.kwargs))
    alike = all(constant.numel() == 1 for constant in constants)
    fixed = node.name != "curve" and not any(constant.requires_grad for constant in constants)
    return Curve(node.name, call, alike and fixed and _rises(call), alike)


def _replay(node: Node, known: dict[TracedTensor, Tensor], like: Tensor) -> Tensor:
    """What ``node`` gives for the values of its sources, in the type of ``like``; operators in place work on copies."""
    arguments = tree_map_only(TracedTensor, lambda source: known[source].clone(), (node.args, node.kwargs))
    args, kwargs = tree_map_only(Tensor, lambda tensor: tensor.to(like.dtype), arguments)
    return node.function(*args, **kwargs)


@torch.no_grad()
def _rises(call: Callable[[Tensor], Tensor]) -> bool:
    """Whether a function that is the same for all rows never falls."""
    values = call(torch.linspace(-32, 32, 4097, dtype=torch.float64).reshape(-1, 1, 1, 1))
    return bool((values.diff(dim=0) >= -1e-9).all())


def put_table(context: Context, node: Node, ref: Ref, function: str | Curve) -> None:
    """The output of ``node`` is ``function`` of ``ref``, by a table of the stages that write it, or of a copy."""
    falls = isinstance(function, Curve) and not function.rising
    ref, numbers = context.open(node, ref, *BEFORE, *(("pool",) if falls else ()))
    for stage_number, stage in context.open_stages(numbers):
        context.draft.change([stage_number], functions=((function, stage.rows),))
    context.write(node, ref)


def joined(recording: Recording) -> Recording:
    """The recording with a curve in the place of each product of two tensors that both depend on one tensor only,
    element by element: SiLU, GELU and Mish written by hand, or as ONNX has them."""
    parents: dict[TracedTensor, TracedTensor] = {}  # of a tensor that is an expression of another one
    nodes = {}
    for node in recording.nodes:
        source = _parent(node, parents)
        if source is None:
            continue
        parents[node.outputs[0]] = source
        if len(node.sources) > 1 and node.name not in _SUMS:
            nodes[node] = source
    if not nodes:
        return recording
    made = [_expression(node, nodes[node], parents) if node in nodes else node for node in recording.nodes]
    return replace(recording, nodes=needed(made, recording.output))


def _parent(node: Node, parents: dict[TracedTensor, TracedTensor]) -> TracedTensor | None:
    """The nearest tensor that the only output of ``node`` is an expression of, if it is one."""
    if node.layer or node.name not in _INSIDE or len(node.outputs) != 1:
        return None
    shapes = {source.shape for source in node.sources}
    alone = all(constant.numel() == 1 for constant in _constants((node.args, node.kwargs)))
    if shapes != {node.outputs[0].shape} or not alone:
        return None
    lines = []
    for source in node.sources:
        line = [source]
        while line[-1] in parents:
            line.append(parents[line[-1]])
        lines.append(line)
    return next((tensor for tensor in lines[0] if all(tensor in line for line in lines[1:])), None)


def _expression(node: Node, source: TracedTensor, parents: dict[TracedTensor, TracedTensor]) -> Node:
    """A node that computes ``node`` and all before it from ``source`` on."""
    steps: list[Node] = []

    def collect(tensor: TracedTensor) -> None:
        if tensor is not source and tensor.node is not None and tensor.node not in steps:
            for before in tensor.node.sources:
                collect(before)
            steps.append(tensor.node)

    collect(node.outputs[0])

    def call(values: Tensor) -> Tensor:
        known = {source: values}
        for step in steps:
            known[step.outputs[0]] = _replay(step, known, values)
        return known[node.outputs[0]]

    return Node("curve", node.path, node.owner, False, call, (source,), {}, node.outputs)


OPERATORS = dict.fromkeys((*_CURVES, "curve"), _curve)
