"""The frontiers of a task as a picture: the metric against stored bits, and against cycles."""

import io

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks.axes import logarithmic
from benchmarks.pruning.comparison import COSTS, ComparedMethods
from darb_prune.studies.experiment.results import mean, spread, tested
from darb_prune.studies.experiment.spec import DENSE

__all__ = ["frontiers"]

_MARKERS = "osD^vP*Xp<>h"


def _panel(axes: Axes, comparison: ComparedMethods, cost: str) -> None:
    results, value = comparison.results, COSTS[cost]
    metric = results.metric
    dense = mean(results.of(results.reference(DENSE)), tested) * metric.scale
    axes.axhline(dense, color="0.35", linewidth=1, label="dense")
    for index, name in enumerate(results.experiment.frontiers):
        points = results.frontier(name, value)
        if not points:
            continue
        spreads = [spread(records, tested) for records in points]
        ours = name == comparison.subject
        axes.errorbar(
            [mean(records, value) for records in points],
            [one.mean * metric.scale for one in spreads], [(one.deviation or 0.0) * metric.scale for one in spreads],
            marker=_MARKERS[index % len(_MARKERS)], markersize=5, linewidth=2.4 if ours else 1.2, capsize=2,
            elinewidth=0.8, zorder=3 if ours else 2, label=results.experiment.label(name), color=f"C{index % 10}",
            linestyle="-" if ours else "--",
        )  # fmt: skip
    logarithmic(axes, "{:,.0f}".format)
    axes.set_xlabel(f"{cost}{', 16 lanes' if cost == 'cycles' else ''}", fontsize=9)
    axes.set_ylabel(f"test {metric.name}" + (f", {metric.unit}" if metric.unit not in metric.name else ""), fontsize=9)


def frontiers(comparison: ComparedMethods) -> bytes:
    """A PNG."""
    # Not pyplot: it would choose a window system.
    figure = Figure(figsize=(12, 4.6), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, sharey=True)
    _panel(left, comparison, "stored bits")
    _panel(right, comparison, "cycles")
    figure.suptitle(comparison.results.task.title, fontsize=10)
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", fontsize=8, frameon=False)
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=120, metadata={"Software": None})
    return image.getvalue()
