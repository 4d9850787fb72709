"""Pruning by ADMM: weights are pulled towards their own pruned copy before anything is masked (Zhang et al., 2018)."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from darb_prune.modules.layers import layers
from darb_prune.modules.masked import restore_dense
from darb_prune.pruning.methods import Unpruned
from darb_prune.pruning.one_shot import Pruned, prune
from darb_prune.pruning.schedule import PruningStep
from darb_prune.pruning.strategies import PruneTo, StepMasks

__all__ = ["Admm"]


class Admm(StepMasks):
    """The steps before the last prune nothing. ``strength / 2 * |W - Z + U|**2`` is added to the loss instead.

    ``Z`` is the pruned copy of every prunable parameter ``W``, and ``U`` its dual variable. Both are updated at each
    step.

    Parameters
    ----------
    model : torch.nn.Module
    prune_to : callable (ratio) -> Pruned
    ratio : float
        That of the last step, which ``Z`` has too.
    strength : float
        ``rho``: weight of the quadratic term.
    """

    nested = False

    def __init__(self, model: nn.Module, prune_to: PruneTo, ratio: float, strength: float) -> None:
        super().__init__(model, prune_to)
        self.ratio, self.strength = ratio, strength
        self.parts = [part for layer in layers(model) for part in layer.parts]
        self.targets = [torch.zeros_like(part.shadow) for part in self.parts]
        self.duals = [torch.zeros_like(part.shadow) for part in self.parts]
        self.started = False  # the first Z goes with U = 0

    def prune(self, step: PruningStep) -> Pruned:
        if step.last:
            return super().prune(step)
        self.update()
        return prune(self.model, step.ratio, Unpruned())

    @torch.no_grad()
    def update(self) -> None:
        """``U = U + W - Z`` (0 at first), then ``Z = prune(W + U)``. The model keeps its weights, without masks."""
        weights = [part.shadow.clone() for part in self.parts]
        if self.started:
            for dual, weight, target in zip(self.duals, weights, self.targets, strict=True):
                dual.add_(weight - target)
        self.started = True
        for part, dual in zip(self.parts, self.duals, strict=True):
            part.parameter.add_(dual)
        with torch.enable_grad():
            self.prune_to(self.ratio)
        for index, (part, weight) in enumerate(zip(self.parts, weights, strict=True)):
            mask = getattr(part.module, f"{part.name}_mask", torch.ones_like(weight))
            self.targets[index] = part.shadow * mask
            restore_dense(part.module, part.name)
            part.parameter.copy_(weight)

    def penalty(self, step: PruningStep) -> Callable[[], Tensor] | None:
        return None if step.last else self.pull

    def pull(self) -> Tensor:
        """``strength / 2 * sum((W - Z + U) ** 2)``."""
        triples = zip(self.parts, self.targets, self.duals, strict=True)
        distances = ((part.parameter - target + dual).square().sum() for part, target, dual in triples)
        return self.strength / 2 * sum(distances, torch.zeros(()))

    def state(self) -> dict:
        if not self.started:
            return {}
        return {"targets": _numbered(self.targets), "duals": _numbered(self.duals)}

    def restore(self, state: dict) -> None:
        if not state:
            return
        self.targets, self.duals = list(state["targets"].values()), list(state["duals"].values())
        self.started = True


def _numbered(tensors: list[Tensor]) -> dict[str, Tensor]:
    return {str(index): tensor for index, tensor in enumerate(tensors)}
