"""What a task is measured by: accuracy, bits per character, perplexity; and the loss that training lowers."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from darb_prune.errors import DarbError

__all__ = ["METRICS", "Metric", "get", "loss", "loss_over", "measure", "within"]

SAMPLES = 1000  # of a batch: bounds memory, not the result
STREAMS, STEPS = 16, 256
IGNORED = -100  # the label that F.cross_entropy leaves out by default


@dataclass(frozen=True)
class Metric:
    """A measure of a model.

    Parameters
    ----------
    name : str
    unit : str
        Of what is shown; empty for a plain number.
    higher : bool
        Whether more is better.
    of : callable (model, split) -> float
    scale, places : float, int
        How to show it: a factor, and digits after the point.
    """

    name: str
    unit: str
    higher: bool
    of: Callable[[nn.Module, object], float]
    scale: float = 1.0
    places: int = 2

    def text(self, value: float) -> str:
        """``value`` with its unit: ``"98.23 %"``, ``"2.168 bits"``."""
        return f"{value * self.scale:.{self.places}f} {self.unit}".rstrip()


def loss(outputs: Tensor, labels: Tensor) -> Tensor:
    """Mean cross entropy in nats over all samples, and over all steps of sequences.

    Parameters
    ----------
    outputs : float tensor of shape (..., classes)
        Before the softmax.
    labels : int64 tensor of shape (...), or float tensor of shape (..., classes)
        Classes, or a probability for each.
    """
    flat = outputs.reshape(-1, outputs.shape[-1])
    soft = labels.is_floating_point()
    return F.cross_entropy(flat, labels.reshape(flat.shape) if soft else labels.reshape(-1))


def _accuracy(model: nn.Module, split) -> float:
    """Share of samples whose largest output is the right one (the first of equals)."""
    right = sum(
        int((model(inputs).argmax(dim=1) == labels).sum())
        for inputs, labels in zip(split.inputs.split(SAMPLES), split.labels.split(SAMPLES), strict=True)
    )
    return right / len(split)


def _nats(model: nn.Module, split) -> float:
    """Mean cross entropy a symbol over a whole text, read as a few streams whose state is carried on."""
    symbols = len(split)
    streams = max(min(STREAMS, symbols // STEPS), 1)
    length = math.ceil(symbols / streams)
    missing = streams * length - symbols
    inputs = F.pad(split.inputs, (0, missing)).view(streams, length)
    labels = F.pad(split.labels, (0, missing), value=IGNORED).view(streams, length)
    total, state = 0.0, None
    for piece, wanted in zip(inputs.split(STEPS, dim=1), labels.split(STEPS, dim=1), strict=True):
        outputs, state = model(piece, state)
        total += float(F.cross_entropy(outputs.flatten(0, 1), wanted.flatten(), reduction="sum"))
    return total / symbols


METRICS = {
    metric.name: metric
    for metric in (
        Metric("accuracy", "%", True, _accuracy, scale=100),
        Metric("bits per character", "bits", False, lambda *given: _nats(*given) / math.log(2), places=3),
        Metric("perplexity", "", False, lambda *given: math.exp(min(_nats(*given), 700.0)), places=1),
    )
}


def get(name: str) -> Metric:
    """The metric of that name."""
    if name not in METRICS:
        raise DarbError(f"metric {name!r}: choose one of {', '.join(METRICS)}")
    return METRICS[name]


@torch.no_grad()
def measure(name: str, model: nn.Module, split) -> float:
    """Metric ``name`` of ``model``, which is put into ``eval`` mode, on all of ``split``.

    Parameters
    ----------
    name : str
        A key of ``METRICS``. Accuracies are shares, 0 to 1.
    model : torch.nn.Module
        For ``"accuracy"``: inputs -> (samples, classes). For the others: (tokens, state or None) -> (outputs of
        shape (streams, steps, classes), state).
    split : darb_prune.tasks.Split
    """
    if not len(split):
        raise DarbError(f"metric {name!r}: no samples; give a split that holds some")
    metric = get(name)
    model.eval()
    return metric.of(model, split)


def loss_over(name: str, value: float, dense: float) -> float:
    """How much worse ``value`` is than ``dense``, relative to it; below 0 if it is better."""
    return (dense - value if get(name).higher else value - dense) / dense


def within(name: str, value: float, dense: float, relative: float = 0.01) -> bool:
    """Whether ``value`` is worse than ``dense`` by no more than the share ``relative`` of it."""
    return loss_over(name, value, dense) <= relative + 1e-12
