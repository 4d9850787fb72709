"""Runs the program: turns its words into one step a cycle."""

from typing import NamedTuple

from amaranth.hdl import Const, Module, Mux, Signal, Value
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from darb_hw.device.memory import Rom
from darb_hw.device.pipeline import delay
from darb_hw.engine.planned import Planned
from darb_hw.engine.step_counter import StepCounter
from darb_hw.engine.subsets import of_subset
from darb_hw.plan.groups import LOADED, NEW, OLD
from darb_hw.plan.image import unsigned_bits
from darb_hw.plan.latency import RUN_CYCLES_MIN, WAIT_CYCLES_MIN
from darb_hw.plan.plan import Plan
from darb_hw.plan.program import COLUMN_END, PROGRAM_END, TIME_STEP_END, Word
from darb_hw.plan.roms import reached

__all__ = ["FLAGS", "Sequencer", "context_layout", "jump_layout", "step_layout"]


def context_layout(plan: Plan) -> data.StructLayout:
    """What the write-back needs to know of a pass.

    ``row``: number of its first row among all rows. ``rows``: how many rows it has. ``fold``: each row is the sum of
    ``2**fold`` lanes. ``write``: by how much result addresses have moved. ``aux``: by how much the addresses that the
    write-back reads have moved. ``maximum``: the result is the maximum with the old value.

    Where lanes compute neighbouring positions, ``write`` is the number of the first word that says where results of the
    tile go. ``words``, ``repeat``: words of a row and of neighbouring results, less 1. ``total``: a row is the sum of
    its lanes.
    """
    fields = {"row": max(1, unsigned_bits(plan.images["rows"].depth - 1)), "rows": plan.widths.row}
    if plan.banked:
        fields["write"] = max(1, unsigned_bits(plan.images["drains"].depth - 1))
        fields["words"] = unsigned_bits(plan.words - 1)
        fields["repeat"] = unsigned_bits(plan.repeats - 1)
        fields["total"] = plan.folds
        fields["maximum"] = int(plan.latency.maximum)
        return data.StructLayout({name: width for name, width in fields.items() if width})
    if plan.folds:
        fields["fold"] = unsigned_bits(plan.folds)
    if plan.walks:
        fields["write"] = plan.widths.target
    if plan.latency.reads_back:
        fields["aux"] = plan.widths.address
    if plan.latency.maximum:
        fields["maximum"] = 1
    return data.StructLayout(fields)


def step_layout(plan: Plan) -> data.StructLayout:
    """What the lanes are told in a cycle; all of it counts with ``valid`` only.

    ``first``, ``last``: the first or last step of a pass. ``base``: address of the block. ``index``: one bit for each
    ROM of indices, set if that has a word for this step. With ``last`` come ``context`` and ``again``: the next pass is
    for the same rows. ``stay``, where the plan has uniform groups: the next step takes the same codes.

    Where lanes compute neighbouring positions, ``tap`` and ``tile`` are the numbers of the tap and of the tile, and
    ``column`` is set if the code says how many taps behind that it reads.
    """
    fields = {
        "valid": 1, "first": 1, "last": 1, "base": plan.widths.address, "index": max(1, len(plan.index_widths)),
        "again": 1, "context": context_layout(plan),
    }  # fmt: skip
    if plan.banked:
        fields |= {
            "tap": max(1, unsigned_bits(plan.images["taps"].depth - 1)),
            "tile": max(1, unsigned_bits(plan.images["tiles"].depth - 1)),
            "column": 1,
        }
    if plan.uniform:
        fields["stay"] = 1
    return data.StructLayout(fields)


def jump_layout(plan: Plan) -> data.StructLayout:
    """Where the codes and rows of a layer begin that do not stand behind those of the word before: the fields of the
    ROM of jumps."""
    return data.StructLayout({field.name: field.width for field in plan.images["jumps"].fields})


FLAGS = data.StructLayout({"final": 1, "fresh": 1, "odd": 1, "second": 1})
"""Of an inference or a time step. ``final``, ``fresh``: it is the last or first one of its sequence. ``odd``: it has an
odd number. ``second``: its input is in the second bank."""


class _Words(NamedTuple):
    """The word that runs, and the one that runs next.

    ``coming``: fields of the next word, at the output of the ROM. ``current``: registers with the fields of the word
    that runs, as far as they are needed after its first cycle. ``pc``: address of the coming word.
    """

    coming: dict[str, Value]
    current: dict[str, Signal]
    pc: Signal


class _Turn(NamedTuple):
    """When one word follows another.

    ``load``: the coming word becomes the current one at the end of this cycle. ``loaded``: the cycle behind ``load``.
    ``leaving``: the current word is the last one of its group, and no pass or repetition is left. ``ended``: the
    current word is the last one of the program. ``opening``: the coming word is the first one of the program.
    ``looping``: the coming word is of the current group again. ``step_ends``: in the cycle in which the current
    word is known to be the last one of a step of a section.
    """

    load: Signal
    loaded: Signal
    leaving: Signal
    ended: Signal
    opening: Signal
    looping: Signal
    step_ends: Signal


class _Walk(NamedTuple):
    """Where the loop of a group is.

    ``read``: by how much the addresses that the lanes read have moved. ``second``: the same, plus the distance of the
    input's second bank. ``more``: another pass follows the current one. ``tap``: by how much the number of the tap has
    moved. ``level``: which counter went up for the pass that follows.
    ``restart``: none did, the loop begins anew. ``inner``: that pass is not the first one of a pooling window.
    """

    read: Signal
    second: Signal
    tap: Value
    more: Signal
    level: Signal
    restart: Signal
    inner: Value


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
        turn = _Turn(
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

    def _program(self, m: Module) -> _Words:
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
        return _Words(coming, current, pc)

    def _count_steps(self, m: Module, words: _Words, turn: _Turn) -> StepCounter:
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

    def _take_turns(self, m: Module, words: _Words, turn: _Turn, steps: StepCounter | None) -> None:
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

    def _step(self, m: Module, words: _Words, turn: _Turn, block: Value, first_tap: Value | None) -> None:
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
        self, m: Module, words: _Words, turn: _Turn, steps: StepCounter | None, block: Signal, first_tap: Signal | None
    ) -> Value:
        """Where the coming word begins to read, in the bank of the inference that it belongs to, and with which tap.
        Gives whether another pass of the current group follows."""
        flags = Signal(FLAGS)
        m.d.comb += flags.eq(Mux(turn.opening, self.upcoming, self.now))
        starts, more, tap = self._walk(m, words, turn, steps, flags)
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

    def _count_rows(self, m: Module, words: _Words, turn: _Turn, more: Value) -> None:
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

    def _find_jump(self, m: Module, words: _Words, turn: _Turn) -> None:
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

    def _find_word(self, m: Module, words: _Words, turn: _Turn, steps: StepCounter | None, more: Value) -> None:
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

    def _bank(self, bank_number: Value, flags: data.View) -> Value:
        """What is added to an address in a bank: outputs of cells in the time step before (``OLD``) or in this one
        (``NEW``), or the input (``LOADED``)."""
        second, start = self._plan.memory.second, self._cell_bank(bank_number, flags)
        return Mux((bank_number == LOADED) & flags.second, second, start) if second else start

    def _cell_bank(self, bank_number: Value, flags: data.View) -> Value:
        """What is added to an address in a bank of cells."""
        bank = self._plan.memory.bank
        if not bank:
            return Const(0, 1)
        old = Mux(flags.fresh, 2 * bank, Mux(flags.odd, bank, 0))
        return Mux(bank_number == OLD, old, Mux((bank_number == NEW) & ~flags.odd, bank, 0))

    def _walk(
        self, m: Module, words: _Words, turn: _Turn, steps: StepCounter | None, flags: data.View
    ) -> tuple[list[Value], Value, Value]:
        """The loop of a group: moves all addresses from pass to pass.

        Gives what is added to the base of the coming word (a second value if that reads the input's second bank),
        whether another pass follows, and by how much the number of the tap has moved.
        """
        plan, context, bank_number = self._plan, self.step.context, words.coming["bank"]
        if "loops" not in plan.images:
            starts: list[Value] = [self._bank(bank_number, flags)]
            if steps:  # no states are in banks
                starts = [Const(0, 1), *([Const(plan.memory.second)] if plan.memory.second else [])]
            return starts, Const(0, 1), Const(0, 1)
        m.submodules.loops = loops = self._rom(m, "loops")
        # The word of a wait names the loop: that is there when the first word of the group behind it is loaded.
        assert RUN_CYCLES_MIN + loops.latency <= WAIT_CYCLES_MIN
        m.d.comb += loops.address.eq(words.coming["loop"])
        aux_start = self._bank(loops.field("aux_bank"), flags)
        if steps:
            aux_start = aux_start + steps.follow(loops.field("aux_follow"))
        if not plan.walks:
            aux = Signal(plan.widths.address)
            self._tell(m, loops, turn.load & words.coming["first"], aux, aux_start, Const(0, 1))
            return [self._bank(bank_number, flags)], Const(0, 1), Const(0, 1)
        walk = self._count_passes(m, words, turn, loops)
        cell_bank = self._cell_bank(bank_number, flags)
        starts = [walk.read + cell_bank if plan.memory.bank else walk.read]
        starts += [walk.second] if plan.memory.second else []
        if plan.banked:
            self._find_tile(m, words, turn, loops, walk)
            return starts, walk.more, walk.tap
        write = Signal(plan.widths.target)
        aux = Signal(plan.widths.address)
        opens = Signal()
        m.d.comb += opens.eq(turn.load & words.coming["first"])
        anew = walk.restart | self.begin
        first_write = self._cell_bank(loops.field("write_bank"), flags) if plan.network.carried else 0
        if steps:
            first_write = steps.follow(loops.field("write_follow"))
        moved_write = Mux(anew, first_write, write + _delta(m, loops, "write", walk.level))
        with m.If(opens):
            m.d.sync += write.eq(moved_write)
        m.d.sync += context.write.eq(write)
        moved_aux = Mux(anew, aux_start, aux + _delta(m, loops, "aux", walk.level))
        self._tell(m, loops, opens, aux, moved_aux, walk.inner)
        return starts, walk.more, walk.tap

    def _find_tile(self, m: Module, words: _Words, turn: _Turn, loops: Rom, walk: _Walk) -> None:
        """The number of the tile that a pass computes, and of the first word that says where its results go."""
        context, opens, anew = self.step.context, Signal(), walk.restart | self.begin
        m.d.comb += opens.eq(turn.load & words.coming["first"])
        for name, told in (("write", context.write), ("tile", self.step.tile)):
            current = Signal(told.shape(), name=name)
            moved = Mux(anew, loops.field(f"first_{name}"), current + _delta(m, loops, name, walk.level))
            with m.If(opens):
                m.d.sync += current.eq(moved)
            m.d.sync += told.eq(current)
        for name in ("words", "repeat", "total", "maximum"):
            if name not in context.shape().members:
                continue
            current = Signal(context[name].shape(), name=name)
            value = walk.inner | loops.field(name) if name == "maximum" else loops.field(name)
            with m.If(opens):
                m.d.sync += current.eq(value)
            m.d.sync += context[name].eq(current)

    def _count_passes(self, m: Module, words: _Words, turn: _Turn, loops: Rom) -> _Walk:
        """The four counters of a loop. They move on as soon as the last word of a pass runs. What the write-back is
        told waits for the end of that word."""
        current = words.current
        counts = [Signal(loops.field(f"count_{n}").shape(), name=f"count_{n}") for n in range(4)]
        # Counters stand still for a run, and the word of their loop is there when the first run is loaded.
        at_end = [delay(m, count == loops.field(f"count_{n}"), 1, f"end_{n}") for n, count in enumerate(counts)]
        wraps: list[Value] = [Const(1, 1)]  # whether all counters below a level are at their end
        for end in at_end:
            wraps.append(wraps[-1] & end)
        distance = self._plan.memory.second
        read = Signal(self._plan.widths.address)
        second = Signal(self._plan.widths.address, init=distance)
        tap: Value = Const(0, 1)
        if self._plan.banked:
            tap = Signal(self.step.tap.shape(), name="moved_tap")
        more, level = Signal(), Signal(range(4), name="place")
        m.d.comb += more.eq(~wraps[4] & ~current["idle"])
        advance, restart = Signal(), Signal()
        m.d.comb += advance.eq(turn.loaded & current["last"] & ~current["idle"])
        again, again_held = Signal(), Signal()
        m.d.comb += again.eq(Mux(turn.loaded, more, again_held))
        m.d.sync += self.step.again.eq(again)
        moved = Signal(4)
        m.d.comb += [bit.eq(wrap & ~end) for bit, wrap, end in zip(moved, wraps, at_end, strict=False)]
        now = Signal(range(4))
        m.d.comb += now.eq(Mux(moved[3], 3, Mux(moved[2], 2, Mux(moved[1], 1, 0))))
        with m.If(turn.loaded):
            m.d.sync += again_held.eq(more)
        # From the load of a word: ``loaded``, ``level``, the delta, what moves by it; then ``block``.
        assert RUN_CYCLES_MIN >= 1 + 1 + 1 + 1 + 1
        advanced = delay(m, advance, 2, "advanced", control=True)
        read_delta = _delta(m, loops, "read", level)
        moving = [(read, 0, read_delta)]
        moving += [(second, distance, read_delta)] if distance else []
        moving += [(tap, 0, _delta(m, loops, "tap", level))] if self._plan.banked else []
        for moved_by, origin, delta in moving:
            with m.If(advanced):
                m.d.sync += moved_by.eq(Mux(restart, origin, moved_by + delta))
        with m.If(advance):
            m.d.sync += [level.eq(now), restart.eq(~more)]
            for count, wrap, end in zip(counts, wraps, at_end, strict=False):
                with m.If(wrap):
                    m.d.sync += count.eq(Mux(end, 0, count + 1))
        return _Walk(read, second, tap, more, level, restart, (counts[0] != 0) | (counts[1] != 0))

    def _tell(self, m: Module, loops: Rom, opens: Value, aux: Signal, moved: Value, inner: Value) -> None:
        """Tells the write-back what to read in a pass that ``opens``.

        Operands and old values are at addresses moved by ``moved``. The result is the maximum with the old value within
        a pooling window (``inner``), or in all passes if the loop says so.
        """
        plan, context = self._plan, self.step.context
        if plan.latency.reads_back:
            with m.If(opens):
                m.d.sync += aux.eq(moved)
            m.d.sync += context.aux.eq(aux)
        if plan.latency.maximum:
            maximum = Signal()
            with m.If(opens):
                m.d.sync += maximum.eq(inner | loops.field("maximum"))
            m.d.sync += context.maximum.eq(maximum)


def _delta(m: Module, loops: Rom, name: str, level: Value) -> Value:
    """By how much an address moves as the counter of ``level`` goes up, a cycle later."""
    delta: Value = Const(0, 1)
    for n in range(4):
        delta = Mux(level == n, loops.field(f"{name}_{n}"), delta)
    return delay(m, delta, 1, f"{name}_delta")


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
