"""The page docs/results/pruning.md, from the experiments beside it; `make experiments` runs those first."""

import csv
from pathlib import Path
from statistics import fmean

from benchmarks.command import command
from darb_prune import tasks
from darb_prune.encoded import metrics, write_atomic
from darb_prune.studies.experiment import spec
from darb_prune.studies.experiment.comparisons import BASELINES, LIMIT
from darb_prune.studies.experiment.statistics import Interval, Spread, best, largest, quotient
from darb_prune.studies.markdown import table

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "docs" / "results"
EXPERIMENTS = ("mnist", "chars", "fsdd")


class ComparedMethods:
    """One experiment's file and runs."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.spec = spec.load(ROOT / "examples" / "experiments" / f"{name}.toml")
        self.task = tasks.get(self.spec.task)
        self.metric = metrics.get(self.task.metric)
        with (FOLDER / name / "results.csv").open() as file:
            self.runs = [run for run in csv.DictReader(file) if run["state"] == "done"]

    def of(self, method: str, asked: float | None = None) -> dict[int, dict]:
        """Runs of a method, by seed."""
        text = "" if asked is None else f"{asked:g}"
        return {int(run["seed"]): run for run in self.runs if run["method"] == method and run["asked"] == text}

    def limits(self) -> dict[str, Interval]:
        """Largest ratio within the limit, by method."""
        limits = {}
        for name, method in self.spec.methods.items():
            points = [self.of(name, ratio).values() for ratio in method.ratios or self.spec.ratios]
            points = [runs for runs in points if runs]
            if points:
                ratios = [fmean(float(run["ratio"]) for run in runs) for runs in points]
                limits[name] = largest(
                    ratios, [fmean(float(run["loss_over_dense"]) for run in runs) for runs in points], LIMIT
                )
        return limits

    def saliency(self, method: str) -> str:
        """What a method takes a weight to be worth."""
        return next(run.saliency for run in spec.plan(self.spec, self.task) if run.method == method)

    def differences(self) -> list[list[str]]:
        """The subject against irregular pruning, seed by seed, at each ratio that both have.

        Where their saliencies are not alike, no difference is told: it would be one of saliencies.
        """
        ours = spec.subject(self.spec)
        assert ours is not None, f"{self.name}: no method of the experiment is its subject"
        saliencies = self.saliency(ours), self.saliency("irregular")
        rows = []
        for asked in self.spec.methods[ours].ratios or self.spec.ratios:
            mine, other = self.of(ours, asked), self.of("irregular", asked)
            seeds = sorted(mine.keys() & other.keys())
            if seeds:
                values = [[float(runs[seed]["test"]) for seed in seeds] for runs in (mine, other)]
                sign = 1 if self.metric.higher else -1
                gains = [sign * self.metric.scale * (a - b) for a, b in zip(*values, strict=True)]
                losses = [Spread.of([float(runs[seed]["loss_over_dense"]) for seed in seeds]) for runs in (mine, other)]
                row = [self.name, f"{asked:g}", str(len(seeds)), " / ".join(saliencies)]
                row += [Spread.of(tests).text(self.metric.places, self.metric.scale) for tests in values]
                alike = len(set(saliencies)) == 1
                row += [Spread.of(gains).text(self.metric.places, sign=True) if alike else "–"]
                rows.append(row + [loss.text(2, 100, sign=True) for loss in losses])
        return rows


def limits(experiments: list[ComparedMethods]) -> str:
    """A table of the largest ratios, methods x experiments."""
    names = list(dict.fromkeys(name for experiment in experiments for name in experiment.spec.methods))
    columns = [experiment.limits() for experiment in experiments]
    rows = [[name, *(column[name].text() if name in column else "" for column in columns)] for name in names]
    ratios = ["**darb / best structured baseline**"]
    for experiment, column in zip(experiments, columns, strict=True):
        methods = experiment.spec.methods
        strongest = best({name: value for name, value in column.items() if methods[name].method.name in BASELINES})
        assert strongest is not None, f"{experiment.name}: no baseline has runs"
        name, value = strongest
        text = quotient(column["darb"], value).text(2)
        ratios.append(f"**{text}** ({name})" if text != "–" else "–")
    return table(["method", *(experiment.name for experiment in experiments)], [*rows, ratios])


def page() -> str:
    """The text of docs/results/pruning.md."""
    experiments = [ComparedMethods(name) for name in EXPERIMENTS]
    head = [
        "task",
        "ratio",
        "seeds",
        "saliency",
        "darb",
        "irregular",
        "darb better by",
        "darb, loss over dense, %",
        "irregular, loss over dense, %",
    ]
    rows = [row for experiment in experiments for row in experiment.differences()]
    pages = ", ".join(f"[{name}]({name}/README.md)" for name in EXPERIMENTS)
    return f"""# Pruning: what holds over all tasks

`make experiments` runs the experiments and writes this page from their results. Each has a page of its own, with
settings, all methods, comparison at equal stored bits, and plots:
{pages}.

## Largest pruning ratio within {LIMIT:.0%} of dense (relative)

{limits(experiments)}
Interpolated between measured ratios over the mean of the seeds, as the pages of the experiments say. "<": not even
at the least ratio measured; ">": still at the largest; "–": not known. Baselines: block, structured, N:M,
bank-balanced. The DARB paper claims 2.8 to 4.3 for its own networks and baselines, which are not these.

## DARB against irregular pruning, same training

{table(head, rows)}
Saliency: what a weight is taken to be worth, by DARB / by irregular pruning ([pruning](../pruning.md) has all of them).
Only rows with the same saliency on both sides set like against like. The others show what each method reached; they say
nothing about which pattern is better, so no difference is given.

Differences are taken seed by seed; above 0: DARB is better. Loss is relative to the dense model of the same seed,
above 0: worse than it.
"""


def main() -> None:
    """Write docs/results/pruning.md from the experiments beside it. They are run by [bold]make experiments[/bold].

    Example:

    [bold]python -m benchmarks.pruning[/bold]
    """
    write_atomic(FOLDER / "pruning.md", page().encode())


app = command(main)

if __name__ == "__main__":
    app()
