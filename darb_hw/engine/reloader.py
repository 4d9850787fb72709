"""Another network, byte by byte: fills the ROMs, and has it used once all of it is there."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream
from amaranth.lib.crc.catalog import CRC32_ISO_HDLC
from amaranth.lib.wiring import In, Out

from darb_hw.engine.planned import Planned, reload_layout
from darb_hw.plan.plan import Plan
from darb_hw.plan.reload import CHECK_BYTES, reloadable, word_bytes

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
        images = [self._plan.images[name] for name in reloadable(self._plan)]
        # Behind the ROMs stands the check sum, like one more of them; what comes behind that is too much.
        bytes_of, words_of = [*map(word_bytes, images), CHECK_BYTES], [*(image.depth for image in images), 1]
        rom = Signal(range(len(images) + 2))
        part = Signal(range(max(bytes_of)))
        address = Signal(range(max(2, *words_of)))
        word = Signal(self.writes.shape()["data"].shape, reset_less=True)
        excess = Signal()
        ended = Signal()
        whole = Signal()
        over = self._plan.config.overwrites
        state = Signal(reset_less=True, name="present" if over else "bank")
        taken = self.i.valid & self.i.ready
        # Looked up in the cycle before: a byte is followed by a cycle in which none is taken.
        full, at_byte, at_word, paused = Signal(len(bytes_of)), Signal(), Signal(), Signal(init=1)
        of_rom = [rom == number for number in range(len(bytes_of))]
        ends = Cat(at & (part == count - 1) for at, count in zip(of_rom, bytes_of, strict=True))
        last = Cat(at & (address == count - 1) for at, count in zip(of_rom, words_of, strict=True))
        m.d.sync += [
            full.eq(ends),
            at_byte.eq(ends.any()),
            at_word.eq(last.any()),
            paused.eq(taken | self.done | self.error),
        ]
        enable = Signal(len(images))
        written = Signal.like(address, reset_less=True)
        m.d.comb += [
            crc.valid.eq(taken),
            crc.data.eq(self.i.payload.data),
            (self.present if over else self.bank).eq(state),
            Value.cast(self.writes).eq(Cat(*([] if over else [state]), enable, written, word)),
            whole.eq((rom == len(images) + 1) & ~excess & crc.match_detected),
        ]
        m.d.sync += [enable.eq(full & taken.replicate(len(enable))), written.eq(address)]
        with m.If(taken):
            m.d.sync += [
                word.eq(Cat(word, self.i.payload.data)[8:]),
                ended.eq(self.i.payload.last),
                part.eq(Mux(at_byte, 0, part + 1)),
                excess.eq(excess | (rom == len(images) + 1)),
            ]
            with m.If(at_byte):
                m.d.sync += address.eq(Mux(at_word, 0, address + 1))
            with m.If(at_byte & at_word & (rom != len(images) + 1)):
                m.d.sync += rom.eq(rom + 1)
        m.d.comb += self.error.eq(ended & ~whole)
        rests = ~self.waits & self._rests(m)
        if over:
            self._over(m, state, ended, whole, rests, paused)
        else:
            m.d.comb += [
                self.i.ready.eq(~ended & ~paused),
                self.hold.eq(ended & whole & ~self._opened(m)),
                self.done.eq(self.hold & rests),
            ]
            # Without a condition: what no reset sets must not wait for a simulator to look at one.
            m.d.sync += state.eq(state != self.done)
        with m.If(self.done | self.error):
            m.d.comb += crc.start.eq(1)
            m.d.sync += [counter.eq(0) for counter in (ended, excess, rom, part, address)]
        return m

    def _over(self, m: Module, present: Signal, ended: Signal, whole: Signal, rests: Value, paused: Signal) -> None:
        """The engine rests before the first byte is taken; from then on there is no network until it is whole."""
        asked, open_ = Signal(), Signal()
        begins = self.hold & asked & ~open_ & rests
        m.d.comb += [
            self.i.ready.eq(open_ & ~ended & ~paused),
            self.hold.eq((asked | ~present) & ~self._opened(m)),
            self.done.eq(ended & whole),
        ]
        m.d.sync += [
            asked.eq((asked | self.i.valid) & ~ended),
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
        left = Signal(range(settling(self._plan) + 1))
        with m.If(self.running):
            m.d.sync += left.eq(settling(self._plan))
        with m.Elif(left != 0):
            m.d.sync += left.eq(left - 1)
        return (left == 0) & ~self.running
