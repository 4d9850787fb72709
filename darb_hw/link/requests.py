"""Requests that wait: for the engine to take their inputs, and for their replies, both in the order they came in."""

from amaranth.hdl import Array, Const, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from darb_hw.link.protocol import PENDING, Fault, PacketKind
from darb_hw.link.receiver import request_layout
from darb_hw.link.shape import LinkShape

__all__ = ["Requests"]


class Requests(wiring.Component):
    """A queue with two readers. A request leaves it when it is replied to.

    Parameters
    ----------
    shape : LinkShape

    Members
    -------
    request : In(request_layout)
    done : In(1)
        A request is there.
    room : Out(1)
        There is room for one more.
    feed : Out(stream.Signature(request_layout))
        Good requests for an inference, and those that bring another network. One that takes the place of the network
        that is there waits for all replies before: of a frame that the engine has not begun, none would come.
    reply : Out(stream.Signature(request_layout))
        All requests.
    """

    request: data.View
    done: Signal
    room: Signal
    feed: stream.Interface
    reply: stream.Interface

    def __init__(self, shape: LinkShape) -> None:
        layout = request_layout(shape)
        self._layout, self._overwrites = layout, shape.overwrites
        super().__init__(
            {
                "request": In(layout),
                "done": In(1),
                "room": Out(1),
                "feed": Out(stream.Signature(layout)),
                "reply": Out(stream.Signature(layout)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        entries = Array(Signal(self._layout, name=f"entry_{index}") for index in range(PENDING))
        come, fed, replied = (Signal(range(2 * PENDING), name=name) for name in ("come", "fed", "replied"))
        # One more request than there is room for is a fault of the host. It is told of the last of them.
        lost, sequence, has_room = Signal(), Signal(8), Signal()
        m.d.comb += has_room.eq((come - replied)[: len(come)] != PENDING)
        tells = lost & has_room & ~self.done
        taken = Signal(self._layout)
        m.d.comb += [
            self.room.eq(has_room & ~lost),
            taken.eq(self.request),
            self.feed.payload.eq(entries[fed[:-1]]),
            self.reply.payload.eq(entries[replied[:-1]]),
            self.reply.valid.eq(come != replied),
        ]
        with m.If(lost):
            m.d.comb += [taken.kind.eq(0), taken.fault.eq(Fault.ROOM), taken.sequence.eq(sequence)]
        with m.If(self.done & ~self.room):
            m.d.sync += [lost.eq(1), sequence.eq(self.request.sequence)]
        with m.If((self.done & self.room) | tells):
            m.d.sync += [entries[come[:-1]].eq(taken), come.eq(come + 1)]
        with m.If(tells):
            m.d.sync += lost.eq(0)
        kind = self.feed.payload.kind
        feeds = ((kind == PacketKind.INFER) | (kind == PacketKind.LOAD)) & (self.feed.payload.fault == 0)
        waits = (kind == PacketKind.LOAD) & (fed != replied) if self._overwrites else Const(0, 1)
        m.d.comb += self.feed.valid.eq((come != fed) & feeds & ~waits)
        with m.If((come != fed) & (self.feed.ready | ~feeds)):
            m.d.sync += fed.eq(fed + 1)
        with m.If(self.reply.valid & self.reply.ready):
            m.d.sync += replied.eq(replied + 1)
        return m
