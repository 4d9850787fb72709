"""The study of a question: Optuna's, in a storage of its own, so that a search goes on and several machines join it."""

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import Trial, TrialState

from darb_hw.search.question import Question
from darb_hw.search.space import Candidate
from darb_hw.search.trying import Tried
from darb_hw.search.wanted import Figures
from darb_prune.encoded import DarbError

__all__ = ["Study", "check_storage"]

_TRIED = "tried"
_WORST = 1e12
"""Stands for what is not known, since there is no engine."""


def _opened(storage: str) -> BaseStorage:
    if "://" in storage:
        return RDBStorage(storage)
    return JournalStorage(JournalFileBackend(storage))


@contextmanager
def _opening(storage: str) -> Iterator[None]:
    """Turn what goes wrong with a storage into one line."""
    try:
        yield
    except Exception as error:  # SQLAlchemy, its drivers and Optuna raise classes of their own
        line = str(error).strip().splitlines()[:1] or [type(error).__name__]
        raise DarbError(f"--storage {storage}: {line[0]}; give a file, or a URL such as sqlite:///search.db") from None


def check_storage(storage: str) -> None:
    """Raise :class:`DarbError` if a study cannot be kept there."""
    with _opening(storage):
        _opened(storage)


class Study:
    """Candidates to try, proposed by a tree-structured Parzen estimator that is told what came of the others.

    Both objectives, the aim and what it costs, are made less; bounds are constraints (Watanabe, 2023).

    Parameters
    ----------
    question : Question
    storage : str
        A file, or the URL of a database as SQLAlchemy reads it.
    seed : int
        Of the proposals.

    Raises
    ------
    DarbError
        If the file or the database cannot be opened.
    """

    def __init__(self, question: Question, storage: str, seed: int) -> None:
        self._question = question
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        with _opening(storage):
            self._study = optuna.create_study(
                storage=_opened(storage), study_name=f"darb-{question.digest[:16]}",
                directions=["minimize", "minimize"], load_if_exists=True,
            )  # fmt: skip
            before = len(self._study.trials)
        self._study.sampler = optuna.samplers.TPESampler(seed=seed + before, n_startup_trials=16)

    def tried(self) -> list[Tried]:
        """What was tried so far, by whatever machine, each candidate once."""
        trials = self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        found = [Tried.from_dict(json.loads(trial.user_attrs[_TRIED])) for trial in trials]
        return list({one.candidate: one for one in found}.values())

    def ask(self, known: Sequence[Candidate]) -> tuple[Trial, Candidate]:
        """A candidate to try: the one that is proposed, or if that is known, the nearest one that is not.

        Parameters
        ----------
        known : sequence of Candidate
            Fewer than there are.
        """
        trial = self._study.ask()
        proposed = self._proposed(trial)
        if proposed not in known:
            return trial, proposed
        self.drop(trial)
        self._study.enqueue_trial(self._question.space.nearest(proposed, set(known)))
        trial = self._study.ask()
        return trial, self._proposed(trial)

    def _proposed(self, trial: Trial) -> Candidate:
        steps = {}
        for name, choices in self._question.space.axes().items():
            if isinstance(choices[0], str):
                steps[name] = choices.index(trial.suggest_categorical(name, choices))
            else:
                steps[name] = trial.suggest_int(name, 0, len(choices) - 1)
        return self._question.space.candidate(steps)

    def tell(self, trial: Trial, result: Tried) -> None:
        """What came of a candidate."""
        wanted = self._question.wanted
        order, beyond = (_WORST, _WORST), {"engine": 1.0}
        if result.estimate is not None:
            figures = Figures.likely(result.estimate)
            beyond = {"engine": 0.0} | wanted.of_engine(figures)
            if result.loss is not None:
                order = wanted.order(figures, result.loss)
                beyond |= wanted.of_network(result.loss)
            else:
                beyond["engine"] = 0.5
        for name, share in beyond.items():
            trial.set_constraint(name, share if math.isfinite(share) else _WORST)
        trial.set_user_attr(_TRIED, json.dumps(result.as_dict()))
        self._study.tell(trial, list(order))

    def drop(self, trial: Trial) -> None:
        """A candidate will not be tried."""
        self._study.tell(trial, state=TrialState.FAIL)
