"""What a sweep gave: a table for the terminal, a CSV file, and a JSON file with all that a page needs of each point."""

import csv
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from darb_hw.config import EngineConfig
from darb_hw.sweep.points import PointResult, SweepPoint
from darb_hw.synthesis.report import SynthReport
from darb_prune.encoded import printable

__all__ = ["FORMAT", "csv_bytes", "engine_value", "json_bytes", "sweep_table"]

FORMAT = 1
"""Of ``sweep.json``."""
_ALWAYS = ("device", "lanes", "weight_bits")
"""Axes that every table has a column for."""
_OF_MANIFEST = ("config", "widths", "memory", "roms", "cycles", "metrics", "layers", "subsets")
"""What ``sweep.json`` has of the manifest of a build."""


def engine_value(point: SweepPoint, axis: str) -> Any:
    """Value of an axis of the engine, that of :class:`EngineConfig` where the grid has none."""
    return point.engine.get(axis, getattr(EngineConfig, axis))


_BEFORE: dict[str, Callable[[PointResult], object]] = {
    "network": lambda result: result.point.network,
    "device": lambda result: engine_value(result.point, "device"),
    "lanes": lambda result: engine_value(result.point, "lanes"),
    "weight_bits": lambda result: result.weight_bits or result.point.choice.get("weight_bits"),
}
_BEHIND: dict[str, Callable[[PointResult], object]] = {
    "accuracy": lambda result: result.accuracy,
    "status": lambda result: result.status,
}
_OF_REPORT: dict[str, Callable[[SynthReport], object]] = {
    "luts": lambda report: report.luts.used,
    "logic_cells": lambda report: report.logic_cells.used,
    "ffs": lambda report: report.ffs.used,
    "block_rams": lambda report: report.block_rams.used,
    "dsps": lambda report: report.dsps.used,
    "fmax_median_mhz": lambda report: round(report.fmax_median, 2),
    "fmax_min_mhz": lambda report: round(report.fmax_min, 2),
    "fmax_max_mhz": lambda report: round(report.fmax_max, 2),
    "seeds": lambda report: len(report.fmax_mhz),
    "latency_cycles": lambda report: report.latency_cycles,
    "interval_cycles": lambda report: report.interval_cycles,
    "latency_us": lambda report: round(report.latency_us, 3),
    "inferences_per_second": lambda report: round(report.inferences_per_second),
    "actual_gops": lambda report: round(report.actual_gops, 4),
    "dense_equivalent_gops": lambda report: round(report.dense_equivalent_gops, 4),
    "utilisation": lambda report: round(report.utilisation, 4),
    "pruning_ratio": lambda report: round(report.pruning_ratio, 3),
    "stored_bits_per_weight": lambda report: round(report.stored_bits_per_weight, 3),
    "index_overhead": lambda report: round(report.index_overhead, 4),
    "digest": lambda report: report.digest,
}
"""Columns of the CSV file: first those of every point, then the other axes of the grid, then what was measured, of
points that could be built. The reason comes last."""


def csv_bytes(results: Iterable[PointResult], axes: Sequence[str]) -> bytes:
    """The text of ``sweep.csv``: one line a point; what a point that was not built has no value for stays empty.

    Parameters
    ----------
    results : iterable of PointResult
    axes : sequence of str
        Names of the axes of the grid. The first columns have some of them; each other one gets a column.
    """
    others = [name for name in axes if name not in _ALWAYS]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*_BEFORE, *others, *_BEHIND, *_OF_REPORT, "reason"])
    for result in results:
        values = [column(result) for column in _BEFORE.values()]
        values += [_plain(result.point.axis(name)) for name in others]
        values += [column(result) for column in _BEHIND.values()]
        values += [column(result.report) if result.report else None for column in _OF_REPORT.values()]
        writer.writerow(["" if value is None else value for value in (*values, result.reason)])
    return text.getvalue().encode()


def _plain(value: object) -> object:
    """A number without a needless fraction: ``8`` for ``8.0``."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def json_bytes(results: Iterable[PointResult], axes: Mapping[str, Sequence], name: str) -> bytes:
    """The text of ``sweep.json``: of each point its axes, its accuracy, all of its report, and what the plan knows of
    its layers, memory and ROMs.

    Parameters
    ----------
    results : iterable of PointResult
    axes : mapping of str to sequence
        Axes of the grid and their values.
    name : str
        Of the sweep.
    """
    content = {
        "format": FORMAT,
        "name": name,
        "axes": {axis: list(values) for axis, values in axes.items()},
        "points": [_point(result) for result in results],
    }
    return (json.dumps(content, indent=1) + "\n").encode()


def _point(result: PointResult) -> dict[str, Any]:
    point, manifest = result.point, result.manifest
    first = {name: column(result) for name, column in _BEFORE.items()}
    return {
        "network": point.network,
        "axes": {**point.choice, **point.engine, **{name: first[name] for name in _ALWAYS}},
        "accuracy": dict(result.accuracies),
        "status": result.status,
        "reason": result.reason,
        "report": result.report.as_dict() if result.report else None,
        "plan": {name: manifest[name] for name in _OF_MANIFEST if name in manifest} if manifest else None,
    }


def sweep_table(results: Iterable[PointResult]) -> Table:
    """One row a point; why a point was not built stands in the CSV file and in its ``reason``."""
    # Narrow enough for a terminal of 80 columns.
    table = Table(title="sweep", title_justify="left", pad_edge=False, caption="acc: test accuracy, %")
    for name in ("net", "device"):
        table.add_column(name, no_wrap=True)
    for name in ("lanes", "acc", "LUTs", "BRAM", "DSP", "MHz", "inf/s"):
        table.add_column(name, justify="right", no_wrap=True)
    for result in results:
        report, point = result.report, result.point
        accuracy = "" if result.accuracy is None else f"{100 * result.accuracy:.2f}"
        start = (
            Text(printable(point.network)),
            engine_value(point, "device"),
            str(engine_value(point, "lanes")),
            accuracy,
        )
        if report is None:
            table.add_row(*start, Text(result.status, "dim" if result.skipped else "red"))
            continue
        table.add_row(
            *start, str(report.luts.used), str(report.block_rams.used), str(report.dsps.used),
            f"{report.fmax_median:.1f}", f"{report.inferences_per_second:,.0f}",
        )  # fmt: skip
    return table
