"""The first network of a board, from its flash memory."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from darb_hw.link.intake import placed_byte

__all__ = ["PLACE", "FlashReader"]

PLACE = 1 << 20
"""Where the network stands: behind the bitstream of any device that takes networks from there."""
_WAKE, _READ = 0xAB, 0x03
"""Commands: release from deep power-down, in which iCE40 leaves the memory behind its configuration; read from an
address of 24 bits on."""
_PAUSE = 50e-6
"""Seconds that memories take to wake up, and more."""


class FlashReader(wiring.Component):
    """Reads so many bytes once, a bit every two cycles (SPI mode 0).

    One line is enough: 64 KB take a tenth of a second at 12 MHz.

    Parameters
    ----------
    count : int
        Bytes.
    clock_hz : float

    Members
    -------
    cs, sck, copi : Out(1)
    cipo : In(1)
        Of the memory. ``cs`` is high where the memory is selected.
    o : Out(stream.Signature(placed_byte))
        As a request for place 0 would bring them.
    """

    cs: Signal
    sck: Signal
    copi: Signal
    cipo: Signal
    o: stream.Interface

    def __init__(self, count: int, clock_hz: float) -> None:
        self._count, self._pause = count, int(clock_hz * _PAUSE) + 1
        members = {"cs": Out(1), "sck": Out(1), "copi": Out(1), "cipo": In(1)}
        super().__init__(members | {"o": Out(stream.Signature(placed_byte))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # The first bit that goes out is the topmost one; bits come in at the bottom.
        shift, left, high = Signal(32), Signal(range(33)), Signal()
        paused, given, cs = Signal(range(self._pause + 1)), Signal(range(self._count + 1)), Signal()
        ends = high & (left == 1)
        m.d.comb += [
            self.cs.eq(cs),
            self.sck.eq(high),
            self.copi.eq(shift[-1]),
            self.o.payload.data.eq(shift[:8]),
            self.o.payload.last.eq(given == self._count - 1),
        ]
        sampled = Signal()
        with m.If(left != 0):
            m.d.sync += high.eq(~high)
            with m.If(high):
                m.d.sync += [shift.eq(Cat(sampled, shift[:-1])), left.eq(left - 1)]
            with m.Else():
                m.d.sync += sampled.eq(self.cipo)
        with m.FSM():
            with m.State("BEGIN"):
                m.d.sync += [cs.eq(1), shift.eq(_WAKE << 24), left.eq(8)]
                m.next = "WAKE"
            with m.State("WAKE"), m.If(ends):
                m.d.sync += cs.eq(0)
                m.next = "PAUSE"
            with m.State("PAUSE"):
                m.d.sync += paused.eq(Mux(paused == self._pause, 0, paused + 1))
                with m.If(paused == self._pause):
                    m.d.sync += [cs.eq(1), shift.eq(_READ << 24 | PLACE), left.eq(32)]
                    m.next = "ASK"
            with m.State("ASK"), m.If(ends):
                m.d.sync += left.eq(8)
                m.next = "READ"
            with m.State("READ"), m.If(ends):
                m.next = "GIVE"
            with m.State("GIVE"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.d.sync += [given.eq(given + 1), left.eq(Mux(self.o.payload.last, 0, 8))]
                    m.next = "READ"
                    with m.If(self.o.payload.last):
                        m.d.sync += cs.eq(0)
                        m.next = "DONE"
            with m.State("DONE"):
                pass
        return m
