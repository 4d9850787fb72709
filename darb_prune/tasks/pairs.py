"""Tasks that are two at once, and each of the two alone: classes split in halves, digit and speaker of a sound."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch import nn

from darb_prune.tasks import DataSets, Split, Task, digits, fsdd, mnist
from darb_prune.tasks.lenet import lenet5
from darb_prune.training.heads import IGNORED, HeadSplit

__all__ = ["halves", "task"]

HALF = 5
"""Classes of a half of ten."""

Splits = dict[str, Split]


def halves(splits: Splits) -> Splits:
    """Classes 0 to 4 are one task, 5 to 9 another: each sample has a label of one of them."""

    def both(split: Split) -> Split:
        label = split.labels
        pair = [torch.where(label // HALF == half, label % HALF, IGNORED) for half in (0, 1)]
        return HeadSplit(split.inputs, torch.stack(pair, 1), (HALF, HALF))

    return {name: both(split) for name, split in splits.items()}


def _half(load: Callable[[], Splits], half: int) -> Splits:
    """The samples of one half of the classes."""
    splits = {}
    for name, split in load().items():
        mine = split.labels // HALF == half
        splits[name] = Split(split.inputs[mine], split.labels[mine] % HALF)
    return splits


def _halves(load: Callable[[], Splits]) -> Splits:
    return halves(load())


def _without_last(build: Callable[[float], nn.Sequential], classes: int, size: float = 1.0) -> nn.Sequential:
    """The network of ten classes, with so many."""
    model = build(size)
    layers = OrderedDict(model.named_children())
    name, last = next(reversed(layers.items()))
    assert isinstance(last, nn.Linear)
    layers[name] = nn.Linear(last.in_features, classes)
    return nn.Sequential(layers)


def _split_in_halves(name: str, whole: Task, build: Callable[[float], nn.Sequential]) -> Task:
    """The task ``whole`` of ten classes: its lower half, its upper half, or both."""
    plain = replace(whole, name=name, distillation={})
    if name.endswith("-both"):
        stem = name.removesuffix("-both")
        return replace(
            plain, title=f"{whole.title}, classes 0 to 4 and 5 to 9 as two tasks", load=partial(_halves, whole.load),
            metric="accuracy of tasks", heads={"low": HALF, "high": HALF}, parts=(f"{stem}-low", f"{stem}-high"),
        )  # fmt: skip
    half = int(name.endswith("-high"))
    return replace(
        plain, title=f"{whole.title}, classes {half * HALF} to {half * HALF + HALF - 1} alone",
        load=partial(_half, whole.load, half), build=partial(_without_last, build, HALF),
    )  # fmt: skip


def task(name: str, data: DataSets) -> Task:
    """The task of that name: ``STEM-low``, ``STEM-high`` or ``STEM-both``; ``fsdd-speaker`` or ``fsdd-both``."""
    if name.startswith("digits-"):
        return _split_in_halves(name, digits.TASK, digits.build)
    if name.startswith("fashion-mnist-"):
        return _split_in_halves(name, mnist.task("fashion-mnist-lenet5", data), lenet5)
    spoken = replace(fsdd.task("fsdd", data), name=name)
    speakers = len(fsdd.SPEAKERS)
    if name == "fsdd-speaker":
        return replace(
            spoken, title="speakers of spoken digits, log-mel frames, GRU of 128 units",
            load=partial(fsdd.load_speakers, data), build=partial(fsdd.build, classes=speakers),
        )  # fmt: skip
    return replace(
        spoken, title="spoken digits and their speakers, log-mel frames, GRU of 128 units",
        load=partial(fsdd.load_both, data), build=partial(fsdd.build, classes=10 + speakers),
        metric="accuracy of tasks", heads={"digit": 10, "speaker": speakers}, parts=("fsdd", "fsdd-speaker"),
        distillation={},
    )  # fmt: skip
