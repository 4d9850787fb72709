"""SPI slave of mode 0: bytes both ways at once, the highest bit first."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

from darb_hw.link.line import received_byte
from darb_hw.link.protocol import END

__all__ = ["SpiSlave"]


class SpiSlave(wiring.Component):
    """Bits of a master -> bytes, and bytes -> bits.

    All is done in the clock domain of the engine, so a phase of the clock of the master must last at least four
    cycles of it. While there is nothing to say, the byte between packets is sent.

    Members
    -------
    sck, cs_n, copi : In(1)
        From another clock domain. While ``cs_n`` is high, bits are not counted.
    cipo : Out(1)
    o : Out(received_byte)
    i : In(stream.Signature(8))
    """

    sck: Signal
    cs_n: Signal
    copi: Signal
    cipo: Signal
    o: data.View
    i: stream.Interface

    def __init__(self) -> None:
        super().__init__(
            {
                "sck": In(1),
                "cs_n": In(1),
                "copi": In(1),
                "cipo": Out(1),
                "o": Out(received_byte),
                "i": In(stream.Signature(8)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        sck, cs_n, copi = Signal(), Signal(init=1), Signal()
        for name, port, inside in (("sck", self.sck, sck), ("cs_n", self.cs_n, cs_n), ("copi", self.copi, copi)):
            m.submodules[name] = FFSynchronizer(port, inside, init=inside.init)
        before, count, taken = Signal(), Signal(3), Signal(7, reset_less=True)
        shift, loaded = Signal(8, init=END), Signal()
        m.d.sync += [before.eq(sck), self.o.valid.eq(0)]
        m.d.comb += [self.cipo.eq(shift[7]), self.i.ready.eq(~loaded)]
        # The byte to send next is chosen while none is on its way; its first bit is there before the first edge.
        with m.If(~loaded):
            m.d.sync += [shift.eq(Mux(self.i.valid, self.i.payload, END)), loaded.eq(self.i.valid | ~cs_n)]
        with m.If(cs_n):
            m.d.sync += count.eq(0)
        with m.Elif(sck & ~before):
            m.d.sync += [taken.eq(Cat(copi, taken[:6])), count.eq(count + 1)]
            with m.If(count == 7):
                m.d.sync += [self.o.data.eq(Cat(copi, taken)), self.o.valid.eq(1)]
        with m.Elif(~sck & before):
            m.d.sync += shift.eq(Cat(1, shift[:7]))
            with m.If(count == 0):
                m.d.sync += loaded.eq(0)
        return m
