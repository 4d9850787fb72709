"""Several tasks at once: their outputs stand side by side, and each has a label of its own."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from darb_prune.errors import DataError
from darb_prune.training.batches import MEASURED, Split

__all__ = ["IGNORED", "HeadLoss", "HeadSplit", "accuracies"]

IGNORED = -100
"""Label of a sample that says nothing of a task."""


@dataclass(frozen=True, eq=False)
class HeadSplit(Split):
    """A part of a data set of several tasks.

    Parameters
    ----------
    inputs : float32 tensor, samples first
    labels : int64 tensor of shape (samples, tasks)
        Classes; ``IGNORED`` where a sample says nothing of a task.
    sizes : tuple of int
        Outputs of each task, side by side in those of a model.
    """

    sizes: tuple[int, ...] = ()


@dataclass(frozen=True)
class HeadLoss:
    """Mean over the tasks of the mean cross entropy in nats of the samples that have a label of the task.

    Parameters
    ----------
    sizes : tuple of int
        Outputs of each task.
    """

    sizes: tuple[int, ...]

    def __call__(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """The loss of outputs of shape (samples, all outputs), for labels of shape (samples, tasks)."""
        losses = [loss for loss in self._each(outputs, labels) if loss is not None]
        if not losses:
            raise DataError("labels: no sample of a batch has a label of any task; leave such samples out")
        return torch.stack(losses).mean()

    def alone(self) -> tuple[Callable[[Tensor, Tensor], Tensor], ...]:
        """The loss of each task without the others, for the same labels; 0 where these say nothing of the task."""

        def of_task(number: int, outputs: Tensor, labels: Tensor) -> Tensor:
            loss = self._each(outputs, labels)[number]
            return 0 * outputs.sum() if loss is None else loss

        return tuple(partial(of_task, number) for number in range(len(self.sizes)))

    def _each(self, outputs: Tensor, labels: Tensor) -> list[Tensor | None]:
        """The loss of each task that has labels."""
        return [
            F.cross_entropy(part, answers, ignore_index=IGNORED) if bool((answers != IGNORED).any()) else None
            for part, answers in _of_tasks(outputs, labels, self.sizes)
        ]


@torch.no_grad()
def accuracies(model: nn.Module, split: HeadSplit) -> list[float]:
    """Of each task the share of its samples whose largest output is the right one (the first of equals)."""
    right, count = torch.zeros(len(split.sizes)), torch.zeros(len(split.sizes))
    for inputs, labels in zip(split.inputs.split(MEASURED), split.labels.split(MEASURED), strict=True):
        for task, (part, answers) in enumerate(_of_tasks(model(inputs), labels, split.sizes)):
            known = answers != IGNORED
            right[task] += (part.argmax(dim=1) == answers)[known].sum()
            count[task] += known.sum()
    if not bool(count.all()):
        raise DataError("accuracy of tasks: a task has no samples; give a split that has some of each")
    return (right / count).tolist()


def _of_tasks(outputs: Tensor, labels: Tensor, sizes: Sequence[int]) -> Iterator[tuple[Tensor, Tensor]]:
    """Outputs and labels of each task."""
    if labels.dim() != 2 or labels.shape[1] != len(sizes) or outputs.shape[-1] != sum(sizes):
        raise DataError(
            f"labels of shape {tuple(labels.shape)} and outputs of shape {tuple(outputs.shape)} are not those of "
            f"{len(sizes)} tasks of {list(sizes)} outputs"
        )
    return zip(outputs.split(list(sizes), dim=-1), labels.unbind(1), strict=True)
