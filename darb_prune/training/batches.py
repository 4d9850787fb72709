"""Loaders: the order of the training samples, fixed by a seed and the number of the pass.

Every loader has ``len``, iterates once a pass, and gives its place with ``state()``; ``restore`` of the same loader
goes on there.
"""

import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from darb_prune.errors import DarbError

__all__ = ["AugmentedBatches", "Batches", "TextBatches", "flip_and_shift"]

Augment = Callable[[Tensor, torch.Generator], Tensor]


class Batches:
    """Shuffled mini-batches of two tensors; each pass is a new shuffle, fixed by seed and number of the pass.

    Parameters
    ----------
    inputs, labels : tensors with the same first dimension
    size : int
        Samples a batch; the last batch can be smaller.
    seed : int
    """

    def __init__(self, inputs: Tensor, labels: Tensor, size: int = 64, seed: int = 0):
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
        """Go on as a loader does that has begun ``state`` passes."""
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

    def __init__(self, inputs: Tensor, labels: Tensor, size: int, seed: int, augment: Augment):
        super().__init__(inputs, labels, size, seed)
        self.augment = augment

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        random = _generator(self.seed, self._passes)
        for inputs, labels in super().__iter__():
            yield self.augment(inputs, random), labels


class TextBatches:
    """Consecutive pieces of a text, read as parallel streams; a model can carry its state from batch to batch.

    The text is cut into ``size`` streams of the same length, and batch after batch holds their next ``steps``
    symbols. A pass goes on where the one before it stopped. When the streams are at their end, they are cut
    anew, from another first symbol fixed by the seed (the text being a ring), so that no two sweeps cut alike.

    Parameters
    ----------
    inputs : int64 tensor of shape (symbols,)
    labels : tensor of shape (symbols,), or (symbols, classes) for class probabilities
        What comes after each symbol of ``inputs``.
    size : int
        Streams, that is samples a batch.
    steps : int
        Symbols of each stream in a batch.
    seed : int
    batches : int, optional
        About how many batches a pass has: a sweep over the text is made of whole passes of equal length. All of
        the sweep if absent.

    Notes
    -----
    Batches are (inputs, labels) of shapes (size, steps) and (size, steps) or (size, steps, classes). Each pass
    starts with the model's initial state.
    """

    def __init__(
        self, inputs: Tensor, labels: Tensor, size: int = 32, steps: int = 64, seed: int = 0, batches: int | None = None
    ):
        if min(size, steps, 1 if batches is None else batches) < 1:
            raise DarbError(f"{size} streams, {steps} steps, {batches} batches a pass: each must be at least 1")
        sweep = len(inputs) // (size * steps)
        if not sweep:
            raise DarbError(f"text of {len(inputs)} symbols: at least {size * steps} are needed for one batch")
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
        for number in range(part * self._length, (part + 1) * self._length):
            places = (starts + number * self.steps + torch.arange(self.steps)) % symbols
            yield self.inputs[places], self.labels[places]

    def state(self) -> int:
        """Passes begun so far."""
        return self._passes

    def restore(self, state: int) -> None:
        """Go on as a loader does that has begun ``state`` passes."""
        self._passes = state


def _generator(seed: int, number: int) -> torch.Generator:
    """Random numbers of pass (or sweep) ``number``: no two of the same seed are alike."""
    # torch's generator takes 32 bits of a seed and leaves the rest out, so the two are mixed.
    return torch.Generator().manual_seed(int(np.random.SeedSequence((seed, number)).generate_state(1)[0]))


def flip_and_shift(images: Tensor, random: torch.Generator, reach: int = 4) -> Tensor:
    """Mirror half of the images left to right, and move each by up to ``reach`` pixels in both directions.

    Parameters
    ----------
    images : tensor of shape (samples, channels, height, width)
        Pixels that come in from outside are 0 (the mean colour, if images are normalised).
    random : torch.Generator
    reach : int
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
