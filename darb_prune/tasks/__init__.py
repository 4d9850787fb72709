"""Built-in tasks: a data set with a fixed split, a model for it, and settings that work."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field

from darb_prune.container import DarbError

__all__ = ["TASKS", "Split", "Task", "get"]

TASKS = ("digits",)


@dataclass(frozen=True, eq=False)
class Split:
    """One part of a data set.

    Parameters
    ----------
    inputs : float32 tensor, samples first
    labels : int64 tensor of shape (samples,)
    """

    inputs: object
    labels: object

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Task:
    """A task of the registry.

    Parameters
    ----------
    name, title : str
    load : callable () -> dict of str to Split
        The splits ``train``, ``validation`` and ``test``, the same in every call.
    build : callable () -> torch.nn.Module
        A model with fresh random weights.
    training, pruning, quantization : dict
        Options of ``train``, ``gradual`` and quantisation-aware ``finetune`` that suit the task, chosen on
        its validation split.
    distillation : dict
        Options of ``soften``: labels of all fine-tuning come partly from the model before it. Empty for none.
    """

    name: str
    title: str
    load: Callable[[], dict[str, Split]]
    build: Callable[[], object]
    training: dict = field(default_factory=dict)
    pruning: dict = field(default_factory=dict)
    quantization: dict = field(default_factory=dict)
    distillation: dict = field(default_factory=dict)


def get(name: str) -> Task:
    """The task of that name; its module, and with it torch, is loaded now."""
    if name not in TASKS:
        raise DarbError(f"task {name!r}: choose one of {', '.join(TASKS)}")
    return importlib.import_module(f"{__name__}.{name}").TASK
