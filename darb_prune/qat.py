"""Ranges, and training with the rounding of the integer model: torch's own fake-quantise operators."""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from darb_prune.container import DarbError
from darb_prune.graph import Stage
from darb_prune.pruned import masked_weight

__all__ = ["FakeQuantized", "activation_scales", "calibration_inputs", "check_bits", "output_range", "weight_scales"]

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


def calibration_inputs(calibration: Tensor | Iterable) -> Tensor:
    """All inputs of a calibration set, float32, shape (samples, columns).

    Parameters
    ----------
    calibration : tensor (samples first), or iterable of tensors or of (inputs, labels)
    """
    if not isinstance(calibration, (Tensor, Iterable)):
        raise DarbError(f"calibration: {type(calibration).__name__} given; give a tensor or a loader")
    batches = [calibration] if isinstance(calibration, Tensor) else list(calibration)
    batches = [batch[0] if isinstance(batch, (tuple, list)) and batch else batch for batch in batches]
    for batch in batches:
        if not isinstance(batch, Tensor) or batch.dim() == 0:
            raise DarbError("calibration: give a tensor (samples first), or a loader of such or of (inputs, labels)")
    batches = [batch.reshape(len(batch), -1).float() for batch in batches if len(batch)]
    if not batches:
        raise DarbError("calibration: no inputs; give a tensor or a loader with at least one batch")
    if len({batch.shape[1] for batch in batches}) > 1:
        raise DarbError("calibration: batches of different widths")
    inputs = torch.cat(batches)
    if not torch.isfinite(inputs).all():
        raise DarbError("calibration: an input is NaN or infinite")
    return inputs


@torch.no_grad()
def activation_scales(
    stages: tuple[Stage, ...], calibration: Tensor | Iterable, bits: int, percentile: float = 100.0
) -> list[float]:
    """Scale of every tensor of a chain, the input first.

    Parameters
    ----------
    stages : tuple of Stage
    calibration : see :func:`calibration_inputs`
    bits : int
    percentile : float
        Which percentile of the magnitudes of all calibration data, however batched, is the end of the range
        of a hidden tensor; 100 is the maximum. Input and output always use the maximum.

    Returns
    -------
    list of float; 1.0 for a tensor that is always 0.
    """
    if not 0 < percentile <= 100:
        raise DarbError(f"percentile {percentile} must be above 0 and at most 100")
    values, width = calibration_inputs(calibration), stages[0].linear.in_features
    if values.shape[1] != width:
        raise DarbError(f"calibration: inputs of {values.shape[1]} values, layer {stages[0].name!r} reads {width}")
    ends = [float(values.abs().max())]
    for stage in stages:
        values = _linear(values, stage, masked_weight(stage.linear).float())
        values = values.relu() if stage.relu else values
        magnitude = values.abs().flatten()
        place = max(round((100.0 if stage is stages[-1] else percentile) / 100 * len(magnitude)), 1)
        ends.append(float(magnitude.kthvalue(place).values))
    return [end / ((1 << (bits - 1)) - 1) or 1.0 for end in ends]


def _linear(x: Tensor, stage: Stage, weight: Tensor) -> Tensor:
    """The layer in float32, whatever its parameters are: fake quantisation knows no other scales."""
    bias = stage.linear.bias
    return F.linear(x, weight, None if bias is None else bias.float())


class FakeQuantized(nn.Module):
    """A chain that computes in floats what the integer model will compute, up to rounding of the biases.

    Parameters are shared with the model: training this module trains the model. Gradients pass rounding
    unchanged and stop at clamped values. Scales are frozen between calls of :meth:`update`.

    Parameters
    ----------
    stages : tuple of Stage
    calibration : tensor
        From :func:`calibration_inputs`.
    weight_bits, activation_bits : int
    percentile : float
        See :func:`activation_scales`.
    """

    def __init__(
        self,
        stages: tuple[Stage, ...],
        calibration: Tensor,
        weight_bits: int,
        activation_bits: int,
        percentile: float = 100.0,
    ):
        super().__init__()
        check_bits(weight_bits, activation_bits)
        self.stages = stages
        self.linears = nn.ModuleList(stage.linear for stage in stages)
        self.calibration, self.percentile = calibration, percentile
        self.weight_bits, self.activation_bits = weight_bits, activation_bits
        self.update()

    @torch.no_grad()
    def update(self) -> None:
        """Take all scales from the weights as they are now."""
        self.weight_scales = [weight_scales(masked_weight(linear), self.weight_bits).float() for linear in self.linears]
        self.scales = activation_scales(self.stages, self.calibration, self.activation_bits, self.percentile)

    def forward(self, x: Tensor) -> Tensor:
        greatest, dtype = (1 << (self.weight_bits - 1)) - 1, x.dtype
        x = x.reshape(len(x), -1).float()
        x = torch.fake_quantize_per_tensor_affine(x, self.scales[0], 0, *output_range(False, self.activation_bits))
        for stage, row_scale, scale in zip(self.stages, self.weight_scales, self.scales[1:], strict=True):
            weight = masked_weight(stage.linear).float()
            zero = torch.zeros(len(weight), dtype=torch.int32)
            weight = torch.fake_quantize_per_channel_affine(weight, row_scale, zero, 0, -greatest, greatest)
            limits = output_range(stage.relu, self.activation_bits)
            x = torch.fake_quantize_per_tensor_affine(_linear(x, stage, weight), scale, 0, *limits)
        return x.to(dtype)
