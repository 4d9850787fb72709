"""From any ``nn.Module`` to its chain of Linear (+ ReLU) stages, by symbolic tracing."""

import operator
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import fx, nn

from darb_prune import layers
from darb_prune.container import DarbError

__all__ = ["SUPPORTED", "Stage", "chain", "check_finite", "trace"]

SUPPORTED = "Linear, ReLU, Flatten (or reshape to 2-D), Dropout and Identity, in one chain"

_RELU_FUNCTIONS = {F.relu, torch.relu, torch.relu_, F.relu_}
_RELU_METHODS = {"relu", "relu_"}
_NOTHING_MODULES = (nn.Dropout, nn.Identity, nn.AlphaDropout)
_NOTHING_FUNCTIONS = {F.dropout, F.alpha_dropout, torch.dropout}
_NOTHING_METHODS = {"contiguous", "clone"}


@dataclass(frozen=True, eq=False)
class Stage:
    """A Linear layer and what follows it.

    Parameters
    ----------
    name : str
        Module path of the layer, for example ``"fc1"`` or ``"net.0"``.
    linear : torch.nn.Linear
        The module itself, not a copy.
    relu : bool
        Whether its output goes through a ReLU.
    """

    name: str
    linear: nn.Linear
    relu: bool


def trace(model: nn.Module, remedy: str) -> tuple[nn.Module, fx.Graph]:
    """The graph of ``model`` as it runs in ``eval`` mode, and the module that its paths start from.

    Raises
    ------
    DarbError
        If the model cannot be traced; ``remedy`` is what to do about it.
    """
    # A bare layer would be traced into its own forward method.
    bare = type(model).__module__.startswith("torch.nn.") and not any(True for _ in model.children())
    root = nn.Sequential(model) if bare else model
    training = {module: module.training for module in root.modules()}
    root.eval()
    try:
        return root, fx.Tracer().trace(root)
    except Exception as error:
        text = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DarbError(f"{type(model).__name__}: cannot be traced ({text}); {remedy}") from error
    finally:
        for module, flag in training.items():
            module.training = flag


def chain(model: nn.Module) -> tuple[Stage, ...]:
    """Trace ``model`` and return its stages in order of execution.

    It is traced as it runs in ``eval`` mode. Dropout, Identity and reshapes to 2-D vanish. The modules of the
    model are returned as they are, so that masks put on them are masks of the model.

    Raises
    ------
    DarbError
        If the model holds anything else, or is not a chain; the message names module path and operator.
    """
    root, graph = trace(model, f"supported: {SUPPORTED}")
    stages = _Walk(root).run(graph)
    if not stages:
        raise DarbError(f"{type(model).__name__}: no Linear layer; supported: {SUPPORTED}")
    _check_shapes(stages)
    return stages


def check_finite(stages: tuple[Stage, ...]) -> None:
    """Raise :class:`DarbError` naming the layer and the row of the first weight or bias that is not finite."""
    layers.check_finite(
        [layers.Layer(stage.name, "linear", (layers.Part(stage.linear, "weight"),)) for stage in stages]
    )


def _needed(graph: fx.Graph) -> set[fx.Node]:
    """Nodes that the output depends on, and all inputs."""
    needed = {node for node in graph.nodes if node.op in ("placeholder", "output")}
    for node in reversed(graph.nodes):
        if node in needed:
            needed.update(node.all_input_nodes)
    return needed


class _Walk:
    """One pass over the graph in order of execution; ``self.value`` is the node that holds the activations."""

    def __init__(self, root: nn.Module):
        self.root = root
        self.value = None
        self.found: list[list] = []  # [path, linear, relu]
        self.width: int | None = None  # columns asked for by the last reshape

    def run(self, graph: fx.Graph) -> tuple[Stage, ...]:
        needed = _needed(graph)
        for node in graph.nodes:
            if node in needed:
                getattr(self, f"_{node.op}")(node)
            elif self._mutates(node):
                self._fail(node, "an operator works in place and its result is not used; go on with its result")
        return tuple(Stage(*entry) for entry in self.found)

    def _fail(self, node: fx.Node, what: str):
        path = node.target if node.op == "call_module" else self._scope(node)
        raise DarbError(f"{path or 'model'}: {what}; supported: {SUPPORTED}")

    def _mutates(self, node: fx.Node) -> bool:
        if node.op == "call_module":
            return bool(getattr(self.root.get_submodule(node.target), "inplace", False))
        name = getattr(node.target, "__name__", str(node.target))
        in_place = name.endswith("_") and not name.endswith("__")
        return node.op != "get_attr" and (in_place or bool(node.kwargs.get("inplace")) or "out" in node.kwargs)

    @staticmethod
    def _scope(node: fx.Node) -> str:
        stack = node.meta.get("nn_module_stack") or {}
        return list(stack)[-1] if stack else ""

    def _take(self, node: fx.Node, what: str) -> None:
        """Check that ``node`` reads the activations of the chain, and make it their new holder."""
        read = node.args[0] if node.args else node.kwargs.get("input")
        if read is not self.value:
            self._fail(node, f"{what} does not read the output of the operator before it (a branch)")
        self.value = node

    def _placeholder(self, node: fx.Node) -> None:
        if self.value is not None:
            self._fail(node, f"input {node.target!r}: more than one input")
        self.value = node

    def _get_attr(self, node: fx.Node) -> None:
        self._fail(node, f"use of tensor {node.target!r} in forward")

    def _call_module(self, node: fx.Node) -> None:
        module = self.root.get_submodule(node.target)
        kind = type(module)
        if kind is nn.Linear:
            self._take(node, "Linear")
            self._check_parameters(node, module)
            for path, other, _ in self.found:
                if other is module or other.weight is module.weight:
                    self._fail(node, f"Linear shares its weight with layer {path!r} (used twice)")
            if self.width not in (None, module.in_features):
                self._fail(node, f"Linear has {module.in_features} columns, but is given {self.width} values")
            self.width = None
            self.found.append([node.target, module, False])
        elif kind is nn.ReLU:
            self._relu(node)
        elif kind is nn.Flatten:
            self._flatten(node, module.start_dim, module.end_dim)
        elif kind in _NOTHING_MODULES:
            self._take(node, kind.__name__)
        else:
            self._fail(node, f"operator {kind.__name__} is not supported")

    def _call_function(self, node: fx.Node) -> None:
        name = getattr(node.target, "__name__", str(node.target))
        if node.target in _RELU_FUNCTIONS:
            self._relu(node)
        elif node.target is torch.flatten:
            self._flatten(node, *self._dims(node))
        elif node.target is torch.reshape:
            self._reshape(node, node.args[1] if len(node.args) > 1 else node.kwargs["shape"])
        elif node.target in _NOTHING_FUNCTIONS:
            self._take(node, name)
        elif not self._is_shape(node):
            self._fail(node, f"operator {name} is not supported")

    def _call_method(self, node: fx.Node) -> None:
        if node.target in _RELU_METHODS:
            self._relu(node)
        elif node.target == "flatten":
            self._flatten(node, *self._dims(node))
        elif node.target in ("view", "reshape"):
            shape = node.args[1:] or tuple(node.kwargs.values())
            self._reshape(node, shape[0] if len(shape) == 1 and isinstance(shape[0], (tuple, list)) else shape)
        elif node.target in _NOTHING_METHODS:
            self._take(node, node.target)
        elif node.target != "size":
            self._fail(node, f"operator .{node.target}() is not supported")

    def _check_parameters(self, node: fx.Node, linear: nn.Linear) -> None:
        masked = "weight_orig" in linear._parameters and hasattr(linear, "weight_mask")
        for name in ("weight", "bias"):
            if name not in linear._parameters and not (masked and name == "weight"):
                self._fail(node, f"{name} of Linear is computed (bias pruning, weight or spectral norm); remove that")

    @classmethod
    def _is_shape(cls, node) -> bool:
        """Whether ``node`` is a shape, or one number of it."""
        if not isinstance(node, fx.Node):
            return False
        if node.target is operator.getitem:
            return cls._is_shape(node.args[0])
        return node.target == "size" or (node.target is getattr and node.args[1] == "shape")

    @classmethod
    def _is_batch(cls, node) -> bool:
        """Whether ``node`` is the first number of a shape."""
        if not cls._is_shape(node):
            return False
        place = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim")
        return place == 0

    def _output(self, node: fx.Node) -> None:
        if node.args[0] is not self.value:
            self._fail(node, "the model must return the output of its last operator, and nothing else")

    def _relu(self, node: fx.Node) -> None:
        if not self.found:
            self._fail(node, "operator ReLU before the first Linear is not supported")
        self._take(node, "ReLU")
        self.found[-1][2] = True

    @staticmethod
    def _dims(node: fx.Node) -> tuple[int, int]:
        start = node.args[1] if len(node.args) > 1 else node.kwargs.get("start_dim", 0)
        end = node.args[2] if len(node.args) > 2 else node.kwargs.get("end_dim", -1)
        return start, end

    def _flatten(self, node: fx.Node, start: int, end: int) -> None:
        if (start, end) != (1, -1):
            self._fail(node, f"flatten({start}, {end}) is not supported, only flatten(1)")
        self._take(node, "flatten")

    def _reshape(self, node: fx.Node, shape) -> None:
        if len(shape) != 2:
            self._fail(node, f"reshape to {len(shape)} dimensions is not supported, only to (batch, features)")
        if shape[0] != -1 and not self._is_batch(shape[0]):
            self._fail(node, f"reshape to a batch of {shape[0]} is not supported, only to that of the input (or -1)")
        self._take(node, "reshape")
        self.width = shape[1] if isinstance(shape[1], int) and shape[1] != -1 else self.width
        if self.found and self.width not in (None, self.found[-1][1].out_features):
            self._fail(node, f"reshape of {self.found[-1][1].out_features} features to {self.width}")


def _check_shapes(stages: tuple[Stage, ...]) -> None:
    for before, after in pairwise(stages):
        given, wanted = before.linear.out_features, after.linear.in_features
        if given != wanted:
            raise DarbError(
                f"{after.name}: Linear has {wanted} columns, but layer {before.name!r} before it has {given} rows"
            )
