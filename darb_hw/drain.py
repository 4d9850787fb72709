"""The shadow row: takes the accumulators of a finished group and hands out a row a cycle."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from darb_hw.pipeline import delay, fanout_to
from darb_hw.plan import Plan
from darb_hw.planned import Planned
from darb_hw.sequencer import context_layout

__all__ = ["Drain"]

_LANES_PER_COPY = 4


class Drain(Planned):
    """Copies all accumulators at once and shifts them towards lane 0, while the next group runs. Lanes that share a
    row are summed as they pass.

    Where the plan says so, groups are *held* in a row of registers of their own until the shadow row is through with
    the group before.

    Parameters
    ----------
    plan : Plan

    Members
    -------
    capture : In(1)
        ``1 + early`` cycles before that in which the accumulators hold the sums of a group: it is copied for the lanes.
    context : In(context_layout(plan))
        With ``capture``: how many rows to hand out, where the parameters of the first one are, how many lanes
        share a row (row ``i`` is the sum of lanes ``i << fold`` to ``(i + 1 << fold) - 1``), and what the write-back
        needs to know of them.
    accumulators : In(ArrayLayout(signed, lanes))
    valid, value : Out
        The first row ``latency`` cycles after the accumulators, or behind the group before, then one a cycle; of rows
        that lanes share, each so many cycles as there are lanes after the one before it, and the first so many, less
        one, later.
    row : Out(unsigned)
        Where its parameters are, ``early`` cycles before it.
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
        lanes, latency = self._plan.config.lanes, self._plan.latency
        given, single = Signal(self.context.shape(), reset_less=True), Signal(reset_less=True)
        waiting, loads = Signal(), Signal()  # a group waits for the shadow row, which will take it
        with m.If(self.capture):
            m.d.sync += [given.eq(self.context), single.eq(self.context.rows == 1)]
        m.d.sync += waiting.eq(self.capture | (waiting & ~loads))

        def steered(value, name: str) -> list:
            return fanout_to(m, value, lanes, _LANES_PER_COPY, name, cycles=1 + latency.early)

        captures = steered(self.capture, "capture")
        sums = self.accumulators
        if latency.held:
            held = Signal(sums.shape(), reset_less=True)
            for lane in range(lanes):
                with m.If(captures[lane]):
                    m.d.sync += held[lane].eq(sums[lane])
            sums, captures = held, steered(loads, "load")
        shadow = [
            Signal(signed(self._plan.widths.accumulator), name=f"shadow_{i}", reset_less=True) for i in range(lanes)
        ]
        for lane in range(lanes):
            above = shadow[lane + 1] if lane + 1 < lanes else 0
            m.d.sync += shadow[lane].eq(Mux(captures[lane], sums[lane], above))

        # Which row will be in the first shadow register. Whether that will be through with the group in this cycle,
        # or is empty, is known a cycle before.
        busy, ends, final, free = Signal(), Signal(), Signal(reset_less=True), Signal(init=1)
        left, row = Signal.like(self.context.rows, reset_less=True), Signal.like(self.row, reset_less=True)
        passing = Signal(self.passing.shape(), reset_less=True)
        value, ends_next = shadow[0], Signal()
        if self._plan.folds:
            value = self._sum(m, given, loads, ends, ends_next, value)
        else:
            m.d.comb += [ends.eq(1), ends_next.eq(1)]
        final_next = Mux(loads, single, Mux(ends, left == 2, final))
        m.d.comb += loads.eq(waiting & free if latency.held else waiting)
        m.d.sync += [
            final.eq(final_next),
            free.eq(~loads & (~busy | (ends & final)) | (final_next & ends_next)),
            busy.eq(loads | (busy & ~(ends & final))),
        ]
        with m.If(loads):
            m.d.sync += [left.eq(given.rows), row.eq(given.row), passing.eq(given)]
        with m.Elif(ends):
            m.d.sync += [left.eq(left - 1), row.eq(row + 1)]
        stages = latency.shadow - 1
        m.d.comb += [
            self.valid.eq(delay(m, busy & ends, stages + latency.early, "valid", control=True)),
            self.value.eq(value),
            self.row.eq(delay(m, row, stages, "row")),
            self.passing.eq(delay(m, passing, stages + latency.early, "passing")),
        ]
        return m

    def _sum(self, m: Module, given, loads, ends, ends_next, value):
        """The sum of the lanes of a row, with the last of them; ``ends`` is set as it is reached, ``ends_next`` a cycle
        before."""
        # ``phase`` counts the lanes of a row down; the sum begins anew behind the last of them.
        folds, latency = self._plan.folds, self._plan.latency
        phase, length, mask, phase_next = (
            Signal(folds, name=name, reset_less=True) for name in ("phase", "length", "mask", "phase_next")
        )
        total = Signal(value.shape(), reset_less=True)
        m.d.comb += [
            mask.eq((1 << given.fold) - 1),
            phase_next.eq(Mux(loads, mask, Mux(ends, length, phase - 1))),
            ends_next.eq(phase_next == 0),
        ]
        m.d.sync += [phase.eq(phase_next), ends.eq(ends_next)]
        with m.If(loads):
            m.d.sync += length.eq(mask)
        anew = delay(m, loads | ends, latency.held + latency.early, "anew")
        sum_ = Signal(value.shape())
        m.d.comb += sum_.eq(total + value)
        m.d.sync += total.eq(Mux(anew, 0, sum_))
        return delay(m, sum_, latency.fold, "sum")
