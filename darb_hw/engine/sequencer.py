"""Runs the program: turns its words into one step a cycle."""

from amaranth.hdl import Const, Module, Mux, Signal
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from darb_hw.device.memory import Rom
from darb_hw.engine.planned import Planned
from darb_hw.plan.groups import LOADED, NEW, OLD
from darb_hw.plan.image import unsigned_bits
from darb_hw.plan.latency import RUN_CYCLES_MIN, WAIT_CYCLES_MIN
from darb_hw.plan.plan import Plan
from darb_hw.plan.program import Word

__all__ = ["FLAGS", "Sequencer", "context_layout", "step_layout"]


def context_layout(plan: Plan) -> data.StructLayout:
    """What the write-back needs to know of a pass: number of its first row among all rows; how many rows, each of
    ``2**fold`` lanes; by how much addresses have moved; whether the result is the maximum with what is there."""
    fields = {"row": max(1, unsigned_bits(plan.images["rows"].depth - 1)), "rows": plan.widths.row}
    if plan.folds:
        fields["fold"] = unsigned_bits(plan.folds)
    if plan.walks:
        fields["write"] = plan.widths.target
    if plan.latency.operand or plan.latency.maximum:
        fields["aux"] = plan.widths.address
    if plan.latency.maximum:
        fields["maximum"] = 1
    return data.StructLayout(fields)


def step_layout(plan: Plan) -> data.StructLayout:
    """What the lanes are told in a cycle: nothing unless ``valid``; ``index`` says how many of the ROMs of indices
    have a word for this step, one bit each; ``again`` and ``context`` count with ``last``: the next pass is for the
    same rows."""
    return data.StructLayout(
        {
            "valid": 1, "first": 1, "last": 1, "base": plan.widths.address, "index": max(1, len(plan.index_widths)),
            "again": 1, "context": context_layout(plan),
        }
    )  # fmt: skip


FLAGS = data.StructLayout({"final": 1, "fresh": 1, "odd": 1, "second": 1})
"""Of an inference or a step of a sequence: whether it is the last step of its sequence, the first, one of odd number;
whether its input is the second one."""


class Sequencer(Planned):
    """Walks through groups, output positions, segments and blocks.

    A word of the program is one run: lines of codes in which the base address advances by a block every ``m`` codes,
    then idle cycles; or a wait. The words of a group are run once for every output position, by the counters
    of its loop, then once more for other rows, as often as its first word says. The next word is fetched while a run
    goes on, which is why the plan gives every run at least ``RUN_CYCLES_MIN`` cycles; that of a wait names the loop
    of the group behind it, which is fetched during the wait.

    Every decision is taken a cycle before it counts, so that it is a register: that ``load`` is one is the reason why
    the next inference can follow without a gap.

    Parameters
    ----------
    plan : Plan

    Members
    -------
    go : In(1)
        An inference, or a step of a sequence, may begin. Read while idle and in the last cycle but one of a program.
    upcoming : In(FLAGS)
        Of that one; for a cycle longer than ``go``.
    now : Out(FLAGS)
        Of the one that runs, from the cycle after ``begin`` on.
    begin : Out(1)
        It begins in this cycle. Not in the first three cycles after reset, nor in five if there are loops.
    step : Out(step_layout(plan))
        The first one ``latency`` cycles after ``begin``.
    release : Out(1)
        For a cycle: no word of the program from here on reads the input.
    """

    def __init__(self, plan: Plan):
        super().__init__(
            plan,
            {
                "go": In(1),
                "upcoming": In(FLAGS),
                "now": Out(FLAGS),
                "begin": Out(1),
                "step": Out(step_layout(plan)),
                "release": Out(1),
            },
        )

    @property
    def latency(self) -> int:
        return 2

    @staticmethod
    def model(
        plan: Plan, *, final: bool = True, fresh: bool = True, odd: bool = False, second: bool = False
    ) -> list[dict | None]:
        """The steps of an inference, cycle by cycle from the first one on; ``None`` is an idle cycle."""
        cycles, words, at, row = [], plan.schedule.words, 0, 0
        bank = plan.memory.bank
        banks = {0: 0, OLD: (2 if fresh else int(odd)) * bank, NEW: int(not odd) * bank}
        banks[LOADED] = second * plan.memory.second
        while at < len(words):
            until = at
            while not words[until].last:
                until += 1
            loop, group = words[at].loop, words[at : until + 1]
            if group[0].idle:
                cycles += [None] * group[0].run.cycles
            else:
                moves = zip(*(loop.offsets(moves) for moves in (loop.read, loop.write, loop.aux)), strict=True)
                moves = [tuple(int(offset) for offset in offsets) for offsets in moves]
                for _ in range(words[at].repeat + 1):
                    for number, (read, write, aux) in enumerate(moves):
                        for word in group:
                            cycles += _steps(word, banks[word.run.bank] + read, plan.index_widths)
                            cycles += [None] * word.run.pad
                        last = next(step for step in reversed(cycles) if step)
                        last["again"] = number + 1 < len(moves)
                        last["context"] = {
                            "row": row,
                            "rows": words[at].rows,
                            "fold": words[at].fold,
                            "write": write,
                            "aux": aux + banks[loop.aux_bank],
                            "maximum": loop.maximum or number % (loop.counts[0] * loop.counts[1]) > 0,
                        }
                    row += words[at].rows
            if group[-1].end == 1 or (group[-1].end == 2 and not final):
                break
            at = until + 1
        return cycles

    def elaborate(self, platform):
        assert self.latency == self._plan.latency.issue
        m = Module()
        plan, widths = self._plan, self._plan.widths
        m.submodules.program = program = Rom(plan.images["program"])
        # Program counter in the second cycle of a run, ROM, output register, address of the first block.
        assert program.latency + 3 <= RUN_CYCLES_MIN
        # The word being run, as far as it must be kept.
        names = ("codes", "kept", "repeat", "rows", "fold", "first", "last", "idle", "release", "pitch", "index")
        fields = (*names, "end", "steps", "cycles", "base", "bits", "bank", "loop")
        word = {name: program.field(name) for name in fields}
        cur = {name: Signal(word[name].shape(), name=name, reset_less=True) for name in names}
        base, line, block = (Signal(widths.address, name=name, reset_less=True) for name in ("base", "line", "block"))
        pc = Signal.like(program.address)
        m.d.comb += program.address.eq(pc)

        # When the word is over, and what comes then.
        running, load, loaded, begin = Signal(), Signal(), Signal(), self.begin
        left, one_left = Signal.like(word["cycles"], reset_less=True), Signal()
        leaving, ended, near, starts = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            near.eq(running & ~load & one_left),
            starts.eq(self.go & (near & leaving & ended | ~(running | load))),
        ]
        m.d.sync += [
            load.eq(starts | (near & ~(leaving & ended))),
            begin.eq(starts),
            loaded.eq(load),
            self.release.eq(near & leaving & (cur["release"] if plan.overlapped else ended)),
            left.eq(Mux(load, word["cycles"], left - 1)),
            one_left.eq(~load & (left == 2)),
        ]
        assert RUN_CYCLES_MIN > 2
        final = Mux(begin, self.upcoming.final, self.now.final)
        with m.If(load):
            m.d.sync += [running.eq(1), ended.eq((word["end"] == 1) | ((word["end"] == 2) & ~final))]
        with m.Elif(near & leaving & ended):
            m.d.sync += running.eq(0)
        with m.If(begin):
            m.d.sync += self.now.eq(self.upcoming)

        # Steps: the last one of a line and of the run are known a cycle before.
        stepping, steps_left, last_code = Signal(), Signal.like(word["steps"], reset_less=True), Signal()
        codes_left, line_end = Signal.like(word["codes"], reset_less=True), Signal()
        kept_left, stride = Signal.like(word["kept"], reset_less=True), Signal(widths.address, reset_less=True)
        at_start = Signal()
        lines = plan.lines > 1
        step = self.step
        m.d.sync += [
            step.valid.eq(stepping),
            step.first.eq(at_start & cur["first"]),
            step.last.eq(stepping & last_code & cur["last"]),
            step.base.eq(base),
            step.context.rows.eq(cur["rows"]),
            at_start.eq(load),
        ]
        for number in range(len(plan.index_widths)):
            m.d.sync += step.index[number].eq(stepping & (cur["index"] > number))
        if plan.folds:
            m.d.sync += step.context.fold.eq(cur["fold"])
        with m.If(load):
            m.d.sync += [
                *(cur[name].eq(word[name]) for name in cur),
                base.eq(block),
                line.eq(block),
                steps_left.eq(word["steps"]),
                last_code.eq(word["steps"] == 0),
                codes_left.eq(word["codes"]),
                line_end.eq(lines & (word["codes"] == 0)),
                kept_left.eq(word["kept"]),
                stride.eq(1 << word["bits"]),
                stepping.eq(~word["idle"]),
            ]
        with m.Else():
            m.d.sync += [
                stepping.eq(stepping & ~last_code),
                steps_left.eq(steps_left - 1),
                last_code.eq(steps_left == 1),
                codes_left.eq(Mux(line_end, cur["codes"], codes_left - 1)),
                line_end.eq(lines & Mux(line_end, cur["codes"] == 0, codes_left == 1)),
                kept_left.eq(Mux(line_end | (kept_left == 0), cur["kept"], kept_left - 1)),
            ]
            with m.If(line_end):
                m.d.sync += [line.eq(line + cur["pitch"]), base.eq(line + cur["pitch"])]
            with m.Elif(kept_left == 0):
                m.d.sync += base.eq(base + stride)

        # Where the next word begins to read, in the banks of the program that it belongs to.
        opening, flags = Signal(init=1), Signal(FLAGS)
        m.d.comb += flags.eq(Mux(opening, self.upcoming, self.now))
        read, more = self._walk(m, word, cur, load, loaded, flags)
        m.d.sync += block.eq(word["base"] + self._bank(word["bank"], flags) + read)

        # Number of the first row of a pass.
        row, row_after = Signal.like(step.context.row), Signal.like(step.context.row)
        m.d.sync += step.context.row.eq(row)
        with m.If(load & word["first"]):
            m.d.sync += row.eq(Mux(begin, 0, row_after))
        with m.If(loaded & cur["last"] & ~cur["idle"]):
            m.d.sync += row_after.eq(Mux(more, row, row + cur["rows"]))

        # The next word: the following one, or the first of the group again while passes or repetitions are left.
        looping, loop_pc = Signal(), Signal.like(pc)
        repeat_left, repeats = Signal.like(cur["repeat"]), Signal.like(cur["repeat"])
        repeated, repeating, anew, target = Signal(), Signal(), Signal(), Signal.like(pc)
        m.d.comb += [
            anew.eq(cur["first"] & ~looping),
            repeats.eq(Mux(anew, cur["repeat"], repeat_left)),
            target.eq(Mux(anew, pc, loop_pc)),
        ]
        # Whether a repetition is left, of a group that begins and of one that goes on: known before it is asked for.
        m.d.sync += repeating.eq(repeat_left != 0)
        with m.If(load):
            m.d.sync += repeated.eq(word["repeat"] != 0)
        with m.If(loaded):
            m.d.sync += [repeat_left.eq(repeats), loop_pc.eq(target), leaving.eq(0), opening.eq(0)]
            with m.If(~cur["last"]):
                m.d.sync += pc.eq(pc + 1)
            with m.Elif(more):
                m.d.sync += [pc.eq(target), looping.eq(1)]
            with m.Elif(Mux(anew, repeated, repeating)):
                m.d.sync += [pc.eq(target), repeat_left.eq(repeats - 1), looping.eq(1)]
            with m.Else():
                m.d.sync += [pc.eq(Mux(ended, 0, pc + 1)), opening.eq(ended), looping.eq(0), leaving.eq(1)]
        return m

    def _bank(self, number, flags):
        """What is added to an address in a bank: of the outputs of cells in the step before and in this one, of the
        input."""
        bank, second = self._plan.memory.bank, self._plan.memory.second
        found = Const(0, 1)
        if bank:
            old = Mux(flags.fresh, 2 * bank, Mux(flags.odd, bank, 0))
            found = Mux(number == OLD, old, Mux((number == NEW) & ~flags.odd, bank, 0))
        if second:
            found = Mux((number == LOADED) & flags.second, second, found)
        return found

    def _walk(self, m: Module, word: dict, cur: dict, load, loaded, flags):
        """Counters of the loop; how far the lanes' addresses have moved, and whether there is another pass."""
        plan, context = self._plan, self.step.context
        if "loops" not in plan.images:
            return Const(0, 1), Const(0, 1)
        m.submodules.loops = loops = Rom(plan.images["loops"])
        # Word of the wait, loop, output register: there when the first word of the group is loaded.
        assert RUN_CYCLES_MIN + loops.latency <= WAIT_CYCLES_MIN
        m.d.comb += loops.address.eq(word["loop"])
        read = Signal(plan.widths.address)
        write = Signal(plan.widths.target)
        aux = Signal(plan.widths.address)
        if not plan.walks:
            self._pass(m, loops, load & word["first"], None, None, aux, Const(0, 1), flags)
            return Const(0, 1), Const(0, 1)
        counts = [Signal(loops.field(f"count_{place}").shape(), name=f"count_{place}") for place in range(4)]
        at_end = [count == loops.field(f"count_{place}") for place, count in enumerate(counts)]
        wraps = [Const(1, 1)]  # whether all counters before a place are at their end
        for end in at_end:
            wraps.append(wraps[-1] & end)
        more, place = Signal(), Signal(range(4))
        m.d.comb += more.eq(~wraps[4] & ~cur["idle"])
        advance, restart = Signal(), Signal()
        m.d.comb += advance.eq(loaded & cur["last"] & ~cur["idle"])
        again, again_held = Signal(), Signal()
        # The counters move on as soon as the last word of a pass runs; what the write-back is told waits for its end.
        m.d.comb += again.eq(Mux(loaded, more, again_held))
        m.d.sync += self.step.again.eq(again)
        moved = Signal(4)
        m.d.comb += [moved[number].eq(wraps[number] & ~at_end[number]) for number in range(4)]

        def delta(name: str, chosen):
            total = Const(0, 1)
            for number in range(4):
                total = Mux(chosen == number, loops.field(f"{name}_{number}"), total)
            return total

        now = Signal(range(4))
        m.d.comb += now.eq(Mux(moved[3], 3, Mux(moved[2], 2, Mux(moved[1], 1, 0))))
        with m.If(loaded):
            m.d.sync += again_held.eq(more)
        with m.If(advance):
            m.d.sync += [place.eq(now), restart.eq(~more)]
            with m.If(more):
                m.d.sync += read.eq(read + delta("read", now))
            with m.Else():
                m.d.sync += read.eq(0)
            for number, count in enumerate(counts):
                with m.If(wraps[number]):
                    m.d.sync += count.eq(Mux(at_end[number], 0, count + 1))
        opens = Signal()
        m.d.comb += opens.eq(load & word["first"])
        with m.If(opens):
            m.d.sync += write.eq(Mux(restart | self.begin, 0, write + delta("write", place)))
        m.d.sync += context.write.eq(write)
        inner = (counts[0] != 0) | (counts[1] != 0)
        self._pass(m, loops, opens, restart | self.begin, delta("aux", place), aux, inner, flags)
        return read, more

    def _pass(self, m: Module, loops: Rom, opens, restart, move, aux, inner, flags) -> None:
        """What the write-back reads for itself: moves like the results; a maximum within a window, if not before."""
        plan, context = self._plan, self.step.context
        if plan.latency.operand or plan.latency.maximum:
            begin = self._bank(loops.field("aux_bank"), flags)
            with m.If(opens):
                m.d.sync += aux.eq(begin if restart is None else Mux(restart, begin, aux + move))
            m.d.sync += context.aux.eq(aux)
        if plan.latency.maximum:
            maximum = Signal()
            with m.If(opens):
                m.d.sync += maximum.eq(inner | loops.field("maximum"))
            m.d.sync += context.maximum.eq(maximum)


def _steps(word: Word, moved: int, widths: list[int]) -> list[dict]:
    run = word.run
    index = sum(1 << place for place, width in enumerate(widths) if word.index_bits >= width)
    return [
        {
            "base": int(address) + moved,
            "first": word.first and number == 0,
            "last": word.last and number == run.steps - 1,
            "index": index,
        }
        for number, address in enumerate(run.addresses())
    ]
