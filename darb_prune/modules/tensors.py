"""Which layers read the same tensor: they must agree on the order in which its channels are stored."""

import operator
from dataclasses import dataclass, field
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from darb_prune.modules.graph import trace
from darb_prune.modules.layers import PrunableLayer

__all__ = ["Reading", "Stored", "stored_tensors"]

# Operators whose output has the channels of their inputs, at the same positions.
_KEEPS_MODULES = (
    nn.ReLU, nn.ReLU6, nn.Sigmoid, nn.Tanh, nn.Hardsigmoid, nn.Hardtanh, nn.GELU, nn.SiLU, nn.LeakyReLU,
    nn.PReLU, nn.ELU, nn.CELU, nn.SELU, nn.Mish, nn.Softplus, nn.Hardswish, nn.LogSigmoid, nn.Softsign,
    nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Identity, nn.BatchNorm1d, nn.BatchNorm2d, nn.Flatten,
    nn.ZeroPad1d, nn.ZeroPad2d, nn.ConstantPad1d, nn.ConstantPad2d,
    nn.MaxPool1d, nn.MaxPool2d, nn.AvgPool1d, nn.AvgPool2d, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d,
)  # fmt: skip
_KEEPS = {
    "relu", "relu_", "relu6", "sigmoid", "tanh", "hardsigmoid", "hardtanh", "gelu", "silu", "dropout", "add", "iadd",
    "leaky_relu", "elu", "celu", "selu", "mish", "softplus", "hardswish", "neg", "truediv", "div",
    "sub", "mul", "flatten", "max_pool1d", "max_pool2d", "avg_pool1d", "avg_pool2d", "adaptive_avg_pool1d",
    "adaptive_avg_pool2d", "boolean_dispatch", "contiguous", "clone", "getitem", "mean", "view", "reshape",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Reading:
    """One part of a layer that reads a tensor.

    Parameters
    ----------
    layer, part : int
        Numbers of the layer in the tuple of layers, and of the part in the layer.
    columns : int64 tensor of shape (repeats, channels)
        Column of the part's matrix that reads a channel, at each position of a kernel or feature map.
    """

    layer: int
    part: int
    columns: Tensor

    def order(self, channels: Tensor) -> Tensor:
        """Storage order of the columns, when the channels are stored in the order ``channels``."""
        return self.columns[:, channels].reshape(-1)


@dataclass(frozen=True, eq=False)
class Stored:
    """A tensor and everything prunable that reads it.

    Parameters
    ----------
    channels : int
    movable : bool
        Whether its channels may be stored in another order than their own.
    readings : tuple of Reading
    """

    channels: int
    movable: bool
    readings: tuple[Reading, ...]


@dataclass(eq=False)
class _Class:
    """Nodes of the graph that hold the same channels."""

    parent: "_Class | None" = None
    channels: int | None = None
    movable: bool = True
    maps: bool = True  # may be a feature map, whose flattening puts channels outermost
    readings: list[tuple[int, int]] = field(default_factory=list)  # numbers of layer and part

    def root(self) -> "_Class":
        node = self
        while node.parent is not None:
            node = node.parent
        return node

    def join(self, other: "_Class") -> None:
        kept, merged = self.root(), other.root()
        if kept is merged:
            return
        if None not in (kept.channels, merged.channels) and kept.channels != merged.channels:
            kept.movable = False
        merged.parent = kept
        kept.channels = merged.channels if kept.channels is None else kept.channels
        kept.movable &= merged.movable
        kept.maps &= merged.maps
        kept.readings += merged.readings


def stored_tensors(model: nn.Module, layers: tuple[PrunableLayer, ...]) -> tuple[Stored, ...]:
    """Group the parts of ``layers`` by the tensor they read.

    Every part is in exactly one group. Channels behind an operator that is not known to leave them in place are
    not movable: such a tensor keeps its own order.

    Raises
    ------
    DarbError
        If the model cannot be traced.
    """
    root, graph = trace(model, "prune with order none")
    return _Walk(root, layers).run(graph)


class _Walk:
    def __init__(self, root: nn.Module, layers: tuple[PrunableLayer, ...]) -> None:
        self.root = root
        self.layers = layers
        self.of: dict[nn.Module, list[int]] = {}
        for layer_number, layer in enumerate(layers):
            self.of.setdefault(layer.parts[0].module, []).append(layer_number)
        self.values: dict[fx.Node, _Class] = {}
        self.called: dict[nn.Module, tuple[_Class, _Class]] = {}  # what a layer read and wrote, called once already
        self.classes: list[_Class] = []

    def run(self, graph: fx.Graph) -> tuple[Stored, ...]:
        for node in graph.nodes:
            inputs = [self.values[other] for other in node.all_input_nodes if other in self.values]
            if node.op == "output" or self._is_size(node):
                continue
            self.values[node] = self._node(node, inputs)
        roots = list(dict.fromkeys(group.root() for group in self.classes))
        tensors = [self._stored(group) for group in roots if group.readings]
        seen = {(reading.layer, reading.part) for stored in tensors for reading in stored.readings}
        # A layer that the forward pass does not reach is nobody's reader.
        for layer_number, layer in enumerate(self.layers):
            for part_number, part in enumerate(layer.parts):
                if (layer_number, part_number) not in seen:
                    reading = Reading(layer_number, part_number, torch.arange(part.columns)[None])
                    tensors.append(Stored(part.columns, False, (reading,)))
        return tuple(tensors)

    def _new(self, channels: int | None = None, movable: bool = True, maps: bool = True) -> _Class:
        self.classes.append(_Class(channels=channels, movable=movable, maps=maps))
        return self.classes[-1]

    def _node(self, node: fx.Node, inputs: list[_Class]) -> _Class:
        if node.op == "placeholder":
            return self._new()
        module = self._module(node)
        if module is not None and module in self.of:
            return self._layer(module, inputs)
        if isinstance(module, nn.Embedding):
            return self._new(module.embedding_dim, maps=False)
        if self._is_last_state(node):
            for source in inputs:
                source.root().movable = False
        channels = None  # of a depthwise convolution
        if isinstance(module, (nn.Conv1d, nn.Conv2d)) and module.groups == module.in_channels == module.out_channels:
            channels = module.out_channels
        keeps = isinstance(module, _KEEPS_MODULES) or getattr(module, "keeps_channels", False)
        if channels is not None or keeps or (module is None and self._keeps(node)):
            made = self._new(channels)
            for source in inputs:
                made.join(source)
            return made
        for source in inputs:
            source.root().movable = False
        return self._new(movable=False)

    def _module(self, node: fx.Node) -> nn.Module | None:
        """The module that ``node`` calls, if it calls one."""
        return self.root.get_submodule(str(node.target)) if node.op == "call_module" else None

    @staticmethod
    def _keeps(node: fx.Node) -> bool:
        name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
        if name == "pad":
            pads = node.args[1] if len(node.args) > 1 else node.kwargs["pad"]
            return isinstance(pads, (tuple, list)) and not any(pads[4:])  # lines and columns, but no channels
        return name in _KEEPS or node.target in (F.max_pool2d, F.max_pool1d)

    def _layer(self, module: nn.Module, inputs: list[_Class]) -> _Class:
        source, *states = inputs or [self._new(movable=False)]
        if module in self.called:
            read, written = self.called[module]
            read.join(source)
            return written
        read = source
        for layer_number in self.of[module]:
            layer = self.layers[layer_number]
            rows = layer.shape[0]
            source.root().readings.append((layer_number, 0))
            if layer.kind in ("linear", "conv"):
                source = self._new(rows, maps=layer.kind == "conv")
                continue
            assert isinstance(module, nn.RNNBase)
            hidden = self._new(module.hidden_size, maps=False)
            hidden.readings.append((layer_number, 1))
            for state in states:  # an initial state given from outside is the hidden state of every layer
                state.root().channels = module.hidden_size
            source = hidden
        self.called[module] = read, source
        return source

    def _is_last_state(self, node: fx.Node) -> bool:
        """Whether ``node`` takes the states out of what a recurrent module of several layers returns."""
        if node.target is not operator.getitem or node.args[1] == 0 or not isinstance(node.args[0], fx.Node):
            return False
        module = self._module(node.args[0])
        return (
            isinstance(module, (nn.LSTM, nn.GRU))
            and module.num_layers > 1
            and any(user.op != "output" for user in node.users)
        )

    @staticmethod
    def _is_size(node: fx.Node) -> bool:
        """Whether ``node`` is a shape or one number of it."""
        if node.target is operator.getitem:
            return isinstance(node.args[0], fx.Node) and _Walk._is_size(node.args[0])
        return node.target in ("size", "dim") or (node.target is getattr and node.args[1] in ("shape", "ndim"))

    def _stored(self, group: _Class) -> Stored:
        widths = [self._width(reading) for reading in group.readings]
        channels = group.channels or min(cin for _, cin in widths)
        kinds = [self.layers[layer_number].kind for layer_number, _ in group.readings]
        fits = all(
            width % channels == 0 and (group.maps or kind == "conv" or width == channels)
            for (width, _), kind in zip(widths, kinds, strict=True)
        )
        movable = group.movable and fits
        readings = []
        for (layer_number, part_number), (width, _) in zip(group.readings, widths, strict=True):
            columns = torch.arange(width)
            if not fits:
                columns = columns[None]
            elif self.layers[layer_number].kind == "conv":  # kernel positions, channels innermost
                columns = columns.reshape(-1, channels)
            else:  # a flattened feature map: channels outermost in torch, innermost in memory
                columns = columns.reshape(channels, -1).T
            readings.append(Reading(layer_number, part_number, columns))
        return Stored(channels, movable, tuple(readings))

    def _width(self, reading: tuple[int, int]) -> tuple[int, int]:
        """Columns of what reads a tensor, and how many of them one kernel position has."""
        layer = self.layers[reading[0]]
        part = layer.parts[reading[1]]
        return part.columns, cast(int, part.module.in_channels) if layer.kind == "conv" else part.columns
