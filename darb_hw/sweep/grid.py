"""Sweeps over lanes, weight bits and devices: one function a point, a table, a CSV file and a plot."""

import csv
import io
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table
from rich.text import Text

from darb_hw.config import EngineConfig
from darb_hw.emit import generate
from darb_hw.locks import exclusive
from darb_hw.synthesis.report import SynthReport
from darb_hw.synthesis.synth import synthesise
from darb_prune.encoded import DarbError, EncodedNetwork, printable, write_atomic

__all__ = [
    "WEIGHT_BITS",
    "PointResult",
    "SweepPoint",
    "encoded_networks",
    "grid",
    "numbers",
    "run_point",
    "run_sweep",
    "sweep_table",
    "write_csv",
]

WEIGHT_BITS = 8
"""Weight bits of a run folder if none are asked for."""


@dataclass(frozen=True)
class SweepPoint:
    """One engine to build and measure.

    Parameters
    ----------
    network : Path
        A ``.darb`` file.
    config : EngineConfig
    seeds : tuple of int
        Of place and route.
    folder : Path
        Build folder; what it holds from an earlier run of the same design is used again.
    """

    network: Path
    config: EngineConfig
    seeds: tuple[int, ...]
    folder: Path

    @property
    def label(self) -> str:
        return f"{self.network.stem}, {self.config.lanes} lanes, {self.config.device}"


@dataclass(frozen=True)
class PointResult:
    """What came of a point.

    Parameters
    ----------
    point : SweepPoint
    weight_bits : int or None
        Of the widest layer; None if the network could not be read.
    accuracy : float or None
        Test accuracy of the integer network, 0 to 1, if its file says so.
    report : SynthReport or None
        None if there is no such engine.
    reason : str
        Why there is none; empty if there is.
    """

    point: SweepPoint
    weight_bits: int | None
    accuracy: float | None
    report: SynthReport | None
    reason: str = ""


def numbers(option: str, text: str) -> tuple[int, ...]:
    """``"4,8"`` -> ``(4, 8)``, without repetitions.

    Raises
    ------
    DarbError
        Naming ``option``, if there is anything but whole numbers.
    """
    try:
        return tuple(dict.fromkeys(int(part) for part in text.split(",")))
    except ValueError:
        raise DarbError(f'--{option} "{text}": write whole numbers with commas between, for example 4,8') from None


def encoded_networks(sources: Sequence[Path], weight_bits: Sequence[int] | None, output: Path) -> list[Path]:
    """The ``.darb`` files to sweep: those given, or one a weight width, compiled from a run folder.

    Parameters
    ----------
    sources : sequence of Path
        ``.darb`` files, or one run folder of ``darb prune``.
    weight_bits : sequence of int, optional
        Other weight widths need another quantisation, so a run folder; files must have these widths already.
    output : Path
        Where files made from a run folder go, as ``wBITS.darb``. One that is newer than the folder is kept.

    Raises
    ------
    DarbError
        If a width is asked for that a file does not have, or compiling fails.
    """
    folders = [source for source in sources if source.is_dir()]
    if folders and len(sources) > 1:
        raise DarbError(f"{folders[0]}: give one run folder, or .darb files, not both")
    if folders:
        return [_compiled(folders[0], bits, output) for bits in weight_bits or (WEIGHT_BITS,)]
    stems = [source.stem for source in sources]
    twice = next((stem for stem in stems if stems.count(stem) > 1), None)
    if twice is not None:
        raise DarbError(f"two networks are named {twice}: rename one, results are filed by this name")
    present = {source: _weight_bits(EncodedNetwork.load(source)) for source in sources}
    for source, bits in present.items():
        if weight_bits is not None and bits not in weight_bits:
            raise DarbError(
                f"{source}: has {bits}-bit weights; for --weight-bits {','.join(map(str, weight_bits))} give the run "
                "folder it was compiled from, so that the weights can be quantised again"
            )
    absent = [bits for bits in weight_bits or () if bits not in present.values()]
    if absent:
        raise DarbError(
            f"{', '.join(map(str, sources))}: no network with {absent[0]}-bit weights; give the run folder, so that "
            "the weights can be quantised again"
        )
    return list(sources)


def _weight_bits(network: EncodedNetwork) -> int:
    return max(layer.weight_bits for layer in network.layers)


def _compiled(run: Path, bits: int, output: Path) -> Path:
    """Compile in a process of its own: quantising needs torch, which the hardware side never imports."""
    target = output / f"w{bits}.darb"
    changed = max((path.stat().st_mtime for path in run.rglob("*") if path.is_file()), default=None)
    if changed is None:
        raise DarbError(f"{run}: an empty folder; give a run folder made by darb prune")
    if target.is_file() and target.stat().st_mtime > changed:
        return target
    output.mkdir(parents=True, exist_ok=True)
    program = Path(sys.executable).with_name("darb")
    command = [str(program), "compile", str(run), "--weight-bits", str(bits), "-o", str(target), "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["no message"]
        raise DarbError(f"darb compile {run} --weight-bits {bits}: {lines[-1].removeprefix('darb: error: ')}")
    # Left alone if its bytes did not change: the time stamp shall say that it is up to date.
    target.touch()
    return target


def grid(
    networks: Iterable[Path], lanes: Iterable[int], devices: Iterable[str], seeds: Iterable[int], output: Path
) -> list[SweepPoint]:
    """All combinations, smaller engines first.

    Raises
    ------
    DarbError
        If a number of lanes or a device does not exist.
    """
    seeds = tuple(seeds)
    configs = [EngineConfig(lanes=count, device=device) for device in devices for count in sorted(lanes)]
    if not configs:
        raise DarbError("nothing to sweep: name at least one number of lanes and one device")
    return [
        SweepPoint(network, config, seeds, output / "points" / f"{network.stem}-{config.device}-{config.lanes}")
        for network in networks
        for config in configs
    ]


def run_point(point: SweepPoint, jobs: int | None = None) -> PointResult:
    """Generate, synthesise, place and route one point.

    A point that cannot be built is a result too: its reason says why.
    """
    try:
        network = EncodedNetwork.load(point.network)
    except DarbError as error:
        return PointResult(point, None, None, None, str(error))
    bits, accuracy = _weight_bits(network), _accuracy(network)
    try:
        build = generate(network, point.config, point.folder)
        with exclusive(point.folder):
            report = synthesise(build, point.seeds, jobs)
    except DarbError as error:
        return PointResult(point, bits, accuracy, None, str(error))
    return PointResult(point, bits, accuracy, report)


def _accuracy(network: EncodedNetwork) -> float | None:
    try:
        return float(network.provenance["accuracy"]["integer"]["test"])
    except (KeyError, TypeError, ValueError):
        return None


def run_sweep(points: Iterable[SweepPoint], jobs: int | None = None) -> Iterator[PointResult]:
    """Results of the points, one after another as they are ready."""
    for point in points:
        yield run_point(point, jobs)


_OF_POINT: dict[str, Callable[[PointResult], object]] = {
    "network": lambda result: result.point.network.stem,
    "device": lambda result: result.point.config.device,
    "lanes": lambda result: result.point.config.lanes,
    "weight_bits": lambda result: result.weight_bits,
    "accuracy": lambda result: result.accuracy,
    "status": lambda result: "ok" if result.report else "failed",
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
"""The columns of the CSV file: those of every point, those of points that could be built. The reason comes last."""


def write_csv(results: Iterable[PointResult], path: Path) -> None:
    """One line a point; what a failed point has no value for stays empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*_OF_POINT, *_OF_REPORT, "reason"])
    for result in results:
        values = [column(result) for column in _OF_POINT.values()]
        values += [column(result.report) if result.report else None for column in _OF_REPORT.values()]
        writer.writerow(["" if value is None else value for value in (*values, result.reason)])
    write_atomic(path, text.getvalue().encode())


def sweep_table(results: Iterable[PointResult]) -> Table:
    """One row a point; why a point failed stands in the CSV file and in its ``reason``."""
    # Narrow enough for a terminal of 80 columns.
    table = Table(title="sweep", title_justify="left", pad_edge=False, caption="acc: test accuracy, %")
    for name in ("net", "device"):
        table.add_column(name, no_wrap=True)
    for name in ("lanes", "acc", "LUTs", "BRAM", "DSP", "MHz", "inf/s"):
        table.add_column(name, justify="right", no_wrap=True)
    for result in results:
        report, point = result.report, result.point
        accuracy = "" if result.accuracy is None else f"{100 * result.accuracy:.2f}"
        start = (Text(printable(point.network.stem)), point.config.device, str(point.config.lanes), accuracy)
        if report is None:
            table.add_row(*start, "[red]failed")
            continue
        table.add_row(
            *start, str(report.luts.used), str(report.block_rams.used), str(report.dsps.used),
            f"{report.fmax_median:.1f}", f"{report.inferences_per_second:,.0f}",
        )  # fmt: skip
    return table
