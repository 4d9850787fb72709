"""Where the program is in a sweep: which step, and how far addresses have moved since the first one."""

from amaranth.hdl import Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from darb_hw.device.pipeline import delay
from darb_hw.engine.planned import Planned
from darb_hw.plan.plan import Plan

__all__ = ["StepCounter"]


class StepCounter(Planned):
    """Counts the steps of one sweep after another. For a network that has sections.

    Parameters
    ----------
    plan : Plan

    Members
    -------
    restart : In(1)
        The first sweep comes next, and its first step.
    ends : In(1)
        A step ends: another one of the sweep comes next, or the first one of the sweep behind. All that is said of
        it is there two cycles later. Not with ``restart``, nor in the cycle before.
    more : Out(1)
        Another step of the sweep follows the one that comes next.
    again : Out(1)
        What comes next is not the first step of a sweep.
    moved : Out(ArrayLayout(unsigned, moves))
        How far addresses have moved then, with each of the moves of ``plan.memory.columns``.
    units : Out(ArrayLayout(unsigned, cells))
        What is added then to the number of a unit of each cell, for the address of its output; if there are any.
    second : Out(ArrayLayout(unsigned, moves))
        ``moved`` plus the distance of the second input, if there is one.
    """

    restart: Signal
    ends: Signal
    more: Signal
    again: Signal
    moved: data.View
    units: data.View
    second: data.View

    def __init__(self, plan: Plan) -> None:
        address = unsigned(plan.widths.address)
        moved = data.ArrayLayout(address, len(plan.memory.columns.moves))
        cells = len(plan.memory.columns.cells)
        super().__init__(
            plan,
            {
                "restart": In(1),
                "ends": In(1),
                "more": Out(1),
                "again": Out(1),
                "moved": Out(moved),
            }
            | ({"units": Out(data.ArrayLayout(address, cells))} if cells else {})
            | ({"second": Out(moved)} if plan.memory.second else {}),
        )

    def follow(self, number: Value) -> Value:
        """How far an address has moved that follows the columns with move ``number``, from 1 on; 0 for 0."""
        moved: Value = Const(0, 1)
        for other in range(len(self._plan.memory.columns.moves)):
            moved = Mux(number == other + 1, self.moved[other], moved)
        return moved

    def elaborate(self, platform: object) -> Module:
        m = Module()
        memory, columns = self._plan.memory, self._plan.memory.columns
        sweep = Signal(range(max(2, len(columns.sweeps))), name="sweep")
        step = Signal(range(max(2, *(sweep.steps for sweep in columns.sweeps))), name="step")
        last: Value = Const(columns.sweeps[0].steps - 1, len(step))
        for number, other in enumerate(columns.sweeps):
            last = Mux(sweep == number, other.steps - 1, last)
        m.d.comb += self.more.eq(step != last)
        moving = [(self.moved[number], 0, move) for number, move in enumerate(columns.moves)]
        if memory.second:
            moving += [(self.second[number], memory.second, move) for number, move in enumerate(columns.moves)]
        for number, (cell, move) in enumerate(columns.cells):
            pixel = memory.start(cell) + memory.layouts[cell].pixel(0, columns.write(cell).first)
            moving.append((self.units[number], pixel - memory.cells[cell], move))
        begin = [moved.eq(first) for moved, first, _ in moving]
        ends = delay(m, self.ends, 1, "ended", control=True)
        with m.If(self.restart):
            m.d.sync += [sweep.eq(0), *begin]
        with m.Elif(ends & self.more):
            m.d.sync += [step.eq(step + 1), self.again.eq(1), *(moved.eq(moved + move) for moved, _, move in moving)]
        with m.Elif(ends):
            m.d.sync += [sweep.eq(sweep + 1), step.eq(0), self.again.eq(0), *begin]
        return m
