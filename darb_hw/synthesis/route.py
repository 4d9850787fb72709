"""One place-and-route run of nextpnr, watched: its first router can go round in circles for ever."""

import os
import re
import subprocess
from pathlib import Path

from darb_hw.config import Device
from darb_hw.synthesis import tools
from darb_hw.synthesis.boards import SUFFIX
from darb_prune.encoded import DarbError

__all__ = ["error_line", "route", "seed_file"]

_ROUTERS = ("router1", "router2")
"""The second one ends where the first does not, but leaves a slower clock."""
_LOOK_SECONDS = 2.0
_CIRCLES = 100
"""Lines of the log, a thousand iterations each, in which no wire is routed that was not before."""
_ITERATIONS = re.compile(r"^Info: +\d+ \| +\d+ +(\d+) \| +\d+ +\d+ \| +(\d+)\|", re.MULTILINE)


def seed_file(folder: Path, seed: int) -> Path:
    """The report of nextpnr for a seed, in the folder of a build."""
    return folder / "synth" / f"seed-{seed}.json"


def route(nextpnr: tools.Tool, folder: Path, device: Device, top: str, seed: int, constrained: bool) -> None:
    """One place-and-route run; its report appears under its name only when it is complete.

    If the first router does not get on, the second one does the work.

    Raises
    ------
    DarbError
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
    for router in _ROUTERS:
        run = _watched([*nextpnr.command, *options, "--router", router], folder, log)
        if run is not None:
            break
    if run is None:
        raise DarbError(f"{nextpnr.name} does not get on with seed {seed} on {device.name} (see {log}): leave it out")
    if run.returncode or not part.is_file():
        if not log.is_file() or "ERROR" not in log.read_text(errors="replace"):
            log.write_text(run.stdout)
        raise DarbError(f"{nextpnr.name} failed on {device.name}: {error_line(log)} (see {log})")
    os.replace(part, seed_file(folder, seed))


def error_line(log: Path) -> str:
    """The first line with an error (those after it only follow): no result, a message to pass on."""
    lines = log.read_text(errors="replace").splitlines()
    errors = [line for line in lines if "ERROR" in line]
    return (errors or lines[-1:] or ["no message"])[0].strip().removeprefix("ERROR: ")


def _watched(command: list[str], folder: Path, log: Path) -> subprocess.CompletedProcess | None:
    """Run nextpnr in ``folder``; stopped, with nothing to give, if it goes round in circles."""
    log.unlink(missing_ok=True)
    # Relative names, in the build folder: a WebAssembly build sees another /tmp than we do.
    pipe = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with subprocess.Popen(command, cwd=folder, text=True, **pipe) as process:
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
