"""What the integer model rounds, in floats: scales of weights, and torch's own fake-quantise operators."""

import torch
from torch import Tensor

from darb_prune.errors import DarbError
from darb_prune.frontend.execution import Hooks, folded, gains
from darb_prune.frontend.stages import CellStage, Curve, Matrix, Stages
from darb_prune.integer.arithmetic import GRU_BITS, LSTM_BITS, UNITS
from darb_prune.integer.domains import Domain
from darb_prune.integer.ranges import GATE_BITS, Range
from darb_prune.modules.grids import RowGrid, row_grid

__all__ = ["SPREAD_MAX", "Rounding", "gate_units", "row_scales", "weight_grid", "weight_scales"]

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


class Rounding(Hooks):
    """Rounds as the integer model does, up to biases and the ties of its shifts.

    Parameters
    ----------
    stages : Stages
    ranges, domains : dict
        From :func:`~darb_prune.integer.ranges.calibrate` and :func:`~darb_prune.integer.domains.domains`.
    weight_bits : int
    """

    def __init__(self, stages: Stages, ranges: dict[str, Range], domains: dict[str, Domain], weight_bits: int) -> None:
        self.ranges, self.domains, self.grids = ranges, domains, stages.grids
        self.greatest = (1 << (weight_bits - 1)) - 1
        self.scales: dict[tuple[str, int], Tensor] = {}
        with torch.no_grad():
            for stage in stages.stages:
                if not isinstance(stage, Matrix) or any(weight.part is None for weight in stage.weights):
                    continue
                scale, relative = row_scales(stage, folded(stage, torch.float64)[0], ranges, weight_bits)
                self.scales |= {(stage.name, number): (scale / part).float() for number, part in enumerate(relative)}

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
        limits = self.ranges[cell.output]
        return _fake(output, limits.scale, limits.qmin, limits.qmax)
