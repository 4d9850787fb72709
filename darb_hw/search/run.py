"""A whole search: candidates tried in rounds, the most promising verified, one of them the answer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from darb_hw.estimate.model import Model
from darb_hw.jobs.flow import Flow, Pool, Watcher, outcome, outcomes
from darb_hw.search.choosing import Correction, correction, promising, varied, winner
from darb_hw.search.question import Question
from darb_hw.search.space import Candidate
from darb_hw.search.study import Study
from darb_hw.search.trying import Tried, dense_files, finetuned, tried
from darb_hw.search.verifying import Verified, verified
from darb_hw.store.store import Store
from darb_prune.encoded import DarbError

__all__ = ["Search", "run_search"]

_Value = TypeVar("_Value", Tried, Verified)
ROUND = 8
"""Candidates tried at a time. The next ones are proposed when all have ended, so that a search gives the same, whoever
does its jobs and in whatever order."""
_GROUP = 4
"""Finalists that are fine-tuned at a time."""
_ROUNDS = 3
"""Rounds of finalists, if none of the first one is an answer."""


@dataclass
class Search:
    """What a search found.

    Parameters
    ----------
    question : Question
    tried : list of Tried
        After a short fine-tuning.
    finalists : list of Tried
        After a full one, in the order in which they promised most.
    verified : list of Verified
        Finalists whose engines were placed.
    """

    question: Question
    tried: list[Tried] = field(default_factory=list)
    finalists: list[Tried] = field(default_factory=list)
    verified: list[Verified] = field(default_factory=list)

    @property
    def winner(self) -> Verified | None:
        return winner(self.verified, self.question.wanted)

    @property
    def correction(self) -> Correction:
        return correction(self.tried, self.finalists, self.verified)

    @staticmethod
    def known(ones: Sequence[Tried] | Sequence[Verified]) -> set[Candidate]:
        return {one.candidate for one in ones}


def run_search(
    question: Question,
    study: Study,
    trials: int,
    finalists: int,
    model: Model,
    pool: Pool,
    store: Store,
    watcher: Watcher | None = None,
    progress: Callable[[Tried | Verified], None] = lambda one: None,
) -> Search:
    """Search until ``trials`` candidates were tried; fine-tune the most promising fully; place the best of these.

    Parameters
    ----------
    question : Question
    study : Study
        Candidates that it knows count.
    trials : int
    finalists : int
        Candidates that are fine-tuned fully; again as many, up to three times, if none of them is an answer.
    model : Model
        Of the estimates.
    pool, store, watcher
        See :func:`~darb_hw.jobs.flow.outcomes`.
    progress : callable
        Called with what came of each candidate.

    Raises
    ------
    DarbError
        If the dense model cannot be trained, or cannot be compiled.
    """

    def all_of(flows: Sequence[Flow[_Value]]) -> list[_Value]:
        found: dict[int, _Value] = {}
        for number, value in outcomes(flows, pool, store, watcher):
            if isinstance(value, DarbError):
                raise value
            found[number] = value
            progress(value)
        return [found[number] for number in range(len(flows))]

    outcome(dense_files(question), pool, store, watcher)  # what no candidate can do without
    found, packed = Search(question, study.tried()), model.packed()
    size = min(trials, question.space.count)
    while len(found.tried) < size:
        asked = []
        known = [one.candidate for one in found.tried]
        for _ in range(min(ROUND, size - len(found.tried))):
            trial, candidate = study.ask([*known, *(candidate for _, candidate in asked)])
            asked.append((trial, candidate))
        try:
            for one in all_of([tried(candidate, question, packed) for _, candidate in asked]):
                study.tell(asked.pop(0)[0], one)
        finally:
            for trial, _ in asked:
                study.drop(trial)
        found.tried = study.tried()
    for _ in range(_ROUNDS):
        asked = 0
        while asked < finalists:
            # What the first ones gained says which of the others are promising.
            hopeful = promising(found.tried, found.known(found.finalists), question.wanted, found.correction)
            chosen = varied(hopeful)[: min(_GROUP, finalists - asked)]
            if not chosen:
                break
            found.finalists += all_of([finetuned(candidate, question, packed) for candidate in chosen])
            asked += len(chosen)
        while found.winner is None:
            # What was gained is in their losses.
            corrected = replace(found.correction, gained=0.0)
            chosen = promising(found.finalists, found.known(found.verified), question.wanted, corrected)[:1]
            if not chosen:
                break
            found.verified += all_of([verified(candidate, question, store) for candidate in chosen])
        if found.winner is not None:
            break
    return found
