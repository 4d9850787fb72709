"""TFLite files -> ordinary modules of torch, for everything that takes a model."""

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from darb_prune.errors import ModelError
from darb_prune.frontend.graph import Call, GraphNetwork, Operation, chain, operate, placed
from darb_prune.frontend.tflite.layers import LAYERS
from darb_prune.frontend.tflite.operators import ELEMENTWISE, OPERATORS, Function, Known, as_file, as_torch
from darb_prune.frontend.tflite.reading import FileGraph, FileOperator, FileTensor, read_graph
from darb_prune.modules.grids import Quantizer

__all__ = ["TfliteNetwork", "load_tflite"]

SUPPORTED = ", ".join(sorted({*LAYERS, *OPERATORS}))
_INPUT = "input"
_SHAPES = {"RESHAPE", "SQUEEZE", "EXPAND_DIMS"}
"""Operators whose sizes are those of their outputs: what computes them is not needed."""


class TfliteNetwork(GraphNetwork):
    """The graph of a TFLite file; layers with weights are modules of torch, named after kind and place of operators.

    Takes and gives real numbers, with the channels last, as the file does.
    """


class _Operator(nn.Module):
    """An operator without weights; a module, so that it has a path."""

    def __init__(self, function: Function) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        return self.function(*inputs)


def load_tflite(path: str | Path) -> TfliteNetwork:
    """Load a model with one input from a TFLite file, quantised or not.

    Returns
    -------
    TfliteNetwork
        In ``eval`` mode. Inputs and outputs are real numbers in the dimensions of the file: (samples, height, width,
        channels). Weights and activations that are integers in the file keep their scales and zero points, and
        :func:`darb_prune.quantize` gives these integers.

    Raises
    ------
    ModelError
        If the package ``tflite`` is missing, the file is no valid model, or an operator cannot be turned into torch;
        the message names the operator and the tensor it writes.
    """
    return _Builder(read_graph(path), str(path)).network().eval()


class _Builder:
    def __init__(self, graph: FileGraph, path: str) -> None:
        self.graph, self.path = graph, path
        self.modules: dict[str, nn.Module] = {}
        self.operations: list[Operation] = []
        self.tensors = dict(graph.tensors)
        self.flattened: dict[int, tuple[int, ...]] = {}  # vectors that were images, with the shapes of these

    def network(self) -> TfliteNetwork:
        source, outputs = self.graph.source, self.graph.outputs
        known = {source}
        self._call(_first, (_INPUT,), (str(source),))
        self._quantizer("input_quantizer", source)
        for operator in self._needed():
            written = self.tensors[operator.outputs[0]]
            place = f"{self.path}, operator {operator.name}, tensor {written.name!r}"
            with placed(place, "constants or options that do not go together", "convert it again"):
                self._operator(operator, known)
            known.update(operator.outputs)
        for number in outputs:
            if number not in known or number in self.flattened:
                what = "is an image that was flattened" if number in self.flattened else "does not depend on the input"
                raise ModelError(f"{self.path}: output {self.tensors[number].name!r} {what}; end the model before it")
            self._call(_last, (str(number),), (f"output {number}",))
        names = [f"output {number}" for number in outputs]
        return TfliteNetwork(self.modules, self.operations, {}, [_INPUT], names, self.tensors[source].shape[1:])

    def _needed(self) -> list[FileOperator]:
        """Operators that the outputs depend on, in order; constants that they only reformat are folded."""
        read, needed = set(self.graph.outputs), []
        for operator in reversed(self.graph.operators):
            if read & set(operator.outputs):
                needed.append(operator)
                read |= set(operator.inputs[:1] if operator.kind in _SHAPES else operator.inputs)
        return needed[::-1]

    def _operator(self, operator: FileOperator, known: set[int]) -> None:
        kind = operator.kind
        if kind not in LAYERS and kind not in OPERATORS:
            raise ModelError(f"operator {kind} is not supported; make the model of supported ones: {SUPPORTED}")
        inputs = tuple(None if number < 0 else self.tensors[number] for number in operator.inputs)
        outputs = tuple(self.tensors[number] for number in operator.outputs)
        constant = [tensor is None or tensor.data is not None for tensor in inputs]
        if not inputs or all(constant):
            self._folded(operator, inputs)
            return
        read = [number for number, is_constant in zip(operator.inputs, constant, strict=True) if not is_constant]
        read = read[:1] if kind in _SHAPES else read
        for number in read:
            if number not in known:
                raise ModelError(f"it reads tensor {self.tensors[number].name!r}, which nothing has written before")
        image = self._image(operator, read)
        of = Known(operator.options, inputs, outputs, image)
        if kind in LAYERS:
            modules = LAYERS[kind](of)
            self._layer(operator, modules, read[0])
        else:
            names = tuple(map(str, read)), tuple(map(str, operator.outputs))
            self.modules[operator.name] = _Operator(OPERATORS[kind](of))
            self.operations.append(Operation((operator.name,), operate, *names))
        for place, number in enumerate(operator.outputs):
            self._quantizer(f"{operator.name}_quantizer{place or ''}", number)

    def _folded(self, operator: FileOperator, inputs: tuple[FileTensor | None, ...]) -> None:
        """DEQUANTIZE of a constant: weights that are stored in fewer bits."""
        (number,) = operator.outputs
        tensor = inputs[0] if inputs else None
        if operator.kind != "DEQUANTIZE" or tensor is None:
            raise ModelError(f"{operator.kind} of constants; convert the model with constants folded")
        self.tensors[number] = tensor

    def _image(self, operator: FileOperator, read: list[int]) -> tuple[int, ...] | None:
        """The shape of the image that was flattened to what ``operator`` reads; it is remembered for what it writes."""
        kind, image = operator.kind, self.flattened.get(read[0])
        shape, made = self.tensors[read[0]].shape, self.tensors[operator.outputs[0]].shape
        if kind in _SHAPES and image is None and len(shape) > 2 and len(made) == 2:
            image = shape[1:] if sum(size > 1 for size in shape[1:]) > 1 and shape[-1] > 1 else None
        elif any(number in self.flattened for number in read) and kind not in (*ELEMENTWISE, "FULLY_CONNECTED"):
            raise ModelError(
                "it reads an image that was flattened; only FULLY_CONNECTED and activations can read that, flatten "
                "behind it"
            )
        if image is not None and kind != "FULLY_CONNECTED":
            self.flattened[operator.outputs[0]] = image
        return image

    def _layer(self, operator: FileOperator, modules: list[nn.Module], source: int) -> None:
        """The layer has the name of the operator, what stands in front of it or behind it another one."""
        names, place = [], next(place for place, module in enumerate(modules) if hasattr(module, "weight"))
        for module_number, module in enumerate(modules):
            ending = "" if module_number == place else f"_{type(module).__name__.lower().strip('_')}"
            ending += str(module_number) if f"{operator.name}{ending}" in self.modules else ""
            names.append(f"{operator.name}{ending}")
            self.modules[names[-1]] = module
        self.operations.append(Operation(tuple(names), chain, (str(source),), (str(operator.outputs[0]),)))

    def _quantizer(self, name: str, number: int) -> None:
        """The tensor of that number is rounded to its grid, if it has one."""
        grid = self.tensors[number].grid
        if grid is not None:
            self.modules[name] = Quantizer(grid)
            self.operations.append(Operation((name,), operate, (str(number),), (str(number),)))

    def _call(self, call: Call, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> None:
        self.operations.append(Operation((), call, inputs, outputs))


def _first(modules: list[nn.Module], inputs: list[Any]) -> tuple[Tensor, ...]:
    return (as_torch(inputs[0]),)


def _last(modules: list[nn.Module], inputs: list[Any]) -> tuple[Tensor, ...]:
    return (as_file(inputs[0]),)
