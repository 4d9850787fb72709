"""Where the bytes of another network belong: which ROM, which of its words, and whether all of them have come."""

from collections.abc import Sequence
from functools import reduce
from operator import or_

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib.wiring import In, Out

from darb_hw.engine.planned import Planned, reload_layout
from darb_hw.plan.plan import Plan
from darb_hw.plan.reload import CHECK_BYTES, reloadable, word_bytes

__all__ = ["ReloadWalk"]


class ReloadWalk(Planned):
    """Counts what :func:`~darb_hw.plan.reload.reload_bytes` gives.

    Behind the ROMs stands the check sum, like one more of them. What comes behind that is too much.

    Parameters
    ----------
    plan : Plan
        One with a port for another network.

    Members
    -------
    taken : In(1)
        A byte; there is none in the cycle behind it, nor in that behind ``restart``: what it means is looked up then.
    restart : In(1)
        The next byte is the first one. None is taken with it.
    enable : Out(ROMs)
        In the cycle behind the last byte of a word: the ROM that it is for.
    address : Out
        Of that word.
    complete : Out(1)
        Everything has come, and no byte more.
    """

    taken: Signal
    restart: Signal
    enable: Signal
    address: Signal
    complete: Signal

    def __init__(self, plan: Plan) -> None:
        fields = reload_layout(plan)
        super().__init__(
            plan,
            {
                "taken": In(1),
                "restart": In(1),
                "enable": Out(fields["enable"].shape),
                "address": Out(fields["address"].shape),
                "complete": Out(1),
            },
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        images = [self._plan.images[name] for name in reloadable(self._plan)]
        bytes_of, words_of = [*map(word_bytes, images), CHECK_BYTES], [*(image.depth for image in images), 1]
        rom = Signal(len(images) + 2, init=1)  # a bit for each, and one that all of them are there
        part = Signal(range(max(2, *bytes_of)), init=bytes_of[0] - 1)  # bytes, and words, left behind this one
        words = Signal(range(max(2, *words_of)), init=words_of[0] - 1)
        address = Signal.like(words, init=0)
        excess = Signal()
        # All of it from registers, looked up in the cycle before.
        at_byte, at_word = Signal(), Signal()
        bytes_here, bytes_next = Signal.like(part, init=0), Signal.like(part, init=0)
        words_next = Signal.like(words, init=0)
        m.d.sync += [
            at_byte.eq(part == 0),
            at_word.eq(words == 0),
            bytes_here.eq(_last(rom, bytes_of)),
            bytes_next.eq(_last(rom, bytes_of[1:])),
            words_next.eq(_last(rom, words_of[1:])),
            self.enable.eq(rom[: len(images)] & (at_byte & self.taken).replicate(len(images))),
            self.address.eq(address),
        ]
        m.d.comb += self.complete.eq(rom[-1] & ~excess)
        with m.If(self.taken):
            m.d.sync += [
                part.eq(Mux(at_byte, Mux(at_word, bytes_next, bytes_here), part - 1)),
                excess.eq(excess | rom[-1]),
            ]
            with m.If(at_byte):
                m.d.sync += [
                    address.eq(Mux(at_word, 0, address + 1)),
                    words.eq(Mux(at_word, words_next, words - 1)),
                ]
            with m.If(at_byte & at_word):
                m.d.sync += rom.eq(Cat(0, rom[:-2], rom[-2:].any()))
        with m.Elif(self.restart):
            m.d.sync += [each.eq(each.init) for each in (rom, part, words, address, excess)]
        return m


def _last(rom: Value, counts: Sequence[int]) -> Value:
    """Number of the last one of as many as ``counts`` has for the ROM whose bit is set."""
    return reduce(or_, (Mux(bit, count - 1, 0) for bit, count in zip(rom, counts, strict=False)), Const(0))
