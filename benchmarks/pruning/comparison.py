"""One experiment as it was measured, and who is ahead at the cost of DARB."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from benchmarks.builds import ROOT
from benchmarks.pruning import cycles
from darb_prune import tasks
from darb_prune.studies.experiment import spec
from darb_prune.studies.experiment.results import ExperimentResults, stored, tested
from darb_prune.studies.experiment.results_csv import read_csv
from darb_prune.studies.experiment.statistics import Spread

__all__ = ["COSTS", "FOLDER", "RATIO", "ComparedMethods", "Gain"]

FOLDER = ROOT / "docs" / "results"
RATIO = 13.0
"""Methods are compared at what DARB costs at this ratio, of the task's own size and 8 bits; where an experiment has
no such, at the largest one below."""


def _cycles(record: dict) -> float:
    return record["cycles"]


COSTS: dict[str, Callable[[dict], float]] = {"stored bits": stored, "cycles": _cycles}


@dataclass(frozen=True)
class Gain:
    """How far DARB is ahead of a rival at equal cost, each at its best.

    Parameters
    ----------
    rival : str
        Its label.
    value : Spread
        Of the rival, in the unit of the metric.
    gain : Spread
        Seed by seed, in the unit shown; above 0: DARB is better.
    """

    rival: str
    value: Spread
    gain: Spread

    @property
    def verdict(self) -> str:
        """``ahead``, ``level`` if the difference is within its spread, or ``behind``."""
        within = abs(self.gain.mean) <= (self.gain.deviation or 0.0)
        return "level" if within else "ahead" if self.gain.mean > 0 else "behind"


@dataclass(frozen=True, eq=False)
class ComparedMethods:
    """An experiment and its runs.

    Parameters
    ----------
    name : str
    results : ExperimentResults
        Records have ``cycles``, ``inf`` where the engine does not run the network.
    """

    name: str
    results: ExperimentResults

    @classmethod
    def load(cls, name: str) -> "ComparedMethods":
        """From the files in ``examples/experiments`` and ``docs/results``."""
        experiment = spec.load(ROOT / "examples" / "experiments" / f"{name}.toml")
        task = tasks.get(experiment.task)
        known = cycles.read(FOLDER / name / "cycles.csv")
        records = read_csv(FOLDER / name / "results.csv")
        records = [record | {"cycles": known.get(cycles.key_of(record), math.inf)} for record in records]
        return cls(name, ExperimentResults(experiment, task, spec.plan(experiment, task), records))

    @property
    def subject(self) -> str:
        ours = spec.subject(self.results.experiment)
        assert ours is not None, f"{self.name}: no method of the experiment is its subject"
        return ours

    @property
    def ratio(self) -> float:
        """Of the subject, where methods are compared."""
        asked = [run.ratio for run in self.results.planned if run.method == self.subject and run.ratio]
        return max(ratio for ratio in asked if ratio <= RATIO)

    @property
    def size(self) -> float:
        """Of the subject, where methods are compared: the share of the task's units."""
        return self._plain.size

    @property
    def _plain(self) -> spec.MethodVariant:
        return next(one for one in self.results.plain if one.method == self.subject)

    @cached_property
    def at(self) -> list[dict]:
        """Records of the subject whose cost is that of all, one a seed."""
        return self.results.of(self._plain, self.ratio)

    def ours(self, cost: str) -> Spread | None:
        """What the subject reaches at its best for that cost."""
        values = [self._value(self.subject, record, cost) for record in self.at]
        known = [value for value in values if value is not None]
        return Spread.of(known) if known else None

    def gains(self, cost: str) -> list[Gain]:
        """Against every rival that has a point of that cost, the strongest first."""
        found = []
        for name in self.results.experiment.frontiers:
            pairs = [(self._value(self.subject, one, cost), self._value(name, one, cost)) for one in self.at]
            known = [(mine, other) for mine, other in pairs if mine is not None and other is not None]
            if name != self.subject and known:
                gain = Spread.of([self.results.gain(mine, other) for mine, other in known])
                values = Spread.of([other for _, other in known])
                found.append(Gain(self.results.experiment.label(name), values, gain))
        return sorted(found, key=lambda one: one.gain.mean)

    def _value(self, method: str, record: dict, cost: str) -> float | None:
        budget = COSTS[cost](record)
        return self.results.at(method, record["seed"], budget, COSTS[cost]) if math.isfinite(budget) else None

    def lost(self, ratio: float) -> Spread | None:
        """Least loss over the dense model of the same size at a ratio, of all sizes of the subject, as a share."""
        found, ours = [], self.results.experiment.frontiers[self.subject]
        for variant in self.results.variants:
            dense = spec.MethodVariant(spec.DENSE, variant.size)
            whole = {record["seed"]: record for record in self.results.of(dense)}
            mine = [record for record in self.results.of(variant, ratio) if record["seed"] in whole]
            if variant.method in ours and mine:
                sign = -1 if self.results.metric.higher else 1
                found.append(Spread.of([sign * (tested(one) / tested(whole[one["seed"]]) - 1) for one in mine]))
        return min(found, key=lambda one: one.mean) if found else None
