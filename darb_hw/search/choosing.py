"""Which candidates are worth more work, by what is known of them; and which one wins."""

import statistics
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from darb_hw.estimate.estimate import Estimate
from darb_hw.search.space import Candidate
from darb_hw.search.trying import Tried
from darb_hw.search.verifying import Verified
from darb_hw.search.wanted import Figures, Wanted

__all__ = ["Correction", "correction", "promising", "varied", "winner"]


@dataclass(frozen=True)
class Correction:
    """By what predictions were found to be wrong: medians.

    Parameters
    ----------
    rate, luts : float
        Measured over estimated.
    gained : float
        What full fine-tuning gained over a short one, in the unit of the metric.
    """

    rate: float = 1.0
    luts: float = 1.0
    gained: float = 0.0

    def likely(self, made: Estimate) -> Figures:
        """What is expected of an engine."""
        return Figures.likely(made, self.rate, self.luts)


def correction(tries: Sequence[Tried], finalists: Sequence[Tried], placed: Sequence[Verified]) -> Correction:
    """The correction by candidates that were fine-tuned fully, and by engines that were placed.

    Parameters
    ----------
    tries, finalists : sequence of Tried
        After a short fine-tuning, and after a full one.
    placed : sequence of Verified
    """
    short = {one.candidate: one.loss.share for one in tries if one.loss}
    gains = [short[one.candidate] - one.loss.share for one in finalists if one.loss and one.candidate in short]
    likely = {one.candidate: Figures.likely(one.estimate) for one in finalists if one.estimate}
    pairs = [(one.figures, likely[one.candidate]) for one in placed if one.figures and one.candidate in likely]
    return Correction(
        _median([measured.rate / expected.rate for measured, expected in pairs], 1.0),
        _median([measured.luts / expected.luts for measured, expected in pairs], 1.0),
        _median(gains, 0.0),
    )


def _median(values: Sequence[float], absent: float) -> float:
    return statistics.median(values) if values else absent


def promising(
    tries: Sequence[Tried], over: Collection[Candidate], wanted: Wanted, corrected: Correction
) -> list[Candidate]:
    """Candidates that nothing more was done with, the most promising first: those that are expected to keep all bounds,
    by the aim; then the others, by what they are expected to miss.

    Parameters
    ----------
    tries : sequence of Tried
    over : collection of Candidate
        Those that more was done with.
    wanted : Wanted
    corrected : Correction
    """
    keyed = []
    for one in tries:
        if one.estimate is None or one.loss is None or one.candidate in over:
            continue
        figures, loss = corrected.likely(one.estimate), one.loss.gained(corrected.gained)
        beyond = sum(wanted.missed(figures, loss).values())
        keyed.append(((beyond, *wanted.order(figures, loss)), one.candidate))
    return list(dict.fromkeys(candidate for _, candidate in sorted(keyed)))


def varied(candidates: Sequence[Candidate]) -> list[Candidate]:
    """The first candidate of each network, then the others: engines of one network lose the same."""
    first = {candidate.network: candidate for candidate in reversed(candidates)}
    return sorted(candidates, key=lambda candidate: first[candidate.network] != candidate)


def winner(placed: Sequence[Verified], wanted: Wanted) -> Verified | None:
    """The best of those that keep all bounds, if there is one."""
    keyed = [
        (wanted.order(one.figures, one.loss), one.candidate, one)
        for one in placed
        if one.figures is not None and one.loss is not None and not one.reason and not one.missed(wanted)
    ]
    return min(keyed)[-1] if keyed else None
