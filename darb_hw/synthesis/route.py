"""Place and route: the job that runs nextpnr, watched, and the clock that it reports.

The first router of nextpnr can go round in circles for ever. A run that does is stopped, and the second router takes
over. So can the second one: that seed is given up.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from darb_hw.config import Target
from darb_hw.errors import ToolError
from darb_hw.jobs.job import Job, JobFailure
from darb_hw.jobs.program import raise_failure, run_program
from darb_hw.synthesis import tools
from darb_hw.synthesis.blocks import BLOCKS, blocks_of
from darb_hw.synthesis.boards import SUFFIX
from darb_hw.synthesis.report import CriticalPath
from darb_hw.synthesis.tools import Tool

__all__ = ["LAYOUT", "Route", "critical_path_of", "fmax_of", "route_of"]

LAYOUT = {"ice40": "design.asc", "ecp5": "design.config", "gowin": "placed.json", "nexus": "design.fasm"}
"""For each family, the file with what becomes a bitstream."""
_LAYOUT_OPTION = {"ice40": "--asc", "ecp5": "--textcfg", "gowin": "--write", "nexus": "--fasm"}

_CLOCK = "clk"
_ROUTERS = ("router1", "router2")
"""The second one ends where the first does not, but leaves a slower clock."""
_LOOK_SECONDS = 2.0
_CIRCLES = 100
"""Lines of the log, a thousand iterations each, in which no wire is routed that was not before."""
_TURNS = 500
"""Iterations of the second router in which as many wires are used twice as before."""
_OVERUSED = re.compile(r"^Info: +iter=\d+ wires=\d+ overused=(\d+) overuse=(\d+)", re.MULTILINE)
_ITERATIONS = re.compile(r"^Info: +\d+ \| +\d+ +(\d+) \| +\d+ +\d+ \| +(\d+)\|", re.MULTILINE)
_REPORT, _LOG, _PLACED = "report.json", "nextpnr.log", "placement.json"


@dataclass(frozen=True)
class Route(Job):
    """``design.json`` of Yosys, constraints and a seed -> ``report.json``, ``nextpnr.log``; if asked for, the layout,
    and ``blocks.json``: where its block RAMs are.

    Parameters
    ----------
    inputs : mapping of str to bytes
    family : str
    options : tuple of str
        Of nextpnr, the seed besides.
    seed : int
    version : str
        Of nextpnr.
    title : str
        For people.
    """

    kind: ClassVar[str] = "route"
    inputs: Mapping[str, bytes]
    family: str
    options: tuple[str, ...]
    seed: int
    version: str
    title: str = ""

    @property
    def label(self) -> str:
        return f"seed {self.seed} of {self.title}"

    def settings(self) -> dict[str, Any]:
        return {"options": self.options, "seed": self.seed, "nextpnr": self.version, "routers": _ROUTERS}

    def run(self, folder: Path) -> Mapping[str, bytes]:
        nextpnr = tools.of_version(tools.nextpnr(self.family), self.version)
        said, log, report = folder / "output", folder / _LOG, folder / _REPORT
        code = None
        for router in _ROUTERS:
            log.unlink(missing_ok=True)
            # Relative names, in that folder: a WebAssembly build sees another /tmp than we do.
            command = [*nextpnr.command, *self.options, "--seed", str(self.seed), "--router", router]
            code = run_program(command, folder, said, _LOOK_SECONDS, lambda: _circles(log))
            if code is not None:
                break
        text = log.read_text(errors="replace") if log.is_file() else ""
        if code is None:
            message = f"{nextpnr.name} does not get on with seed {self.seed}: leave it out"
            raise JobFailure(message, {_LOG: text.encode()})
        if code or not report.is_file():
            if "ERROR" not in text:
                text = said.read_text(errors="replace")
            raise_failure(nextpnr.name, code, text, {_LOG: text.encode()})
        layout = folder / LAYOUT[self.family]
        made = {layout.name: layout.read_bytes()} if layout.is_file() else {}
        if (folder / _PLACED).is_file():
            blocks = blocks_of(self.family, (folder / _PLACED).read_bytes())
            made[BLOCKS] = json.dumps(blocks, indent=2).encode()
        return {_REPORT: report.read_bytes(), _LOG: text.encode()} | made


def route_of(
    nextpnr: Tool,
    device: Target,
    top: str,
    seed: int,
    netlist: bytes,
    constraints: bytes | None,
    title: str,
    whole: bool = False,
    blocks: bool = False,
) -> Route:
    """The job that places and routes a netlist on a device.

    Parameters
    ----------
    nextpnr : Tool
    device : Target
    top : str
        Name of the top-level module.
    seed : int
    netlist : bytes
        ``design.json`` of :class:`~darb_hw.synthesis.yosys.Synthesis`.
    constraints : bytes or None
        Contents of a file of constraints.
    title : str
    whole : bool
        Whether it goes into a board: every port has its pin, and the layout is a result. Else ports without a
        constraint go wherever nextpnr puts them.
    blocks : bool
        Whether it is a result where block RAMs are.
    """
    suffix = SUFFIX[device.family]
    kind, file = suffix.removeprefix("."), f"constraints{suffix}"
    # Where every port needs a pin, yosys_script has left no other.
    unconstrained = () if device.needs_pins else (f"--{kind}-allow-unconstrained",)
    options = [
        *device.nextpnr, "--json", "design.json", "--top", top, "--freq", str(device.target_mhz), "--timing-allow-fail",
        *((_LAYOUT_OPTION[device.family], LAYOUT[device.family]) if whole else unconstrained),
        "--report", _REPORT, "--quiet", "--log", _LOG, *(("--write", _PLACED) if blocks else ()),
    ]  # fmt: skip
    inputs = {"design.json": netlist}
    if constraints is not None:
        options += ["--vopt", f"cst={file}"] if device.family == "gowin" else [f"--{kind}", file]
        inputs[file] = constraints
    return Route(inputs, device.family, tuple(options), seed, nextpnr.version, title)


def _circles(log: Path) -> bool:
    """Whether router 1 rips up as many wires as it routes, or router 2 cannot get rid of the last wires that are used
    twice, and has gone on so for long."""
    if not log.is_file():
        return False
    text = log.read_text(errors="replace")
    return any(
        len(progress) > long and len(set(progress[-long:])) == 1
        for progress, long in ((_ITERATIONS.findall(text), _CIRCLES), (_OVERUSED.findall(text), _TURNS))
    )


def _clock(names: Sequence[str], clock: str = _CLOCK) -> str:
    """The clock domain of port ``clock`` among the nets of a report, which wrap the name in that of a buffer, or have
    that of a part of the design before it."""
    matches = [name for name in names if clock in re.split(r"[$.]", name)]
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
