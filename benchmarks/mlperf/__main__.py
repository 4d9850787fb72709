"""MLPerf Tiny's networks on the engine; writes docs/results/mlperf-tiny/*.json and docs/results/mlperf-tiny.md."""

import json
from typing import Annotated

import typer
from rich.console import Console

from benchmarks.command import JOBS, Again, Jobs, Seeds, Synthesis, chosen, command
from benchmarks.goals import show
from benchmarks.mlperf import page
from benchmarks.mlperf.goals import goals
from benchmarks.mlperf.measure import FOLDER, POINTS, measure


def main(
    points: Annotated[
        list[str] | None, typer.Argument(metavar="POINT", help=f"Any of {', '.join(POINTS)}; all if none.")
    ] = None,
    seeds: Seeds = 5,
    jobs: Jobs = JOBS,
    synthesis: Synthesis = True,
    again: Again = False,
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
    console, names = Console(), chosen(points, POINTS, seeds)
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
