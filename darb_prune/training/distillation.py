"""Knowledge distillation: labels that pass on what the dense model knows (Hinton et al., 2015)."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from darb_prune.modules.recurrence import Carried
from darb_prune.training.batches import Batches

__all__ = ["Distilled", "distilled", "soften"]


@torch.no_grad()
def soften(model, inputs: Tensor, labels: Tensor, share: float = 0.7, temperature: float = 2.0) -> Tensor:
    """Labels for fine-tuning, partly the answers of ``model``.

    Parameters
    ----------
    model : callable
        The dense model, before it is pruned, in ``eval`` mode.
    inputs, labels : tensors
        Training samples and their int64 classes.
    share : float
        Weight of the answers of ``model``, 0 to 1; the rest is the true class.
    temperature : float
        What its outputs are divided by before the softmax.

    Returns
    -------
    Class probabilities, shape (..., classes): targets that cross entropy takes.
    """
    answer = (model(inputs) / temperature).softmax(dim=-1)
    return share * answer + (1 - share) * F.one_hot(labels, answer.shape[-1])


class Distilled:
    """A loader whose labels are softened batch by batch.

    Parameters
    ----------
    loader : iterable of (inputs, labels)
    teacher : torch.nn.Module
        Not changed.
    **options
        Of :func:`soften`.
    """

    def __init__(self, loader, teacher: nn.Module, **options):
        self.loader, self.options = loader, options
        self._teacher = Carried(teacher.eval())

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        self._teacher.reset()
        for inputs, labels in self.loader:
            yield inputs, soften(self._teacher, inputs, labels, **self.options)

    def state(self) -> int:
        """What the loader needs to go on."""
        return self.loader.state()

    def restore(self, state: int) -> None:
        """Go on from ``state``."""
        self.loader.restore(state)


def distilled(loader, teacher: nn.Module, **options):
    """``loader`` with softened labels: all at once where the samples never change, else batch by batch."""
    if type(loader) is not Batches:
        return Distilled(loader, teacher, **options)
    loader.labels = soften(teacher.eval(), loader.inputs, loader.labels, **options)
    return loader
