"""The ``verilog``, ``synth`` and ``sweep`` commands, and all commands together as the program ``darb``.

Nothing heavy is imported before a command runs, so that help is quick.
"""

import errno
import io
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import EntryPoint, entry_points, version
from pathlib import Path
from typing import Annotated

import typer
from typer.models import CommandInfo

from darb_prune.encoded import DarbError, printable
from darb_prune.text import MESSAGE_LENGTH, say

__all__ = ["INTERRUPTED", "app", "build_app", "main"]

INTERRUPTED = 130
"""Exit code after Ctrl-C: 128 and the number of SIGINT, as shells have it."""
_REMEDIES = {
    errno.ENOSPC: "make room on that disk, or choose another",
    errno.EDQUOT: "make room there, or choose another disk",
    errno.EFBIG: "raise the limit on the size of files (ulimit -f)",
    errno.EMFILE: "raise the limit on open files (ulimit -n)",
    errno.ENFILE: "close other programs",
    errno.EROFS: "choose a folder that can be written",
    errno.EIO: "check that disk",
    errno.ENAMETOOLONG: "choose a shorter name",
}
"""What helps against errors of the operating system that have nothing to do with permissions."""

_ORDER = (
    "train", "check", "prune", "compile", "info", "analyze", "evaluate", "experiment", "verilog", "sim", "synth",
    "sweep",
)  # fmt: skip

app = typer.Typer(
    help="Generate, synthesise and compare FPGA engines.", no_args_is_help=True, rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)  # fmt: skip

Board = Annotated[
    str | None,
    typer.Option(help="Board whose pins to use (a name in constraints/, or a .pcf/.lpf file); else pins are free."),
]
Jobs = Annotated[int | None, typer.Option(min=1, help="Place-and-route runs at a time; one a processor by default.")]
Seeds = Annotated[int, typer.Option(min=1, help="Place-and-route runs, with seeds 1, 2 ...")]


@app.command()
def verilog(
    network: Annotated[Path, typer.Argument(help="Encoded network (.darb).")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Build folder to write.")],
    lanes: Annotated[int, typer.Option(help="Multiplier-accumulators in lock-step, 1 to 128.")] = 8,
    device: Annotated[str, typer.Option(help="ice40-up5k, ice40-hx8k, ecp5-25k or ecp5-85k.")] = "ecp5-85k",
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
    memory: Annotated[str, typer.Option(help="Activation memory: private (one a lane), shared by two, auto.")] = "auto",
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
) -> None:
    """Generate the engine: Verilog, ROM images, test vectors, manifest.

    Examples:

    [bold]darb verilog digits.darb --lanes 8 --device ice40-hx8k -o build/digits[/bold]

    [bold]darb verilog digits.darb --lanes 16 --device ecp5-85k --input-order storage -o build/digits-16[/bold]

    [bold]darb verilog large.darb --lanes 128 --memory shared -o build/large[/bold]

    [bold]darb verilog resnet.darb --lanes 32 --positions 32 --results 2 -o build/resnet[/bold]

    [bold]darb verilog digits-4p.darb --lanes 32 --clusters 4 -o build/digits-4p[/bold]
    """
    from rich.console import Console
    from rich.text import Text

    from darb_hw.config import EngineConfig
    from darb_hw.emit import generate
    from darb_hw.plan.pays import fewer_lanes
    from darb_hw.report import layer_table, memory_table, plan_table, subset_table

    config = EngineConfig(
        lanes=lanes, device=device, lane_multiplier=lane_multiplier, requant_multiplier=requant_multiplier,
        input_order=input_order, input=loading, memory=memory, unroll=unroll, positions=positions, results=results,
        clusters=clusters,
    )  # fmt: skip
    console = Console()
    with console.status(Text(f"generating {lanes} lanes for {printable(device)}")):
        build = generate(network, config, output)
        fewer = fewer_lanes(build.plan, config)
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


@app.command()
def synth(
    build: Annotated[Path, typer.Argument(help="Build folder made by darb verilog.")],
    seeds: Seeds = 5,
    board: Board = None,
    jobs: Jobs = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON, and nothing else.")] = False,
) -> None:
    """Synthesise, place and route a build; report area, clock and throughput.

    What was run before for the same design is not run again.

    Examples:

    [bold]darb synth build/digits[/bold]

    [bold]darb synth build/digits --board icebreaker --json > report.json[/bold]
    """
    from rich.console import Console

    from darb_hw.emit import Build
    from darb_hw.locks import exclusive
    from darb_hw.report import synth_table
    from darb_hw.synthesis.synth import synthesise

    with exclusive(build):
        opened = Build.load(build)
        with _bar(f"synthesising {build}", seeds + 1, quiet=as_json) as advance:
            report = synthesise(opened, range(1, seeds + 1), jobs, board, advance)
    if as_json:
        print(json.dumps(report.as_dict(), indent=2))
        return
    console = Console()
    console.print(synth_table([report]))
    say(f"wrote {build / 'synth' / 'report.json'}")


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
    with exclusive(output), _bar("sweep", len(points)) as advance:
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


@contextmanager
def _bar(title: str, total: int, quiet: bool = False) -> Iterator[Callable[[str], None]]:
    """A progress bar on stderr; gives a function to call with what was just finished."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    # Into a file or a pipe go only messages.
    with Progress(*columns, console=console, transient=True, disable=quiet or not console.is_terminal) as bar:
        task = bar.add_task(printable(title), total=total)

        def advance(what: str) -> None:
            bar.update(task, advance=1, description=printable(f"{title}: {what}"))

        yield advance


def _error(message: str) -> None:
    """One line on stderr, whatever the message. A caller may parse what stands on stdout."""
    with suppress(OSError):  # stderr may be on a full disk; the exit code says it as well
        print(f"darb: error: {printable(' '.join(message.split()), MESSAGE_LENGTH)}", file=sys.stderr, flush=True)


def _command_name(info: CommandInfo) -> str:
    if info.name:
        return info.name
    assert info.callback is not None
    return info.callback.__name__.replace("_", "-")


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"darb {version('darb')}")
        raise typer.Exit


def build_app(entries: list[EntryPoint] | None = None) -> typer.Typer:
    """The program: the commands of all entry points of the group ``darb.commands``, side by side.

    Parameters
    ----------
    entries : list of EntryPoint, optional
        Each names a :class:`typer.Typer`. One that cannot be imported is reported on stderr; its commands are
        missing, the others work.
    """
    entries = list(entry_points(group="darb.commands")) if entries is None else entries
    commands = []
    for entry in entries:
        try:
            commands += entry.load().registered_commands
        except Exception as error:
            _error(f"the commands of {entry.name!r} ({entry.value}) cannot be loaded: {error}")
    rank = {name: position for position, name in enumerate(_ORDER)}
    commands.sort(key=lambda info: rank.get(_command_name(info), len(rank)))

    program = typer.Typer(no_args_is_help=True, rich_markup_mode="rich", pretty_exceptions_enable=False)

    @program.callback()
    def darb(
        _: Annotated[
            bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
        ] = False,
    ) -> None:
        """From a PyTorch model to a small, exact FPGA inference engine.

        [bold]darb train[/bold] a model, [bold]prune[/bold] it, [bold]compile[/bold] it to integers; generate its
        engine with [bold]verilog[/bold], check it with [bold]sim[/bold], measure it with [bold]synth[/bold].
        """

    program.registered_commands = commands
    return program


def main(arguments: list[str] | None = None) -> None:
    """All of the program ``darb`` but its first imports.

    Exit code 2 and one line on stderr for every mistake of the user, and for a disk that is full; 130 and one line
    after Ctrl-C.
    """
    for stream in (sys.stdout, sys.stderr):
        # A terminal without these letters shows their numbers. (A closed stream is none, and others have no encoding.)
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        try:
            typer.main.get_command(build_app())(args=arguments, prog_name="darb")
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()  # here its errors can be told
    except DarbError as error:
        _error(str(error))
    except OSError as error:
        if _output_lost():
            if error.errno == errno.EPIPE:  # whoever read it has gone, and knows
                sys.exit(1)
            _error(f"the output: {_reason(error)}")
        # Paths come from the user; an OSError without one is a fault of ours, or something has run out.
        elif error.filename is None and error.errno not in _REMEDIES:
            raise
        else:
            # Of the two names of a move the second is the one the user knows.
            path = error.filename2 or error.filename or "the output or a temporary file"
            _error(f"{os.fsdecode(path) if isinstance(path, (str, bytes)) else path}: {_reason(error)}")
    except KeyboardInterrupt:  # while commands are gathered
        _error("interrupted")
        sys.exit(INTERRUPTED)
    except SystemExit as end:
        # typer has turned Ctrl-C into this code.
        if end.code == INTERRUPTED and isinstance(getattr(end.__context__, "__cause__", None), KeyboardInterrupt):
            _error("interrupted")
        raise
    sys.exit(2)


def _reason(error: OSError) -> str:
    remedy = _REMEDIES.get(error.errno or 0, "check the path and its permissions")
    return f"{(error.strerror or str(error)).lower()}; {remedy}"


def _output_lost() -> bool:
    """Whether what is left of stdout cannot be written; it is dropped then, or Python would report it at its end."""
    if sys.stdout is None:
        return False
    try:
        sys.stdout.flush()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
        return True
    return False
