"""One lane: decode, fetch, multiply, accumulate."""

from amaranth.hdl import Module, Mux, signed, unsigned
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from darb_hw.fetch import Fetch
from darb_hw.multiplier import Multiplier
from darb_hw.pipeline import delay
from darb_hw.plan import Plan
from darb_hw.planned import Planned
from darb_hw.writeback import write_layout

__all__ = ["Lane"]


class Lane(Planned):
    """A multiplier-accumulator with its own code stream and its own copy of the activation memory.

    Parameters
    ----------
    plan : Plan

    Members
    -------
    base : In(unsigned)
        Address of the block, together with its code.
    code : In(StructLayout(index, weight))
    write : In(write_layout(plan))
    enable, clear : In(1)
        Add the product of the code of ``latency - 1`` cycles ago; start a new sum with it.
    accumulator : Out(signed)
        Holds the product of a code ``latency`` cycles after the code.
    """

    def __init__(self, plan: Plan):
        widths = plan.widths
        super().__init__(
            plan,
            {
                "base": In(widths.address),
                "code": In(
                    data.StructLayout({"index": unsigned(max(1, widths.index)), "weight": signed(widths.weight)})
                ),
                "write": In(write_layout(plan)),
                "enable": In(1),
                "clear": In(1),
                "accumulator": Out(signed(widths.accumulator)),
            },
        )

    @property
    def latency(self) -> int:
        latency = self._plan.latency
        return latency.address + latency.activation + latency.lane_multiplier + latency.accumulate

    @staticmethod
    def model(memory: list[int], codes: list[tuple[int, int, int]]) -> int:
        """Sum over ``codes`` = (base, index, weight) of weight x activation."""
        return sum(weight * Fetch.model(memory, base, index) for base, index, weight in codes)

    def elaborate(self, platform):
        m = Module()
        widths = self._plan.widths
        m.submodules.fetch = fetch = Fetch(self._plan)
        m.submodules.multiplier = multiplier = Multiplier(widths.activation, widths.weight, self._plan.lane_style)
        assert self.latency == fetch.latency + multiplier.latency + 1
        m.d.comb += [
            fetch.base.eq(self.base),
            fetch.index.eq(self.code.index),
            fetch.write.eq(self.write),
            multiplier.a.eq(fetch.activation),
            multiplier.b.eq(delay(m, self.code.weight, fetch.latency, "weight")),
        ]
        with m.If(self.enable):
            m.d.sync += self.accumulator.eq(Mux(self.clear, 0, self.accumulator) + multiplier.o)
        return m
