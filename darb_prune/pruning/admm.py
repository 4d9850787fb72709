"""Pruning by ADMM: weights are pulled towards their own pruned copy before anything is masked (Zhang et al., 2018)."""

import torch
from torch import Tensor, nn

from darb_prune.modules.layers import layers
from darb_prune.modules.masked import restore_dense
from darb_prune.pruning.one_shot import prune

__all__ = ["Admm"]


class Admm:
    """The auxiliary variables ``Z`` (pruned) and ``U`` (dual) of every prunable parameter ``W``.

    Parameters
    ----------
    model : torch.nn.Module
        Without masks.
    ratio : float
    strength : float
        ``rho``: weight of the quadratic term.
    options : dict
        Of :func:`darb_prune.prune`.
    """

    def __init__(self, model: nn.Module, ratio: float, strength: float, options: dict):
        self.model, self.ratio, self.strength, self.options = model, ratio, strength, options
        self.parts = [part for layer in layers(model) for part in layer.parts]
        self.targets = [torch.zeros_like(part.shadow) for part in self.parts]
        self.duals = [torch.zeros_like(part.shadow) for part in self.parts]
        self.started = False  # the first Z goes with U = 0

    @torch.no_grad()
    def update(self) -> None:
        """``U = U + W - Z`` (0 at first), then ``Z = prune(W + U)``."""
        dense = [part.shadow.clone() for part in self.parts]
        if self.started:
            for dual, weight, target in zip(self.duals, dense, self.targets, strict=True):
                dual.add_(weight - target)
        self.started = True
        for part, dual in zip(self.parts, self.duals, strict=True):
            part.parameter.add_(dual)
        with torch.enable_grad():
            prune(self.model, self.ratio, **self.options)
        for number, (part, weight) in enumerate(zip(self.parts, dense, strict=True)):
            mask = getattr(part.module, f"{part.name}_mask", torch.ones_like(weight))
            self.targets[number] = part.shadow * mask
            restore_dense(part.module, part.name)
            part.parameter.copy_(weight)

    def penalty(self) -> Tensor:
        """``strength / 2 * sum((W - Z + U) ** 2)``."""
        pairs = zip(self.parts, self.targets, self.duals, strict=True)
        return self.strength / 2 * sum((part.parameter - target + dual).square().sum() for part, target, dual in pairs)

    def state(self) -> dict:
        """For a checkpoint."""
        return {"targets": _numbered(self.targets), "duals": _numbered(self.duals)}

    def restore(self, state: dict) -> None:
        """Go on from ``state``."""
        self.targets, self.duals = (list(state[name].values()) for name in ("targets", "duals"))
        self.started = True


def _numbered(tensors: list[Tensor]) -> dict[str, Tensor]:
    return {str(number): tensor for number, tensor in enumerate(tensors)}
