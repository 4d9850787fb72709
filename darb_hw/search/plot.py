"""The picture of a search: what candidates lose, and how fast they are."""

import io
from pathlib import Path

# Not pyplot: it would choose a window system.
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from darb_hw.search.run import Search
from darb_hw.search.wanted import Figures
from darb_prune.encoded import write_atomic
from darb_prune.encoded.metrics import get

__all__ = ["plot"]


def plot(search: Search, path: Path) -> None:
    """Rate against loss as PNG: hollow what was tried, filled what was placed, a star for the answer, lines for
    bounds."""
    figure = Figure(figsize=(9, 6), layout="constrained")
    canvas, axes, wanted = FigureCanvasAgg(figure), figure.add_subplot(), search.question.wanted
    best = search.winner
    losses = [one.loss for one in (*search.tried, *search.verified) if one.loss]
    scale, unit = (get(losses[0].metric).scale, get(losses[0].metric).unit) if losses else (1.0, "")
    for number, device in enumerate(search.question.space.devices):
        colour = f"C{number}"
        tries = [
            (one.loss.share * scale, Figures.likely(one.estimate).rate)
            for one in search.tried
            if one.candidate.device == device and one.loss and one.estimate
        ]
        done = [
            (one.loss.share * scale, one.figures.rate)
            for one in search.verified
            if one.candidate.device == device and one.loss and one.figures
        ]
        for points, filled, words in ((tries, False, "tried, estimated"), (done, True, "placed, measured")):
            if points:
                axes.scatter(
                    *zip(*points, strict=True), s=36, facecolors=colour if filled else "none", edgecolors=colour,
                    label=f"{device}: {words}",
                )  # fmt: skip
    if best and best.loss and best.figures:
        axes.scatter(
            best.loss.share * scale, best.figures.rate, marker="*", s=260, color="gold", edgecolors="black", zorder=3,
            label=f"the answer: {best.candidate.network}, {best.candidate.lanes} lanes",
        )  # fmt: skip
    if wanted.min_rate:
        axes.axhline(wanted.min_rate, color="grey", linestyle="--", linewidth=1, label="--min-rate")
    if wanted.max_loss and losses:
        allowed = wanted.max_loss.allowed(losses[0].metric, losses[0].dense) * scale
        axes.axvline(allowed, color="grey", linestyle=":", linewidth=1, label="--max-loss")
    if losses:
        axes.set_yscale("log")
        for set_formatter in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
            set_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axes.legend(fontsize="small")
    else:
        axes.text(0.5, 0.5, "no candidate has an engine", ha="center", transform=axes.transAxes)
    axes.set_xlabel(f"lost on validation data{f', {unit}' if unit else ''}")
    axes.set_ylabel("inferences/s")
    axes.set_title(f"{len(search.tried)} candidates tried, {len(search.verified)} placed")
    axes.grid(alpha=0.3)
    image = io.BytesIO()
    canvas.print_png(image)
    write_atomic(path, image.getvalue())
