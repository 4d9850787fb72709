"""Training with the rounding of the integer model."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from darb_prune.frontend.capture import capture
from darb_prune.frontend.execution import run
from darb_prune.frontend.stages import Stages
from darb_prune.integer.cell_bits import best_cell_bits
from darb_prune.integer.domains import domains
from darb_prune.integer.equalise import equalised
from darb_prune.integer.ranges import calibrate, calibration_batches, check_bits, freed, with_cell_bits
from darb_prune.integer.rounding import Rounding

__all__ = ["FakeQuantized"]


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
    cell_bits : int, optional
        See :func:`darb_prune.quantize`; chosen once if absent: what is trained for some bits is not to find others.
    """

    def __init__(
        self,
        model: nn.Module,
        calibration: Tensor | Iterable,
        weight_bits: int,
        activation_bits: int,
        percentile: float = 100.0,
        drop_softmax: bool = False,
        cell_bits: int | None = None,
    ) -> None:
        super().__init__()
        check_bits(weight_bits, activation_bits, cell_bits)
        self.model = model
        self.calibration, self.percentile = calibration_batches(calibration), percentile
        self.weight_bits, self.activation_bits = weight_bits, activation_bits
        self.stages: Stages = equalised(freed(capture(model, self.calibration[0][:2], drop_softmax)))
        self.cell_bits = cell_bits
        self.update()

    @torch.no_grad()
    def update(self) -> None:
        """Take all scales from the weights as they are now."""
        ranges = calibrate(self.stages, self.calibration, self.activation_bits, self.percentile)
        found = domains(self.stages, self.calibration, ranges)
        if self.cell_bits is None:
            self.cell_bits = best_cell_bits(self.stages, self.calibration, ranges, found, self.weight_bits)
        self.ranges = with_cell_bits(self.stages, ranges, self.cell_bits)
        self.rounding = Rounding(self.stages, self.ranges, found, self.weight_bits)

    def forward(self, x: Tensor) -> Tensor:
        """What the model returns, without a state."""
        inputs = self.stages.samples_first(x.float() if x.is_floating_point() else x)
        output = run(self.stages, inputs, self.rounding)[self.stages.output]
        output = self.stages.as_given(output)
        if self.stages.recurrent:
            output = output[:, -1] if self.stages.emit == "last" else self.stages.samples_first(output)
        return output.to(x.dtype) if x.is_floating_point() else output
