"""The shadow row: holds the accumulators of a finished group and hands out a row a cycle."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from darb_hw.pipeline import fanout
from darb_hw.plan import Plan
from darb_hw.planned import Planned
from darb_hw.sequencer import context_layout

__all__ = ["Drain"]

_LANES_PER_COPY = 4


class Drain(Planned):
    """Copies all accumulators at once and shifts them towards lane 0, while the next group runs. Lanes that share a
    row are summed as they pass.

    Parameters
    ----------
    plan : Plan

    Members
    -------
    capture : In(1)
        In the cycle before that in which the accumulators hold the sums of a group: it is copied for the lanes.
    context : In(context_layout(plan))
        With the accumulators: how many rows to hand out, where the parameters of the first one are, how many lanes
        share a row (row ``i`` is the sum of lanes ``i << fold`` to ``(i + 1 << fold) - 1``), and what the write-back
        needs to know of them.
    accumulators : In(ArrayLayout(signed, lanes))
    valid, value : Out
        The first row ``latency`` cycles after the accumulators, then one a cycle; of rows that lanes share, each so
        many cycles as there are lanes after the one before it, and the first so many, less one, later.
    row : Out(unsigned)
        Where its parameters are.
    passing : Out(context_layout(plan))
        The context of that row.
    """

    def __init__(self, plan: Plan):
        widths = plan.widths
        context = context_layout(plan)
        super().__init__(
            plan,
            {
                "capture": In(1),
                "context": In(context),
                "accumulators": In(data.ArrayLayout(signed(widths.accumulator), plan.config.lanes)),
                "valid": Out(1),
                "value": Out(signed(widths.accumulator)),
                "row": Out(context["row"].shape),
                "passing": Out(context),
            },
        )

    @property
    def latency(self) -> int:
        return self._plan.latency.shadow

    @staticmethod
    def model(accumulators: list[int], rows: int, fold: int = 0) -> list[int]:
        return [sum(accumulators[row << fold : row + 1 << fold]) for row in range(rows)]

    def elaborate(self, platform):
        m = Module()
        lanes, folds = self._plan.config.lanes, self._plan.folds
        shadow = [
            Signal(signed(self._plan.widths.accumulator), name=f"shadow_{i}", reset_less=True) for i in range(lanes)
        ]
        captures = fanout(m, self.capture, -(-lanes // _LANES_PER_COPY), "capture")
        for lane in range(lanes):
            above = shadow[lane + 1] if lane + 1 < lanes else 0
            m.d.sync += shadow[lane].eq(Mux(captures[lane // _LANES_PER_COPY], self.accumulators[lane], above))

        # Control of the first shadow register, in step with it.
        opens, busy, ends = Signal(), Signal(), Signal()
        left, row = Signal.like(self.context.rows, reset_less=True), Signal.like(self.row, reset_less=True)
        passing = Signal(self.passing.shape(), reset_less=True)
        m.d.sync += opens.eq(self.capture)
        with m.If(busy & ends):
            m.d.sync += [left.eq(left - 1), row.eq(row + 1), busy.eq(left != 1)]
        with m.If(opens):
            m.d.sync += [left.eq(self.context.rows), row.eq(self.context.row), busy.eq(1), passing.eq(self.context)]

        if not folds:
            m.d.comb += [
                ends.eq(1), self.valid.eq(busy), self.value.eq(shadow[0]), self.row.eq(row), self.passing.eq(passing)
            ]  # fmt: skip
            return m

        # ``phase`` counts the lanes of a row down; the sum begins anew behind the last of them.
        phase, length = Signal(folds, reset_less=True), Signal(folds, reset_less=True)
        last, total = Signal(), Signal(signed(self._plan.widths.accumulator), reset_less=True)
        sum_ = Signal(signed(self._plan.widths.accumulator))
        m.d.comb += [last.eq(phase == 0), ends.eq(last), sum_.eq(total + shadow[0])]
        mask = Signal(folds)
        m.d.comb += mask.eq((1 << self.context.fold) - 1)
        m.d.sync += [phase.eq(Mux(last, length, phase - 1)), total.eq(sum_)]
        with m.If(opens | last):
            m.d.sync += total.eq(0)
        with m.If(opens):
            m.d.sync += [phase.eq(mask), length.eq(mask)]
        m.d.sync += [
            self.valid.eq(busy & last), self.value.eq(sum_), self.row.eq(row), self.passing.eq(passing)
        ]  # fmt: skip
        return m
