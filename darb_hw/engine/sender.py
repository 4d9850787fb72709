"""Output: collects the results that leave the engine and sends them as frames."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from darb_hw.device.memory import Ram
from darb_hw.engine.loader import element_layout
from darb_hw.engine.planned import Planned
from darb_hw.engine.requant import result_layout
from darb_hw.plan.image import unsigned_bits
from darb_hw.plan.plan import Plan
from darb_hw.plan.roms import OUTPUT

__all__ = ["Sender"]


class Sender(Planned):
    """Buffers the results of the output tensor, and sends them when they are all there. There are several buffers: one
    is filled while another is sent.

    Parameters
    ----------
    plan : Plan

    Members
    -------
    result : In(result_layout(plan))
    begin, final : In(1)
        An inference (or step) begins that gives an output; whether this output ends a frame, which that of a step
        does with the last one of its sequence only.
    discard : In(1)
        What has come of the output since the one before was complete belongs to none.
    o : Out(stream.Signature(element_layout))
        The first element ``latency`` cycles after the last result, if nothing is to be sent before it.
    room : Out(1)
        There was a buffer for one more output in the cycle before; ``begin`` only then.
    """

    def __init__(self, plan: Plan):
        super().__init__(
            plan,
            {
                "result": In(result_layout(plan)),
                "begin": In(1),
                "final": In(1),
                "discard": In(1),
                "o": Out(stream.Signature(element_layout(plan.widths.output))),
                "room": Out(1),
            },
        )

    @property
    def latency(self) -> int:
        return 3 + Ram.latency

    def elaborate(self, platform):
        assert self.latency == self._plan.latency.send
        m = Module()
        size, writes = self._plan.output_size, self._plan.output_writes
        place = max(1, unsigned_bits(size - 1))
        banks = self._plan.output_banks
        m.submodules.buffer = buffer = Ram(self._plan.widths.output, (banks - 1 << place) + size)
        filled, sent, begun = (Signal(range(banks), name=name) for name in ("filled", "sent", "begun"))

        def following(bank):
            return Mux(bank == banks - 1, 0, bank + 1)

        finals = Signal(banks)
        with m.If(self.begin):
            m.d.sync += begun.eq(following(begun))
            for bank in range(banks):
                with m.If(begun == bank):
                    m.d.sync += finals[bank].eq(self.final)

        # Filling, from registers of its own: the buffer can stand far from the write-back.
        address, value = Signal(place, reset_less=True), Signal(self._plan.widths.output, reset_less=True)
        taken, discard, complete = Signal(), Signal(), Signal()
        # Results that the output still waits for, after this one; whether there are none is known a cycle before.
        missing, ending = Signal(range(writes + 1), init=writes - 1), Signal(init=writes == 1)
        m.d.sync += [
            taken.eq(self.result.valid & (self.result.target == OUTPUT)),
            address.eq(self.result.address),
            value.eq(self.result.value),
            discard.eq(self.discard),
        ]
        m.d.comb += [
            complete.eq(taken & ending),
            buffer.write_enable.eq(taken),
            buffer.write_address.eq(Cat(address, filled)),
            buffer.write_data.eq(value),
        ]
        with m.If(taken):
            m.d.sync += [missing.eq(missing - 1), ending.eq(missing == 1)]
        with m.If(complete | discard):
            m.d.sync += [missing.eq(writes - 1), ending.eq(writes == 1)]
        with m.If(complete):
            m.d.sync += filled.eq(following(filled))

        # Sending.
        # Outputs that are complete; that have begun and not left.
        waiting, held = Signal(range(banks + 1)), Signal(range(banks + 1))
        position = Signal(range(max(size, 2)))
        # The two stages of the memory: each moves on as soon as the one behind it does, or is empty. What they give
        # while the element at the port waits has a place of its own, so that this depends on registers alone.
        fetch, move, busy, end, leaves = Signal(), Signal(), Signal(), Signal(init=size == 1), Signal()
        fetched, fetched_end, final = Signal(), Signal(), Signal()
        layout = data.StructLayout({"valid": 1, "ends": 1, "element": self.o.payload.shape()})
        read, spare, shown = (Signal(layout, name=name) for name in ("read", "spare", "shown"))
        opens = Signal()
        m.d.comb += [
            move.eq(~read.valid | ~spare.valid),
            fetch.eq(~fetched | move),
            busy.eq(waiting != 0),
            buffer.read_enable.eq(fetch),
            buffer.output_enable.eq(move),
            buffer.read_address.eq(Cat(position, sent)),
            read.element.data.eq(buffer.read_data),
            opens.eq(~shown.valid | self.o.ready),
            self.o.valid.eq(shown.valid),
            self.o.payload.eq(shown.element),
            leaves.eq(shown.valid & self.o.ready & shown.ends),
        ]
        with m.If(fetch):
            m.d.sync += [
                fetched.eq(busy),
                fetched_end.eq(end),
                final.eq(Mux(sent == 0, finals[0], Mux(sent == 1, finals[1], finals[banks - 1]))),
            ]
            with m.If(busy):
                m.d.sync += [
                    position.eq(Mux(end, 0, position + 1)),
                    end.eq(((position == size - 2) & ~end) | (size == 1)),
                ]
                with m.If(end):
                    m.d.sync += sent.eq(following(sent))
        with m.If(move):
            m.d.sync += [
                read.valid.eq(fetched),
                read.ends.eq(fetched_end),
                read.element.last.eq(fetched_end & final),
            ]
        with m.If(~spare.valid):
            m.d.sync += spare.eq(read)
        with m.If(opens):
            m.d.sync += [shown.eq(Mux(spare.valid, spare, read)), spare.valid.eq(0)]
        m.d.sync += [
            waiting.eq(waiting + complete - (fetch & busy & end)),
            held.eq(held + self.begin - leaves),
            self.room.eq(held < banks - self.begin),
        ]
        return m
