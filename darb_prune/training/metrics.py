"""Measures of a model (accuracy, bits per character, perplexity, distance), and the loss that training lowers."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from darb_prune.errors import DarbError, DataError
from darb_prune.training.batches import MEASURED, Split
from darb_prune.training.heads import IGNORED, HeadSplit, accuracies

__all__ = ["METRICS", "Metric", "get", "loss", "loss_over", "measure"]

STREAMS, STEPS = 16, 256  # texts are measured in so many streams, and so many time steps of each at once


@dataclass(frozen=True)
class Metric:
    """A measure of a model.

    Parameters
    ----------
    name : str
    unit : str
        Unit of the value as it is shown; empty for a plain number.
    higher : bool
        Whether more is better.
    compute : callable (model, split) -> float
    scale : float
        Factor of the value as it is shown.
    places : int
        Decimal places of the value as it is shown.
    """

    name: str
    unit: str
    higher: bool
    compute: Callable[[nn.Module, Split], float]
    scale: float = 1.0
    places: int = 2

    def text(self, value: float) -> str:
        """``value`` with its unit: ``"98.23 %"``, ``"2.168 bits"``."""
        return f"{value * self.scale:.{self.places}f} {self.unit}".rstrip()


def loss(outputs: Tensor, labels: Tensor) -> Tensor:
    """Mean cross entropy in nats over all samples, and over all time steps of sequences.

    Parameters
    ----------
    outputs : float tensor of shape (..., classes)
        Before the softmax.
    labels : int64 tensor of shape (...), or float tensor of shape (..., classes)
        Classes, or a probability for each.
    """
    flat = outputs.reshape(-1, outputs.shape[-1])
    soft = labels.is_floating_point()
    if not soft and labels.numel() != len(flat):
        raise DataError(
            f"labels of shape {tuple(labels.shape)} for outputs of shape {tuple(outputs.shape)}: give one label for "
            "each; of several tasks use the loss HeadLoss"
        )
    return F.cross_entropy(flat, labels.reshape(flat.shape) if soft else labels.reshape(-1))


def _accuracy(model: nn.Module, split: Split) -> float:
    """Share of samples whose largest output is the right one (the first of equals)."""
    right = sum(
        int((model(inputs).argmax(dim=1) == labels).sum())
        for inputs, labels in zip(split.inputs.split(MEASURED), split.labels.split(MEASURED), strict=True)
    )
    return right / len(split)


def _nats(model: nn.Module, split: Split) -> float:
    """Mean cross entropy of a symbol of a text. The text is read as a few streams, and each carries its state on."""
    symbols = len(split)
    streams = max(min(STREAMS, symbols // STEPS), 1)
    length = math.ceil(symbols / streams)
    missing = streams * length - symbols
    inputs = F.pad(split.inputs, (0, missing)).view(streams, length)
    labels = F.pad(split.labels, (0, missing), value=IGNORED).view(streams, length)
    total, state = 0.0, None
    for piece, answers in zip(inputs.split(STEPS, dim=1), labels.split(STEPS, dim=1), strict=True):
        outputs, state = model(piece, state)
        total += float(F.cross_entropy(outputs.flatten(0, 1), answers.flatten(), reduction="sum"))
    return total / symbols


def _bits(model: nn.Module, split: Split) -> float:
    return _nats(model, split) / math.log(2)


def _perplexity(model: nn.Module, split: Split) -> float:
    return math.exp(min(_nats(model, split), 700.0))  # the exponential of more is no float64


def _distance(model: nn.Module, split: Split) -> float:
    """Mean magnitude of (output - label) over that of the labels, which are outputs of another model."""
    outputs = torch.cat([model(inputs) for inputs in split.inputs.split(MEASURED)])
    return float((outputs - split.labels).abs().double().mean() / split.labels.abs().double().mean())


def _task_accuracy(model: nn.Module, split: Split) -> float:
    """Mean over the tasks of their accuracies."""
    if not isinstance(split, HeadSplit):
        raise DataError("metric 'accuracy of tasks': a split of one task; use 'accuracy'")
    each = accuracies(model, split)
    return sum(each) / len(each)


METRICS = {
    metric.name: metric
    for metric in (
        Metric("accuracy", "%", True, _accuracy, scale=100),
        Metric("accuracy of tasks", "%", True, _task_accuracy, scale=100),
        Metric("bits per character", "bits", False, _bits, places=3),
        Metric("perplexity", "", False, _perplexity, places=1),
        Metric("distance", "%", False, _distance, scale=100),
    )
}


def get(name: str) -> Metric:
    """The metric of that name."""
    if name not in METRICS:
        raise DarbError(f"metric {name!r}: choose one of {', '.join(METRICS)}")
    return METRICS[name]


@torch.no_grad()
def measure(name: str, model: nn.Module, split: Split) -> float:
    """Metric ``name`` of ``model`` on all of ``split``.

    Parameters
    ----------
    name : str
        A key of ``METRICS``. Accuracies are shares, 0 to 1.
    model : torch.nn.Module
        Put into ``eval`` mode. For ``"accuracy"`` and ``"distance"``: inputs -> outputs of shape (samples, classes),
        which for ``"distance"`` is also the shape of the labels. For the others:
        (tokens, state or None) -> (outputs of shape (streams, steps, classes), state).
    split : Split

    Raises
    ------
    DataError
        If ``split`` is empty.
    """
    if not len(split):
        raise DataError(f"metric {name!r}: no samples; give a split that holds some")
    metric = get(name)
    model.eval()
    return metric.compute(model, split)


def loss_over(name: str, value: float, dense: float) -> float:
    """By what share of ``dense`` the metric ``value`` is worse than ``dense``; below 0 if it is better.

    Of a dense value of 0 no share is known: infinite, unless ``value`` is 0 too.
    """
    if not dense:
        return math.inf if value else 0.0
    return (dense - value if get(name).higher else value - dense) / dense
