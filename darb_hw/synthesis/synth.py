"""Yosys and nextpnr runs on a build folder, and what their reports say.

Everything read here comes from machine-readable reports: ``stat -json`` of Yosys, ``--report`` of nextpnr.
"""

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from darb_hw.config import Device
from darb_hw.emit import Build
from darb_hw.plan.metrics import index_overhead, stored_bits_per_weight, utilisation
from darb_hw.synthesis import tools
from darb_hw.synthesis.boards import SUFFIX, constraints_file
from darb_hw.synthesis.report import CriticalPath, SynthReport, Usage
from darb_hw.synthesis.route import error_line, route, seed_file
from darb_prune.encoded import DarbError, write_atomic

__all__ = ["SEEDS", "fmax_of", "netlist", "place", "prepare", "run_yosys", "synthesise", "yosys_script"]

SEEDS = (1, 2, 3, 4, 5)
"""Seeds of place and route; fewer make no median worth quoting."""

_FORMAT = 1
_CLOCK = "clk"


@dataclass(frozen=True)
class _Family:
    """How a family names its cells.

    Parameters
    ----------
    cells : dict of str to dict of str to int
        For each resource, the beginnings of the names of Yosys's cell types and how many one such cell takes.
    bels : dict of str to str
        For each resource, nextpnr's name of it.
    """

    cells: dict[str, dict[str, int]]
    bels: dict[str, str]


# A CCU2C is a carry chain of two LUTs; a TRELLIS_DPR16X4 is four LUTs as memory and two as its write port. iCE40
# adders are SB_LUT4 beside an SB_CARRY, which takes no LUT.
_FAMILIES = {
    "ice40": _Family(
        {
            "luts": {"SB_LUT4": 1},
            "ffs": {"SB_DFF": 1},
            "block_rams": {"SB_RAM40_4K": 1},
            "dsps": {"SB_MAC16": 1},
        },
        {"luts": "ICESTORM_LC", "ffs": "ICESTORM_LC", "block_rams": "ICESTORM_RAM", "dsps": "ICESTORM_DSP"},
    ),
    "ecp5": _Family(
        {
            "luts": {"LUT4": 1, "CCU2C": 2, "TRELLIS_DPR16X4": 6},
            "ffs": {"TRELLIS_FF": 1},
            "block_rams": {"DP16KD": 1},
            "dsps": {"MULT18X18D": 1},
        },
        {"luts": "TRELLIS_COMB", "ffs": "TRELLIS_FF", "block_rams": "DP16KD", "dsps": "MULT18X18D"},
    ),
}
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
        Runs at a time; as many as there are processors if not given.
    board : str, optional
        See :func:`constraints_file`.
    progress : callable, optional
        Called with a word or two whenever a step ends: ``"synthesis"``, ``"seed 3"``.

    Raises
    ------
    DarbError
        If a tool is missing or fails, or the design does not fit the device.
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


def place(
    nextpnr: tools.Tool,
    folder: Path,
    device: Device,
    top: str,
    seeds: Sequence[int],
    constrained: bool = False,
    jobs: int | None = None,
    progress: Callable[[str], None] = lambda what: None,
) -> dict[int, dict]:
    """Place and route ``synth/design.json`` of ``folder``, once a seed, unless its report is there.

    Parameters
    ----------
    nextpnr : Tool
    folder : Path
    device : Device
    top : str
        Name of the top-level module.
    seeds : sequence of int
    constrained : bool
        Whether there is a file of constraints in ``synth/``.
    jobs : int, optional
        Runs at a time; as many as there are processors if not given.
    progress : callable, optional
        See :func:`synthesise`.

    Returns
    -------
    dict of int to dict
        The report of nextpnr for each seed.

    Raises
    ------
    DarbError
        If nextpnr fails.
    """
    missing = [seed for seed in seeds if _results(seed_file(folder, seed)) is None]
    for seed in seeds:
        if seed not in missing:
            progress(f"seed {seed}")
    with ThreadPoolExecutor(max_workers=jobs or os.cpu_count()) as pool:
        runs = {pool.submit(route, nextpnr, folder, device, top, seed, constrained): seed for seed in missing}
        try:
            for run in as_completed(runs):
                run.result()
                progress(f"seed {runs[run]}")
        finally:
            pool.shutdown(cancel_futures=True)
    return {seed: _results(seed_file(folder, seed)) for seed in seeds}


def netlist(build: Build) -> Path:
    """Path of the netlist that :func:`synthesise` places, in Verilog; made if it is not there.

    Raises
    ------
    DarbError
        If a tool is missing or fails.
    """
    yosys, nextpnr = tools.yosys(), tools.nextpnr(build.plan.config.target.family)
    versions = {tool.name: tool.version for tool in (yosys, nextpnr)}
    folder, script = build.folder / "synth", _script(build)
    state = _state(build, script, None, versions)
    there = _results(folder / "state.json") or {}
    # Pins do not change the netlist: what was placed with some stays.
    if there | {"constraints": None} != state:
        prepare(folder, state)
    run_yosys(yosys, build.folder, script)
    return folder / "netlist.v"


def _results(path: Path) -> dict | None:
    """A report of a tool; nothing if it is not there or damaged, so that the tool runs again."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


def _state(build: Build, script: str, constraints: bytes | None, versions: dict[str, str]) -> dict:
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


def prepare(folder: Path, state: dict) -> None:
    """Throw away the results in ``folder`` if they did not come from ``state``: all that they depend on."""
    mark = folder / "state.json"
    text = (json.dumps(state, indent=2) + "\n").encode()
    if mark.is_file() and mark.read_bytes() == text:
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    write_atomic(mark, text)


def _script(build: Build) -> str:
    plan = build.plan
    dsp = plan.lane_style.dsp or plan.requant_style.dsp
    primitives = build.primitives.name if build.primitives else None
    return yosys_script(plan.config.target.family, plan.config.top, build.verilog.name, primitives, dsp)


def yosys_script(family: str, top: str, verilog: str, primitives: str | None, dsp: bool) -> str:
    """What Yosys is to do in a folder: read ``verilog`` and ``primitives``, synthesise, write into ``synth/``.

    Parameters
    ----------
    family : str
    top : str
        Name of the top-level module.
    verilog : str
        Name of a file.
    primitives : str or None
        Name of the file with modules made from primitives.
    dsp : bool
        Whether multiplications may become DSP blocks.
    """
    # On ice40 multipliers are instances of the primitive. The pass of -dsp would pack adders into them and forget their
    # registers.
    target = {"ice40": "synth_ice40", "ecp5": "synth_ecp5" + ("" if dsp else " -nodsp")}[family]
    files = f"-D DARB_PRIMITIVES {verilog} {primitives}" if primitives else verilog
    return (
        f"read_verilog {files}\n"
        f"{target} -top {top}\n"
        "tee -q -o synth/cells.json stat -json\n"
        "write_json synth/design.json\n"
        "write_verilog -noattr synth/netlist.v\n"
    )


def run_yosys(yosys: tools.Tool, folder: Path, script: str) -> None:
    """Run a script of :func:`yosys_script` unless its result is there."""
    synth = folder / "synth"
    done, cells = synth / "synthesis.done", synth / "cells.json"
    made = all((synth / name).is_file() for name in ("design.json", "netlist.v"))
    if not done.is_file() or not made or _results(cells) is None:
        (synth / "run.ys").write_text(script)
        with (synth / "yosys.log").open("w") as log:
            # In the build folder, so that $readmemh finds rom/.
            run = subprocess.run(
                [*yosys.command, "-s", "synth/run.ys"], cwd=folder, stdout=log, stderr=subprocess.STDOUT, check=False
            )
        if run.returncode:
            raise DarbError(f"yosys failed: {error_line(synth / 'yosys.log')} (see {synth / 'yosys.log'})")
        done.touch()


def resources_of(family: str, statistics: Path) -> dict[str, int]:
    """``luts``, ``ffs``, ``block_rams`` and ``dsps`` of a netlist, from what ``stat -json`` of Yosys has written."""
    cells = json.loads(statistics.read_text())["design"]["num_cells_by_type"]
    return {
        resource: sum(
            number * factor
            for kind, number in cells.items()
            for prefix, factor in factors.items()
            if kind.startswith(prefix)
        )
        for resource, factors in _FAMILIES[family].cells.items()
    }


def _check_fit(needed: dict[str, int], device: Device) -> None:
    there = {"luts": device.luts, "block_rams": device.block_rams, "dsps": device.dsps}
    lacking = [
        f"{needed[resource]} {_WORDS[resource]} needed, {available} there"
        for resource, available in there.items()
        if needed[resource] > available
    ]
    if lacking:
        raise DarbError(f"does not fit {device.name}: {'; '.join(lacking)}: choose fewer lanes or a larger device")


def _clock(names: Sequence[str], clock: str = _CLOCK) -> str:
    """The clock domain of port ``clock`` among the nets of a report, which wrap the name in that of a buffer."""
    found = [name for name in names if clock in name.split("$")]
    if len(found) != 1:
        raise DarbError(f"nextpnr reports the clocks {', '.join(names) or 'none'}: one named {clock} is expected")
    return found[0]


def fmax_of(report: dict, clock: str = _CLOCK) -> float:
    """Fmax of the clock of port ``clock`` in a report of nextpnr, MHz."""
    return float(report["fmax"][_clock(list(report["fmax"]), clock)]["achieved"])


def _critical_path(seed: int, report: dict) -> CriticalPath:
    domain = f"posedge {_clock(list(report['fmax']))}"
    path = next(p["path"] for p in report["critical_paths"] if p["from"] == domain and p["to"] == domain)
    routing = [hop for hop in path if hop["type"] == "routing"]
    return CriticalPath(
        seed=seed,
        start=path[0]["from"]["cell"],
        end=path[-1]["to"]["cell"],
        delay_ns=round(sum(hop["delay"] for hop in path), 3),
        routing_ns=round(sum(hop["delay"] for hop in routing), 3),
        nets=tuple(hop["net"] for hop in routing),
    )


def _report(build: Build, needed: dict[str, int], reports: dict[int, dict], versions: dict[str, str]) -> SynthReport:
    plan, network = build.plan, build.plan.network
    family = _FAMILIES[plan.config.target.family]
    fmax = {seed: round(fmax_of(report), 3) for seed, report in reports.items()}
    middle = sorted(fmax, key=fmax.get)[(len(fmax) - 1) // 2]
    placed = reports[middle]["utilization"]
    usage = {
        # A device without a resource does not list it.
        resource: Usage(needed[resource], placed.get(bel, {"available": 0})["available"])
        for resource, bel in family.bels.items()
    }
    logic = placed[family.bels["luts"]]
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
        stored_bits_per_weight=stored_bits_per_weight(plan),
        index_overhead=index_overhead(plan),
        utilisation=utilisation(plan),
        critical_path=_critical_path(middle, reports[middle]),
        tools=versions,
        digest=build.digest,
    )
