"""The engine of a build folder, synthesised, placed and routed, and a report of what that gave.

Everything read here comes from machine-readable reports: ``stat -json`` of Yosys, ``--report`` of nextpnr.
"""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from darb_hw.config import Device
from darb_hw.emit import Build
from darb_hw.errors import PlanError
from darb_hw.plan.metrics import index_overhead, stored_bits_per_weight, utilisation
from darb_hw.synthesis import tools
from darb_hw.synthesis.boards import SUFFIX, constraints_file
from darb_hw.synthesis.report import SynthReport, Usage
from darb_hw.synthesis.results import prepare, read_results
from darb_hw.synthesis.route import critical_path_of, fmax_of, place
from darb_hw.synthesis.yosys import resources_of, run_yosys, yosys_script
from darb_prune.encoded import DarbError, write_atomic

__all__ = ["SEEDS", "netlist", "synthesise"]

SEEDS = (1, 2, 3, 4, 5)
"""Seeds of place and route; fewer make no median worth quoting."""

_FORMAT = 1
_BELS = {
    "ice40": {"luts": "ICESTORM_LC", "ffs": "ICESTORM_LC", "block_rams": "ICESTORM_RAM", "dsps": "ICESTORM_DSP"},
    "ecp5": {"luts": "TRELLIS_COMB", "ffs": "TRELLIS_FF", "block_rams": "DP16KD", "dsps": "MULT18X18D"},
}
"""For each family and resource: nextpnr's name of it."""
_WORDS = {"luts": "LUTs", "ffs": "flip-flops", "block_rams": "block RAMs", "dsps": "DSP blocks"}


def synthesise(
    build: Build,
    seeds: Sequence[int] = SEEDS,
    jobs: int | None = None,
    board: str | None = None,
    progress: Callable[[str], None] | None = None,
) -> SynthReport:
    """Synthesise, place and route the engine of a build folder; write ``report.json`` into its ``synth/``.

    Pins without a constraint go wherever nextpnr puts them. What an earlier call made from the same design, for
    the same device, with the same tools is used again, seed by seed.

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
    progress = progress or (lambda what: None)
    device = build.plan.config.target
    yosys, nextpnr = tools.yosys(), tools.nextpnr(device.family)
    versions = {tool.name: tool.version for tool in (yosys, nextpnr)}
    constraints = constraints_file(device, board)
    script = _script(build)
    folder = build.folder / "synth"
    text = constraints.read_bytes() if constraints else None
    prepare(folder, _state(build, script, text, versions))
    if text is not None:
        write_atomic(folder / f"constraints{SUFFIX[device.family]}", text)

    run_yosys(yosys, build.folder, script)
    needed = resources_of(device.family, folder / "cells.json")
    progress("synthesis")
    _check_fit(needed, device)

    reports = place(nextpnr, build.folder, device, build.plan.config.top, seeds, text is not None, jobs, progress)
    report = _report(build, needed, reports, versions)
    report.save(folder / "report.json")
    return report


def netlist(build: Build) -> Path:
    """Path of the netlist that :func:`synthesise` places, in Verilog; made if it is not there.

    Raises
    ------
    ToolError
        If a tool is missing or fails.
    """
    yosys, nextpnr = tools.yosys(), tools.nextpnr(build.plan.config.target.family)
    versions = {tool.name: tool.version for tool in (yosys, nextpnr)}
    folder, script = build.folder / "synth", _script(build)
    state = _state(build, script, None, versions)
    before = read_results(folder / "state.json") or {}
    # Pins do not change the netlist: what was placed with some stays.
    if before | {"constraints": None} != state:
        prepare(folder, state)
    run_yosys(yosys, build.folder, script)
    return folder / "netlist.v"


def _state(build: Build, script: str, constraints: bytes | None, versions: dict[str, str]) -> dict[str, Any]:
    """All that the results depend on."""
    device = build.plan.config.target
    return {
        "format": _FORMAT,
        "design": build.digest,
        "script": script,
        "nextpnr": [*device.nextpnr, str(device.target_mhz)],
        "constraints": None if constraints is None else hashlib.sha256(constraints).hexdigest(),
        "tools": versions,
    }


def _script(build: Build) -> str:
    plan = build.plan
    dsp = plan.lane_style.dsp or plan.requant_style.dsp or plan.product_style.dsp
    primitives = build.primitives.name if build.primitives else None
    return yosys_script(plan.config.target.family, plan.config.top, build.verilog.name, primitives, dsp)


def _check_fit(needed: dict[str, int], device: Device) -> None:
    there = {"luts": device.luts, "block_rams": device.block_rams, "dsps": device.dsps}
    lacking = [
        f"{needed[resource]} {_WORDS[resource]} needed, {available} there"
        for resource, available in there.items()
        if needed[resource] > available
    ]
    if lacking:
        raise PlanError(f"does not fit {device.name}: {'; '.join(lacking)}: choose fewer lanes or a larger device")


def _report(
    build: Build, needed: dict[str, int], reports: dict[int, dict[str, Any]], versions: dict[str, str]
) -> SynthReport:
    plan, network = build.plan, build.plan.source
    bels = _BELS[plan.config.target.family]
    fmax = {seed: round(fmax_of(report), 3) for seed, report in reports.items()}
    middle = sorted(fmax, key=lambda seed: fmax[seed])[(len(fmax) - 1) // 2]
    placed = reports[middle]["utilization"]
    usage = {
        # A device without a resource does not list it.
        resource: Usage(needed[resource], placed.get(bel, {"available": 0})["available"])
        for resource, bel in bels.items()
    }
    logic = placed[bels["luts"]]
    return SynthReport(
        network=network.name,
        device=plan.config.device,
        lanes=plan.config.lanes,
        weight_bits=plan.widths.weight,
        **usage,
        logic_cells=Usage(logic["used"], logic["available"]),
        fmax_mhz=fmax,
        target_mhz=plan.config.target.target_mhz,
        latency_cycles=plan.timing.latency_of(1),
        interval_cycles=plan.timing.interval_of(1),
        weights=network.weights,
        kept=network.kept,
        macs=network.macs,
        dense_macs=sum(layer.dense_macs for layer in network.layers),
        stored_bits_per_weight=stored_bits_per_weight(plan),
        index_overhead=index_overhead(plan),
        utilisation=utilisation(plan),
        critical_path=critical_path_of(middle, reports[middle]),
        tools=versions,
        digest=build.digest,
    )
