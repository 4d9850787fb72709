"""Built-in tasks: a data set with a fixed split, a model for it, and settings that work."""

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

from torch import nn

from darb_prune.errors import DarbError
from darb_prune.pruning.schedule import PruningSchedule
from darb_prune.tasks.data import DataSets
from darb_prune.training.batches import Batches, ResumableLoader, Split
from darb_prune.training.distillation import DistillationOptions
from darb_prune.training.heads import HeadLoss
from darb_prune.training.loop import Loss, QuantizationOptions, TrainingOptions
from darb_prune.training.metrics import loss as cross_entropy

__all__ = [
    "TASKS",
    "Builder",
    "DataSets",
    "Split",
    "Task",
    "check_size",
    "get",
    "joint",
    "of_one_size",
    "scaled",
    "shuffled",
]

# The module of each task. It is loaded by get, and its function task makes the task.
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
    "fashion-mnist-low": "pairs",
    "fashion-mnist-high": "pairs",
    "fashion-mnist-both": "pairs",
    "digits-low": "pairs",
    "digits-high": "pairs",
    "digits-both": "pairs",
    "fsdd": "fsdd",
    "fsdd-speaker": "pairs",
    "fsdd-both": "pairs",
    "cifar10": "cifar10",
    "mlperf-kws": "mlperf",
    "mlperf-ic": "mlperf",
    "mlperf-vww": "mlperf",
    "mlperf-ad": "mlperf",
}
TASKS = tuple(_MODULES)


def _shuffled(size: int, split: Split, seed: int) -> Batches:
    return Batches(split.inputs, split.labels, size, seed)


def shuffled(size: int) -> Callable[[Split, int], Batches]:
    """A function (split, seed) -> loader of shuffled batches of ``size`` samples."""
    return partial(_shuffled, size)


_DEFAULT_BATCHES = shuffled(64)


class Builder(Protocol):
    """What makes the model of a task. ``size`` is the share of the units, or channels, that its hidden layers have."""

    def __call__(self, size: float = 1.0) -> nn.Module: ...


SIZE_MAX = 16
"""A network of so many times the units has 256 times the weights."""


def check_size(size: float) -> None:
    """Raise :class:`DarbError` for a size that no model can have."""
    if not 0 < size <= SIZE_MAX:
        raise DarbError(f"size {size:g}: give a number above 0, up to {SIZE_MAX}")


def scaled(units: int, size: float) -> int:
    """The units of a hidden layer at a size: one at least."""
    return max(round(units * size), 1)


def _of_one_size(name: str, build: Callable[[], nn.Module], size: float = 1.0) -> nn.Module:
    if size != 1:
        raise DarbError(f"size {size:g}: the model of task {name} is given, and has one size; leave it out")
    return build()


def of_one_size(name: str, build: Callable[[], nn.Module]) -> Builder:
    """What makes a model of one size, as of published weights: any size but 1 is refused."""
    return partial(_of_one_size, name, build)


@dataclass(frozen=True)
class Task:
    """A data set, a model and their settings.

    Parameters
    ----------
    name, title : str
    load : callable () -> dict of str to Split
        The splits ``train``, ``validation`` and ``test``, the same in every call.
    build : callable (size=1.0) -> torch.nn.Module
        A model with fresh random weights, or with published ones (then ``training`` has 0 epochs, and the only size
        is 1).
    training, quantization : dict
        Options of ``train`` and quantisation-aware ``finetune`` that suit the task. They were chosen on its validation
        split.
    pruning : PruningSchedule
        Chosen on the same split.
    distillation : dict
        Options of ``soften``: in all fine-tuning, labels come partly from the model before it. Empty for none.
    metric : str
        A key of ``darb_prune.encoded.metrics.METRICS``.
    batches : callable (split, seed) -> ResumableLoader
        A pass over the loader is an epoch (see :func:`shuffled`).
    method_options : dict
        Defaults of the task for options of methods of pruning (:mod:`darb_prune.pruning.methods`), where a method has
        them.
    heads : dict of str to int
        Of a task that is several: name and outputs of each, side by side. Labels are of shape (samples, heads) then
        (:class:`darb_prune.training.heads.HeadSplit`). Empty for one task.
    parts : tuple of str
        Names of the tasks that it is made of, one a head.
    """

    name: str
    title: str
    load: Callable[[], dict[str, Split]]
    build: Builder
    training: TrainingOptions = field(default_factory=TrainingOptions)
    pruning: PruningSchedule = PruningSchedule()
    quantization: QuantizationOptions = field(default_factory=QuantizationOptions)
    distillation: DistillationOptions = field(default_factory=DistillationOptions)
    metric: str = "accuracy"
    batches: Callable[[Split, int], ResumableLoader] = _DEFAULT_BATCHES
    method_options: dict[str, Any] = field(default_factory=dict)
    heads: dict[str, int] = field(default_factory=dict)
    parts: tuple[str, ...] = ()

    @property
    def loss(self) -> Loss:
        """What training lowers."""
        return HeadLoss(tuple(self.heads.values())) if self.heads else cross_entropy


def joint(parts: Sequence[str], data: DataSets | None = None) -> Task:
    """The task that is made of the tasks ``parts``, in this order.

    Raises
    ------
    DarbError
        If there is none.
    """
    known = {name: get(name, data).parts for name, module in _MODULES.items() if module == "pairs"}
    for name, of in known.items():
        if of and of == tuple(parts):
            return get(name, data)
    choices = "; ".join(f"{' and '.join(of)} ({name})" for name, of in known.items() if of)
    raise DarbError(f"no task is made of {' and '.join(parts)}; there are: {choices}")


def get(name: str, data: DataSets | None = None) -> Task:
    """The task of that name.

    Parameters
    ----------
    name : str
        One of ``TASKS``.
    data : DataSets, optional
        Where the task finds its data set. The default of :class:`darb_prune.tasks.data.DataSets` if absent.
    """
    if name not in TASKS:
        raise DarbError(f"task {name!r}: choose one of {', '.join(TASKS)}")
    module = importlib.import_module(f"{__name__}.{_MODULES[name]}")
    return module.task(name, DataSets() if data is None else data)
