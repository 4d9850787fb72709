"""The pictures of an experiment: a metric against pruning ratio or stored bits, one line a method."""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

from darb_prune.studies.experiment.statistics import Spread

__all__ = ["Line", "limit_axis", "plot"]

_OURS = ("darb", "mixed", "bmwm")
_MARKERS = "osD^vP*Xp<>h"


@dataclass(frozen=True)
class Line:
    """One method.

    Parameters
    ----------
    label : str
    method : str
        Of pruning: irregular is drawn in black, DARB and its kin with solid lines, the others dashed.
    bold : bool
    points : sequence of (float, Spread)
    """

    label: str
    method: str
    bold: bool
    points: Sequence[tuple[float, Spread]]


def plot(
    lines: Sequence[Line],
    dense: float,
    limit: float,
    higher: bool,
    x_label: str,
    y_label: str,
    title: str,
    ticks: Sequence[float] | None = None,
) -> bytes:
    """A PNG: means with error bars over a logarithmic axis, and lines for dense and for the limit.

    Parameters
    ----------
    lines : sequence of Line
    dense, limit : float
        Where the dense model is, and where one that is 1 % worse would be.
    higher : bool
        Whether more is better.
    x_label, y_label, title : str
    ticks : sequence of float, optional
        Of the horizontal axis; round numbers if absent.

    Methods that lose far more than the others would press all of them into one line. Points far below the others are
    therefore cut off, and the axis says so.
    """
    # Not pyplot: it would choose a window system.
    figure = Figure(figsize=(9, 5.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.axhline(dense, color="0.35", linewidth=1, label="dense")
    axes.axhline(limit, color="0.35", linewidth=1, linestyle=":", label="dense, 1 % worse")
    colour = 0
    for index, line in enumerate(lines):
        drawn, dashes = f"C{colour % 10}", "-" if line.method in _OURS else "--"
        if line.method == "irregular":
            drawn, dashes = "black", "-"
        else:
            colour += 1
        points = sorted(line.points, key=lambda point: point[0])
        axes.errorbar(
            [x for x, _ in points], [y.mean for _, y in points], [y.deviation or 0.0 for _, y in points],
            marker=_MARKERS[index % len(_MARKERS)], markersize=6, linewidth=2.4 if line.bold else 1.3,
            elinewidth=0.9, capsize=2.5, zorder=3 if line.bold else 2, label=line.label, color=drawn,
            linestyle=dashes,
        )  # fmt: skip
    axes.set_xscale("log")
    _ticks(axes, ticks)
    limit_axis(axes, y_label, lines, dense, limit, higher)
    axes.set_xlabel(x_label)
    axes.set_title(title, fontsize=10)
    axes.grid(which="major", alpha=0.25)
    figure.legend(loc="outside right center", fontsize=9, frameon=False)
    image = io.BytesIO()
    # Without it the version of matplotlib would be the one thing that differs between two runs.
    figure.savefig(image, format="png", dpi=130, metadata={"Software": None})
    return image.getvalue()


def _ticks(axes: Axes, ticks: Sequence[float] | None) -> None:
    """Plain numbers."""
    axes.xaxis.set_major_locator(FixedLocator(ticks) if ticks else LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}" if value >= 100 else f"{value:.3g}"))


def limit_axis(axes: Axes, label: str, lines: Sequence[Line], dense: float, limit: float, higher: bool) -> None:
    """Label the vertical axis, and limit it to what most points have. Arguments are those of :func:`plot`."""
    cut = _cut(axes, lines, dense, limit, higher)
    axes.set_ylabel(label + (" (points beyond the axis are not shown)" if cut else ""))


def _cut(axes: Axes, lines: Sequence[Line], dense: float, limit: float, higher: bool) -> bool:
    """Limit the vertical axis; whether points fall off it."""
    sign = 1 if higher else -1
    means = [point.mean for line in lines for _, point in line.points]
    if not means:
        return False
    losses = sign * (dense - np.array(means))
    limit = abs(dense - limit)
    # Four fifths of the points, but always the ones that the experiment is about.
    wanted = [np.quantile(losses, 0.8), limit]
    wanted += [
        sign * (dense - y.mean) for line in lines if line.bold or line.method == "irregular" for _, y in line.points
    ]
    far = min(max(1.1 * max(wanted), 3 * limit), max(losses.max(), limit))
    near = min(losses.min(), 0.0)
    room = 0.08 * (far - near)
    ends = [dense - sign * (far + room), dense - sign * (near - room)]
    axes.set_ylim(min(ends), max(ends))
    return bool((losses > far + room).any())
