"""Input: takes frames from a stream and writes them into the activation memory."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from darb_hw.memory import Rom
from darb_hw.pipeline import delay
from darb_hw.plan import Plan
from darb_hw.planned import Planned
from darb_hw.writeback import write_layout

__all__ = ["Loader", "element_layout"]


def element_layout(bits: int) -> data.StructLayout:
    """A stream element and whether it ends its frame."""
    return data.StructLayout({"data": signed(bits), "last": 1})


class Loader(Planned):
    """Receives one frame (one element a beat, the last one marked) while ``accept`` is high.

    A frame of the wrong length never reaches the lanes: a short one is dropped at its ``last``, a long one is
    dropped up to and with its ``last``; either way ``error`` is high for a cycle and the next frame is whole.

    Parameters
    ----------
    plan : Plan

    Members
    -------
    i : In(stream.Signature(element_layout))
    accept : In(1)
    write : Out(write_layout(plan))
        ``latency`` cycles after the element.
    done : Out(1)
        With the last element of a whole frame.
    error : Out(1)
        With the element that shows that a frame has the wrong length.
    """

    def __init__(self, plan: Plan):
        super().__init__(
            plan,
            {
                "i": In(stream.Signature(element_layout(plan.widths.input))),
                "accept": In(1),
                "write": Out(write_layout(plan)),
                "done": Out(1),
                "error": Out(1),
            },
        )

    @property
    def latency(self) -> int:
        return Rom.latency

    def elaborate(self, platform):
        m = Module()
        size = self._plan.input_size
        position = Signal(range(max(size, 2)))
        skipping = Signal()
        taken, full = Signal(), Signal()
        m.d.comb += [
            self.i.ready.eq(self.accept),
            taken.eq(self.i.valid & self.accept),
            full.eq(position == size - 1),
            self.done.eq(taken & full & self.i.payload.last & ~skipping),
            self.error.eq(taken & (full != self.i.payload.last) & ~skipping),
        ]
        with m.If(taken):
            m.d.sync += position.eq(Mux(self.i.payload.last | full | skipping, 0, position + 1))
            with m.If(self.i.payload.last):
                m.d.sync += skipping.eq(0)
            with m.Elif(full):
                m.d.sync += skipping.eq(1)

        if "input_order" in self._plan.images:
            m.submodules.order = order = Rom(self._plan.images["input_order"])
            m.d.comb += [order.address.eq(position), self.write.address.eq(order.field("address"))]
        else:
            start = self._plan.regions[self._plan.network.input].start
            m.d.comb += self.write.address.eq(delay(m, position, self.latency, "position") + start)
        m.d.comb += [
            self.write.enable.eq(delay(m, taken, self.latency, "taken", control=True)),
            self.write.data.eq(delay(m, self.i.payload.data, self.latency, "data")),
        ]
        return m
