"""Real networks through the generated Verilog; writes docs/results/networks/*.json and docs/results/networks.md."""

import json
from typing import Annotated

import typer
from rich.console import Console

from benchmarks.command import chosen, command
from benchmarks.goals import show
from benchmarks.networks import page
from benchmarks.networks.goals import goals
from benchmarks.networks.measure import FOLDER, NETWORKS, measure


def main(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME", help=f"Any of {', '.join(NETWORKS)}; all if none.")
    ] = None,
) -> None:
    """Simulate real networks, and write their page when all are measured.

    Real data in $DARB_DATA (docs/tasks.md). Trained models are kept in runs/networks, builds in build/networks; what
    was trained, compiled or simulated before is not done again unless the build is another. Exits with 1 if anything in
    a simulation differs from the oracle or the plan, or a figure falls short.

    Examples:

    [bold]python -m benchmarks.networks[/bold]

    [bold]python -m benchmarks.networks lenet5 fsdd[/bold]
    """
    console = Console()
    for name in chosen(names, NETWORKS):
        result = measure(name, NETWORKS[name], console)
        elements, used = result["verilator"]["elements"], result["utilisation"]["whole"]
        console.print(f"{name}: {elements:,} elements of the output equal, utilisation {used:.3f}", highlight=False)
    results = {name: json.loads(path.read_text()) for name in NETWORKS if (path := FOLDER / f"{name}.json").is_file()}
    holds = show("what the engine has to show", goals(results), console)
    if results.keys() == NETWORKS.keys():
        page.write(results, FOLDER.with_suffix(".md"))
    raise typer.Exit(not holds)


app = command(main)

if __name__ == "__main__":
    app()
