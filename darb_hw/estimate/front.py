"""Points of a sweep that cannot be on its Pareto front, whatever synthesis will say: they need not be built."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from darb_hw.estimate.estimate import Estimate

__all__ = ["SweepChoice", "hopeless"]

_Costs = tuple[float, float, int, int]


@dataclass(frozen=True)
class SweepChoice:
    """A point that a sweep may build.

    Parameters
    ----------
    label : str
        The point in words.
    network : str
        What tells networks apart: the path of a file, or a digest.
    task : str or None
        What the network was trained for. Accuracies of different tasks are not compared.
    accuracy : float or None
        Of the network on data that it may be chosen by, so not on test data; ``None`` if its file does not say. Points
        of other networks are beaten only by networks that are known to be as accurate.
    estimate : Estimate
    """

    label: str
    network: str
    task: str | None
    accuracy: float | None
    estimate: Estimate


def hopeless(choices: Sequence[SweepChoice]) -> dict[int, str]:
    """Which choices no optimistic reading of their estimates brings on the Pareto front of their device, and why.

    The front is that of inferences/s, LUTs, block RAMs and DSP blocks. A choice is left out if not even the lower end
    of what it takes fits; or if another one that fits for sure is better, with the estimates of that one at their worst
    and its own at their best. The front of what is left is that of all, if all figures are within their intervals.

    Returns
    -------
    dict of int to str
        Index -> reason, by rising index. All others have to be built, and those that a reason names are among them.
    """
    reasons: dict[int, str] = {}
    unbeaten: dict[str, list[SweepChoice]] = defaultdict(list)
    # What beats a choice comes before it in this order. What beats that one beats the choice too.
    for index in sorted(range(len(choices)), key=lambda index: _worst(choices[index].estimate)):
        choice = choices[index]
        rivals = unbeaten[choice.estimate.device]
        better = next((rival for rival in rivals if _beats(rival, choice)), None)
        if choice.estimate.fits == "no":
            reasons[index] = f"estimated not to fit {choice.estimate.device}"
        elif better is not None:
            reasons[index] = f"estimated to be no better than {better.label} in anything"
        elif choice.estimate.fits == "yes":
            rivals.append(choice)
    return dict(sorted(reasons.items()))


def _worst(made: Estimate) -> _Costs:
    """What an engine costs if all estimates are at their worst. Less is better."""
    return -made.inferences_per_second.low, made.luts.high, made.block_rams, made.dsps


def _best(made: Estimate) -> _Costs:
    return -made.inferences_per_second.high, made.luts.low, made.block_rams, made.dsps


def _beats(rival: SweepChoice, choice: SweepChoice) -> bool:
    """Whether ``rival`` at its worst is as good as ``choice`` at its best in everything, and better in something."""
    worst, best = _worst(rival.estimate), _best(choice.estimate)
    cheaper = worst != best and all(most <= least for most, least in zip(worst, best, strict=True))
    return cheaper and (rival.network == choice.network or _is_as_accurate(rival, choice))


def _is_as_accurate(rival: SweepChoice, choice: SweepChoice) -> bool:
    if rival.task is None or rival.task != choice.task or rival.accuracy is None or choice.accuracy is None:
        return False
    return rival.accuracy >= choice.accuracy
