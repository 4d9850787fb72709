"""The report of an experiment, finished or not: CSV, Markdown and plots from the records of its runs."""

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from darb_prune import tasks
from darb_prune.encoded import metrics
from darb_prune.files import write_files
from darb_prune.pruning.methods import Irregular
from darb_prune.pruning.schedule import PruningSchedule
from darb_prune.studies.experiment.plot import Line, plot
from darb_prune.studies.experiment.run import finished
from darb_prune.studies.experiment.spec import DENSE, TUNED, Experiment, PlannedRun, plan, subject
from darb_prune.studies.experiment.statistics import Interval, Spread, best, interpolate, largest, quotient
from darb_prune.studies.markdown import table

__all__ = ["BASELINES", "ExperimentResults", "collect", "write"]

BASELINES = ("block", "structured", "rows", "columns", "nm", "bank")
"""Methods of pruning that count as the structured baselines DARB is divided by."""
LIMIT = 0.01
COLUMNS = (
    "task", "method", "label", "seed", "asked", "state", "ratio", "weights", "kept", "stored_bits", "bits_per_weight",
    "validation", "test", "loss_over_dense", "kept_share_of_layers", "seconds", "reason",
)  # fmt: skip
TOLERANCE = 0.05
"""A reached ratio this much off the one asked for is shown."""


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
    def done(self) -> dict[tuple[str, float | None, int], dict]:
        """Records of runs that were, by method, ratio asked for and seed."""
        return {
            (record["method"], record["asked"], record["seed"]): record
            for record in self.records
            if record["state"] == "done"
        }

    @property
    def ratios(self) -> list[float]:
        """All ratios asked for, rising."""
        return sorted({run.ratio for run in self.planned if run.ratio is not None})

    def of(self, method: str, ratio: float | None = None) -> list[dict]:
        """Finished records of a method, one a seed."""
        return [record for (name, asked, _), record in self.done.items() if (name, asked) == (method, ratio)]

    def loss(self, record: dict, reference: str = DENSE) -> float:
        """Relative loss of the test metric over the dense model of the same seed."""
        dense = self.done[reference, None, record["seed"]]
        return metrics.loss_over(self.task.metric, record["values"]["test"], dense["values"]["test"])

    def gain(self, value: float, rival: float) -> float:
        """How much better ``value`` is than ``rival``, in the unit shown."""
        return (value - rival if self.metric.higher else rival - value) * self.metric.scale

    def curve(self, method: str, x: Callable[[dict], float], y: Callable[[dict], float]) -> list[tuple[float, Spread]]:
        """``(mean x, Spread of y)`` at each ratio with a finished run."""
        points = [records for ratio in self.ratios if (records := self.of(method, ratio))]
        return [(_mean(records, x), _spread(records, y)) for records in points]

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


def _compression(record: dict) -> float:
    """Bits of the dense weights per stored bit."""
    return record["weights"] * record["settings"]["weight_bits"] / record["bits"]


def _bits(record: dict) -> float:
    """Stored bits per weight of the dense model."""
    return record["bits"] / record["weights"]


def _ratio(record: dict) -> float:
    return record["ratio"]


def _test(record: dict) -> float:
    return record["values"]["test"]


def write(results: ExperimentResults, folder: Path, command: str) -> None:
    """Write ``README.md``, ``results.csv`` and the plots, all or none.

    Parameters
    ----------
    results : ExperimentResults
    folder : pathlib.Path
    command : str
        What to say that gave the results.
    """
    files = {"README.md": _markdown(results, command), "results.csv": _csv(results)}
    made: dict[str | Path, bytes] = {folder / name: text.encode() for name, text in files.items()}
    made |= {folder / name: image for name, image in _plots(results).items()}
    write_files(made)


# --- CSV


def _csv(results: ExperimentResults) -> str:
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(COLUMNS)
    for record in results.records:
        start = [results.task.name, record["method"], results.experiment.label(record["method"]), record["seed"]]
        start += ["" if record["asked"] is None else f"{record['asked']:g}", record["state"]]
        if record["state"] == "done":
            loss = f"{results.loss(record):.6f}" if (DENSE, None, record["seed"]) in results.done else ""
            layers = " ".join(f"{name}={share:.4f}" for name, share in record["layers"].items())
            start += [
                f"{record['ratio']:.4f}",
                record["weights"],
                record["kept"],
                record["bits"],
                f"{_bits(record):.5f}",
            ]
            start += [f"{record['values'][split]:.6f}" for split in ("validation", "test")]
            start += [loss, layers, record["seconds"], ""]
        else:
            start += [""] * 9 + [record["seconds"], record["reason"]]
        rows.writerow(start)
    return text.getvalue()


# --- Markdown


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return table(header, rows).rstrip("\n")  # parts are joined by empty lines


def _markdown(results: ExperimentResults, command: str) -> str:
    experiment, metric = results.experiment, results.metric
    seeds = len(experiment.seeds)
    parts = [
        f"# {experiment.name}: {results.task.title}",
        f"`{command}` writes this page. {_state(results)}",
        f"Metric: {metric.name}{f' in {metric.unit}' if metric.unit not in metric.name else ''}, "
        f"{'higher' if metric.higher else 'lower'} is better; on the test split, which is read once a run, after its "
        f"last epoch, and chooses nothing. Mean ± standard deviation over {seeds} seed{'s' * (seeds > 1)}.",
        _settings(results),
        "## Dense",
        _dense(results),
        f"## Test {metric.name}",
        _grid(results, lambda records: _spread(records, _test).text(metric.places, metric.scale), True),
        f"In brackets: the ratio reached, where it is more than {TOLERANCE:.0%} off the one asked for.",
        f"![{metric.name} against pruning ratio](ratio.png)",
        "## Loss over dense, % relative",
        _grid(results, lambda records: _spread(records, results.loss).text(2, 100, sign=True)),
        "Of the dense model of the same seed, without further training; below 0: better than it.",
        "## Stored bits per dense weight",
        _grid(results, lambda records: f"{_mean(records, _bits):.3f} ({_mean(records, _compression):.1f}x)"),
        f"Weights of {experiment.weight_bits} bits, indices, fill and what each row needs, in the best-known encoding "
        f"of each method. In brackets: compression over {experiment.weight_bits} bits a weight.",
        f"![{metric.name} against stored bits](bits.png)",
        f"## Largest ratio within {LIMIT:.0%} of dense",
        _limits(results),
        _against_irregular(results),
        _at_equal_bits(results),
        _failures(results),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _state(results: ExperimentResults) -> str:
    done, failed, total = len(results.done), len(results.failed), len(results.planned)
    text = f"{done} of {total} runs done" + (f", {failed} failed" if failed else "")
    if done + failed < total:
        text += f"; **unfinished: {total - done - failed} missing**"
    hours = sum(record["seconds"] for record in results.records) / 3600
    spent = f"{hours:.1f} hours" if hours >= 1 else f"{60 * hours:.1f} minutes"
    return f"{text}; {spent} of one core."


def _settings(results: ExperimentResults) -> str:
    settings = next(run for run in results.planned if run.method == TUNED).settings
    schedule = PruningSchedule.take(dict(settings["pruning"]))
    epochs = (schedule.steps - 1) * schedule.epochs + schedule.final_epochs
    versions = sorted({_pairs(record["versions"]) for record in results.records})
    rows = [
        ("dense training", _pairs(settings["training"])),
        ("pruning and fine-tuning", f"{epochs} epochs, the same for every method: {_pairs(schedule.model_dump())}"),
        ("distillation from the dense model", _pairs(settings["distillation"]) or "none"),
        ("seeds", ", ".join(map(str, results.experiment.seeds))),
        ("versions", "; ".join(versions)),
    ]
    methods = [
        (results.experiment.label(name), _pairs(table.options() | results.task.method_options | table.options()))
        for name, table in results.experiment.methods.items()
    ]
    return "\n\n".join([_table(("setting", "value"), rows), _table(("method", "options"), methods)])


def _pairs(values: dict) -> str:
    return ", ".join(f"{name} {_plain(value)}" for name, value in values.items())


def _plain(value: object) -> str:
    if isinstance(value, (list, tuple)):
        return " ".join(map(_plain, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _dense(results: ExperimentResults) -> str:
    metric = results.metric
    rows = []
    for name in (DENSE, TUNED):
        records = results.of(name)
        spreads = [
            Spread.of([record["values"][split] for record in records]) for split in ("validation", "test") if records
        ]
        rows.append((name, *(spread.text(metric.places, metric.scale) for spread in spreads)))
    return _table(("", "validation", "test"), [row for row in rows if len(row) > 1])


def _spread(records: list[dict], value: Callable[[dict], float]) -> Spread:
    return Spread.of([value(record) for record in records])


def _mean(records: list[dict], value: Callable[[dict], float]) -> float:
    return _spread(records, value).mean


def _grid(
    results: ExperimentResults, cell: Callable[[list[dict]], str], reached: bool = False, without: str | None = None
) -> str:
    """Methods by ratios; ``cell`` writes the records of one method and ratio."""
    failed = {(record["method"], record["asked"]) for record in results.failed}
    rows = []
    for name in results.experiment.methods:
        if name == without:
            continue
        row = [results.experiment.label(name)]
        for asked in results.ratios:
            records = results.of(name, asked)
            text = cell(records) if records else "failed" if (name, asked) in failed else ""
            if records and reached and abs(_mean(records, _ratio) / asked - 1) > TOLERANCE:
                text += f" ({_mean(records, _ratio):.1f}x)"
            if records and len(records) < len(results.experiment.seeds):
                text += f" [{len(records)} of {len(results.experiment.seeds)}]"
            row.append(text)
        rows.append(row)
    return _table(("method", *(f"{ratio:g}x" for ratio in results.ratios)), rows)


def _limits(results: ExperimentResults) -> str:
    columns = (("dense", DENSE, _ratio), (TUNED, TUNED, _ratio), ("bits", DENSE, _compression))
    texts: dict[str, list[str]] = {name: [] for name in results.experiment.methods}
    notes = []
    for what, reference, x in columns:
        intervals = _intervals(results, x, reference)
        baselines = {
            name: interval
            for name, interval in intervals.items()
            if results.experiment.methods[name].method.name in BASELINES
        }
        rival = best(baselines)
        if rival:
            words = {"bits": "in stored bits"}.get(what, f"against {what}")
            notes.append(f"{results.experiment.label(rival[0])} ({rival[1].text()}x) {words}")
        for name, row in texts.items():
            interval = intervals.get(name)
            row.append("" if interval is None else interval.text())
            if interval is None or rival is None or name in baselines:
                row.append("")
            else:
                row.append(quotient(interval, rival[1]).text(2))
    header = ("method", "ratio", "/ best baseline", "ratio, of dense fine-tuned as well", "/ best baseline")
    header += ("compression in bits", "/ best baseline")
    text = _table(header, [(results.experiment.label(name), *row) for name, row in texts.items()])
    text += (
        f"\n\nWhere the mean loss over the seeds first exceeds {LIMIT:.0%} of the dense metric: linear interpolation "
        'of the loss over the logarithm of the ratio, between the ratios measured. "> x": still within at the largest '
        'one measured; "< x": not even at the smallest. The third column compares with the dense model after the '
        "same fine-tuning; the last pair interpolates over compression in stored bits instead of the ratio."
    )
    if notes:
        text += f" Best structured baseline: {'; '.join(notes)}."
    return text


def _intervals(results: ExperimentResults, x: Callable[[dict], float], reference: str) -> dict[str, Interval]:
    known = {seed for name, _, seed in results.done if name == reference}
    intervals = {}
    for name in results.experiment.methods:
        points = [[record for record in results.of(name, ratio) if record["seed"] in known] for ratio in results.ratios]
        points = [records for records in points if records]
        if points:
            losses = [_mean(records, lambda record: results.loss(record, reference)) for records in points]
            intervals[name] = largest([_mean(records, x) for records in points], losses, LIMIT)
    return intervals


def _against_irregular(results: ExperimentResults) -> str:
    other = results.irregular
    if other is None:
        return ""

    def cell(records: list[dict]) -> str:
        pairs = [(record, results.done.get((other, record["asked"], record["seed"]))) for record in records]
        gains = [results.gain(_test(record), _test(rival)) for record, rival in pairs if rival]
        return Spread.of(gains).text(results.metric.places, sign=True) if gains else ""

    return (
        f"## Against {results.experiment.label(other)} at equal ratio\n\n{_grid(results, cell, True, other)}\n\n"
        f"Difference of the test metric{_unit(results)}, seed by seed; above 0: better. In brackets: "
        f"the ratio reached, where the pair is not at equal ratio. {_saliencies(results, other)}"
    )


def _saliencies(results: ExperimentResults, other: str) -> str:
    """A sentence that says which methods have another saliency than ``other``."""
    saliency = {run.method: run.saliency for run in results.planned if run.ratio is not None}
    different = [
        f"{results.experiment.label(name)} ({saliency[name]})"
        for name in results.experiment.methods
        if saliency[name] != saliency[other]
    ]
    text = f"Both sides have the saliency {saliency[other]}"
    if different:
        text += f", except for these, whose difference is also one of saliencies: {'; '.join(different)}"
    return f"{text}."


def _unit(results: ExperimentResults) -> str:
    return {"%": " in points", "": ""}.get(results.metric.unit, f" in {results.metric.unit}")


def _at_equal_bits(results: ExperimentResults) -> str:
    ours = subject(results.experiment)
    if ours is None:
        return ""
    label, rows = results.experiment.label(ours), []
    asked = [ratio for ratio in results.ratios if results.of(ours, ratio)]
    for name in results.experiment.methods:
        if name != ours:
            cells = (_gains_at_equal_bits(results, name, results.of(ours, ratio)) for ratio in asked)
            rows.append((results.experiment.label(name), *cells))
    if not asked or not rows:
        return ""
    bits = ("stored bits per dense weight", *(f"{_mean(results.of(ours, ratio), _bits):.3f}" for ratio in asked))
    return (
        f"## {label} against the others at equal stored bits\n\n"
        + _table((f"{label} at", *(f"{ratio:g}x" for ratio in asked)), [bits, *rows])
        + f"\n\nTest metric{_unit(results)} of {label} minus that of the other (sign turned where lower is better, so "
        f"above 0: {label} is better), seed by seed, at the stored bits of {label}; the other is interpolated "
        "linearly over the logarithm of its stored bits. A dash: outside of what was measured."
    )


def _gains_at_equal_bits(results: ExperimentResults, other: str, ours: list[dict]) -> str:
    gains = []
    for record in ours:
        rivals = [rival for (name, _, seed), rival in results.done.items() if (name, seed) == (other, record["seed"])]
        if not rivals:
            continue
        value = interpolate(record["bits"], [rival["bits"] for rival in rivals], [_test(rival) for rival in rivals])
        if value is None:
            return "–"
        gains.append(results.gain(_test(record), value))
    return Spread.of(gains).text(results.metric.places, sign=True) if gains else ""


def _failures(results: ExperimentResults) -> str:
    if not results.failed:
        return ""
    rows = [
        (results.experiment.label(record["method"]), "" if record["asked"] is None else f"{record['asked']:g}x",
         str(record["seed"]), record["reason"])
        for record in results.failed
    ]  # fmt: skip
    return "## Failed\n\n" + _table(("method", "ratio", "seed", "reason"), rows)


# --- plots


def _apart(ticks: Sequence[float], least: float = 1.1) -> list[float]:
    """Rising ``ticks`` without those too near the one before to be read on a log axis."""
    shown: list[float] = []
    for tick in ticks:
        if not shown or tick >= least * shown[-1]:
            shown.append(tick)
    return shown


def _plots(results: ExperimentResults) -> dict[str, bytes]:
    if not results.of(DENSE):
        return {}
    metric = results.metric

    def scaled(record: dict) -> float:
        return _test(record) * metric.scale

    dense = _mean(results.of(DENSE), scaled)
    limit = dense * (1 - LIMIT if metric.higher else 1 + LIMIT)
    images = {}
    ours = subject(results.experiment)
    for name, x, label, ticks in (
        ("ratio.png", _ratio, "pruning ratio (reached)", _apart(results.ratios)),
        ("bits.png", _bits, "stored bits per dense weight", None),
    ):
        lines = [
            Line(
                results.experiment.label(method), options.method.name, method == ours, results.curve(method, x, scaled)
            )
            for method, options in results.experiment.methods.items()
        ]
        what = f"test {metric.name}" + (f", {metric.unit}" if metric.unit not in metric.name else "")
        images[name] = plot(
            [line for line in lines if line.points], dense, limit, metric.higher, label, what,
            f"{results.task.title}\nmean and standard deviation over {len(results.experiment.seeds)} seeds", ticks,
        )  # fmt: skip
    return images
