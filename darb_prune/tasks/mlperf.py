"""MLPerf Tiny's four reference networks with their published weights (github.com/mlcommons/tiny).

Nothing is trained unless it is pruned. There are labels for ``mlperf-kws`` and ``mlperf-ic``. For ``mlperf-vww`` and
``mlperf-ad`` there are none, and no inputs of their kind: their metric is how far a model is from the published one on
stand-ins, which says nothing about accuracy.
"""

from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.model_selection import train_test_split
from torch import Tensor, nn

from darb_prune.errors import DataError
from darb_prune.pruning.schedule import PruningSchedule
from darb_prune.tasks import DataSets, Split, Task, of_one_size
from darb_prune.tasks.cifar10 import read_images
from darb_prune.tasks.data import read_arrays
from darb_prune.tasks.mlperf_networks import Autoencoder, DsCnn, MobileNetV1, ResNet8
from darb_prune.training.batches import AugmentedBatches, flip_and_shift

__all__ = ["adopt_statistics", "published", "read_clips", "task"]

WEIGHTS = "mlperf-tiny"
MODELS: dict[str, tuple[str, Callable[[], nn.Module]]] = {
    "mlperf-kws": ("ds_cnn.npz", DsCnn),
    "mlperf-ic": ("resnet8.npz", ResNet8),
    "mlperf-vww": ("mobilenetv1_025_96.npz", MobileNetV1),
    "mlperf-ad": ("autoencoder.npz", Autoencoder),
}
"""File of weights and network of each task."""

FRAMES, COEFFICIENTS = 49, 10  # of a clip: MFCC every 20 ms
CLIP_ZERO, CLIP_SCALE = 83, 0.5847029  # of the int8 input of the published network
CLIPS_TEST, CLIPS_VALIDATION = 300, 100
MIXED = 0.5  # of another sample, at most, in a sample of training
SHIFT, NOISE = 4, 0.3  # of the augmentation of clips: frames, deviation
IMAGES_VALIDATION = 400
PIXELS = 96
STAND_INS = {"train": 200, "validation": 100, "test": 100}
SPECTRUM_FRAMES, SPECTRUM_BANDS = 5, 128
SPECTRUM_DEVIATIONS = 4.0, 4.0, 2.0  # decibels: of the level of a sample, of each of its bands, of each element


def published(name: str, data: DataSets) -> nn.Module:
    """The network of a task with its published weights, in ``eval`` mode.

    Parameters
    ----------
    name : str
        A key of ``MODELS``.
    data : DataSets

    Raises
    ------
    DataError
        If the file is missing, damaged, or of another network.
    """
    return _published(name, data.find(WEIGHTS))


def _published(name: str, folder: Path) -> nn.Module:
    file, build = MODELS[name]
    model = build().eval()
    state = model.state_dict()
    # The file of DsCnn has no normalisations; those of other networks have no such names.
    absent = ("norm", "num_batches_tracked")
    shapes = {key: tuple(value.shape) for key, value in state.items() if not any(word in key for word in absent)}
    arrays = read_arrays(folder / file, shapes)
    model.load_state_dict(state | {key: torch.from_numpy(values) for key, values in arrays.items()})
    return model


@torch.no_grad()
def adopt_statistics(model: nn.Module, inputs: Tensor) -> None:
    """Give neutral normalisations the statistics of what they read, in place; the model computes the same as before.

    Training needs them: it takes means and deviations of each batch.
    """

    def adopt(norm: nn.Module, arguments: tuple[Tensor]) -> None:
        assert isinstance(norm, nn.BatchNorm2d)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        variance, mean = torch.var_mean(arguments[0], dim=(0, 2, 3))
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)
        norm.weight.copy_((variance + norm.eps).sqrt())
        norm.bias.copy_(mean)

    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    hooks = [norm.register_forward_pre_hook(adopt) for norm in norms]
    model(inputs)
    for hook in hooks:
        hook.remove()


def _build_words(data: DataSets) -> nn.Module:
    model = published("mlperf-kws", data)
    adopt_statistics(model, load_words(data)["train"].inputs)
    return model


def read_clips(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """All clips of ``kws01-mfcc`` in the order of their names, which end with their class.

    Returns
    -------
    int8 array of shape (clips, FRAMES, COEFFICIENTS), int64 array of shape (clips,)

    Raises
    ------
    DataError
        If a file has another name or another size.
    """
    clips, classes = [], []
    for path in sorted((folder / "kws01").glob("*.bin")):
        try:
            word = int(path.stem.rpartition("_")[2])
        except ValueError:
            word = -1
        if not 0 <= word < 12 or path.stat().st_size != FRAMES * COEFFICIENTS:
            raise DataError(
                f"{path}: not NAME_CLASS.bin of {FRAMES * COEFFICIENTS} bytes with a class from 0 to 11; get it again"
            )
        clips.append(np.fromfile(path, np.int8).reshape(FRAMES, COEFFICIENTS))
        classes.append(word)
    return np.stack(clips), np.array(classes)


def _splits(inputs: Tensor, classes: np.ndarray, sizes: dict[str, int]) -> dict[str, Split]:
    """Stratified splits of the sizes, always the same; the training split is what is left."""
    rows, splits = np.arange(len(classes)), {}
    for name, size in sizes.items():
        rows, pick = train_test_split(rows, test_size=size, stratify=classes[rows], random_state=0)
        splits[name] = Split(inputs[torch.from_numpy(pick)], torch.from_numpy(classes[pick]))
    return {"train": Split(inputs[torch.from_numpy(rows)], torch.from_numpy(classes[rows]))} | splits


@cache
def _read_words(folder: Path) -> dict[str, Split]:
    clips, classes = read_clips(folder)
    features = torch.from_numpy((clips.astype(np.float32) - CLIP_ZERO) * np.float32(CLIP_SCALE))
    return _splits(features[:, None], classes, {"test": CLIPS_TEST, "validation": CLIPS_VALIDATION})


def load_words(data: DataSets) -> dict[str, Split]:
    """600 training, 100 validation and 300 test clips, stratified, always the same.

    All 1,000 are from the test set of Speech Commands, which the published weights have not seen. Inputs are MFCC,
    float32 of shape (clips, 1, 49, 10).
    """
    return _read_words(data.find("kws01-mfcc"))


@cache
def _read_objects(folder: Path) -> dict[str, Split]:
    arrays = read_images(folder)
    images = {part: _images(arrays[f"x_{part}"]) for part in ("train", "test")}
    classes = {part: arrays[f"y_{part}"].astype(np.int64) for part in ("train", "test")}
    splits = _splits(images["train"], classes["train"], {"validation": IMAGES_VALIDATION})
    return splits | {"test": Split(images["test"], torch.from_numpy(classes["test"]))}


def _images(pixels: np.ndarray) -> Tensor:
    """(images, height, width, 3) -> float32 of shape (images, 3, height, width)."""
    return torch.from_numpy(pixels.astype(np.float32).transpose(0, 3, 1, 2).copy())


def load_objects(data: DataSets) -> dict[str, Split]:
    """3,600 training, 400 validation (stratified, always the same) and 1,000 official test images of CIFAR-10.

    Inputs are float32 of shape (images, 3, 32, 32), pixels in 0 to 255. The published weights were trained with the
    training images, validation included: their accuracy on the validation split is too high.
    """
    return _read_objects(data.find("cifar10-subset"))


@torch.no_grad()
def _stand_ins(inputs: Tensor, model: nn.Module) -> dict[str, Split]:
    """Splits whose labels are what the published network answers."""
    parts = inputs.split(list(STAND_INS.values()))
    return {name: Split(part, model(part)) for name, part in zip(STAND_INS, parts, strict=True)}


@cache
def _read_photographs(images: Path, weights: Path) -> dict[str, Split]:
    pixels = read_images(images)["x_train"][: sum(STAND_INS.values())]
    enlarged = F.interpolate(_images(pixels) / 255, (PIXELS, PIXELS), mode="bilinear", align_corners=False)
    return _stand_ins(enlarged, _published("mlperf-vww", weights))


def load_photographs(data: DataSets) -> dict[str, Split]:
    """Stand-ins for ``mlperf-vww``: 200, 100 and 100 images of CIFAR-10, enlarged to 96x96 pixels.

    Inputs are float32 of shape (images, 3, 96, 96) in 0 to 1; labels are the outputs of the published network, float32
    of shape (images, 2).
    """
    return _read_photographs(data.find("cifar10-subset"), data.find(WEIGHTS))


@cache
@torch.no_grad()
def _read_spectra(weights: Path) -> dict[str, Split]:
    model = _published("mlperf-ad", weights)
    first, norm = model.get_submodule("net.0"), model.get_submodule("net.1")
    assert isinstance(first, nn.Linear)
    means = norm.get_buffer("running_mean") - first.bias
    mean = torch.linalg.lstsq(first.weight.double(), means.double()[:, None], driver="gelsd").solution[:, 0].float()
    random = torch.Generator().manual_seed(0)
    samples = sum(STAND_INS.values())
    shapes = (samples, 1, 1), (samples, 1, SPECTRUM_BANDS), (samples, SPECTRUM_FRAMES, SPECTRUM_BANDS)
    spectra = mean.view(SPECTRUM_FRAMES, SPECTRUM_BANDS).expand(shapes[-1]).clone()
    for deviation, shape in zip(SPECTRUM_DEVIATIONS, shapes, strict=True):
        spectra += deviation * torch.randn(shape, generator=random)
    return _stand_ins(spectra.flatten(1), model)


def load_spectra(data: DataSets) -> dict[str, Split]:
    """Stand-ins for ``mlperf-ad``: 200, 100 and 100 noisy copies of a mean spectrum.

    Sounds of the task are not here. The mean spectrum is the shortest vector for which the first layer gives the means
    that its normalisation has seen in training. Noise is normal, and so large that this normalisation sees about the
    deviations that it has seen in training. Inputs are float32 of shape (samples, 640), labels the outputs of the
    published network.
    """
    return _read_spectra(data.find(WEIGHTS))


def _augmented_words(inputs: Tensor, random: torch.Generator) -> Tensor:
    """Clips moved in time by up to ``SHIFT`` frames, mixed, with noise; the first or the last frame fills the gap."""
    samples, frames = len(inputs), inputs.shape[2]
    shifts = torch.randint(-SHIFT, SHIFT + 1, (samples, 1), generator=random)
    picks = (torch.arange(frames) + shifts).clamp(0, frames - 1)
    moved = inputs[torch.arange(samples)[:, None], :, picks].transpose(1, 2)
    return _mixed(moved, random) + NOISE * torch.randn(moved.shape, generator=random)


def _augmented_objects(inputs: Tensor, random: torch.Generator) -> Tensor:
    """Images mirrored, moved by up to 4 pixels, and mixed."""
    return _mixed(flip_and_shift(inputs, random), random)


def _mixed(inputs: Tensor, random: torch.Generator) -> Tensor:
    """Each sample mixed with another one of the batch. What that is, the dense network says: all labels are its own."""
    share = MIXED * torch.rand(len(inputs), 1, 1, 1, generator=random)
    return inputs + share * (inputs[torch.randperm(len(inputs), generator=random)] - inputs)


def _word_batches(split: Split, seed: int) -> AugmentedBatches:
    return AugmentedBatches(split.inputs, split.labels, 50, seed, _augmented_words)


def _object_batches(split: Split, seed: int) -> AugmentedBatches:
    return AugmentedBatches(split.inputs, split.labels, 64, seed, _augmented_objects)


class _NoBatches:
    """The loader of a task that has nothing to train with."""

    def __init__(self, split: Split, seed: int) -> None:
        pass

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        raise DataError("this task has no data to train with: prune in one shot, with 0 epochs and by magnitudes")

    def state(self) -> int:
        """Passes begun so far."""
        return 0

    def restore(self, state: int) -> None:
        """Nothing to go on with."""


_ONE_SHOT = PruningSchedule(steps=1, epochs=0, final_epochs=0, rate=1e-3, final_rate=1e-3)
_TASKS = {
    "mlperf-kws": {
        "title": "MLPerf Tiny keyword spotting: 12 words, DS-CNN with its published weights",
        "load": load_words,
        "batches": _word_batches,
        "pruning": PruningSchedule(steps=6, epochs=10, final_epochs=500, rate=3e-3, final_rate=3e-3),
        "distillation": {"share": 1.0, "temperature": 1.0},
        "quantization": {"epochs": 0, "percentile": 99.99},
    },
    "mlperf-ic": {
        "title": "MLPerf Tiny image classification: CIFAR-10, ResNet-8 with its published weights",
        "load": load_objects,
        "batches": _object_batches,
        "pruning": PruningSchedule(steps=6, epochs=2, final_epochs=50, rate=2e-3, final_rate=4e-3),
        "distillation": {"share": 1.0, "temperature": 1.0},
        "quantization": {"epochs": 0},
    },
    "mlperf-vww": {
        "title": "MLPerf Tiny visual wake words: MobileNetV1 with its published weights; no data of its kind",
        "load": load_photographs,
        "batches": _NoBatches,
        "pruning": _ONE_SHOT,
        "quantization": {"epochs": 0, "percentile": 99.99},
        "metric": "distance",
    },
    "mlperf-ad": {
        "title": "MLPerf Tiny anomaly detection: autoencoder with its published weights; no data of its kind",
        "load": load_spectra,
        "batches": _NoBatches,
        "pruning": _ONE_SHOT,
        "quantization": {"epochs": 0},
        "metric": "distance",
    },
}


def task(name: str, data: DataSets) -> Task:
    """The task of that name, a key of ``MODELS``."""
    options = dict(_TASKS[name])
    load = partial(options.pop("load"), data)
    build = partial(_build_words, data) if name == "mlperf-kws" else partial(published, name, data)
    return Task(name, load=load, build=of_one_size(name, build), training={"epochs": 0}, **options)
