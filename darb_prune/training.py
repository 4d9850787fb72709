"""Training, fine-tuning (with quantisation awareness) and gradual pruning; the same seed gives the same model."""

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn

from darb_prune.container import DarbError
from darb_prune.graph import chain, check_finite
from darb_prune.pruned import refresh
from darb_prune.pruning import Pruned, prune
from darb_prune.qat import FakeQuantized, calibration_inputs

__all__ = ["Batches", "check_training", "evaluate", "finetune", "gradual", "ratios", "seeded", "soften", "train"]

Loss = Callable[[Tensor, Tensor], Tensor]


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
        self.inputs, self.labels, self.size = inputs, labels, size
        self._random = torch.Generator().manual_seed(seed)

    def __len__(self) -> int:
        return math.ceil(len(self.inputs) / self.size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for pick in torch.randperm(len(self.inputs), generator=self._random).split(self.size):
            yield self.inputs[pick], self.labels[pick]


@contextmanager
def seeded(seed: int):
    """Fix torch's random numbers (initial weights, dropout) inside, leave the caller's untouched outside."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def check_training(epochs: int = 0, rate: float = 1.0, seed: int = 0) -> None:
    """Raise :class:`DarbError` for a setting that no training can have."""
    if epochs < 0:
        raise DarbError(f"epochs {epochs} must be at least 0")
    if not (rate > 0 and math.isfinite(rate)):
        raise DarbError(f"rate {rate} must be a number above 0")
    if not 0 <= seed < 1 << 32:
        raise DarbError(f"seed {seed} must be 0 to {(1 << 32) - 1}")


def _steps(count: int, label: str, progress: bool) -> Iterable[int]:
    return track(range(count), label, disable=not progress, console=Console(stderr=True))


def train(
    model: nn.Module,
    loader: Iterable,
    epochs: int = 60,
    rate: float = 2e-3,
    weight_decay: float = 1e-4,
    loss: Loss = F.cross_entropy,
    seed: int = 0,
    progress: bool = True,
    label: str = "train",
    before_epoch: Callable[[], None] | None = None,
) -> list[float]:
    """Train ``model`` in place with AdamW and a cosine schedule down to a hundredth of the rate.

    Parameters
    ----------
    model : torch.nn.Module
    loader : iterable of (inputs, labels)
        Iterated once an epoch; its order is the caller's to fix (see :class:`Batches`).
    epochs : int
    rate : float
        First learning rate.
    weight_decay : float
    loss : callable (outputs, labels) -> scalar tensor
    seed : int
        Of dropout.
    progress : bool
        Whether to draw a progress bar (on standard error).
    label : str
        Of the progress bar.
    before_epoch : callable, optional

    Returns
    -------
    list of float: mean loss of each epoch.

    Raises
    ------
    DarbError
        If the loader is empty or the loss leaves the finite numbers.
    """
    check_training(epochs, rate, seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(epochs, 1), eta_min=rate / 100)
    history = []
    model.train()
    with seeded(seed):
        for _ in _steps(epochs, label, progress):
            if before_epoch:
                before_epoch()
            total, samples = 0.0, 0
            for inputs, labels in loader:
                optimizer.zero_grad()
                value = loss(model(inputs), labels)
                value.backward()
                optimizer.step()
                total += float(value.detach()) * len(inputs)
                samples += len(inputs)
            if not samples:
                raise DarbError("loader: no batches; give a loader that can be iterated once an epoch")
            if not math.isfinite(total):
                raise DarbError(f"{label}: the loss is {total} after epoch {len(history) + 1}; lower the learning rate")
            history.append(total / samples)
            schedule.step()
    refresh(model)
    model.eval()
    return history


def finetune(
    model: nn.Module,
    loader: Iterable,
    epochs: int = 20,
    rate: float = 1e-3,
    weight_bits: int | None = None,
    activation_bits: int = 8,
    percentile: float = 100.0,
    calibration: Tensor | Iterable | None = None,
    **options,
) -> list[float]:
    """Train the kept weights of a pruned model on, in place; masked weights stay as they are.

    Parameters
    ----------
    model, loader, epochs, rate
        As for :func:`train`.
    weight_bits : int, optional
        If given, training is quantisation-aware: forward passes round weights and activations as
        :func:`darb_prune.quantize` will with the same arguments. All ranges are taken anew in each epoch.
    activation_bits, percentile
        For quantisation-aware training.
    calibration : tensor, or iterable of tensors or of (inputs, labels), optional
        For quantisation-aware training: what activation ranges are calibrated on, the same data as for
        ``quantize``. If absent, all inputs of one pass over the loader.
    **options
        Of :func:`train`.
    """
    stages = chain(model)
    check_finite(stages)
    options = {"label": "fine-tune", "weight_decay": 0.0} | options
    if weight_bits is None:
        return train(model, loader, epochs, rate, **options)
    inputs = calibration_inputs(loader if calibration is None else calibration)
    rounded = FakeQuantized(stages, inputs, weight_bits, activation_bits, percentile)
    try:
        return train(rounded, loader, epochs, rate, before_epoch=rounded.update, **options)
    finally:
        model.eval()


def ratios(target: float, steps: int) -> list[float]:
    """Pruning ratios of a cubic schedule from dense to ``target``: ``s = s_end * (1 - (1 - t)**3)``.

    ``s = 1 - 1/ratio`` is the sparsity and ``t`` runs over ``1/steps .. 1`` (Zhu and Gupta, 2017).
    """
    end = 1 - 1 / target
    return [1 / (1 - end * (1 - (1 - step / steps) ** 3)) for step in range(1, steps)] + [target]


def gradual(
    model: nn.Module,
    loader: Iterable,
    ratio: float = 13,
    steps: int = 8,
    epochs: int = 4,
    final_epochs: int = 30,
    rate: float = 2e-3,
    final_rate: float = 2e-3,
    seed: int = 0,
    progress: bool = True,
    training: dict | None = None,
    **options,
) -> tuple[Pruned, list[dict]]:
    """Prune ``model`` in place to ``ratio`` in steps, with fine-tuning after each.

    The masks of each step are computed from the dense shadow weights.

    Parameters
    ----------
    model, loader
        As for :func:`train`.
    ratio : float
    steps : int
        Masks computed, the last one at ``ratio``.
    epochs, final_epochs : int
        Epochs of fine-tuning after each step but the last, and after the last.
    rate, final_rate : float
        Learning rates of the same.
    seed : int
    progress : bool
    training : dict, optional
        More options of :func:`train` (loss, weight_decay).
    **options
        Of :func:`darb_prune.prune` (method, allocation, order, levels, ...).

    Returns
    -------
    What the last step left, and a history: ratio asked for, ratio reached and loss of each step.
    """
    if steps < 1:
        raise DarbError(f"steps {steps} must be at least 1")
    common = {"progress": False, **(training or {})}
    prune(model, ratio, **options)  # what cannot be reached is refused now, not after an hour
    history = []
    schedule = ratios(ratio, steps) if ratio > 1 else [ratio]
    for number in _steps(len(schedule), "prune", progress):
        wanted = schedule[number]
        left = prune(model, wanted, **options)
        last = number == len(schedule) - 1
        losses = finetune(
            model, loader, final_epochs if last else epochs, final_rate if last else rate, seed=seed + number, **common
        )
        history.append({"wanted": wanted, "ratio": left.ratio, "loss": losses[-1] if losses else None})
    return left, history


@torch.no_grad()
def soften(model: nn.Module, inputs: Tensor, labels: Tensor, share: float = 0.7, temperature: float = 2.0) -> Tensor:
    """Labels for fine-tuning that pass on what ``model`` knows (distillation; Hinton et al., 2015).

    Parameters
    ----------
    model : torch.nn.Module
        The dense model, before it is pruned.
    inputs, labels : tensors
        Training samples and their int64 classes.
    share : float
        Weight of the answers of ``model``, 0 to 1; the rest is the true class.
    temperature : float
        What its outputs are divided by before the softmax.

    Returns
    -------
    Class probabilities, shape (samples, classes): targets that ``F.cross_entropy`` takes.
    """
    model.eval()
    answer = (model(inputs) / temperature).softmax(dim=1)
    return share * answer + (1 - share) * F.one_hot(labels, answer.shape[1])


@torch.no_grad()
def evaluate(model: nn.Module, inputs: Tensor, labels: Tensor) -> float:
    """Share of samples whose largest output is the right one (the first of equals)."""
    model.eval()
    return float((model(inputs).argmax(dim=1) == labels).double().mean())
