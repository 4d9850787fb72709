"""The loop of a group: which pass comes next, and by how much all addresses have moved then."""

from typing import NamedTuple

from amaranth.hdl import Const, Module, Mux, Signal, Value
from amaranth.lib import data

from darb_hw.device.memory import Rom
from darb_hw.device.pipeline import delay
from darb_hw.engine.step_counter import StepCounter
from darb_hw.engine.turns import Turn, Words
from darb_hw.plan.groups import LOADED, NEW, OLD
from darb_hw.plan.latency import RUN_CYCLES_MIN, WAIT_CYCLES_MIN
from darb_hw.plan.plan import Plan

__all__ = ["LoopWalk", "Pass"]


class Pass(NamedTuple):
    """What the coming word begins with.

    ``starts``: what is added to its base; a second value if it reads the input's second bank. ``more``: another pass of
    the current group follows. ``tap``: by how much the number of the tap has moved.
    """

    starts: list[Value]
    more: Value
    tap: Value


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


class LoopWalk:
    """Walks over the output positions of a group, and tells the write-back where its results go.

    Parameters
    ----------
    plan : Plan
    m : Module
        Of the sequencer.
    words : Words
    turn : Turn
    step : data.View of step_layout(plan)
        What is told.
    begin : Signal
        An inference or a time step begins.
    flags : data.View of FLAGS
        Of the inference that the coming word belongs to.
    """

    def __init__(
        self, plan: Plan, m: Module, words: Words, turn: Turn, step: data.View, begin: Signal, flags: data.View
    ) -> None:
        self._plan, self._m, self._words, self._turn = plan, m, words, turn
        self._step, self._begin, self._flags = step, begin, flags

    def go_on(self, loops: Rom | None, steps: StepCounter | None) -> Pass:
        """All addresses move from pass to pass. Without ``loops`` nothing moves; ``steps`` are those of sections."""
        plan, m, context, bank_number = self._plan, self._m, self._step.context, self._words.coming["bank"]
        if loops is None:
            starts: list[Value] = [self._bank(bank_number)]
            if steps:  # no states are in banks
                starts = [Const(0, 1), *([Const(plan.memory.second)] if plan.memory.second else [])]
            return Pass(starts, Const(0, 1), Const(0, 1))
        # The word of a wait names the loop: that is there when the first word of the group behind it is loaded.
        assert RUN_CYCLES_MIN + loops.latency <= WAIT_CYCLES_MIN
        m.d.comb += loops.address.eq(self._words.coming["loop"])
        aux_start = self._bank(loops.field("aux_bank"))
        if steps:
            aux_start = aux_start + steps.follow(loops.field("aux_follow"))
        if not plan.walks:
            aux = Signal(plan.widths.address)
            self._tell(loops, self._turn.load & self._words.coming["first"], aux, aux_start, Const(0, 1))
            return Pass([self._bank(bank_number)], Const(0, 1), Const(0, 1))
        walk = self._count_passes(loops)
        cell_bank = self._cell_bank(bank_number)
        starts = [walk.read + cell_bank if plan.memory.bank else walk.read]
        starts += [walk.second] if plan.memory.second else []
        if plan.banked:
            self._find_tile(loops, walk)
            return Pass(starts, walk.more, walk.tap)
        write = Signal(plan.widths.target)
        aux = Signal(plan.widths.address)
        opens = Signal()
        m.d.comb += opens.eq(self._turn.load & self._words.coming["first"])
        anew = walk.restart | self._begin
        first_write = self._cell_bank(loops.field("write_bank")) if plan.network.carried else 0
        if steps:
            first_write = steps.follow(loops.field("write_follow"))
        moved_write = Mux(anew, first_write, write + _delta(m, loops, "write", walk.level))
        with m.If(opens):
            m.d.sync += write.eq(moved_write)
        m.d.sync += context.write.eq(write)
        moved_aux = Mux(anew, aux_start, aux + _delta(m, loops, "aux", walk.level))
        self._tell(loops, opens, aux, moved_aux, walk.inner)
        return Pass(starts, walk.more, walk.tap)

    def _bank(self, bank_number: Value) -> Value:
        """What is added to an address in a bank: outputs of cells in the time step before (``OLD``) or in this one
        (``NEW``), or the input (``LOADED``)."""
        second, start = self._plan.memory.second, self._cell_bank(bank_number)
        return Mux((bank_number == LOADED) & self._flags.second, second, start) if second else start

    def _cell_bank(self, bank_number: Value) -> Value:
        """What is added to an address in a bank of cells."""
        bank, flags = self._plan.memory.bank, self._flags
        if not bank:
            return Const(0, 1)
        old = Mux(flags.fresh, 2 * bank, Mux(flags.odd, bank, 0))
        return Mux(bank_number == OLD, old, Mux((bank_number == NEW) & ~flags.odd, bank, 0))

    def _find_tile(self, loops: Rom, walk: _Walk) -> None:
        """The number of the tile that a pass computes, and of the first word that says where its results go."""
        m, context = self._m, self._step.context
        opens, anew = Signal(), walk.restart | self._begin
        m.d.comb += opens.eq(self._turn.load & self._words.coming["first"])
        for name, told in (("write", context.write), ("tile", self._step.tile)):
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

    def _count_passes(self, loops: Rom) -> _Walk:
        """The four counters of a loop. They move on as soon as the last word of a pass runs. What the write-back is
        told waits for the end of that word."""
        m, turn, current = self._m, self._turn, self._words.current
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
            tap = Signal(self._step.tap.shape(), name="moved_tap")
        more, level = Signal(), Signal(range(4), name="place")
        m.d.comb += more.eq(~wraps[4] & ~current["idle"])
        advance, restart = Signal(), Signal()
        m.d.comb += advance.eq(turn.loaded & current["last"] & ~current["idle"])
        again, again_held = Signal(), Signal()
        m.d.comb += again.eq(Mux(turn.loaded, more, again_held))
        m.d.sync += self._step.again.eq(again)
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

    def _tell(self, loops: Rom, opens: Value, aux: Signal, moved: Value, inner: Value) -> None:
        """Tells the write-back what to read in a pass that ``opens``.

        Operands and old values are at addresses moved by ``moved``. The result is the maximum with the old value within
        a pooling window (``inner``), or in all passes if the loop says so.
        """
        plan, m, context = self._plan, self._m, self._step.context
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
