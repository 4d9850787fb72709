"""SPI as a line: whoever wants to hear the board has to send something."""

import glob
import re
from time import monotonic
from typing import Protocol

from darb_hw.errors import ToolError
from darb_hw.link.protocol import END
from darb_prune.encoded import DarbError

__all__ = ["SCHEMES", "SpiLine", "SpiMaster", "opened_master"]

SCHEMES = "spi://", "ftdi://"
"""What names of ports of SPI begin with."""
_LEAST = 16
"""Marks that are sent at first to hear whether there is an answer; then more and more of them."""
_MOST = 512
"""Bytes that are exchanged at once. An FT232H holds 1,024 each way; the driver of Linux takes up to 4,096."""


class SpiMaster(Protocol):
    """What clocks the line, in mode 0."""

    def exchange(self, data: bytes) -> bytes:
        """Select the board, send bytes, deselect it. Gives as many that have come at the same time.

        Raises
        ------
        OSError
            If the master is gone.
        """
        ...

    def close(self) -> None: ...


class SpiLine:
    """A :class:`~darb_hw.host.line.ByteLine` over SPI.

    Parameters
    ----------
    master : SpiMaster
    name : str
        Of the line, for messages.
    """

    def __init__(self, master: SpiMaster, name: str) -> None:
        self._master, self.name = master, name
        self._came, self._marked = bytearray(), True
        self.timeout: float | None = None

    @property
    def in_waiting(self) -> int:
        return len(self._came)

    def read(self, size: int = 1) -> bytes:
        """Up to ``size`` bytes, as many as have come within ``timeout`` seconds: marks are sent until something
        comes."""
        end, count = None if self.timeout is None else monotonic() + self.timeout, _LEAST
        while not self._came:
            self._exchange(bytes([END]) * count)
            count = min(2 * count, _MOST)
            if end is not None and monotonic() >= end:
                break
        taken = bytes(self._came[:size])
        del self._came[:size]
        return taken

    def write(self, data: bytes) -> int:
        for start in range(0, len(data), _MOST):
            self._exchange(data[start : start + _MOST])
        return len(data)

    def close(self) -> None:
        self._master.close()

    def _exchange(self, data: bytes) -> None:
        """What has come is kept, but of marks in a row the first one alone."""
        try:
            came = self._master.exchange(data)
        except OSError as error:
            raise DarbError(f"{self.name}: the master does not work any more ({error}): is it plugged in?") from None
        mark = re.escape(bytes([END]))
        kept = re.sub(mark + b"+", bytes([END]), came)
        self._came += kept[1:] if self._marked and kept[:1] == bytes([END]) else kept
        self._marked = came[-1:] == bytes([END])


def opened_master(port: str, baud: int) -> SpiMaster:
    """A master.

    Parameters
    ----------
    port : str
        See :func:`darb_hw.host.line.opened_line`.
    baud : int
        Bits a second, at most.

    Raises
    ------
    DarbError
        If there is none.
    ToolError
        If the package that opens it is not installed.
    """
    return _Ftdi(port, baud) if port.startswith("ftdi://") else _Spidev(port, baud)


class _Spidev:
    """SPI of Linux: a Raspberry Pi, for example."""

    def __init__(self, port: str, baud: int) -> None:
        try:
            from periphery import SPI
        except ImportError:
            raise ToolError("python-periphery is not installed: pip install 'darb[spi]'") from None
        try:
            self._device = SPI(port.removeprefix("spi://"), 0, baud)
        except OSError as error:
            there = ", ".join(f"spi://{path}" for path in sorted(glob.glob("/dev/spidev*"))) or "none"
            raise DarbError(f"{port}: cannot be opened ({error}); ports here: {there}") from None

    def exchange(self, data: bytes) -> bytes:
        return bytes(self._device.transfer(data))

    def close(self) -> None:
        self._device.close()


class _Ftdi:
    """An adapter with an FT232H, FT2232H or FT4232H: chip select is its pin D3."""

    def __init__(self, port: str, baud: int) -> None:
        try:
            from pyftdi.spi import SpiController
            from pyftdi.usbtools import UsbToolsError
        except ImportError:
            raise ToolError("pyftdi is not installed: pip install 'darb[spi]'") from None
        self._controller = SpiController()
        try:
            self._controller.configure(port)
            self._port = self._controller.get_port(cs=0, freq=baud, mode=0)
        except (OSError, ValueError, UsbToolsError) as error:
            raise DarbError(
                f"{port}: cannot be opened ({error}): is the adapter plugged in, may you use it, and is libusb "
                "installed? ftdi_urls.py of pyftdi lists what is there"
            ) from None

    def exchange(self, data: bytes) -> bytes:
        return bytes(self._port.exchange(data, len(data), duplex=True))

    def close(self) -> None:
        self._controller.close()
