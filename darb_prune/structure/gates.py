"""Gates on the units of a model: random while they are trained, so that closing one has a gradient.

Hard concrete gates (Louizos et al., 2018): a number between 0 and 1 for each unit, which is exactly 0 or exactly 1 much
of the time. Everything that reads a unit reads it times its gate, and a residual block is added times its own.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from darb_prune.modules.layers import PrunableLayer
from darb_prune.modules.masked import apply_mask, restore_dense
from darb_prune.structure.units import STAYS, Units

__all__ = ["Gated", "WeightCount", "fold"]

BETA, GAMMA, ZETA = 2 / 3, -0.1, 1.1
"""Temperature, and the ends of the interval that is clipped to 0 .. 1."""
OPEN = 2.5
"""``log_alpha`` at the beginning: a gate is 1 in most batches."""
SPEED = 30.0
"""``log_alpha`` is so many times the parameter that is trained, since it has farther to go than weights."""
RAMP = 0.6
"""Share of the epochs behind which the share of weights is what is asked for."""


class WeightCount:
    """Weights of the prunable layers as a function of which units are there.

    Parameters
    ----------
    prunable : sequence of PrunableLayer
    units : Units
    """

    def __init__(self, prunable: Sequence[PrunableLayer], units: Units) -> None:
        parts = [part for layer in prunable for part in layer.parts]
        self._rows, self._columns = (
            torch.stack([_counted(units.along(part, dim, part.shadow.shape[dim]), units.count) for part in parts])
            for dim in (0, 1)
        )
        self._taps = torch.tensor([math.prod(part.shadow.shape[2:]) for part in parts], dtype=torch.float64)
        self._blocks = torch.zeros(len(units.blocks), len(parts), dtype=torch.bool)
        for number, block in enumerate(units.blocks):
            inside = {(part.module, part.name) for part in block.parts}
            self._blocks[number] = torch.tensor([(part.module, part.name) in inside for part in parts])
        self._count = units.count
        self.total = float(self(torch.ones(units.size)))

    def __call__(self, there: Tensor) -> Tensor:
        """Number of weights left, float64 scalar, where each unit and block is there with a probability; with gradient.

        Parameters
        ----------
        there : float tensor of shape (units and blocks,)
        """
        there = there.double()  # single precision ends at 2**24 weights
        blocks = torch.where(self._blocks, there[self._count :, None], 1).prod(0)
        there = torch.cat([there[: self._count], there.new_ones(1)])  # what stays
        return ((self._rows @ there) * (self._columns @ there) * self._taps * blocks).sum()


def _counted(units: Tensor, count: int) -> Tensor:
    """How often each unit occurs, and behind them how often something that stays."""
    return torch.bincount(torch.where(units == STAYS, count, units), minlength=count + 1).double()


@torch.no_grad()
def fold(units: Units, gates: Tensor) -> None:
    """Multiply everything that reads a unit, and what a block ends with, by its gate, for good."""
    for (module, name), scale in units.gates(gates).items():
        parameter = getattr(module, name)
        parameter.data = parameter.data * scale


class Gated(nn.Module):
    """A model with a gate on each unit; it is called as the model is.

    The gates are those of one draw for a whole batch, all of its time steps included. They are put on the model as
    masks (``darb_prune/modules/masked.py``); :meth:`open` takes them away again.

    Parameters
    ----------
    model : torch.nn.Module
        Without masks.
    units : Units
    count : WeightCount
    share : float
        Of the weights that is to be left.
    epochs : int
        Of the training.
    strength : float
    """

    pressure: Tensor
    epochs_done: Tensor

    def __init__(
        self, model: nn.Module, units: Units, count: WeightCount, share: float, epochs: int, strength: float
    ) -> None:
        super().__init__()
        self.model = model
        self.logits = nn.Parameter(torch.full((units.size,), OPEN / SPEED))
        self.register_buffer("pressure", torch.zeros(()))
        self.register_buffer("epochs_done", torch.zeros(()))
        self._units, self._count, self._share = units, count, share
        self._ramp, self._strength = max(epochs * RAMP, 1), strength
        ones = units.gates(torch.ones(units.size))
        self._parameters_with_gates = tuple(ones)
        for (module, name), mask in ones.items():
            apply_mask(module, mask, name)

    @property
    def log_alpha(self) -> Tensor:
        return self.logits * SPEED

    def forward(self, *inputs: Any) -> Any:
        self._set(self._drawn() if self.training else self.fixed())
        return self.model(*inputs)

    def fixed(self) -> Tensor:
        """The gates as they are when nothing is random: float, shape (units and blocks,), 0 to 1."""
        return (torch.sigmoid(self.log_alpha) * (ZETA - GAMMA) + GAMMA).clamp(0, 1)

    def before_epoch(self) -> None:
        """Count an epoch: the share of the weights that is wanted falls."""
        self.epochs_done += 1

    def penalty(self) -> Tensor:
        """Pushes while the expected number of weights is above what is wanted now, the harder the longer it is.

        Source: Louizos et al., 2018, for the probability that a gate is open; the multiplier is ours.
        """
        wanted = 1 - (1 - self._share) * min(float(self.epochs_done) / self._ramp, 1.0)
        excess = self._expected() / self._count.total - wanted
        self.pressure.add_(self._strength * excess.detach()).clamp_(min=0)
        return self.pressure * excess.clamp(min=0)

    def open(self) -> None:
        """Take the gates from the model; its weights are as they would be without them."""
        for module, name in self._parameters_with_gates:
            restore_dense(module, name)

    def _expected(self) -> Tensor:
        """Expected number of weights whose both ends are open."""
        return self._count(torch.sigmoid(self.log_alpha - BETA * math.log(-GAMMA / ZETA)))

    def _drawn(self) -> Tensor:
        noise = torch.rand_like(self.logits).clamp(1e-6, 1 - 1e-6)
        drawn = torch.sigmoid((noise.logit() + self.log_alpha) / BETA)
        return (drawn * (ZETA - GAMMA) + GAMMA).clamp(0, 1)

    def _set(self, gates: Tensor) -> None:
        for (module, name), scale in self._units.gates(gates).items():
            module._buffers[f"{name}_mask"] = scale
