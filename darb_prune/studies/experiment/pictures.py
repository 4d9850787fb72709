"""The pictures of an experiment from its results: over pruning ratio, and over stored bits."""

from collections.abc import Sequence

from darb_prune.encoded.metrics import Metric
from darb_prune.studies.experiment.comparisons import LIMIT
from darb_prune.studies.experiment.plot import Line, plot
from darb_prune.studies.experiment.results import ExperimentResults, mean, ratio_of, spread, stored, tested
from darb_prune.studies.experiment.spec import DENSE, subject

__all__ = ["axis_text", "pictures", "references"]


def _apart(ticks: Sequence[float], least: float = 1.1) -> list[float]:
    """``ticks``, rising, without those too near one that comes before them to be read on a log axis."""
    shown: list[float] = []
    for tick in ticks:
        if all(max(tick, other) >= least * min(tick, other) for other in shown):
            shown.append(tick)
    return sorted(shown)


def axis_text(metric: Metric) -> str:
    """What the axis of a metric says."""
    return f"test {metric.name}" + (f", {metric.unit}" if metric.unit not in metric.name else "")


def references(results: ExperimentResults) -> tuple[float, float]:
    """What the dense model has on test data, and what is 1 % worse, in the unit shown."""
    metric = results.metric
    dense = mean(results.of(results.reference(DENSE)), tested) * metric.scale
    return dense, dense * (1 - LIMIT if metric.higher else 1 + LIMIT)


def pictures(results: ExperimentResults) -> dict[str, bytes]:
    if not results.of(results.reference(DENSE)):
        return {}
    metric = results.metric

    def scaled(record: dict) -> float:
        return tested(record) * metric.scale

    dense, limit = references(results)
    images = {}
    ours = subject(results.experiment)
    methods = results.experiment.methods
    asked = [run.ratio for run in results.planned if run.method == ours and run.ratio]
    by_ratio = [(one.method, results.curve(one, ratio_of, scaled)) for one in results.plain]
    by_bits = [
        (name, [(mean(records, stored), spread(records, scaled)) for records in results.frontier(name)])
        for name in results.experiment.frontiers
    ]
    for name, curves, label, ticks in (
        ("ratio.png", by_ratio, "pruning ratio (reached)", _apart([*asked, *results.ratios])),
        ("bits.png", by_bits, "stored bits", None),
    ):
        lines = [
            Line(results.experiment.label(method), methods[method].method.name, method == ours, points)
            for method, points in curves
        ]
        images[name] = plot(
            [line for line in lines if line.points], dense, limit, metric.higher, label, axis_text(metric),
            f"{results.task.title}\nmean and standard deviation over {len(results.experiment.seeds)} seeds", ticks,
        )  # fmt: skip
    return images
