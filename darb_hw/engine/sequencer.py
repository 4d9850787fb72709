"""Runs the program: turns its words into one step a cycle."""

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from darb_hw.device.memory import Rom
from darb_hw.device.pipeline import delay
from darb_hw.engine.planned import Planned
from darb_hw.engine.step import FLAGS, jump_layout, step_layout
from darb_hw.engine.step_counter import StepCounter
from darb_hw.engine.subsets import of_subset
from darb_hw.engine.turns import Turn, Words
from darb_hw.engine.walk import LoopWalk
from darb_hw.plan.groups import LOADED, NEW, OLD
from darb_hw.plan.latency import RUN_CYCLES_MIN
from darb_hw.plan.plan import Plan
from darb_hw.plan.program import COLUMN_END, PROGRAM_END, TIME_STEP_END, Word
from darb_hw.plan.roms import reached

__all__ = ["Sequencer"]


class Sequencer(Planned):
    """Walks through groups, output positions, segments and blocks.

    A word of the program is a run or a wait. A run is made of lines of codes, in which the base address advances by a
    block every ``m`` codes, and of idle cycles behind them. The words of a group run once for every output position, as
    the counters of its loop say. Then they run again for other rows, as often as the first word says.

    The next word is fetched while a run goes on, so the plan gives every run at least ``RUN_CYCLES_MIN`` cycles. The
    word of a wait names the loop of the group behind it, which is fetched during the wait.

    Every decision is taken a cycle before it counts, so that it comes from a register. In particular, ``load`` is a
    register; this is why the next inference can follow without a gap.

    Parameters
    ----------
    plan : Plan

    Members
    -------
    go : In(1)
        An inference or a time step may begin. Read while idle, and in the last cycle but one of a program.
    upcoming : In(FLAGS)
        Flags of that inference, for a cycle longer than ``go``.
    now : Out(FLAGS)
        Flags of the inference that runs, from the cycle after ``begin`` on.
    begin : Out(1)
        It begins in this cycle. Must not happen in the first three cycles after reset, nor in the first five if there
        are loops: the first word of the program is still on its way then.
    step : Out(step_layout(plan))
        The first step comes ``latency`` cycles after ``begin``.
    release : Out(1)
        For a cycle: no word of the program from here on reads the input.
    enter : Out(1)
        A step of a section begins in this cycle, as a program does with ``begin``.
    again : Out(1)
        With ``enter``: it is not the first step of the section.
    units : Out(ArrayLayout(unsigned, cells))
        What is added to the number of a unit of each cell for the address of its output: from the cycle after
        ``enter`` on. These three are there if the network has sections, and this one if they have cells.
    subset : In(unsigned)
        Subset of tasks of the inference of ``upcoming``, which must hold for as long as ``upcoming`` does, and be there
        ``latency.start - 1`` cycles before ``begin``; 0 is all tasks. It is there if the network has tasks.
    jump : Out(1)
        In the cycle before the first step of a layer whose codes do not stand behind those of the step before.
    target : Out(jump_layout(plan))
        With ``jump``: where they stand. These two are there if a subset leaves out a layer.
    running : Out(1)
        An inference is under way. It is there if the plan has a port for another network.
    """

    has_roms = True
    go: Signal
    upcoming: data.View
    now: data.View
    begin: Signal
    step: data.View
    release: Signal
    enter: Signal
    again: Signal
    units: data.View
    subset: Signal
    jump: Signal
    target: data.View
    running: Signal

    def __init__(self, plan: Plan) -> None:
        cells = len(plan.memory.columns.cells)
        super().__init__(
            plan,
            {
                "go": In(1),
                "upcoming": In(FLAGS),
                "now": Out(FLAGS),
                "begin": Out(1),
                "step": Out(step_layout(plan)),
                "release": Out(1),
            }
            | ({"enter": Out(1), "again": Out(1)} if plan.network.sections else {})
            | ({"units": Out(data.ArrayLayout(plan.widths.address, cells))} if cells else {})
            | ({"subset": In(plan.tasks)} if plan.tasks else {})
            | ({"jump": Out(1), "target": Out(jump_layout(plan))} if "jumps" in plan.images else {})
            | ({"running": Out(1)} if plan.config.loads else {}),
        )

    @property
    def latency(self) -> int:
        return 2

    @staticmethod
    def model(
        plan: Plan, *, final: bool = True, fresh: bool = True, odd: bool = False, second: bool = False,
        subset: int | None = None,
    ) -> list[dict | None]:  # fmt: skip
        """The steps of an inference, cycle by cycle from the first one on; ``None`` is an idle cycle."""
        cycles: list[dict | None] = []
        words, first, row = plan.subsets[subset or max(plan.subsets)].words, 0, 0
        rows = [(group.layer, len(group.rows)) for group in plan.schedule.groups]
        bank = plan.memory.bank
        banks = {0: 0, OLD: (2 if fresh else int(odd)) * bank, NEW: int(not odd) * bank}
        banks[LOADED] = second * plan.memory.second
        columns = plan.memory.columns
        sweep = step_number = 0
        opened = first, row
        while first < len(words):
            follow = [step_number * move for move in (0, *columns.moves)]
            if words[first].opens and not step_number:
                opened = first, row
            jump = words[first].jump
            if jump is not None:
                row = sum(count for layer, count in rows if layer < jump)
            last = first
            while not words[last].last:
                last += 1
            loop, group = words[first].loop, words[first : last + 1]
            if group[0].idle:
                cycles += [None] * group[0].run.cycles
            else:
                counters = (loop.read, loop.write, loop.aux, loop.tap, loop.tile)
                moves = list(zip(*(loop.offsets(moves).tolist() for moves in counters), strict=True))
                for _ in range(group[0].repeat + 1):
                    for pass_number, (read, write, aux, tap, tile) in enumerate(moves):
                        steps = []
                        for word in group:
                            moved = banks[word.run.bank] + read + follow[word.run.follow]
                            steps = _steps(word, moved, plan.index_widths)
                            if plan.banked:
                                _look_up(steps, word, tap, loop.first_tile + tile)
                            if plan.uniform:
                                for step in steps:
                                    step["stay"] = word.uniform and not step["last"]
                            cycles += steps
                            cycles += [None] * word.run.pad
                        steps[-1]["again"] = pass_number + 1 < len(moves)
                        context = {
                            "row": row,
                            "rows": group[0].rows,
                            "write": loop.first_write + write + banks[loop.write_bank],
                            "maximum": loop.maximum or pass_number % (loop.counts[0] * loop.counts[1]) > 0,
                        }
                        if plan.banked:
                            context |= {"words": loop.words - 1, "repeat": loop.repeat - 1, "total": loop.total}
                        else:
                            moved = follow[loop.write_follow], follow[loop.aux_follow]
                            context |= {
                                "fold": group[0].fold,
                                "write": (context["write"] + moved[0]) % (1 << plan.widths.target),
                                "aux": (aux + banks[loop.aux_bank] + moved[1]) % (1 << plan.widths.address),
                            }
                        steps[-1]["context"] = context
                    row += group[0].rows
            if group[-1].end == PROGRAM_END or (group[-1].end == TIME_STEP_END and not final):
                break
            first = last + 1
            if group[-1].end == COLUMN_END:
                if step_number + 1 < columns.sweeps[sweep].steps:
                    step_number += 1
                    first, row = opened
                else:
                    sweep, step_number = sweep + 1, 0
        return cycles

    def elaborate(self, platform: object) -> Module:
        m = Module()
        words = self._program(m)
        turn = Turn(
            load=Signal(), loaded=Signal(), leaving=Signal(), ended=Signal(), opening=Signal(init=1),
            looping=Signal(), step_ends=Signal(name="step_ends"),
        )  # fmt: skip
        block = Signal(self._plan.widths.address, name="block", reset_less=True)
        tap = Signal(self.step.tap.shape(), name="first_tap", reset_less=True) if self._plan.banked else None
        steps = self._count_steps(m, words, turn) if self._plan.network.sections else None
        self._take_turns(m, words, turn, steps)
        self._step(m, words, turn, block, tap)
        more = self._find_block(m, words, turn, steps, block, tap)
        self._count_rows(m, words, turn, more)
        self._find_word(m, words, turn, steps, more)
        return m

    def _program(self, m: Module) -> Words:
        """The ROM with the program."""
        m.submodules.program = program = self._rom(m, "program")
        # From the load of a word to the load of the next one: ``loaded``, ``pc``, ROM, ``block``.
        assert 1 + 1 + program.latency + 1 <= RUN_CYCLES_MIN
        names = ("codes", "kept", "repeat", "rows", "fold", "first", "last", "idle", "release", "pitch", "index")
        names += ("column", "tap_pitch") if self._plan.banked else ()
        names += ("uniform",) if self._plan.uniform else ()
        fields = (*names, "end", "steps", "cycles", "base", "bits", "bank", "loop")
        fields += ("tap",) if self._plan.banked else ()
        fields += ("follow", "opens") if self._plan.network.sections else ()
        fields += ("jump",) if "jumps" in self._plan.images else ()
        coming = {name: program.field(name) for name in fields}
        current = {name: Signal(coming[name].shape(), name=name, reset_less=True) for name in names}
        pc = Signal.like(program.address)
        m.d.comb += program.address.eq(pc)
        return Words(coming, current, pc)

    def _count_steps(self, m: Module, words: Words, turn: Turn) -> StepCounter:
        """The counter moves on as soon as the last word of a step is known to be that. What it says is told to others
        when the step begins that comes next."""
        m.submodules.steps = steps = StepCounter(self._plan)
        m.d.comb += [
            steps.restart.eq(turn.opening),
            steps.ends.eq(turn.step_ends),
            self.enter.eq(turn.load & words.coming["opens"] & ~turn.looping),
            self.again.eq(steps.again),
        ]
        if self._plan.memory.columns.cells:
            with m.If(self.enter):
                m.d.sync += self.units.eq(steps.units)
        return steps

    def _take_turns(self, m: Module, words: Words, turn: Turn, steps: StepCounter | None) -> None:
        """When the current word is over, and what comes then: another word, another inference, or nothing."""
        coming, current = words.coming, words.current
        load, leaving, ended, begin = turn.load, turn.leaving, turn.ended, self.begin
        # ``near``: the last cycle but one of a word. ``left``: cycles of it that are left. ``starts``: then ``begin``.
        running, near, starts = (Signal() for _ in range(3))
        left, one_left = Signal.like(coming["cycles"], reset_less=True), Signal()
        released: Value = current["release"] if self._plan.overlapped else ended
        if steps:  # not before the last step: until then, counters of the next one have moved on
            released = released & ~steps.again
        m.d.comb += [
            near.eq(running & ~load & one_left),
            starts.eq(self.go & (near & leaving & ended | ~(running | load))),
        ]
        m.d.sync += [
            load.eq(starts | (near & ~(leaving & ended))),
            begin.eq(starts),
            turn.loaded.eq(load),
            self.release.eq(near & leaving & released),
            left.eq(Mux(load, coming["cycles"], left - 1)),
            one_left.eq(~load & (left == 2)),
        ]
        # Each word has a cycle in which two are left behind its load.
        assert RUN_CYCLES_MIN > 2
        final = Mux(begin, self.upcoming.final, self.now.final)
        with m.If(load):
            m.d.sync += [running.eq(1), ended.eq((coming["end"] == 1) | ((coming["end"] == 2) & ~final))]
        with m.Elif(near & leaving & ended):
            m.d.sync += running.eq(0)
        if self._plan.config.loads:
            m.d.comb += self.running.eq(running | load)
        with m.If(begin):
            m.d.sync += self.now.eq(self.upcoming)
        if steps:
            with m.If(self.enter):
                m.d.sync += self.now.fresh.eq(~self.again)

    def _step(self, m: Module, words: Words, turn: Turn, block: Value, first_tap: Value | None) -> None:
        """The steps of a run, which begins at ``block``, and with ``first_tap`` where there are taps.

        Three counters run down: steps of the run, codes of the line, codes of the block. That the last step of the run
        or of the line has come is known a cycle before.
        """
        plan, step = self._plan, self.step
        coming, current, load = words.coming, words.current, turn.load
        base, line = (Signal(plan.widths.address, name=name, reset_less=True) for name in ("base", "line"))
        stepping, steps_left, last_code = Signal(), Signal.like(coming["steps"], reset_less=True), Signal()
        codes_left, line_end = Signal.like(coming["codes"], reset_less=True), Signal()
        kept_left, stride = Signal.like(coming["kept"], reset_less=True), Signal(plan.widths.address, reset_less=True)
        at_start = Signal()
        lines = plan.lines > 1
        # ``begin`` comes with the first ``load``. Behind it: ``stepping``, then the step itself.
        assert self.latency == 1 + 1 == plan.latency.issue
        m.d.sync += [
            step.valid.eq(stepping),
            step.first.eq(at_start & current["first"]),
            step.last.eq(stepping & last_code & current["last"]),
            step.base.eq(base),
            step.context.rows.eq(current["rows"]),
            at_start.eq(load),
        ]
        for rom_number in range(len(plan.index_widths)):
            m.d.sync += step.index[rom_number].eq(stepping & (current["index"] > rom_number))
        if plan.folds and not plan.banked:
            m.d.sync += step.context.fold.eq(current["fold"])
        if plan.uniform:
            m.d.sync += step.stay.eq(current["uniform"] & ~(last_code & current["last"]))
        with m.If(load):
            m.d.sync += [
                *(current[name].eq(coming[name]) for name in current),
                base.eq(block),
                line.eq(block),
                steps_left.eq(coming["steps"]),
                last_code.eq(coming["steps"] == 0),
                codes_left.eq(coming["codes"]),
                line_end.eq(lines & (coming["codes"] == 0)),
                kept_left.eq(coming["kept"]),
                stride.eq(1 << coming["bits"]),
                stepping.eq(~coming["idle"]),
            ]
        with m.Else():
            m.d.sync += [
                stepping.eq(stepping & ~last_code),
                steps_left.eq(steps_left - 1),
                last_code.eq(steps_left == 1),
                codes_left.eq(Mux(line_end, current["codes"], codes_left - 1)),
                line_end.eq(lines & Mux(line_end, current["codes"] == 0, codes_left == 1)),
                kept_left.eq(Mux(line_end | (kept_left == 0), current["kept"], kept_left - 1)),
            ]
            with m.If(line_end):
                m.d.sync += [line.eq(line + current["pitch"]), base.eq(line + current["pitch"])]
            with m.Elif(kept_left == 0):
                m.d.sync += base.eq(base + stride)
        if first_tap is not None:
            tap = Signal(step.tap.shape(), reset_less=True)
            m.d.sync += [step.tap.eq(tap), step.column.eq(current["column"])]
            with m.If(load):
                m.d.sync += tap.eq(first_tap)
            with m.Elif(line_end):
                m.d.sync += tap.eq(tap + current["tap_pitch"])

    def _find_block(
        self, m: Module, words: Words, turn: Turn, steps: StepCounter | None, block: Signal, first_tap: Signal | None
    ) -> Value:
        """Where the coming word begins to read, in the bank of the inference that it belongs to, and with which tap.
        Gives whether another pass of the current group follows."""
        flags = Signal(FLAGS)
        m.d.comb += flags.eq(Mux(turn.opening, self.upcoming, self.now))
        loops = self._rom(m, "loops") if "loops" in self._plan.images else None
        if loops is not None:
            m.submodules.loops = loops
        walk = LoopWalk(self._plan, m, words, turn, self.step, self.begin, flags)
        starts, more, tap = walk.go_on(loops, steps)
        if first_tap is not None:
            m.d.sync += first_tap.eq(words.coming["tap"] + tap)
        base = words.coming["base"]
        ways: list[tuple[str, Value, Value]] = []  # other starts than the first: name, when it is taken, start
        in_second = (words.coming["bank"] == LOADED) & flags.second
        if len(starts) > 1:
            ways.append(("second", in_second, starts[1]))
        if steps:  # a group that follows columns has one position: nothing else has moved
            for number in range(len(steps.moved)):
                follows = words.coming["follow"] == number + 1
                ways.append((f"moved_{number}", follows, steps.moved[number]))
                if self._plan.memory.second:
                    ways.append((f"second_moved_{number}", follows & in_second, steps.second[number]))
        if not ways:
            m.d.sync += block.eq(base + starts[0])
            return more
        # What decides leaves the ROM with the base: all sums are made, and one is taken a cycle later.
        names = ("first", *(name for name, _, _ in ways))
        sums = [Signal.like(block, name=f"{name}_block") for name in names]
        addends = (starts[0], *(start for _, _, start in ways))
        m.d.sync += [total.eq(base + start) for total, start in zip(sums, addends, strict=True)]
        taken: Value = sums[0]
        for total, (name, wanted, _) in zip(sums[1:], ways, strict=True):
            taken = Mux(delay(m, wanted, 1, f"in_{name}"), total, taken)
        m.d.comb += block.eq(taken)
        return more

    def _count_rows(self, m: Module, words: Words, turn: Turn, more: Value) -> None:
        """The number of the first row of a pass. All passes of a group have the same rows."""
        step, current = self.step, words.current
        row, row_after = Signal.like(step.context.row), Signal.like(step.context.row)
        coming: Value = Mux(self.begin, 0, row_after)
        first: Value = row
        if "jumps" in self._plan.images:
            self._find_jump(m, words, turn)
            first = Mux(self.jump, self.target.row, row)
            with m.If(self.jump):
                m.d.sync += row.eq(first)
        m.d.sync += step.context.row.eq(first)
        if self._plan.network.sections:
            opened = Signal.like(row, name="section_row")
            with m.If(self.enter & ~self.again):
                m.d.sync += opened.eq(coming)
            coming = Mux(self.enter & self.again, opened, coming)
        with m.If(turn.load & words.coming["first"]):
            m.d.sync += row.eq(coming)
        with m.If(turn.loaded & current["last"] & ~current["idle"]):
            m.d.sync += row_after.eq(Mux(more, first, first + current["rows"]))

    def _find_jump(self, m: Module, words: Words, turn: Turn) -> None:
        """A word may begin a layer whose codes and rows do not follow those of the word before."""
        m.submodules.jumps = jumps = self._rom(m, "jumps")
        # The coming word leaves the ROM in the cycle before it is loaded; the first step comes two cycles behind that.
        assert jumps.latency == self.latency == 2
        number = words.coming["jump"]
        m.d.comb += [
            jumps.address.eq(number),
            self.jump.eq(delay(m, turn.load & (number != 0) & ~turn.looping, 1, "jumped", control=True)),
            *(self.target[name].eq(jumps.field(name)) for name in jump_layout(self._plan).members),
        ]

    def _find_word(self, m: Module, words: Words, turn: Turn, steps: StepCounter | None, more: Value) -> None:
        """Which word comes next: the following one, or the first one of the group again while passes or repetitions are
        left."""
        coming, current, pc = words.coming, words.current, words.pc
        leaving, ended, opening = turn.leaving, turn.ended, turn.opening
        looping, loop_pc = turn.looping, Signal.like(pc)
        repeat_left, repeats = Signal.like(current["repeat"]), Signal.like(current["repeat"])
        repeated, repeating, anew, target = Signal(), Signal(), Signal(), Signal.like(pc)
        entry: Value | int = 0
        if self._plan.tasks:  # before an inference begins, the first word of its subset is the coming one
            entry = of_subset(self.subset, self._plan.entries)
            with m.If(opening):
                m.d.sync += pc.eq(entry)
        # Of a section: its first word, whether that is the current one, and whether that is the last one of a step.
        section_pc, entered, column_end = Signal.like(pc), Signal(), Signal()
        # ``anew``: the current word is the first one of a group, in its first pass and repetition.
        m.d.comb += [
            anew.eq(current["first"] & ~looping),
            repeats.eq(Mux(anew, current["repeat"], repeat_left)),
            target.eq(Mux(anew, pc, loop_pc)),
        ]
        # Whether a repetition is left, of a group that goes on and of one that begins: known before it is needed.
        m.d.sync += repeating.eq(repeat_left != 0)
        with m.If(turn.load):
            m.d.sync += repeated.eq(coming["repeat"] != 0)
        with m.If(turn.loaded):
            m.d.sync += [repeat_left.eq(repeats), loop_pc.eq(target), leaving.eq(0), opening.eq(0)]
            with m.If(~current["last"]):
                m.d.sync += pc.eq(pc + 1)
            with m.Elif(more):
                m.d.sync += [pc.eq(target), looping.eq(1)]
            with m.Elif(Mux(anew, repeated, repeating)):
                m.d.sync += [pc.eq(target), repeat_left.eq(repeats - 1), looping.eq(1)]
            with m.Else():
                m.d.sync += [pc.eq(Mux(ended, entry, pc + 1)), opening.eq(ended), looping.eq(0), leaving.eq(1)]
                if steps:  # which counts until the coming word leaves the ROM, and until this one ends
                    assert 2 <= 1 + Rom.latency <= RUN_CYCLES_MIN - 2
                    m.d.comb += turn.step_ends.eq(column_end)
                    with m.If(column_end & steps.more):
                        m.d.sync += pc.eq(Mux(entered, pc, section_pc))  # it may be the first word as well
        if steps:
            with m.If(turn.load):
                m.d.sync += [column_end.eq(coming["end"] == COLUMN_END), entered.eq(self.enter)]
            with m.If(turn.loaded & entered):
                m.d.sync += section_pc.eq(pc)


def _steps(word: Word, moved: int, widths: list[int]) -> list[dict]:
    """The steps of a run whose addresses have moved by ``moved``."""
    run = word.run
    index = (1 << reached(word.index_bits, widths)) - 1
    return [
        {
            "base": int(address) + moved,
            "first": word.first and step_number == 0,
            "last": word.last and step_number == run.steps - 1,
            "index": index,
        }
        for step_number, address in enumerate(run.addresses())
    ]


def _look_up(steps: list[dict], word: Word, tap: int, tile: int) -> None:
    """Adds to the steps of a run the tap and the tile that they look up. The taps have moved by ``tap``."""
    for step_number, step in enumerate(steps):
        line = step_number // word.run.codes
        step |= {"tap": word.run.tap + tap + line * word.run.tap_pitch, "tile": tile, "column": word.column}
