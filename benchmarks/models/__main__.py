"""Models people bring; writes docs/results/models.json and docs/results/models.md."""

import json
import warnings
from concurrent.futures import ProcessPoolExecutor
from typing import Annotated

import torch
import typer
from rich.console import Console

from benchmarks.builds import ROOT
from benchmarks.command import JOBS, Jobs, bar, chosen, command
from benchmarks.models import page
from benchmarks.models.measure import CANDIDATES, measure
from darb_prune.encoded import write_atomic

RESULTS = ROOT / "docs" / "results" / "models.json"


def main(
    names: Annotated[list[str] | None, typer.Argument(metavar="MODEL", help="Some of them; all if none.")] = None,
    jobs: Jobs = JOBS,
    everything: Annotated[bool, typer.Option("--list", help="Print the names of all models, and leave.")] = False,
) -> None:
    """Check, prune, quantise, encode and simulate models that the project is not made for.

    A model that is refused is tried again as the remedies ask for. The page is written when all models are measured.
    Exits with 1 if a model is accepted and then refused, if a simulation differs from the oracle, or if a remedy does
    not help.

    Examples:

    [bold]python -m benchmarks.models[/bold]

    [bold]python -m benchmarks.models resnet "tcn chomp"[/bold]
    """
    console, todo = Console(), chosen(names, CANDIDATES)
    if everything:
        console.print("\n".join(CANDIDATES), markup=False, highlight=False)
        return
    results = {}
    with ProcessPoolExecutor(jobs) as pool, bar(console, "models", len(todo)) as show:
        for name, result in zip(todo, pool.map(_measure, todo), strict=True):
            results[name] = result
            console.print(f"{name}: {page.verdict(result)}", highlight=False, markup=False, soft_wrap=True)
            show(len(results))
    if results.keys() == CANDIDATES.keys():
        write_atomic(RESULTS, (json.dumps(results, indent=2) + "\n").encode())
        page.write(results, RESULTS.with_suffix(".md"))
    raise typer.Exit(any(page.failed(result) for result in results.values()))


def _measure(name: str) -> dict:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    return measure(CANDIDATES[name])


app = command(main)

if __name__ == "__main__":
    app()
