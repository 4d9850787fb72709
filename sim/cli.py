"""``darb sim``: test vectors through the generated Verilog."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from darb_prune.encoded import DarbError, printable
from darb_prune.text import say
from sim.scenario import Report, Scenario

if TYPE_CHECKING:  # loaded when a command runs
    from darb_hw.emit import Build
    from sim.batch import BatchReport

app = typer.Typer()


@app.command()
def sim(
    build: Annotated[Path, typer.Argument(help="Build folder made by [b]darb verilog[/b].")],
    simulator: Annotated[list[str] | None, typer.Option(help="icarus or verilator; both by default.")] = None,
    samples: Annotated[int | None, typer.Option(help="Test vectors to run; all by default, 32 on Icarus.")] = None,
    idle: Annotated[float, typer.Option(help="Probability of a pause of the input, 0 to 0.9.")] = 0.0,
    stall: Annotated[float, typer.Option(help="Probability of back-pressure at the output, 0 to 0.9.")] = 0.0,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the pauses and of what memories hold at power-up.")] = 1,
    every: Annotated[
        bool, typer.Option("--all", help="All test vectors at full speed: Verilator driven from C++, outputs only.")
    ] = False,
    netlist: Annotated[
        bool, typer.Option(help="The synthesised netlist on Icarus, 4 test vectors by default.")
    ] = False,
) -> None:
    """Simulate an engine and compare every value with the oracle, every cycle count with the plan.

    With --netlist what Yosys makes of it is simulated instead, with models of the device's cells: outputs and cycle
    counts between the ports.

    Examples:

    [bold]darb sim build/digits[/bold]

    [bold]darb sim build/digits --simulator verilator --samples 100 --idle 0.2 --stall 0.2[/bold]

    [bold]darb sim build/digits --all[/bold]

    [bold]darb sim build/digits --netlist --samples 4[/bold]
    """
    from darb_hw.emit import Build
    from darb_hw.locks import exclusive
    from sim.launch import SIMULATORS, simulate
    from sim.netlist import simulate_netlist

    for name, value in (("idle", idle), ("stall", stall)):
        if not 0 <= value <= 0.9:
            raise DarbError(f"--{name} {value}: choose a probability from 0 to 0.9")
    if samples is not None and samples < 1:
        raise DarbError(f"--samples {samples}: choose at least 1")
    if every:
        others = {
            "--simulator": simulator,
            "--samples": samples,
            "--idle": idle,
            "--stall": stall,
            "--netlist": netlist,
        }
        if any(others.values()):
            option = next(name for name, value in others.items() if value)
            raise DarbError(f"--all sends every test vector through Verilator without pauses: leave out {option}")
    if netlist and simulator:
        raise DarbError("--netlist runs on Icarus: leave out --simulator")
    with exclusive(build):
        opened = Build.load(build)
        if every:
            _all(opened, seed)
            return
        available = opened.load_vectors().samples
        console = Console()
        table = _table(build, "simulator", "samples", "rows", "compute", "latency", "interval", "result")
        wrong = []
        for name in ["netlist"] if netlist else simulator or SIMULATORS:
            count = min(available, samples or {"icarus": 32, "netlist": 4}.get(name, available))
            scenario = Scenario(tuple(range(count)), idle=idle, stall=stall, burst=3, seed=seed)
            steps = "synthesise, compile, simulate" if netlist else "compile, then simulate"
            with _progress(console, f"{name}: {steps}", count) as advance:
                if netlist:
                    (report,) = simulate_netlist(opened, [scenario], seed=seed, progress=advance)
                else:
                    (report,) = simulate(opened, name, [scenario], seed=seed, progress=advance)
            table.add_row(
                name,
                f"{report.frames:,}",
                f"{report.rows:,}",
                *_cycles(report),
                _verdict(report),
            )
            if report.mismatch:
                wrong.append(f"{name}: {report.mismatch}")
        _finish(console, table, wrong)


@app.command()
def virtual(
    build: Annotated[Path, typer.Argument(help="Build folder of [b]darb board[/b].")],
    mhz: Annotated[float, typer.Option(min=1, help="Clock of the engine: a slow one is simulated faster.")] = 50.0,
) -> None:
    """Simulate a whole board behind a pseudo-terminal, to be opened in place of a serial port; Ctrl-C ends it.

    It is the top level of the bitstream, from its oscillator to the bits on its serial line, with a clock of its own.
    Bitstreams with --link spi have no such line.

    Examples:

    [bold]darb virtual build/ulx3s[/bold]

    [bold]darb host self-test build/ulx3s --port /dev/pts/3 --samples 20 --timeout 30[/bold]
    """
    import time

    from darb_hw.emit import Build
    from sim.board import BoardModel, virtual_board

    model = BoardModel.of(Build.load(build), mhz)
    with contextlib.ExitStack() as stack:
        with Console(stderr=True).status("compiling"):
            port = stack.enter_context(virtual_board(model))
        say(f"{model.board.title} at {port}: darb host self-test {build} --port {port} --timeout 30")
        with contextlib.suppress(KeyboardInterrupt):
            while True:
                time.sleep(1)


def _all(build: "Build", seed: int) -> None:
    """All test vectors in one batch."""
    from sim.batch import batch
    from sim.replay import locate

    console = Console()
    table = _table(build.folder, "samples", "elements", "cycles", "compute", "latency", "interval", "result")
    total = build.load_vectors().samples
    with _progress(console, "compile, then simulate", total) as advance:
        report = batch(build, progress=advance, seed=seed)
    table.add_row(
        f"{report.frames:,}",
        f"{report.elements:,}",
        f"{report.cycles:,}",
        *_cycles(report),
        _verdict(report),
    )
    wrong = [report.mismatch] if report.mismatch else []
    if report.mismatch and report.frames < total:
        with console.status(f"looking inside the engine, sample {report.frames}"):
            inside = locate(build, range(report.frames + 1), seed=seed)
        wrong.append(f"began at {inside}" if inside else "not seen again with the inside of the engine compared")
    _finish(console, table, wrong)


def _table(build: Path, *columns: str) -> Table:
    title = Text(f"{printable(build)}: engine against oracle and plan", style="table.title")
    table = Table(title=title, title_justify="left")
    for column in columns:
        words = column in ("simulator", "result")
        table.add_column(column, justify="left" if words else "right", no_wrap=True)
    return table


@contextlib.contextmanager
def _progress(console: Console, words: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar; gives what is to be called with the number of frames done."""
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(printable(words), total=total)
        yield lambda done: bar.update(task, completed=done)


def _cycles(report: "Report | BatchReport") -> tuple[str, ...]:
    measured = ("-" if cycles is None else str(cycles) for cycles in (report.latency, report.interval))
    return ", ".join(str(cycles) for cycles in report.compute), *measured


def _verdict(report: "Report | BatchReport") -> str:
    return "[red]mismatch" if report.mismatch else "[green]exact"


def _finish(console: Console, table: Table, wrong: list[str]) -> None:
    """Print the results; exit code 1 if anything was wrong."""
    console.print(table)
    for line in wrong:
        say(line, style="red")
    if wrong:
        raise typer.Exit(1)
