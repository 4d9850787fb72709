"""MLPerf Tiny's networks from files; writes docs/results/imports.json and docs/results/imports.md."""

import json
from typing import Annotated

import torch
import typer
from rich.console import Console

from benchmarks.builds import ROOT
from benchmarks.command import JOBS, chosen, command
from benchmarks.imports import page
from benchmarks.imports.measure import measure
from benchmarks.imports.routes import NETWORKS, ROUTES, network_of
from darb_prune import tasks
from darb_prune.encoded import write_atomic

RESULTS = ROOT / "docs" / "results" / "imports.json"


def main(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NETWORK", help=f"Any of {', '.join(NETWORKS)}; all if none.")
    ] = None,
) -> None:
    """Take MLPerf Tiny's networks from torch, from ONNX and from TFLite files, and compare what comes in.

    Floats are compared with torch, integers layer for layer with the interpreter of the file. Weights and inputs in
    $DARB_DATA (docs/tasks.md). The page is written when all networks are measured; some minutes. Exits with 1 if one is
    refused, or further off than it may be.

    Examples:

    [bold]python -m benchmarks.imports[/bold]

    [bold]python -m benchmarks.imports kws ad[/bold]
    """
    console, data = Console(), tasks.DataSets()
    torch.set_num_threads(JOBS)
    results: page.Results = {}
    for name in chosen(names, NETWORKS):
        network = network_of(name, data)
        results[name] = {}
        for route in ROUTES:
            result = results[name][route] = measure(network, route)
            console.print(f"{name}, {route}: {page.verdict(result)}", highlight=False, markup=False, soft_wrap=True)
    if results.keys() == NETWORKS.keys():
        write_atomic(RESULTS, (json.dumps(results, indent=2) + "\n").encode())
        page.write(results, RESULTS.with_suffix(".md"))
    raise typer.Exit(any(page.failed(result) for routes in results.values() for result in routes.values()))


app = command(main)

if __name__ == "__main__":
    app()
