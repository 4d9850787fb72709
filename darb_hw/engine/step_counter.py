"""Where the program is in a section: which step, and how far addresses have moved since the first one."""

from amaranth.hdl import Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from darb_hw.device.pipeline import delay
from darb_hw.engine.planned import Planned
from darb_hw.plan.plan import Plan

__all__ = ["StepCounter"]


class StepCounter(Planned):
    """Counts the steps of one section after another. For a network that has sections.

    Parameters
    ----------
    plan : Plan

    Members
    -------
    restart : In(1)
        The first section comes next, and its first step.
    ends : In(1)
        A step ends: another one of the section comes next, or the first one of the section behind. All that is said of
        it is there two cycles later. Not with ``restart``, nor in the cycle before.
    more : Out(1)
        Another step of the section follows the one that comes next.
    again : Out(1)
        What comes next is not the first step of a section.
    moved : Out(ArrayLayout(unsigned, moves))
        How far addresses have moved then, with each of the moves of ``plan.memory.columns``.
    unit : Out(unsigned)
        What is added then to the number of a unit, for the address of its output.
    second : Out(ArrayLayout(unsigned, moves))
        ``moved`` plus the distance of the second input, if there is one.
    """

    restart: Signal
    ends: Signal
    more: Signal
    again: Signal
    moved: data.View
    unit: Signal
    second: data.View

    def __init__(self, plan: Plan) -> None:
        address = unsigned(plan.widths.address)
        moved = data.ArrayLayout(address, len(plan.memory.columns.moves))
        super().__init__(
            plan,
            {
                "restart": In(1),
                "ends": In(1),
                "more": Out(1),
                "again": Out(1),
                "moved": Out(moved),
                "unit": Out(address),
            }
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
        columns = self._plan.memory.columns
        section = Signal(range(max(2, len(columns.steps))), name="section")
        step = Signal(range(max(2, *columns.steps)), name="step")
        first, moves = zip(*(self._units(number) for number in range(len(columns.steps))), strict=True)
        following = section + 1
        m.d.comb += self.more.eq(step != _of(section, [steps - 1 for steps in columns.steps], len(step)))
        ends = delay(m, self.ends, 1, "ended", control=True)
        distance = self._plan.memory.second
        moving = [(self.moved, 0)] + ([(self.second, distance)] if distance else [])
        with m.If(self.restart):
            m.d.sync += [
                section.eq(0),
                self.unit.eq(_of(Const(0), first, len(self.unit))),
                *(moved[number].eq(origin) for moved, origin in moving for number in range(len(columns.moves))),
            ]
        with m.Elif(ends & self.more):
            m.d.sync += [
                step.eq(step + 1),
                self.again.eq(1),
                self.unit.eq(self.unit + _of(section, moves, len(self.unit))),
                *(
                    moved[number].eq(moved[number] + move)
                    for moved, _ in moving
                    for number, move in enumerate(columns.moves)
                ),
            ]
        with m.Elif(ends):
            m.d.sync += [
                section.eq(following),
                step.eq(0),
                self.again.eq(0),
                self.unit.eq(_of(following, first, len(self.unit))),
                *(moved[number].eq(origin) for moved, origin in moving for number in range(len(columns.moves))),
            ]
        return m

    def _units(self, section_number: int) -> tuple[int, int]:
        """What is added to the number of a unit in the first step of a section, and how much more in each step."""
        memory, network = self._plan.memory, self._plan.network
        cell = memory.columns.cells[section_number]
        if not cell:
            return 0, 0
        first = memory.layouts[cell].pixel(0, memory.columns.write(cell).first)
        channels = network.tensor(cell).channels
        move = -channels if network.sections[section_number].backward else channels
        return memory.start(cell) + first - memory.cells[cell], move


def _of(section: Value, values: tuple[int, ...] | list[int], width: int) -> Value:
    """What a section has of ``values``, one a section."""
    chosen: Value = Const(values[0] % (1 << width), width)
    for number, value in enumerate(values[1:], 1):
        if value != values[0]:
            chosen = Mux(section == number, Const(value % (1 << width), width), chosen)
    return chosen
