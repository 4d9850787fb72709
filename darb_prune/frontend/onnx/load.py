"""ONNX files -> ordinary modules of torch, for everything that takes a model."""

import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from darb_prune.errors import ModelError
from darb_prune.files import unreadable
from darb_prune.frontend.graph import GraphNetwork, Operation, first_line, operate, placed, same
from darb_prune.frontend.onnx.layers import LAYERS, KnownNode
from darb_prune.frontend.onnx.operators import FUNCTIONS
from darb_prune.frontend.onnx.quantized import KEEP_GRID, QUANTIZATION, Integers, integer_operator
from darb_prune.modules.grids import Grid, Quantizer

__all__ = ["OnnxNetwork", "load_onnx"]

Proto = Any
"""What a file consists of, in the classes of onnx, which is loaded with the first file."""
SUPPORTED = ", ".join(sorted({*LAYERS, *FUNCTIONS, *QUANTIZATION, "Constant"}))


class _Operator(nn.Module):
    """An operator without weights; a module, so that it has a path."""

    def __init__(self, name: str, kind: str, attributes: dict) -> None:
        super().__init__()
        self.name, self.kind, self.attributes = name, kind, attributes

    def forward(self, *inputs: Tensor | None) -> Tensor | tuple[Tensor, ...]:
        try:
            return FUNCTIONS[self.kind](self.attributes, *inputs)
        except ModelError as error:
            raise ModelError(f"node {self.name!r}: {error}") from None


_TAKEN = frozenset(dir(nn.Module()))
"""Names that a module of torch has for itself."""


class OnnxNetwork(GraphNetwork):
    """The graph of an ONNX file; layers with weights are modules of torch, named after its nodes."""


def load_onnx(path: str | Path) -> OnnxNetwork:
    """Load a model from an ONNX file. With several inputs it needs :class:`darb_prune.JoinedInputs`.

    Returns
    -------
    OnnxNetwork
        In ``eval`` mode: normalisations use the statistics of the file.

    Raises
    ------
    ModelError
        If the package ``onnx`` is missing, the file is no valid model, or a node cannot be turned into torch; the
        message names the node.
    """
    try:
        import onnx
    except ImportError as error:
        raise ModelError(f"{path}: reading it needs the package onnx; pip install 'darb[onnx]'") from error
    if Path(path).exists() and (reason := unreadable(Path(path))):
        raise ModelError(f"{path}: {reason}")
    try:
        model = onnx.load(str(path))
        onnx.checker.check_model(model)
        model = onnx.shape_inference.infer_shapes(model)
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror or error}") from error
    except Exception as error:  # protobuf, checker and shape inference each have their own types
        raise ModelError(f"{path}: not a valid ONNX model ({first_line(error)}); export it again") from error
    try:
        return _Builder(model.graph, str(path)).network().eval()
    except ModelError:
        raise
    except Exception as error:  # names that are no text, shapes that are none: what the checker lets pass
        raise ModelError(f"{path}: not a valid ONNX model ({first_line(error)}); export it again") from error


class _Builder:
    def __init__(self, graph: Proto, path: str) -> None:
        from onnx import helper, numpy_helper

        self.graph, self.path = graph, path
        self.array, self.attribute = numpy_helper.to_array, helper.get_attribute_value
        self.constants = {entry.name: self._initializer(entry) for entry in graph.initializer}
        self.integers = Integers(self.constants)
        self.integers.types |= {entry.name: entry.data_type for entry in graph.initializer}
        described = (*graph.input, *graph.value_info)
        self.integers.types |= {entry.name: entry.type.tensor_type.elem_type for entry in described}
        self.shapes = {entry.name: self._shape(entry) for entry in (*graph.input, *graph.value_info, *graph.output)}
        self.uses = Counter(name for node in graph.node for name in node.input)
        self.uses.update(entry.name for entry in graph.output)
        self.modules: dict[str, nn.Module] = {}
        self.operations: list[Operation] = []
        self.sources: list[str] = []
        self.computed: set[str] = set()  # what depends on the input

    def _tensor(self, entry: Proto) -> Tensor:
        array = np.array(self.array(entry))  # a copy: the file's own memory is read-only
        wider = {"int4": np.int8, "uint4": np.uint8, "uint16": np.int32}.get(array.dtype.name)
        return torch.from_numpy(array if wider is None else array.astype(wider))

    def _initializer(self, entry: Proto) -> Tensor:
        try:
            return self._tensor(entry)
        except (TypeError, ValueError) as error:
            raise ModelError(
                f"{self.path}: initializer {entry.name!r} of shape {list(entry.dims)} cannot be read ({error}); "
                "export it again"
            ) from None

    @staticmethod
    def _shape(entry: Proto) -> list[int | None] | None:
        kind = entry.type.tensor_type
        if not kind.HasField("shape"):
            return None
        return [dim.dim_value if dim.HasField("dim_value") else None for dim in kind.shape.dim]

    def network(self) -> OnnxNetwork:
        inputs = [entry.name for entry in self.graph.input if entry.name not in self.constants]
        if not inputs:
            raise ModelError(f"{self.path}: no inputs; export it again")
        self.sources = inputs
        nodes = sorted(self.graph.node, key=lambda node: node.op_type != "Constant")
        nodes = sorted(nodes, key=self._later)
        while nodes:
            node = nodes.pop(0)
            name = self._name(node)
            what = f"{node.op_type} with constants or attributes that do not go together"
            with placed(f"{self.path}, node {name!r}", what, "export it again"):
                if self._bias_follows(node, nodes):
                    self._layer(node, name, self._bias(nodes.pop(0)))
                else:
                    self._node(node, name)
        return OnnxNetwork(self.modules, self.operations, self.constants, inputs, [e.name for e in self.graph.output])

    def _later(self, node: Proto) -> bool:
        """Whether ``node`` depends on the input; asked in the order of the file."""
        later = any(name in self.sources or name in self.computed for name in node.input)
        self.computed.update(node.output if later else ())
        return later

    def _name(self, node: Proto) -> str:
        """Of the module: that of the node without the operator at its end."""
        base = node.name.removesuffix(f"/{node.op_type}") or node.output[0]
        base = re.sub(r"\W+", "_", base).strip("_") or node.op_type.lower()
        base = f"{node.op_type.lower()}_{base}" if base[0].isdigit() or base in _TAKEN else base
        suffix, name = 1, base
        while name in self.modules or f"{name}_pad" in self.modules:
            suffix += 1
            name = f"{base}_{suffix}"
        return name

    def _attributes(self, node: Proto) -> dict:
        attributes = {}
        for entry in node.attribute:
            value = self.attribute(entry)
            if isinstance(value, bytes):
                value = value.decode()
            elif isinstance(value, (list, tuple)) or type(value).__name__.startswith("Repeated"):
                value = [item.decode() if isinstance(item, bytes) else item for item in value]
            attributes[entry.name] = self._tensor(value) if type(value).__name__ == "TensorProto" else value
        return attributes

    def _node(self, node: Proto, name: str) -> None:
        kind, attributes = node.op_type, self._attributes(node)
        if node.domain not in ("", "ai.onnx") and kind not in QUANTIZATION:
            integer_operator(kind)
            raise ModelError(f"operator {node.domain}.{kind} is not supported; supported: {SUPPORTED}")
        if kind == "Constant":
            value = next(iter(attributes.values()))
            self.constants[node.output[0]] = value if isinstance(value, Tensor) else torch.tensor(value)
            self.integers.types[node.output[0]] = node.attribute[0].t.data_type
            return
        if self.integers.folded(node, attributes) or self._quantization(node, name, attributes):
            return
        if kind == "Identity" and node.input[0] in self.constants:  # exporters write equal parameters once
            self.constants[node.output[0]] = self.constants[node.input[0]]
            return
        table = self.constants.get(node.input[0]) if node.input else None
        embeds = kind == "Gather" and table is not None and table.dim() == 2 and table.is_floating_point()
        if kind in LAYERS and (kind != "Gather" or (embeds and not attributes.get("axis", 0))):
            self._layer(node, name, None)
        elif kind in FUNCTIONS:
            fixed = self.shapes.get(node.input[0]) if node.input else None
            attributes |= {"fixed": fixed} if kind == "Reshape" else {}
            attributes |= {"outputs": len(node.output)} if kind == "Split" else {}
            self.modules[name] = _Operator(name, kind, attributes)
            self.operations.append(Operation((name,), operate, tuple(node.input), tuple(node.output)))
        else:
            integer_operator(kind)
            raise ModelError(f"operator {kind} is not supported; supported: {SUPPORTED}")

    def _quantization(self, node: Proto, name: str, attributes: dict) -> bool:
        """Whether ``node`` only says which integers a tensor has. In the model it stays one of real numbers."""
        kind, integers = node.op_type, self.integers
        source = node.input[0] if node.input else ""
        grid = integers.grids.get(source)
        if kind == "QuantizeLinear":
            grid = integers.grid(node, attributes, node.output[0])
        elif kind == "DequantizeLinear" and grid is None and source in self.sources:  # an input of integers
            self._quantizer(name, integers.grid(node, attributes, source), source, node.output[0])
            return True
        elif kind == "DequantizeLinear":
            integers.check_same(node, attributes)
        elif kind == "Clip" and grid is not None:
            grid = integers.clipped(node, grid)
        elif grid is not None and kind not in KEEP_GRID:
            raise ModelError(f"operator {kind} of integers; quantise in the QDQ format")
        else:
            integers.grids.update({output: grid for output in node.output if grid is not None})
            return False
        if kind == "DequantizeLinear":
            self.operations.append(Operation((), same, (source,), tuple(node.output)))
            return True
        assert grid is not None
        integers.grids[node.output[0]] = grid
        before = self.operations[-1] if self.operations else None
        if kind == "Clip" and before is not None and before.outputs == (source,) and self.uses[source] == 1:
            quantizer = self.modules[before.modules[0]] if before.modules else None
            if isinstance(quantizer, Quantizer):  # it has these limits then
                name, source = before.modules[0], before.inputs[0]
                del self.operations[-1], self.modules[name]
        self._quantizer(name, grid, source, node.output[0])
        return True

    def _quantizer(self, name: str, grid: Grid, source: str, output: str) -> None:
        self.modules[name] = Quantizer(grid)
        self.operations.append(Operation((name,), operate, (source,), (output,)))

    def _layer(self, node: Proto, name: str, bias: tuple[Tensor, str] | None) -> None:
        """A layer with weights; ``bias`` are constant and output of an addition that belongs to it."""
        constants = [self.constants.get(entry) for entry in node.input]
        outputs = tuple(node.output)
        if bias is not None:
            constants, outputs = [*constants, bias[0]], (bias[1],)
        known = KnownNode(self._attributes(node), constants, self.shapes.get(node.input[0]))
        modules, call = LAYERS[node.op_type](known)
        self.integers.mark(node, known.attributes, modules[-1])
        names = [f"{name}_pad", name][-len(modules) :]
        self.modules.update(zip(names, modules, strict=True))
        self.operations.append(Operation(tuple(names), call, tuple(node.input), outputs))

    def _bias_follows(self, node: Proto, nodes: list) -> bool:
        """Whether the node behind a MatMul adds a constant to it, and nobody else reads it."""
        if node.op_type != "MatMul" or not nodes or nodes[0].op_type != "Add" or self.uses[node.output[0]] != 1:
            return False
        others = [name for name in nodes[0].input if name != node.output[0]]
        weight = self.constants.get(node.input[1])
        added = self.constants.get(others[0]) if len(others) == 1 else None
        return added is not None and weight is not None and added.numel() in (1, weight.shape[-1])

    def _bias(self, node: Proto) -> tuple[Tensor, str]:
        value = next(self.constants[name] for name in node.input if name in self.constants)
        return value, node.output[0]
