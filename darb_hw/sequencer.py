"""Runs the program: turns its words into one step a cycle."""

from amaranth.hdl import Const, Module, Mux, Signal, unsigned
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from darb_hw.image import unsigned_bits
from darb_hw.latency import RUN_CYCLES_MIN, WAIT_CYCLES_MIN
from darb_hw.memory import Rom
from darb_hw.plan import Plan
from darb_hw.planned import Planned
from darb_hw.schedule import NEW, OLD, Word

__all__ = ["Sequencer", "context_layout", "step_layout"]


def context_layout(plan: Plan) -> data.StructLayout:
    """What the write-back needs to know of a pass: how many rows; where the parameters of the first one are; log2 of
    the lanes that share a row; whether the next pass is for the same rows again (``again``); by how much addresses
    have moved; whether the result is the maximum with what is there."""
    fields = {"rows": plan.widths.row, "row": max(1, unsigned_bits(plan.images["rows"].depth - 1))}
    if plan.folds:
        fields["fold"] = unsigned_bits(plan.folds)
    if plan.walks:
        fields |= {"again": 1, "write": plan.widths.target}
    if plan.latency.operand or plan.latency.maximum:
        fields["aux"] = plan.widths.address
    if plan.latency.maximum:
        fields["maximum"] = 1
    return data.StructLayout(fields)


def step_layout(plan: Plan) -> data.StructLayout:
    """What the lanes are told in a cycle: nothing unless ``valid``; ``context`` counts with ``last``."""
    return data.StructLayout(
        {"valid": 1, "first": 1, "last": 1, "base": plan.widths.address, "context": context_layout(plan)}
    )


class Sequencer(Planned):
    """Walks through groups, output positions, segments and blocks.

    A word of the program is one run: lines of codes in which the base address advances by a block every ``m`` codes,
    then ``pad`` idle cycles; or a wait. The words of a group are run once for every output position, by the counters
    of its loop, then once more for other rows, as often as its first word says. The next word is fetched while a run
    goes on, which is why the plan gives every run at least ``RUN_CYCLES_MIN`` cycles; that of a wait names the loop
    of the group behind it, which is fetched during the wait.

    Parameters
    ----------
    plan : Plan

    Members
    -------
    start : In(1)
        Start an inference or a step of a sequence. Only while idle, and not in the first two cycles after reset.
    final, fresh, odd : In(1)
        Whether this is the last step of a sequence, the first, one of odd number. Stable while it runs.
    step : Out(step_layout(plan))
        The first one ``latency`` cycles after ``start``.
    done : Out(1)
        For a cycle, when the last result is on the write port.
    """

    def __init__(self, plan: Plan):
        super().__init__(
            plan,
            {
                "start": In(1),
                "final": In(1),
                "fresh": In(1),
                "odd": In(1),
                "step": Out(step_layout(plan)),
                "done": Out(1),
            },
        )

    @property
    def latency(self) -> int:
        return 2

    @staticmethod
    def model(plan: Plan, *, final: bool = True, fresh: bool = True, odd: bool = False) -> list[dict | None]:
        """The steps of an inference, cycle by cycle from the first one on; ``None`` is an idle cycle."""
        cycles, words, at, row = [], plan.schedule.words, 0, 0
        banks = {0: 0, OLD: (2 if fresh else int(odd)) * plan.memory.bank, NEW: int(not odd) * plan.memory.bank}
        while at < len(words):
            until = at
            while not words[until].last:
                until += 1
            loop, group = words[at].loop, words[at : until + 1]
            if group[0].idle:
                cycles += [None] * group[0].run.pad
                if group[0].end == 1 or (group[0].end == 2 and not final):
                    break
                at = until + 1
                continue
            moves = zip(*(loop.offsets(moves) for moves in (loop.read, loop.write, loop.aux)), strict=True)
            moves = [tuple(int(offset) for offset in offsets) for offsets in moves]
            for _ in range(words[at].repeat + 1):
                for number, (read, write, aux) in enumerate(moves):
                    for word in group:
                        cycles += _steps(word, banks[word.run.bank] + read)
                        cycles += [None] * word.run.pad
                    last = next(step for step in reversed(cycles) if step)
                    last["context"] = {
                        "rows": word.rows,
                        "row": row,
                        "again": number + 1 < len(moves),
                        "write": write,
                        "aux": aux + banks[loop.aux_bank],
                        "maximum": loop.maximum or number % (loop.counts[0] * loop.counts[1]) > 0,
                    }
                row += word.rows
            at = until + 1
        return cycles

    def elaborate(self, platform):
        assert self.latency == self._plan.latency.issue
        m = Module()
        plan, widths = self._plan, self._plan.widths
        m.submodules.program = program = Rom(plan.images["program"])
        # Program counter at the end of a run's first cycle, ROM, output register: ready in the cycle after.
        assert program.latency + 2 <= RUN_CYCLES_MIN
        # The word being run: its counters count down in place.
        names = ("codes", "lines", "kept", "pad", "repeat", "rows", "first", "last", "idle", "end", "pitch")
        word = {name: program.field(name) for name in (*names, "base", "bits", "bank", "loop")}
        cur = {name: Signal(word[name].shape(), name=name, reset_less=True) for name in names}
        base, line = (Signal(widths.address, name=name, reset_less=True) for name in ("base", "line"))
        pc = Signal.like(program.address)
        m.d.comb += program.address.eq(pc)

        stepping, waiting = Signal(), Signal()
        stride = Signal(unsigned(widths.index + 1), reset_less=True)
        codes_left, kept_left = Signal.like(cur["codes"]), Signal.like(cur["kept"])
        line_end, last_code, load, finish, ended = Signal(), Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            line_end.eq(codes_left == 0),
            last_code.eq(line_end & (cur["lines"] == 0)),
            finish.eq(Mux(stepping, last_code & (cur["pad"] == 0), waiting & (cur["pad"] == 1))),
            ended.eq((cur["end"] == 1) | ((cur["end"] == 2) & ~self.final)),
            load.eq(self.start | (finish & ~ended)),
            self.done.eq(finish & ended),
        ]
        at_start, loaded = Signal(), Signal()
        step = self.step
        m.d.sync += [
            step.valid.eq(stepping),
            step.first.eq(at_start & cur["first"]),
            step.last.eq(last_code & cur["last"]),
            step.base.eq(base),
            step.context.rows.eq(cur["rows"]),
            at_start.eq(0),
            loaded.eq(load),
        ]
        with m.If(stepping):
            m.d.sync += [codes_left.eq(codes_left - 1), kept_left.eq(kept_left - 1)]
            with m.If(kept_left == 0):
                m.d.sync += [kept_left.eq(cur["kept"]), base.eq(base + stride)]
            with m.If(line_end & (plan.lines > 1)):
                m.d.sync += [
                    codes_left.eq(cur["codes"]),
                    cur["lines"].eq(cur["lines"] - 1),
                    line.eq(line + cur["pitch"]),
                    base.eq(line + cur["pitch"]),
                ]
            with m.If(last_code):
                m.d.sync += [stepping.eq(0), waiting.eq(cur["pad"] != 0)]
        with m.Elif(waiting):
            m.d.sync += cur["pad"].eq(cur["pad"] - 1)
            with m.If(cur["pad"] == 1):
                m.d.sync += waiting.eq(0)
        begin = Signal(widths.address)
        read, more, again = self._walk(m, word, cur, load, loaded)
        # Parameters of rows stand one after another; passes of the same rows read them again.
        row = Signal.like(step.context.row)
        m.d.sync += step.context.row.eq(row)
        with m.If(self.done):
            m.d.sync += row.eq(0)
        with m.Elif(stepping & last_code & cur["last"] & ~again):
            m.d.sync += row.eq(row + cur["rows"])
        m.d.comb += begin.eq(word["base"] + self._bank(word["bank"]) + read)
        with m.If(load):
            m.d.sync += [
                *(cur[name].eq(word[name]) for name in cur),
                base.eq(begin),
                line.eq(begin),
                codes_left.eq(word["codes"]),
                kept_left.eq(word["kept"]),
                stride.eq(1 << word["bits"]),
                stepping.eq(~word["idle"]),
                waiting.eq(word["idle"]),
                at_start.eq(1),
            ]

        # The next word: the following one, or the first of the group again while passes or repetitions are left.
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
            with m.Elif(more):
                m.d.sync += [pc.eq(target), looping.eq(1)]
            with m.Elif(repeats != 0):
                m.d.sync += [pc.eq(target), repeat_left.eq(repeats - 1), looping.eq(1)]
            with m.Else():
                m.d.sync += [pc.eq(Mux(ended, 0, pc + 1)), looping.eq(0)]
        return m

    def _bank(self, number):
        """What is added to an address in a bank of cell outputs: of the step before, of this step."""
        bank = self._plan.memory.bank
        if not bank:
            return Const(0, 1)
        old = Mux(self.fresh, 2 * bank, Mux(self.odd, bank, 0))
        return Mux(number == OLD, old, Mux((number == NEW) & ~self.odd, bank, 0))

    def _walk(self, m: Module, word: dict, cur: dict, load, loaded):
        """Counters of the loop; how far the lanes' addresses have moved, whether there is another pass, and whether
        the one that runs is followed by another."""
        plan, context = self._plan, self.step.context
        if "loops" not in plan.images:
            return Const(0, 1), Const(0, 1), Const(0, 1)
        m.submodules.loops = loops = Rom(plan.images["loops"])
        # Word of the wait, loop, output register: there when the first word of the group is loaded.
        assert RUN_CYCLES_MIN + loops.latency <= WAIT_CYCLES_MIN
        m.d.comb += loops.address.eq(word["loop"])
        read = Signal(plan.widths.address)
        write = Signal(plan.widths.target)
        aux = Signal(plan.widths.address)
        if not plan.walks:
            self._pass(m, loops, load & word["first"], None, None, aux, Const(0, 1))
            return Const(0, 1), Const(0, 1), Const(0, 1)
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
        m.d.sync += context.again.eq(again)
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
            m.d.sync += write.eq(Mux(restart | self.start, 0, write + delta("write", place)))
        m.d.sync += context.write.eq(write)
        inner = (counts[0] != 0) | (counts[1] != 0)
        self._pass(m, loops, opens, restart | self.start, delta("aux", place), aux, inner)
        return read, more, again

    def _pass(self, m: Module, loops: Rom, opens, restart, move, aux, inner) -> None:
        """What the write-back reads for itself: moves like the results; a maximum within a window, if not before."""
        plan, context = self._plan, self.step.context
        if plan.latency.operand or plan.latency.maximum:
            begin = self._bank(loops.field("aux_bank"))
            with m.If(opens):
                m.d.sync += aux.eq(begin if restart is None else Mux(restart, begin, aux + move))
            m.d.sync += context.aux.eq(aux)
        if plan.latency.maximum:
            maximum = Signal()
            with m.If(opens):
                m.d.sync += maximum.eq(inner | loops.field("maximum"))
            m.d.sync += context.maximum.eq(maximum)


def _steps(word: Word, moved: int) -> list[dict]:
    run = word.run
    number = [(line, code) for line in range(run.lines) for code in range(run.codes)]
    return [
        {
            "base": run.base + moved + line * run.pitch + code // run.level.kept * run.level.block,
            "first": word.first and (line, code) == number[0],
            "last": word.last and (line, code) == number[-1],
        }
        for line, code in number
    ]
