"""Inputs of good requests: from the buffer to the engine."""

from amaranth.hdl import Module, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from darb_hw.device.memory import Ram
from darb_hw.engine.loader import element_layout
from darb_hw.link.intake import placed_byte
from darb_hw.link.protocol import PacketKind
from darb_hw.link.receiver import request_layout
from darb_hw.link.shape import LinkShape

__all__ = ["Feeder"]


class Feeder(wiring.Component):
    """Reads the elements of requests, an element every ``Ram.latency + 2`` cycles: no line is faster.

    Bytes of other networks are elements as well, and go elsewhere.

    Parameters
    ----------
    shape : LinkShape

    Members
    -------
    request : In(stream.Signature(request_layout))
        Taken when its last element has gone.
    read_address : Out(unsigned)
    read_data : In(unsigned)
        From the buffer, ``Ram.latency`` cycles later.
    read : Out(unsigned)
        Elements that have been read so far, modulo twice the size of the buffer.
    o : Out(stream.Signature(element_layout))
    load : Out(stream.Signature(placed_byte))
        It is there if another network can come.
    """

    request: stream.Interface
    read_address: Signal
    read_data: Signal
    read: Signal
    o: stream.Interface
    load: stream.Interface

    def __init__(self, shape: LinkShape) -> None:
        self._shape = shape
        super().__init__(
            {
                "request": In(stream.Signature(request_layout(shape))),
                "read_address": Out(range(shape.buffer)),
                "read_data": In(shape.word_bits),
                "read": Out(range(2 * shape.buffer)),
                "o": Out(stream.Signature(element_layout(shape.input_bits, shape.tasks))),
            }
            | ({"load": Out(stream.Signature(placed_byte))} if shape.load_bytes else {})
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        request, count = self.request.payload, Signal(range(self._shape.buffer + 1))
        wait = Signal(range(Ram.latency + 2))
        there, last = self.request.valid & (wait == Ram.latency + 1), count + 1 == request.elements
        taken: Value = self.o.valid & self.o.ready
        if self._shape.load_bytes:
            loads = request.kind == PacketKind.LOAD
            taken = taken | (self.load.valid & self.load.ready)
            m.d.comb += [
                self.o.valid.eq(there & ~loads),
                self.load.valid.eq(there & loads),
                self.load.payload.data.eq(self.read_data),
                self.load.payload.last.eq(last),
                self.load.payload.offset.eq(request.offset),
            ]
        else:
            m.d.comb += self.o.valid.eq(there)
        m.d.comb += [
            self.read_address.eq(self.read[:-1]),
            self.o.payload.data.eq(self.read_data[: self._shape.input_bits]),
            self.o.payload.last.eq(last),
            self.request.ready.eq(taken & last),
        ]
        if self._shape.tasks:
            m.d.comb += self.o.payload.user.eq(request.tasks)
        with m.If(self.request.valid & (wait != Ram.latency + 1)):
            m.d.sync += wait.eq(wait + 1)
        with m.If(taken):
            m.d.sync += [wait.eq(0), self.read.eq(self.read + 1), count.eq(count + 1)]
            with m.If(last):
                m.d.sync += count.eq(0)
        return m
