"""The largest pruning ratio that keeps a model good enough: bisection, with fine-tuning at every probe."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from darb_prune.errors import DarbError
from darb_prune.training import metrics

__all__ = ["Limit", "largest_ratio"]


@dataclass(frozen=True)
class Limit:
    """How much worse than the dense model a pruned one may be.

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
    def parse(cls, text: str) -> "Limit":
        """``"0.5"`` or ``"1%"``."""
        amount = text.strip()
        try:
            value = float(amount.removesuffix("%"))
        except ValueError:
            value = -1.0
        if not 0 <= value < math.inf:
            raise DarbError(f'within {text!r}: give points of the metric ("0.5") or percent of the dense model ("1%")')
        return cls(value, amount.endswith("%"))

    def holds(self, metric: str, value: float, dense: float) -> bool:
        """Whether ``value`` is within the limit of ``dense``."""
        measure = metrics.get(metric)
        allowed = abs(dense) * self.value / 100 if self.relative else self.value / measure.scale
        return (dense - value if measure.higher else value - dense) <= allowed + 1e-12


def largest_ratio(
    probe: Callable[[float], bool], low: float = 2.0, high: float = 128.0, precision: float = 1.1
) -> float | None:
    """The largest ratio for which ``probe`` holds, by bisection in log scale.

    It is assumed that a ratio that is good enough has no worse one below it.

    Parameters
    ----------
    probe : callable (ratio) -> bool
        Prunes a copy of the model, fine-tunes it and measures it on the validation split.
    low, high : float
        Where to search.
    precision : float
        Largest quotient of the ratio that failed and the one that held, at the end.

    Returns
    -------
    The ratio; ``None`` if not even ``low`` holds.
    """
    if not 1 <= low < high or not precision > 1:
        raise DarbError(
            f"ratios {low:g} to {high:g}, precision {precision:g}: give 1 <= low < high and precision above 1"
        )
    if not probe(low):
        return None
    if probe(high):
        return high
    while high / low > precision:
        middle = math.sqrt(low * high)
        low, high = (middle, high) if probe(middle) else (low, middle)
    return low
