"""QuantizeLinear and DequantizeLinear: the scales and integers that a file brings along.

In the model that is made of it, all tensors stay real numbers: weights are dequantised, and have their scales beside
them; an activation goes through a :class:`darb_prune.modules.grids.Quantizer`.
"""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from darb_prune.errors import ModelError
from darb_prune.modules.grids import Grid, Scales, bring, check_scales

__all__ = ["KEEP_GRID", "QUANTIZATION", "Integers", "integer_operator"]

Proto = Any

QUANTIZATION = ("QuantizeLinear", "DequantizeLinear")
KEEP_GRID = {
    "Dropout", "Expand", "Flatten", "Gather", "GlobalMaxPool", "Identity", "MaxPool", "Reshape", "Slice", "Squeeze",
    "Transpose", "Unsqueeze",
}  # fmt: skip
"""Operators that take integers as they take the numbers that these stand for."""
_FOLDED = {*QUANTIZATION, "Clip", "Transpose", "Identity"}
_LIMITS = {
    2: (0, 255), 3: (-128, 127), 4: (0, 65535), 5: (-32768, 32767), 6: (-(1 << 31), (1 << 31) - 1),
    21: (0, 15), 22: (-8, 7),
}  # fmt: skip
"""Least and greatest integer of each type of ONNX."""


def integer_operator(kind: str) -> None:
    """Refuse an operator that computes with integers itself."""
    if kind.startswith(("QLinear", "DynamicQuantize")) or kind.endswith("Integer"):
        raise ModelError(
            f"operator {kind} is not supported; quantise statically in the QDQ format (quant_format=QuantFormat.QDQ)"
        )


class Integers:
    """Which tensors of a graph are integers, and what those stand for.

    Parameters
    ----------
    constants : dict of str to tensor
        Of the graph; what can be computed before the input is known is added to it.

    Attributes
    ----------
    types : dict of str to int
        Types of tensors, as ONNX numbers them, as far as they are known.
    scales : dict of str to Scales
        Of constants that are dequantised.
    grids : dict of str to Grid
        Of tensors that depend on the input and are integers in the file.
    """

    def __init__(self, constants: dict[str, Tensor]) -> None:
        self.constants = constants
        self.types: dict[str, int] = {}
        self.scales: dict[str, Scales] = {}
        self.grids: dict[str, Grid] = {}

    def folded(self, node: Proto, attributes: dict) -> bool:
        """Whether ``node`` only makes constants of constants; then they are known from now on."""
        names = [name for name in node.input if name]
        inputs = [self.constants[name] for name in names if name in self.constants]
        source = node.input[0] if node.input else ""
        concerned = node.op_type in QUANTIZATION or source in self.scales or self._is_integer(source)
        if node.op_type not in _FOLDED or not concerned or not inputs or len(inputs) < len(names):
            return False
        (value, *others), output = inputs, node.output[0]
        if node.op_type == "QuantizeLinear":
            self.constants[output] = self._quantized(node, attributes, value)
        elif node.op_type == "DequantizeLinear":
            self.constants[output] = self._dequantized(node, attributes, value)
        elif node.op_type == "Clip":
            self.constants[output] = value.clamp(*(limit.reshape(()).to(value.dtype) for limit in others))
        elif node.op_type == "Transpose":
            order = attributes.get("perm", list(reversed(range(value.dim()))))
            self.constants[output] = value.permute(order)
            if source in self.scales:
                known = self.scales[source]
                self.scales[output] = replace(known, axis=order.index(known.axis % value.dim()))
        else:
            self.constants[output] = value
        if node.op_type not in QUANTIZATION:
            self.types[output] = self.types.get(source, 0)
            if node.op_type != "Transpose" and source in self.scales:
                self.scales[output] = self.scales[source]
        return True

    def grid(self, node: Proto, attributes: dict, integers: str) -> Grid:
        """That of an activation, whose ``integers`` have that name."""
        return self._parameters(node, attributes, integers).grid

    def check_same(self, node: Proto, attributes: dict) -> None:
        """Refuse integers that are taken for other numbers than they were made of."""
        made = self.grids.get(node.input[0])
        if made is None:
            raise ModelError("reads integers that no QuantizeLinear gives; quantise in the QDQ format")
        known = self.grid(node, attributes, node.input[0])
        if (known.scale, known.zero) != (made.scale, made.zero):
            raise ModelError(
                f"scale {known.scale:.6g} and zero point {known.zero}, but its integers were made with "
                f"{made.scale:.6g} and {made.zero}; give a pair of QuantizeLinear and DequantizeLinear the same"
            )

    def clipped(self, node: Proto, grid: Grid) -> Grid:
        """``grid`` within the limits of a Clip of its integers."""
        limits = [self.constants.get(name) for name in node.input[1:]]
        if len(limits) != 2 or any(limit is None or limit.numel() != 1 for limit in limits):
            raise ModelError("Clip of integers without two constant limits; export them as constants")
        low, high = (int(limit) for limit in limits if limit is not None)
        return replace(grid, low=max(low, grid.low), high=min(high, grid.high))

    def mark(self, node: Proto, attributes: dict, module: nn.Module) -> None:
        """Give a layer the scales of its weights, if they were dequantised."""
        known = self.scales.get(node.input[1]) if len(node.input) > 1 else None
        if known is None or node.op_type not in ("Conv", "Gemm", "MatMul"):
            return
        weight = self.constants[node.input[1]]
        across = node.op_type == "MatMul" or (node.op_type == "Gemm" and not attributes.get("transB", 0))
        row_axis = 1 if across else 0
        bring(module, known.rows(weight, row_axis, abs(attributes.get("alpha", 1.0))))

    def _is_integer(self, name: str) -> bool:
        return name in self.constants and self.types.get(name) in _LIMITS and self.types[name] != 6

    def _quantized(self, node: Proto, attributes: dict, value: Tensor) -> Tensor:
        known = self._parameters(node, attributes, node.output[0])
        scale, zero = (known.along(entry, value) for entry in (known.scale, known.zero))
        integers = ((value / scale.to(value.dtype)).round() + zero).clamp(known.low, known.high)
        return integers.to(torch.int32)

    def _dequantized(self, node: Proto, attributes: dict, value: Tensor) -> Tensor:
        known = self._parameters(node, attributes, node.input[0])
        real, self.scales[node.output[0]] = known.real(value)
        return real

    def _parameters(self, node: Proto, attributes: dict, integers: str) -> Scales:
        """What a node says; ``integers`` is the name of its tensor of integers."""
        if attributes.get("block_size", 0):
            raise ModelError("scales of blocks; quantise per tensor or per channel")
        scale = self.constants.get(node.input[1])
        if scale is None or not scale.is_floating_point() or scale.dim() > 1 or not scale.numel():
            raise ModelError(
                "its scale is not a constant of one number, or of one for each channel; quantise it statically"
            )
        scale = scale.double().reshape(-1)
        check_scales(scale)
        kind = self.types.get(integers, 0)
        named = node.input[2] if len(node.input) > 2 else ""
        zero = torch.zeros_like(scale)
        if named:
            given = self.constants.get(named)
            if given is None or given.is_floating_point() or given.numel() != scale.numel():
                raise ModelError("its zero point is not a constant integer for each scale; quantise it statically")
            zero, kind = given.double().reshape(-1), self.types.get(named, kind)
        elif node.op_type == "QuantizeLinear":
            kind = attributes.get("output_dtype", 0) or 2
        if kind not in _LIMITS or (kind == 6 and (node.op_type == "QuantizeLinear" or bool(zero.any()))):
            raise ModelError(f"integers of type {kind}, or with a zero point that they cannot have; use int8 or uint8")
        self.types[integers] = kind
        return Scales(scale, zero, attributes.get("axis", 1), *_LIMITS[kind])
