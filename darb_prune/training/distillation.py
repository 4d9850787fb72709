"""Knowledge distillation: the dense model teaches the pruned one (Hinton et al., 2015)."""

from collections.abc import Callable, Iterator, Sized
from typing import TypedDict, Unpack

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from darb_prune.modules.recurrence import Carried
from darb_prune.training.batches import Batches, ResumableLoader

__all__ = ["DistillationOptions", "Distilled", "distilled", "soften"]


class DistillationOptions(TypedDict, total=False):
    """Options of :func:`soften`."""

    share: float
    temperature: float


@torch.no_grad()
def soften(
    model: Callable[[Tensor], Tensor], inputs: Tensor, labels: Tensor, share: float = 0.7, temperature: float = 2.0
) -> Tensor:
    """Labels for fine-tuning: a mixture of the answers of ``model`` and the true classes.

    Parameters
    ----------
    model : callable
        The dense model, before it is pruned, in ``eval`` mode.
    inputs, labels : tensors
        Training samples and their int64 classes.
    share : float
        Weight of the answers of ``model``, 0 to 1. The true classes have the rest.
    temperature : float
        Divisor of the outputs of ``model`` before the softmax.

    Returns
    -------
    Class probabilities of shape (..., classes), which cross entropy takes as targets.
    """
    answer = (model(inputs) / temperature).softmax(dim=-1)
    return share * answer + (1 - share) * F.one_hot(labels, answer.shape[-1])


class Distilled:
    """A loader whose labels are softened batch by batch.

    Parameters
    ----------
    loader : ResumableLoader
    teacher : torch.nn.Module
        Not changed.
    **options
        Options of :func:`soften`.
    """

    def __init__(self, loader: ResumableLoader, teacher: nn.Module, **options: Unpack[DistillationOptions]) -> None:
        self.loader, self.options = loader, options
        self._teacher = Carried(teacher.eval())

    def __len__(self) -> int:
        assert isinstance(self.loader, Sized)
        return len(self.loader)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        self._teacher.reset()
        for inputs, labels in self.loader:
            yield inputs, soften(self._teacher, inputs, labels, **self.options)

    def state(self) -> int:
        """Passes begun so far."""
        return self.loader.state()

    def restore(self, state: int) -> None:
        """Go on as a loader that has begun ``state`` passes."""
        self.loader.restore(state)


def distilled(loader: ResumableLoader, teacher: nn.Module, **options: Unpack[DistillationOptions]) -> ResumableLoader:
    """``loader`` with softened labels: all at once if its samples never change, else batch by batch."""
    # Not isinstance: the samples of a sub-class can change from pass to pass.
    if type(loader) is not Batches:
        return Distilled(loader, teacher, **options)
    loader.labels = soften(teacher.eval(), loader.inputs, loader.labels, **options)
    return loader
