"""Where codes come from: the ROM of weights and those of indices, read one word a step."""

from amaranth.hdl import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from darb_hw.device.memory import Rom
from darb_hw.device.pipeline import delay, fanout
from darb_hw.engine.planned import Planned
from darb_hw.engine.sequencer import step_layout
from darb_hw.plan.plan import Plan

__all__ = ["Codes"]

_COPY_BITS = 72
"""Bits of a ROM that one copy of its address serves: some four block RAMs."""


class Codes(Planned):
    """Reads codes one after another, those of a group once for each of its passes.

    Each ROM has a pointer of its own: that of a ROM of indices stays where it is in steps whose indices end below it.
    Weights are needed later than indices, so they are read later.

    Parameters
    ----------
    plan : Plan

    Members
    -------
    restart : In(1)
        The next step is the first one of the program: in the cycle before it.
    step : In(step_layout(plan))
    index : Out(ArrayLayout(unsigned, lanes))
        ``plan.latency.code`` cycles after the step; bits that the step does not have are 0.
    weight : Out(ArrayLayout(signed, lanes))
        When the activation of the code is there.
    """

    def __init__(self, plan: Plan):
        lanes, widths = plan.config.lanes, plan.widths
        super().__init__(
            plan,
            {
                "restart": In(1),
                "step": In(step_layout(plan)),
                "index": Out(data.ArrayLayout(unsigned(max(1, widths.index)), lanes)),
                "weight": Out(data.ArrayLayout(plan.images["weights"].fields[0].width, lanes)),
            },
        )

    @property
    def latency(self) -> int:
        return self._plan.latency.code

    @property
    def latency_weight(self) -> int:
        latency = self._plan.latency
        return latency.fetch + latency.activation

    def elaborate(self, platform):
        m = Module()
        plan, step = self._plan, self.step
        lanes = range(plan.config.lanes)
        ends = step.valid & step.last
        # A register more than the ROMs have, or two: their block RAMs and the lanes can stand far apart.
        way = self.latency - 1 - Rom.latency
        later = self.latency_weight - 1 - Rom.latency - 1
        weights = self._rom("weights")
        m.submodules.weights = weights
        controls = (self.restart, step.valid, ends, step.again)
        controls = [delay(m, one, later, f"weights_{n}", control=True) for n, one in enumerate(controls)]
        m.d.comb += weights.address.eq(self._pointer(m, "weight", weights, *controls))
        assert later + 1 + weights.latency + 1 == self.latency_weight
        for lane in lanes:
            m.d.comb += self.weight[lane].eq(delay(m, weights.field("weight", lane), 1, f"weight_{lane}"))
        low = 0
        for number, high in enumerate(plan.index_widths):
            rom = self._rom(f"index_{number}")
            m.submodules[f"index_{number}"] = rom
            used = step.index[number]
            pointer = self._pointer(m, f"index_{number}", rom, self.restart, used, ends & used, step.again)
            m.d.comb += rom.address.eq(pointer)
            there = delay(m, used, 1 + rom.latency, f"used_{number}")
            for lane in lanes:
                found = Mux(there, rom.field("index", lane), 0)
                m.d.comb += self.index[lane][low:high].eq(delay(m, found, way, f"index_{number}_{lane}"))
            low = high
        return m

    def _rom(self, name: str) -> Rom:
        image = self._plan.images[name]
        return Rom(image, copies=-(-image.width // _COPY_BITS))

    def _pointer(self, m: Module, name: str, rom: Rom, restart, used, ends, again):
        """Address of the word of a step, a cycle later: in registers beside the blocks of the ROM."""
        bits = len(rom.address) // rom.copies
        pointer, following = (Signal(bits, name=f"{name}_{what}") for what in ("pointer", "following"))
        m.d.comb += following.eq(pointer + 1)
        address = Cat(fanout(m, pointer, rom.copies, f"{name}_address"))
        with m.If(restart):
            m.d.sync += pointer.eq(0)
        with m.Elif(used):
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
        return address
