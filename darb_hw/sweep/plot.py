"""The picture of a sweep: throughput against area, with the Pareto front of each device."""

import io
from collections.abc import Sequence
from pathlib import Path

from darb_hw.sweep.grid import PointResult
from darb_prune.encoded import write_atomic

__all__ = ["pareto", "plot"]


def pareto(points: Sequence[tuple[float, float]]) -> list[int]:
    """Numbers of the points ``(cost, gain)`` that no other beats, by rising cost.

    A point is beaten by one of no more cost and no less gain that is better in one of them; of equal points the
    first stands.
    """
    front, best = [], float("-inf")
    for number in sorted(range(len(points)), key=lambda n: (points[n][0], -points[n][1], n)):
        if points[number][1] > best:
            best = points[number][1]
            front.append(number)
    return front


_MARKERS = "osD^vP*"


def plot(results: Sequence[PointResult], path: Path) -> None:
    """Throughput against area as PNG: a colour a device, a marker a weight width, a line each Pareto front.

    Lanes stand beside the points, with the DSP blocks (D) and block RAMs (B) that come on top of the LUTs. With
    no point that fits there is a plot that says so.
    """
    # Not pyplot: it would choose a window system.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    done = [result for result in results if result.report]
    devices = list(dict.fromkeys(result.point.config.device for result in done))
    widths = sorted({result.weight_bits for result in done})
    marker = {bits: _MARKERS[number % len(_MARKERS)] for number, bits in enumerate(widths)}
    for number, device in enumerate(devices):
        mine = [result for result in done if result.point.config.device == device]
        places = [(r.report.luts.used, r.report.inferences_per_second) for r in mine]
        front = pareto(places)
        axes.plot(*zip(*(places[n] for n in front), strict=True), color=f"C{number}", linewidth=1.2, alpha=0.7)
        for n, (result, place) in enumerate(zip(mine, places, strict=True)):
            face = f"C{number}" if n in front else "white"
            axes.plot(*place, marker[result.weight_bits], color=f"C{number}", markerfacecolor=face, markersize=8)
    if done:
        axes.set_xscale("log")
        axes.set_yscale("log")
        _plain_ticks(axes)
        axes.margins(0.15)
    else:
        axes.text(0.5, 0.5, "no point fits its device", transform=axes.transAxes, ha="center")
    axes.set_xlabel("area: 4-input LUTs")
    axes.set_ylabel("throughput: inferences per second at the median Fmax")
    names = ", ".join(sorted({result.report.network for result in done}))
    axes.set_title(f"{names}: throughput against area" if names else "throughput against area")
    axes.grid(which="both", alpha=0.25)
    _legend(axes, devices, marker)
    _label(axes, done, devices)
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=130)
    write_atomic(path, image.getvalue())


# Where a label may stand relative to its point, best first: offset in typographic points, alignment.
_PLACES = tuple(
    (dx * reach, dy * reach, {1: "left", -1: "right", 0: "center"}[dx], {1: "bottom", -1: "top", 0: "center"}[dy])
    for reach in (8, 16, 26, 38, 52)
    for dx, dy in ((1, -1), (-1, 1), (1, 1), (-1, -1), (0, 1), (0, -1))
)


def _label(axes, results: Sequence[PointResult], devices: Sequence[str]) -> None:
    """Lanes, DSP blocks and block RAMs beside each point, where no other label or point is."""
    from matplotlib.text import Text

    if not results:
        return
    # Labels are placed in pixels, so nothing may move from here on.
    axes.figure.draw_without_rendering()
    axes.figure.set_layout_engine("none")
    renderer = axes.figure.canvas.get_renderer()
    points = [(r.report.luts.used, r.report.inferences_per_second) for r in results]
    centres = axes.transData.transform(points)
    taken = [(x - 8, y - 8, x + 8, y + 8) for x, y in centres]
    taken.append(axes.get_legend().get_window_extent().extents)
    for result, place in zip(results, points, strict=True):
        report = result.report
        note = axes.annotate(
            f"{report.lanes} lanes, {report.dsps.used} D, {report.block_rams.used} B", place, (0, 0),
            textcoords="offset points", fontsize=7, color=f"C{devices.index(report.device)}",
            arrowprops={"arrowstyle": "-", "linewidth": 0.5, "color": "0.6", "shrinkB": 4},
        )  # fmt: skip
        for dx, dy, horizontal, vertical in _PLACES:
            note.set_position((dx, dy))
            note.set(ha=horizontal, va=vertical)
            note.update_positions(renderer)
            # Of the text alone, without its line to the point.
            box = Text.get_window_extent(note)
            inside = axes.bbox.x0 < box.x0 and box.x1 < axes.bbox.x1 and axes.bbox.y0 < box.y0 and box.y1 < axes.bbox.y1
            if inside and not any(
                box.x0 < x1 and x0 < box.x1 and box.y0 < y1 and y0 < box.y1 for x0, y0, x1, y1 in taken
            ):
                break
        taken.append((box.x0, box.y0, box.x1, box.y1))


def _legend(axes, devices: Sequence[str], marker: dict[int, str]) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=f"C{number}", marker="o", label=device) for number, device in enumerate(devices)
    ]  # fmt: skip
    handles += [
        Line2D([], [], color="0.4", marker=shape, linestyle="", label=f"{bits}-bit weights")
        for bits, shape in marker.items()
    ]
    if handles:
        handles.append(Line2D([], [], color="0.4", linewidth=1.2, label="Pareto front of a device (filled)"))
        handles.append(Line2D([], [], linestyle="", label="D: DSP blocks, B: block RAMs"))
        axes.legend(handles=handles, fontsize=8, loc="best")


def _plain_ticks(axes) -> None:
    """Numbers a reader can take off the axes, also where they span less than a power of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axis.set_minor_formatter(NullFormatter())
