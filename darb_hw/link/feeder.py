"""Inputs of good requests: from the buffer to the engine."""

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from darb_hw.device.memory import Ram
from darb_hw.engine.loader import element_layout
from darb_hw.link.receiver import request_layout
from darb_hw.link.shape import LinkShape

__all__ = ["Feeder"]


class Feeder(wiring.Component):
    """Reads the elements of requests, an element every ``Ram.latency + 2`` cycles: no line is faster.

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
    """

    request: stream.Interface
    read_address: Signal
    read_data: Signal
    read: Signal
    o: stream.Interface

    def __init__(self, shape: LinkShape) -> None:
        self._shape = shape
        super().__init__(
            {
                "request": In(stream.Signature(request_layout(shape))),
                "read_address": Out(range(shape.buffer)),
                "read_data": In(shape.input_bits),
                "read": Out(range(2 * shape.buffer)),
                "o": Out(stream.Signature(element_layout(shape.input_bits, shape.tasks))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        request, count = self.request.payload, Signal(range(self._shape.buffer + 1))
        wait = Signal(range(Ram.latency + 2))
        taken = self.o.valid & self.o.ready
        m.d.comb += [
            self.read_address.eq(self.read[:-1]),
            self.o.payload.data.eq(self.read_data),
            self.o.payload.last.eq(count + 1 == request.elements),
            self.o.valid.eq(self.request.valid & (wait == Ram.latency + 1)),
            self.request.ready.eq(taken & self.o.payload.last),
        ]
        if self._shape.tasks:
            m.d.comb += self.o.payload.user.eq(request.tasks)
        with m.If(self.request.valid & (wait != Ram.latency + 1)):
            m.d.sync += wait.eq(wait + 1)
        with m.If(taken):
            m.d.sync += [wait.eq(0), self.read.eq(self.read + 1), count.eq(count + 1)]
            with m.If(self.o.payload.last):
                m.d.sync += count.eq(0)
        return m
