"""The ``host`` commands: a board that answers."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from darb_hw.cli.app import app, bar
from darb_prune.encoded import DarbError
from darb_prune.text import say

if TYPE_CHECKING:
    from darb_hw.emit import Build
    from darb_hw.host.device import Device

__all__ = ["host_app"]

host_app = typer.Typer(no_args_is_help=True, rich_markup_mode="rich")
app.add_typer(host_app, name="host", help="Ask a board: test it, measure it, get its outputs.")

Folder = Annotated[Path, typer.Argument(help="Build folder of darb board.")]
Port = Annotated[
    str,
    typer.Option(
        help="Port of the board: /dev/ttyUSB1, for example; of SPI spi:///dev/spidev0.0 or ftdi://ftdi:232h/1."
    ),
]
Baud = Annotated[int | None, typer.Option(min=1, help="Bits a second, if not those of the bitstream.")]
Seconds = Annotated[float, typer.Option("--timeout", min=0.01, help="Seconds to wait for an answer.")]


@contextmanager
def _opened(
    folder: Path, port: str, baud: int | None, seconds: float, other: bool = False
) -> "Iterator[tuple[Build, Device]]":
    from darb_hw.emit import Build
    from darb_hw.host.device import Device

    build = Build.load(folder)
    with Device(port, build, baud, seconds, other=other) as device:
        yield build, device


@host_app.command()
def info(build: Folder, port: Port, baud: Baud = None, timeout: Seconds = 1.0) -> None:
    """Show what a board says of itself.

    Examples:

    [bold]darb host info build/ulx3s --port /dev/ttyUSB0[/bold]
    """
    with _opened(build, port, baud, timeout) as (_, device):
        told = device.info
    say(
        f"{port}: engine {told.digest} of {build}, {told.clock_hz / 1e6:.2f} MHz, room for {told.buffer:,} elements of "
        f"inputs, version {told.version} of the link"
    )


@host_app.command()
def reload(
    build: Folder,
    other: Annotated[Path, typer.Argument(help="Build folder of another network: darb verilog --like BUILD.")],
    port: Port,
    baud: Baud = None,
    timeout: Seconds = 1.0,
) -> None:
    """Give a board another network. Its engine was made with --reload, or with --roms spram.

    With --reload the board works with the network before until it has the new one as a whole; with --roms spram it has
    none in between. Without power it forgets the new one. From then on OTHER is its build folder.

    Examples:

    [bold]darb host reload build/ulx3s build/other --port /dev/ttyUSB0[/bold]

    [bold]darb host predict build/other images.npy --port /dev/ttyUSB0 -o outputs.npy[/bold]
    """
    from darb_hw.board.adopt import adopt_board
    from darb_hw.emit import Build
    from darb_hw.link.shape import LinkShape
    from darb_hw.locks import exclusive

    with exclusive(other), _opened(build, port, baud, timeout, other=True) as (opened, device):
        loaded = Build.load(other)
        if opened.engine_digest != loaded.engine_digest:
            raise DarbError(f"{other}: its engine is not that of {build}: make it with darb verilog --like {build}")
        with bar(f"loading {port}", LinkShape.of(loaded.plan).load_bytes) as advance:
            device.reload(loaded, lambda count: advance("bytes", count))
        if loaded.folder.resolve() != opened.folder.resolve():
            adopt_board(opened, loaded)
    say(f"{port}: has the network of {other} now")


@host_app.command(name="self-test")
def self_test_(
    build: Folder,
    port: Port,
    samples: Annotated[int | None, typer.Option(min=1, help="Test vectors to send; all of them if absent.")] = None,
    baud: Baud = None,
    timeout: Seconds = 1.0,
) -> None:
    """Send the test vectors of a build, and compare every output with the oracle.

    Examples:

    [bold]darb host self-test build/ulx3s --port /dev/ttyUSB0[/bold]

    [bold]darb host self-test build/ulx3s --port ftdi://ftdi:232h/1[/bold]
    """
    from darb_hw.host.self_test import self_test

    with _opened(build, port, baud, timeout) as (opened, device):
        total = min(samples or opened.load_vectors().samples, opened.load_vectors().samples)
        with bar(f"testing {port}", total) as advance:
            tested = self_test(device, opened, samples, lambda: advance("test vectors"))
    again = f" ({tested.repeated} requests were sent again)" if tested.repeated else ""
    say(f"{port}: {tested.samples:,} outputs, all exact{again}")


@host_app.command()
def measure(
    build: Folder,
    port: Port,
    samples: Annotated[int, typer.Option(min=1, help="Inferences.")] = 200,
    baud: Baud = None,
    timeout: Seconds = 1.0,
) -> None:
    """Measure how fast a board answers: inferences a second, and the time of one.

    Examples:

    [bold]darb host measure build/ulx3s --port /dev/ttyUSB0[/bold]
    """
    with _opened(build, port, baud, timeout) as (_, device):
        pace = device.measure(samples)
    say(f"{port}: {pace.rate:,.1f} inferences a second, {1e3 * pace.latency:.2f} ms for one")


@host_app.command()
def predict(
    build: Folder,
    inputs: Annotated[Path, typer.Argument(help="Inputs (.npy): samples first; floats, or integers as they are.")],
    port: Port,
    output: Annotated[Path, typer.Option("--output", "-o", help="Outputs to write (.npy).")],
    baud: Baud = None,
    timeout: Seconds = 1.0,
) -> None:
    """Write the outputs of a board for the inputs of a file.

    Examples:

    [bold]darb host predict build/ulx3s images.npy --port /dev/ttyUSB0 -o outputs.npy[/bold]
    """
    import io

    import numpy as np

    from darb_prune.encoded import write_atomic
    from darb_prune.files import check_file

    check_file(output)
    try:
        values = np.load(inputs, allow_pickle=False)
    except (ValueError, EOFError):
        raise DarbError(f"{inputs}: not an array of numbers; write one with numpy.save") from None
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "fiu" or values.ndim < 2:
        raise DarbError(f"{inputs}: an array of numbers of shape (samples, ...) is wanted")
    with _opened(build, port, baud, timeout) as (_, device):
        outputs = device.predict(values)
    packed = io.BytesIO()
    np.save(packed, np.asarray(outputs))
    write_atomic(output, packed.getvalue())
    say(f"wrote {output}: {len(outputs):,} outputs")
