"""Measures of a model (accuracy, bits per character, perplexity, distance), and the loss that training lowers."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from darb_prune.encoded import metrics
from darb_prune.errors import DataError
from darb_prune.training.batches import MEASURED, Split
from darb_prune.training.heads import IGNORED, HeadSplit, accuracies

__all__ = ["loss", "measure"]

STREAMS, STEPS = 16, 256  # texts are measured in so many streams, and so many time steps of each at once


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


_COMPUTED: dict[str, Callable[[nn.Module, Split], float]] = {
    "accuracy": _accuracy,
    "accuracy of tasks": _task_accuracy,
    "bits per character": _bits,
    "perplexity": _perplexity,
    "distance": _distance,
}


@torch.no_grad()
def measure(name: str, model: nn.Module, split: Split) -> float:
    """Metric ``name`` of ``model`` on all of ``split``.

    Parameters
    ----------
    name : str
        A key of :data:`~darb_prune.encoded.metrics.METRICS`. Accuracies are shares, 0 to 1.
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
    metrics.get(name)
    model.eval()
    return _COMPUTED[name](model, split)
