"""The plots of docs/results/formats.md."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks.formats.layers import FORMATS
from darb_prune.encoded import write_atomic

__all__ = ["write"]

_COLOURS = {name: f"C{index}" for index, name in enumerate(FORMATS)}


def _figure(rows: int, columns: int, size: tuple[float, float]) -> tuple[Figure, np.ndarray]:
    # Not pyplot: it would choose a window system.
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False)


def _save(figure: Figure, path: Path) -> None:
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=120)
    write_atomic(path, image.getvalue())


def _bars(axes: Axes, groups: list[tuple[str, dict[str, float]]], text: Callable[[float], str]) -> None:
    """A group of bars for each title, a bar a format, its value above it."""
    names = [name for name in FORMATS if any(name in values for _, values in groups)]
    width = 0.85 / len(names)
    for bar, name in enumerate(names):
        centres = [g + (bar - (len(names) - 1) / 2) * width for g, (_, values) in enumerate(groups) if name in values]
        heights = [values[name] for _, values in groups if name in values]
        axes.bar(centres, heights, width, color=_COLOURS[name], label=FORMATS[name].title)
        for centre, height in zip(centres, heights, strict=True):
            axes.annotate(
                text(height), (centre, height), (0, 2), textcoords="offset points", ha="center", va="bottom",
                fontsize=6.5, rotation=90,
            )  # fmt: skip
    axes.set_xticks(range(len(groups)), [title for title, _ in groups], fontsize=9)
    axes.margins(x=0.01)
    low, high = axes.get_ylim()
    axes.set_ylim(low, high * 1.15)
    axes.grid(axis="y", alpha=0.25)
    axes.set_axisbelow(True)


def _by_group(points: list[dict], lanes: int, value: Callable[[dict], float]) -> list[tuple[str, dict[str, float]]]:
    groups = {}
    for point in points:
        if point["lanes"] == lanes:
            groups.setdefault(f"{point['layer']} {point['asked']}x", {})[point["format"]] = value(point)
    return list(groups.items())


def _legend(figure: Figure, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=8, fontsize=8)


def _costs(points: list[dict], path: Path) -> None:
    lanes = sorted({point["lanes"] for point in points})
    figure, axes = _figure(2 * len(lanes), 1, (12, 3 * 2 * len(lanes)))
    for row, count in enumerate(lanes):
        upper, lower = axes[2 * row, 0], axes[2 * row + 1, 0]
        _bars(upper, _by_group(points, count, lambda p: p["kept"] / p["cycles"] / p["lanes"]), "{:.2f}".format)
        upper.set_ylabel(f"{count} lanes\nutilisation")
        upper.axhline(1, color="0.4", linewidth=0.8)
        _bars(lower, _by_group(points, count, lambda p: p["stored_bits"] / p["kept"]), "{:.1f}".format)
        lower.axhline(8, color="0.4", linewidth=0.8)
        lower.set_ylabel(f"{count} lanes\nstored bits a kept weight")
    axes[0, 0].set_title("Lines: the limit of utilisation; the 8 bits of the weight itself", fontsize=10)
    _legend(figure, axes[0, 0])
    _save(figure, path)


def _decoders(points: list[dict], path: Path) -> None:
    figure, axes = _figure(2, 1, (12, 6))
    for row, (kind, words) in enumerate((("aligned", "aligned activations"), ("any", "activations anywhere"))):
        groups = {}
        for p in points:
            title = f"{p['layer']} {p['asked']}x, {p['lanes']} lanes"
            groups.setdefault(title, {})[p["format"]] = p["decoder"][kind]["luts"] / p["lanes"]
        _bars(axes[row, 0], list(groups.items()), "{:.2f}".format)
        axes[row, 0].set_ylabel(f"LUT4 a lane,\n{words}")
    _legend(figure, axes[0, 0])
    _save(figure, path)


def _equal(rows: list[dict], path: Path) -> None:
    figure, axes = _figure(2, 1, (12, 6))
    groups = {}
    for row in rows:
        groups.setdefault(f"{row['layer']} {row['asked']}x", {})[row["format"]] = row
    for panel, (field, words) in enumerate((("cycles", "cycles"), ("stored_bits", "stored bits"))):
        relative = [
            (title, {name: row[field] / of["darb"][field] for name, row in of.items()}) for title, of in groups.items()
        ]
        _bars(axes[panel, 0], relative, "{:.2f}".format)
        axes[panel, 0].axhline(1, color="0.4", linewidth=0.8)
        axes[panel, 0].set_ylabel(f"{words} / those of DARB")
    axes[0, 0].set_title("Equal sum of squares retained, 16 lanes", fontsize=10)
    _legend(figure, axes[0, 0])
    _save(figure, path)


def write(results: dict, folder: Path) -> None:
    """``formats.png``, ``formats-decoders.png``, ``formats-equal.png``."""
    points = results["points"]
    _costs(points, folder / "formats.png")
    ends = {(p["layer"], p["asked"]) for p in (points[0], points[-1])}
    _decoders([p for p in points if (p["layer"], p["asked"]) in ends], folder / "formats-decoders.png")
    _equal(results["equal_norm"], folder / "formats-equal.png")
