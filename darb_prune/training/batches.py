"""Samples, and loaders that give them in an order fixed by a seed and the number of the pass."""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from darb_prune.errors import DarbError, DataError

__all__ = [
    "MEASURED",
    "AugmentedBatches",
    "Batches",
    "ResumableLoader",
    "Split",
    "TextBatches",
    "flip_and_shift",
    "inputs_of",
]

MEASURED = 1000
"""Samples of a batch when a split is measured: they bound the memory and have no effect on the result."""
Augment = Callable[[Tensor, torch.Generator], Tensor]


@dataclass(frozen=True, eq=False)
class Split:
    """A part of a data set.

    Parameters
    ----------
    inputs : tensor, samples first
        float32; int64 of shape (symbols,) for a text.
    labels : int64 tensor of shape (samples,), or float32 of shape (samples, outputs)
        Classes; in a text, the symbol after each symbol of ``inputs``. Floats are outputs that a model should give.
    """

    inputs: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


@runtime_checkable
class ResumableLoader(Protocol):
    """Batches of (inputs, labels). An iteration is a pass; a training can go on after any pass."""

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]: ...

    def state(self) -> int:
        """Passes begun so far."""
        ...

    def restore(self, state: int) -> None:
        """Go on as a loader that has begun ``state`` passes."""
        ...


def inputs_of(loader: Iterable | None) -> Tensor | None:
    """An input of ``loader``, of shape (1, ...), while passes and random numbers stay as they are; ``None`` if there is
    none, or if it could be read only once."""
    if isinstance(loader, Batches):
        return loader.inputs[:1]
    if loader is None or isinstance(loader, Iterator):
        return None
    passes = loader.state() if isinstance(loader, ResumableLoader) else 0
    try:
        with torch.random.fork_rng(devices=[]):
            batch = next(iter(loader), None)
    finally:
        if isinstance(loader, ResumableLoader):
            loader.restore(passes)
    inputs = batch[0] if isinstance(batch, (tuple, list)) and batch else None
    return inputs[:1] if isinstance(inputs, Tensor) and inputs.dim() else None


class Batches:
    """Shuffled mini-batches of two tensors. Each pass is a new shuffle, fixed by the seed and the number of the pass.

    Parameters
    ----------
    inputs, labels : tensors with the same first dimension
    size : int
        Samples of a batch; the last batch can be smaller.
    seed : int
    """

    def __init__(self, inputs: Tensor, labels: Tensor, size: int = 64, seed: int = 0) -> None:
        if size < 1:
            raise DarbError(f"batch size {size} must be at least 1")
        self.inputs, self.labels, self.size, self.seed = inputs, labels, size, seed
        self.restore(0)

    def __len__(self) -> int:
        return math.ceil(len(self.inputs) / self.size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        order = torch.randperm(len(self.inputs), generator=self._random)
        self._passes += 1
        for pick in order.split(self.size):
            yield self.inputs[pick], self.labels[pick]

    def state(self) -> int:
        """Passes begun so far."""
        return self._passes

    def restore(self, state: int) -> None:
        """Go on as a loader that has begun ``state`` passes."""
        self._passes = state
        self._random = torch.Generator().manual_seed(self.seed)
        for _ in range(self._passes):
            torch.randperm(len(self.inputs), generator=self._random)


class AugmentedBatches(Batches):
    """:class:`Batches` whose inputs are changed at random, differently in each pass.

    Parameters
    ----------
    inputs, labels, size, seed
        As for :class:`Batches`.
    augment : callable (inputs, torch.Generator) -> inputs
    """

    def __init__(self, inputs: Tensor, labels: Tensor, size: int, seed: int, augment: Augment) -> None:
        super().__init__(inputs, labels, size, seed)
        self.augment = augment

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        random = _generator(self.seed, self._passes)
        for inputs, labels in super().__iter__():
            yield self.augment(inputs, random), labels


class TextBatches:
    """Consecutive pieces of a text, read as parallel streams. A model can carry its state from batch to batch.

    The text is cut into ``size`` streams of the same length. Each batch holds the next ``steps`` symbols of every
    stream. A pass goes on where the last pass stopped. A sweep ends when the streams end. Then the text, as a ring, is
    cut again from another first symbol, which the seed fixes. So no two sweeps cut the text alike.

    Parameters
    ----------
    inputs : int64 tensor of shape (symbols,)
    labels : tensor of shape (symbols,), or (symbols, classes) for class probabilities
        What comes after each symbol of ``inputs``.
    size : int
        Streams, which are the samples of a batch.
    steps : int
        Time steps of a batch: symbols of each stream.
    seed : int
    batches : int, optional
        Batches of a pass, about: a sweep is made of whole passes of equal length. A pass is a sweep if absent.

    Notes
    -----
    Batches are (inputs, labels) of shapes (size, steps) and (size, steps) or (size, steps, classes). Training starts
    each pass with the model's initial state.
    """

    def __init__(
        self, inputs: Tensor, labels: Tensor, size: int = 32, steps: int = 64, seed: int = 0, batches: int | None = None
    ) -> None:
        if min(size, steps, 1 if batches is None else batches) < 1:
            raise DarbError(f"{size} streams, {steps} steps, {batches} batches a pass: each must be at least 1")
        sweep = len(inputs) // (size * steps)
        if not sweep:
            raise DataError(f"text of {len(inputs)} symbols: at least {size * steps} are needed for one batch")
        self.inputs, self.labels, self.size, self.steps, self.seed = inputs, labels, size, steps, seed
        self.sweep_passes = max(round(sweep / batches), 1) if batches else 1
        self._length = sweep // self.sweep_passes
        self._passes = 0

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        sweep, part = divmod(self._passes, self.sweep_passes)
        self._passes += 1
        symbols = len(self.inputs)
        first = int(torch.randint(symbols, (), generator=_generator(self.seed, sweep)))
        starts = first + torch.arange(self.size)[:, None] * (symbols // self.size)
        for batch in range(part * self._length, (part + 1) * self._length):
            positions = (starts + batch * self.steps + torch.arange(self.steps)) % symbols
            yield self.inputs[positions], self.labels[positions]

    def state(self) -> int:
        """Passes begun so far."""
        return self._passes

    def restore(self, state: int) -> None:
        """Go on as a loader that has begun ``state`` passes."""
        self._passes = state


def _generator(seed: int, turn: int) -> torch.Generator:
    """Random numbers of a pass or sweep; every turn of a seed has its own."""
    # Mixed into 32 bits, because torch's generator ignores the other bits of a seed.
    return torch.Generator().manual_seed(int(np.random.SeedSequence((seed, turn)).generate_state(1)[0]))


def flip_and_shift(images: Tensor, random: torch.Generator, reach: int = 4) -> Tensor:
    """Mirror half of the images left to right, and move each by up to ``reach`` pixels in both directions.

    Parameters
    ----------
    images : tensor of shape (samples, channels, height, width)
        Pixels from outside of an image are 0, the mean colour of normalised images.
    random : torch.Generator
    reach : int

    Returns
    -------
    tensor of the shape of ``images``
    """
    count, _, height, width = images.shape
    padded = torch.nn.functional.pad(images, (reach,) * 4)
    top, left = torch.randint(2 * reach + 1, (2, count, 1), generator=random)
    rows, columns = top + torch.arange(height), left + torch.arange(width)
    mirrored = torch.rand(count, 1, generator=random) < 0.5
    columns = torch.where(mirrored, columns.flip(1), columns)
    # Advanced indices on both sides of a slice move in front: (samples, height, width, channels).
    moved = padded[torch.arange(count)[:, None, None], :, rows[:, :, None], columns[:, None, :]]
    return moved.permute(0, 3, 1, 2).contiguous()
