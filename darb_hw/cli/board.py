"""The ``board``, ``patch``, ``boards`` and ``load`` commands: bitstreams."""

from pathlib import Path
from typing import Annotated

import typer

from darb_hw.cli.app import Capacity, Jobs, Seeds, StoreFolder, app, bar
from darb_prune.encoded import DarbError, printable
from darb_prune.text import say

__all__ = ["board", "boards", "load", "patch"]

# Synthesis and place and route of a round, of which there are rarely more than three, and the packer.
_ROUNDS = 3


@app.command()
def board(
    network: Annotated[Path, typer.Argument(help="Encoded network (.darb), or a build folder of darb verilog.")],
    board: Annotated[str, typer.Option(help="The board: see darb boards.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Build folder to write, if NETWORK is none.")
    ] = None,
    lanes: Annotated[
        int, typer.Option(help="Multiplier-accumulators in lock-step, 1 to 128, if NETWORK is no build.")
    ] = 8,
    link: Annotated[
        str, typer.Option(help="What the host asks it over: uart or spi, as far as the board has it.")
    ] = "uart",
    capacity: Capacity = None,
    baud: Annotated[int | None, typer.Option(min=1, help="Bits a second of the link.")] = None,
    buffer: Annotated[
        int | None,
        typer.Option(min=1, help="Elements of inputs that can wait: two inputs, or 64 time steps, if absent."),
    ] = None,
    reload: Annotated[
        bool, typer.Option("--reload", help="Other networks can come over the line (darb host reload).")
    ] = False,
    mhz: Annotated[float | None, typer.Option(min=1, help="Most that the engine is clocked with, MHz.")] = None,
    seeds: Seeds = 3,
    jobs: Jobs = None,
    store: StoreFolder = None,
) -> None:
    """Make a bitstream: the engine of a network with a link to a host, at the fastest clock that it reaches.

    Engines with other options are made by darb verilog, for the device of the board.

    Examples:

    [bold]darb board digits.darb --board ulx3s-85f -o build/ulx3s[/bold]

    [bold]darb board digits.darb --board icebreaker --link spi --baud 10000000 -o build/icebreaker[/bold]

    [bold]darb board digits.darb --board ulx3s-85f --capacity 20% -o build/ulx3s[/bold]

    [bold]darb verilog kws.darb --lanes 32 --device ecp5-85k -o build/kws; darb board build/kws --board ulx3s-85f[/bold]
    """
    from rich.console import Console

    from darb_hw.board.boards import board_named
    from darb_hw.board.build import make_board
    from darb_hw.board.load import load_line
    from darb_hw.board.report import FOLDER
    from darb_hw.config import EngineConfig
    from darb_hw.emit import Build, generate
    from darb_hw.locks import exclusive
    from darb_hw.plan.headroom import headroom_of
    from darb_hw.report import board_table
    from darb_hw.store.store import Store

    chosen, results = board_named(board), Store(store)
    if network.is_dir():
        if output is not None:
            raise DarbError(f"{network} is a build folder, which gets the bitstream: leave out --output")
        if reload:
            raise DarbError(f"{network} is a build folder: make it with darb verilog --reload, and leave it out here")
        if capacity is not None:
            raise DarbError(f"{network} is a build folder, whose capacity is fixed: give --capacity to darb verilog")
        folder, build = network, None
    elif output is None:
        raise DarbError("a folder is needed for the build: add --output FOLDER")
    else:
        headroom = None if capacity is None else headroom_of(capacity)
        config = EngineConfig(lanes=lanes, device=chosen.device, reload=reload)
        folder, build = output, generate(network, config, output, headroom=headroom)
    with exclusive(folder):
        build = build or Build.load(folder)
        with bar(f"{printable(build.plan.source.name)} on {chosen.name}", _ROUNDS * (seeds + 1) + 1) as advance:
            report = make_board(
                build, chosen, link=link, baud=baud, buffer=buffer, mhz=mhz, seeds=range(1, seeds + 1), jobs=jobs,
                progress=advance, store=results,
            )  # fmt: skip
    Console().print(board_table(report))
    if build.plan.config.target.family == "gowin" and report.dsps.used:
        say(
            "nextpnr has no delays of multipliers: ways through them may be slower than this clock; --mhz sets a lower "
            "one, and darb verilog --lane-multiplier lut --requant-multiplier lut has all ways in it",
            style="yellow",
        )
    say(f"wrote {folder / FOLDER / report.bitstream}; load it with: {load_line(build, report)}")


@app.command()
def patch(
    build: Annotated[Path, typer.Argument(help="Build folder of darb board, made with --capacity.")],
    network: Annotated[Path, typer.Argument(help="Encoded network (.darb) of the same layers.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Build folder to write; BUILD itself if absent.")
    ] = None,
    store: StoreFolder = None,
) -> None:
    """Put another network into a bitstream: contents of block RAMs change, and nothing else, in seconds.

    It must have the layers of the network that the build was made from, and room in its capacity.

    Examples:

    [bold]darb patch build/ulx3s digits-1.darb[/bold]

    [bold]darb patch build/ulx3s digits-1.darb -o build/ulx3s-1; darb load build/ulx3s-1[/bold]
    """
    from time import perf_counter

    from rich.console import Console

    from darb_hw.board.load import load_line
    from darb_hw.board.patch import patch_board
    from darb_hw.board.report import FOLDER
    from darb_hw.emit import Build
    from darb_hw.report import board_table
    from darb_hw.store.store import Store

    begun, folder = perf_counter(), output or build
    report = patch_board(build, network, output, Store(store))
    Console().print(board_table(report))
    path = folder / FOLDER / report.bitstream
    say(f"wrote {path} in {perf_counter() - begun:.1f} s; load it with: {load_line(Build.load(folder), report)}")


@app.command()
def boards() -> None:
    """Show the boards that there are.

    Examples:

    [bold]darb boards[/bold]
    """
    from rich.console import Console

    from darb_hw.report import boards_table

    Console().print(boards_table())


@app.command()
def load(
    build: Annotated[Path, typer.Argument(help="Build folder of darb board.")],
    flash: Annotated[
        bool, typer.Option(help="Into the flash memory, where it stays without power; some boards know no other way.")
    ] = False,
) -> None:
    """Load a bitstream into its board, with openFPGALoader.

    Examples:

    [bold]darb load build/ulx3s[/bold]

    [bold]darb load build/ulx3s --flash[/bold]
    """
    from darb_hw.board.load import load_bitstream

    load_bitstream(build, flash)
    say(f"loaded {build}")
