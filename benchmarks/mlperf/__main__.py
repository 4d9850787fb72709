"""MLPerf Tiny's networks on the engine; writes docs/results/mlperf-tiny/*.json and docs/results/mlperf-tiny.md."""

import json
import os
from typing import Annotated

import typer
from rich.console import Console

from benchmarks.command import command
from benchmarks.goals import show
from benchmarks.mlperf import page
from benchmarks.mlperf.goals import goals
from benchmarks.mlperf.measure import FOLDER, POINTS, measure
from darb_prune.encoded import DarbError


def main(
    points: Annotated[
        list[str] | None, typer.Argument(metavar="POINT", help=f"Any of {', '.join(POINTS)}; all if none.")
    ] = None,
    seeds: Annotated[int, typer.Option(help="Place-and-route runs of each point.")] = 5,
    jobs: Annotated[int, typer.Option("--jobs", "-j", help="Such runs at the same time.")] = os.cpu_count() or 1,
    synthesis: Annotated[bool, typer.Option(help="Whether to run Yosys and nextpnr.")] = True,
    again: Annotated[bool, typer.Option("--again", help="Simulate and place again what was measured before.")] = False,
) -> None:
    """Make MLPerf Tiny's reference networks, dense and pruned, and measure their engines.

    Prints every figure that the engine has to show beside its limit. Weights and inputs in $DARB_DATA (docs/tasks.md).
    Models are kept in runs/mlperf, builds in build/mlperf, measurements beside the page. What was trained, simulated or
    placed before is not done again unless the design is another. Exits with 1 if a simulation differs from the oracle
    or the plan, or a figure falls short.

    Examples:

    [bold]python -m benchmarks.mlperf[/bold]

    [bold]python -m benchmarks.mlperf kws-4x-16 --seeds 1[/bold]

    [bold]python -m benchmarks.mlperf --no-synthesis[/bold]
    """
    console, names = Console(), points or list(POINTS)
    unknown = [name for name in names if name not in POINTS]
    if unknown:
        raise DarbError(f"{unknown[0]}: choose from {', '.join(POINTS)}")
    if seeds < 1:
        raise DarbError(f"seeds {seeds}: at least one run of place and route is needed")
    for name in names:
        result = measure(POINTS[name], range(1, seeds + 1), jobs, synthesis, again, console)
        outcome = result.get("refused") or f"{result['plan']['interval']:,} cycles an inference"
        console.print(f"{name}: {outcome}", highlight=False, markup=False, soft_wrap=True)
    results = {name: json.loads(path.read_text()) for name in POINTS if (path := FOLDER / f"{name}.json").is_file()}
    holds = show("what the engine has to show", goals(results), console)
    page.write(results, FOLDER.with_suffix(".md"))
    raise typer.Exit(not holds)


app = command(main)

if __name__ == "__main__":
    app()
