"""A serial line at the pins of a board, bit by bit."""

import cocotb
from cocotb.handle import HierarchyObject
from cocotb.triggers import Event, FallingEdge, Timer
from cocotb.utils import get_sim_steps

from sim.scoreboard import bit_of

__all__ = ["SerialLine"]


class SerialLine:
    """Sends and receives bytes as start bit, data, stop bit.

    Parameters
    ----------
    dut : cocotb.handle.HierarchyObject
        With ports ``rx`` and ``tx``, seen from the board.
    baud : float
    """

    CUT = "bytes without a stop bit"

    def __init__(self, dut: HierarchyObject, baud: float) -> None:
        self._rx, self._tx = bit_of(dut, "rx"), bit_of(dut, "tx")
        self._bit = get_sim_steps(1e9 / baud, "ns", round_mode="round")
        self.received = bytearray()
        self.came = Event()
        self.counts: dict[str, int] = {}
        self._rx.value = 1

    @staticmethod
    def fault_of_cut(sent: bytes) -> int:
        """What is answered to bytes of which the last one has no stop bit."""
        return 1

    def listen(self) -> None:
        """Receive from now on: before its first reset a board may send anything."""
        cocotb.start_soon(self._listen())

    async def send(self, data: bytes, *, stop: int = 1) -> None:
        """Send bytes; with ``stop`` 0 the last one has no stop bit."""
        for position, byte in enumerate(data):
            ending = stop if position == len(data) - 1 else 1
            for bit in (0, *((byte >> index) & 1 for index in range(8)), ending):
                self._rx.value = bit
                await Timer(self._bit)
            self._rx.value = 1
        if not stop:
            await Timer(2 * self._bit)

    async def pause(self, bits: float) -> None:
        """Send nothing for so many bits."""
        await Timer(max(round(bits * self._bit), 1))

    async def _listen(self) -> None:
        half = self._bit // 2
        while True:
            await FallingEdge(self._tx)
            await Timer(half)
            bits = []
            for _ in range(10):
                bits.append(str(self._tx.value))
                if len(bits) < 10:
                    await Timer(self._bit)
            assert bits[0] == "0", f"no start bit: {bits}"
            assert bits[9] == "1", f"no stop bit: {bits}"
            self.received.append(int("".join(reversed(bits[1:9])), 2))
            self.came.set()
