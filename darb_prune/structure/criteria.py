"""What says which units a model needs: gates that are trained, or norms of weights, under a penalty or as they are."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from darb_prune.errors import ModelError
from darb_prune.pruning.methods import Selection
from darb_prune.structure.gates import Gated, WeightCount
from darb_prune.structure.units import STAYS, Units

__all__ = ["Criterion", "criterion"]

LASSO, SLIMMING = 1e-3, 1e-3
"""Weight of a penalty of strength 1, beside the loss."""


@dataclass(eq=False)
class Criterion:
    """The same share of the units of each layer goes, those of the least norm.

    Parameters
    ----------
    model : torch.nn.Module
    units : Units
    count : WeightCount
    share : float
        Of the weights that is to be left.
    epochs : int
        Of the training before units are chosen.
    strength : float
    """

    model: nn.Module
    units: Units
    count: WeightCount
    share: float
    epochs: int
    strength: float

    def __post_init__(self) -> None:
        """What a criterion has to find or to put on the model first."""

    @property
    def trained(self) -> nn.Module:
        """What is trained in these epochs."""
        return self.model

    def before_epoch(self) -> None:
        """Called before each epoch."""

    def penalty(self) -> Tensor:
        """Added to the loss of each batch."""
        return torch.zeros(())

    def scores(self) -> Tensor:
        """What units and blocks are worth, float, shape (units and blocks,): those with the least go."""
        norms, ranks = self._norms(), torch.empty(self.units.count)
        for own in self.units.by_writer().values():
            ranks[own[norms[own].argsort()]] = torch.arange(1, len(own) + 1) / len(own)
        return self._with_blocks(ranks)

    def gates(self) -> Tensor:
        """What units and blocks are multiplied by from now on, float, of the same shape; they are taken from the
        model."""
        return torch.ones(self.units.size)

    def _with_blocks(self, scores: Tensor) -> Tensor:
        """Scores of units, and behind them those of blocks, all of which stay."""
        return torch.cat([scores, torch.full((len(self.units.blocks),), torch.inf)])

    def _norms(self) -> Tensor:
        """Root of the mean square of all weights of each unit, rows and columns, with gradient."""
        squares, sizes = torch.zeros(self.units.count + 1), torch.zeros(self.units.count + 1)
        for place, numbers in self.units.places.items():
            if place.name == "running_mean":
                continue
            weights = getattr(place.module, place.name).movedim(place.dim, 0).flatten(1)
            own = torch.where(numbers == STAYS, self.units.count, numbers)
            squares = squares.index_add(0, own, weights.square().sum(1))
            sizes = sizes.index_add(0, own, torch.full((len(own),), float(weights.shape[1])))
        return (squares / sizes.clamp(min=1)).clamp(min=1e-12).sqrt()[:-1]


class _Lasso(Criterion):
    """Group lasso over all weights of a unit."""

    def penalty(self) -> Tensor:
        return LASSO * self.strength * self._norms().sum()

    def scores(self) -> Tensor:
        return self._with_blocks(self._norms().detach())


class _Slimming(Criterion):
    """L1 on the scales of batch normalisation; units without one stay."""

    def __post_init__(self) -> None:
        self._scales = [
            (place.module.weight, numbers)
            for place, numbers in self.units.places.items()
            if place.name == "running_mean" and isinstance(place.module.weight, Tensor)
        ]
        if not self._scales:
            raise ModelError(
                f"{type(self.model).__name__}: no batch normalisation with scales, which criterion slimming goes by; "
                "choose gates, lasso or uniform"
            )

    def penalty(self) -> Tensor:
        return SLIMMING * self.strength * torch.stack([scale.abs().sum() for scale, _ in self._scales]).sum()

    @torch.no_grad()
    def scores(self) -> Tensor:
        sums, times = torch.zeros(self.units.count + 1), torch.zeros(self.units.count + 1)
        for scale, numbers in self._scales:
            own = torch.where(numbers == STAYS, self.units.count, numbers)
            sums = sums.index_add(0, own, scale.abs())
            times = times.index_add(0, own, torch.ones(len(own)))
        return self._with_blocks(torch.where(times > 0, sums / times.clamp(min=1), torch.inf)[:-1])


class _Gates(Criterion):
    """Hard concrete gates."""

    def __post_init__(self) -> None:
        self._gated = Gated(self.model, self.units, self.count, self.share, self.epochs, self.strength)

    @property
    def trained(self) -> nn.Module:
        return self._gated

    def before_epoch(self) -> None:
        self._gated.before_epoch()

    def penalty(self) -> Tensor:
        return self._gated.penalty()

    def scores(self) -> Tensor:
        return self._gated.log_alpha.detach()

    def gates(self) -> Tensor:
        self._gated.open()
        return self._gated.fixed().detach()


_KINDS = {"gates": _Gates, "lasso": _Lasso, "slimming": _Slimming, "uniform": Criterion}


def criterion(
    method: Selection, model: nn.Module, units: Units, count: WeightCount, share: float, epochs: int
) -> Criterion:
    """The criterion of ``method``; the other arguments are those of :class:`Criterion`."""
    return _KINDS[method.criterion](model, units, count, share, epochs, method.strength)
