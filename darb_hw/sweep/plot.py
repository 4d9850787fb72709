"""The picture of a sweep: throughput against area, with the Pareto front of each device."""

import io
from collections.abc import Sequence
from pathlib import Path

# Not pyplot: it would choose a window system.
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Annotation, Text
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from matplotlib.transforms import BboxBase

from darb_hw.sweep.points import PointResult
from darb_hw.synthesis.report import SynthReport
from darb_prune.encoded import write_atomic
from darb_prune.pareto import pareto

__all__ = ["plot"]

Box = tuple[float, float, float, float]
"""Left, bottom, right and top in pixels."""


_MARKERS = "osD^vP*"


def plot(results: Sequence[PointResult], path: Path) -> None:
    """Throughput against area as PNG: a colour a device, a marker a weight width, a line each Pareto front.

    Lanes stand beside the points, with the DSP blocks (D) and block RAMs (B) that come on top of the LUTs; beside those
    of the fronts alone where the others are too many. With no point that fits there is a plot that says so.

    Parameters
    ----------
    results : sequence of PointResult
    path : Path
        The file to write.
    """
    figure = Figure(figsize=(9, 6), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    reports = [result.report for result in results if result.report]
    devices = list(dict.fromkeys(report.device for report in reports))
    widths = sorted({report.weight_bits for report in reports})
    marker = {bits: _MARKERS[index % len(_MARKERS)] for index, bits in enumerate(widths)}
    on_fronts = []
    for index, device in enumerate(devices):
        own = [report for report in reports if report.device == device]
        on_fronts += _plot_device(axes, own, f"C{index}", marker)
    if reports:
        axes.set_xscale("log")
        axes.set_yscale("log")
        _plain_ticks(axes)
        axes.margins(0.15)
    else:
        axes.text(0.5, 0.5, "no point fits its device", transform=axes.transAxes, ha="center")
    axes.set_xlabel("area: 4-input LUTs")
    axes.set_ylabel("throughput: inferences per second at the median Fmax")
    names = ", ".join(sorted({report.network for report in reports}))
    axes.set_title(f"{names}: throughput against area" if names else "throughput against area")
    axes.grid(which="both", alpha=0.25)
    _legend(axes, devices, marker)
    if reports:
        _label(canvas, axes, reports, reports if len(reports) <= _LABELLED else on_fronts, devices)
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=130)
    write_atomic(path, image.getvalue())


def _point(report: SynthReport) -> tuple[float, float]:
    """Area and throughput."""
    return report.luts.used, report.inferences_per_second


def _plot_device(axes: Axes, reports: Sequence[SynthReport], color: str, marker: dict[int, str]) -> list[SynthReport]:
    """The points of a device and its Pareto front, on which the points are filled: these are returned."""
    points = [_point(report) for report in reports]
    front = pareto(points)
    axes.plot(*zip(*(points[index] for index in front), strict=True), color=color, linewidth=1.2, alpha=0.7)
    for index, (report, point) in enumerate(zip(reports, points, strict=True)):
        face = color if index in front else "white"
        axes.plot(*point, marker[report.weight_bits], color=color, markerfacecolor=face, markersize=8)
    return [reports[index] for index in front]


# Where a label may stand relative to its point, best first: offset in typographic points, alignment.
_OFFSETS = tuple(
    (dx * reach, dy * reach, {1: "left", -1: "right", 0: "center"}[dx], {1: "bottom", -1: "top", 0: "center"}[dy])
    for reach in (8, 16, 26, 38, 52)
    for dx, dy in ((1, -1), (-1, 1), (1, 1), (-1, -1), (0, 1), (0, -1))
)


_LABELLED = 40
"""Points that may all have labels."""


def _label(
    canvas: FigureCanvasAgg, axes: Axes, reports: Sequence[SynthReport], labelled: Sequence[SynthReport],
    devices: Sequence[str],
) -> None:  # fmt: skip
    """Lanes, DSP blocks and block RAMs beside some of the points, where no other label or point is."""
    # Labels are laid out in pixels, so nothing may move from here on.
    canvas.figure.draw_without_rendering()
    canvas.figure.set_layout_engine("none")
    points = [_point(report) for report in reports]
    legend = axes.get_legend()
    assert legend is not None
    taken = [(x - 8, y - 8, x + 8, y + 8) for x, y in axes.transData.transform(points)]
    taken.append(_extents(legend.get_window_extent()))
    for report in labelled:
        note = axes.annotate(
            f"{report.lanes} lanes, {report.dsps.used} D, {report.block_rams.used} B", _point(report), (0, 0),
            textcoords="offset points", fontsize=7, color=f"C{devices.index(report.device)}",
            arrowprops={"arrowstyle": "-", "linewidth": 0.5, "color": "0.6", "shrinkB": 4},
        )  # fmt: skip
        frame = _extents(axes.bbox)
        free = (offset for offset in _OFFSETS if _is_free(_moved(canvas, note, offset), frame, taken))
        taken.append(_moved(canvas, note, next(free, _OFFSETS[-1])))


def _moved(canvas: FigureCanvasAgg, note: Annotation, offset: tuple[int, int, str, str]) -> Box:
    """Move a label to an entry of ``_OFFSETS``; the pixels that its text covers, without its line to the point."""
    dx, dy, horizontal, vertical = offset
    note.set_position((dx, dy))
    note.set(ha=horizontal, va=vertical)
    note.update_positions(canvas.get_renderer())
    return _extents(Text.get_window_extent(note))


def _is_free(box: Box, frame: Box, taken: Sequence[Box]) -> bool:
    """Whether ``box`` is within ``frame`` and meets none of ``taken``."""
    left, bottom, right, top = box
    inside = frame[0] < left and right < frame[2] and frame[1] < bottom and top < frame[3]
    return inside and not any(left < x1 and x0 < right and bottom < y1 and y0 < top for x0, y0, x1, y1 in taken)


def _extents(box: BboxBase) -> Box:
    return box.x0, box.y0, box.x1, box.y1


def _legend(axes: Axes, devices: Sequence[str], marker: dict[int, str]) -> None:
    handles = [Line2D([], [], color=f"C{index}", marker="o", label=device) for index, device in enumerate(devices)]
    handles += [
        Line2D([], [], color="0.4", marker=shape, linestyle="", label=f"{bits}-bit weights")
        for bits, shape in marker.items()
    ]
    if handles:
        handles.append(Line2D([], [], color="0.4", linewidth=1.2, label="Pareto front of a device (filled)"))
        handles.append(Line2D([], [], linestyle="", label="D: DSP blocks, B: block RAMs"))
        axes.legend(handles=handles, fontsize=8, loc="best")


def _plain_ticks(axes: Axes) -> None:
    """Numbers that a reader can take off the axes, also where they span less than a power of ten."""
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axis.set_minor_formatter(NullFormatter())
