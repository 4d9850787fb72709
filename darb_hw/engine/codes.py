"""Where codes come from: the ROM of weights and those of indices, read one word a step."""

from collections.abc import Sequence

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from darb_hw.device.memory import Rom
from darb_hw.device.pipeline import delay, fanout
from darb_hw.engine.planned import Planned
from darb_hw.engine.step import jump_layout, step_layout
from darb_hw.plan.plan import Plan

__all__ = ["Codes"]

_COPY_BITS = 72
"""Bits of a ROM that one copy of its address serves: some four block RAMs."""


class Codes(Planned):
    """Reads codes one after another, those of a group once for each of its passes.

    The bits of an index are spread over several ROMs. A ROM of indices has words only for the steps whose indices
    reach its bits, so each ROM has a pointer of its own, which stays in all other steps. All pointers stay in the steps
    of a uniform group, up to the last one of a pass. Weights are needed later than indices, so they are read later.

    Parameters
    ----------
    plan : Plan

    Members
    -------
    restart : In(1)
        In the cycle before the first step of the program.
    step : In(step_layout(plan))
    index : Out(ArrayLayout(unsigned, lanes))
        ``latency`` cycles after the step. Bits that the step does not have are 0.
    weight : Out(ArrayLayout(signed, lanes))
        ``latency_weight`` cycles after the step, with the activation of the code. Where lanes compute neighbouring
        positions, the tree of registers that takes it to them is still to come.
    column : Out(ArrayLayout(unsigned, lanes))
        With ``index``, where codes say how many taps behind that of their line they read.
    enter : In(1)
        In the cycle before the first step of the program in each step of a section.
    again : In(1)
        With ``enter``: it is not the first step of the section, so all pointers go back to where they were then. These
        two are there if the network has sections.
    jump : In(1)
        In the cycle before the first step of a layer whose codes do not stand behind those of the step before.
    target : In(jump_layout(plan))
        With ``jump``: where each pointer goes. These two are there if a subset of tasks leaves out a layer.
    """

    has_roms = True
    restart: Signal
    step: data.View
    index: data.View
    weight: data.View
    column: data.View
    enter: Signal
    again: Signal
    jump: Signal
    target: data.View

    def __init__(self, plan: Plan) -> None:
        lanes, widths = plan.config.streams, plan.widths
        column = plan.images["columns"].fields[0].width if "columns" in plan.images else 0
        super().__init__(
            plan,
            {
                "restart": In(1),
                "step": In(step_layout(plan)),
                "index": Out(data.ArrayLayout(unsigned(max(1, widths.index)), lanes)),
                "weight": Out(data.ArrayLayout(plan.images["weights"].fields[0].width, lanes)),
            }
            | ({"column": Out(data.ArrayLayout(unsigned(column), lanes))} if column else {})
            | ({"enter": In(1), "again": In(1)} if plan.network.sections else {})
            | ({"jump": In(1), "target": In(jump_layout(plan))} if "jumps" in plan.images else {}),
        )

    @property
    def latency(self) -> int:
        return self._plan.latency.index

    @property
    def latency_weight(self) -> int:
        return self._plan.latency.weight

    def elaborate(self, platform: object) -> Module:
        m = Module()
        ends = self.step.valid & self.step.last
        self._weights(m, ends)
        self._indices(m, ends)
        if "columns" in self._plan.images:
            self._columns(m, ends)
        return m

    def _weights(self, m: Module, ends: Value) -> None:
        """The weights: what steers their ROM waits until they are needed."""
        # Many blocks stand far apart; where a weight is needed late, it has time for the way.
        late = self._plan.banked
        rom = self._codes(m, "weights", late)
        m.submodules.weights = rom
        wait = self.latency_weight - 1 - Rom.latency - late - 1
        controls = (self.restart, self._moving(self.step.valid), ends, self.step.again, *self._section)
        controls = [delay(m, control, wait, f"weights_{n}", control=True) for n, control in enumerate(controls)]
        jump = [delay(m, part, wait, f"weights_jump_{n}", control=True) for n, part in enumerate(self._jump("weights"))]
        m.d.comb += rom.address.eq(self._pointer(m, "weight", rom, *controls, jump=jump))
        # Wait, pointer, ROM, a register behind it: block RAMs and lanes can stand far apart.
        assert wait + 1 + rom.latency + late + 1 == self.latency_weight
        for lane in range(self._plan.config.streams):
            m.d.comb += self.weight[lane].eq(delay(m, rom.field("weight", lane), 1, f"weight_{lane}"))

    def _indices(self, m: Module, ends: Value) -> None:
        """The indices: each ROM gives the bits from ``low`` on."""
        low = 0
        for rom_number, high in enumerate(self._plan.index_widths):
            used = self.step.index[rom_number]
            parts = self._parts(m, f"index_{rom_number}", "index", f"used_{rom_number}", used, ends)
            m.d.comb += [self.index[stream][low:high].eq(part) for stream, part in enumerate(parts)]
            low = high

    def _columns(self, m: Module, ends: Value) -> None:
        """How many taps behind that of its line each code reads."""
        used = self.step.column & self.step.valid
        parts = self._parts(m, "columns", "column", "used_columns", used, ends)
        m.d.comb += [self.column[stream].eq(part) for stream, part in enumerate(parts)]

    def _parts(self, m: Module, name: str, field: str, present: str, used: Value, ends: Value) -> list[Value]:
        """What a ROM has for each stream, with the index; 0 in a step that it has no word for."""
        m.submodules[name] = rom = self._codes(m, name)
        moves = self._moving(used)
        controls = (self.restart, moves, ends & used, self.step.again, *self._section)
        m.d.comb += rom.address.eq(self._pointer(m, name, rom, *controls, jump=self._jump(name)))
        has_word = delay(m, used, 1 + rom.latency, present)
        # Registers on the way from the ROM to the lanes, which can stand far apart.
        way = self.latency - 1 - rom.latency
        return [
            delay(m, Mux(has_word, rom.field(field, stream), 0), way, f"{name}_{stream}")
            for stream in range(self._plan.config.streams)
        ]

    @property
    def _section(self) -> tuple[Value, ...]:
        """What says that a step of a section begins, if there are any."""
        return (self.enter, self.again) if self._plan.network.sections else ()

    def _jump(self, name: str) -> Sequence[Value]:
        """Whether the pointer of a ROM goes elsewhere, and where to, if it ever does."""
        if "jumps" not in self._plan.images:
            return ()
        return self.jump, self.target[name] if name in jump_layout(self._plan).members else Const(0, 1)

    def _moving(self, used: Value) -> Value:
        """Whether the pointer of a ROM that a step uses moves on."""
        return used & ~self.step.stay if self._plan.uniform else used

    def _codes(self, m: Module, name: str, late: bool = False) -> Rom:
        return self._rom(m, name, copies=-(-self._plan.images[name].width // _COPY_BITS), late=late)

    def _pointer(
        self, m: Module, name: str, rom: Rom, restart: Value, moves: Value, ends: Value, again: Value, *section: Value,
        jump: Sequence[Value] = (),
    ) -> Value:  # fmt: skip
        """Address of the word of a step, a cycle after the step, in a register beside each part of the ROM.

        The pointer moves on with each step that ``moves`` it. With the last step of a pass it goes back to the first
        word of the group if another pass follows; as a section is entered again, to its first word. Nothing moves it in
        the cycle in which a section is entered for the first time. A ``jump`` comes before all that.
        """
        bits = len(rom.address) // rom.copies
        pointer, following = (Signal(bits, name=f"{name}_{what}") for what in ("pointer", "following"))
        m.d.comb += following.eq(pointer + 1)
        address = Cat(fanout(m, pointer, rom.copies, f"{name}_address"))
        with m.If(restart):
            m.d.sync += pointer.eq(0)
        with m.Elif(moves):
            m.d.sync += pointer.eq(following)
        if self._plan.walks:
            group = Signal.like(pointer, name=f"{name}_group")
            with m.If(restart):
                m.d.sync += group.eq(0)
            with m.Elif(ends):
                with m.If(again):
                    m.d.sync += pointer.eq(group)
                with m.Else():
                    m.d.sync += group.eq(following)
            if section:
                enter, returns = section
                opened = Signal.like(pointer, name=f"{name}_opened")
                with m.If(enter & returns):
                    m.d.sync += [pointer.eq(opened), group.eq(opened)]
                with m.Elif(enter):
                    m.d.sync += opened.eq(Mux(restart, 0, pointer))
            if jump:
                with m.If(jump[0]):
                    m.d.sync += group.eq(jump[1])
        if jump:
            with m.If(jump[0]):
                m.d.sync += pointer.eq(jump[1])
        return address
