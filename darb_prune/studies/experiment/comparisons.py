"""Methods set against each other: largest ratios, irregular pruning, equal stored bits, frontiers."""

from collections.abc import Callable
from dataclasses import replace

from darb_prune.studies.experiment.grid import grid
from darb_prune.studies.experiment.results import ExperimentResults, mean, ratio_of, spread, stored, tested, variant_of
from darb_prune.studies.experiment.spec import DENSE, TUNED, subject
from darb_prune.studies.experiment.statistics import Interval, Spread, best, largest, quotient
from darb_prune.studies.markdown import table

__all__ = ["BASELINES", "LIMIT", "against_irregular", "at_equal_bits", "frontiers", "limits", "within_limit"]

BASELINES = ("block", "structured", "rows", "columns", "nm", "bank")
"""Methods of pruning that count as the structured baselines DARB is divided by."""
LIMIT = 0.01


def limits(results: ExperimentResults) -> str:
    columns = (("dense", DENSE, ratio_of), (TUNED, TUNED, ratio_of), ("bits", DENSE, results.compression))
    texts: dict[str, list[str]] = {variant.method: [] for variant in results.plain}
    notes = []
    for what, reference, x in columns:
        intervals = within_limit(results, x, reference)
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
    text = table(header, [(results.experiment.label(name), *row) for name, row in texts.items()])
    text += (
        f"\n\nWhere the mean loss over the seeds first exceeds {LIMIT:.0%} of the dense metric: linear interpolation "
        'of the loss over the logarithm of the ratio, between the ratios measured. "> x": still within at the largest '
        'one measured; "< x": not even at the smallest. The third column compares with the dense model after the '
        "same fine-tuning; the last pair interpolates over compression in stored bits instead of the ratio."
    )
    if notes:
        text += f" Best structured baseline: {'; '.join(notes)}."
    return text


def within_limit(results: ExperimentResults, x: Callable[[dict], float], reference: str) -> dict[str, Interval]:
    """By method, of the reference's size and most bits: the largest ``x`` whose mean loss over a reference is within
    the limit."""
    known = {seed for variant, _, seed in results.done if variant == results.reference(reference)}
    intervals = {}
    for variant in results.plain:
        points = [
            [record for record in results.of(variant, ratio) if record["seed"] in known] for ratio in results.ratios
        ]
        points = [records for records in points if records]
        if points:
            losses = [mean(records, lambda record: results.loss(record, reference)) for records in points]
            intervals[variant.method] = largest([mean(records, x) for records in points], losses, LIMIT)
    return intervals


def against_irregular(results: ExperimentResults) -> str:
    other = results.irregular
    if other is None:
        return ""

    def cell(records: list[dict]) -> str:
        pairs = [
            (record, results.done.get((replace(variant_of(record), method=other), record["asked"], record["seed"])))
            for record in records
        ]
        gains = [results.gain(tested(record), tested(rival)) for record, rival in pairs if rival]
        return Spread.of(gains).text(results.metric.places, sign=True) if gains else ""

    return (
        f"## Against {results.experiment.label(other)} at equal ratio\n\n{grid(results, cell, True, other)}\n\n"
        f"Difference of the test metric{_unit(results)}, seed by seed; above 0: better. In brackets: "
        f"the ratio reached, where the pair is not at equal ratio. {_saliencies(results, other)}"
    )


def _saliencies(results: ExperimentResults, other: str) -> str:
    """A sentence that says which methods have another saliency than ``other``."""
    saliency = {run.method: run.saliency for run in results.planned if run.ratio is not None}
    different = [
        f"{results.experiment.label(name)} ({saliency[name]})"
        for name in results.experiment.methods
        if name in saliency and saliency[name] != saliency[other]
    ]
    text = f"Both sides have the saliency {saliency[other]}"
    if different:
        text += f", except for these, whose difference is also one of saliencies: {'; '.join(different)}"
    return f"{text}."


def _unit(results: ExperimentResults) -> str:
    return {"%": " in points", "": ""}.get(results.metric.unit, f" in {results.metric.unit}")


def at_equal_bits(results: ExperimentResults) -> str:
    ours = subject(results.experiment)
    if ours is None:
        return ""
    label, points = results.experiment.label(ours), results.frontier(ours)
    names = [name for name in results.experiment.frontiers if name != ours]
    rows = [
        (results.experiment.label(name), *(_gains_at_equal_bits(results, name, records) for records in points))
        for name in names
    ]
    if not points or not rows:
        return ""
    heads = [f"{_point(results, ours, records[0])} {mean(records, stored):,.0f}" for records in points]
    return (
        f"## {label} against the others at equal stored bits\n\n"
        + table((f"{label} at", *heads), rows)
        + f"\n\nTest metric{_unit(results)} of {label} minus that of the other (sign turned where lower is better, so "
        f"above 0: {label} is better), seed by seed, at points of {label} with their stored bits. Of both sides only "
        "points count that validation data choose: those better than all with no more stored bits. Between two of them "
        "the other is interpolated linearly over the logarithm of its stored bits; beyond its last one it stays as it "
        "is. A dash: it has none with so few bits."
    )


def _point(results: ExperimentResults, name: str, record: dict) -> str:
    """A point of a method, without its name."""
    bare = variant_of(record).label(results.experiment).removeprefix(results.experiment.label(name))
    ratio = "" if record["asked"] is None else f"{record['asked']:g}x"
    return ", ".join(part for part in (ratio, bare.removeprefix(", ")) if part)


def _gains_at_equal_bits(results: ExperimentResults, other: str, ours: list[dict]) -> str:
    values = [(record, results.at(other, record["seed"], record["bits"])) for record in ours]
    gains = [results.gain(tested(record), value) for record, value in values if value is not None]
    if not gains:
        return "–" if results.frontier(other) else ""
    return Spread.of(gains).text(results.metric.places, sign=True)


def frontiers(results: ExperimentResults) -> str:
    if len(results.variants) == len(results.experiment.frontiers):
        return ""
    metric, rows = results.metric, []
    for name in results.experiment.frontiers:
        for records in results.frontier(name):
            values = [
                spread(records, lambda record, split=split: record["values"][split]).text(metric.places, metric.scale)
                for split in ("validation", "test")
            ]
            point = _point(results, name, records[0])
            rows.append((results.experiment.label(name), point, f"{mean(records, stored):,.0f}", *values))
    return (
        "## Frontiers\n\n"
        + table(("method", "point", "stored bits", "validation", "test"), rows)
        + "\n\nOf each method the sizes, ratios and weight bits that are better on validation data than all with no "
        "more stored bits."
    )
