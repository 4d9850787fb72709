"""Pins: which pin of a board each port of its top level gets, from the definition of the board."""

import importlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from darb_hw.board.boards import Board, SpiPins
from darb_hw.errors import ToolError
from darb_prune.encoded import DarbError

__all__ = ["Pin", "clock_mhz_of", "constraints_text", "pins_of"]

_FLASH = {
    "flash_cs": "cs", "flash_sck": "clk", "flash_copi": "copi", "flash_cipo": "cipo", "flash_wp": "wp",
    "flash_hold": "hold",
}  # fmt: skip
"""Ports of a flash memory, and what their resource calls them."""


@dataclass(frozen=True)
class Pin:
    """A pin.

    Parameters
    ----------
    name : str
        Of the package.
    inverted : bool
        Whether it is low where the port is high.
    attributes : mapping of str to value
        What the definition says of its buffer: its standard, its resistor.
    """

    name: str
    inverted: bool
    attributes: Mapping[str, Any]


def _platform(board: Board) -> Any:
    module, _, name = board.definition.partition(":")
    try:
        return getattr(importlib.import_module(module), name)()
    except ImportError:
        raise ToolError("amaranth-boards is not installed: pip install 'darb[synth]'") from None


def _requested(platform: Any, path: str) -> Pin:
    """``uart:0.rx`` is the signal ``rx`` of resource ``uart`` 0."""
    resource, _, signals = path.partition(".")
    name, _, number = resource.partition(":")
    port = platform.requested.get(resource)
    if port is None:
        port = platform.requested[resource] = platform.request(name, int(number), dir="-")
    for signal in filter(None, signals.split(".")):
        port = getattr(port, signal)
    (metadata,) = port.io.metadata
    return Pin(metadata.name, port.invert[0], dict(metadata.attrs))


def pins_of(board: Board, link: str = "uart", flash: bool = False) -> dict[str, Pin]:
    """The pin of each port of the top level: ``clock``, those of the link, ``button`` if there is one, and as many of
    ``ready``, ``working`` and ``failed`` as there are lights.

    Parameters
    ----------
    board : Board
    link : str
        ``"uart"``: ``rx`` and ``tx``. ``"spi"``: ``cs``, ``copi``, ``cipo`` and ``sck``.
    flash : bool
        Whether its flash memory is read: the ports of ``flash_cs`` and others.

    Raises
    ------
    DarbError
        If the board has no such link.
    """
    if link not in board.bauds:
        raise DarbError(f"--link {link}: not on this board, {board.title}: choose one of {', '.join(board.bauds)}")
    platform = _platform(board)
    platform.requested = {}
    paths = {"clock": f"{board.clock}:0"}
    if link == "spi" and board.spi:
        platform.add_resources([_spi(board.spi)])
        paths |= {"sck": "link:0.clk"} | {port: f"link:0.{port}" for port in ("cs", "copi", "cipo")}
    else:
        paths |= {port: f"{board.uart}.{port}" for port in ("rx", "tx")}
    paths |= {port: f"{board.flash}.{signal}" for port, signal in _FLASH.items()} if flash else {}
    paths |= {"button": board.button} if board.button else {}
    paths |= dict(zip(("ready", "working", "failed"), board.leds, strict=False))
    return {port: _requested(platform, path) for port, path in paths.items()}


def _spi(pins: SpiPins) -> Any:
    """The resource ``link`` of a board that is a slave of SPI."""
    from amaranth.build import Attrs
    from amaranth_boards.resources import SPIResource

    return SPIResource(
        "link", 0, cs_n=pins.cs, copi=pins.copi, cipo=pins.cipo, clk=pins.sck, conn=pins.connector,
        attrs=Attrs(**dict(pins.attributes)), role="peripheral",
    )  # fmt: skip


def clock_mhz_of(board: Board) -> float:
    """MHz of the oscillator of a board."""
    return _platform(board).lookup(board.clock, 0).clock.frequency / 1e6


def constraints_text(family: str, pins: Mapping[str, Pin], clock_mhz: float) -> str:
    """Constraints for nextpnr: ``.pcf`` of iCE40, ``.lpf`` of ECP5, ``.cst`` of Gowin's devices.

    nextpnr knows how the clock of a PLL of Lattice follows from that at port ``clock``. A ``.cst`` has no clocks.
    """
    return "\n".join(_lines(family, pins, clock_mhz)) + "\n"


def _lines(family: str, pins: Mapping[str, Pin], clock_mhz: float) -> Iterator[str]:
    # The master may clock the link as fast as the oscillator does.
    for port in ("clock", "sck"):
        if port in pins and family != "gowin":
            mhz = f"{clock_mhz:g}"
            yield f"set_frequency {port} {mhz}" if family == "ice40" else f'FREQUENCY PORT "{port}" {mhz} MHZ;'
    for port, pin in pins.items():
        attributes = " ".join(f"{name}={value}" for name, value in pin.attributes.items())
        if family == "ice40":
            yield f"set_io{' -pullup yes' if pin.attributes.get('PULLUP') else ''} {port} {pin.name}"
        elif family == "ecp5":
            yield f'LOCATE COMP "{port}" SITE "{pin.name}";'
            yield f'IOBUF PORT "{port}" {attributes};'
        else:
            yield f'IO_LOC "{port}" {pin.name};'
            yield f'IO_PORT "{port}" {attributes};'
