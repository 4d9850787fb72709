"""Float model -> integer model. The integer model is the oracle that all hardware is compared with.

It is built from masked *dense* integer matrices and shares no code with encoder or plan. Normative
arithmetic, on exact integers, ``>>`` being an arithmetic shift::

    acc = sum_j weight[j] * activation[j]
    y   = clamp(((acc + bias) * mult + (1 << (shift - 1))) >> shift, qmin, qmax)
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from darb_prune.container import DarbError
from darb_prune.encoded import MULT_MAX, SHIFT_MAX
from darb_prune.graph import Stage, chain, check_finite
from darb_prune.pruned import masked_weight
from darb_prune.qat import SPREAD_MAX, activation_scales, check_bits, output_range, weight_scales

__all__ = ["IntegerLinear", "IntegerNetwork", "multipliers", "quantize", "requantize"]

BIAS_BITS = 31
"""Biases are kept within this many bits by widening the scale of a row with tiny weights and a large bias."""


def requantize(acc: Tensor, bias: Tensor, mult: Tensor, shift: int, qmin: int, qmax: int) -> Tensor:
    """``clamp(((acc + bias) * mult + (1 << (shift - 1))) >> shift, qmin, qmax)`` on int64 tensors."""
    return (((acc + bias) * mult + (1 << (shift - 1))) >> shift).clamp(qmin, qmax)


class IntegerLinear(nn.Module):
    """One integer layer.

    Parameters
    ----------
    name : str
    weight : int64 tensor of shape (rows, columns)
        Dense, in logical order, 0 where masked.
    bias, mult : int64 tensors of shape (rows,)
    shift : int
    relu : bool
    weight_bits, output_bits : int
    output_scale : float
        Real value of one unit of the output.
    kept : bool tensor of shape (rows, columns), optional
        Which weights are kept (a kept weight can be 0); only passed on to the encoder.
    levels : int16 tensor of shape (rows, 2), optional
        Level of each row; absent if the mask is irregular. Only passed on.
    order : int64 tensor of shape (columns,), optional
        Storage order of the columns. Only passed on.
    """

    def __init__(
        self, name, weight, bias, mult, shift, relu, weight_bits, output_bits, output_scale, kept=None, levels=None,
        order=None,
    ):  # fmt: skip
        super().__init__()
        self.name, self.shift, self.relu = name, int(shift), bool(relu)
        self.weight_bits, self.output_bits, self.output_scale = weight_bits, output_bits, float(output_scale)
        self.qmin, self.qmax = output_range(relu, output_bits)
        kept = torch.ones_like(weight, dtype=torch.bool) if kept is None else kept
        for key, value in (("weight", weight), ("bias", bias), ("mult", mult)):
            self.register_buffer(key, value.to(torch.int64))
        for key, value in (("kept", kept), ("levels", levels), ("order", order)):
            self.register_buffer(key, value)

    def forward(self, x: Tensor) -> Tensor:
        return requantize(x @ self.weight.T, self.bias, self.mult, self.shift, self.qmin, self.qmax)


class IntegerNetwork(nn.Module):
    """The oracle: a chain of integer layers, executed exactly on int64 tensors.

    Parameters
    ----------
    layers : iterable of IntegerLinear
    input_bits : int
    input_scale : float
    name : str
    """

    def __init__(self, layers: Iterable[IntegerLinear], input_bits: int, input_scale: float, name: str = "network"):
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.input_bits, self.input_scale, self.name = input_bits, float(input_scale), name

    @property
    def tensor_names(self) -> list[str]:
        """``"input"``, then the output of every layer."""
        return ["input", *(f"{layer.name}.out" for layer in self.layers)]

    def quantize_input(self, x: Tensor) -> Tensor:
        """Real inputs (any shape, samples first) -> int64 of shape (samples, columns), rounded and clamped."""
        qmin, qmax = output_range(False, self.input_bits)
        x = x.reshape(len(x), -1).double()
        return (x / self.input_scale).round().clamp(qmin, qmax).to(torch.int64)

    def trace(self, x: Tensor) -> dict[str, Tensor]:
        """All tensors by name, in logical order: int64, shape (samples, size)."""
        qmin, qmax = output_range(False, self.input_bits)
        columns = self.layers[0].weight.shape[1]
        if x.is_floating_point() or x.dim() != 2 or x.shape[1] != columns:
            raise DarbError(f"integer inputs of shape (samples, {columns}) are needed; use quantize_input")
        if x.numel() and not (qmin <= int(x.min()) and int(x.max()) <= qmax):
            raise DarbError(f"an input leaves the range {qmin}..{qmax}")
        values = [x.to(torch.int64)]
        for layer in self.layers:
            values.append(layer(values[-1]))
        return dict(zip(self.tensor_names, values, strict=True))

    def forward(self, x: Tensor) -> Tensor:
        """Integers of the output tensor for integers of the input tensor."""
        return self.trace(x)[self.tensor_names[-1]]


def multipliers(factor: Tensor) -> tuple[Tensor, int]:
    """Fixed-point form of positive real factors: ``factor ~ mult / 2**shift``.

    The shift is the largest, from 1 to 47, that keeps every ``mult`` within 16 bits unsigned.

    Parameters
    ----------
    factor : float64 tensor of shape (rows,)

    Returns
    -------
    mult (int64, shape (rows,)) and shift.
    """
    for shift in range(SHIFT_MAX, 0, -1):
        mult = (factor * 2.0**shift).round()
        if float(mult.max()) <= MULT_MAX:
            return mult.to(torch.int64), shift
    raise DarbError(f"requantisation factor {float(factor.max()):.3g} is too large for a 16-bit mult")


def quantize(
    model: nn.Module,
    calibration: Tensor | Iterable,
    weight_bits: int = 8,
    activation_bits: int = 8,
    percentile: float = 100.0,
    name: str | None = None,
) -> IntegerNetwork:
    """Quantise a (pruned) model symmetrically: weights per row, activations per tensor, zero points 0.

    Parameters
    ----------
    model : torch.nn.Module
        A chain of Linear and ReLU; it is not changed.
    calibration : tensor, or iterable of tensors or of (inputs, labels)
        Inputs that show the range of every tensor; those of :func:`darb_prune.finetune` give the ranges that
        the model was trained with.
    weight_bits : int
        2 to 8.
    activation_bits : int
        2 to 16, of all tensors.
    percentile : float
        See :func:`darb_prune.qat.activation_scales`.
    name : str, optional
        Of the network; the class of the model if absent.

    Raises
    ------
    DarbError
        For layers that are not supported, NaN weights, unusable calibration data, or pruned weights that no
        longer follow their levels.
    """
    check_bits(weight_bits, activation_bits)
    stages = chain(model)
    check_finite(stages)
    scales = activation_scales(stages, calibration, activation_bits, percentile)
    layers = [
        _layer(stage, scales[number], scales[number + 1], weight_bits, activation_bits)
        for number, stage in enumerate(stages)
    ]
    return IntegerNetwork(layers, activation_bits, scales[0], name or type(model).__name__)


@torch.no_grad()
def _layer(stage: Stage, input_scale: float, output_scale: float, weight_bits: int, bits: int) -> IntegerLinear:
    linear = stage.linear
    weight = masked_weight(linear).detach().double()
    bias = torch.zeros(len(weight), dtype=torch.float64) if linear.bias is None else linear.bias.detach().double()
    scale = weight_scales(weight, weight_bits)
    empty = ~weight.any(dim=1)
    # Nothing but its bias is left of such a row: any unit will do, and 1/256 of an output step is fine enough.
    # It must not be larger than those of the other rows, which share the shift and would lose bits of mult.
    fine = output_scale / input_scale / 256
    scale[empty] = fine if empty.all() else scale[empty].clamp(max=fine)
    scale = torch.maximum(scale, bias.abs() / (input_scale * 2.0 ** (BIAS_BITS - 1)))
    scale = scale.clamp(min=float(scale.max()) / SPREAD_MAX)
    greatest = (1 << (weight_bits - 1)) - 1
    mult, shift = multipliers(scale * input_scale / output_scale)
    return IntegerLinear(
        name=stage.name,
        weight=(weight / scale[:, None]).round().clamp(-greatest, greatest),
        bias=(bias / (input_scale * scale)).round(),
        mult=mult,
        shift=shift,
        relu=stage.relu,
        weight_bits=weight_bits,
        output_bits=bits,
        output_scale=output_scale,
        **_structure(linear),
    )


def _structure(linear: nn.Linear) -> dict:
    """Kept weights, levels and column order of a layer, for the encoder."""
    mask = getattr(linear, "weight_mask", None)
    levels, order = getattr(linear, "weight_level", None), getattr(linear, "weight_order", None)
    if levels is None and mask is None:  # never pruned
        levels = torch.tensor([[0, 1]], dtype=torch.int16).repeat(linear.out_features, 1)
    # After prune.remove the zeros are the mask.
    kept = (linear.weight != 0) if mask is None and order is not None else mask
    return {"kept": None if kept is None else kept.bool(), "levels": levels, "order": order}
