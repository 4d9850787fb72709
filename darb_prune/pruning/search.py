"""The largest pruning ratio that keeps a model good enough: bisection, with fine-tuning at every probe."""

import math
from collections.abc import Callable

from darb_prune.errors import DarbError

__all__ = ["largest_ratio"]


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
