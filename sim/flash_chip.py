"""A flash memory at the pins of a board, bit by bit."""

import cocotb
from cocotb.handle import HierarchyObject
from cocotb.triggers import FallingEdge, First, RisingEdge
from cocotb.utils import get_sim_steps, get_sim_time

from sim.scoreboard import bit_of

__all__ = ["FlashChip"]

_PLACE, _WAKE, _READ = 0x100000, 0xAB, 0x03
_WAKES = 30.0
"""Microseconds, the slowest of common memories."""


class FlashChip:
    """Knows two commands. It is in deep power-down at first, as iCE40 leaves it, and hears nothing else then.

    Parameters
    ----------
    dut : cocotb.handle.HierarchyObject
        With ports ``flash_cs``, ``flash_sck``, ``flash_copi``, ``flash_cipo``, ``flash_wp`` and ``flash_hold``.
    data : bytes
        What stands behind the first megabyte.
    """

    def __init__(self, dut: HierarchyObject, data: bytes) -> None:
        self._cs, self._sck, self._copi, self._cipo, self._wp, self._hold = (
            bit_of(dut, f"flash_{name}") for name in ("cs", "sck", "copi", "cipo", "wp", "hold")
        )
        self._data, self._awake = data, None
        self.sent = 0
        self._cipo.value = 1
        cocotb.start_soon(self._run())

    async def _run(self) -> None:
        while True:
            await FallingEdge(self._cs)
            await self._selected()
            self._cipo.value = 1

    async def _edge(self, edge: RisingEdge | FallingEdge) -> bool:
        """Wait for an edge; whether the memory is still selected then."""
        await First(edge, RisingEdge(self._cs))
        return str(self._cs.value) == "0"

    async def _selected(self) -> None:
        heard, bits, self.sent = 0, 0, 0
        now = get_sim_time("step")
        awake = self._awake is not None and now >= self._awake
        assert str(self._wp.value) == str(self._hold.value) == "1", "the flash memory is held"
        while await self._edge(RisingEdge(self._sck)):
            if bits < 32:
                heard, bits = heard << 1 | int(str(self._copi.value)), bits + 1
            if not await self._edge(FallingEdge(self._sck)):
                break
            if awake and bits == 32 and heard >> 24 == _READ:
                self._cipo.value = self._bit((heard & 0xFFFFFF) - _PLACE)
        if bits == 8 and heard == _WAKE:
            self._awake = get_sim_time("step") + get_sim_steps(_WAKES, "us")

    def _bit(self, first: int) -> int:
        """The next bit that is read."""
        place, bit = divmod(self.sent, 8)
        self.sent += 1
        byte = self._data[first + place] if 0 <= first + place < len(self._data) else 0xFF
        return byte >> (7 - bit) & 1
