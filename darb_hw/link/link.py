"""The link: bytes of a line on one side, the streams of the engine on the other."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from darb_hw.device.memory import Ram
from darb_hw.engine.loader import element_layout
from darb_hw.engine.reloader import reload_byte
from darb_hw.link.feeder import Feeder
from darb_hw.link.intake import Intake
from darb_hw.link.line import received_byte
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
    bank : In(1)
        Other networks: see :class:`Intake`. These three are there if one can come.
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

    def __init__(self, shape: LinkShape, info: bytes, exchangeable: bool = False) -> None:
        self._shape, self._info, self._exchangeable = shape, info, exchangeable
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
                    "bank": In(1),
                }
                if shape.load_bytes
                else {}
            )
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
            connect(m, feeder.load, intake.i)
            connect(m, intake.o, flipped(self.network))
            connect(m, flipped(self.verdict), intake.verdict)
            connect(m, intake.loaded, replier.loaded)
            m.d.comb += [intake.bank.eq(self.bank), replier.digest.eq(intake.digest)]
        with m.If(receiver.done):
            m.d.sync += self.failed.eq(receiver.request.fault != 0)
        return m
