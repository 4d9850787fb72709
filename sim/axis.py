"""AXI4-Stream agents: a source that sends frames and a sink that takes them, one call a cycle.

Both act at the falling edge. What they drive there is what the next rising edge sees, and what they read there is
settled in every simulator.
"""

from typing import Protocol

import numpy as np
from cocotb.handle import HierarchyObject

from sim.scenario import Frame
from sim.scoreboard import bit_of, known, signed, vector_of

__all__ = ["AxisSink", "AxisSource", "Pauses", "StreamWatcher"]


class StreamWatcher(Protocol):
    """Who is told of what goes over the streams, like :class:`~sim.scoreboard.Scoreboard`."""

    def sent(self, taken: int, now: int, frame: Frame, position: int, /) -> None:
        """An element was ``taken`` from its sender, and has passed the register behind the port."""
        ...

    def offered(self, now: int, /) -> None:
        """An element of an output is offered."""
        ...

    def taken(self, now: int, value: int, last: int, /) -> None:
        """An element of an output is taken."""
        ...

    def fail(self, message: str, /) -> None:
        """Something is wrong."""
        ...


class Pauses:
    """Seeded random pauses: with ``probability`` a pause starts, of ``burst`` cycles on average."""

    def __init__(self, rng: np.random.Generator, probability: float, burst: int) -> None:
        self._rng, self._probability, self._burst = rng, probability, max(burst, 1)
        self._left = 0

    def __call__(self) -> bool:
        """Whether this cycle pauses."""
        if self._left:
            self._left -= 1
            return True
        if self._probability and self._rng.random() < self._probability:
            self._left = int(self._rng.geometric(1 / self._burst)) - 1
            return True
        return False


class AxisSource:
    """Drives ``s_axis_*``; an element once offered stays until it is taken.

    Parameters
    ----------
    dut : cocotb.handle.HierarchyObject
        The top level.
    pauses : Pauses
    scoreboard : StreamWatcher
        Told of every element taken. It is told when the register behind the port passes the element on and is ready
        for another.
    tasks : int
        Tasks of the network, if a frame says which of them it asks for. Only its first element does: with the others
        comes something else.
    at_once : bool
        Tell of an element as soon as the port has taken it.
    """

    def __init__(
        self, dut: HierarchyObject, pauses: Pauses, scoreboard: StreamWatcher, tasks: int = 0, at_once: bool = False
    ) -> None:
        self._at_once = at_once
        self._ready, self._valid = bit_of(dut, "s_axis_tready"), bit_of(dut, "s_axis_tvalid")
        self._data, self._last = vector_of(dut, "s_axis_tdata"), bit_of(dut, "s_axis_tlast")
        self._mask = (1 << len(self._data)) - 1
        self._user = vector_of(dut, "s_axis_tuser") if tasks else None
        self._pauses, self._scoreboard = pauses, scoreboard
        self.frames: list[Frame] = []
        self._position = 0
        self._offered = False
        self._behind: tuple[int, Frame, int] | None = None  # when taken, and what: in the register
        self._valid.value = 0

    @property
    def idle(self) -> bool:
        """Whether everything was sent and has entered the loader."""
        return not self.frames and self._behind is None

    def reset(self, noise: int | None) -> None:
        """Forget all frames; if ``noise`` is given, offer it while the reset lasts."""
        self.frames, self._position, self._offered, self._behind = [], 0, False, None
        self._valid.value = int(noise is not None)
        if noise is not None:
            self._data.value, self._last.value = noise & self._mask, noise & 1
            if self._user is not None:
                self._user.value = noise & (1 << len(self._user)) - 1

    def cycle(self, now: int) -> None:
        """Drive what the next rising edge sees."""
        # tready does not depend on tvalid, so the transfer at the next rising edge is known already.
        ready = known(self._ready, now)
        if ready and self._behind:
            taken, frame, position = self._behind
            self._scoreboard.sent(taken, now, frame, position)
            self._behind = None
        if not self._offered:
            if not self.frames or self._pauses():
                self._valid.value = 0
                return
            values = self.frames[0].values
            self._valid.value = 1
            self._data.value = values[self._position] & self._mask
            self._last.value = int(self._position == len(values) - 1)
            if self._user is not None:
                everything = (1 << len(self._user)) - 1
                subset = self.frames[0].subset
                self._user.value = subset if not self._position else (subset + self._position) & everything
            self._offered = True
        if ready:
            self._offered = False
            frame = self.frames[0]
            if self._at_once:
                self._scoreboard.sent(now, now, frame, self._position)
            else:
                self._behind = now, frame, self._position
            self._position += 1
            if self._position == len(frame.values):
                self.frames.pop(0)
                self._position = 0


class AxisSink:
    """Takes ``m_axis_*`` and checks the protocol: once valid, an element may not change or vanish.

    Parameters
    ----------
    dut : cocotb.handle.HierarchyObject
        The top level.
    pauses : Pauses
    scoreboard : StreamWatcher
        Told when an element is offered first and when it is taken; its value is the whole of ``tdata``, sign
        extension included.
    """

    def __init__(self, dut: HierarchyObject, pauses: Pauses, scoreboard: StreamWatcher) -> None:
        self._ready, self._valid = bit_of(dut, "m_axis_tready"), bit_of(dut, "m_axis_tvalid")
        self._data, self._last = vector_of(dut, "m_axis_tdata"), bit_of(dut, "m_axis_tlast")
        self._bits = len(self._data)
        self._pauses, self._scoreboard = pauses, scoreboard
        self._held: tuple[int, int] | None = None  # value and tlast of the element that waits
        self._ready.value = 0

    def reset(self) -> None:
        """Forget the element that waits."""
        self._held = None

    def cycle(self, now: int) -> None:
        """Take what is offered, unless this cycle pauses."""
        ready = not self._pauses()
        self._ready.value = int(ready)
        if not known(self._valid, now):
            if self._held is not None:
                self._scoreboard.fail(f"cycle {now}: m_axis_tvalid fell before its element was taken")
            return
        element = signed(known(self._data, now), self._bits), known(self._last, now)
        if self._held is None:
            self._scoreboard.offered(now)
        elif element != self._held:
            self._scoreboard.fail(f"cycle {now}: m_axis element changed from {self._held} to {element} while waiting")
        self._held = None if ready else element
        if ready:
            self._scoreboard.taken(now, *element)
