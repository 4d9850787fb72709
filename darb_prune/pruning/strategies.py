"""What changes a step of gradual pruning: a class a concern, with the hooks that training has for it."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn

from darb_prune.modules.layers import layers
from darb_prune.modules.masked import regrowing
from darb_prune.pruning.one_shot import Pruned
from darb_prune.pruning.schedule import PruningStep
from darb_prune.training.loop import cosine

__all__ = ["FallingRate", "PruneTo", "Regrowth", "RewoundRate", "StepMasks"]

PruneTo = Callable[[float], Pruned]
"""Prunes the model to a ratio, in place, from its dense weights."""


class StepMasks:
    """How a step comes to its masks, and how the masked model is trained. This one prunes once, before the training.

    Parameters
    ----------
    model : torch.nn.Module
    prune_to : callable (ratio) -> Pruned
    """

    nested: ClassVar[bool] = True
    """Whether there are masks before the last step, whose blocks those of the later steps contain."""

    def __init__(self, model: nn.Module, prune_to: PruneTo) -> None:
        self.model, self.prune_to = model, prune_to

    def prune(self, step: PruningStep) -> Pruned:
        """Prune the model for ``step``."""
        return self.prune_to(step.ratio)

    def before_epoch(self, step: PruningStep) -> Callable[[], object] | None:
        """What to call before each epoch of the step."""
        return None

    def penalty(self, step: PruningStep) -> Callable[[], Tensor] | None:
        """What to add to the loss of each batch of the step."""
        return None

    def training(self, step: PruningStep) -> AbstractContextManager[None]:
        """What surrounds the training of the step."""
        return nullcontext()

    def state(self) -> dict:
        """For a checkpoint."""
        return {}

    def restore(self, state: dict) -> None:
        """Go on from ``state``."""


class Regrowth(StepMasks):
    """Masked weights are trained too before the last step, and masks are computed anew in every epoch.

    ``strength / 2 * |w|**2`` over the masked weights is added to the loss, or they would grow without end (SR-STE;
    Zhou et al., 2021).
    """

    def __init__(self, model: nn.Module, prune_to: PruneTo, strength: float) -> None:
        super().__init__(model, prune_to)
        self.strength = strength

    def before_epoch(self, step: PruningStep) -> Callable[[], object] | None:
        return None if step.last else partial(self.prune_to, step.ratio)

    def penalty(self, step: PruningStep) -> Callable[[], Tensor] | None:
        return None if step.last else self.masked_energy

    def training(self, step: PruningStep) -> AbstractContextManager[None]:
        return nullcontext() if step.last else regrowing(self.model)

    def masked_energy(self) -> Tensor:
        """``strength / 2 * sum(w ** 2)`` over the masked weights."""
        parts = [part for layer in layers(self.model) for part in layer.parts]
        masked = (part.parameter * (1 - getattr(part.module, f"{part.name}_mask")) for part in parts if part.masked)
        return self.strength / 2 * sum((weights.square().sum() for weights in masked), torch.zeros(()))


class RewoundRate:
    """The learning rate starts again at each step (Renda et al., 2020)."""

    def shape(self, step: PruningStep) -> Callable[[float], float] | None:
        """Share of the learning rate as a function of the share of the step done; a cosine if ``None``."""
        return None


class FallingRate(RewoundRate):
    """The learning rate falls once, from the first step to the last."""

    def shape(self, step: PruningStep) -> Callable[[float], float] | None:
        return lambda done: cosine(step.start + step.share * done)
