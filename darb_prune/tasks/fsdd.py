"""Spoken digits (Free Spoken Digit Dataset: 3,000 clips of 6 speakers, 8 kHz) as log-mel frames, and a GRU."""

from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from darb_prune.errors import DataError
from darb_prune.pruning.schedule import PruningSchedule
from darb_prune.tasks import DataSets, Split, Task, scaled
from darb_prune.tasks.data import read_wav
from darb_prune.training.heads import HeadSplit

__all__ = [
    "SPEAKERS", "Speech", "build", "fitted", "load", "load_both", "load_speakers", "log_mel", "mel_filters", "task",
]  # fmt: skip

RATE = 8000  # Hz
WINDOW, HOP, BINS = 256, 128, 512  # samples: 32 ms, 16 ms; length of the Fourier transform
BANDS, FRAMES = 40, 50  # 50 frames are 0.8 s: 98 % of the clips are shorter
SPEAKERS = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")
FLOOR = 1e-6  # power that counts as silence
SPLITS = {"test": range(5), "validation": range(5, 10), "train": range(10, 50)}  # of the clip's index


@cache
def mel_filters(bands: int = BANDS, bins: int = BINS, rate: int = RATE) -> np.ndarray:
    """Triangles of equal width on the mel scale, ``2595 * log10(1 + f / 700)``, from 0 Hz to half the rate.

    Returns
    -------
    float64 array of shape (bands, bins // 2 + 1)
        Weights of the frequencies of a real Fourier transform of length ``bins``; each peak is 1.
    """
    edges = np.linspace(0, 2595 * np.log10(1 + rate / 2 / 700), bands + 2)
    low, peak, high = (700 * (10 ** (edges[i : bands + i] / 2595) - 1)[:, None] for i in range(3))
    hertz = np.fft.rfftfreq(bins, 1 / rate)
    return np.maximum(0, np.minimum((hertz - low) / (peak - low), (high - hertz) / (high - peak)))


def log_mel(samples: np.ndarray) -> np.ndarray:
    """Logarithm of the power in each mel band, of every frame that lies in the clip (at least one).

    Parameters
    ----------
    samples : float array of shape (samples,)

    Returns
    -------
    float32 array of shape (frames, ``BANDS``)
    """
    padded = np.pad(samples, (0, max(0, WINDOW - len(samples))))
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP] * np.hanning(WINDOW)
    power = np.abs(np.fft.rfft(frames, BINS)) ** 2
    return np.log(power @ mel_filters().T + FLOOR).astype(np.float32)


def fitted(clip: np.ndarray, frames: int = FRAMES) -> np.ndarray:
    """``clip`` in ``frames`` frames: a short clip at the end, after zeros; of a long clip the frames in its middle."""
    extra = len(clip) - frames
    if extra >= 0:
        return clip[extra // 2 : extra // 2 + frames]
    return np.pad(clip, ((-extra, 0), (0, 0)))


@cache
def _read(folder: Path) -> dict[str, HeadSplit]:
    """Labels are digit and speaker."""
    clips: dict[str, list[np.ndarray]] = {name: [] for name in SPLITS}
    labels: dict[str, list[tuple[int, int]]] = {name: [] for name in SPLITS}
    for path in sorted((folder / "recordings").glob("*.wav")):
        try:
            digit, speaker, index = path.stem.split("_")
            part = next(name for name, indices in SPLITS.items() if int(index) in indices)
            labels[part].append((int(digit), SPEAKERS.index(speaker)))
        except (ValueError, StopIteration):
            known = ", ".join(SPEAKERS)
            raise DataError(
                f"{path}: name is not DIGIT_SPEAKER_INDEX.wav, index 0 to 49, speaker {known}; remove it"
            ) from None
        clips[part].append(log_mel(read_wav(path, RATE)))
    frames = np.concatenate(clips["train"])
    mean, deviation = frames.mean(axis=0), frames.std(axis=0)
    return {
        name: HeadSplit(
            torch.from_numpy(np.stack([fitted((clip - mean) / deviation) for clip in clips[name]])),
            torch.tensor(labels[name]),
            (10, len(SPEAKERS)),
        )
        for name in ("train", "validation", "test")
    }


def load(data: DataSets) -> dict[str, Split]:
    """2,400 training (index 10 to 49), 300 validation (5 to 9) and the official 300 test clips (0 to 4).

    Inputs are float32 of shape (clips, 50, 40): frames of 40 log-mel bands, each normalised to mean 0 and
    deviation 1 over the frames of the training split, padded in front with zeros.
    """
    return _column(data, 0)


def load_speakers(data: DataSets) -> dict[str, Split]:
    """The same clips; labels are the numbers of their speakers in ``SPEAKERS``."""
    return _column(data, 1)


def load_both(data: DataSets) -> dict[str, Split]:
    """The same clips; labels are digit and speaker, (clips, 2)."""
    return {**_read(data.find("fsdd"))}


def _column(data: DataSets, column: int) -> dict[str, Split]:
    """The clips with one of their labels."""
    return {name: Split(split.inputs, split.labels[:, column]) for name, split in _read(data.find("fsdd")).items()}


class Speech(nn.Module):
    """A GRU over frames, and a Linear layer on its state after the last frame.

    The clip is at the end of its frames. So the state that is classified comes right after the last spoken frame. The
    padding before the first frame is a constant input, in which the state settles to a constant.
    """

    def __init__(self, bands: int = BANDS, units: int = 128, classes: int = 10) -> None:
        super().__init__()
        self.gru = nn.GRU(bands, units, batch_first=True)
        self.output = nn.Linear(units, classes)

    def forward(self, frames: Tensor) -> Tensor:
        """Logits of shape (clips, classes) for float frames of shape (clips, frames, bands)."""
        values, _ = self.gru(frames)
        return self.output(values[:, -1])


def build(size: float = 1.0, classes: int = 10) -> Speech:
    """A GRU of 128 units: 65,792 weights to prune."""
    return Speech(units=scaled(128, size), classes=classes)


def task(name: str, data: DataSets) -> Task:
    """The task ``fsdd``."""
    return Task(
        name=name,
        title="spoken digits, log-mel frames, GRU of 128 units",
        load=partial(load, data),
        build=build,
        training={"epochs": 40, "rate": 5e-3, "weight_decay": 0.1},
        pruning=PruningSchedule(steps=8, epochs=4, final_epochs=30, rate=3e-3, final_rate=3e-3),
        method_options={"order": "search"},
        distillation={"share": 0.7, "temperature": 4.0},
        quantization={"epochs": 6, "rate": 1e-3},
    )
