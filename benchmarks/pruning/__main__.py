"""Writes docs/results/pruning.md and its pictures from the experiments beside it; `make experiments` runs them."""

from typing import Annotated

import typer
from rich.console import Console

from benchmarks.builds import ROOT
from benchmarks.command import chosen, command
from benchmarks.goals import show
from benchmarks.pruning import cycles
from benchmarks.pruning.comparison import FOLDER, ComparedMethods
from benchmarks.pruning.page import goals, page
from benchmarks.pruning.plots import frontiers
from darb_prune.encoded import write_files
from darb_prune.studies.experiment import spec
from darb_prune.studies.experiment.results import collect

EXPERIMENTS = ("digits", "mnist", "fashion-mnist-lenet5", "cifar10", "fsdd", "chars", "words")
_WORK = ROOT / "build" / "experiments"


def main(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME", help=f"Whose cycles to count: any of {', '.join(EXPERIMENTS)}; all if none."),
    ] = None,
) -> None:
    """Count the cycles of the networks of experiments that were run here, each whole; write the page of all that were
    run anywhere.

    Examples:

    [bold]python -m benchmarks.pruning[/bold]
    """
    console = Console()
    for name in chosen(names, dict.fromkeys(EXPERIMENTS)):
        results = collect(spec.load(ROOT / "examples" / "experiments" / f"{name}.toml"), _WORK / name)
        if len(results.records) == len(results.planned):
            cycles.write(results, _WORK / name, FOLDER / name / "cycles.csv", console)
        else:
            console.print(f"{name}: {len(results.records)} of {len(results.planned)} runs are here; cycles stay")
    comparisons = [ComparedMethods.load(name) for name in EXPERIMENTS]
    files = {FOLDER / "pruning" / f"{one.name}.png": frontiers(one) for one in comparisons}
    write_files({FOLDER / "pruning.md": page(comparisons).encode(), **files})
    show("what the comparisons have to show", goals(comparisons), console)


app = command(main)

if __name__ == "__main__":
    app()
