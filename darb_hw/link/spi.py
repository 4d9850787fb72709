"""SPI slave of mode 0: bytes both ways at once, the highest bit first."""

from amaranth.hdl import Cat, ClockDomain, ClockSignal, Module, ResetSignal, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

from darb_hw.link.line import received_byte
from darb_hw.link.protocol import END, ESC, ESC_NOTHING

__all__ = ["SpiSlave"]


class SpiSlave(wiring.Component):
    """Bits of a master -> bytes, and bytes -> bits.

    Bits are clocked by the master, so its clock may be as fast as that of the link. A bit that changes with each byte
    takes it from one to the other. A byte that is sent is chosen while the one before it is on its way: that leaves six
    bits of time, and the choice takes three cycles at most. Where there is nothing to say, the mark between packets is
    sent; within one, a pair that means nothing.

    Members
    -------
    sck, copi : In(1)
        From the master. Bits are counted while ``cs`` is high; what is left of a byte when it falls is forgotten.
    cs : In(1)
        The board is selected.
    cipo : Out(1)
        Always driven: the board is alone on its line.
    o : Out(received_byte)
    i : In(stream.Signature(8))
    """

    sck: Signal
    cs: Signal
    copi: Signal
    cipo: Signal
    o: data.View
    i: stream.Interface

    def __init__(self) -> None:
        super().__init__(
            {
                "sck": In(1),
                "cs": In(1),
                "copi": In(1),
                "cipo": Out(1),
                "o": Out(received_byte),
                "i": In(stream.Signature(8)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        following, sending, byte = Signal(8, init=END), Signal(8), Signal(8)
        came, chosen = Signal(), Signal()
        m.domains += [
            ClockDomain("rise", reset_less=True, local=True),
            ClockDomain("fall", clk_edge="neg", async_reset=True, local=True),
        ]
        m.d.comb += [
            ClockSignal("rise").eq(self.sck),
            ClockSignal("fall").eq(self.sck),
            ResetSignal("fall").eq(~self.cs),
        ]
        position, taken = Signal(3), Signal(7)
        m.d.fall += position.eq(position + 1)
        m.d.rise += taken.eq(Cat(self.copi, taken[:6]))
        # The first bit is out before there is any edge; what follows may change once the second one is.
        with m.If(position == 0):
            m.d.comb += self.cipo.eq(following[7])
            m.d.rise += sending.eq(following)
        with m.Else():
            m.d.comb += self.cipo.eq(sending.bit_select(~position, 1))
        with m.If(position == 1):
            m.d.rise += chosen.eq(~chosen)
        with m.If(position == 7):
            m.d.rise += [byte.eq(Cat(self.copi, taken)), came.eq(~came)]
        m.d.sync += self.o.valid.eq(0)
        with m.If(self._changes(m, "came", came)):
            m.d.sync += [self.o.data.eq(byte), self.o.valid.eq(1)]
        with m.If(self._changes(m, "chosen", chosen)):
            self._choose(m, following)
        return m

    def _changes(self, m: Module, name: str, signal: Signal) -> Signal:
        """High for a cycle when a bit of the other side has changed."""
        # A reset of the link is none of the other side, and must not look like a change.
        inside, changes = Signal(name=f"{name}_inside"), Signal(name=f"{name}_changes")
        before = Signal(name=f"{name}_before", reset_less=True)
        m.submodules[name] = FFSynchronizer(signal, inside)
        m.d.sync += before.eq(inside)
        m.d.comb += changes.eq(inside != before)
        return changes

    def _choose(self, m: Module, following: Signal) -> None:
        """The byte behind the one that is on its way."""
        within, half = Signal(), Signal()
        with m.If(half):
            m.d.sync += [following.eq(ESC_NOTHING), half.eq(0)]
        with m.Elif(self.i.valid):
            m.d.comb += self.i.ready.eq(1)
            m.d.sync += [following.eq(self.i.payload), within.eq(self.i.payload != END)]
        with m.Elif(within):
            m.d.sync += [following.eq(ESC), half.eq(1)]
        with m.Else():
            m.d.sync += following.eq(END)
