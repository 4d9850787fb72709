"""Lines to boards: what a line can do, and which one a port is."""

import contextlib
from typing import Protocol

from darb_hw.errors import ToolError
from darb_hw.host.spi import SCHEMES, SpiLine, opened_master
from darb_prune.encoded import DarbError

__all__ = ["ByteLine", "opened_line"]


class ByteLine(Protocol):
    """What bytes go over; a ``serial.Serial`` is one."""

    @property
    def timeout(self) -> float | None: ...

    @timeout.setter
    def timeout(self, value: float | None, /) -> None: ...

    def read(self, size: int = 1, /) -> bytes | bytearray:
        """Up to ``size`` bytes, as many as have come within ``timeout`` seconds."""
        ...

    def write(self, data: bytes, /) -> int | None: ...

    @property
    def in_waiting(self) -> int: ...

    def close(self) -> None: ...


def opened_line(port: str, link: str, baud: int) -> ByteLine:
    """Open a line.

    Parameters
    ----------
    port : str
        ``/dev/ttyUSB1``: a serial port. ``spi:///dev/spidev0.0``: SPI of Linux. ``ftdi://ftdi:232h/1``: SPI of an
        adapter with an FTDI chip, as pyftdi names it.
    link : str
        That of the bitstream: ``"uart"`` or ``"spi"``.
    baud : int
        Bits a second.

    Raises
    ------
    DarbError
        If there is no such port, or it is for another link.
    ToolError
        If the package that opens it is not installed.
    """
    spi = port.startswith(SCHEMES)
    if spi != (link == "spi"):
        ports = "spi:///dev/spidev0.0 or ftdi://ftdi:232h/1" if link == "spi" else "the name of a serial port"
        raise DarbError(f"{port}: the link of this bitstream is {link}: give --port {ports}")
    return SpiLine(opened_master(port, baud), port) if spi else _serial_port(port, baud)


def _serial_port(port: str, baud: int) -> ByteLine:
    try:
        import serial
        from serial.tools import list_ports
    except ImportError:
        raise ToolError("pyserial is not installed: pip install 'darb[board]'") from None
    try:
        line = serial.Serial(port, baud)
    except (serial.SerialException, ValueError) as error:
        there = ", ".join(found.device for found in list_ports.comports()) or "none"
        raise DarbError(f"{port}: cannot be opened ({error}); ports here: {there}") from None
    # USB bridges wait for more, 16 ms of most: four replies in that time would be all. Not every system and bridge can.
    with contextlib.suppress(AttributeError, NotImplementedError, OSError, ValueError):
        line.set_low_latency_mode(True)
    line.reset_input_buffer()
    return line
