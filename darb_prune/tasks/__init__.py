"""Built-in tasks: a data set with a fixed split, a model for it, and settings that work."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from darb_prune.errors import DarbError
from darb_prune.pruning.schedule import PruningSchedule

__all__ = ["TASKS", "Split", "Task", "get", "shuffled"]

# The module of each task, loaded when the task is asked for.
_MODULES = {
    "digits": "digits",
    "mnist": "mnist",
    "mnist-lenet5": "mnist",
    "fashion-mnist": "mnist",
    "fashion-mnist-lenet5": "mnist",
    "chars": "chars",
    "words": "words",
    "words-medium": "words",
    "words-large": "words",
    "fsdd": "fsdd",
    "cifar10": "cifar10",
}
TASKS = tuple(_MODULES)


@dataclass(frozen=True, eq=False)
class Split:
    """One part of a data set.

    Parameters
    ----------
    inputs : tensor, samples first
        float32; int64 of shape (symbols,) for a text.
    labels : int64 tensor of shape (samples,)
        Of a text: the symbol that comes after each one of ``inputs``.
    """

    inputs: object
    labels: object

    def __len__(self) -> int:
        return len(self.labels)


def _shuffled(size: int, split: Split, seed: int):
    from darb_prune.training.batches import Batches  # torch, which a list of tasks does not need

    return Batches(split.inputs, split.labels, size, seed)


def shuffled(size: int) -> Callable[[Split, int], object]:
    """What makes a loader of shuffled batches of ``size`` samples from a split and a seed."""
    return partial(_shuffled, size)


_DEFAULT_BATCHES = shuffled(64)


@dataclass(frozen=True)
class Task:
    """A task of the registry.

    Parameters
    ----------
    name, title : str
    load : callable () -> dict of str to Split
        The splits ``train``, ``validation`` and ``test``, the same in every call.
    build : callable () -> torch.nn.Module
        A model with fresh random weights, or with published ones (then ``training`` has 0 epochs).
    training, quantization : dict
        Options of ``train`` and quantisation-aware ``finetune`` that suit the task, chosen on its validation split.
    pruning : PruningSchedule
        Chosen on the same.
    distillation : dict
        Options of ``soften``: labels of all fine-tuning come partly from the model before it. Empty for none.
    metric : str
        A key of ``darb_prune.training.metrics.METRICS``.
    batches : callable (split, seed) -> loader
        One pass over the loader is an epoch; see :func:`shuffled`.
    method_options : dict
        Defaults of the task for options of methods of pruning (:mod:`darb_prune.pruning.methods`), where a method has
        them.
    """

    name: str
    title: str
    load: Callable[[], dict[str, Split]]
    build: Callable[[], object]
    training: dict = field(default_factory=dict)
    pruning: PruningSchedule = PruningSchedule()
    quantization: dict = field(default_factory=dict)
    distillation: dict = field(default_factory=dict)
    metric: str = "accuracy"
    batches: Callable[[Split, int], object] = _DEFAULT_BATCHES
    method_options: dict = field(default_factory=dict)


def get(name: str) -> Task:
    """The task of that name; its module, and with it torch, is loaded now."""
    if name not in TASKS:
        raise DarbError(f"task {name!r}: choose one of {', '.join(TASKS)}")
    return importlib.import_module(f"{__name__}.{_MODULES[name]}").TASKS[name]
