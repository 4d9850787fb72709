"""Output: collects the results that leave the engine and sends them as a frame."""

from amaranth.hdl import Module, Signal
from amaranth.lib import stream
from amaranth.lib.wiring import In, Out

from darb_hw.loader import element_layout
from darb_hw.memory import Ram
from darb_hw.plan import Plan
from darb_hw.planned import Planned
from darb_hw.requant import result_layout
from darb_hw.roms import OUTPUT

__all__ = ["Sender"]


class Sender(Planned):
    """Buffers the results of the output tensor, and sends them when they are all there.

    Parameters
    ----------
    plan : Plan

    Members
    -------
    result : In(result_layout(plan))
    start, final : In(1)
        Send what the buffer holds: with the last result, or later. Whether it ends a frame: the output of a step
        of a sequence ends one with the last step only.
    o : Out(stream.Signature(element_layout))
        The first element ``latency`` cycles after ``start``.
    idle : Out(1)
        Nothing is left to send, from the cycle after the last transfer on.
    """

    def __init__(self, plan: Plan):
        super().__init__(
            plan,
            {
                "result": In(result_layout(plan)),
                "start": In(1),
                "final": In(1),
                "o": Out(stream.Signature(element_layout(plan.widths.output))),
                "idle": Out(1),
            },
        )

    @property
    def latency(self) -> int:
        return 1 + Ram.latency

    def elaborate(self, platform):
        assert self.latency == self._plan.latency.send
        m = Module()
        size = self._plan.output_size
        m.submodules.buffer = buffer = Ram(self._plan.widths.output, size)
        busy, fetched, fetched_last = Signal(), Signal(), Signal()
        position = Signal(range(max(size, 2)))
        end, ends, move = Signal(), Signal(), Signal()
        result = self.result
        m.d.comb += [
            buffer.write_enable.eq(result.valid & (result.target == OUTPUT)),
            buffer.write_address.eq(result.address),
            buffer.write_data.eq(result.value),
            buffer.read_enable.eq(move),
            buffer.read_address.eq(position),
            move.eq(~self.o.valid | self.o.ready),
            end.eq(position == size - 1),
            self.o.payload.data.eq(buffer.read_data),
            self.idle.eq(~busy & ~fetched & ~self.o.valid),
        ]
        with m.If(move):
            m.d.sync += [
                fetched.eq(busy),
                fetched_last.eq(end & ends),
                self.o.valid.eq(fetched),
                self.o.payload.last.eq(fetched_last),
            ]
            with m.If(busy):
                m.d.sync += position.eq(position + 1)
                with m.If(end):
                    m.d.sync += [position.eq(0), busy.eq(0)]
        with m.If(self.start):
            m.d.sync += [busy.eq(1), ends.eq(self.final)]
        return m
