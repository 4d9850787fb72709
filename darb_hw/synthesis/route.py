"""Place and route: nextpnr once a seed, each run watched, and the clock that it reports.

The first router of nextpnr can go round in circles for ever. A run that does is stopped, and the second router takes
over.
"""

import json
import os
import re
import subprocess
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from darb_hw.config import Device
from darb_hw.errors import ToolError
from darb_hw.synthesis.boards import SUFFIX
from darb_hw.synthesis.report import CriticalPath
from darb_hw.synthesis.results import error_line, read_results
from darb_hw.synthesis.tools import Tool

__all__ = ["critical_path_of", "fmax_of", "place", "route", "seed_file"]

_CLOCK = "clk"
_ROUTERS = ("router1", "router2")
"""The second one ends where the first does not, but leaves a slower clock."""
_LOOK_SECONDS = 2.0
_CIRCLES = 100
"""Lines of the log, a thousand iterations each, in which no wire is routed that was not before."""
_ITERATIONS = re.compile(r"^Info: +\d+ \| +\d+ +(\d+) \| +\d+ +\d+ \| +(\d+)\|", re.MULTILINE)


def seed_file(folder: Path, seed: int) -> Path:
    """The report of nextpnr for a seed, in the folder of a build."""
    return folder / "synth" / f"seed-{seed}.json"


def place(
    nextpnr: Tool,
    folder: Path,
    device: Device,
    top: str,
    seeds: Sequence[int],
    constrained: bool = False,
    jobs: int | None = None,
    progress: Callable[[str], None] = lambda what: None,
) -> dict[int, dict[str, Any]]:
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
        Runs at a time; by default as many as there are processors.
    progress : callable, optional
        Called with ``"seed 3"`` or the like when the report of a seed is there.

    Returns
    -------
    dict of int to dict
        The report of nextpnr for each seed.

    Raises
    ------
    ToolError
        If nextpnr fails.
    """
    missing = [seed for seed in seeds if read_results(seed_file(folder, seed)) is None]
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
    return {seed: json.loads(seed_file(folder, seed).read_text()) for seed in seeds}


def route(nextpnr: Tool, folder: Path, device: Device, top: str, seed: int, constrained: bool) -> None:
    """One place-and-route run. Its report appears under its name only when it is complete.

    Parameters are those of :func:`place`.

    Raises
    ------
    ToolError
        If nextpnr fails, or neither router gets on.
    """
    name = f"synth/seed-{seed}"
    suffix = SUFFIX[device.family]
    kind = suffix.removeprefix(".")
    options = [
        *device.nextpnr, "--json", "synth/design.json", "--top", top,
        "--freq", str(device.target_mhz), "--seed", str(seed), "--timing-allow-fail", f"--{kind}-allow-unconstrained",
        "--report", f"{name}.part", "--quiet", "--log", f"{name}.log",
    ]  # fmt: skip
    if constrained:
        options += [f"--{kind}", f"synth/constraints{suffix}"]
    log, part = folder / f"{name}.log", folder / f"{name}.part"
    runs = (_watched([*nextpnr.command, *options, "--router", router], folder, log) for router in _ROUTERS)
    run = next((run for run in runs if run is not None), None)
    if run is None:
        raise ToolError(f"{nextpnr.name} does not get on with seed {seed} on {device.name} (see {log}): leave it out")
    if run.returncode or not part.is_file():
        if not log.is_file() or "ERROR" not in log.read_text(errors="replace"):
            log.write_text(run.stdout)
        raise ToolError(f"{nextpnr.name} failed on {device.name}: {error_line(log)} (see {log})")
    os.replace(part, seed_file(folder, seed))


def _watched(command: list[str], folder: Path, log: Path) -> subprocess.CompletedProcess[str] | None:
    """Run nextpnr in ``folder``. If it goes round in circles, stop it and return None."""
    log.unlink(missing_ok=True)
    # Relative names, in the build folder: a WebAssembly build sees another /tmp than we do.
    with subprocess.Popen(command, cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        try:
            while True:
                try:
                    output, _ = process.communicate(timeout=_LOOK_SECONDS)
                    return subprocess.CompletedProcess(command, process.returncode, output)
                except subprocess.TimeoutExpired:
                    if _circles(log):
                        return None
        finally:
            process.kill()


def _circles(log: Path) -> bool:
    """Whether router 1 rips up as many wires as it routes, and has done so for long."""
    if not log.is_file():
        return False
    progress = _ITERATIONS.findall(log.read_text(errors="replace"))
    return len(progress) > _CIRCLES and len(set(progress[-_CIRCLES:])) == 1


def _clock(names: Sequence[str], clock: str = _CLOCK) -> str:
    """The clock domain of port ``clock`` among the nets of a report, which wrap the name in that of a buffer."""
    matches = [name for name in names if clock in name.split("$")]
    if len(matches) != 1:
        raise ToolError(f"nextpnr reports the clocks {', '.join(names) or 'none'}: one named {clock} is expected")
    return matches[0]


def fmax_of(report: dict[str, Any], clock: str = _CLOCK) -> float:
    """Fmax of the clock of port ``clock`` in a report of nextpnr, MHz.

    Raises
    ------
    ToolError
        If the report has no such clock.
    """
    return float(report["fmax"][_clock(list(report["fmax"]), clock)]["achieved"])


def critical_path_of(seed: int, report: dict[str, Any]) -> CriticalPath:
    """The slowest path between registers in the report of nextpnr for ``seed``.

    Raises
    ------
    ToolError
        If the report has no clock of port ``clk``.
    """
    domain = f"posedge {_clock(list(report['fmax']))}"
    path = next(path["path"] for path in report["critical_paths"] if path["from"] == domain and path["to"] == domain)
    routing = [hop for hop in path if hop["type"] == "routing"]
    return CriticalPath(
        seed=seed,
        start=path[0]["from"]["cell"],
        end=path[-1]["to"]["cell"],
        delay_ns=round(sum(hop["delay"] for hop in path), 3),
        routing_ns=round(sum(hop["delay"] for hop in routing), 3),
        nets=tuple(hop["net"] for hop in routing),
    )
