"""One candidate verified: its network fine-tuned fully, its engine synthesised, placed, routed and simulated."""

from collections.abc import Mapping
from dataclasses import dataclass

from darb_hw.jobs.flow import Flow
from darb_hw.search.question import Question
from darb_hw.search.simulation import Simulation
from darb_hw.search.space import Candidate
from darb_hw.search.trying import loss_of
from darb_hw.search.wanted import Figures, Loss, Wanted
from darb_hw.store.store import Store
from darb_hw.sweep.measure import measured
from darb_hw.sweep.points import PointResult
from darb_prune.encoded import DarbError

__all__ = ["Verified", "network_files", "verified"]


@dataclass(frozen=True)
class Verified:
    """What came of a candidate.

    Parameters
    ----------
    candidate : Candidate
    result : PointResult
    loss : Loss or None
        None if there is no engine.
    reason : str
        Why it is no answer, apart from bounds that it misses; empty otherwise.
    """

    candidate: Candidate
    result: PointResult
    loss: Loss | None = None
    reason: str = ""

    @property
    def figures(self) -> Figures | None:
        return None if self.result.report is None else Figures.measured(self.result.report)

    def missed(self, wanted: Wanted) -> dict[str, float]:
        """Bounds that it misses, each by what share."""
        figures = self.figures
        if figures is None or self.loss is None:
            return {}
        return wanted.missed(figures, self.loss)


def network_files(candidate: Candidate, question: Question) -> Flow[Mapping[str, bytes]]:
    """The flow of the files of a network that is fine-tuned fully."""
    return (yield from question.networks("normal").files(candidate.point()))


def verified(candidate: Candidate, question: Question, store: Store) -> Flow[Verified]:
    """The flow of a candidate. That it cannot be built is a result too.

    What was measured is kept in ``store``, for fits.
    """
    point = candidate.point(question.seeds)
    result: PointResult = yield from measured(point, question.networks("normal"), store)
    if result.report is None:
        return Verified(candidate, result, reason=result.reason)
    try:
        loss = loss_of({"metric": result.metric, "accuracies": result.accuracies})
        files = yield from network_files(candidate, question)
        (simulated,) = yield [Simulation(files, point.config, point.label)]
    except DarbError as error:
        return Verified(candidate, result, reason=str(error))
    return Verified(candidate, result, loss, simulated.failure)
