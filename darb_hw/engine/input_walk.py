"""Where the elements of an input map go: counters of its lines, columns and channels."""

from amaranth.hdl import Const, Module, Mux, Signal, Value
from amaranth.lib.wiring import In, Out

from darb_hw.device.pipeline import delay
from darb_hw.engine.planned import Planned
from darb_hw.plan.image import unsigned_bits
from darb_hw.plan.plan import Plan

__all__ = ["InputWalk"]


class InputWalk(Planned):
    """Counts lines, columns and channels of an input, and adds up what each of them has of the address.

    An address moves by a constant where the addresses of an axis are equally far apart. Else a small ROM has them.

    Parameters
    ----------
    plan : Plan
        One with an ``input_walk``.

    Members
    -------
    taken : In(1)
        An element comes.
    again : In(1)
        With ``taken``: behind this element an input begins.
    second : In(1)
        With ``taken``: the element goes to the second input.
    address, bank : Out(unsigned)
        Of the element that came ``latency`` cycles before. ``bank`` where lanes compute neighbouring positions.
    """

    has_roms = True
    taken: Signal
    again: Signal
    second: Signal
    address: Signal
    bank: Signal

    def __init__(self, plan: Plan) -> None:
        address = Out(plan.widths.address)
        bank = {"bank": Out(unsigned_bits(plan.config.banks - 1))} if plan.banked else {}
        super().__init__(plan, {"taken": In(1), "again": In(1), "second": In(1), "address": address} | bank)

    @property
    def latency(self) -> int:
        return self._plan.latency.load

    def elaborate(self, platform: object) -> Module:
        m = Module()
        counters = self._count(m)
        address = delay(m, self._sum(m, counters), self.latency - 3, "sum")
        for axis, counter in counters.items():
            name = f"input_{axis}"
            if name not in self._plan.images:
                continue
            m.submodules[name] = table = self._rom(m, name)
            m.d.comb += table.address.eq(counter)
            way = self.latency - 1 - table.latency
            address = address + delay(m, table.field("address"), way, f"{axis}_address")
            if self._plan.banked and axis == "columns":
                m.d.sync += self.bank.eq(delay(m, table.field("bank"), way, "bank_way"))
        m.d.sync += self.address.eq(address)
        return m

    def _count(self, m: Module) -> dict[str, Signal]:
        """Counters of the element to come, the fastest first."""
        walk, counters = self._plan.input_walk, {}
        assert walk is not None
        step: Value = Const(1, 1)
        for axis in walk.axes:
            size = len(walk.addresses[axis])
            if size == 1:
                continue
            counter = Signal(range(size), name=f"count_{axis}")
            last = counter == size - 1
            with m.If(self.taken):
                m.d.sync += counter.eq(Mux(self.again, 0, Mux(step, Mux(last, 0, counter + 1), counter)))
            step = step & last
            counters[axis] = counter
        return counters

    def _sum(self, m: Module, counters: dict[str, Signal]) -> Signal:
        """The address of an element two cycles later, without what is looked up: how far it moves is chosen in the
        first, and added in the second."""
        plan, walk = self._plan, self._plan.input_walk
        assert walk is not None
        address, move = Signal(plan.widths.address, name="sum"), Signal(plan.widths.address)
        first, taken, second = Signal(), Signal(), Signal(name="_second")
        chosen, began = Const(0, plan.widths.address), Const(1, 1)
        for axis, counter in reversed(counters.items()):
            chosen = Mux(counter != 0, walk.moves[axis] % (1 << plan.widths.address), chosen)
            began = began & (counter == 0)
        m.d.sync += [move.eq(chosen), first.eq(began), taken.eq(self.taken), second.eq(self.second)]
        with m.If(taken):
            begin = Mux(second, walk.first + plan.memory.second, walk.first)
            m.d.sync += address.eq(Mux(first, begin, address + move))
        return address
