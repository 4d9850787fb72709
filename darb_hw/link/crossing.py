"""From one clock domain to another, an element at a time."""

from amaranth.hdl import Module, Shape, ShapeLike, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

__all__ = ["Crossing"]


class Crossing(wiring.Component):
    """A stream that begins in one clock domain and ends in another.

    An element waits in a register while a bit that changes with each of them goes over; the same bit comes back when it
    was taken. So an element takes about three cycles of either domain. Both must be in reset at the same time.

    Parameters
    ----------
    shape : ShapeLike
        Of an element.
    source, target : str
        Clock domains.

    Members
    -------
    i : In(stream.Signature(shape))
        In ``source``.
    o : Out(stream.Signature(shape))
        In ``target``.
    """

    i: stream.Interface
    o: stream.Interface

    def __init__(self, shape: ShapeLike, source: str, target: str) -> None:
        self._shape, self._source, self._target = shape, source, target
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        held = Signal(Shape.cast(self._shape).width, reset_less=True)
        sent, taken, arrived, returned = Signal(), Signal(), Signal(), Signal()
        m.submodules.there = FFSynchronizer(sent, arrived, o_domain=self._target)
        m.submodules.back = FFSynchronizer(taken, returned, o_domain=self._source)
        m.d.comb += [
            self.i.ready.eq(sent == returned),
            self.o.valid.eq(arrived != taken),
            Value.cast(self.o.payload).eq(held),
        ]
        with m.If(self.i.valid & self.i.ready):
            m.d[self._source] += [held.eq(self.i.payload), sent.eq(~sent)]
        with m.If(self.o.valid & self.o.ready):
            m.d[self._target] += taken.eq(~taken)
        return m
