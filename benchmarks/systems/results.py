"""Figures of all runs: those of the committed file, and those of this machine."""

import json
import statistics
from collections.abc import Callable, Mapping, Sequence

from benchmarks.builds import ROOT
from benchmarks.systems.measure import path_of
from benchmarks.systems.subjects import SUBJECTS
from darb_prune.encoded import write_atomic
from darb_prune.studies.experiment.statistics import Spread

__all__ = ["FILE", "Record", "Results", "gather", "mean_of", "recorded", "spread_text"]

FILE = ROOT / "docs" / "results" / "systems.json"

Record = dict
"""Figures of a run (:func:`benchmarks.systems.measure.measure`)."""


class Results:
    """Figures of runs by subject, arm and seed.

    Parameters
    ----------
    runs : dict of str to dict of str to dict of str to dict
        Subject, arm, seed.
    """

    def __init__(self, runs: dict[str, dict[str, dict[str, Record]]]) -> None:
        self.runs = runs

    def of(self, subject: str, arm: str) -> dict[str, Record]:
        """Figures of each seed."""
        return self.runs.get(subject, {}).get(arm, {})

    def mean(self, subject: str, arm: str, value: Callable[[Record], float]) -> float | None:
        """Mean over the seeds; None if there are none."""
        records = self.of(subject, arm)
        return mean_of(records, value) if records else None

    def losses(self, subject: str, arm: str, against: str = "dense") -> list[float]:
        """What ``arm`` loses to ``against`` on the test split, of each seed that both have: above 0 is worse."""
        own, other = self.of(subject, arm), self.of(subject, against)
        lost = SUBJECTS[subject].metric.lost
        return [lost(own[seed]["integer"]["test"], other[seed]["integer"]["test"]) for seed in own if seed in other]


def recorded() -> dict[str, dict[str, dict[str, Record]]]:
    """The runs of the committed file."""
    return json.loads(FILE.read_text()) if FILE.is_file() else {}


def gather() -> Results:
    """All runs that there are; written into the committed file."""
    runs = recorded()
    for name, subject in SUBJECTS.items():
        for seed in range(10):
            for arm in subject.arms:
                path = path_of(subject.trial(seed), arm)
                if path.is_file():
                    runs.setdefault(name, {}).setdefault(arm.name, {})[str(seed)] = json.loads(path.read_text())
    write_atomic(FILE, (json.dumps(runs, indent=1) + "\n").encode())
    return Results(runs)


def mean_of(records: Mapping[str, Record], value: Callable[[Record], float]) -> float:
    """Mean over the seeds, of which there is one at least."""
    return statistics.fmean(value(record) for record in records.values())


def spread_text(values: Sequence[float], places: int, sign: bool = False) -> str:
    """``mean ± standard deviation``; the value alone if there is one."""
    return Spread.of(values).text(places, sign=sign) if values else "-"
