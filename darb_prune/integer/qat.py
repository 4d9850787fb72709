"""Training with the rounding of the integer model: torch's own fake-quantise operators in the model's stages."""

from collections.abc import Collection, Iterable

import torch
from torch import Tensor, nn

from darb_prune.errors import DarbError
from darb_prune.frontend.capture import capture
from darb_prune.frontend.execution import Hooks, folded, gains, run
from darb_prune.frontend.stages import CellStage, Curve, Matrix, Stages
from darb_prune.integer.arithmetic import GRU_BITS, LSTM_BITS, UNITS
from darb_prune.integer.domains import Domain, domains
from darb_prune.integer.ranges import GATE_BITS, Range, calibrate, calibration_batches, check_bits, freed
from darb_prune.modules.grids import RowGrid, row_grid

__all__ = ["FakeQuantized", "gate_units", "row_scales", "weight_grid", "weight_scales"]

SPREAD_MAX = 256
"""Largest ratio between weight scales of one layer: rows share one shift, and a 16-bit ``mult`` must not
lose more than 0.4 % of the scale of a row to rounding."""


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


def weight_grid(stage: Matrix) -> RowGrid | None:
    """That which the weights of ``stage`` brought along."""
    parts = [weight.part for weight in stage.weights]
    return row_grid(parts[0].module) if len(parts) == 1 and parts[0] is not None else None


def row_scales(stage: Matrix, weights: list[Tensor], ranges: dict[str, Range], bits: int) -> tuple[Tensor, list[float]]:
    """Scale of each row, and what it is divided by at each input, so that all products of a row have one unit.

    Parameters
    ----------
    weights : list of tensors
        From :func:`darb_prune.frontend.execution.folded`.

    Returns
    -------
    scale : float64 tensor of shape (rows,)
        Of the weights that meet the first input.
    relative : list of float
        Scale of each input over that of the first.
    """
    grid = weight_grid(stage)
    if grid is not None:
        if grid.bits > bits:
            raise DarbError(f"layer {stage.name!r}: its weights have {grid.bits} bits of their own; weight bits {bits}")
        gain = gains(stage, torch.float64).detach().abs()
        return torch.where(gain > 0, grid.scale * gain, 1.0), [1.0]
    relative = [ranges[name].scale / ranges[stage.inputs[0]].scale for name in stage.inputs]
    joined = [weight.detach().double().flatten(1) * part for weight, part in zip(weights, relative, strict=True)]
    return weight_scales(torch.cat(joined, dim=1), bits), relative


def gate_units(stage: Matrix) -> list[tuple[float, int]]:
    """Units of the gates that ``stage`` writes, and how many rows have them, from the first row on."""
    table, other = 2.0 ** -(GATE_BITS - 1), 2.0**-LSTM_BITS
    return [(table if name else other, count) for name, count in stage.functions or ((None, stage.rows),)]


def _fake(values: Tensor, scale: float, qmin: int, qmax: int) -> Tensor:
    """Rounded and clamped; in float32, whatever ``values`` are: fake quantisation knows no other scales."""
    return torch.fake_quantize_per_tensor_affine(values.float(), scale, 0, qmin, qmax).to(values.dtype)


class _Rounding(Hooks):
    """Rounds as the integer model does, up to biases and the ties of its shifts."""

    def __init__(
        self,
        ranges: dict[str, Range],
        domains: dict[str, Domain],
        scales: dict[tuple[str, int], Tensor],
        weight_bits: int,
        bits: int,
        grids: Collection[str],
    ) -> None:
        self.ranges, self.domains, self.scales, self.grids = ranges, domains, scales, grids
        self.greatest = (1 << (weight_bits - 1)) - 1
        self.cell = Range.full(bits, 2.0 ** -(bits - 1))

    def weight(self, stage: Matrix, input_number: int, weight: Tensor) -> Tensor:
        scale = self.scales.get((stage.name, input_number))
        if scale is None:
            return weight
        zero, greatest = torch.zeros(len(scale), dtype=torch.int32), self.greatest
        rounded = torch.fake_quantize_per_channel_affine(weight.float(), scale, zero, 0, -greatest, greatest)
        return rounded.to(weight.dtype)

    def pre_activation(self, stage: Matrix | CellStage, function: str | Curve, values: Tensor) -> Tensor:
        if isinstance(function, Curve):
            domain = self.domains[stage.name]
            return _fake(values, domain.unit, -128 - domain.zero, 127 - domain.zero)
        return _fake(values, UNITS[function], -128, 127)

    def stored(self, value: str, values: Tensor) -> Tensor:
        if not values.is_floating_point():
            return values
        if value in self.grids:  # rounded already
            return values
        limits = self.ranges[value]
        return _fake(values, limits.scale, limits.qmin, limits.qmax)

    def gate(self, stage: Matrix, values: Tensor) -> Tensor:
        units = gate_units(stage)
        pieces = values.split([count for _, count in units], dim=1)
        pieces = [_fake(piece, unit, -32768, 32767) for piece, (unit, _) in zip(pieces, units, strict=True)]
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces, dim=1)

    def state(self, cell: CellStage, state: Tensor) -> Tensor:
        return _fake(state, 2.0 ** -(LSTM_BITS if cell.kind == "lstm" else GRU_BITS), -32768, 32767)

    def cell_output(self, cell: CellStage, output: Tensor) -> Tensor:
        return _fake(output, self.cell.scale, self.cell.qmin, self.cell.qmax)


class FakeQuantized(nn.Module):
    """A model that computes in floats what its integer model will compute, up to rounding of biases and multipliers.

    Batch normalisation is folded as in ``eval`` mode. Recurrent models start every batch with their initial state.

    Parameters
    ----------
    model : torch.nn.Module
        Its parameters are trained, nothing is copied.
    calibration : tensor or iterable
        See :func:`darb_prune.integer.ranges.calibration_batches`.
    weight_bits, activation_bits : int
    percentile : float
        See :func:`darb_prune.integer.ranges.calibrate`.
    drop_softmax : bool
        See :func:`darb_prune.quantize`.
    """

    def __init__(
        self,
        model: nn.Module,
        calibration: Tensor | Iterable,
        weight_bits: int,
        activation_bits: int,
        percentile: float = 100.0,
        drop_softmax: bool = False,
    ) -> None:
        super().__init__()
        check_bits(weight_bits, activation_bits)
        self.model = model
        self.calibration, self.percentile = calibration_batches(calibration), percentile
        self.weight_bits, self.activation_bits = weight_bits, activation_bits
        self.stages: Stages = freed(capture(model, self.calibration[0][:2], drop_softmax))
        self.update()

    @torch.no_grad()
    def update(self) -> None:
        """Take all scales from the weights as they are now."""
        self.ranges = calibrate(self.stages, self.calibration, self.activation_bits, self.percentile)
        self.domains = domains(self.stages, self.calibration, self.ranges)
        self.weight_scales = {}
        for stage in self.stages.stages:
            if not isinstance(stage, Matrix) or any(weight.part is None for weight in stage.weights):
                continue
            scale, relative = row_scales(stage, folded(stage, torch.float64)[0], self.ranges, self.weight_bits)
            self.weight_scales |= {
                (stage.name, input_number): (scale / part).float() for input_number, part in enumerate(relative)
            }

    def forward(self, x: Tensor) -> Tensor:
        """What the model returns, without a state."""
        hooks = _Rounding(
            self.ranges, self.domains, self.weight_scales, self.weight_bits, self.activation_bits, self.stages.grids
        )
        inputs = self.stages.samples_first(x.float() if x.is_floating_point() else x)
        output = run(self.stages, inputs, hooks)[self.stages.output]
        output = self.stages.as_given(output)
        if self.stages.recurrent:
            output = output[:, -1] if self.stages.emit == "last" else self.stages.samples_first(output)
        return output.to(x.dtype) if x.is_floating_point() else output
