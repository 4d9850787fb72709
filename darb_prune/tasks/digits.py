"""1,797 real handwritten digits of 8x8 pixels (UCI, embedded in scikit-learn) and a multilayer perceptron."""

from collections import OrderedDict
from functools import cache

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

from darb_prune.pruning.schedule import PruningSchedule
from darb_prune.tasks import DataSets, Split, Task, scaled

__all__ = ["TASK", "build", "load", "task"]

VALIDATION, TEST = 240, 360


@cache
def load() -> dict[str, Split]:
    """1,197 training, 240 validation and 360 test images, stratified, always the same.

    Inputs are float32 of shape (samples, 64) in 0..1 (pixels have 17 grey levels, 0 to 16).
    """
    pixels, digits = load_digits(return_X_y=True)
    rest, test, rest_labels, test_labels = train_test_split(
        pixels, digits, test_size=TEST, stratify=digits, random_state=0
    )
    train, validation, train_labels, validation_labels = train_test_split(
        rest, rest_labels, test_size=VALIDATION, stratify=rest_labels, random_state=0
    )
    parts = {
        "train": (train, train_labels),
        "validation": (validation, validation_labels),
        "test": (test, test_labels),
    }
    return {
        name: Split(torch.tensor(np.asarray(x) / 16, dtype=torch.float32), torch.tensor(y, dtype=torch.int64))
        for name, (x, y) in parts.items()
    }


def build(size: float = 1.0) -> nn.Sequential:
    """64-128-64-10 with ReLU."""
    first, second = scaled(128, size), scaled(64, size)
    return nn.Sequential(
        OrderedDict(
            fc1=nn.Linear(64, first), relu1=nn.ReLU(),
            fc2=nn.Linear(first, second), relu2=nn.ReLU(),
            fc3=nn.Linear(second, 10),
        )
    )  # fmt: skip


TASK = Task(
    name="digits",
    title="handwritten digits, 8x8 pixels, 10 classes",
    load=load,
    build=build,
    training={"epochs": 60, "rate": 2e-3, "weight_decay": 1e-2},
    pruning=PruningSchedule(steps=10, epochs=4, final_epochs=160, rate=5e-3, final_rate=5e-3),
    method_options={"saliency": "magnitude"},
    quantization={"epochs": 60, "rate": 5e-3, "percentile": 100.0},
    distillation={"share": 0.7, "temperature": 2.0},
)


def task(name: str, data: DataSets) -> Task:
    """The task ``digits``; its data set needs no folder."""
    return TASK
