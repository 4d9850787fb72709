"""The words of any text, and the LSTM language models of Zaremba et al. (2014) in three sizes."""

from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np

from darb_prune.errors import DataError
from darb_prune.pruning.schedule import PruningSchedule
from darb_prune.tasks import DataSets, Split, Task, scaled
from darb_prune.tasks.data import read_text
from darb_prune.tasks.language import LanguageModel, text_split
from darb_prune.training.batches import TextBatches

__all__ = ["SIZES", "Size", "build", "load", "task", "words"]

END, UNKNOWN = "<eos>", "<unk>"
FILES = {"train": "train.txt", "validation": "valid.txt", "test": "test.txt"}


@dataclass(frozen=True)
class Size:
    """Hyperparameters of a size: units of both LSTM layers, dropout, initial weights, time steps of a batch, epochs."""

    units: int
    dropout: float
    uniform: float
    steps: int
    epochs: int


# The small, medium and large model, by the name of their task.
SIZES = {
    "words": Size(200, 0.0, 0.1, 20, 6),
    "words-medium": Size(650, 0.5, 0.05, 35, 39),
    "words-large": Size(1500, 0.65, 0.04, 35, 55),
}


def words(text: str) -> list[str]:
    """The words between blanks, and ``<eos>`` at the end of every line."""
    return [word for line in text.splitlines() for word in [*line.split(), END]]


@cache
def _read(folder: Path) -> tuple[dict[str, int], dict[str, Split]]:
    texts = {name: words(read_text(folder / file)) for name, file in FILES.items()}
    # Most frequent first, equals by spelling: the same text gives the same vocabulary.
    spellings, counts = np.unique(texts["train"], return_counts=True)
    if not len(spellings):
        raise DataError(f"{folder / FILES['train']}: no words; give a text")
    order = np.lexsort((spellings, -counts))
    vocabulary = {str(word): token for token, word in enumerate(spellings[order])}
    unknown = vocabulary.setdefault(UNKNOWN, len(vocabulary))
    return vocabulary, {
        name: text_split(np.array([vocabulary.get(word, unknown) for word in text]), f"{folder / FILES[name]}")
        for name, text in texts.items()
    }


def load(data: DataSets) -> dict[str, Split]:
    """The texts ``train.txt``, ``valid.txt`` and ``test.txt``; words that are not in the first become ``<unk>``."""
    return _read(data.find("words"))[1]


def build(data: DataSets, of: Size, size: float = 1.0) -> LanguageModel:
    """Embedding, two LSTM layers and a Linear layer for the vocabulary of the training text."""
    vocabulary, _ = _read(data.find("words"))
    units = scaled(of.units, size)
    return LanguageModel(len(vocabulary), units, units, 2, of.dropout, of.uniform)


def batches(size: Size, split: Split, seed: int) -> TextBatches:
    """20 streams; a pass is the whole text."""
    streams = max(min(20, len(split) // size.steps), 1)
    return TextBatches(split.inputs, split.labels, streams, size.steps, seed)


def task(name: str, data: DataSets) -> Task:
    """The task ``words``, ``words-medium`` or ``words-large``."""
    size = SIZES[name]
    return Task(
        name=name,
        title=f"next word of a text, LSTM of 2x{size.units} units",
        load=partial(load, data),
        build=partial(build, data, size),
        metric="perplexity",
        batches=partial(batches, size),
        training={"epochs": size.epochs, "rate": 2e-3, "weight_decay": 1e-2, "clip": 5.0},
        pruning=PruningSchedule(steps=4, epochs=1, final_epochs=4, rate=1e-3, final_rate=1e-3),
        quantization={"epochs": 1, "rate": 5e-4, "clip": 5.0},
        method_options={"order": "search", "saliency": "taylor"},
        distillation={"share": 0.5, "temperature": 1.0},
    )
