"""5,000 of the CIFAR-10 images, and ResNet-20 with its published weights."""

import zipfile
import zlib
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from sklearn.model_selection import train_test_split

from darb_prune.errors import DataError
from darb_prune.pruning.schedule import PruningSchedule
from darb_prune.tasks import DataSets, Split, Task, of_one_size
from darb_prune.tasks.resnet import ResNet, resnet20
from darb_prune.training.batches import AugmentedBatches, flip_and_shift

__all__ = ["build", "load", "read_images", "task"]

FILE, WEIGHTS = "cifar10_4000train_1000test.npz", "resnet20-12fca82f.th"
TEST = 500
# Of the images that the published weights were trained on.
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def read_images(folder: Path) -> dict[str, np.ndarray]:
    """``x_train`` and ``x_test``, uint8 of shape (images, 32, 32, 3), with their classes ``y_train`` and ``y_test``.

    Raises
    ------
    DataError
        If the file is damaged or holds other arrays.
    """
    try:
        with np.load(folder / FILE, allow_pickle=False) as file:
            arrays = {name: file[name] for name in ("x_train", "y_train", "x_test", "y_test")}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{folder / FILE}: not the arrays of the subset ({error}); get it again") from error
    for part, count in (("train", 4000), ("test", 1000)):
        if arrays[f"x_{part}"].shape != (count, 32, 32, 3) or arrays[f"y_{part}"].shape != (count,):
            raise DataError(f"{folder / FILE}: not the arrays of the subset (their shapes); get it again")
    return arrays


@cache
def _read(folder: Path) -> dict[str, Split]:
    arrays = read_images(folder)
    labels = arrays["y_test"]
    rows = train_test_split(np.arange(len(labels)), test_size=TEST, stratify=labels, random_state=0)
    parts = {
        name: (arrays["x_test"][pick], labels[pick]) for name, pick in zip(("validation", "test"), rows, strict=True)
    }
    parts["train"] = arrays["x_train"], arrays["y_train"]
    return {
        name: Split(
            torch.from_numpy(((x / 255 - MEAN) / DEVIATION).astype(np.float32).transpose(0, 3, 1, 2).copy()),
            torch.from_numpy(y.astype(np.int64)),
        )
        for name, (x, y) in parts.items()
    }


def load(data: DataSets) -> dict[str, Split]:
    """4,000 training images, and 500 each for validation and test (stratified, always the same).

    Inputs are float32 of shape (samples, 3, 32, 32), normalised as the published weights expect. These weights were
    trained on all official training images, so the validation split is cut from the 1,000 official test images.
    """
    return _read(data.find("cifar10-subset"))


def build(data: DataSets) -> ResNet:
    """ResNet-20 with the published weights (test error 8.27 % on all official test images)."""
    path = data.find("weights/cifar10_resnet") / WEIGHTS
    model = resnet20()
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
        model.load_state_dict({name.removeprefix("module."): value for name, value in weights.items()})
    except Exception as error:  # torch raises errors of many types for a damaged file
        text = str(error).strip().splitlines() or [type(error).__name__]
        raise DataError(f"{path}: not the weights of ResNet-20 ({text[0]}); get it again") from error
    return model


def batches(split: Split, seed: int) -> AugmentedBatches:
    """128 images, mirrored and moved by up to 4 pixels at random."""
    return AugmentedBatches(split.inputs, split.labels, 128, seed, flip_and_shift)


def task(name: str, data: DataSets) -> Task:
    """The task ``cifar10``."""
    return Task(
        name=name,
        title="CIFAR-10 images, 32x32 pixels, 10 classes, ResNet-20 with its published weights",
        load=partial(load, data),
        build=of_one_size(name, partial(build, data)),
        batches=batches,
        training={"epochs": 0},
        pruning=PruningSchedule(steps=6, epochs=2, final_epochs=40, rate=2e-3, final_rate=2e-3),
        method_options={"order": "search", "saliency": "magnitude"},
        distillation={"share": 0.9, "temperature": 4.0},
        quantization={"epochs": 0, "percentile": 99.99},
    )
