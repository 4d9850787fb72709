"""The ``verilog`` and ``synth`` commands."""

import json
from pathlib import Path
from typing import Annotated

import typer

from darb_hw.cli.app import Capacity, Jobs, Seeds, StoreFolder, app, bar
from darb_hw.config import DEVICES
from darb_prune.encoded import DarbError, printable
from darb_prune.text import say

__all__ = ["synth", "verilog"]

Board = Annotated[
    str | None,
    typer.Option(
        help="Board whose pins to use (a name in constraints/, or a .pcf/.lpf/.cst/.pdc file); else pins are free."
    ),
]


@app.command()
def verilog(
    network: Annotated[Path, typer.Argument(help="Encoded network (.darb).")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Build folder to write.")],
    lanes: Annotated[int, typer.Option(help="Multiplier-accumulators in lock-step, 1 to 128.")] = 8,
    device: Annotated[str, typer.Option(help=f"{', '.join(DEVICES)}.")] = "ecp5-85k",
    lane_multiplier: Annotated[str, typer.Option(help="Multipliers of the lanes: auto, dsp or lut.")] = "auto",
    requant_multiplier: Annotated[str, typer.Option(help="Multiplier of the requantiser: auto, dsp or lut.")] = "auto",
    input_order: Annotated[
        str, typer.Option(help="Order of the input stream: logical, or storage (permuted by the sender).")
    ] = "logical",
    loading: Annotated[
        str,
        typer.Option(
            "--input",
            help="The next input comes in beside this one (overlapped), over it (reused), or later (alone).",
        ),
    ] = "auto",
    memory: Annotated[
        str, typer.Option(help="Activation memory: private (one a lane), shared by two, spram, auto.")
    ] = "auto",
    positions: Annotated[
        int | None,
        typer.Option(
            help="Neighbouring output positions at once; each lane then has a bank of a map. Default: fastest."
        ),
    ] = None,
    results: Annotated[int | None, typer.Option(help="Results written at once. Default: fastest.")] = None,
    unroll: Annotated[int, typer.Option(help="Most output columns of a convolution that are computed at once.")] = 16,
    clusters: Annotated[
        int, typer.Option(help="Clusters of lanes, each with a part of what layers of darb partition read.")
    ] = 1,
    reload: Annotated[
        bool, typer.Option("--reload", help="With a port for other networks, and room for a second one in every ROM.")
    ] = False,
    roms: Annotated[
        str,
        typer.Option(help="Where the network stands: blocks, or spram; then it comes through a port after power-up."),
    ] = "blocks",
    capacity: Capacity = None,
    *,
    context: typer.Context,
    like: Annotated[
        Path | None,
        typer.Option(help="Build folder made with --capacity, whose engine the network gets, with all of its options."),
    ] = None,
) -> None:
    """Generate the engine: Verilog, ROM images, test vectors, manifest.

    Examples:

    [bold]darb verilog digits.darb --lanes 8 --device ice40-hx8k -o build/digits[/bold]

    [bold]darb verilog digits.darb --lanes 16 --device ecp5-85k --input-order storage -o build/digits-16[/bold]

    [bold]darb verilog large.darb --lanes 128 --memory shared -o build/large[/bold]

    [bold]darb verilog resnet.darb --lanes 32 --positions 32 --results 2 -o build/resnet[/bold]

    [bold]darb verilog digits-4p.darb --lanes 32 --clusters 4 -o build/digits-4p[/bold]

    [bold]darb verilog digits.darb --lanes 8 --reload -o build/digits-reload[/bold]

    [bold]darb verilog autoencoder.darb --lanes 2 --device ice40-up5k --roms spram -o build/autoencoder[/bold]

    [bold]darb verilog digits.darb --capacity 20% -o build/digits[/bold]

    [bold]darb verilog other.darb --like build/digits -o build/other[/bold]
    """
    from rich.console import Console
    from rich.text import Text

    from darb_hw.config import EngineConfig
    from darb_hw.emit import generate
    from darb_hw.plan.headroom import headroom_of
    from darb_hw.plan.pays import fewer_lanes
    from darb_hw.report import layer_table, memory_table, plan_table, subset_table

    config = None if like else EngineConfig(
        lanes=lanes, device=device, lane_multiplier=lane_multiplier, requant_multiplier=requant_multiplier,
        input_order=input_order, input=loading, memory=memory, unroll=unroll, positions=positions, results=results,
        clusters=clusters, reload=reload, roms=roms,
    )  # fmt: skip
    _check_alone(context, like)
    headroom = None if capacity is None else headroom_of(capacity)
    console = Console()
    with console.status(
        Text(f"generating {printable(network.name)}" if like else f"generating {lanes} lanes for {printable(device)}")
    ):
        build = generate(network, config, output, headroom=headroom, like=like)
        fewer = None if config is None else fewer_lanes(build.plan, config)
    console.print(memory_table(build.plan))
    console.print(layer_table(build.plan))
    console.print(plan_table(build.plan))
    if build.plan.tasks:
        console.print(subset_table(build.plan))
    if fewer is not None:
        intervals = (f"{plan.timing.interval_of(1):,}" for plan in (build.plan, fewer))
        say(
            f"{lanes} lanes are more than pay: {' cycles an inference, '.join(intervals)} with {fewer.config.lanes}",
            style="yellow",
        )
    say(f"wrote {output}")


def _check_alone(context: typer.Context, like: Path | None) -> None:
    """Refuse options of the engine beside ``--like``: they are those of the build."""
    for name in context.params if like is not None else ():
        source = context.get_parameter_source(name)
        if name not in ("network", "output", "like") and source is not None and source.name == "COMMANDLINE":
            option = "--input" if name == "loading" else f"--{name.replace('_', '-')}"
            raise DarbError(f"{option}: the engine is that of {like}, with all of its options: leave it out")


@app.command()
def synth(
    build: Annotated[Path, typer.Argument(help="Build folder made by darb verilog.")],
    seeds: Seeds = 5,
    board: Board = None,
    jobs: Jobs = None,
    store: StoreFolder = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON, and nothing else.")] = False,
) -> None:
    """Synthesise, place and route a build; report area, clock and throughput.

    What was run before for the same design, in whatever folder, is not run again.

    Examples:

    [bold]darb synth build/digits[/bold]

    [bold]darb synth build/digits --board icebreaker --json > report.json[/bold]
    """
    from rich.console import Console

    from darb_hw.emit import Build
    from darb_hw.locks import exclusive
    from darb_hw.report import synth_table
    from darb_hw.store.store import Store
    from darb_hw.synthesis.synth import synthesise

    results = Store(store)
    with exclusive(build):
        opened = Build.load(build)
        with bar(f"synthesising {build}", seeds + 1, quiet=as_json) as advance:
            report = synthesise(opened, range(1, seeds + 1), jobs, board, advance, results)
    if as_json:
        print(json.dumps(report.as_dict(), indent=2))
        return
    console = Console()
    console.print(synth_table([report]))
    say(f"wrote {build / 'synth' / 'report.json'}")
