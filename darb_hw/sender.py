"""Output: collects the results that leave the engine and sends them as a frame, while the next one is collected."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import stream
from amaranth.lib.wiring import In, Out

from darb_hw.image import unsigned_bits
from darb_hw.loader import element_layout
from darb_hw.memory import Ram
from darb_hw.plan import Plan
from darb_hw.planned import Planned
from darb_hw.requant import result_layout
from darb_hw.roms import OUTPUT

__all__ = ["Sender"]


class Sender(Planned):
    """Collects the results of the output tensor in one of two banks, and sends a bank when it has all of them.

    Parameters
    ----------
    plan : Plan

    Members
    -------
    begin : In(1)
        An inference starts whose results will come: a bank is taken for them. Only while there is ``room``.
    room : Out(1)
        A bank is free.
    result : In(result_layout(plan))
        The frame is complete with the ``plan.output_writes``-th result of the output tensor.
    final : In(1)
        With that result: whether the frame that is sent ends with this one; the output of a step of a sequence does
        so in the last step only. Of networks that give an output in the last step only, nothing else is sent.
    o : Out(stream.Signature(element_layout))
        The first element ``latency`` cycles after the last result, or behind those of the frame before.
    """

    def __init__(self, plan: Plan):
        super().__init__(
            plan,
            {
                "begin": In(1),
                "room": Out(1),
                "result": In(result_layout(plan)),
                "final": In(1),
                "o": Out(stream.Signature(element_layout(plan.widths.output))),
            },
        )

    @property
    def latency(self) -> int:
        return 1 + Ram.latency

    def elaborate(self, platform):
        assert self.latency == self._plan.latency.send
        m = Module()
        size, writes = self._plan.output_size, self._plan.output_writes
        bits = unsigned_bits(size - 1)
        m.submodules.buffer = buffer = Ram(self._plan.widths.output, 2 << bits)
        writing, reading, ends = Signal(), Signal(), Signal(2)
        taken = Signal(2)  # whether one bank is, whether both are: promised, or written and not yet read
        full = Signal(2)  # the same of those that have all their results
        position = Signal(bits)
        result, hit, complete = self.result, Signal(), Signal()
        busy, move, release, end = Signal(), Signal(), Signal(), Signal(init=size == 1)
        fetched, fetched_last = Signal(), Signal()
        # Results that are missing, less two: negative if the next one is the last.
        left = Signal(signed(unsigned_bits(max(writes - 2, 0)) + 1), init=writes - 2)
        whole = self.final if self._plan.network.emit == "last" else 1
        m.d.comb += [
            hit.eq(result.valid & (result.target == OUTPUT)),
            complete.eq(hit & (left < 0) & whole),
            buffer.write_enable.eq(hit),
            buffer.write_address.eq(Cat(result.address[:bits], writing)),
            buffer.write_data.eq(result.value),
            buffer.read_enable.eq(move),
            buffer.read_address.eq(Cat(position, reading)),
            move.eq(~self.o.valid | self.o.ready),
            busy.eq(full[0]),
            release.eq(move & busy & end),
            self.o.payload.data.eq(buffer.read_data),
        ]
        with m.If(hit):
            m.d.sync += left.eq(left - 1)
        with m.If(hit & (left < 0)):
            m.d.sync += left.eq(writes - 2)
        with m.If(move):
            m.d.sync += [
                fetched.eq(busy),
                fetched_last.eq(end & Mux(reading, ends[1], ends[0])),
                self.o.valid.eq(fetched),
                self.o.payload.last.eq(fetched_last),
            ]
        # Conditions one after another: enable and reset of the registers, no logic before them.
        with m.If(move & busy):
            m.d.sync += [position.eq(position + 1), end.eq(position == size - 2)]
        with m.If(release):
            m.d.sync += [position.eq(0), end.eq(size == 1)]
        m.d.sync += [writing.eq(writing ^ complete), reading.eq(reading ^ release)]
        for bank in range(2):
            with m.If(complete & (writing == bank)):
                m.d.sync += ends[bank].eq(self.final)
        m.d.comb += self.room.eq(~taken[1])
        for count, more in ((taken, self.begin), (full, complete)):
            with m.If(more & ~release):
                m.d.sync += count.eq(Cat(1, count[0]))
            with m.If(release & ~more):
                m.d.sync += count.eq(count[1])
        return m
