"""Pins: which pin of a board each port of its top level gets, from the definition of the board."""

import importlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from darb_hw.board.boards import Board
from darb_hw.errors import ToolError

__all__ = ["Pin", "clock_mhz_of", "constraints_text", "pins_of"]


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


def pins_of(board: Board) -> dict[str, Pin]:
    """The pin of each port of the top level: ``clock``, ``rx``, ``tx``, ``button`` if there is one, and as many of
    ``ready``, ``working`` and ``failed`` as there are lights."""
    platform = _platform(board)
    platform.requested = {}
    paths = {"clock": f"{board.clock}:0", "rx": f"{board.uart}.rx", "tx": f"{board.uart}.tx"}
    paths |= {"button": board.button} if board.button else {}
    paths |= dict(zip(("ready", "working", "failed"), board.leds, strict=False))
    return {port: _requested(platform, path) for port, path in paths.items()}


def clock_mhz_of(board: Board) -> float:
    """MHz of the oscillator of a board."""
    return _platform(board).lookup(board.clock, 0).clock.frequency / 1e6


def constraints_text(family: str, pins: Mapping[str, Pin], clock_mhz: float) -> str:
    """Constraints for nextpnr: ``.pcf`` of iCE40, ``.lpf`` of ECP5.

    It knows how the clock of a PLL follows from that at port ``clock``.
    """
    return "\n".join(_lines(family, pins, clock_mhz)) + "\n"


def _lines(family: str, pins: Mapping[str, Pin], clock_mhz: float) -> Iterator[str]:
    if family == "ice40":
        yield f"set_frequency clock {clock_mhz:g}"
    else:
        yield f'FREQUENCY PORT "clock" {clock_mhz:g} MHZ;'
    for port, pin in pins.items():
        if family == "ice40":
            yield f"set_io{' -pullup yes' if pin.attributes.get('PULLUP') else ''} {port} {pin.name}"
        else:
            attributes = " ".join(f"{name}={value}" for name, value in pin.attributes.items())
            yield f'LOCATE COMP "{port}" SITE "{pin.name}";'
            yield f'IOBUF PORT "{port}" {attributes};'
