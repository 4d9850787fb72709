"""The link: bytes of a line on one side, the streams of the engine on the other."""

from amaranth.hdl import Module, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from darb_hw.device.memory import Ram
from darb_hw.engine.loader import element_layout
from darb_hw.engine.reloader import reload_byte
from darb_hw.link.feeder import Feeder
from darb_hw.link.intake import Intake, placed_byte
from darb_hw.link.line import received_byte
from darb_hw.link.protocol import PENDING, PacketKind
from darb_hw.link.receiver import Receiver
from darb_hw.link.replier import Replier
from darb_hw.link.requests import Requests
from darb_hw.link.shape import LinkShape
from darb_hw.link.slip import SlipDecoder, SlipEncoder

__all__ = ["HostLink"]


class HostLink(wiring.Component):
    """Requests from a line to the engine, and its outputs as replies.

    Parameters
    ----------
    shape : LinkShape
    info : bytes
    exchangeable : bool
        See :class:`Replier`.

    Members
    -------
    i : In(received_byte)
        At most one byte in four cycles.
    o : Out(stream.Signature(8))
    inputs : Out(stream.Signature(element_layout))
    outputs : In(stream.Signature(element_layout))
    working : Out(1)
        A request waits for its reply.
    failed : Out(1)
        The last request was a bad one.
    network : Out(stream.Signature(reload_byte))
    verdict : In(stream.Signature(1))
    bank, present : In(1)
        Other networks: see :class:`Intake`. These are there if one can come.
    stored : In(stream.Signature(placed_byte))
        The first network, as if a request brought it. It is there if the network is ``stored``.
    """

    i: data.View
    o: stream.Interface
    inputs: stream.Interface
    outputs: stream.Interface
    working: Signal
    failed: Signal
    network: stream.Interface
    verdict: stream.Interface
    bank: Signal
    present: Signal
    stored: stream.Interface

    def __init__(self, shape: LinkShape, info: bytes, exchangeable: bool = False, stored: bool = False) -> None:
        self._shape, self._info, self._exchangeable, self._stored = shape, info, exchangeable, stored
        super().__init__(
            {
                "i": In(received_byte),
                "o": Out(stream.Signature(8)),
                "inputs": Out(stream.Signature(element_layout(shape.input_bits, shape.tasks))),
                "outputs": In(stream.Signature(element_layout(8 * shape.output_bytes))),
                "working": Out(1),
                "failed": Out(1),
            }
            | (
                {
                    "network": Out(stream.Signature(reload_byte)),
                    "verdict": In(stream.Signature(1)),
                    "present" if shape.overwrites else "bank": In(1),
                }
                if shape.load_bytes
                else {}
            )
            | ({"stored": In(stream.Signature(placed_byte))} if stored else {})
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        shape = self._shape
        m.submodules.decoder = decoder = SlipDecoder()
        m.submodules.receiver = receiver = Receiver(shape)
        m.submodules.requests = requests = Requests(shape)
        m.submodules.buffer = buffer = Ram(shape.word_bits, shape.buffer)
        m.submodules.feeder = feeder = Feeder(shape)
        m.submodules.replier = replier = Replier(shape, self._info, self._exchangeable)
        m.submodules.encoder = encoder = SlipEncoder()
        connect(m, requests.feed, feeder.request)
        connect(m, requests.reply, replier.request)
        connect(m, feeder.o, flipped(self.inputs))
        connect(m, flipped(self.outputs), replier.i)
        connect(m, replier.o, encoder.i)
        connect(m, encoder.o, flipped(self.o))
        m.d.comb += [
            decoder.i.eq(self.i),
            receiver.i.eq(decoder.o),
            requests.request.eq(receiver.request),
            requests.done.eq(receiver.done),
            receiver.room.eq(requests.room),
            receiver.read.eq(feeder.read),
            buffer.write_enable.eq(receiver.write_enable),
            buffer.write_address.eq(receiver.write_address),
            buffer.write_data.eq(receiver.write_data),
            buffer.read_enable.eq(1),
            buffer.output_enable.eq(1),
            buffer.read_address.eq(feeder.read_address),
            feeder.read_data.eq(buffer.read_data),
            self.working.eq(requests.reply.valid),
        ]
        if shape.load_bytes:
            m.submodules.intake = intake = Intake(shape, self._info)
            connect(m, intake.o, flipped(self.network))
            connect(m, flipped(self.verdict), intake.verdict)
            m.d.comb += [
                intake.present.eq(self.present) if shape.overwrites else intake.bank.eq(self.bank),
                replier.digest.eq(intake.digest),
            ]
            self._place(m, intake, feeder, replier)
        if shape.overwrites:
            m.d.comb += receiver.absent.eq(~self.present | self._coming(m, receiver, replier))
        with m.If(receiver.done):
            m.d.sync += self.failed.eq(receiver.request.fault != 0)
        return m

    def _place(self, m: Module, intake: Intake, feeder: Feeder, replier: Replier) -> None:
        """Networks come with requests, which are replied to; the first one may be stored."""
        if not self._stored:
            connect(m, feeder.load, intake.i)
            connect(m, intake.loaded, replier.loaded)
            return
        # A reset leaves the network as it is, if there is one as a whole.
        begun, fresh = Signal(), Signal(init=1)
        with m.If(begun):
            connect(m, feeder.load, intake.i)
            connect(m, intake.loaded, replier.loaded)
        with m.Else():
            connect(m, flipped(self.stored), intake.i)
            m.d.comb += intake.loaded.ready.eq(1)
        m.d.sync += [fresh.eq(0), begun.eq(begun | intake.loaded.valid | (fresh & self.present))]

    def _coming(self, m: Module, receiver: Receiver, replier: Replier) -> Value:
        """Whether requests wait that bring bytes of another network: those for an inference behind them would wait for
        the engine, and the rest of the network behind those."""
        coming, request = Signal(range(PENDING + 1)), replier.request
        come, gone = (
            at & (asked.kind == PacketKind.LOAD) & (asked.fault == 0)
            for at, asked in (
                (receiver.done & receiver.room, receiver.request),
                (request.valid & request.ready, request.payload),
            )
        )
        m.d.sync += coming.eq(coming + come - gone)
        return coming != 0
