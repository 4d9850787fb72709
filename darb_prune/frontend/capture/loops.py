"""Loops over time steps: what a model does at each step in the same way becomes one operator of whole sequences.

``cell(x[:, t], state)`` for every ``t``, with the state of the step before, is an LSTM, GRU or RNN over ``x``, which
runs backward if ``t`` falls. Layers and functions without dimensions that read a time step are the same function of
the sequence.
"""

from collections.abc import Hashable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map_only

from darb_prune.frontend.capture.recording import Node, Recording, TracedTensor, needed

__all__ = ["rolled"]

_CUT = "cut"
_CELLS = {"LSTMCell": "LSTM", "GRUCell": "GRU", "RNNCell": "RNN"}
_ALIKE = (
    "Linear", "relu", "relu6", "leaky_relu", "prelu", "elu", "selu", "silu", "gelu", "mish", "softplus", "hardswish",
    "hardtanh", "hardsigmoid", "sigmoid", "tanh", "clamp", "dropout", "add", "sub", "mul", "div", "truediv", "neg",
    "contiguous", "clone", "detach", "to", "float",
)  # fmt: skip
"""Operators that do to a sequence what they do to each of its steps."""


@dataclass(eq=False)
class _Series:
    """Tensors that are the time steps of one tensor.

    Parameters
    ----------
    key : tuple
        Begins with the name of the operator. Equal for what is done in the same way at each step.
    whole : TracedTensor
        The sequence.
    dim : int
        Its dimension of time.
    members : dict of int to Node
        The nodes that compute the steps, by time step; none of a sequence that is cut into steps.
    backward : bool
        Whether a cell begins at the last time step.
    """

    key: tuple[Hashable, ...]
    whole: TracedTensor
    dim: int
    members: dict[int, Node] = field(default_factory=dict)
    backward: bool = False

    @property
    def steps(self) -> int:
        return self.whole.shape[self.dim]


def rolled(recording: Recording) -> Recording:
    """The recording with one LSTM, GRU or RNN in the place of each cell that is called for all time steps.

    A cell that is not called in that way stays as it is.
    """
    if not any(node.name in _CELLS for node in recording.nodes):
        return recording
    refused: set[Hashable] = set()
    while True:
        loop = _Loop(recording, refused)
        unfinished = {
            series.key
            for series in loop.series.values()
            if series.members and set(series.members) != set(range(series.steps))
        }
        if not unfinished:
            return loop.recording()
        refused |= unfinished


class _Loop:
    """Nodes sorted into those that are done at every time step, and others."""

    def __init__(self, recording: Recording, refused: set[Hashable]) -> None:
        self.before, self.refused = recording, refused
        self.series: dict[Hashable, _Series] = {}
        self.elements: dict[TracedTensor, tuple[_Series, int]] = {}
        self.unsqueezed: dict[TracedTensor, tuple[TracedTensor, int]] = {}  # of an element: with one more dimension
        self.instead: dict[TracedTensor, TracedTensor] = {}  # whole sequences, in the place of their steps put together
        self.selected: dict[TracedTensor, TracedTensor] = {}  # steps that are taken out of a sequence again
        self.nodes: list[Node] = []
        for node in recording.nodes:
            self._sort(node)

    def recording(self) -> Recording:
        output = self._source(self.before.output)
        return replace(self.before, nodes=needed(self.nodes, output), output=output)

    def _sort(self, node: Node) -> None:
        if self._is_cut(node):
            args = tree_map_only(TracedTensor, self._source, node.args)
            self.nodes.append(replace(node, args=args))
        elif node.name == "unsqueeze" and node.sources[0] in self.elements:
            dim = [*node.args[1:], *node.kwargs.values()][0]
            self.unsqueezed[node.outputs[0]] = node.sources[0], dim % len(node.outputs[0].shape)
            self._keep(node)
        elif not (self._is_stacked(node) or self._is_step(node)):
            self._keep(node)

    def _keep(self, node: Node) -> None:
        """An ordinary operator; what it reads of sequences is taken out of them."""
        args, kwargs = tree_map_only(TracedTensor, self._source, (node.args, node.kwargs))
        made = replace(node, args=args, kwargs=kwargs)
        self._rename(node, made)
        self.nodes.append(made)

    def _rename(self, node: Node, made: Node) -> None:
        """The outputs of ``node`` are those of ``made``: a tensor knows its node."""
        made.outputs = [replace(output, node=made) for output in node.outputs]
        self.instead.update(zip(node.outputs, made.outputs, strict=True))
        for output, new in zip(node.outputs, made.outputs, strict=True):
            if output in self.unsqueezed:
                self.unsqueezed[new] = self.unsqueezed[output]

    def _source(self, tensor: TracedTensor) -> TracedTensor:
        """What stands for ``tensor`` now."""
        if tensor in self.instead:
            return self.instead[tensor]
        if tensor not in self.elements:
            return tensor
        series, step = self.elements[tensor]
        if series.key[0] == _CUT:  # it is still there
            return tensor
        if tensor not in self.selected:
            assert tensor.node is not None
            args = (series.whole, series.dim, step)
            node = Node("select", tensor.node.path, tensor.node.owner, False, torch.select, args, {})
            node.line = tensor.node.line
            self.selected[tensor] = _output(node, tensor.shape, tensor.floating)
            self.nodes.append(node)
        return self.selected[tensor]

    def _is_cut(self, node: Node) -> bool:
        """Whether ``node`` takes time steps out of a sequence."""
        if node.name not in ("getitem", "select", "unbind") or len(node.sources) != 1:
            return False
        whole = self.instead.get(node.sources[0], node.sources[0])
        cut = _cut(node, len(whole.shape))
        if cut is None:
            return False
        dim, steps = cut
        key = (_CUT, node.sources[0], dim)
        series = self.series.setdefault(key, _Series(key, whole, dim))
        for output, step in zip(node.outputs, steps, strict=True):
            self.elements[output] = series, step % series.steps
        return True

    def _is_stacked(self, node: Node) -> bool:
        """Whether ``node`` puts all time steps together to the sequence."""
        if node.name not in ("stack", "cat", "concat", "concatenate"):
            return False
        parts = node.args[0] if node.args else node.kwargs["tensors"]
        dim = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)
        dim %= len(node.outputs[0].shape)
        if node.name != "stack":
            if any(self.unsqueezed.get(part, (None, -1))[1] != dim for part in parts):
                return False
            parts = [self.unsqueezed[part][0] for part in parts]
        steps = [self.elements[part] for part in parts if part in self.elements]
        if not steps or len(steps) < len(parts):
            return False
        series = steps[0][0]
        if steps != [(series, number) for number in range(series.steps)]:
            return False
        whole = series.whole
        if dim != series.dim:
            made = Node(
                "movedim", node.path, node.owner, False, torch.movedim, (whole, series.dim, dim), {}, line=node.line
            )
            whole = _output(made, node.outputs[0].shape, node.outputs[0].floating)
            self.nodes.append(made)
        self.instead[node.outputs[0]] = whole
        return True

    def _is_step(self, node: Node) -> bool:
        """Whether ``node`` does at one time step what is done at all of them."""
        cell = node.name in _CELLS
        if not cell and (node.name not in _ALIKE or len(node.outputs) != 1 or len(node.outputs[0].shape) != 2):
            return False
        inputs = [node.args[0]] if cell and node.args else node.sources
        steps = [self.elements[source] for source in inputs if source in self.elements]
        if not steps or len(steps) < len(inputs) or len({step for _, step in steps}) > 1:
            return False
        (first, step), *_ = steps
        alike = all(series.dim == first.dim and series.steps == first.steps for series, _ in steps)
        key = self._key(node, cell)
        if not alike or key in self.refused or (cell and len(inputs[0].shape) != 2):
            return False
        if cell and not self._goes_on(node, key, step, first.steps):
            self.refused.add(key)
            return False
        if key not in self.series:
            self._begin(node, key, first, cell, backward=cell and step > 0)
        series = self.series[key]
        series.members[step] = node
        self.elements[node.outputs[0]] = series, step
        return True

    def _key(self, node: Node, cell: bool) -> tuple[Hashable, ...]:
        """What a step is, without its number."""
        arguments = node.args[:1] if cell else (node.args, tuple(sorted(node.kwargs.items())))
        leaves = tree_leaves(arguments, is_leaf=lambda leaf: isinstance(leaf, TracedTensor))
        what = id(node.owner) if node.layer else (node.path, getattr(node.function, "__name__", ""))
        return node.name, what, tuple(self._leaf(leaf) for leaf in leaves)

    def _leaf(self, leaf: Any) -> Hashable:
        if isinstance(leaf, TracedTensor):
            return self.elements[leaf][0].key
        return id(leaf) if isinstance(leaf, Tensor) else repr(leaf)

    def _goes_on(self, node: Node, key: tuple[Hashable, ...], step: int, steps: int) -> bool:
        """Whether the state of a cell is that of the step before; at the first one, or at the last one if it runs
        backward, a constant, or nothing."""
        state = node.args[1] if len(node.args) > 1 else node.kwargs.get("hx")
        states = [] if state is None else list(state) if isinstance(state, (tuple, list)) else [state]
        if key not in self.series:
            return step in (0, steps - 1) and all(isinstance(entry, Tensor) for entry in states)
        series = self.series[key]
        before = series.members.get(step + 1 if series.backward else step - 1)
        return before is not None and states == before.outputs

    def _begin(self, node: Node, key: tuple[Hashable, ...], first: _Series, cell: bool, backward: bool) -> None:
        """The operator of the whole sequence, for the first of its time steps."""

        def whole(tensor: TracedTensor) -> TracedTensor:
            return self.elements[tensor][0].whole

        if cell:
            given = dict(zip(("input", "hx"), node.args, strict=False)) | node.kwargs
            state = tree_map_only(Tensor, lambda tensor: tensor[None], given.get("hx"))
            args: tuple[Any, ...] = (whole(given["input"]), state)
            made = Node(_CELLS[node.name], node.path, node.owner, True, node.function, args, {}, line=node.line)
            made.kwargs |= {"batch_first": first.dim == 1, "backward": backward}
        else:
            args, kwargs = tree_map_only(TracedTensor, whole, (node.args, node.kwargs))
            made = replace(node, args=args, kwargs=kwargs, outputs=[])
        shape = list(node.outputs[0].shape)
        shape.insert(first.dim, first.steps)
        output = _output(made, tuple(shape), node.outputs[0].floating)
        if cell:
            _output(made, (1, *node.outputs[0].shape), True)
        self.nodes.append(made)
        self.series[key] = _Series(key, output, first.dim, backward=backward)


def _output(node: Node, shape: tuple[int, ...], floating: bool) -> TracedTensor:
    output = TracedTensor(shape, floating, node, len(node.outputs))
    node.outputs.append(output)
    return output


def _cut(node: Node, dims: int) -> tuple[int, list[int]] | None:
    """The dimension of which ``node`` takes single entries, and which."""
    if node.name == "getitem":
        index = node.args[1] if isinstance(node.args[1], tuple) else (node.args[1],)
        numbers = [position for position, entry in enumerate(index) if type(entry) is int]
        others = [entry for entry in index if type(entry) is not int]
        if len(numbers) != 1 or any(entry is not Ellipsis and entry != slice(None) for entry in others):
            return None
        dots = index.index(Ellipsis) if Ellipsis in index else len(index)
        dim = numbers[0] if numbers[0] < dots else numbers[0] - len(index) + dims
        return dim, [index[numbers[0]]]
    arguments = dict(zip(("dim", "index"), node.args[1:], strict=False)) | node.kwargs
    dim = arguments.get("dim", 0) % dims
    if node.name == "select":
        return dim, [arguments["index"]]
    return dim, list(range(len(node.outputs)))
