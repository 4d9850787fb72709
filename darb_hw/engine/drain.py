"""The shadow row: takes the accumulators of a finished group and hands out a row a cycle."""

from typing import NamedTuple

from amaranth.hdl import Module, Mux, Signal, Value, signed
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from darb_hw.device.pipeline import delay, fanout_to
from darb_hw.engine.planned import Planned
from darb_hw.engine.step import context_layout
from darb_hw.plan.plan import Plan

__all__ = ["Drain", "Finished", "sums_layout"]

_LANES_PER_COPY = 4


def sums_layout(plan: Plan) -> data.ArrayLayout:
    return data.ArrayLayout(signed(plan.widths.accumulator), plan.config.lanes)


class Finished(NamedTuple):
    """A finished group on its way to the shadow row.

    ``captures`` has a signal for each lane: take ``sums[lane]`` in this cycle. ``single``: the group has one row only.
    """

    sums: data.View
    captures: list[Value]
    context: data.View
    single: Value


class Drain(Planned):
    """Copies all accumulators at once. Shifts them towards lane 0 while the next group runs. Lanes that share a row are
    added up as they pass.

    A group can finish while the shadow row still hands out the group before. Where the plan says so, it then waits in a
    holding row: a row of registers like the shadow row. There are ``plan.latency.held`` of them, one behind the other.

    Control runs ``early`` cycles ahead of the sums, because the parameters of a row are read from a ROM.

    Parameters
    ----------
    plan : Plan

    Members
    -------
    capture : In(1)
        ``1 + early`` cycles before the cycle in which the accumulators hold the sums of a group. A tree of registers
        takes it to the lanes.
    context : In(context_layout(plan))
        With ``capture``: the context of the group. ``2**fold`` lanes share a row: row ``i`` is the sum of lanes
        ``i << fold`` to ``(i + 1 << fold) - 1``.
    accumulators : In(ArrayLayout(signed, lanes))
    valid, value : Out
        A row of the group. The first row comes ``latency`` cycles after the accumulators hold it, or right behind the
        group before. One row a cycle follows. If ``n`` lanes share a row, a row takes ``n`` cycles and the first one
        comes ``n - 1`` cycles later.
    row : Out(unsigned)
        Number of that row, which is where its parameters are; ``early`` cycles before ``valid``.
    passing : Out(context_layout(plan))
        With ``valid``: the context of that row.
    """

    capture: Signal
    context: data.View
    accumulators: data.View
    valid: Signal
    value: Signal
    row: Signal
    passing: data.View

    def __init__(self, plan: Plan) -> None:
        context = context_layout(plan)
        super().__init__(
            plan,
            {
                "capture": In(1),
                "context": In(context),
                "accumulators": In(sums_layout(plan)),
                "valid": Out(1),
                "value": Out(signed(plan.widths.accumulator)),
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

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # The shadow row can take a group in this cycle; it does.
        free, loads = Signal(init=1), Signal()
        group = self._wait(m, free, loads)
        lane_sum = self._shift(m, group)
        self._count(m, group, free, loads, lane_sum)
        return m

    def _wait(self, m: Module, free: Value, loads: Signal) -> Finished:
        """The stages in which groups wait for the shadow row, and the group that it takes with ``loads``.

        A stage takes the group of the stage before, or the group that finishes, as soon as it is empty or becomes so.
        A stage has a holding row for the sums, too, if the plan holds groups. If not, there is one stage, which keeps
        the context for the cycle until the shadow row loads: the schedule lets no group finish before that is free.
        """
        lanes, latency = self._plan.config.lanes, self._plan.latency
        context_shape, sums_shape = context_layout(self._plan), sums_layout(self._plan)

        def steered(value: Value, name: str) -> list[Value]:
            # In each lane as late as the accumulators are there: ``capture`` comes so many cycles before them.
            return fanout_to(m, value, lanes, _LANES_PER_COPY, name, cycles=1 + latency.early)

        stages = max(latency.held, 1)
        moves = [self.capture, *(Signal(name=f"moves_{stage}") for stage in range(1, stages)), loads]
        waiting = [Signal(name=f"waiting_{stage}") for stage in range(stages)]
        empty = [*(~waiting[stage] | moves[stage + 1] for stage in range(1, stages)), free if latency.held else 1]
        sums, captures = self.accumulators, steered(self.capture, "capture_0")
        context, single = self.context, self.context.rows == 1
        for stage in range(stages):
            stage_context = Signal(context_shape, name=f"given_{stage}", reset_less=True)
            stage_single = Signal(name=f"single_{stage}", reset_less=True)
            with m.If(moves[stage]):
                m.d.sync += [stage_context.eq(context), stage_single.eq(single)]
            context, single = stage_context, stage_single
            m.d.comb += moves[stage + 1].eq(waiting[stage] & empty[stage])
            m.d.sync += waiting[stage].eq(moves[stage] | (waiting[stage] & ~moves[stage + 1]))
            if latency.held:
                held = Signal(sums_shape, name=f"held_{stage}", reset_less=True)
                for lane in range(lanes):
                    with m.If(captures[lane]):
                        m.d.sync += held[lane].eq(sums[lane])
                sums, captures = held, steered(moves[stage + 1], f"capture_{stage + 1}")
        return Finished(sums, captures, context, single)

    def _shift(self, m: Module, group: Finished) -> Signal:
        """The shadow row: takes the sums of a group, or shifts by a lane. Gives its first register."""
        lanes, shape = self._plan.config.lanes, signed(self._plan.widths.accumulator)
        shadow = [Signal(shape, name=f"shadow_{i}", reset_less=True) for i in range(lanes)]
        for lane in range(lanes):
            above = shadow[lane + 1] if lane + 1 < lanes else 0
            m.d.sync += shadow[lane].eq(Mux(group.captures[lane], group.sums[lane], above))
        return shadow[0]

    def _count(self, m: Module, group: Finished, free: Signal, loads: Value, value: Value) -> None:
        """Counts the rows that are left in the shadow row, and tells which row is handed out.

        ``busy``: a group is in the shadow row. ``ends``: the last lane of a row is in the first register. ``final``:
        it is the last row of its group. ``ends`` and ``final`` are decided a cycle ahead, and so is ``free``.
        """
        latency = self._plan.latency
        busy, ends, final = Signal(), Signal(), Signal(reset_less=True)
        left, row = Signal.like(self.context.rows, reset_less=True), Signal.like(self.row, reset_less=True)
        passing = Signal(self.passing.shape(), reset_less=True)
        ends_next = Signal()
        if self._plan.folds:
            value = self._sum(m, group.context, loads, ends, ends_next, value)
        else:
            m.d.comb += [ends.eq(1), ends_next.eq(1)]
        final_next = Mux(loads, group.single, Mux(ends, left == 2, final))
        m.d.sync += [
            final.eq(final_next),
            free.eq(~loads & (~busy | (ends & final)) | (final_next & ends_next)),
            busy.eq(loads | (busy & ~(ends & final))),
        ]
        with m.If(loads):
            m.d.sync += [left.eq(group.context.rows), row.eq(group.context.row), passing.eq(group.context)]
        with m.Elif(ends):
            m.d.sync += [left.eq(left - 1), row.eq(row + 1)]
        # The shadow row has the sums ``early`` cycles behind ``loads``. Where groups are held it is one more, because
        # the tree of registers begins at ``loads``. Adding up takes one more.
        stages = (latency.held > 0) + latency.fold
        # From capture: stages of waiting, ``busy``, these. The accumulators hold the sums ``1 + early`` behind capture.
        assert max(latency.held, 1) + 1 + stages + latency.early == 1 + latency.early + self.latency
        m.d.comb += [
            self.valid.eq(delay(m, busy & ends, stages + latency.early, "valid", control=True)),
            self.value.eq(value),
            self.row.eq(delay(m, row, stages, "row")),
            self.passing.eq(delay(m, passing, stages + latency.early, "passing")),
        ]

    def _sum(self, m: Module, context: data.View, loads: Value, ends: Signal, ends_next: Signal, value: Value) -> Value:
        """The sum of the lanes that share a row, as the last of them passes. Sets ``ends`` in that cycle, ``ends_next``
        in the cycle before.

        ``phase`` counts the lanes of a row down. The sum begins anew behind the last of them.
        """
        folds, latency = self._plan.folds, self._plan.latency
        phase, length, mask, phase_next = (
            Signal(folds, name=name, reset_less=True) for name in ("phase", "length", "mask", "phase_next")
        )
        total = Signal(value.shape(), reset_less=True)
        m.d.comb += [
            mask.eq((1 << context.fold) - 1),
            phase_next.eq(Mux(loads, mask, Mux(ends, length, phase - 1))),
            ends_next.eq(phase_next == 0),
        ]
        m.d.sync += [phase.eq(phase_next), ends.eq(ends_next)]
        with m.If(loads):
            m.d.sync += length.eq(mask)
        anew = delay(m, loads | ends, (latency.held > 0) + latency.early, "anew")
        sum_ = Signal(value.shape())
        m.d.comb += sum_.eq(total + value)
        m.d.sync += total.eq(Mux(anew, 0, sum_))
        return delay(m, sum_, latency.fold, "sum")
