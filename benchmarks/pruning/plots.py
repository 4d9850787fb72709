"""The frontiers of a task as a picture: the metric against stored bits, and against cycles."""

import io

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks.axes import logarithmic
from benchmarks.pruning.comparison import COSTS, ComparedMethods
from darb_prune.studies.experiment.pictures import axis_text, references
from darb_prune.studies.experiment.plot import Line, limit_axis
from darb_prune.studies.experiment.results import mean, spread, tested

__all__ = ["frontiers"]

_MARKERS = "osD^vP*Xp<>h"


def _lines(comparison: ComparedMethods, cost: str) -> list[Line]:
    """The frontier of each method; it has no points where all cost too much."""
    results, value = comparison.results, COSTS[cost]

    def scaled(record: dict) -> float:
        return tested(record) * results.metric.scale

    return [
        Line(
            results.experiment.label(name), results.experiment.methods[name].method.name, name == comparison.subject,
            [(mean(records, value), spread(records, scaled)) for records in results.frontier(name, value)],
        )
        for name in results.experiment.frontiers
    ]  # fmt: skip


def _panel(axes: Axes, lines: list[Line], dense: float, cost: str) -> None:
    axes.axhline(dense, color="0.35", linewidth=1, label="dense")
    for index, line in enumerate(lines):
        if line.points:
            axes.errorbar(
                [x for x, _ in line.points], [y.mean for _, y in line.points],
                [y.deviation or 0.0 for _, y in line.points], marker=_MARKERS[index % len(_MARKERS)], markersize=5,
                linewidth=2.4 if line.bold else 1.2, capsize=2, elinewidth=0.8, zorder=3 if line.bold else 2,
                label=line.label, color=f"C{index % 10}", linestyle="-" if line.bold else "--",
            )  # fmt: skip
    logarithmic(axes, "{:,.0f}".format)
    axes.set_xlabel(f"{cost}{', 16 lanes' if cost == 'cycles' else ''}", fontsize=9)


def frontiers(comparison: ComparedMethods) -> bytes:
    """A PNG."""
    # Not pyplot: it would choose a window system.
    figure = Figure(figsize=(12, 4.6), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, sharey=True)
    metric, drawn = comparison.results.metric, {cost: _lines(comparison, cost) for cost in COSTS}
    dense, limit = references(comparison.results)
    for axes, (cost, lines) in zip((left, right), drawn.items(), strict=True):
        _panel(axes, lines, dense, cost)
    every = [line for lines in drawn.values() for line in lines]
    limit_axis(left, axis_text(metric), every, dense, limit, metric.higher)
    left.yaxis.label.set_fontsize(9)
    figure.suptitle(comparison.results.task.title, fontsize=10)
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", fontsize=8, frameon=False)
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=120, metadata={"Software": None})
    return image.getvalue()
