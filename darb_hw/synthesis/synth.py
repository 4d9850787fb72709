"""A design synthesised, placed and routed, and a report of what that gave.

Everything read here comes from machine-readable reports: ``stat -json`` of Yosys, ``--report`` of nextpnr. Both are
results of jobs, which the store keeps.
"""

import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from darb_hw.config import Target
from darb_hw.emit import Build
from darb_hw.errors import PlanError, ToolError
from darb_hw.jobs.flow import Flow, Watcher, outcome
from darb_hw.jobs.job import Job
from darb_hw.jobs.threads import ThreadPool
from darb_hw.store.entry import Entry
from darb_hw.store.store import Store
from darb_hw.synthesis import tools
from darb_hw.synthesis.boards import SUFFIX, constraints_file
from darb_hw.synthesis.circuit import Circuit
from darb_hw.synthesis.measurements import keep
from darb_hw.synthesis.report import SynthReport, Usage
from darb_hw.synthesis.route import critical_path_of, fmax_of, route_of
from darb_hw.synthesis.yosys import Synthesis, resources_of
from darb_prune.encoded import DarbError, write_files

__all__ = ["SEEDS", "Synthesised", "Told", "lacking_of", "netlist", "synthesise", "synthesised", "usage_of"]

SEEDS = (1, 2, 3, 4, 5)
"""Seeds of place and route; fewer make no median worth quoting."""

_BELS = {
    "ice40": {"luts": "ICESTORM_LC", "ffs": "ICESTORM_LC", "block_rams": "ICESTORM_RAM", "dsps": "ICESTORM_DSP"},
    "ecp5": {"luts": "TRELLIS_COMB", "ffs": "TRELLIS_FF", "block_rams": "DP16KD", "dsps": "MULT18X18D"},
    "gowin": {"luts": "LUT4", "ffs": "DFF", "block_rams": "BSRAM", "dsps": "MULT18X18"},
    "nexus": {"luts": "OXIDE_COMB", "ffs": "OXIDE_FF", "block_rams": "OXIDE_EBR", "dsps": "MULT9_CORE"},
}
"""For each family and resource: nextpnr's name of it."""
_WORDS = {"luts": "LUTs", "ffs": "flip-flops", "block_rams": "block RAMs", "dsps": "DSP blocks"}


@dataclass(frozen=True)
class Synthesised:
    """What came of a design.

    Parameters
    ----------
    entries : mapping of str to Entry
        ``"synthesis"`` and ``"seed 3"`` or the like: what the jobs gave, as far as they came.
    report : SynthReport or None
        None if there is no such engine.
    error : DarbError or None
        Why there is none.
    """

    entries: Mapping[str, Entry]
    report: SynthReport | None
    error: DarbError | None = None


def synthesised(circuit: Circuit, seeds: Sequence[int], constraints: bytes | None) -> Flow[Synthesised]:
    """The flow of a design: one job for Yosys, then one a seed for nextpnr.

    That it does not fit the device, or that a tool refuses it, is an outcome like any other.

    Raises
    ------
    ToolError
        If a tool is missing, or was killed.
    """
    yosys, nextpnr = tools.yosys(), tools.nextpnr(circuit.target.family)
    (made,) = yield [_synthesis(circuit)]
    entries = {"synthesis": made}
    if made.failure:
        return Synthesised(entries, None, ToolError(made.failure))
    needed = resources_of(circuit.target.family, made.files["cells.json"])
    lacking = lacking_of(needed, circuit.target)
    if lacking:
        return Synthesised(entries, None, lacking)
    routes = [
        route_of(nextpnr, circuit.target, circuit.top, seed, made.files["design.json"], constraints, circuit.title)
        for seed in seeds
    ]
    placed = yield routes
    entries |= {f"seed {seed}": entry for seed, entry in zip(seeds, placed, strict=True)}
    failure = next((entry.failure for entry in placed if entry.failure), None)
    if failure:
        return Synthesised(entries, None, ToolError(failure))
    reports = {seed: json.loads(entry.files["report.json"]) for seed, entry in zip(seeds, placed, strict=True)}
    versions = {tool.name: tool.version for tool in (yosys, nextpnr)}
    return Synthesised(entries, _report(circuit, needed, reports, versions))


def _synthesis(circuit: Circuit) -> Synthesis:
    return Synthesis(circuit.files, circuit.script, tools.yosys().version, circuit.title)


def synthesise(
    build: Build,
    seeds: Sequence[int] = SEEDS,
    jobs: int | None = None,
    board: str | None = None,
    progress: Callable[[str], None] | None = None,
    store: Store | None = None,
) -> SynthReport:
    """Synthesise, place and route the engine of a build folder; write ``report.json`` into its ``synth/``.

    Pins without a constraint go wherever nextpnr puts them. What was made before from the same files, for the same
    device, with the same tools is taken from the store, seed by seed. ``synth/`` has the netlist, and the reports and
    logs of the tools.

    Parameters
    ----------
    build : Build
    seeds : sequence of int
        One place-and-route run each.
    jobs : int, optional
        Runs at a time; by default as many as there are processors.
    board : str, optional
        See :func:`constraints_file`.
    progress : callable, optional
        Called with a word or two whenever a run of a tool has ended: ``"synthesis"``, ``"seed 3"``.
    store : Store, optional
        ``$DARB_STORE``, or that of the user, if absent.

    Raises
    ------
    ToolError
        If a tool is missing or fails.
    PlanError
        If the design does not fit the device.
    DarbError
        If there are no seeds, or there is no such board.
    """
    seeds = tuple(dict.fromkeys(seeds))
    if not seeds:
        raise DarbError("no seeds: at least one run of place and route is needed")
    store = store or Store()
    circuit = Circuit.of(build)
    constraints = constraints_file(circuit.target, board)
    text = constraints.read_bytes() if constraints else None
    watcher = Told(progress) if progress else None
    with ThreadPool(jobs or os.cpu_count() or 1, store) as pool:
        made = outcome(synthesised(circuit, seeds, text), pool, store, watcher)
    folder = build.folder / "synth"
    _write(folder, circuit, made, text)
    if made.report is None:
        assert made.error is not None
        log = _log_of_failure(folder, made)
        raise type(made.error)(f"{made.error}{f' (see {log})' if log else ''}")
    keep(store, made.report, build.manifest, build.network.read_bytes())
    return made.report


def netlist(build: Build, store: Store | None = None) -> Path:
    """Path of the netlist that :func:`synthesise` places, in Verilog; made if the store has it not.

    Raises
    ------
    ToolError
        If a tool is missing or fails.
    """
    circuit, path = Circuit.of(build), build.folder / "synth" / "netlist.v"
    store = store or Store()
    with ThreadPool(1, store) as pool:
        made = outcome(_only_synthesis(circuit), pool, store)
    if made.failure:
        raise ToolError(made.failure)
    write_files({path: made.files["netlist.v"]})
    return path


def _only_synthesis(circuit: Circuit) -> Flow[Entry]:
    (made,) = yield [_synthesis(circuit)]
    return made


class Told(Watcher):
    """Tells a function what has ended."""

    def __init__(self, progress: Callable[[str], None]) -> None:
        self._progress = progress

    def ended(self, job: Job, kept: bool) -> None:
        self._progress(job.label.partition(" of ")[0])


def _write(folder: Path, circuit: Circuit, made: Synthesised, constraints: bytes | None) -> None:
    """What people and simulations read, in place of what an earlier design left."""
    shutil.rmtree(folder, ignore_errors=True)
    files = {"yosys.log": made.entries["synthesis"].files["yosys.log"]}
    files |= {name: data for name, data in made.entries["synthesis"].files.items() if name == "netlist.v"}
    if constraints is not None:
        files[f"constraints{SUFFIX[circuit.target.family]}"] = constraints
    for name, entry in made.entries.items():
        if name != "synthesis":
            stem = name.replace(" ", "-")
            files |= {f"{stem}.{of.rpartition('.')[2]}": data for of, data in entry.files.items()}
    if made.report is not None:
        files["report.json"] = made.report.packed()
    write_files({folder / name: data for name, data in files.items()})


def _log_of_failure(folder: Path, made: Synthesised) -> Path | None:
    """The log of the job that has failed."""
    name = next((name for name, entry in made.entries.items() if entry.failure), None)
    if name is None:
        return None
    return folder / ("yosys.log" if name == "synthesis" else f"{name.replace(' ', '-')}.log")


def lacking_of(needed: Mapping[str, int], device: Target, remedy: str = "") -> PlanError | None:
    """The error to raise if a device has not what a netlist needs; None if it fits.

    Parameters
    ----------
    needed : mapping of str to int
        See :func:`~darb_hw.synthesis.yosys.resources_of`.
    device : Target
    remedy : str
        What helps beside fewer lanes and a larger device.
    """
    lacking = [
        f"{needed[resource]} {_WORDS[resource]} needed, {available} there"
        for resource, available in _resources(device).items()
        if needed[resource] > available
    ]
    return _too_large(device, "; ".join(lacking), remedy) if lacking else None


def _too_large(device: Target, lacking: str, remedy: str = "") -> PlanError:
    others = f", {remedy}," if remedy else ""
    return PlanError(f"does not fit {device.name}: {lacking}: choose fewer lanes{others} or a larger device")


def usage_of(device: Target, needed: Mapping[str, int], report: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a report that say how much of a device is used.

    nextpnr places some devices on a die that has more than their data sheets promise.

    Parameters
    ----------
    device : Target
    needed : mapping of str to int
        See :func:`~darb_hw.synthesis.yosys.resources_of`.
    report : mapping
        Of nextpnr.

    Returns
    -------
    dict of str to Usage
        ``luts``, ``ffs``, ``block_rams``, ``dsps`` and ``logic_cells``.

    Raises
    ------
    PlanError
        If the placement takes more logic cells than the device has.
    """
    bels, placed, promised = _BELS[device.family], report["utilization"], _resources(device)

    def there(resource: str) -> int:
        # A device without a resource does not list it.
        available = placed.get(bels[resource], {"available": 0})["available"]
        return min(available, promised[resource])

    usage = {resource: Usage(needed[resource], there(resource)) for resource in bels}
    cells = Usage(placed[bels["luts"]]["used"], there("luts"))
    if cells.used > cells.available:
        raise _too_large(device, f"{cells.used} logic cells needed, {cells.available} there")
    return usage | {"logic_cells": cells}


def _resources(device: Target) -> dict[str, int]:
    """What a device has."""
    ffs = device.luts if device.ffs is None else device.ffs
    return {"luts": device.luts, "ffs": ffs, "block_rams": device.block_rams, "dsps": device.dsps}


def _report(
    circuit: Circuit, needed: dict[str, int], reports: dict[int, dict[str, Any]], versions: dict[str, str]
) -> SynthReport:
    fmax = {seed: round(fmax_of(report), 3) for seed, report in reports.items()}
    middle = sorted(fmax, key=lambda seed: fmax[seed])[(len(fmax) - 1) // 2]
    usage = usage_of(circuit.target, needed, reports[middle])
    return SynthReport(
        **circuit.figures,
        **usage,
        fmax_mhz=fmax,
        critical_path=critical_path_of(middle, reports[middle]),
        tools=versions,
    )
