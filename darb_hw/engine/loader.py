"""Input: takes frames from a stream and writes them, or what an embedding makes of them, into the activation memory."""

from amaranth.hdl import Const, Module, Mux, Signal, signed
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from darb_hw.device.memory import Rom
from darb_hw.device.pipeline import delay
from darb_hw.engine.planned import Planned
from darb_hw.engine.writeback import write_layout
from darb_hw.plan.plan import Plan

__all__ = ["Loader", "element_layout"]


def element_layout(bits: int) -> data.StructLayout:
    """A stream element and whether it ends its frame."""
    return data.StructLayout({"data": signed(bits), "last": 1})


class Loader(Planned):
    """Receives inputs (one element a beat): a frame, whose last element is marked; of a recurrent network one step of a
    frame, which has as many as its sender likes. Where the plan overlaps, there is room for two inputs.

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
    busy : In(1)
        Nothing may be written ``latency`` cycles later.
    begin, release : In(1)
        The engine begins to work on the input that came first; it will not read it any more.
    ready : Out(1)
        An input is there, on which it does not work yet.
    final, fresh, second : Out(1)
        Of this input: whether it ended its frame; whether it began one; whether it is the second one in memory.
    write : Out(write_layout(plan))
        ``latency`` cycles after the element.
    error : Out(1)
        With the element that shows that a frame is wrong.
    """

    def __init__(self, plan: Plan):
        super().__init__(
            plan,
            {
                "i": In(stream.Signature(element_layout(plan.widths.input))),
                "busy": In(1),
                "begin": In(1),
                "release": In(1),
                "ready": Out(1),
                "final": Out(1),
                "fresh": Out(1),
                "second": Out(1),
                "write": Out(write_layout(plan)),
                "error": Out(1),
            },
        )

    @property
    def latency(self) -> int:
        return Rom.latency + 1

    def elaborate(self, platform):
        m = Module()
        plan, size = self._plan, self._plan.input_size
        assert self.latency == plan.latency.load
        place, skipping = Signal(range(max(size, 2))), Signal()
        working, taken, bad, good, done = Signal(), Signal(), Signal(), Signal(), Signal()
        full = Signal(init=size == 1)  # the element to come is the last one
        symbol, last = self.i.payload.data, self.i.payload.last
        # A sequence may go on after any step, but must end with one.
        wrong = (last & ~full) if plan.network.recurrent else (full != last)
        unknown = (symbol < 0) | (symbol >= len(plan.network.embedding.table)) if plan.features else Const(0, 1)
        accept = self._banks(m, done)
        m.d.comb += [
            self.i.ready.eq(accept & ~working & ~self.busy),
            taken.eq(self.i.valid & self.i.ready),
            bad.eq(wrong | unknown),
            good.eq(taken & ~bad & ~skipping),
            self.error.eq(taken & bad & ~skipping),
        ]
        again = last | full | bad | skipping
        with m.If(taken):
            m.d.sync += [place.eq(Mux(again, 0, place + 1)), full.eq((place == size - 2) & ~again | (size == 1))]
            with m.If(last):
                m.d.sync += skipping.eq(0)
            with m.Elif(bad):
                m.d.sync += skipping.eq(1)
        self._sequence(m, good & full, done, last)

        if plan.features:
            stored, value, number = self._embed(m, good, full, working, done)
        else:
            m.d.comb += done.eq(good & full)
            stored, value, number = taken, delay(m, symbol, self.latency, "data"), place
        if "input_order" in plan.images:
            m.submodules.order = order = Rom(plan.images["input_order"])
            m.d.comb += order.address.eq(number)
            address = order.field("address")
        else:
            address = delay(m, number, Rom.latency, "number") + plan.load_base
        if plan.overlapped:
            address = address + Mux(delay(m, self._bank, Rom.latency, "bank"), plan.memory.second, 0)
        m.d.sync += self.write.address.eq(address)
        m.d.comb += [
            self.write.enable.eq(delay(m, stored, self.latency, "stored", control=True)),
            self.write.data.eq(value),
        ]
        return m

    def _banks(self, m: Module, done):
        """Which bank is filled, which one is next to be worked on; whether there is room."""
        banks = 1 + self._plan.overlapped
        held, ready = Signal(range(banks + 1)), Signal(range(banks + 1))
        self._bank = Signal()
        m.d.sync += [
            held.eq(held + done - self.release),
            ready.eq(ready + delay(m, done, self._plan.latency.start - 3, "done", control=True) - self.begin),
        ]
        if self._plan.overlapped:
            with m.If(done):
                m.d.sync += self._bank.eq(~self._bank)
            with m.If(self.begin):
                m.d.sync += self.second.eq(~self.second)
        m.d.comb += self.ready.eq(ready != 0)
        return held != banks

    def _sequence(self, m: Module, ends, done, last) -> None:
        """Whether an input ends a frame, whether it begins one; kept for each bank. What is wrong with a frame shows
        in an element that comes behind all of its inputs: the next one begins another frame."""
        new, closing = Signal(init=1), Signal()
        m.d.comb += closing.eq(last)
        if self._plan.features:  # the element is gone when its features are stored
            held = Signal()
            with m.If(ends):
                m.d.sync += held.eq(last)
            m.d.comb += closing.eq(held)
        with m.If(done):
            m.d.sync += new.eq(closing)
        with m.If(self.error):
            m.d.sync += new.eq(1)
        finals, firsts = Signal(2), Signal(2)
        for bank in range(1 + self._plan.overlapped):
            with m.If(done & (self._bank == bank)):
                m.d.sync += [finals[bank].eq(closing), firsts[bank].eq(new)]
        m.d.comb += [
            self.final.eq(Mux(self.second, finals[1], finals[0])),
            self.fresh.eq(Mux(self.second, firsts[1], firsts[0])),
        ]

    def _embed(self, m: Module, good, full, working, done):
        """After each symbol its features: whether there is one in this cycle, its value ``latency`` cycles later,
        its number among all of the input."""
        plan = self._plan
        m.submodules.table = table = Rom(plan.images["embedding"])
        left, closing, stored = Signal(range(plan.features + 1)), Signal(), Signal()
        number = Signal(range(max(plan.features * plan.input_size, 2)))
        m.d.comb += [working.eq(left != 0), stored.eq(working & ~self.busy), done.eq(stored & (left == 1) & closing)]
        address = Signal.like(table.address)
        m.d.comb += table.address.eq(address)
        with m.If(good):
            m.d.sync += [left.eq(plan.features), closing.eq(full), address.eq(self.i.payload.data * plan.features)]
        with m.If(stored):
            m.d.sync += [left.eq(left - 1), address.eq(address + 1), number.eq(Mux(done, 0, number + 1))]
        with m.If(self.error):
            m.d.sync += number.eq(0)
        assert self.latency == table.latency + 1
        return stored, delay(m, table.field("value"), 1, "value"), number
