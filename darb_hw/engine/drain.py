"""The shadow row: takes the accumulators of a finished group and hands out a row a cycle."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from darb_hw.device.pipeline import delay, fanout_to
from darb_hw.engine.planned import Planned
from darb_hw.engine.sequencer import context_layout
from darb_hw.plan.plan import Plan

__all__ = ["Drain"]

_LANES_PER_COPY = 4


class Drain(Planned):
    """Copies all accumulators at once and shifts them towards lane 0, while the next group runs. Lanes that share a
    row are summed as they pass.

    Where the plan says so, groups are *held* in rows of registers of their own until the shadow row is through with
    those before.

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
        free, loads = Signal(init=1), Signal()
        sums, captures, given, single = self._held(m, free, loads)
        shadow = [
            Signal(signed(self._plan.widths.accumulator), name=f"shadow_{i}", reset_less=True) for i in range(lanes)
        ]
        for lane in range(lanes):
            above = shadow[lane + 1] if lane + 1 < lanes else 0
            m.d.sync += shadow[lane].eq(Mux(captures[lane], sums[lane], above))

        # Which row will be in the first shadow register. Whether that will be through with the group in this cycle,
        # or is empty, is known a cycle before.
        busy, ends, final = Signal(), Signal(), Signal(reset_less=True)
        left, row = Signal.like(self.context.rows, reset_less=True), Signal.like(self.row, reset_less=True)
        passing = Signal(self.passing.shape(), reset_less=True)
        value, ends_next = shadow[0], Signal()
        if self._plan.folds:
            value = self._sum(m, given, loads, ends, ends_next, value)
        else:
            m.d.comb += [ends.eq(1), ends_next.eq(1)]
        final_next = Mux(loads, single, Mux(ends, left == 2, final))
        m.d.sync += [
            final.eq(final_next),
            free.eq(~loads & (~busy | (ends & final)) | (final_next & ends_next)),
            busy.eq(loads | (busy & ~(ends & final))),
        ]
        with m.If(loads):
            m.d.sync += [left.eq(given.rows), row.eq(given.row), passing.eq(given)]
        with m.Elif(ends):
            m.d.sync += [left.eq(left - 1), row.eq(row + 1)]
        stages = (latency.held > 0) + latency.fold
        m.d.comb += [
            self.valid.eq(delay(m, busy & ends, stages + latency.early, "valid", control=True)),
            self.value.eq(value),
            self.row.eq(delay(m, row, stages, "row")),
            self.passing.eq(delay(m, passing, stages + latency.early, "passing")),
        ]
        return m

    def _held(self, m: Module, free, loads):
        """The rows in which groups are held, one behind the other: each takes what is in the one before it, or the
        accumulators, as soon as it is empty or becomes so. Gives what the shadow row takes and when each lane does;
        the context of that group and whether it has one row only, with ``loads``: the shadow row takes it, if it is
        ``free``."""
        lanes, latency = self._plan.config.lanes, self._plan.latency

        def steered(value, name: str) -> list:
            return fanout_to(m, value, lanes, _LANES_PER_COPY, name, cycles=1 + latency.early)

        places = max(latency.held, 1)
        moves = [self.capture, *(Signal(name=f"moves_{place}") for place in range(1, places)), loads]
        waiting = [Signal(name=f"waiting_{place}") for place in range(places)]
        empty = [*(~waiting[place] | moves[place + 1] for place in range(1, places)), free if latency.held else 1]
        given, single = self.context, self.context.rows == 1
        sums, captures = self.accumulators, steered(self.capture, "capture_0")
        for place in range(places):
            taken = Signal(self.context.shape(), name=f"given_{place}", reset_less=True)
            alone = Signal(name=f"single_{place}", reset_less=True)
            with m.If(moves[place]):
                m.d.sync += [taken.eq(given), alone.eq(single)]
            given, single = taken, alone
            m.d.comb += moves[place + 1].eq(waiting[place] & empty[place])
            m.d.sync += waiting[place].eq(moves[place] | (waiting[place] & ~moves[place + 1]))
            if latency.held:
                held = Signal(sums.shape(), name=f"held_{place}", reset_less=True)
                for lane in range(lanes):
                    with m.If(captures[lane]):
                        m.d.sync += held[lane].eq(sums[lane])
                sums, captures = held, steered(moves[place + 1], f"capture_{place + 1}")
        return sums, captures, given, single

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
        anew = delay(m, loads | ends, (latency.held > 0) + latency.early, "anew")
        sum_ = Signal(value.shape())
        m.d.comb += sum_.eq(total + value)
        m.d.sync += total.eq(Mux(anew, 0, sum_))
        return delay(m, sum_, latency.fold, "sum")
