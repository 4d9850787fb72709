"""Plots of the engine benchmark: area and clock over lanes, where bits and where cycles go."""

import io

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks.engine.goals import probe_mhz

__all__ = ["bit_shares", "cycle_shares", "plots"]

OTHER_ROMS = ("rows", "program", "loops", "functions", "input_order", "embedding", "activations", "cell_state")
"""ROMs of the network that hold no codes."""


def bit_shares(result: dict) -> dict[str, float]:
    """Stored bits of a network by what they are for, over those of its kept weights and their indices."""
    plan = result["plan"]
    others = {name: bits for name, bits in plan["bits"].items() if name in OTHER_ROMS}
    shares = {"weights and indices": 1.0, "null codes and padding": plan["index_overhead"] - 1}
    return shares | {name.replace("_", " "): bits / plan["ideal_bits"] for name, bits in others.items()}


def cycle_shares(result: dict) -> dict[str, float]:
    """Lane cycles of an inference, back to back, by what happens in them, as shares of all."""
    plan, lanes = result["plan"], result["point"]["lanes"]
    interval = plan["cycles"]["interval"]
    steps, idle = (sum(layer[name] for layer in plan["layers"]) for name in ("steps", "idle"))
    return {
        "multiply-accumulates": plan["macs"] / lanes / interval,
        "null codes": (steps - plan["macs"] / lanes) / interval,
        "waits inside and between layers": idle / interval,
        "start, input, output": (interval - steps - idle) / interval,
    }


def plots(results: dict[str, dict]) -> dict[str, bytes]:
    """PNG files by name, of what is measured."""
    images = {}
    curve = (r for name, r in results.items() if name.startswith("lanes-") or name == "25x-128")
    placed = [r for r in curve if "luts" in (r.get("synth") or {})]
    if placed:
        probe = probe_mhz(results, "ecp5-85k")
        images["lanes.png"] = _lanes(sorted(placed, key=lambda r: r["point"]["lanes"]), probe)
    labels = {
        "lenet-300-100": "LeNet-300-100, 13x\n16 lanes",
        "lanes-64": "1024x1024, 16x\n64 lanes",
        "even-64": "1024x1024, 16x\nequal codes, 64 lanes",
        "25x-64": "1024x1024, 25x\n64 lanes",
        "25x-128": "1024x1024, 25x\n128 lanes",
    }
    there = {label: results[name] for name, label in labels.items() if name in results}
    if there:
        bits = {label: bit_shares(result) for label, result in there.items()}
        images["bits.png"] = _stacked(bits, "stored bits / (w + b) of the kept weights", 1.10, 0.9)
        cycles = {label: cycle_shares(result) for label, result in there.items()}
        images["cycles.png"] = _stacked(cycles, "share of lanes x interval")
    return images


def _figure(width: float, height: float) -> Figure:
    # Not pyplot: it would choose a window system.
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _png(figure: Figure) -> bytes:
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=130)
    return image.getvalue()


def _lanes(placed: list[dict], probe: float | None) -> bytes:
    """LUTs and flip-flops a lane, and the clock, over the lanes."""
    figure = _figure(9, 4)
    area, clock = figure.subplots(1, 2)
    lanes = [result["point"]["lanes"] for result in placed]
    for resource, label in (("luts", "LUT4"), ("ffs", "flip-flops")):
        share = [result["synth"][resource]["used"] / count for result, count in zip(placed, lanes, strict=True)]
        area.plot(lanes, share, "o-", label=label)
    area.axhline(65, color="0.5", linestyle="--", linewidth=1, label="goal at 64 lanes: 65 LUT4")
    area.set_ylabel("a lane, whole engine")
    area.set_ylim(bottom=0)
    derived = [result["synth"]["derived"] for result in placed]
    median = [clocks["fmax_median"] for clocks in derived]
    spread = [
        [clocks["fmax_median"] - clocks["fmax_min"] for clocks in derived],
        [clocks["fmax_max"] - clocks["fmax_median"] for clocks in derived],
    ]
    clock.errorbar(lanes, median, spread, fmt="o-", capsize=4, label="median and range of the seeds")
    clock.plot([32, 64, 128], [200, 180, 150], "_", color="0.3", markersize=18, label="goals")
    if probe:
        clock.axhline(probe, color="C3", linestyle="--", linewidth=1, label="one lane without control")
    clock.set_ylabel("MHz, ECP5-85 speed grade 6")
    clock.set_ylim(bottom=0)
    for axes in (area, clock):
        axes.set_xscale("log", base=2)
        axes.set_xticks(lanes, [str(count) for count in lanes])
        axes.minorticks_off()
        axes.set_xlabel("lanes")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    return _png(figure)


def _stacked(shares: dict[str, dict[str, float]], label: str, goal: float | None = None, start: float = 0) -> bytes:
    """A horizontal bar for each network, cut into shares."""
    figure = _figure(9, 1.4 + 0.6 * len(shares))
    axes = figure.add_subplot()
    kinds = list(dict.fromkeys(kind for parts in shares.values() for kind in parts))
    ends = [0.0] * len(shares)
    for colour, kind in enumerate(kinds):
        values = [parts.get(kind, 0.0) for parts in shares.values()]
        axes.barh(list(shares), values, left=ends, label=kind, color=f"C{colour}")
        ends = [end + value for end, value in zip(ends, values, strict=True)]
    if goal:
        axes.axvline(goal, color="0.2", linestyle="--", linewidth=1, label=f"goal: {goal:g}")
    axes.set_xlim(left=start)
    axes.invert_yaxis()
    axes.set_xlabel(label + (f" (axis begins at {start:g})" if start else ""))
    axes.tick_params(labelsize=8)
    figure.legend(loc="outside upper center", ncols=4, fontsize=8)
    return _png(figure)
