"""SLIP, the framing of RFC 1055: where packets begin and end in a stream of bytes."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from darb_hw.link.line import received_byte
from darb_hw.link.protocol import END, ESC, ESC_END, ESC_ESC

__all__ = ["SlipDecoder", "SlipEncoder", "packet_byte", "sent_byte"]

packet_byte = data.StructLayout({"data": 8, "valid": 1, "end": 1, "bad": 1})
"""``valid``: a byte of a packet. ``end``: the packet ends; there may have been no byte since the end before.
``bad``: a byte of this packet was damaged. Each is high for one cycle, and never two of them at once."""

sent_byte = data.StructLayout({"data": 8, "end": 1})
"""A byte of a packet; or a mark between packets, whatever ``data`` is."""


class SlipDecoder(wiring.Component):
    """Bytes of a line -> bytes of packets.

    Members
    -------
    i : In(received_byte)
    o : Out(packet_byte)
    """

    i: data.View
    o: data.View

    def __init__(self) -> None:
        super().__init__({"i": In(received_byte), "o": Out(packet_byte)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        escaped = Signal()
        m.d.sync += [self.o.valid.eq(0), self.o.end.eq(0), self.o.bad.eq(0)]
        with m.If(self.i.valid):
            m.d.sync += [escaped.eq(0), self.o.data.eq(self.i.data)]
            with m.If(self.i.bad):
                m.d.sync += self.o.bad.eq(1)
            with m.Elif(self.i.data == END):
                m.d.sync += self.o.end.eq(1)
            with m.Elif(escaped):
                m.d.sync += self.o.data.eq(Mux(self.i.data == ESC_END, END, ESC))
                known = (self.i.data == ESC_END) | (self.i.data == ESC_ESC)
                m.d.sync += [self.o.valid.eq(known), self.o.bad.eq(~known)]
            with m.Elif(self.i.data == ESC):
                m.d.sync += escaped.eq(1)
            with m.Else():
                m.d.sync += self.o.valid.eq(1)
        return m


class SlipEncoder(wiring.Component):
    """Bytes of packets -> bytes for a line.

    Members
    -------
    i : In(stream.Signature(sent_byte))
    o : Out(stream.Signature(8))
    """

    i: stream.Interface
    o: stream.Interface

    def __init__(self) -> None:
        super().__init__({"i": In(stream.Signature(sent_byte)), "o": Out(stream.Signature(8))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        byte, end = self.i.payload.data, self.i.payload.end
        special, escaped = Signal(), Signal()
        taken = self.o.valid & self.o.ready
        m.d.comb += [
            special.eq(~end & ((byte == END) | (byte == ESC))),
            self.o.valid.eq(self.i.valid),
            self.o.payload.eq(Mux(end, END, Mux(special, Mux(escaped, Mux(byte == END, ESC_END, ESC_ESC), ESC), byte))),
            self.i.ready.eq(self.o.ready & (~special | escaped)),
        ]
        with m.If(taken):
            m.d.sync += escaped.eq(special & ~escaped)
        return m
