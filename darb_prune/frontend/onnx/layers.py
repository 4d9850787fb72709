"""ONNX operators with weights -> modules of torch, so that they can be pruned and trained as such."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from darb_prune.errors import ModelError
from darb_prune.frontend.graph import Call, chain
from darb_prune.frontend.graph_layers import convolution, filled, linear
from darb_prune.frontend.onnx.operators import explicit_pads

__all__ = ["LAYERS", "KnownNode"]


@dataclass(frozen=True)
class KnownNode:
    """What is known of a node when the model is built.

    Parameters
    ----------
    attributes : dict
    constants : list of tensor or None
        Its inputs, as far as they are constants.
    shape : list of int or None
        Sizes of its first input, as far as they are known; none at all if not even their number is.
    """

    attributes: dict
    constants: list[Tensor | None]
    shape: list[int | None] | None

    def constant(self, input_number: int, what: str) -> Tensor:
        """An input that must be a constant."""
        value = self.optional(input_number)
        if value is None:
            raise ModelError(f"{what} is not a constant")
        return value

    def optional(self, input_number: int) -> Tensor | None:
        """An input, if it is there and a constant."""
        return self.constants[input_number] if input_number < len(self.constants) else None

    def has(self, input_number: int) -> bool:
        return self.optional(input_number) is not None


def _conv(node: KnownNode) -> tuple[list[nn.Module], Call]:
    a, weight = node.attributes, node.constant(1, "the weight")
    dims = weight.dim() - 2
    if dims not in (1, 2):
        raise ModelError(f"a convolution of {dims} dimensions; 1 or 2 are supported")
    kernel, groups = list(weight.shape[2:]), a.get("group", 1)
    strides = a.get("strides", [1] * dims)
    pads = explicit_pads(a, kernel, strides, (node.shape or [None] * (dims + 2))[2:])
    before, after = pads[:dims], pads[dims:]
    bias = node.optional(2)
    return convolution(weight, bias, strides, before, after, a.get("dilations", [1] * dims), groups), chain


def _transposed(node: KnownNode) -> tuple[list[nn.Module], Call]:
    a, weight = node.attributes, node.constant(1, "the weight")
    dims = weight.dim() - 2
    if dims not in (1, 2):
        raise ModelError(f"a transposed convolution of {dims} dimensions; 1 or 2 are supported")
    if a.get("auto_pad", "NOTSET") != "NOTSET" or "output_shape" in a:
        raise ModelError("ConvTranspose with auto_pad or output_shape; export with explicit pads")
    pads = a.get("pads", [0] * 2 * dims)
    beyond = [far - near for near, far in zip(pads[:dims], pads[dims:], strict=True)]
    more = [extra - size for extra, size in zip(a.get("output_padding", [0] * dims), beyond, strict=True)]
    bias, groups, strides = node.optional(2), a.get("group", 1), a.get("strides", [1] * dims)
    if any(not 0 <= extra < step for extra, step in zip(more, strides, strict=True)):
        raise ModelError(f"ConvTranspose with pads {list(pads)}; make them symmetric")
    kind: Any = nn.ConvTranspose1d if dims == 1 else nn.ConvTranspose2d
    conv = kind(
        len(weight), weight.shape[1] * groups, list(weight.shape[2:]), strides, pads[:dims], more, groups,
        bias is not None, a.get("dilations", [1] * dims),
    )  # fmt: skip
    return [filled(conv, weight=weight, bias=bias)], chain


def _gemm(node: KnownNode) -> tuple[list[nn.Module], Call]:
    a, weight = node.attributes, node.constant(1, "B")
    if a.get("transA", 0):
        raise ModelError("Gemm with transA")
    if weight.dim() != 2:
        raise ModelError(f"Gemm with {weight.dim()} dimensions; 2 are supported")
    weight = (weight.T if a.get("transB", 0) else weight) * a.get("alpha", 1.0)
    bias = node.constant(2, "C") * a.get("beta", 1.0) if len(node.constants) > 2 else None
    if bias is not None and bias.numel() not in (1, weight.shape[1]):
        raise ModelError("C is not a bias of each row")
    return [linear(weight.T, bias)], chain


def _matmul(node: KnownNode) -> tuple[list[nn.Module], Call]:
    weight = node.constant(1, "B")
    if weight.dim() != 2:
        raise ModelError(f"MatMul with {weight.dim()} dimensions; 2 are supported")
    return [linear(weight.T, node.optional(2))], chain


def _norm(node: KnownNode) -> tuple[list[nn.Module], Call]:
    gain, bias, mean, variance = (node.constant(input_number, "a parameter") for input_number in (1, 2, 3, 4))
    if node.shape is None:
        raise ModelError("BatchNormalization of an unknown number of dimensions; export with shapes")
    kind = nn.BatchNorm2d if len(node.shape) == 4 else nn.BatchNorm1d
    norm = kind(len(gain), node.attributes.get("epsilon", 1e-5))
    return [filled(norm, weight=gain, bias=bias, running_mean=mean, running_var=variance)], chain


def _embedding(node: KnownNode) -> tuple[list[nn.Module], Call]:
    table = node.constant(0, "the table")
    symbols, features = table.shape
    embedding = filled(nn.Embedding(symbols, features), weight=table)
    return [embedding], lambda modules, inputs: (modules[0](inputs[1]),)


# Which gate of ONNX each of torch's gates is: i, o, f, c and z, r, h there; i, f, g, o and r, z, n here.
_GATES = {"LSTM": (0, 2, 3, 1), "GRU": (1, 0, 2)}


def _recurrent(kind: str, node: KnownNode) -> tuple[list[nn.Module], Call]:
    a = node.attributes
    direction = a.get("direction", "forward")
    if direction not in ("forward", "bidirectional"):
        raise ModelError(f"{kind} of direction {direction}; forward and bidirectional are supported")
    if kind == "GRU" and a.get("linear_before_reset", 0) != 1:
        raise ModelError("GRU with linear_before_reset 0; export it with 1 (the GRU of torch)")
    default = ["sigmoid", "tanh", "tanh"][: 3 if kind == "LSTM" else 2]
    if [name.lower() for name in a.get("activations", default)] != default or "clip" in a or a.get("input_forget"):
        raise ModelError(f"{kind} with other activations, clip or input_forget")
    if node.has(4) or node.has(7):
        raise ModelError(f"{kind} with lengths of sequences or peepholes")
    own, back = node.constant(1, "W"), node.constant(2, "R")
    units, first, endings = back.shape[-1], bool(a.get("layout", 0)), ("", "_reverse")[: 1 + (direction != "forward")]
    rows = len(endings), len(_GATES[kind]) * units
    if own.dim() != 3 or own.shape[:-1] != rows or back.shape != (*rows, units):
        raise ModelError(f"{kind} with W and R of shapes {tuple(own.shape)} and {tuple(back.shape)}")
    bias = node.optional(3)
    if bias is not None and bias.shape != (rows[0], 2 * rows[1]):
        raise ModelError(f"{kind} with B of shape {tuple(bias.shape)}")

    def sorted_gates(values: Tensor) -> Tensor:
        return torch.cat([values.split(units)[gate] for gate in _GATES[kind]])

    module = getattr(nn, kind)(
        own.shape[2], units, bias=bias is not None, batch_first=first, bidirectional=len(endings) > 1
    )
    values = {}
    for number, ending in enumerate(endings):
        values |= {f"weight_ih_l0{ending}": own[number], f"weight_hh_l0{ending}": back[number]}
        if bias is not None:
            values[f"bias_ih_l0{ending}"], values[f"bias_hh_l0{ending}"] = bias[number].chunk(2)
    filled(module, **{name: sorted_gates(value) for name, value in values.items()})

    def call(modules: list[nn.Module], inputs: list[Any]) -> tuple[Tensor, ...]:
        x, states = inputs[0], [inputs[n] if n < len(inputs) else None for n in ((5, 6) if kind == "LSTM" else (5,))]
        state = None
        if any(entry is not None for entry in states):
            samples = x.shape[0 if first else 1]
            states = [_state(entry, (len(endings), samples, units), first, x) for entry in states]
            state = tuple(states) if kind == "LSTM" else states[0]
        values, last = modules[0](x, state)
        last = last if kind == "LSTM" else (last,)
        values = values.unflatten(2, (len(endings), units))
        return values if first else values.transpose(1, 2), *(
            entry.transpose(0, 1) if first else entry for entry in last
        )

    return [module], call


def _state(state: Tensor | None, shape: tuple[int, int, int], first: bool, x: Tensor) -> Tensor:
    """An initial state of ``shape`` (directions, samples, units), if it was exported for another number of samples."""
    if state is None:
        return x.new_zeros(shape)
    samples = shape[1]
    state = state.transpose(0, 1) if first else state
    if state.shape[1] != samples and bool((state == state[:, :1]).all()):
        state = state[:, :1].repeat(1, samples, 1)
    return state.to(x.dtype)


LAYERS: dict[str, Callable[[KnownNode], tuple[list[nn.Module], Call]]] = {
    "Conv": _conv,
    "ConvTranspose": _transposed,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "BatchNormalization": _norm,
    "Gather": _embedding,
    "LSTM": lambda node: _recurrent("LSTM", node),
    "GRU": lambda node: _recurrent("GRU", node),
}
