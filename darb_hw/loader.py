"""Input: takes frames from a stream and writes them, or what an embedding makes of them, into the activation memory."""

from amaranth.hdl import Const, Module, Mux, Signal, signed
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
    """Receives one input (one element a beat) while ``accept`` is high: a frame, whose last element is marked; of a
    recurrent network one step of a frame, which has as many as its sender likes.

    Where the network begins with an embedding, an element is a symbol, and its features are written one a cycle
    before the next one is taken.

    A frame of the wrong length never reaches the lanes: a short one is dropped at its ``last``, a long one is
    dropped up to and with its ``last``; either way ``error`` is high for a cycle and the next frame is whole. So is a
    frame from a symbol on that does not exist. Of a sequence, the steps before have been computed by then.

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
        With the last element of the input, or its last feature.
    final : Out(1)
        Whether the input that was last complete ended its frame; from the cycle after ``done`` on.
    error : Out(1)
        With the element that shows that a frame is wrong.
    """

    def __init__(self, plan: Plan):
        super().__init__(
            plan,
            {
                "i": In(stream.Signature(element_layout(plan.widths.input))),
                "accept": In(1),
                "write": Out(write_layout(plan)),
                "done": Out(1),
                "final": Out(1),
                "error": Out(1),
            },
        )

    @property
    def latency(self) -> int:
        return Rom.latency

    def elaborate(self, platform):
        m = Module()
        plan, size = self._plan, self._plan.input_size
        place, skipping = Signal(range(max(size, 2))), Signal()
        busy, taken, full, bad, good = Signal(), Signal(), Signal(), Signal(), Signal()
        symbol, last = self.i.payload.data, self.i.payload.last
        # A sequence may go on after any step, but must end with one.
        wrong = (last & ~full) if plan.network.recurrent else (full != last)
        unknown = (symbol < 0) | (symbol >= len(plan.network.embedding.table)) if plan.features else Const(0, 1)
        m.d.comb += [
            self.i.ready.eq(self.accept & ~busy),
            taken.eq(self.i.valid & self.i.ready),
            full.eq(place == size - 1),
            bad.eq(wrong | unknown),
            good.eq(taken & ~bad & ~skipping),
            self.error.eq(taken & bad & ~skipping),
        ]
        with m.If(taken):
            m.d.sync += place.eq(Mux(last | full | bad | skipping, 0, place + 1))
            with m.If(last):
                m.d.sync += skipping.eq(0)
            with m.Elif(bad):
                m.d.sync += skipping.eq(1)
        with m.If(good & full):
            m.d.sync += self.final.eq(last)

        if plan.features:
            stored, value, number = self._embed(m, good, full, busy)
        else:
            m.d.comb += self.done.eq(good & full)
            stored, value, number = taken, delay(m, symbol, self.latency, "data"), place
        if "input_order" in plan.images:
            m.submodules.order = order = Rom(plan.images["input_order"])
            m.d.comb += [order.address.eq(number), self.write.address.eq(order.field("address"))]
        else:
            m.d.comb += self.write.address.eq(delay(m, number, self.latency, "number") + plan.load_base)
        m.d.comb += [
            self.write.enable.eq(delay(m, stored, self.latency, "stored", control=True)),
            self.write.data.eq(value),
        ]
        return m

    def _embed(self, m: Module, good, full, busy):
        """After each symbol its features: whether there is one in this cycle, its value ``latency`` cycles later,
        its number among all of the input."""
        plan = self._plan
        m.submodules.table = table = Rom(plan.images["embedding"])
        left, closing = Signal(range(plan.features + 1)), Signal()
        number = Signal(range(max(plan.features * plan.input_size, 2)))
        m.d.comb += [busy.eq(left != 0), self.done.eq((left == 1) & closing)]
        address = Signal.like(table.address)
        m.d.comb += table.address.eq(address)
        with m.If(good):
            m.d.sync += [left.eq(plan.features), closing.eq(full), address.eq(self.i.payload.data * plan.features)]
        with m.If(busy):
            m.d.sync += [left.eq(left - 1), address.eq(address + 1), number.eq(Mux(self.done, 0, number + 1))]
        with m.If(self.error):
            m.d.sync += number.eq(0)
        assert self.latency == table.latency
        return busy, table.field("value"), number
