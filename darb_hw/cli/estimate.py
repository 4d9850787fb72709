"""The ``estimate`` and ``refit`` commands."""

import json
from pathlib import Path
from typing import Annotated

import typer

from darb_hw.cli.app import StoreFolder, app, axis_values
from darb_prune.encoded import DarbError
from darb_prune.text import say

__all__ = ["estimate", "refit"]

Models = Annotated[
    Path | None, typer.Option("--model", help="model.json of darb refit; that of the package if absent.")
]

_LEFT_OUT = (
    "kept without their network, or planned otherwise now; darb synth or darb sweep again adds those of its designs"
)


@app.command()
def estimate(
    network: Annotated[Path, typer.Argument(help="Encoded network (.darb).")],
    device: Annotated[
        str, typer.Option(help="Devices, with commas between, or all that the model was fitted on.")
    ] = "all",
    lanes: Annotated[str, typer.Option(help="Lanes, with commas between.")] = "4,8,16",
    model: Models = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print estimates as JSON, and nothing else.")] = False,
) -> None:
    """Estimate area, clock and throughput of engines without synthesis, each with its interval.

    Cycles, block RAMs and DSP blocks follow from the plan. LUTs, flip-flops and Fmax come from a model that was fitted
    on synthesised designs. The errors that it makes on networks it has not seen are printed below.

    Examples:

    [bold]darb estimate digits.darb[/bold]

    [bold]darb estimate digits.darb --device ice40-up5k,ice40-hx8k --lanes 2,4,8 --json[/bold]
    """
    from rich.console import Console

    from darb_hw.config import EngineConfig
    from darb_hw.estimate.estimate import NoPlan, estimates
    from darb_hw.estimate.model import Model, shipped
    from darb_hw.report import error_table, estimate_table
    from darb_prune.encoded import EncodedNetwork

    fitted = Model.load(model) if model else shipped()
    names = list(fitted.clocks) if device == "all" else axis_values("device", device)
    if not names:
        raise DarbError(f'--device "{device}": name at least one device, or all')
    made = list(estimates(EncodedNetwork.load(network), EngineConfig(), names, axis_values("lanes", lanes), fitted))
    if as_json:
        print(json.dumps({"estimates": [one.as_dict() for one in made], "errors": fitted.errors()}, indent=2))
        return
    console = Console()
    console.print(estimate_table(made))
    for one in made:
        if isinstance(one, NoPlan):
            say(f"{one.device}, {one.lanes} lanes: {one.reason}", style="red")
    console.print(error_table(fitted))


@app.command()
def refit(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the fit.")],
    builds: Annotated[
        list[Path] | None,
        typer.Argument(help="Build folders that darb synth has synthesised; all designs of the store if absent."),
    ] = None,
    store: StoreFolder = None,
    alone: Annotated[bool, typer.Option(help="Leave out the designs that the package brings.")] = False,
) -> None:
    """Fit the model of darb estimate again, on the designs of the package and on your own.

    Your own are those that the store knows, which darb synth and darb sweep have placed and routed; or those of build
    folders. Writes samples.csv (what is known of each design), model.json (for darb estimate --model), estimates.md and
    estimates.png (errors on networks that the fit has not seen).

    Examples:

    [bold]darb refit -o build/fit[/bold]

    [bold]darb refit build/digits build/mine --alone -o build/fit[/bold]

    [bold]darb estimate digits.darb --model build/fit/model.json[/bold]
    """
    from rich.console import Console

    from darb_hw.estimate.fit import fit
    from darb_hw.estimate.model import MODEL
    from darb_hw.estimate.page import write_fit, write_page
    from darb_hw.estimate.sample import joined, sample_of_build, samples_of_store, shipped_samples
    from darb_hw.report import error_table
    from darb_hw.store.store import Store

    results = Store(store)
    if builds:
        own = [sample_of_build(folder, results) for folder in builds]
    else:
        own, others = samples_of_store(results)
        if others:
            say(f"left out {others:,} results of {results.folder}: {_LEFT_OUT}")
        if not own:
            raise DarbError(
                f"{results.folder}: no design to fit on; run darb synth or darb sweep, or give build folders"
            )
    fitted = fit(joined([] if alone else shipped_samples(), own))
    write_fit(fitted, output)
    write_page(fitted, output, "darb refit")
    Console().print(error_table(fitted.model))
    say(f"wrote {output / MODEL}")
