"""Pictures of the comparisons: the metric against stored bits."""

import io
import statistics
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks.axes import logarithmic
from benchmarks.systems.results import Results
from benchmarks.systems.subjects import SUBJECTS
from darb_prune.encoded import write_atomic

__all__ = ["bits"]

_WAYS = {
    "dense": "dense", "neurons gates": "gates", "channels gates": "gates", "neurons lasso": "group lasso",
    "channels slimming": "slimming", "neurons uniform": "uniform", "channels uniform": "uniform",
    "small": "small dense", "darb": "DARB", "neurons": "gates, then DARB", "channels": "gates, then DARB",
    "block terms": "block terms",
}  # fmt: skip
"""How names of arms begin, and the way of each."""
_MARKERS = "osD^vP*X<"


def _way(arm: str) -> str:
    if "parts" in arm:
        return "parts, then DARB" if "darb" in arm else "parts"
    return next(way for start, way in _WAYS.items() if arm.startswith(start))


def _panel(axes: Axes, results: Results, name: str, ways: list[str]) -> None:
    metric = SUBJECTS[name].metric
    for arm, records in results.runs[name].items():
        way = _way(arm)
        values = [metric.scale * record["integer"]["test"] for record in records.values()]
        axes.errorbar(
            statistics.fmean(record["stored_bits"] for record in records.values()), statistics.fmean(values),
            yerr=statistics.stdev(values) if len(values) > 1 else None, label=way, capsize=2, markersize=6,
            color=f"C{ways.index(way)}", marker=_MARKERS[ways.index(way) % len(_MARKERS)], linestyle="none",
        )  # fmt: skip
    axes.set_title(SUBJECTS[name].title, fontsize=9)
    logarithmic(axes, lambda value: f"{value / 1000:,.0f}")
    axes.set_ylabel(f"test, {metric.unit or metric.name}", fontsize=8)


def bits(results: Results, path: Path) -> None:
    """A panel for each network: the metric of the integers on the test split against stored bits."""
    names = [name for name in results.runs if SUBJECTS[name].system != "merged-tasks"]
    columns = 3
    lines = -(-len(names) // columns)
    # Not pyplot: it would choose a window system.
    figure = Figure(figsize=(13, 3.6 * lines), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(lines, columns, squeeze=False).flatten()
    ways = list(dict.fromkeys((*_WAYS.values(), "parts", "parts, then DARB")))
    labels = {}
    for panel, name in zip(panels, names, strict=False):
        _panel(panel, results, name, ways)
        labels |= dict(zip(*reversed(panel.get_legend_handles_labels()), strict=True))
    for panel in panels[len(names) :]:
        panel.set_axis_off()
    figure.supxlabel("stored bits, thousands", fontsize=9)
    figure.legend(labels.values(), labels.keys(), loc="outside upper center", ncols=6, fontsize=8)
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=110)
    write_atomic(path, image.getvalue())
