"""Points of a sweep that cannot be on its Pareto front, whatever synthesis will say: they need not be built."""

from collections.abc import Sequence
from dataclasses import dataclass

from darb_hw.estimate.estimate import Estimate, NoPlan

__all__ = ["SweepChoice", "hopeless"]


@dataclass(frozen=True)
class SweepChoice:
    """A point that a sweep may build.

    Parameters
    ----------
    network : str
        What tells networks apart: the path of a file, or a digest.
    accuracy : float or None
        Of the network; ``None`` if its file does not say. Points of other networks are beaten only by networks that are
        known to be as accurate.
    estimate : Estimate or NoPlan
    """

    network: str
    accuracy: float | None
    estimate: Estimate | NoPlan


def hopeless(choices: Sequence[SweepChoice]) -> dict[int, str]:
    """Which choices no optimistic reading of their estimates brings on the Pareto front of their device, and why.

    The front is that of inferences/s, LUTs and block RAMs. A choice is left out if there is no plan of it; if not
    even the lower end of what it takes fits; or if another one that fits for sure is better, with the estimates of that
    one at their worst and its own at their best. The front of what is left is that of all, if all figures are within
    their intervals.

    Returns
    -------
    dict of int to str
        Index -> reason. All others have to be built.
    """
    reasons: dict[int, str] = {}
    for index, choice in enumerate(choices):
        made = choice.estimate
        if isinstance(made, NoPlan):
            reasons[index] = made.reason
        elif made.fits == "no":
            reasons[index] = f"not built: estimated not to fit {made.device}"
        else:
            better = next((other for other in choices if _beats(other, choice)), None)
            if better is not None:
                reasons[index] = f"not built: {_words(choice, better)}"
    return reasons


def _words(choice: SweepChoice, better: SweepChoice) -> str:
    """What beats a choice, in words."""
    of = "" if better.network == choice.network else " of another network"
    return f"estimated to be no better than {better.estimate.lanes} lanes{of} in anything"


def _beats(other: SweepChoice, choice: SweepChoice) -> bool:
    """Whether ``other`` at its worst is as good as ``choice`` at its best in everything, and better in something."""
    worst, best = other.estimate, choice.estimate
    if isinstance(worst, NoPlan) or isinstance(best, NoPlan):
        return False
    if other is choice or worst.fits != "yes" or worst.device != best.device:
        return False
    if other.network != choice.network and (
        other.accuracy is None or choice.accuracy is None or other.accuracy < choice.accuracy
    ):
        return False
    pairs = (
        (worst.inferences_per_second.low, best.inferences_per_second.high),
        (-worst.luts.high, -best.luts.low),
        (-worst.block_rams, -best.block_rams),
    )
    return all(least >= most for least, most in pairs) and any(least > most for least, most in pairs)
