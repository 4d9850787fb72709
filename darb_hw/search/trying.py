"""One candidate tried: its engine is estimated before anything is trained, then its network is fine-tuned a little."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from darb_hw.estimate.estimate import Estimate
from darb_hw.estimate.model import MODEL
from darb_hw.jobs.flow import Flow
from darb_hw.search.question import Question
from darb_hw.search.space import Candidate
from darb_hw.search.wanted import Figures, Loss, missed
from darb_hw.sweep.estimation import Estimation, read_choice
from darb_prune.encoded import DarbError
from darb_prune.encoded.metrics import reference_of

__all__ = ["Tried", "dense_files", "finetuned", "loss_of", "tried"]


@dataclass(frozen=True)
class Tried:
    """What is known of a candidate.

    Parameters
    ----------
    candidate : Candidate
    estimate : Estimate or None
        None if no engine can be made.
    loss : Loss or None
        After fine-tuning; None if the engine is out of the question.
    reason : str
        Why there is no engine; empty if there is.
    """

    candidate: Candidate
    estimate: Estimate | None = None
    loss: Loss | None = None
    reason: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "candidate": self.candidate.as_dict(),
            "estimate": self.estimate and self.estimate.as_dict(),
            "loss": self.loss and asdict(self.loss),
            "reason": self.reason,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Tried":
        """The inverse of :meth:`as_dict`, also after a trip through JSON."""
        made, loss = values["estimate"], values["loss"]
        return cls(
            Candidate(**values["candidate"]), made and Estimate.from_dict(made), loss and Loss(**loss), values["reason"]
        )


def tried(candidate: Candidate, question: Question, model: bytes) -> Flow[Tried]:
    """The flow of a candidate. An engine that misses a bound even at its best is not trained for.

    Parameters
    ----------
    candidate : Candidate
    question : Question
    model : bytes
        Of the estimates.
    """
    made = yield from finetuned(candidate, question, model, "none")
    if made.estimate is None:
        return made
    if missed(question.wanted.of_engine(Figures.at_best(made.estimate))):
        return replace(made, loss=None)
    return (yield from finetuned(candidate, question, model, "quick"))


def finetuned(candidate: Candidate, question: Question, model: bytes, effort: str = "normal") -> Flow[Tried]:
    """The flow of a candidate whose network is fine-tuned with an effort of ``darb prune``."""
    point = candidate.point()
    try:
        files = yield from question.networks(effort, candidate.method).files(point)
        inputs = {"network.darb": files["network.darb"], MODEL: model}
        (entry,) = yield [Estimation(inputs, point.config, point.label)]
        if entry.failure:
            return Tried(candidate, reason=entry.failure)
        made = read_choice(entry.files, point.label).estimate
        return Tried(candidate, made, loss_of(json.loads(entry.files["network.json"])))
    except DarbError as error:
        return Tried(candidate, reason=str(error))


def dense_files(question: Question) -> Flow[Mapping[str, bytes]]:
    """The flow of the files of the dense network: raises :class:`DarbError` if there is no such task, or no engine for
    what its model does."""
    steps = dict.fromkeys(question.space.axes(), 0)
    dense = replace(question.space.candidate(steps), size=1.0, ratio=1.0, weight_bits=8)
    return (yield from question.networks("none").files(dense.point()))


def loss_of(said: Mapping[str, Any]) -> Loss:
    """The loss of a network on validation data, by what its file says.

    Raises
    ------
    DarbError
        If it does not say.
    """
    try:
        accuracies = said["accuracies"]
        dense = float(reference_of(accuracies)["validation"])
        return Loss(said["metric"], float(accuracies["integer"]["validation"]), dense)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise DarbError("the network does not say what it loses; make its run folder again") from None
