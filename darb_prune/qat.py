"""Ranges, and training with the rounding of the integer model: torch's own fake-quantise operators."""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from darb_prune.container import DarbError
from darb_prune.graph import Stage
from darb_prune.pruned import masked_weight

__all__ = ["FakeQuantized", "activation_scales", "check_bits", "input_batches", "output_range", "weight_scales"]

SPREAD_MAX = 256
"""Largest ratio between weight scales of one layer: rows share one shift, and a 16-bit ``mult`` must not
lose more than 0.4 % of the scale of a row to rounding."""


def check_bits(weight_bits: int, activation_bits: int) -> None:
    """Raise :class:`DarbError` unless weights have 2 to 8 and activations 2 to 16 bits."""
    if not 2 <= weight_bits <= 8:
        raise DarbError(f"weight bits {weight_bits} must be 2 to 8")
    if not 2 <= activation_bits <= 16:
        raise DarbError(f"activation bits {activation_bits} must be 2 to 16")


def output_range(relu: bool, bits: int) -> tuple[int, int]:
    """Least and greatest integer of an activation tensor: two's complement, from 0 behind a ReLU."""
    return (0 if relu else -(1 << (bits - 1))), (1 << (bits - 1)) - 1


def weight_scales(weight: Tensor, bits: int) -> Tensor:
    """Scale of each row for symmetric weights in ``-(2**(bits-1) - 1) .. 2**(bits-1) - 1``.

    From 6 bits up the largest magnitude of the row is the end of the range. Below, clipping the largest
    weights can pay: of 40 ranges the one with the least squared error is taken.

    Parameters
    ----------
    weight : tensor of shape (rows, columns)
        Masked weights.

    Returns
    -------
    float64 tensor of shape (rows,), positive; rows without weights get the largest scale of the layer.
    """
    weight = weight.detach().double()
    greatest = (1 << (bits - 1)) - 1
    full = weight.abs().amax(dim=1) / greatest
    scale = full.clone()
    if bits < 6:
        least = torch.full_like(full, torch.inf)
        for part in torch.linspace(0.35, 1.0, 40, dtype=torch.float64).tolist():
            trial = (full * part).clamp(min=torch.finfo(torch.float64).tiny)
            rounded = (weight / trial[:, None]).round().clamp(-greatest, greatest) * trial[:, None]
            error = (rounded - weight).square().sum(dim=1)
            scale = torch.where(error <= least, trial, scale)
            least = torch.minimum(error, least)
    largest = float(scale.max()) if float(full.max()) > 0 else 1.0
    return torch.where(full > 0, scale, largest).clamp(min=largest / SPREAD_MAX)


def input_batches(calibration: Tensor | Iterable) -> list[Tensor]:
    """Inputs of a calibration set: a tensor, or an iterable of tensors or of (inputs, labels); each 2-D."""
    batches = [calibration] if isinstance(calibration, Tensor) else list(calibration)
    batches = [batch[0] if isinstance(batch, (tuple, list)) else batch for batch in batches]
    batches = [batch.reshape(len(batch), -1) for batch in batches if len(batch)]
    if not batches:
        raise DarbError("calibration: no inputs; give a tensor or a loader with at least one batch")
    if not all(bool(torch.isfinite(batch).all()) for batch in batches):
        raise DarbError("calibration: an input is NaN or infinite")
    return batches


@torch.no_grad()
def activation_scales(
    stages: tuple[Stage, ...], calibration: Tensor | Iterable, bits: int, percentile: float = 100.0
) -> list[float]:
    """Scale of every tensor of a chain, the input first.

    Parameters
    ----------
    stages : tuple of Stage
    calibration : see :func:`input_batches`
    bits : int
    percentile : float
        Which percentile of the magnitudes (per batch, the largest over batches) is the end of the range of a
        hidden tensor; 100 is the maximum. Input and output always use the maximum.

    Returns
    -------
    list of float; 1.0 for a tensor that is always 0.
    """
    if not 0 < percentile <= 100:
        raise DarbError(f"percentile {percentile} must be above 0 and at most 100")
    width = stages[0].linear.in_features
    ends = [0.0] * (len(stages) + 1)
    for batch in input_batches(calibration):
        if batch.shape[1] != width:
            raise DarbError(f"calibration: inputs of {batch.shape[1]} values, layer {stages[0].name!r} reads {width}")
        values = batch.to(stages[0].linear.weight.dtype)
        ends[0] = max(ends[0], float(values.abs().max()))
        for number, stage in enumerate(stages, start=1):
            values = F.linear(values, masked_weight(stage.linear), stage.linear.bias)
            values = values.relu() if stage.relu else values
            magnitude = values.abs().flatten()
            share = 100.0 if number == len(stages) else percentile
            place = max(round(share / 100 * len(magnitude)), 1)
            ends[number] = max(ends[number], float(magnitude.kthvalue(place).values))
    return [end / ((1 << (bits - 1)) - 1) or 1.0 for end in ends]


class FakeQuantized(nn.Module):
    """A chain that computes in floats what the integer model will compute, up to rounding of the biases.

    Parameters are shared with the model: training this module trains the model. Gradients pass rounding
    unchanged and stop at clamped values. Weight scales are frozen between calls of :meth:`update`.

    Parameters
    ----------
    stages : tuple of Stage
    scales : list of float
        From :func:`activation_scales`.
    weight_bits, activation_bits : int
    """

    def __init__(self, stages: tuple[Stage, ...], scales: list[float], weight_bits: int, activation_bits: int):
        super().__init__()
        check_bits(weight_bits, activation_bits)
        self.stages = stages
        self.linears = nn.ModuleList(stage.linear for stage in stages)
        self.scales = scales
        self.weight_bits, self.activation_bits = weight_bits, activation_bits
        self.update()

    @torch.no_grad()
    def update(self) -> None:
        """Take the weight scales from the weights as they are now."""
        self.weight_scales = [
            weight_scales(masked_weight(linear), self.weight_bits).to(linear.weight.dtype) for linear in self.linears
        ]

    def forward(self, x: Tensor) -> Tensor:
        greatest = (1 << (self.weight_bits - 1)) - 1
        x = x.reshape(len(x), -1)
        x = torch.fake_quantize_per_tensor_affine(x, self.scales[0], 0, *output_range(False, self.activation_bits))
        for stage, row_scale, scale in zip(self.stages, self.weight_scales, self.scales[1:], strict=True):
            weight = masked_weight(stage.linear)
            zero = torch.zeros(len(weight), dtype=torch.int32)
            weight = torch.fake_quantize_per_channel_affine(weight, row_scale, zero, 0, -greatest, greatest)
            x = F.linear(x, weight, stage.linear.bias)
            limits = output_range(stage.relu, self.activation_bits)
            x = torch.fake_quantize_per_tensor_affine(x, scale, 0, *limits)
        return x
