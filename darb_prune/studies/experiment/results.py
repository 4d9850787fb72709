"""What there is of an experiment: records by variant, ratio and seed, and what they say of each method."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from darb_prune import tasks
from darb_prune.encoded import metrics
from darb_prune.pareto import pareto
from darb_prune.pruning.methods import Irregular
from darb_prune.studies.experiment.run import finished
from darb_prune.studies.experiment.spec import DENSE, TUNED, Experiment, MethodVariant, PlannedRun, plan
from darb_prune.studies.experiment.statistics import Spread, interpolate

__all__ = ["ExperimentResults", "collect", "mean", "ratio_of", "spread", "stored", "tested", "variant_of"]


def variant_of(record: dict) -> MethodVariant:
    return MethodVariant(record["method"], record["size"], record["weight_bits"])


def stored(record: dict) -> float:
    return record["bits"]


@dataclass(frozen=True, eq=False)
class ExperimentResults:
    """An experiment and what there is of it.

    Parameters
    ----------
    experiment : Experiment
    task : Task
    planned : list of PlannedRun
    records : list of dict
        Of the planned runs that have one, in the same order.
    """

    experiment: Experiment
    task: tasks.Task
    planned: list[PlannedRun]
    records: list[dict]

    @property
    def metric(self) -> metrics.Metric:
        """Of the task."""
        return metrics.get(self.task.metric)

    @property
    def failed(self) -> list[dict]:
        """Records of runs that could not be done."""
        return [record for record in self.records if record["state"] == "failed"]

    @cached_property
    def done(self) -> dict[tuple[MethodVariant, float | None, int], dict]:
        """Records of runs that were, by variant, ratio asked for and seed."""
        return {
            (variant_of(record), record["asked"], record["seed"]): record
            for record in self.records
            if record["state"] == "done"
        }

    @cached_property
    def variants(self) -> list[MethodVariant]:
        """What the file asks for: without the references, and without models that are rounded later."""
        asked = [run.variant for run in self.planned if run.method in self.experiment.methods]
        return list(dict.fromkeys(one for one in asked if bool(one.bits) == bool(self.experiment.bits)))

    @property
    def plain(self) -> list[MethodVariant]:
        """Those of the reference's size, with the most bits, that are pruned."""
        like = self.experiment.size, self.experiment.bits
        pruned = {run.variant for run in self.planned if run.ratio is not None}
        return [one for one in self.variants if (one.size, one.bits) == like and one in pruned]

    @cached_property
    def ratios(self) -> list[float]:
        """All ratios asked for, rising."""
        return sorted({run.ratio for run in self.planned if run.ratio is not None})

    def reference(self, name: str) -> MethodVariant:
        """The dense model that losses are over; or the one that was fine-tuned, and rounded, like all others."""
        return MethodVariant(name, self.experiment.size, self.experiment.bits if name == TUNED else 0)

    @cached_property
    def _points(self) -> dict[tuple[MethodVariant, float | None], list[dict]]:
        points: dict[tuple[MethodVariant, float | None], list[dict]] = {}
        for (variant, asked, _), record in self.done.items():
            points.setdefault((variant, asked), []).append(record)
        return points

    def of(self, variant: MethodVariant, ratio: float | None = None) -> list[dict]:
        """Finished records of a variant, one a seed."""
        return self._points.get((variant, ratio), [])

    def loss(self, record: dict, reference: str = DENSE) -> float:
        """Relative loss of the test metric over the dense model of the same seed."""
        dense = self.done[self.reference(reference), None, record["seed"]]
        return metrics.loss_over(self.task.metric, record["values"]["test"], dense["values"]["test"])

    def gain(self, value: float, rival: float) -> float:
        """How much better ``value`` is than ``rival``, in the unit shown."""
        return (value - rival if self.metric.higher else rival - value) * self.metric.scale

    def compression(self, record: dict) -> float:
        """Stored bits of the dense model, with weights of 8 bits, per stored bit."""
        return self.done[self.reference(DENSE), None, record["seed"]]["bits"] / record["bits"]

    def curve(
        self, variant: MethodVariant, x: Callable[[dict], float], y: Callable[[dict], float]
    ) -> list[tuple[float, Spread]]:
        """``(mean x, Spread of y)`` at each ratio with a finished run."""
        points = [records for ratio in self.asked if (records := self.of(variant, ratio))]
        return [(mean(records, x), spread(records, y)) for records in points]

    @property
    def asked(self) -> list[float | None]:
        """All ratios, and ``None`` before them if something is measured that is not pruned."""
        return [
            *([None] if set(self.variants) - {run.variant for run in self.planned if run.ratio} else []),
            *self.ratios,
        ]

    def frontier(self, method: str, cost: Callable[[dict], float] = stored) -> list[list[dict]]:
        """The points of a method, of all its tables, sizes, ratios and bits, that are better on *validation* data than
        all that cost no more: records of each, by rising cost. What costs ``inf`` does not count."""
        variants = [one for one in self.variants if one.method in self.experiment.frontiers[method]]
        points = [records for one in variants for ratio in self.asked if (records := self.of(one, ratio))]
        points = [records for records in points if all(map(math.isfinite, map(cost, records)))]
        sign = 1 if self.metric.higher else -1
        gains = [sign * mean(records, lambda record: record["values"]["validation"]) for records in points]
        costs = [mean(records, cost) for records in points]
        return [points[index] for index in pareto(list(zip(costs, gains, strict=True)))]

    def at(self, method: str, seed: int, budget: float, cost: Callable[[dict], float] = stored) -> float | None:
        """The test metric that a method reaches with a seed for a cost: along its frontier, linear over the logarithm
        of the cost; that of the last point beyond it. ``None`` if all its points cost more."""
        mine = [record for records in self.frontier(method, cost) for record in records if record["seed"] == seed]
        if not mine:
            return None
        costs = [cost(record) for record in mine]
        return interpolate(min(budget, max(costs)), costs, [tested(record) for record in mine])

    @property
    def irregular(self) -> str | None:
        """The first method that prunes irregularly."""
        methods = self.experiment.methods.items()
        return next((name for name, table in methods if isinstance(table.method, Irregular)), None)


def collect(experiment: Experiment, work: Path) -> ExperimentResults:
    """What the folder ``work`` holds of ``experiment``; records of other settings do not count."""
    task = tasks.get(experiment.task)
    planned = plan(experiment, task)
    records = [record for run in planned if (record := finished(run, work))]
    return ExperimentResults(experiment, task, planned, records)


def ratio_of(record: dict) -> float:
    return record["ratio"]


def tested(record: dict) -> float:
    return record["values"]["test"]


def spread(records: list[dict], value: Callable[[dict], float]) -> Spread:
    return Spread.of([value(record) for record in records])


def mean(records: list[dict], value: Callable[[dict], float]) -> float:
    return spread(records, value).mean
