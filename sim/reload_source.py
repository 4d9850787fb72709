"""Networks as an engine takes them while it runs, for benches."""

from collections import deque

from cocotb.handle import HierarchyObject

from sim.axis import Pauses
from sim.scoreboard import bit_of, known, vector_of

__all__ = ["ReloadSource"]


class ReloadSource:
    """Drives ``reload_axis_*``; a byte once offered stays until it is taken."""

    def __init__(self, dut: HierarchyObject, pauses: Pauses) -> None:
        self._ready, self._valid = bit_of(dut, "reload_axis_tready"), bit_of(dut, "reload_axis_tvalid")
        self._data, self._last = vector_of(dut, "reload_axis_tdata"), bit_of(dut, "reload_axis_tlast")
        self._pauses, self._offered = pauses, False
        self.bytes: deque[int] = deque()
        self._valid.value = 0

    def send(self, data: bytes) -> None:
        """Send a network, or what remains of it."""
        self.bytes, self._offered = deque(data), False
        self._valid.value = 0

    def cycle(self, now: int) -> None:
        """Drive what the next rising edge sees."""
        ready = known(self._ready, now)
        if not self._offered:
            self._offered = bool(self.bytes) and not self._pauses()
            self._valid.value = int(self._offered)
            if self._offered:
                self._data.value, self._last.value = self.bytes[0], int(len(self.bytes) == 1)
        if self._offered and ready:
            self.bytes.popleft()
            self._offered = False
