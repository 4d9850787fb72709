"""Runs the program: turns its words into one step a cycle."""

from amaranth.hdl import Module, Mux, Signal, unsigned
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from darb_hw.memory import Rom
from darb_hw.plan import Plan
from darb_hw.planned import Planned
from darb_hw.schedule import RUN_CYCLES_MIN, Word

__all__ = ["Sequencer", "step_layout"]


def step_layout(plan: Plan) -> data.StructLayout:
    """What the lanes are told in a cycle: nothing unless ``valid``; ``rows`` counts with ``last``."""
    return data.StructLayout({"valid": 1, "first": 1, "last": 1, "rows": plan.widths.row, "base": plan.widths.address})


def _step(word: Word, number: int) -> dict:
    run = word.run
    return {
        "base": run.base + number // run.level.kept * run.level.block,
        "first": word.first and number == 0,
        "last": word.last and number == run.steps - 1,
        "rows": word.rows,
    }


class Sequencer(Planned):
    """Walks through groups, segments and blocks.

    A word of the program is one run: ``steps`` steps in which the base address advances by a block every ``m``
    of them, then ``pad`` idle cycles. The next word is fetched while a run goes on, which is why the plan gives
    every run at least ``RUN_CYCLES_MIN`` cycles.

    Parameters
    ----------
    plan : Plan

    Members
    -------
    start : In(1)
        Start an inference. Only while idle, and not in the first two cycles after reset.
    step : Out(step_layout(plan))
        The first one ``latency`` cycles after ``start``.
    """

    def __init__(self, plan: Plan):
        super().__init__(plan, {"start": In(1), "step": Out(step_layout(plan))})

    @property
    def latency(self) -> int:
        return 2

    @staticmethod
    def model(words: list[Word]) -> list[dict | None]:
        """The steps of an inference, cycle by cycle from the first one on; ``None`` is an idle cycle."""
        cycles, at = [], 0
        while at < len(words):
            until = at
            while not words[until].last:
                until += 1
            for _ in range(words[at].repeat + 1):
                for word in words[at : until + 1]:
                    cycles += [_step(word, number) for number in range(word.run.steps)]
                    cycles += [None] * word.run.pad
            at = until + 1
        return cycles

    def elaborate(self, platform):
        assert self.latency == self._plan.latency.issue
        m = Module()
        m.submodules.program = program = Rom(self._plan.images["program"])
        # Program counter at the end of a run's first cycle, ROM, output register: ready in the cycle after.
        assert program.latency + 2 <= RUN_CYCLES_MIN
        # The word being run: its counters count down in place.
        names = ("base", "steps", "bits", "kept", "pad", "repeat", "rows", "first", "last", "end")
        word = {name: program.field(name) for name in names}
        cur = {name: Signal(value.shape(), name=name, reset_less=True) for name, value in word.items()}
        pc = Signal.like(program.address)
        m.d.comb += program.address.eq(pc)

        stepping, waiting = Signal(), Signal()
        stride = Signal(unsigned(self._plan.widths.index + 1), reset_less=True)
        kept_left = Signal.like(cur["kept"])
        final, load, finish = Signal(), Signal(), Signal()
        ended = Signal()
        m.d.comb += [
            final.eq(cur["steps"] == 0),
            finish.eq(Mux(stepping, final & (cur["pad"] == 0), waiting & (cur["pad"] == 1))),
            ended.eq(cur["end"]),
            load.eq(self.start | (finish & ~ended)),
        ]
        at_start = Signal()
        step = self.step
        m.d.sync += [
            step.valid.eq(stepping),
            step.first.eq(at_start & cur["first"]),
            step.last.eq(final & cur["last"]),
            step.rows.eq(cur["rows"]),
            step.base.eq(cur["base"]),
            at_start.eq(0),
        ]
        with m.If(stepping):
            m.d.sync += cur["steps"].eq(cur["steps"] - 1)
            with m.If(kept_left == 0):
                m.d.sync += [kept_left.eq(cur["kept"]), cur["base"].eq(cur["base"] + stride)]
            with m.Else():
                m.d.sync += kept_left.eq(kept_left - 1)
            with m.If(final):
                m.d.sync += [stepping.eq(0), waiting.eq(cur["pad"] != 0)]
        with m.Elif(waiting):
            m.d.sync += cur["pad"].eq(cur["pad"] - 1)
            with m.If(cur["pad"] == 1):
                m.d.sync += waiting.eq(0)
        loaded = Signal()
        m.d.sync += loaded.eq(load)
        with m.If(load):
            m.d.sync += [
                *(cur[name].eq(value) for name, value in word.items()),
                kept_left.eq(word["kept"]),
                stride.eq(1 << word["bits"]),
                stepping.eq(1),
                waiting.eq(0),
                at_start.eq(1),
            ]

        # The next word: the following one, or the first of the group again while repetitions are left.
        looping, loop_pc = Signal(), Signal.like(pc)
        repeat_left, repeats = Signal.like(cur["repeat"]), Signal.like(cur["repeat"])
        opening, target = Signal(), Signal.like(pc)
        m.d.comb += [
            opening.eq(cur["first"] & ~looping),
            repeats.eq(Mux(opening, cur["repeat"], repeat_left)),
            target.eq(Mux(opening, pc, loop_pc)),
        ]
        with m.If(loaded):
            m.d.sync += [repeat_left.eq(repeats), loop_pc.eq(target)]
            with m.If(~cur["last"]):
                m.d.sync += pc.eq(pc + 1)
            with m.Elif(repeats != 0):
                m.d.sync += [pc.eq(target), repeat_left.eq(repeats - 1), looping.eq(1)]
            with m.Else():
                m.d.sync += [pc.eq(Mux(cur["end"], 0, pc + 1)), looping.eq(0)]
        return m
