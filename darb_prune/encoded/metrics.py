"""What the accuracies of an encoded network are measured in, and how much worse one may be than another."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from darb_prune.errors import DarbError

__all__ = ["METRICS", "Limit", "Metric", "get", "loss_over", "reference_of"]


@dataclass(frozen=True)
class Metric:
    """A measure of a network; :mod:`darb_prune.training.metrics` computes it.

    Parameters
    ----------
    name : str
    unit : str
        Unit of the value as it is shown; empty for a plain number.
    higher : bool
        Whether more is better.
    scale : float
        Factor of the value as it is shown.
    places : int
        Decimal places of the value as it is shown.
    """

    name: str
    unit: str
    higher: bool
    scale: float = 1.0
    places: int = 2

    def text(self, value: float) -> str:
        """``value`` with its unit: ``"98.23 %"``, ``"2.168 bits"``."""
        return f"{value * self.scale:.{self.places}f} {self.unit}".rstrip()

    def lost(self, value: float, dense: float) -> float:
        """By how much ``value`` is worse than ``dense``, before ``scale``; below 0 if it is better."""
        return dense - value if self.higher else value - dense


METRICS = {
    metric.name: metric
    for metric in (
        Metric("accuracy", "%", True, scale=100),
        Metric("accuracy of tasks", "%", True, scale=100),
        Metric("bits per character", "bits", False, places=3),
        Metric("perplexity", "", False, places=1),
        Metric("distance", "%", False, scale=100),
    )
}


def get(name: str) -> Metric:
    """The metric of that name."""
    if name not in METRICS:
        raise DarbError(f"metric {name!r}: choose one of {', '.join(METRICS)}")
    return METRICS[name]


def reference_of(accuracies: Mapping[str, Mapping[str, float]]) -> Mapping[str, float]:
    """What losses are over, by split: the teacher of a dense model that was taught, else the dense model itself.

    Nothing if neither is known.

    Parameters
    ----------
    accuracies : mapping
        Of a run folder or a network: model -> split -> value.
    """
    return accuracies.get("teacher", accuracies.get("dense", {}))


def loss_over(name: str, value: float, dense: float) -> float:
    """By what share of ``dense`` the metric ``value`` is worse than ``dense``; below 0 if it is better.

    Of a dense value of 0 no share is known: infinite, unless ``value`` is 0 too.
    """
    if not dense:
        return math.inf if value else 0.0
    return get(name).lost(value, dense) / dense


@dataclass(frozen=True)
class Limit:
    """How much worse than the dense model another one may be.

    Parameters
    ----------
    value : float
        In the unit in which the metric is shown (points of accuracy, bits, perplexity), or in percent.
    relative : bool
        Whether ``value`` is percent of what the dense model reaches.
    """

    value: float
    relative: bool

    @classmethod
    def parse(cls, text: str, option: str = "within") -> "Limit":
        """``"0.5"`` or ``"1%"``; ``option`` is what it was given for."""
        amount = text.strip()
        try:
            value = float(amount.removesuffix("%"))
        except ValueError:
            value = -1.0
        if not 0 <= value < math.inf:
            raise DarbError(
                f'{option} {text!r}: give points of the metric ("0.5") or percent of the dense model ("1%")'
            )
        return cls(value, amount.endswith("%"))

    def __str__(self) -> str:
        return f"{self.value:g}%" if self.relative else f"{self.value:g}"

    def allowed(self, metric: str, dense: float) -> float:
        """What may be lost, in the unit of the metric before ``scale``."""
        return abs(dense) * self.value / 100 if self.relative else self.value / get(metric).scale

    def excess(self, metric: str, value: float, dense: float) -> float:
        """How much more than that ``value`` has lost; negative if it is within."""
        return get(metric).lost(value, dense) - self.allowed(metric, dense)

    def holds(self, metric: str, value: float, dense: float) -> bool:
        """Whether ``value`` is within the limit of ``dense``."""
        return self.excess(metric, value, dense) <= 1e-12
