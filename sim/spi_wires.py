"""A master of SPI at the pins of a board, bit by bit."""

from collections import deque

import cocotb
import numpy as np
from cocotb.handle import HierarchyObject
from cocotb.triggers import Event, Timer
from cocotb.utils import get_sim_steps

from sim.scoreboard import bit_of

__all__ = ["SpiWires"]

_MARK, _ESCAPE, _NOTHING = 192, 219, 222


class SpiWires:
    """Sends and receives bytes at once, all the time: marks while it has nothing to send.

    Between bytes it now and then raises chip select for a while, and goes on at another phase and speed.

    Parameters
    ----------
    dut : cocotb.handle.HierarchyObject
        With ports ``sck``, ``cs``, ``copi`` and ``cipo``.
    baud : float
        Bits a second, at most.
    seed : int
    """

    CUT = "bytes that were cut off"

    def __init__(self, dut: HierarchyObject, baud: float, seed: int) -> None:
        self._sck, self._cs, self._copi, self._cipo = (bit_of(dut, name) for name in ("sck", "cs", "copi", "cipo"))
        self._half = self._slowest = get_sim_steps(5e8 / baud, "ns", round_mode="round")
        self._rng = np.random.default_rng(seed)
        self._queue: deque[tuple[int, int]] = deque()
        self._idle, self._last = Event(), _MARK
        self.received = bytearray()
        self.came = Event()
        self.counts = {"pauses": 0, "fillers": 0}
        for port, level in ((self._sck, 0), (self._cs, 1), (self._copi, 0)):
            port.value = level

    @staticmethod
    def fault_of_cut(sent: bytes) -> int:
        """What is answered to a packet whose last byte was cut off."""
        whole = sent[1:-1].replace(b"\xdb\xdc", b"x").replace(b"\xdb\xdd", b"x").rstrip(b"\xdb")
        return 2 if len(whole) < 8 else 3

    def listen(self) -> None:
        """Ask the board from now on."""
        cocotb.start_soon(self._run())

    async def send(self, data: bytes, *, stop: int = 1) -> None:
        """Send bytes; with ``stop`` 0 chip select rises within the last one."""
        self._queue += [(byte, 8) for byte in data[:-1]] + [(data[-1], 8 if stop else int(self._rng.integers(1, 8)))]
        self._idle.clear()
        await self._idle.wait()

    async def pause(self, bits: float) -> None:
        """Send marks for so many bits."""
        await Timer(max(round(bits * 2 * self._half), 1))

    async def _run(self) -> None:
        self._cs.value = 0
        await Timer(self._half)
        while True:
            byte, bits = self._queue.popleft() if self._queue else (_MARK, 8)
            came = await self._exchange(byte, bits)
            if bits == 8:
                self._take(came)
            if bits < 8 or self._rng.random() < 0.1:
                self._cs.value = 1
                await Timer(self._half + int(self._rng.integers(20 * self._half)))
                self._cs.value = 0
                self._slowest = self._half * int(self._rng.choice([1, 1, 1, 4]))
                await Timer(self._half)
                self.counts["pauses"] += 1
            if not self._queue:
                self._idle.set()

    async def _exchange(self, byte: int, bits: int) -> int:
        came = 0
        for position in range(7, 7 - bits, -1):
            self._copi.value = (byte >> position) & 1
            await Timer(self._slowest)
            came = came << 1 | int(str(self._cipo.value))
            self._sck.value = 1
            await Timer(self._slowest)
            self._sck.value = 0
        return came

    def _take(self, byte: int) -> None:
        """A byte has come. Of marks in a row the first one is enough."""
        self.counts["fillers"] += self._last == _ESCAPE and byte == _NOTHING
        if byte != _MARK or self._last != _MARK:
            self.received.append(byte)
            self.came.set()
        self._last = byte
