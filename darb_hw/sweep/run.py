"""A whole sweep: its points as flows, its tables written as results come."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from darb_hw.estimate.model import shipped
from darb_hw.jobs.flow import Pool, Watcher, outcomes
from darb_hw.store.store import Store
from darb_hw.sweep.measure import measured
from darb_hw.sweep.networks import Networks
from darb_hw.sweep.points import PointResult, SweepPoint
from darb_hw.sweep.skipping import unbuilt
from darb_hw.sweep.spec import SweepSpec
from darb_hw.sweep.table import csv_bytes, json_bytes
from darb_prune.encoded import DarbError, write_files

__all__ = ["run_sweep"]

_PAUSE_SECONDS = 1.0
_SHARE = 20
"""Writing tables takes at most one part in so many of the time."""


def run_sweep(
    sweep: SweepSpec,
    points: Sequence[SweepPoint],
    output: Path,
    pool: Pool,
    store: Store,
    watcher: Watcher | None = None,
    progress: Callable[[PointResult], None] = lambda result: None,
) -> list[PointResult]:
    """Measure the points of a sweep; write ``sweep.csv`` and ``sweep.json`` as results come.

    Both have the points in the order of the grid, whoever did the jobs and whatever came first. A sweep that was
    stopped goes on: results are in the store. If the sweep says so, points that cannot be on a Pareto front are skipped
    (:func:`~darb_hw.sweep.skipping.unbuilt`).

    Parameters
    ----------
    sweep : SweepSpec
    points : sequence of SweepPoint
        See :func:`~darb_hw.sweep.points.grid`.
    output : Path
        Folder of both files.
    pool : Pool
    store : Store
    watcher : Watcher, optional
    progress : callable
        Called with each result as it comes.

    Returns
    -------
    list of PointResult
        In the order of the grid.
    """
    axes, networks = sweep.declared(), Networks(sweep)
    results: dict[int, PointResult] = {}
    tables = _Tables(output, lambda: [results[number] for number in sorted(results)], axes)
    try:
        if sweep.prune_dominated:
            results |= unbuilt(points, networks, shipped(), pool, store, watcher)
            for result in results.values():
                progress(result)
        left = [number for number in range(len(points)) if number not in results]
        flows = (measured(points[number], networks, store) for number in left)
        for position, result in outcomes(flows, pool, store, watcher):
            if isinstance(result, DarbError):
                raise result
            results[left[position]] = result
            tables.write_sometimes()
            progress(result)
    finally:
        tables.write()
    return [results[number] for number in sorted(results)]


class _Tables:
    """The two files of a sweep."""

    def __init__(self, output: Path, results: Callable[[], list[PointResult]], axes: dict[str, tuple]) -> None:
        self._output, self._results, self._axes = output, results, axes
        self._next = time.monotonic()

    def write_sometimes(self) -> None:
        if time.monotonic() >= self._next:
            self.write()

    def write(self) -> None:
        start, results = time.monotonic(), self._results()
        files = {
            self._output / "sweep.csv": csv_bytes(results, list(self._axes)),
            self._output / "sweep.json": json_bytes(results, self._axes, self._output.name),
        }
        write_files(files)
        end = time.monotonic()
        self._next = end + max(_PAUSE_SECONDS, _SHARE * (end - start))
