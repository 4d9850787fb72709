"""Another network, byte by byte: fills the ROMs, and has it used once all of it is there."""

from typing import Any

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import data, stream
from amaranth.lib.crc.catalog import CRC32_ISO_HDLC
from amaranth.lib.wiring import In, Out

from darb_hw.engine.planned import Planned, reload_layout
from darb_hw.engine.reload_walk import ReloadWalk
from darb_hw.plan.plan import Plan

__all__ = ["Reloader", "reload_byte", "settling"]

reload_byte = data.StructLayout({"data": 8, "last": 1})
"""A byte of another network, and whether it is the last one."""


def settling(plan: Plan) -> int:
    """Cycles, from the end of the program on, in which results may still be written. Of lanes over rows they do not
    depend on the network."""
    latency, config = plan.latency, plan.config
    rows = config.lanes * (1 + latency.held) * (plan.words * plan.repeats if plan.banked else 1)
    return rows + latency.drain + latency.cell + latency.visible


class Reloader(Planned):
    """Takes what :func:`~darb_hw.plan.reload.reload_bytes` gives.

    If there is room for two networks, the words go to those halves of the ROMs that are not read. A last byte in its
    place behind a right check sum exchanges the halves as soon as the engine rests; after any other last byte, or a
    reset, the next byte begins anew. Which half is read is one bit, which a reset leaves as it is: what is used is
    always one network as a whole.

    If there is room for one, no byte is taken before the engine rests. From the first byte on it has no network, and
    begins no frame, until one is there as a whole; a reset does not change that either.

    Parameters
    ----------
    plan : Plan
        One with a port for another network.

    Members
    -------
    i : In(stream.Signature(reload_byte))
        None is taken behind the last one before that is ``done``, or an ``error``.
    taken, last : In(1)
        The engine takes an element of a frame; with it: the last one.
    waits : In(1)
        There are elements with which no inference has begun.
    running : In(1)
        The sequencer runs.
    hold : Out(1)
        No frame may begin: the engine is to rest, or has no network. Not set within a frame.
    done, error : Out(1)
        For a cycle: the new network is in use; it was damaged, or not for this engine, and is not used.
    bank : Out(1)
        Which of two networks is in use. It is there if there is room for two.
    present : Out(1)
        Whether there is a network. It is there if there is room for one.
    writes : Out(reload_layout(plan))
    """

    i: stream.Interface
    taken: Signal
    last: Signal
    waits: Signal
    running: Signal
    hold: Signal
    done: Signal
    error: Signal
    bank: Signal
    present: Signal
    writes: data.View

    def __init__(self, plan: Plan) -> None:
        super().__init__(
            plan,
            {
                "i": In(stream.Signature(reload_byte)),
                "taken": In(1),
                "last": In(1),
                "waits": In(1),
                "running": In(1),
                "hold": Out(1),
                "done": Out(1),
                "error": Out(1),
                "present" if plan.config.overwrites else "bank": Out(1),
                "writes": Out(reload_layout(plan)),
            },
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        crc: Any = CRC32_ISO_HDLC().create()  # its stubs know no ports
        m.submodules.check = crc
        m.submodules.walk = walk = ReloadWalk(self._plan)
        over = self._plan.config.overwrites
        state = Signal(reset_less=True, name="present" if over else "bank")
        # A byte, and that there is one, come from registers. It is followed by a cycle in which none is taken.
        taken, byte = Signal(), Signal.like(self.i.payload, reset_less=True)
        word = Signal(self.writes.shape()["data"].shape, reset_less=True)
        # What has come is judged in the cycle after its end, from registers: a check sum is long to look at.
        ended, judged, counted, matches = Signal(), Signal(), Signal(), Signal()
        right = counted & matches
        whole = judged & right
        m.d.comb += [
            walk.taken.eq(taken),
            walk.restart.eq(self.done | self.error),
            crc.valid.eq(taken),
            crc.data.eq(byte.data),
            (self.present if over else self.bank).eq(state),
            Value.cast(self.writes).eq(Cat(*([] if over else [state]), walk.enable, walk.address, word)),
        ]
        m.d.sync += [
            taken.eq(self.i.valid & self.i.ready),
            byte.eq(self.i.payload),
            counted.eq(walk.complete),
            matches.eq(crc.match_detected),
            judged.eq(ended & ~walk.restart),
            crc.start.eq(walk.restart),
        ]
        with m.If(taken):
            m.d.sync += [word.eq(Cat(word, byte.data)[8:]), ended.eq(byte.last)]
        with m.Elif(walk.restart):
            m.d.sync += ended.eq(0)
        m.d.sync += self.error.eq(judged & ~right & ~self.error)
        # Nothing begins while it is held: what rests in one cycle does so in the next.
        rests = self.hold & ~self.waits & self._rests(m)
        if over:
            self._over(m, state, ended, whole, rests, taken)
        else:
            awake = Signal()  # in a reset no byte is taken
            m.d.comb += [self.i.ready.eq(awake & ~ended & ~taken), self.hold.eq(whole & ~self._opened(m))]
            m.d.sync += awake.eq(1)
            rested = Signal()
            m.d.comb += self.done.eq(rested & whole)
            # Without a condition: what no reset sets must not wait for a simulator to look at one.
            m.d.sync += [rested.eq(rests), state.eq(state != self.done)]
        return m

    def _over(self, m: Module, present: Signal, ended: Signal, whole: Value, rests: Value, taken: Signal) -> None:
        """The engine rests before the first byte is taken; from then on there is no network until it is whole."""
        asked, open_, begins = Signal(), Signal(), Signal()
        m.d.comb += [
            self.i.ready.eq(open_ & ~ended & ~taken),
            self.hold.eq((asked | ~present) & ~self._opened(m)),
        ]
        m.d.sync += [
            self.done.eq(whole & ~self.done),
            asked.eq((asked | self.i.valid) & ~ended),
            begins.eq(rests & asked & ~ended & ~open_),
            open_.eq((open_ | begins) & ~ended),
            present.eq((present | self.done) & ~begins),
        ]

    def _opened(self, m: Module) -> Signal:
        """Whether a frame has begun whose last element is still to come."""
        opened = Signal()
        with m.If(self.taken):
            m.d.sync += opened.eq(~self.last)
        return opened

    def _rests(self, m: Module) -> Value:
        """Whether all results of the last inference are written."""
        left, settled = Signal(range(settling(self._plan) + 1)), Signal()
        with m.If(self.running):
            m.d.sync += left.eq(settling(self._plan))
        with m.Elif(left != 0):
            m.d.sync += left.eq(left - 1)
        m.d.sync += settled.eq((left == 0) & ~self.running)
        return settled & ~self.running
