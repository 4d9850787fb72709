"""MNIST and Fashion-MNIST, 28x28 grey images of 10 classes, with LeNet-300-100 and LeNet-5."""

from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from sklearn.model_selection import train_test_split

from darb_prune.errors import DataError
from darb_prune.pruning.schedule import PruningSchedule
from darb_prune.tasks import DataSets, Split, Task, shuffled
from darb_prune.tasks.data import read_idx
from darb_prune.tasks.lenet import lenet5, lenet_300_100

__all__ = ["load", "task"]

VALIDATION = 5000


def _split(folder: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    images, labels = (read_idx(folder / f"{part}-{kind}-ubyte.gz") for kind in ("images-idx3", "labels-idx1"))
    if images.shape != (len(labels), 28, 28):
        raise DataError(f"{folder}: images of shape {images.shape} for {len(labels)} labels; get the files again")
    return images.reshape(len(images), 784), labels


@cache
def _read(folder: Path) -> dict[str, Split]:
    images, labels = _split(folder, "train")
    rows = train_test_split(np.arange(len(labels)), test_size=VALIDATION, stratify=labels, random_state=0)
    parts = {name: (images[pick], labels[pick]) for name, pick in zip(("train", "validation"), rows, strict=True)}
    parts["test"] = _split(folder, "t10k")
    return {
        name: Split(torch.from_numpy(x.astype(np.float32) / 255), torch.from_numpy(y.astype(np.int64)))
        for name, (x, y) in parts.items()
    }


def load(data: DataSets, name: str, shape: tuple[int, ...]) -> dict[str, Split]:
    """55,000 training, 5,000 validation (stratified, always the same) and the official 10,000 test images.

    Parameters
    ----------
    data : DataSets
    name : str
        Data set ``mnist`` or ``fashion-mnist``.
    shape : tuple of int
        Inputs are float32 of shape (samples, *shape), pixels in 0 to 1.
    """
    splits = _read(data.find(name))
    return {part: Split(split.inputs.view(-1, *shape), split.labels) for part, split in splits.items()}


_LENET_300_100 = {
    "build": lenet_300_100,
    "batches": shuffled(128),
    "training": {"epochs": 30, "rate": 2e-3, "weight_decay": 0.3},
    "pruning": PruningSchedule(steps=6, epochs=2, final_epochs=12, rate=2e-3, final_rate=2e-3),
    "method_options": {"order": "search", "saliency": "magnitude"},
    "distillation": {"share": 0.7, "temperature": 4.0},
    "quantization": {"epochs": 4, "rate": 5e-4},
}
_LENET5 = {
    "build": lenet5,
    "batches": shuffled(128),
    "training": {"epochs": 15, "rate": 2e-3, "weight_decay": 0.1},
    "pruning": PruningSchedule(steps=6, epochs=2, final_epochs=14, rate=2e-3, final_rate=2e-3),
    "method_options": {"order": "search", "saliency": "taylor"},
    "distillation": {"share": 0.7, "temperature": 4.0},
    "quantization": {"epochs": 2, "rate": 5e-4},
}


_TITLES = {
    "mnist": "MNIST digits, 28x28 pixels, 10 classes",
    "fashion-mnist": "Fashion-MNIST clothes, 28x28 pixels, 10 classes",
}


def task(name: str, data: DataSets) -> Task:
    """The task ``mnist`` or ``fashion-mnist``, which has LeNet-300-100; or ``-lenet5`` after it, which has LeNet-5."""
    images = name.removesuffix("-lenet5")
    if name == images:
        return Task(name, f"{_TITLES[images]}, LeNet-300-100", partial(load, data, images, (784,)), **_LENET_300_100)
    return Task(name, f"{_TITLES[images]}, LeNet-5", partial(load, data, images, (1, 28, 28)), **_LENET5)
