"""The report of an experiment, finished or not: CSV, Markdown and plots from the records of its runs."""

from pathlib import Path

from darb_prune.files import write_files
from darb_prune.pruning.schedule import PruningSchedule
from darb_prune.studies.experiment.comparisons import LIMIT, against_irregular, at_equal_bits, frontiers, limits
from darb_prune.studies.experiment.grid import TOLERANCE, grid
from darb_prune.studies.experiment.pictures import pictures
from darb_prune.studies.experiment.results import ExperimentResults, mean, spread, stored, tested, variant_of
from darb_prune.studies.experiment.results_csv import results_csv
from darb_prune.studies.experiment.spec import DENSE, TUNED, WHOLE_BITS
from darb_prune.studies.experiment.statistics import Spread
from darb_prune.studies.markdown import table

__all__ = ["write"]


def write(results: ExperimentResults, folder: Path, command: str) -> None:
    """Write ``README.md``, ``results.csv`` and the plots, all or none.

    Parameters
    ----------
    results : ExperimentResults
    folder : pathlib.Path
    command : str
        What to say that gave the results.
    """
    files = {"README.md": _markdown(results, command), "results.csv": results_csv(results)}
    made: dict[str | Path, bytes] = {folder / name: text.encode() for name, text in files.items()}
    made |= {folder / name: image for name, image in pictures(results).items()}
    write_files(made)


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
        grid(results, lambda records: spread(records, tested).text(metric.places, metric.scale), True),
        f"In brackets: the ratio reached, where it is more than {TOLERANCE:.0%} off the one asked for.",
        f"![{metric.name} against pruning ratio](ratio.png)",
        "## Loss over dense, % relative",
        grid(results, lambda records: spread(records, results.loss).text(2, 100, sign=True)),
        "Of the dense model of the same seed, without further training; below 0: better than it.",
        "## Stored bits",
        grid(results, lambda records: _compressed(results, records)),
        "Weights, indices, fill and what each row needs, in the best-known encoding of each method, and the vectors of "
        f"symbols. In brackets: compression over the dense model, with {WHOLE_BITS} bits for each weight.",
        f"![{metric.name} against stored bits](bits.png)",
        f"## Largest ratio within {LIMIT:.0%} of dense",
        limits(results),
        against_irregular(results),
        at_equal_bits(results),
        frontiers(results),
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
    epochs = schedule.all_epochs
    versions = sorted({_pairs(record["versions"]) for record in results.records})
    rows = [
        ("dense training", _pairs(settings["training"])),
        ("pruning and fine-tuning", f"{epochs} epochs, the same for every method: {_pairs(schedule.model_dump())}"),
        ("distillation from the dense model", _pairs(settings["distillation"]) or "none"),
        ("seeds", ", ".join(map(str, results.experiment.seeds))),
        ("versions", "; ".join(versions)),
    ]
    methods = [(results.experiment.label(name), _options(results, name)) for name in results.experiment.methods]
    return "\n\n".join([table(("setting", "value"), rows), table(("method", "options"), methods)])


def _options(results: ExperimentResults, name: str) -> str:
    """The method of a table, with its options: also those that all methods have."""
    table = results.experiment.methods[name]
    given = next(run for run in results.planned if run.method == name).settings["pruning"]
    own = {"exclude", *type(table.method).model_fields, *table.schedule.explicit()}
    return _pairs({"method": given["method"], **{option: given[option] for option in given if option in own}})


def _pairs(values: dict) -> str:
    return ", ".join(f"{name} {_plain(value)}" for name, value in values.items())


def _plain(value: object) -> str:
    if isinstance(value, (list, tuple)):
        return " ".join(map(_plain, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _dense(results: ExperimentResults) -> str:
    metric = results.metric
    rows = []
    for variant in sorted({run.variant for run in results.planned if run.method in (DENSE, TUNED)}):
        records = results.of(variant)
        if records:
            spreads = [Spread.of([record["values"][split] for record in records]) for split in ("validation", "test")]
            bits = f"{mean(records, stored):,.0f}"
            label = variant.label(results.experiment)
            rows.append((label, bits, *(spread.text(metric.places, metric.scale) for spread in spreads)))
    return table(("", "stored bits", "validation", "test"), rows)


def _compressed(results: ExperimentResults, records: list[dict]) -> str:
    text = f"{mean(records, stored):,.0f}"
    known = [record for record in records if (results.reference(DENSE), None, record["seed"]) in results.done]
    return f"{text} ({mean(known, results.compression):.1f}x)" if known else text


def _failures(results: ExperimentResults) -> str:
    if not results.failed:
        return ""
    rows = [
        (variant_of(record).label(results.experiment), "" if record["asked"] is None else f"{record['asked']:g}x",
         str(record["seed"]), record["reason"])
        for record in results.failed
    ]  # fmt: skip
    return "## Failed\n\n" + table(("method", "ratio", "seed", "reason"), rows)
