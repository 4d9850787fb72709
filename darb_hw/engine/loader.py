"""Input: takes frames from a stream and writes them, or what an embedding makes of them, into the activation memory."""

from amaranth.hdl import Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from darb_hw.device.memory import Rom
from darb_hw.device.pipeline import delay
from darb_hw.engine.input_walk import InputWalk
from darb_hw.engine.planned import Planned
from darb_hw.engine.writeback import write_layout
from darb_hw.plan.image import unsigned_bits
from darb_hw.plan.plan import Plan

__all__ = ["Loader", "element_layout"]


def element_layout(bits: int, tasks: int = 0) -> data.StructLayout:
    """A stream element, and whether it is the last one of its frame; with the first one comes which of so many tasks
    the frame asks for."""
    return data.StructLayout({"data": signed(bits), "last": 1} | ({"user": tasks} if tasks else {}))


class Loader(Planned):
    """Receives inputs, one element a beat.

    An input is a frame; its last element is marked. Of a recurrent network, an input is a time step, and a frame has as
    many of them as its sender likes. Where the plan overlaps, there are two banks: one is filled while the engine works
    on the other. If the network begins with an embedding, an element is a symbol: its features are written, one a
    cycle, before the next symbol is taken.

    A wrong frame never reaches the lanes. A frame that is too short is dropped at its ``last``; one that is too long is
    dropped up to its ``last`` and with it; so is one with a symbol that does not exist, from that symbol on. In each
    case ``error`` is high for a cycle, and the next frame begins with the next element. The time steps before the wrong
    element have been computed by then.

    Parameters
    ----------
    plan : Plan

    Members
    -------
    i : In(stream.Signature(element_layout))
    busy : In(1)
        Nothing may be written ``latency`` cycles later.
    begin : In(1)
        The engine begins to work on the oldest input.
    release : In(1)
        The engine will not read the oldest input any more.
    ready : Out(1)
        There is an input that the engine has not begun to work on.
    final, fresh, second : Out(1)
        Of that input: it ends its frame; it begins its frame; it is in the second bank.
    subset : Out(unsigned)
        Of that input: the tasks that its frame asks for. It is there if the network has tasks.
    write : Out(write_layout(plan))
        ``latency`` cycles after the element.
    bank : Out(unsigned)
        With ``write``: its bank, where lanes compute neighbouring positions; its cluster, where they are in clusters.
    error : Out(1)
        With the element that shows that a frame is wrong.
    empty : Out(1)
        No input waits, and none is stored. It is there if the plan has a port for another network.
    """

    has_roms = True
    i: stream.Interface
    busy: Signal
    begin: Signal
    release: Signal
    ready: Signal
    final: Signal
    fresh: Signal
    second: Signal
    write: data.View
    error: Signal
    empty: Signal
    bank: Signal
    subset: Signal

    def __init__(self, plan: Plan) -> None:
        super().__init__(
            plan,
            {
                "i": In(stream.Signature(element_layout(plan.widths.input, plan.tasks))),
                "busy": In(1),
                "begin": In(1),
                "release": In(1),
                "ready": Out(1),
                "final": Out(1),
                "fresh": Out(1),
                "second": Out(1),
                "write": Out(write_layout(plan)),
                "error": Out(1),
            }
            | ({"bank": Out(unsigned_bits(plan.config.banks - 1))} if plan.banked else {})
            | ({"bank": Out(unsigned_bits(plan.config.clusters))} if plan.clustered else {})
            | ({"subset": Out(plan.tasks)} if plan.tasks else {})
            | ({"empty": Out(1)} if plan.config.loads else {}),
        )

    @property
    def latency(self) -> int:
        return self._plan.latency.load

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # ``working``: features of a symbol are still to be written. ``done``: an input is complete.
        working, done = (Signal() for _ in range(2))
        bank, room = self._banks(m, done, working)
        taken, good, full, again, position = self._check(m, room & ~working & ~self.busy)
        self._mark(m, bank, good & full, done)
        if self._plan.tasks:
            self._mark_subset(m, bank, taken, done)
        if self._plan.features:
            stored, value, element = self._embed(m, good, full, working, done)
        else:
            m.d.comb += done.eq(good & full)
            stored, value, element = taken, delay(m, self.i.payload.data, self.latency, "data"), position
        if self._plan.input_walk:
            self._sum_up(m, bank, taken, again)
        else:
            self._look_up(m, bank, element)
        m.d.comb += [
            self.write.enable.eq(delay(m, stored, self.latency, "stored", control=True)),
            self.write.data.eq(value),
        ]
        return m

    def _banks(self, m: Module, done: Value, working: Value) -> tuple[Signal, Value]:
        """Counts the banks that are held, and those that are ready. Gives the bank that is filled, and whether there is
        room in it."""
        banks = 1 + (self._plan.memory.second > 0)
        held, ready = Signal(range(banks + 1)), Signal(range(banks + 1))
        bank = Signal(name="_bank")
        # An inference starts three cycles after this delay: ``ready``, ``go`` of the sequencer, ``begin``.
        late = delay(m, done, self._plan.latency.start - 3, "done", control=True)
        m.d.sync += [held.eq(held + done - self.release), ready.eq(ready + late - self.begin)]
        if banks > 1:
            with m.If(done):
                m.d.sync += bank.eq(~bank)
            with m.If(self.begin):
                m.d.sync += self.second.eq(~self.second)
        m.d.comb += self.ready.eq(ready != 0)
        if self._plan.config.loads:
            m.d.comb += self.empty.eq((held == 0) & (ready == 0) & ~working)
        return bank, held != banks

    def _check(self, m: Module, accept: Value) -> tuple[Signal, Signal, Signal, Value, Signal]:
        """Takes elements and drops wrong frames.

        Gives whether an element is taken; whether it is good; whether it is the last one of an input; whether an input
        begins behind it; its position.
        """
        size, network = self._plan.input_size, self._plan.network
        position, skipping = Signal(range(max(size, 2))), Signal()
        taken, bad, good = (Signal() for _ in range(3))
        full = Signal(init=size == 1)  # the element to come is the last one
        symbol, last = self.i.payload.data, self.i.payload.last
        # A sequence may go on after any time step, but must end with one.
        wrong = (last & ~full) if network.recurrent else (full != last)
        unknown: Value = Const(0, 1)
        if network.embedding:
            unknown = (symbol < 0) | (symbol >= len(network.embedding.table))
        m.d.comb += [
            self.i.ready.eq(accept),
            taken.eq(self.i.valid & self.i.ready),
            bad.eq(wrong | unknown),
            good.eq(taken & ~bad & ~skipping),
            self.error.eq(taken & bad & ~skipping),
        ]
        again = last | full | bad | skipping
        with m.If(taken):
            m.d.sync += [
                position.eq(Mux(again, 0, position + 1)),
                full.eq((position == size - 2) & ~again | (size == 1)),
            ]
            with m.If(last):
                m.d.sync += skipping.eq(0)
            with m.Elif(bad):
                m.d.sync += skipping.eq(1)
        return taken, good, full, again, position

    def _mark(self, m: Module, bank: Value, ends: Value, done: Value) -> None:
        """Whether the input of each bank ends its frame, and whether it begins one.

        ``ends``: the last element of an input is taken. An error comes behind all inputs of its frame, so the next
        input begins another frame.
        """
        new, closing = Signal(init=1), Signal()
        last = self.i.payload.last
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
        for bank_number in range(1 + (self._plan.memory.second > 0)):
            with m.If(done & (bank == bank_number)):
                m.d.sync += [finals[bank_number].eq(closing), firsts[bank_number].eq(new)]
        m.d.comb += [
            self.final.eq(Mux(self.second, finals[1], finals[0])),
            self.fresh.eq(Mux(self.second, firsts[1], firsts[0])),
        ]

    def _mark_subset(self, m: Module, bank: Value, taken: Value, done: Value) -> None:
        """Which tasks the frame of the input of each bank asks for: its first element says so."""
        begins, frame = Signal(init=1), Signal(self._plan.tasks)
        asked = Mux(begins, self.i.payload.user, frame)
        with m.If(taken):
            m.d.sync += [begins.eq(self.i.payload.last), frame.eq(asked)]
        subsets = [Signal(self._plan.tasks, name=f"subset_{n}") for n in range(1 + (self._plan.memory.second > 0))]
        for bank_number, subset in enumerate(subsets):
            with m.If(done & (bank == bank_number)):
                # Behind a symbol its features are stored, and the next element waits.
                m.d.sync += subset.eq(frame if self._plan.features else asked)
        m.d.comb += self.subset.eq(Mux(self.second, subsets[-1], subsets[0]))

    def _embed(self, m: Module, good: Value, full: Value, working: Signal, done: Signal) -> tuple[Value, Value, Value]:
        """Reads the features of each symbol.

        Gives whether there is a feature in this cycle; its value ``latency`` cycles later; its number in the input.
        """
        plan = self._plan
        m.submodules.table = table = self._rom(m, "embedding")
        left, closing, stored = Signal(range(plan.features + 1)), Signal(), Signal()
        element = Signal(range(max(plan.features * plan.input_size, 2)), name="number")
        m.d.comb += [working.eq(left != 0), stored.eq(working & ~self.busy), done.eq(stored & (left == 1) & closing)]
        address = Signal.like(table.address)
        m.d.comb += table.address.eq(address)
        with m.If(good):
            m.d.sync += [left.eq(plan.features), closing.eq(full), address.eq(self.i.payload.data * plan.features)]
        with m.If(stored):
            m.d.sync += [left.eq(left - 1), address.eq(address + 1), element.eq(Mux(done, 0, element + 1))]
        with m.If(self.error):
            m.d.sync += element.eq(0)
        # The table, and a register behind it.
        assert self.latency == table.latency + 1
        return stored, delay(m, table.field("value"), 1, "value"), element

    def _sum_up(self, m: Module, bank: Value, taken: Value, again: Value) -> None:
        """Each element goes where the walk says."""
        m.submodules.walk = walk = InputWalk(self._plan)
        if self._plan.config.loads:
            m.d.comb += walk.reload.eq(self.reload)
        m.d.comb += [
            walk.taken.eq(taken),
            walk.again.eq(again),
            walk.second.eq(bank),
            self.write.address.eq(walk.address),
        ]
        if self._plan.banked:
            m.d.comb += self.bank.eq(walk.bank)

    def _look_up(self, m: Module, bank: Value, element: Value) -> None:
        """Element number ``element`` of an input goes where a ROM says, or behind the one before."""
        plan = self._plan
        # The ROM of addresses, or as many registers; then the register of the write port.
        wait = plan.latency.load - 1
        way = wait - Rom.latency
        if "input_order" in plan.images:
            m.submodules.order = order = self._rom(m, "input_order")
            m.d.comb += order.address.eq(element)
            address = delay(m, order.field("address"), way, "address")
            if plan.banked or plan.clustered:
                m.d.sync += self.bank.eq(delay(m, order.field("bank"), way, "bank_way"))
        else:
            address = delay(m, element, wait, "number") + plan.load_base
        if plan.memory.second:
            address = address + Mux(delay(m, bank, wait, "bank"), plan.memory.second, 0)
        m.d.sync += self.write.address.eq(address)
