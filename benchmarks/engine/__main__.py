"""The engine against its limits; writes docs/results/engine/*.json, *.png and docs/results/engine.md."""

import json
from typing import Annotated

import typer
from rich.console import Console

from benchmarks.command import JOBS, Again, Jobs, Seeds, Synthesis, chosen, command
from benchmarks.engine import page
from benchmarks.engine.goals import goals
from benchmarks.engine.measure import FOLDER, POINTS, accuracies, measure, probed
from benchmarks.goals import show


def main(
    points: Annotated[
        list[str] | None, typer.Argument(metavar="POINT", help=f"Any of {', '.join(POINTS)}; all if none.")
    ] = None,
    seeds: Seeds = 5,
    jobs: Jobs = JOBS,
    synthesis: Synthesis = True,
    again: Again = False,
) -> None:
    """Measure the engine against its limits.

    Prints every figure that the engine has to show, its limit, and the ratio of the two. MNIST in $DARB_DATA
    (docs/tasks.md). Trained models are kept in runs/engine, builds in build/engine, measurements beside the page; what
    was trained, simulated or placed before is not done again unless the design is another. Exits with 1 if a simulation
    differs from the oracle or the plan, or a figure falls short.

    Examples:

    [bold]python -m benchmarks.engine[/bold]

    [bold]python -m benchmarks.engine lanes-64 --seeds 1[/bold]

    [bold]python -m benchmarks.engine --no-synthesis[/bold]
    """
    console, names = Console(), chosen(points, POINTS, seeds)
    for name in names:
        measure(name, POINTS[name], range(1, seeds + 1), jobs, synthesis, again, console)
        console.print(f"{name}: done", highlight=False)
    if not points:
        accuracies()
        if synthesis:
            probed(range(1, seeds + 1), jobs, again)
    results = {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}
    holds = show("what the engine has to show", goals(results), console)
    page.write(results, FOLDER)
    raise typer.Exit(not holds)


app = command(main)

if __name__ == "__main__":
    app()
