"""The characters of tinyshakespeare (1.1 million of them, 65 different) and an LSTM."""

from functools import cache, partial
from pathlib import Path

import numpy as np

from darb_prune.errors import DataError
from darb_prune.pruning.schedule import PruningSchedule
from darb_prune.tasks import DataSets, Split, Task, scaled
from darb_prune.tasks.data import read_text
from darb_prune.tasks.language import LanguageModel, text_split
from darb_prune.training.batches import TextBatches

__all__ = ["build", "load", "task"]

SYMBOLS = 65
TRAIN, VALIDATION = 0.90, 0.05  # shares of the text, by position; the rest is the test split


@cache
def _read(folder: Path) -> dict[str, Split]:
    text = np.frombuffer(read_text(folder / "input.txt").encode("utf-32-le"), np.uint32)
    symbols, tokens = np.unique(text, return_inverse=True)
    if len(symbols) > SYMBOLS:
        raise DataError(f"{folder / 'input.txt'}: {len(symbols)} different characters, not {SYMBOLS}; get it again")
    ends = [0, int(TRAIN * len(tokens)), int((TRAIN + VALIDATION) * len(tokens)), len(tokens)]
    return {
        name: text_split(tokens[start:end], f"{folder}: {name}")
        for name, start, end in zip(("train", "validation", "test"), ends, ends[1:], strict=False)
    }


def load(data: DataSets) -> dict[str, Split]:
    """The first 90 %, the next 5 % and the last 5 % of the text; tokens are ranks of characters in Unicode."""
    return _read(data.find("tinyshakespeare"))


def build(size: float = 1.0) -> LanguageModel:
    """An embedding of 64 features, one LSTM layer of 128 units, and a Linear layer: 106,624 weights to prune."""
    return LanguageModel(SYMBOLS, scaled(64, size), scaled(128, size))


def batches(split: Split, seed: int) -> TextBatches:
    """32 streams, 64 characters of each in a batch; a pass is about half of the training text."""
    return TextBatches(split.inputs, split.labels, 32, 64, seed, batches=250)


def task(name: str, data: DataSets) -> Task:
    """The task ``chars``."""
    return Task(
        name=name,
        title="next character of tinyshakespeare, LSTM of 128 units",
        load=partial(load, data),
        build=build,
        metric="bits per character",
        batches=batches,
        training={"epochs": 30, "rate": 1e-2, "weight_decay": 1e-3, "clip": 1.0},
        pruning=PruningSchedule(steps=8, epochs=3, final_epochs=36, rate=5e-3, final_rate=5e-3),
        method_options={"order": "search", "saliency": "taylor"},
        distillation={"share": 0.5, "temperature": 1.0},
        quantization={"epochs": 2, "rate": 1e-4, "clip": 1.0},
    )
