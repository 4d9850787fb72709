"""Which candidates are worth to be verified next, by what was tried and what was verified; and which one wins."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from darb_hw.search.space import Candidate
from darb_hw.search.trying import Tried
from darb_hw.search.verifying import Verified
from darb_hw.search.wanted import Figures, Wanted, missed

__all__ = ["Correction", "correction", "promising", "winner"]


@dataclass(frozen=True)
class Correction:
    """By what predictions were found to be wrong: medians over what was verified.

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


def correction(tries: Sequence[Tried], done: Sequence[Verified]) -> Correction:
    """The correction by what was verified; none if nothing was."""
    known = {one.candidate: one for one in tries}
    rates, luts, gains = [], [], []
    for one in done:
        before, figures = known.get(one.candidate), one.figures
        if before is None or before.estimate is None or before.loss is None or figures is None or one.loss is None:
            continue
        likely = Figures.likely(before.estimate)
        rates.append(figures.rate / likely.rate)
        luts.append(figures.luts / likely.luts)
        gains.append(before.loss.share - one.loss.share)
    if not rates:
        return Correction()
    return Correction(statistics.median(rates), statistics.median(luts), statistics.median(gains))


def promising(tries: Sequence[Tried], done: Sequence[Verified], wanted: Wanted) -> list[Candidate]:
    """Candidates that were not verified yet, the most promising first: those that are expected to keep all bounds, by
    the aim; then the others, by what they are expected to miss."""
    corrected = correction(tries, done)
    over = {one.candidate for one in done}
    keyed = []
    for one in tries:
        if one.estimate is None or one.loss is None or one.candidate in over:
            continue
        figures = Figures.likely(one.estimate, corrected.rate, corrected.luts)
        loss = one.loss.gained(corrected.gained)
        beyond = sum(missed(wanted.of_engine(figures) | wanted.of_network(loss)).values())
        keyed.append(((beyond, *wanted.order(figures, loss)), one.candidate))
    return list(dict.fromkeys(candidate for _, candidate in sorted(keyed)))


def winner(done: Sequence[Verified], wanted: Wanted) -> Verified | None:
    """The best of those that keep all bounds, if there is one."""
    keyed = [
        (wanted.order(one.figures, one.loss), one.candidate, one)
        for one in done
        if one.figures is not None and one.loss is not None and not one.reason and not one.missed(wanted)
    ]
    return min(keyed)[-1] if keyed else None
