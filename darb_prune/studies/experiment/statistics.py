"""What the runs of an experiment say together: means, spreads, limits; plain numbers in, plain numbers out."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["Interval", "Spread", "best", "interpolate", "largest", "quotient"]


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation; ``deviation`` is ``None`` for a single value."""

    mean: float
    deviation: float | None
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Of at least one value."""
        deviation = statistics.stdev(values) if len(values) > 1 else None
        return cls(statistics.fmean(values), deviation, len(values))

    def text(self, places: int = 2, scale: float = 1.0, sign: bool = False) -> str:
        """``"98.23 ± 0.05"``."""
        mean = f"{self.mean * scale:{'+' if sign else ''}.{places}f}"
        return mean if self.deviation is None else f"{mean} ± {self.deviation * scale:.{places}f}"


@dataclass(frozen=True)
class Interval:
    """A positive number known exactly (``low == high``) or between two bounds (0 and inf: no bound)."""

    low: float
    high: float

    def text(self, places: int = 1) -> str:
        """``"21.3"``, ``"> 50.0"``, ``"< 8.0"``, ``"1.2 to 3.0"``, or a dash."""
        if self.low == self.high:
            return f"{self.low:.{places}f}"
        if math.isinf(self.high):
            return f"> {self.low:.{places}f}" if self.low else "–"
        return f"{self.low:.{places}f} to {self.high:.{places}f}" if self.low else f"< {self.high:.{places}f}"


def _curve(x: Sequence[float], y: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Log of the different ``x``, rising, and the mean ``y`` of each."""
    different, index = np.unique(np.round(np.log(x), 9), return_inverse=True)
    return different, np.bincount(index, weights=y) / np.bincount(index)


def largest(x: Sequence[float], losses: Sequence[float], limit: float = 0.01) -> Interval:
    """Where a curve of losses first goes above ``limit``: linear interpolation over log ``x`` between the points.

    Parameters
    ----------
    x : sequence of float
        Pruning ratios, or other positive numbers, in any order.
    losses : sequence of float
        Loss over dense at each.
    limit : float

    Returns
    -------
    The crossing; below the first ``x`` if that is above the limit already, above the last if none is. A curve
    that comes back under the limit later counts as above it: what lies between is not within.
    """
    logs, values = _curve(x, losses)
    # A loss of exactly the limit is within it, whatever rounding says.
    above = np.flatnonzero(values > limit + 1e-12)
    if not len(above):
        return Interval(math.exp(logs[-1]), math.inf)
    after = above[0]
    if not after:
        return Interval(0.0, math.exp(logs[0]))
    share = (limit - values[after - 1]) / (values[after] - values[after - 1])
    crossing = math.exp(logs[after - 1] + max(share, 0.0) * (logs[after] - logs[after - 1]))
    return Interval(crossing, crossing)


def interpolate(at: float, x: Sequence[float], y: Sequence[float]) -> float | None:
    """``y`` at ``x = at``, linear over log ``x``; ``None`` outside of what was measured."""
    logs, values = _curve(x, y)
    wanted = round(math.log(at), 9)
    if not logs[0] <= wanted <= logs[-1]:
        return None
    return float(np.interp(wanted, logs, values))


def best(intervals: dict[str, Interval]) -> tuple[str, Interval] | None:
    """The largest of several, by name, and what is known of its value; ``None`` if there are none."""
    if not intervals:
        return None
    name = max(intervals, key=lambda key: (intervals[key].low, intervals[key].high))
    return name, Interval(intervals[name].low, max(interval.high for interval in intervals.values()))


def quotient(dividend: Interval, divisor: Interval) -> Interval:
    """``dividend / divisor``, as far as it is known."""
    low = 0.0 if math.isinf(divisor.high) else dividend.low / divisor.high
    high = math.inf if not divisor.low or math.isinf(dividend.high) else dividend.high / divisor.low
    return Interval(low, high)
