"""Training and fine-tuning, with quantisation awareness; the same seed gives the same model."""

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypedDict

import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn

from darb_prune.errors import DarbError, DataError
from darb_prune.frontend.example import stages_of
from darb_prune.integer.qat import FakeQuantized
from darb_prune.modules.layers import check_finite, layers
from darb_prune.modules.masked import refresh
from darb_prune.modules.recurrence import Carried
from darb_prune.training.batches import ResumableLoader, inputs_of
from darb_prune.training.checkpoint import Checkpoint
from darb_prune.training.metrics import loss as cross_entropy

__all__ = [
    "QuantizationOptions",
    "TrainingOptions",
    "check_training",
    "cosine",
    "evaluate",
    "finetune",
    "seeded",
    "steps_of",
    "train",
]

Loss = Callable[[Tensor, Tensor], Tensor]
_Schedule = torch.optim.lr_scheduler.LRScheduler


class TrainingOptions(TypedDict, total=False):
    """Options of :func:`train` that a task sets."""

    epochs: int
    rate: float
    weight_decay: float
    clip: float | None


class QuantizationOptions(TrainingOptions, total=False):
    """Options of quantisation-aware :func:`finetune` that a task sets."""

    percentile: float


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Fix torch's random numbers (initial weights, dropout) inside; those of the caller stay as they were."""
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


def steps_of(count: int, label: str, progress: bool, done: int = 0) -> Iterable[int]:
    """The integers from ``done`` to ``count - 1``, with a progress bar on standard error if ``progress`` is set."""
    return track(range(done, count), label, count, done, disable=not progress, console=Console(stderr=True))


def train(
    model: nn.Module,
    loader: Iterable[tuple[Tensor, Tensor]],
    epochs: int = 60,
    rate: float = 2e-3,
    weight_decay: float = 1e-4,
    loss: Loss = cross_entropy,
    seed: int = 0,
    progress: bool = True,
    label: str = "train",
    before_epoch: Callable[[], None] | None = None,
    penalty: Callable[[], Tensor] | None = None,
    clip: float | None = None,
    rates: Callable[[float], float] | None = None,
    checkpoint: Checkpoint | None = None,
    check: bool = True,
    drop_softmax: bool = False,
) -> list[float]:
    """Train ``model`` in place with AdamW and a cosine schedule down to a hundredth of the rate.

    A model that returns ``(outputs, state)`` gets its state back with the next batch. Each epoch starts without one.

    Parameters
    ----------
    model : torch.nn.Module
    loader : iterable of (inputs, labels)
        Iterated once an epoch. The caller fixes its order (see :mod:`darb_prune.training.batches`).
    epochs : int
    rate : float
        First learning rate.
    weight_decay : float
    loss : callable (outputs, labels) -> scalar tensor
    seed : int
        Seed of dropout.
    progress : bool
        Whether to draw a progress bar (on standard error).
    label : str
        Text beside the progress bar.
    before_epoch : callable, optional
        Called before each epoch.
    penalty : callable () -> scalar tensor, optional
        Added to the loss of each batch.
    clip : float, optional
        Largest norm of the gradient.
    rates : callable, optional
        Share of ``rate`` as a function of the share of the training that is done, instead of the cosine.
    checkpoint : Checkpoint, optional
        The training goes on from this state, and saves its own there after an epoch. It needs a loader that has
        ``state`` and ``restore`` (:class:`darb_prune.training.batches.ResumableLoader`).
    check : bool
        Whether a model that can never be encoded (:func:`darb_prune.check`) is refused before it is trained. A loader
        that can be iterated only once is not asked for the input that this takes.
    drop_softmax : bool
        Whether this check leaves out a softmax, log-softmax or argmax at the end, as :func:`darb_prune.quantize` does
        with the same argument. The training itself does not.

    Returns
    -------
    list of float: mean loss of each epoch.

    Raises
    ------
    DarbError
        For an option that no training can have, or if the loss is not finite any more.
    DataError
        If the loader is empty.
    ModelError
        If the model can never be encoded.
    """
    check_training(epochs, rate, seed)
    example = inputs_of(loader) if check and epochs else None
    if example is not None:
        stages_of(model, example, drop_softmax)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=weight_decay, fused=True)
    if rates is None:
        schedule: _Schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(epochs, 1), eta_min=rate / 100)
    else:
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: rates(epoch / max(epochs, 1)))
    history: list[float] = []
    forward = Carried(model)
    model.train()
    with seeded(seed):
        if checkpoint and checkpoint.state.get("train"):
            history = _resume(model, optimizer, schedule, loader, checkpoint.state)
        for epoch in steps_of(epochs, label, progress, len(history)):
            if before_epoch:
                before_epoch()
            forward.reset()
            total, samples = 0.0, 0
            for inputs, labels in loader:
                optimizer.zero_grad()
                value = loss(forward(inputs), labels)
                (value + penalty() if penalty else value).backward()
                if clip is not None:
                    nn.utils.clip_grad_norm_(model.parameters(), clip)
                optimizer.step()
                total += float(value.detach()) * len(inputs)
                samples += len(inputs)
            if not samples:
                raise DataError("loader: no batches; give a loader that can be iterated once an epoch")
            if not math.isfinite(total):
                raise DarbError(f"{label}: the loss is {total} after epoch {epoch + 1}; lower the learning rate")
            history.append(total / samples)
            schedule.step()
            if checkpoint and checkpoint.due:
                checkpoint.update(model=model.state_dict(), train=_state(model, optimizer, schedule, loader, history))
    refresh(model)
    model.eval()
    return history


def cosine(done: float) -> float:
    """Share of the first learning rate when the share ``done`` of a training is done: falls from 1 to 0.01."""
    return 0.01 + 0.99 * (1 + math.cos(math.pi * done)) / 2


def _state(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    schedule: _Schedule,
    loader: Iterable[tuple[Tensor, Tensor]],
    history: list[float],
) -> dict[str, Any]:
    """All that :func:`_resume` needs beside the model."""
    # By name, because masks change the order of the parameters.
    moments = {name: dict(optimizer.state[parameter]) for name, parameter in model.named_parameters()}
    return {
        "history": list(history),
        "moments": moments,
        "rate": optimizer.param_groups[0]["lr"],
        "schedule": {key: value for key, value in schedule.state_dict().items() if key != "lr_lambdas"},
        "random": torch.get_rng_state(),
        "loader": resumable(loader).state(),
    }


def _resume(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    schedule: _Schedule,
    loader: Iterable[tuple[Tensor, Tensor]],
    state: dict[str, Any],
) -> list[float]:
    """Put everything back as :func:`_state` saw it; return the losses so far."""
    saved = state["train"]
    model.load_state_dict(state["model"])
    [group] = optimizer.state_dict()["param_groups"]
    moments = {
        index: saved["moments"][name]
        for index, (name, _) in enumerate(model.named_parameters())
        if saved["moments"][name]
    }
    optimizer.load_state_dict({"state": moments, "param_groups": [group | {"lr": saved["rate"]}]})
    schedule.__dict__.update(saved["schedule"])
    torch.set_rng_state(saved["random"])
    resumable(loader).restore(saved["loader"])
    return list(saved["history"])


def resumable(loader: Iterable[tuple[Tensor, Tensor]]) -> ResumableLoader:
    """The loader, if it has a state to go on from.

    Raises
    ------
    DataError
        If it has none.
    """
    if not isinstance(loader, ResumableLoader):
        raise DataError("checkpoint: this loader cannot go on; give one that has state and restore")
    return loader


def finetune(
    model: nn.Module,
    loader: Iterable[tuple[Tensor, Tensor]],
    epochs: int = 20,
    rate: float = 1e-3,
    weight_bits: int | None = None,
    activation_bits: int = 8,
    percentile: float = 100.0,
    calibration: Tensor | Iterable | None = None,
    drop_softmax: bool = False,
    cell_bits: int | None = None,
    **options: Any,
) -> list[float]:
    """Go on training the kept weights of a pruned model, in place; masked weights stay as they are.

    Parameters
    ----------
    model, loader, epochs, rate
        As for :func:`train`.
    weight_bits : int, optional
        If given, training is quantisation-aware: forward passes round weights and activations like
        :func:`darb_prune.quantize` with the same arguments. All ranges are computed again in each epoch. Batch
        normalisation works as in ``eval`` mode, dropout does nothing, and recurrent models start every batch with
        their initial state.
    activation_bits, percentile, cell_bits
        For quantisation-aware training.
    calibration : tensor, or iterable of tensors or of (inputs, labels), optional
        For quantisation-aware training: samples that activation ranges are computed from, the same as for
        ``quantize``. All inputs of one pass over the loader if absent.
    drop_softmax : bool
        As for :func:`train`; in quantisation-aware training the outputs are what the softmax or argmax reads.
    **options
        Other options of :func:`train`.

    Returns
    -------
    list of float: mean loss of each epoch.

    Raises
    ------
    DarbError
        As for :func:`train`, and if weights are not finite or the model cannot be quantised.
    """
    check_finite(layers(model))
    options = {"label": "fine-tune", "weight_decay": 0.0} | options
    if weight_bits is None:
        return train(model, loader, epochs, rate, drop_softmax=drop_softmax, **options)
    inputs = loader if calibration is None else calibration
    rounded = FakeQuantized(model, inputs, weight_bits, activation_bits, percentile, drop_softmax, cell_bits)
    try:
        return train(rounded, loader, epochs, rate, before_epoch=rounded.update, **{**options, "check": False})
    finally:
        model.eval()


@torch.no_grad()
def evaluate(model: nn.Module, inputs: Tensor, labels: Tensor) -> float:
    """Share of samples whose largest output is the right one (the first of equals)."""
    model.eval()
    return float((model(inputs).argmax(dim=1) == labels).double().mean())
