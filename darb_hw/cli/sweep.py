"""The ``sweep`` command."""

from pathlib import Path
from typing import Annotated

import typer

from darb_hw.cli.app import Jobs, Seeds, app, bar
from darb_prune.encoded import DarbError
from darb_prune.text import say

__all__ = ["sweep"]


@app.command()
def sweep(
    networks: Annotated[list[Path], typer.Argument(help="Encoded networks (.darb), or one run folder of darb prune.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the results.")],
    lanes: Annotated[str, typer.Option(help="Lanes, with commas between.")] = "4,8,16",
    weight_bits: Annotated[
        str | None, typer.Option(help="Bits of a weight, with commas between; needs a run folder. 8 by default.")
    ] = None,
    device: Annotated[str, typer.Option(help="Devices, with commas between.")] = "ecp5-25k,ecp5-85k",
    seeds: Seeds = 3,
    jobs: Jobs = None,
) -> None:
    """Synthesise every combination of lanes, weight bits and devices; write sweep.csv and sweep.png.

    Combinations that do not fit are noted with the reason. A sweep that was interrupted goes on where it stopped.

    Examples:

    [bold]darb sweep runs/digits-13x --lanes 4,8,16 --weight-bits 4,8 --device ecp5-25k,ecp5-85k -o build/sweep[/bold]

    [bold]darb sweep digits.darb --lanes 1,2,4,8 --device ice40-up5k -o build/sweep-up5k[/bold]
    """
    from rich.console import Console

    from darb_hw.config import DEVICES
    from darb_hw.locks import exclusive
    from darb_hw.sweep.grid import encoded_networks, grid, numbers, run_sweep, sweep_table, write_csv
    from darb_hw.sweep.plot import plot
    from darb_hw.synthesis import tools

    widths = None if weight_bits is None else numbers("weight-bits", weight_bits)
    devices = [name.strip() for name in device.split(",") if name.strip()]
    lane_counts = numbers("lanes", lanes)
    # Checked before the first network is compiled: a misspelt device or a missing tool shall not cost minutes.
    grid([], lane_counts, devices, range(1, seeds + 1), output)
    tools.yosys()
    for name in devices:
        tools.nextpnr(DEVICES[name].family)
    console = Console()
    with console.status("compiling networks"):
        files = encoded_networks(networks, widths, output)
    points = grid(files, lane_counts, devices, range(1, seeds + 1), output)
    csv, png = output / "sweep.csv", output / "sweep.png"
    output.mkdir(parents=True, exist_ok=True)
    with exclusive(output), bar("sweep", len(points)) as advance:
        results = []
        for result in run_sweep(points, jobs):
            results.append(result)
            # After every point, so that an interrupted sweep leaves what it has.
            write_csv(results, csv)
            advance(result.point.label)
    plot(results, png)
    console.print(sweep_table(results))
    for result in results:
        if result.reason:
            say(f"{result.point.label}: {result.reason}", style="red")
    say(f"wrote {csv} and {png}")
    if not any(result.report for result in results):
        raise DarbError("no point could be built; see above")
