"""Pictures of an analysis: one for each observation."""

import io
import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from darb_prune.encoded import metrics
from darb_prune.studies.analysis import BLOCKS

__all__ = ["plots"]

# Okabe and Ito: told apart by colour-blind readers too. Chance is grey everywhere.
BLUE, ORANGE, GREEN, PURPLE, CHANCE = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "0.55"
GROUPS = (BLUE, GREEN, ORANGE)
ORDERS = {"none": ORANGE, "spread": BLUE}
PANELS = 12


def plots(result: dict) -> dict[str, bytes]:
    """PNG files by name: ``densities.png``, ``positions.png`` and, if it was measured, ``sensitivity.png``.

    Of a model of many layers the largest are shown; the JSON has them all.

    Parameters
    ----------
    result : dict
        What :func:`darb_prune.studies.analysis.analyze` returned.
    """
    made = {"densities.png": _densities(result), "positions.png": _positions(result)}
    if result["sensitivity"]:
        made["sensitivity.png"] = _sensitivity(result["sensitivity"])
    return made


def _panels(count: int, title: str, height: float = 3.0) -> tuple[Figure, list[Axes]]:
    """A figure of ``count`` small plots."""
    across = min(count, 4 if count in (4, 7, 8) or count > 9 else 3)
    down = math.ceil(count / across)
    figure = Figure(figsize=(max(3.4 * across, 6.4), height * down + 1.0), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=12)
    axes = list(figure.subplots(down, across, squeeze=False).flat)
    for spare in axes[count:]:
        spare.axis("off")
    for panel in axes[:count]:
        panel.spines[["top", "right"]].set_visible(False)
        panel.tick_params(labelsize=8)
    return figure, axes[:count]


def _png(figure: Figure) -> bytes:
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=110)
    return image.getvalue()


def _largest(result: dict) -> list[dict]:
    """The largest layers, in the order of the model."""
    chosen = sorted(result["layers"], key=lambda layer: -layer["rows"] * layer["columns"])[:PANELS]
    return [layer for layer in result["layers"] if layer in chosen]


def _densities(result: dict) -> bytes:
    shown = _largest(result)
    figure, panels = _panels(
        len(shown), f"Which block would each row want? Irregular pruning, ratio {result['ratio']:g}"
    )
    for axes, layer in zip(panels, shown, strict=True):
        densities = layer["densities"]
        entries = [e for e in densities["blocks"] if e["block"] == 0] + [e for e in densities["blocks"] if e["block"]][
            ::-1
        ]
        low = min((n for n, e in enumerate(entries) if n and max(e["rows"], e["chance"]) > 1e-3), default=1)
        entries = entries[:1] + entries[low:]
        centres = range(len(entries))
        axes.bar(centres, [e["rows"] for e in entries], color=BLUE, width=0.75, label="rows of the layer")
        axes.step(
            [-0.5, *(p + 0.5 for p in centres)], [entries[0]["chance"], *(e["chance"] for e in entries)],
            color="black", linewidth=1.4, linestyle="--", label="by chance (every weight kept alike)",
        )  # fmt: skip
        axes.set_xticks(centres, ["none", *(f"{e['block']}" for e in entries[1:])], fontsize=7)
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        ratio = densities["variation_ratio"]
        note = "" if ratio is None else f"\nspread of rows {ratio:.1f}x chance"
        axes.set_title(
            f"{layer['name']}, {layer['rows']} rows, density {100 * densities['mean']:.1f} %{note}", fontsize=9
        )
    _labels(panels, "sparse  <  block size nearest to 1 / density  >  dense", "share of rows")
    _legend(figure, panels)
    return _png(figure)


def _sensitivity(result: dict) -> bytes:
    metric = metrics.get(result["metric"])
    shown = result["scopes"][:PANELS]
    figure, panels = _panels(
        len(shown), "What is lost when only the sparse, or only the dense rows are pruned (no fine-tuning)?"
    )
    for axes, scope in zip(panels, shown, strict=True):
        curves = scope["groups"]
        for index, curve in enumerate(curves):
            colour = GROUPS[round(index * (len(GROUPS) - 1) / (len(curves) - 1))]
            label = f"{curve['name']} 1/{len(curves)} of the rows"
            values = [metric.scale * value for value in (result["dense"], *curve["values"])]
            axes.plot(
                [0, *result["shares"]], values, marker="os^"[index % 3], markersize=4, linewidth=1.6,
                color=colour, label=label,
            )  # fmt: skip
        axes.axhline(metric.scale * result["dense"], color=CHANCE, linewidth=1, linestyle=":", label="dense model")
        if not metric.higher:
            axes.invert_yaxis()
        axes.yaxis.set_major_locator(MaxNLocator(5))
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        first, last = curves[0], curves[-1]
        axes.set_title(
            f"{scope['name']}\nmean loss: sparsest {100 * first['mean_loss']:.1f} %, "
            f"densest {100 * last['mean_loss']:.1f} %", fontsize=9,
        )  # fmt: skip
    unit = f", {metric.unit}" if metric.unit and metric.unit not in metric.name else ""
    _labels(panels, "share of the weights of these rows removed", f"{metric.name}{unit} (up is better)")
    _legend(figure, panels)
    return _png(figure)


def _labels(panels: Sequence[Axes], x: str, y: str) -> None:
    for axes in panels:
        axes.set_xlabel(x, fontsize=8)
        grid = axes.get_subplotspec()
        if grid is not None and grid.is_first_col():
            axes.set_ylabel(y, fontsize=9)


def _legend(figure: Figure, panels: Sequence[Axes]) -> None:
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 4), fontsize=9, frameon=False)


def _positions(result: dict) -> bytes:
    """Above what the blocks of one size hold, below how regular all sizes are."""
    shown = [layer for layer in _largest(result) if layer["positions"]["none"]][: PANELS // 2]
    if not shown:
        figure, (axes,) = _panels(1, "Where in a row are the kept weights?")
        axes.text(0.5, 0.5, f"no layer has whole blocks of {BLOCKS[0]} columns", ha="center", transform=axes.transAxes)
        return _png(figure)
    columns = len(shown)
    figure = Figure(figsize=(max(2.9 * columns, 7.5), 6.6), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle("Where in a row are the weights that irregular pruning keeps?", fontsize=12)
    panels = figure.subplots(2, columns, squeeze=False)
    for above, below, layer in zip(*panels, shown, strict=True):
        _held(above, layer, result["orders"])
        _regularity(below, layer, result["orders"])
        for axes in (above, below):
            axes.spines[["top", "right"]].set_visible(False)
            axes.tick_params(labelsize=8)
    panels[0][0].set_ylabel("share of blocks", fontsize=9)
    panels[1][0].set_ylabel("variance of kept weights\nin a block / chance", fontsize=9)
    _legend(figure, panels[0])
    return _png(figure)


def _held(axes: Axes, layer: dict, orders: list[str]) -> None:
    inverse = layer["rows"] * layer["columns"] / max(layer["kept"], 1)
    size = min(
        range(len(layer["positions"]["none"])),
        key=lambda n: abs(math.log2(layer["positions"]["none"][n]["block"] / inverse)),
    )
    bars = [("by chance (rows as dense as they are)", CHANCE, layer["positions"]["none"][size]["chance"])]
    bars += [(f"order {name}", ORDERS[name], layer["positions"][name][size]["held"]) for name in orders]
    width = 0.8 / len(bars)
    block = layer["positions"]["none"][size]["block"]
    top = min(block, 4)
    for index, (label, colour, share) in enumerate(bars):
        heights = [*share[:top], sum(share[top:])]
        axes.bar(
            [held + (index - (len(bars) - 1) / 2) * width for held in range(top + 1)], heights, width,
            color=colour, label=label,
        )  # fmt: skip
    axes.set_xticks(range(top + 1), [*(str(held) for held in range(top)), f"{top}+" if block > top else str(top)])
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set_xlabel(f"kept weights in a block of {block}", fontsize=9)
    axes.set_title(f"{layer['name']}, {layer['rows']} x {layer['columns']}", fontsize=9)


def _regularity(axes: Axes, layer: dict, orders: list[str]) -> None:
    blocks = [entry["block"] for entry in layer["positions"]["none"]]
    axes.set_xlim(blocks[0] / 1.3, blocks[-1] * 1.3)
    axes.set_xscale("log", base=2)
    axes.set_xticks(blocks, [str(block) for block in blocks])
    for name in orders:
        known = [entry for entry in layer["positions"][name] if entry["variance_ratio"] is not None]
        axes.plot(
            [entry["block"] for entry in known], [entry["variance_ratio"] for entry in known],
            marker="o" if name == "none" else "s", markersize=4, color=ORDERS[name],
            linewidth=3 if name == "none" else 1.4,
        )  # fmt: skip
    axes.axhline(1, color=CHANCE, linewidth=1.5)
    low, high = axes.get_ylim()
    axes.set_ylim(min(low, 0.5), max(high, 1.5))
    axes.text(0.02, 0.98, "clustered", transform=axes.transAxes, fontsize=8, va="top", color="0.4")
    axes.text(0.02, 0.02, "evenly spread", transform=axes.transAxes, fontsize=8, va="bottom", color="0.4")
    axes.set_xlabel("block size", fontsize=9)
