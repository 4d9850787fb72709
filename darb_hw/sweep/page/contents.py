"""What the page shows, as plain values: the figures of each point, and where its bits and cycles go."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from darb_hw.sweep.page.saved import SavedPlan, SavedPoint, SavedSweep
from darb_hw.sweep.points import accuracy_of
from darb_hw.sweep.spec import NETWORK_AXES
from darb_hw.synthesis.report import SynthReport
from darb_prune.encoded import printable
from darb_prune.text import MESSAGE_LENGTH

__all__ = ["FIGURES", "Figure", "bits_by_part", "page_contents"]


@dataclass(frozen=True)
class Figure:
    """A number of a point that plots have an axis for, and the table a column.

    Parameters
    ----------
    name, title : str
        In the data; for people, with its unit.
    more : bool
        Whether more is better.
    digits : int
        Behind the decimal point.
    value : callable
        SavedPoint -> float, or None where there is none.
    """

    name: str
    title: str
    more: bool
    digits: int
    value: Callable[[SavedPoint], float | None]


def _measured(value: Callable[[SynthReport], float]) -> Callable[[SavedPoint], float | None]:
    return lambda point: value(point.report) if point.report else None


def _percent(point: SavedPoint) -> float | None:
    accuracy = accuracy_of(point.accuracy)
    return 100 * accuracy if accuracy is not None and 0 <= accuracy <= 1 else None


FIGURES = (
    Figure("accuracy", "accuracy, %", True, 2, _percent),
    Figure(
        "stored_bits", "stored bits", False, 0, lambda point: point.plan.metrics.stored_bits if point.plan else None
    ),
    Figure("rate", "inferences/s", True, 0, _measured(lambda report: report.inferences_per_second)),
    Figure("latency", "latency, µs", False, 2, _measured(lambda report: report.latency_us)),
    Figure("luts", "LUTs", False, 0, _measured(lambda report: report.luts.used)),
    Figure("block_rams", "block RAMs", False, 0, _measured(lambda report: report.block_rams.used)),
    Figure("dsps", "DSPs", False, 0, _measured(lambda report: report.dsps.used)),
    Figure("fmax", "Fmax, MHz", True, 1, _measured(lambda report: report.fmax_median)),
    Figure("utilisation", "lanes used, %", True, 1, _measured(lambda report: 100 * report.utilisation)),
)
"""In the order of the columns: what is known without synthesis comes first. The accuracy is that of the integer network
on test data; Fmax is the median of the seeds."""

_PARTS = {
    "weights": "weights",
    "columns": "indices",
    "rows": "row parameters",
    "program": "program",
    "jumps": "program",
    "loops": "program",
    "functions": "activation functions",
    "cell_tanh": "activation functions",
    "taps": "addresses",
    "masks": "addresses",
    "tiles": "addresses",
    "drains": "addresses",
    "embedding": "embedding",
    "activations": "power-up contents",
    "cell_state": "power-up contents",
}
"""What the ROMs of :attr:`darb_hw.plan.plan.Plan.images` hold."""
_BEGINNINGS = {"index_": "indices", "input_": "addresses"}


def page_contents(sweep: SavedSweep) -> dict[str, Any]:
    """All data of the page, plain values for JSON.

    Parameters
    ----------
    sweep : SavedSweep

    Returns
    -------
    dict
        ``name``; ``axes``: names of the axes that points are filtered by; ``figures``: see :data:`FIGURES`;
        ``points``: a dictionary each. Texts are fit to be shown, but they are not escaped.
    """
    axes = list(dict.fromkeys([*sweep.axes, *(name for point in sweep.points for name in point.axes)]))
    if not any(name in axes for name in NETWORK_AXES if name != "weight_bits"):
        axes.insert(0, "network")  # finished files: nothing but the name tells them apart
    return {
        "name": printable(sweep.name),
        "axes": [printable(name) for name in axes],
        "figures": [
            {"name": figure.name, "title": figure.title, "more": figure.more, "digits": figure.digits}
            for figure in FIGURES
        ],
        "points": [_point(point) for point in sweep.points],
    }


def _point(point: SavedPoint) -> dict[str, Any]:
    axes = {"network": point.network} | point.axes
    return {
        "network": printable(point.network),
        "axes": {printable(name): printable(v) if isinstance(v, str) else v for name, v in axes.items()},
        "status": point.status,
        "reason": printable(point.reason, MESSAGE_LENGTH),
        "figures": {figure.name: figure.value(point) for figure in FIGURES},
        "report": _report(point.report) if point.report else None,
        "plan": _plan(point.plan) if point.plan else None,
    }


def _report(report: SynthReport) -> dict[str, Any]:
    usages = {
        "LUTs": report.luts, "logic cells": report.logic_cells, "flip-flops": report.ffs,
        "block RAMs": report.block_rams, "DSPs": report.dsps,
    }  # fmt: skip
    path = report.critical_path
    return {
        "resources": [{"name": name, "used": use.used, "available": use.available} for name, use in usages.items()],
        "fmax": [{"seed": seed, "mhz": mhz} for seed, mhz in report.fmax_mhz.items()],
        "target": report.target_mhz,
        "path": {
            "seed": path.seed, "start": printable(path.start), "end": printable(path.end), "delay": path.delay_ns,
            "routing": path.routing_ns, "nets": [printable(net) for net in path.nets],
        },
        "tools": [f"{printable(name)} {printable(version)}" for name, version in report.tools.items()],
        "digest": printable(report.digest),
    }  # fmt: skip


def _plan(plan: SavedPlan) -> dict[str, Any]:
    return {
        "latency": plan.cycles.latency,
        "interval": plan.cycles.interval,
        "layers": [
            layer.model_dump(mode="json") | {"layer": printable(layer.layer), "bound": printable(layer.bound)}
            for layer in plan.layers
        ],
        "memory": {
            "depth": plan.memory.depth,
            "copies": plan.memory.copies,
            "map": [
                region.model_dump(mode="json") | {"tensor": printable(region.tensor)} for region in plan.memory.map
            ],
        },
        "bits": bits_by_part((name, rom.depth, rom.width) for name, rom in plan.roms.items()),
    }


def bits_by_part(roms: Iterable[tuple[str, int, int]]) -> list[dict[str, Any]]:
    """Stored bits by what they are for, the most first.

    Parameters
    ----------
    roms : iterable of (str, int, int)
        Name, words and bits of a word of each ROM.

    Returns
    -------
    list of dict
        ``part``, ``bits``, ``roms``: the ROMs of a part, as text. A ROM that is not known is a part by itself.
    """
    parts: dict[str, dict[str, Any]] = {}
    for name, depth, width in roms:
        beginning = next((part for start, part in _BEGINNINGS.items() if name.startswith(start)), printable(name))
        part = _PARTS.get(name, beginning)
        entry = parts.setdefault(part, {"part": part, "bits": 0, "roms": []})
        entry["bits"] += depth * width
        entry["roms"].append(f"{printable(name)}: {depth:,} x {width}")
    return sorted(parts.values(), key=lambda entry: -entry["bits"])
