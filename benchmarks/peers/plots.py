"""Pictures of the comparison: throughput against area, and area against the size of the network."""

import io
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks.peers.measure import DEVICE, rate
from benchmarks.peers.results import PeerResults
from darb_prune.encoded import write_atomic

__all__ = ["area", "size"]

_MARKERS = {"darb": "o", "alkaid": "s", "nngen": "^"}


def _figure() -> tuple[Figure, Axes]:
    # Not pyplot: it would choose a window system.
    figure = Figure(figsize=(9, 6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.grid(which="major", alpha=0.3)
    return figure, axes


def _save(figure: Figure, path: Path) -> None:
    (axes,) = figure.axes
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8)
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=130)
    write_atomic(path, image.getvalue())


def _contenders(results: PeerResults) -> list[tuple[str, str]]:
    """Name and tool of all contenders, in the order of the tools."""
    tools = {name: row["tool"] for entry in results.networks.values() for name, row in entry["rows"].items()}
    return sorted(tools.items(), key=lambda named: list(_MARKERS).index(named[1]))


def area(results: PeerResults, path: Path) -> None:
    """Inferences a second against LUTs: a colour a contender, a label a network."""
    figure, axes = _figure()
    for colour, (name, tool) in enumerate(_contenders(results)):
        points = [
            (entry["rows"][name]["luts"], speed, network)
            for network, entry in results.networks.items()
            if name in entry["rows"] and (speed := rate(entry["rows"][name]))
        ]
        if not points:
            continue
        luts, speeds, _ = zip(*points, strict=True)
        axes.plot(luts, speeds, _MARKERS[tool], color=f"C{colour}", label=name)
        for x, y, network in points:
            text = network.removeprefix("linear-")
            # Long names on the other side: they would cover the next number.
            away, side = ((5, 4), "left") if text.isdecimal() else ((-5, -9), "right")
            axes.annotate(
                text, (x, y), xytext=away, textcoords="offset points", ha=side, fontsize=7, color=f"C{colour}"
            )
    axes.set_xlabel("area: 4-input LUTs")
    axes.set_ylabel("inferences per second at the median Fmax")
    axes.set_title("The same networks: throughput against area (numbers: size of a square layer)")
    axes.margins(x=0.16, y=0.1)
    _save(figure, path)


def size(results: PeerResults, path: Path) -> None:
    """LUTs against kept weights: filled where placed and routed, hollow where only synthesised."""
    figure, axes = _figure()
    for colour, (name, tool) in enumerate(_contenders(results)):
        points = sorted(
            (entry["kept"], entry["rows"][name]["luts"], bool(entry["rows"][name]["fmax_mhz"]))
            for entry in results.networks.values()
            if name in entry["rows"] and "luts" in entry["rows"][name]
        )
        if not points:
            continue
        kept, luts, _ = zip(*points, strict=True)
        axes.plot(kept, luts, color=f"C{colour}", linewidth=1, alpha=0.6)
        for placed in (True, False):
            some = [point for point in points if point[2] is placed]
            face = f"C{colour}" if placed else "white"
            axes.plot(
                [point[0] for point in some], [point[1] for point in some], _MARKERS[tool], color=f"C{colour}",
                markerfacecolor=face, label=name if placed or not any(point[2] for point in points) else None,
            )  # fmt: skip
    axes.axhline(DEVICE.luts, color="black", linestyle="--", linewidth=1)
    axes.text(0.01, DEVICE.luts * 1.05, f" {DEVICE.name}: {DEVICE.luts:,}", transform=axes.get_yaxis_transform())
    axes.set_xlabel("kept weights")
    axes.set_ylabel("area: 4-input LUTs")
    axes.set_title("Area against size (hollow: synthesised, but not placed)")
    _save(figure, path)
