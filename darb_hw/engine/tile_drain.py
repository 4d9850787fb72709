"""The shadow row where lanes compute neighbouring positions: several chains, each of which hands out results."""

from typing import cast

from amaranth.hdl import C, Module, Mux, Signal, Value, signed
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from darb_hw.device.pipeline import delay
from darb_hw.engine.drain import Drain, Finished, sums_layout
from darb_hw.engine.planned import Planned
from darb_hw.engine.step import context_layout
from darb_hw.plan.image import unsigned_bits
from darb_hw.plan.plan import Plan

__all__ = ["TileDrain", "spot_layout"]


def spot_layout(plan: Plan) -> data.StructLayout:
    """Where a result goes: ``valid`` if it goes anywhere; ``bank`` and ``address`` of its pixel; ``aux_bank`` and
    ``aux`` of the pixel that the write-back reads; to single-port RAMs, ``ends`` if a burst ends with it. Addresses are
    relative to the first channel of the row, and without their last ``plan.spot_shift`` bits."""
    image = plan.images["drains"]
    bank = unsigned_bits(plan.config.banks - 1)
    widths = {"bank": bank, "aux_bank": bank}
    names = ("valid", "bank", "address", "aux_bank", "aux", *(["ends"] if plan.latency.paired else []))
    return data.StructLayout({name: max(1, widths.get(name, image.field_width(name))) for name in names})


class TileDrain(Drain):
    """Copies all accumulators at once. Neighbouring lanes of a stream are in different chains, so that results at
    neighbouring positions leave together. A word of the ROM says where they go.

    Where some of them have to use one write port after the other, they stay for as many words. Where a row has one
    position only and its lanes are added up, each chain adds up its own, and the sums of the chains are added.

    Parameters
    ----------
    plan : Plan

    Members
    -------
    capture, context, accumulators : In
        As those of :class:`~darb_hw.engine.drain.Drain`.
    valid : Out(1)
        A word of a row.
    values : Out(ArrayLayout(signed, ways))
        With ``valid``: results at neighbouring positions. The first ones come ``latency`` cycles after the accumulators
        hold them, or right behind the group before.
    spots : Out(ArrayLayout(spot_layout(plan), ways))
        A cycle after ``valid``: where they go.
    row : Out(unsigned)
        Number of the row, ``early`` cycles before ``valid``.
    passing : Out(context_layout(plan))
        With ``valid``: the context of that row.
    """

    has_roms = True
    values: data.View
    spots: data.View

    def __init__(self, plan: Plan) -> None:
        context, ways = context_layout(plan), plan.config.ways
        Planned.__init__(
            self,
            plan,
            {
                "capture": In(1),
                "context": In(context),
                "accumulators": In(sums_layout(plan)),
                "valid": Out(1),
                "values": Out(data.ArrayLayout(signed(plan.widths.accumulator), ways)),
                "spots": Out(data.ArrayLayout(spot_layout(plan), ways)),
                "row": Out(context["row"].shape),
                "passing": Out(context),
            },
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        free, loads = Signal(init=1), Signal()
        group = self._wait(m, free, loads)
        shift = Signal(init=1)
        heads = self._chains(m, group, shift)
        self._words(m, group, free, loads, shift, heads)
        return m

    def _chains(self, m: Module, group: Finished, shift: Value) -> list[Signal]:
        """The chains: each takes the sums of its lanes, or shifts. Gives the first register of each."""
        config, shape = self._plan.config, signed(self._plan.widths.accumulator)
        lanes = [
            [
                stream * config.banks + bank
                for stream in range(config.streams)
                for bank in range(way, config.banks, config.ways)
            ]
            for way in range(config.ways)
        ]
        heads = []
        for chain in lanes:
            shadow = [Signal(shape, name=f"shadow_{lane}", reset_less=True) for lane in chain]
            for index, lane in enumerate(chain):
                above = shadow[index + 1] if index + 1 < len(chain) else C(0, shape)
                value = Mux(group.captures[lane], group.sums[lane], above)
                if self._plan.repeats == 1:
                    m.d.sync += shadow[index].eq(value)
                else:
                    with m.If(shift | group.captures[lane]):
                        m.d.sync += shadow[index].eq(value)
            heads.append(shadow[0])
        return heads

    def _words(
        self, m: Module, group: Finished, free: Signal, loads: Value, shift: Signal, heads: list[Signal]
    ) -> None:
        """Counts the words of a row, and the rows that are left.

        ``ends``: the last word of a row; ``final``: the row is the last one of its group. Both are decided a cycle
        ahead, and so is ``free``.
        """
        plan, latency = self._plan, self._plan.latency
        busy, ends, final, ends_next = Signal(), Signal(), Signal(reset_less=True), Signal()
        left, row = Signal.like(self.context.rows, reset_less=True), Signal.like(self.row, reset_less=True)
        passing = cast(data.View, Signal(self.passing.shape(), name="passing", reset_less=True))
        # Words of a row, less 1.
        whole = group.context.words if plan.words > 1 else C(0, 1)
        words_left, words_next, again = (
            Signal.like(whole, name=name) for name in ("words_left", "words_next", "again")
        )
        m.d.comb += [
            words_next.eq(Mux(loads, whole, Mux(ends, again, words_left - 1))),
            ends_next.eq(words_next == 0),
        ]
        m.d.sync += [words_left.eq(words_next), ends.eq(ends_next)]
        with m.If(loads):
            m.d.sync += again.eq(whole)
        final_next = Mux(loads, group.single, Mux(ends, left == 2, final))
        m.d.sync += [
            final.eq(final_next),
            free.eq(~loads & (~busy | (ends & final)) | (final_next & ends_next)),
            busy.eq(loads | (busy & ~(ends & final))),
        ]
        word = Signal(range(max(plan.images["drains"].depth, 2)), name="word", reset_less=True)
        with m.If(loads):
            m.d.sync += [left.eq(group.context.rows), row.eq(group.context.row), passing.eq(group.context)]
            m.d.sync += word.eq(group.context.write)
        with m.Else():
            m.d.sync += word.eq(Mux(ends, passing.write, word + 1))
            with m.If(ends):
                m.d.sync += [left.eq(left - 1), row.eq(row + 1)]
        if plan.repeats > 1:
            phase = Signal.like(group.context.repeat, name="phase")
            at_end = Signal()
            m.d.comb += at_end.eq(phase == 0)
            with m.If(loads):
                m.d.sync += phase.eq(group.context.repeat)
            with m.Else():
                m.d.sync += phase.eq(Mux(at_end, passing.repeat, phase - 1))
            # The shadow row is ``early`` cycles behind.
            m.d.comb += shift.eq(delay(m, at_end, latency.early, "shift"))
        stages = latency.fold
        assert 1 + 1 + stages + latency.early == 1 + latency.early + self.latency
        values = self._totals(m, passing, loads, ends, heads) if plan.folds else heads
        m.submodules.spots = spots = self._rom(m, "drains")
        # A cycle after ``valid``.
        assert stages + spots.latency == stages + latency.early + 1
        m.d.comb += [
            spots.address.eq(delay(m, word, stages, "word")),
            self.valid.eq(delay(m, busy, stages + latency.early, "valid", control=True)),
            self.row.eq(delay(m, row, stages, "row")),
            self.passing.eq(delay(m, passing, stages + latency.early, "passing")),
        ]
        for way, value in enumerate(values):
            m.d.comb += self.values[way].eq(value)
            m.d.comb += [self.spots[way][name].eq(spots.field(name, way)) for name in spot_layout(plan).members]

    def _totals(self, m: Module, passing: data.View, loads: Value, ends: Value, heads: list[Signal]) -> list[Value]:
        """The results, or the sum of all lanes of a row in the first one, as the last word of the row passes."""
        latency, shape = self._plan.latency, signed(self._plan.widths.accumulator)
        anew = delay(m, loads | ends, latency.early, "anew")  # a sum begins anew behind the last word of a row
        sums: list[Value] = []
        for way, head in enumerate(heads):
            total, sum_ = Signal(shape, name=f"total_{way}", reset_less=True), Signal(shape, name=f"sum_{way}")
            m.d.comb += sum_.eq(total + head)
            m.d.sync += total.eq(Mux(anew, 0, sum_))
            sums.append(delay(m, sum_, 1, f"chain_{way}"))
        while len(sums) > 1:  # a level of a tree of adders
            pairs = zip(sums[::2], sums[1::2], strict=True)
            together = []
            for pair, (first, second) in enumerate(pairs):
                added = Signal(shape, name=f"pair_{len(sums)}_{pair}", reset_less=True)
                m.d.sync += added.eq(first + second)
                together.append(added)
            sums = together
        plain: list[Value] = [delay(m, head, latency.fold, f"plain_{way}") for way, head in enumerate(heads)]
        total = delay(m, passing.total, latency.early + latency.fold, "is_total")
        return [Mux(total, sums[0], plain[0]), *plain[1:]]
