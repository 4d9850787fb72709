"""``darb sim``: test vectors through the generated Verilog."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from darb_prune.encoded import DarbError

app = typer.Typer()


@app.command()
def sim(
    build: Annotated[Path, typer.Argument(help="Build folder made by [b]darb verilog[/b].")],
    simulator: Annotated[list[str] | None, typer.Option(help="icarus or verilator; both by default.")] = None,
    samples: Annotated[int | None, typer.Option(help="Test vectors to run; all by default, 32 on Icarus.")] = None,
    idle: Annotated[float, typer.Option(help="Probability of a pause of the input, 0 to 0.9.")] = 0.0,
    stall: Annotated[float, typer.Option(help="Probability of back-pressure at the output, 0 to 0.9.")] = 0.0,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the pauses and of what memories hold at power-up.")] = 1,
):
    """Simulate an engine and compare every value with the oracle, every cycle count with the plan.

    Examples:

    [bold]darb sim build/digits[/bold]

    [bold]darb sim build/digits --simulator verilator --samples 100 --idle 0.2 --stall 0.2[/bold]
    """
    from darb_hw.emit import Build
    from darb_prune.encoded import TestVectors
    from sim.launch import SIMULATORS, simulate
    from sim.scenario import Scenario

    for name, value in (("idle", idle), ("stall", stall)):
        if not 0 <= value <= 0.9:
            raise DarbError(f"--{name} {value}: choose a probability from 0 to 0.9")
    if samples is not None and samples < 1:
        raise DarbError(f"--samples {samples}: choose at least 1")
    opened = Build.load(build)
    available = TestVectors.load(opened.vectors).samples
    console = Console()
    table = Table(title=f"{escape(str(build))}: engine against oracle and plan", title_justify="left")
    for column in ("simulator", "samples", "rows", "compute", "latency", "interval", "result"):
        words = column in ("simulator", "result")
        table.add_column(column, justify="left" if words else "right", no_wrap=True)
    wrong = []
    for name in simulator or SIMULATORS:
        count = min(available, samples or (32 if name == "icarus" else available))
        scenario = Scenario(tuple(range(count)), idle=idle, stall=stall, burst=3, seed=seed)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
            task = bar.add_task(f"{name}: compile, then simulate", total=count)

            def advance(done: int, task=task, bar=bar) -> None:
                bar.update(task, completed=done)

            (report,) = simulate(opened, name, [scenario], seed=seed, progress=advance)
        compute = ", ".join(str(cycles) for cycles in report.compute)
        table.add_row(
            name,
            f"{report.frames:,}",
            f"{report.rows:,}",
            compute,
            str(report.latency),
            str(report.interval),
            "[red]mismatch" if report.mismatch else "[green]exact",
        )
        if report.mismatch:
            wrong.append(f"{name}: {report.mismatch}")
    console.print(table)
    for line in wrong:
        console.print(line, style="red", markup=False, soft_wrap=True)
    if wrong:
        raise typer.Exit(1)
