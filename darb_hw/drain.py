"""The shadow row: holds the accumulators of a finished group and hands them out one a cycle."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from darb_hw.plan import Plan
from darb_hw.planned import Planned
from darb_hw.sequencer import context_layout

__all__ = ["Drain"]


class Drain(Planned):
    """Copies all accumulators at once and shifts them towards lane 0, while the next group runs.

    Parameters
    ----------
    plan : Plan

    Members
    -------
    capture : In(1)
    context : In(context_layout(plan))
        With ``capture``: how many rows to hand out, from lane 0 on, and what the write-back needs to know of them.
    accumulators : In(ArrayLayout(signed, lanes))
    valid, value : Out
        The first row in the cycle after ``capture``, then one a cycle.
    passing : Out(context_layout(plan))
        The context of that row.
    opening : Out(1)
        With the first row.
    """

    def __init__(self, plan: Plan):
        widths = plan.widths
        super().__init__(
            plan,
            {
                "capture": In(1),
                "context": In(context_layout(plan)),
                "accumulators": In(data.ArrayLayout(signed(widths.accumulator), plan.config.lanes)),
                "valid": Out(1),
                "value": Out(signed(widths.accumulator)),
                "passing": Out(context_layout(plan)),
                "opening": Out(1),
            },
        )

    @property
    def latency(self) -> int:
        return 1

    @staticmethod
    def model(accumulators: list[int], rows: int) -> list[int]:
        return accumulators[:rows]

    def elaborate(self, platform):
        assert self.latency == self._plan.latency.capture
        m = Module()
        lanes = self._plan.config.lanes
        shadow = [
            Signal(signed(self._plan.widths.accumulator), name=f"shadow_{i}", reset_less=True) for i in range(lanes)
        ]
        left = Signal.like(self.context.rows)
        for lane in range(lanes):
            above = shadow[lane + 1] if lane + 1 < lanes else 0
            m.d.sync += shadow[lane].eq(Mux(self.capture, self.accumulators[lane], above))
        with m.If(self.capture):
            m.d.sync += [left.eq(self.context.rows), self.passing.eq(self.context)]
        with m.Elif(left != 0):
            m.d.sync += left.eq(left - 1)
        m.d.sync += self.opening.eq(self.capture)
        m.d.comb += [self.valid.eq(left != 0), self.value.eq(shadow[0])]
        return m
