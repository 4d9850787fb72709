"""The ``sweep`` command."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from darb_hw.cli.app import Jobs, Scheduler, StoreFolder, app, axis_values, pool_of
from darb_prune.encoded import DarbError, printable
from darb_prune.text import say

if TYPE_CHECKING:
    from darb_hw.sweep.spec import SweepSpec

__all__ = ["sweep"]

_LANES, _DEVICES = "4,8,16", "ecp5-25k,ecp5-85k"


def _axis(text: str, panel: str = "Axes, with commas between values") -> Any:
    return typer.Option(help=text, rich_help_panel=panel)


@app.command()
def sweep(
    sources: Annotated[
        list[Path], typer.Argument(help="Encoded networks (.darb), or one run folder, or one file of a sweep (.toml).")
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder of the results; build/sweep-NAME if absent.")
    ] = None,
    lanes: Annotated[str | None, _axis(f"{_LANES} if absent.")] = None,
    weight_bits: Annotated[str | None, _axis("Needs a run folder. 8 if absent.")] = None,
    device: Annotated[str | None, _axis(f"{_DEVICES} if absent.")] = None,
    ratio: Annotated[str | None, _axis("The run folder is pruned with these ratios.")] = None,
    method: Annotated[str | None, _axis("Methods of pruning.")] = None,
    activation_bits: Annotated[str | None, _axis("Needs a run folder.")] = None,
    seed: Annotated[str | None, _axis("Seeds of pruning.")] = None,
    memory: Annotated[str | None, _axis("Activation memory: private, shared, spram, auto.")] = None,
    positions: Annotated[str | None, _axis("Neighbouring output positions at once.")] = None,
    lane_multiplier: Annotated[str | None, _axis("auto, dsp, lut.")] = None,
    requant_multiplier: Annotated[str | None, _axis("auto, dsp, lut.")] = None,
    input_order: Annotated[str | None, _axis("logical, storage.")] = None,
    roms: Annotated[str | None, _axis("Where the network stands: blocks, spram.")] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Place-and-route runs of each point; 3 if absent.")] = None,
    prune_dominated: Annotated[
        bool, typer.Option("--prune-dominated", help="Skip points that estimates keep from every Pareto front.")
    ] = False,
    jobs: Jobs = None,
    scheduler: Scheduler = None,
    store: StoreFolder = None,
) -> None:
    """Measure every combination of the axes; write sweep.csv, sweep.json and sweep.png.

    Jobs run on one worker a processor of this machine, or on a Dask cluster (docs/sweeps.md). Combinations that do not
    fit are noted with the reason. A sweep that was interrupted goes on where it stopped. With --prune-dominated all
    networks are made first, and combinations that cannot be on the Pareto front of their device are not synthesised.

    Examples:

    [bold]darb sweep examples/sweeps/digits.toml[/bold]

    [bold]darb sweep runs/digits-13x --lanes 4,8,16 --weight-bits 4,8 --device ecp5-25k,ecp5-85k -o build/sweep[/bold]

    [bold]darb sweep digits.darb --lanes 1,2,4,8 --device ice40-up5k --prune-dominated -o build/sweep-up5k[/bold]
    """
    from rich.console import Console

    from darb_hw.config import DEVICES
    from darb_hw.jobs.progress import JobProgress
    from darb_hw.locks import exclusive
    from darb_hw.store.store import Store
    from darb_hw.sweep.networks import Networks
    from darb_hw.sweep.plot import plot
    from darb_hw.sweep.points import grid
    from darb_hw.sweep.run import run_sweep
    from darb_hw.sweep.table import engine_value, sweep_table
    from darb_hw.synthesis import tools
    from darb_prune.files import check_folder

    axes = {
        "lanes": lanes, "weight_bits": weight_bits, "device": device, "ratio": ratio, "method": method,
        "activation_bits": activation_bits, "seed": seed, "memory": memory, "positions": positions,
        "lane_multiplier": lane_multiplier, "requant_multiplier": requant_multiplier, "input_order": input_order,
        "roms": roms,
    }  # fmt: skip
    given = {name: text for name, text in axes.items() if text is not None}
    declared = _declared(sources, given, {"seeds": seeds, "prune_dominated": prune_dominated})
    output = output or Path("build") / f"sweep-{sources[0].stem}"
    check_folder(output)
    # Checked before the first network is trained: a missing file or tool shall not cost minutes.
    points, results = grid(declared), Store(store)
    Networks(declared)
    tools.yosys()
    for name in {engine_value(point, "device") for point in points}:
        tools.nextpnr(DEVICES[name].family)
    with pool_of(results, scheduler, jobs) as pool, JobProgress(len(points)) as progress:
        output.mkdir(parents=True, exist_ok=True)
        with exclusive(output):
            made = run_sweep(declared, points, output, pool, results, progress, lambda result: progress.point())
    done, kept = progress.counts
    plot(made, output / "sweep.png")
    Console().print(sweep_table(made))
    for result in made:
        if result.reason and not result.skipped:
            say(f"{result.point.label}: {result.reason}", style="red")
    skipped = sum(result.skipped for result in made)
    if skipped:
        say(f"skipped {skipped:,} of {len(made):,} points, which cannot be on a Pareto front: sweep.csv says why")
    say(f"{done:,} jobs done, results of {kept:,} were in {printable(str(results.folder), 200)}")
    say(f"wrote {output}: sweep.csv, sweep.json, sweep.png")
    if not any(result.report for result in made):
        raise DarbError(f"no point could be built: {output / 'sweep.csv'} says why")


def _declared(sources: list[Path], axes: dict[str, str], others: dict[str, Any]) -> "SweepSpec":
    """The sweep that a file declares, or that options do: axes, and other fields of which some are not given."""
    from darb_hw.sweep.spec import load, sweep_of

    fields = {name: value for name, value in others.items() if value}
    if any(source.suffix == ".toml" for source in sources):
        if len(sources) > 1 or axes or fields:
            what = next((f"--{name.replace('_', '-')}" for name in (*axes, *fields)), sources[-1])
            raise DarbError(f"{sources[0]}: the file declares the sweep; set {what} there")
        return load(sources[0])
    folders = [source for source in sources if source.is_dir()]
    if folders and len(sources) > 1:
        raise DarbError(f"{folders[0]}: give one run folder, or .darb files, not both")
    values = {name: axis_values(name, text) for name, text in ({"lanes": _LANES, "device": _DEVICES} | axes).items()}
    source = {"run": folders[0]} if folders else {"networks": tuple(sources)}
    return sweep_of({**source, **fields, "axes": values}, "options")
