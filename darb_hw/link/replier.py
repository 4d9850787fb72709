"""Replies: a packet for each request."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.crc.catalog import CRC32_ISO_HDLC
from amaranth.lib.enum import IntEnum
from amaranth.lib.wiring import In, Out

from darb_hw.engine.loader import element_layout
from darb_hw.link.info import DIGEST
from darb_hw.link.info_memory import InfoMemory
from darb_hw.link.intake import loaded_layout
from darb_hw.link.protocol import IDENTITY_BYTES, LENGTHS, OFFSET_BYTES, Fault, PacketKind
from darb_hw.link.receiver import request_layout
from darb_hw.link.shape import LinkShape
from darb_hw.link.slip import sent_byte

__all__ = ["Replier"]


class _Part(IntEnum, shape=3):  # pyright: ignore[reportCallIssue, reportGeneralTypeIssues]: Amaranth's enumerations
    """What of a packet is sent."""

    OPEN = 0
    HEAD = 1
    PAYLOAD = 2
    LENGTH = 3
    CRC = 4
    CLOSE = 5


class Replier(wiring.Component):
    """Requests and outputs of the engine -> bytes of packets.

    Parameters
    ----------
    shape : LinkShape
    info : bytes
        The payload of the reply to a request for information.
    exchangeable : bool
        Whether that is in a memory, which a bitstream may have other contents for; else it is in logic. Not
        where another network can come over the line.

    Members
    -------
    request : In(stream.Signature(request_layout))
        Taken at the end of its reply.
    i : In(stream.Signature(element_layout))
        The outputs of the engine, in the order of the requests.
    o : Out(stream.Signature(sent_byte))
    loaded : In(stream.Signature(loaded_layout))
        What has come of each request that brought bytes of another network, in the order of the requests.
    digest : In
        That of the network in use. These two are there if another network can come.
    """

    request: stream.Interface
    i: stream.Interface
    o: stream.Interface
    loaded: stream.Interface
    digest: Signal

    def __init__(self, shape: LinkShape, info: bytes, exchangeable: bool = False) -> None:
        self._shape, self._info, self._exchangeable = shape, info, exchangeable
        super().__init__(
            {
                "request": In(stream.Signature(request_layout(shape))),
                "i": In(stream.Signature(element_layout(8 * shape.output_bytes))),
                "o": Out(stream.Signature(sent_byte)),
            }
            | (
                {"loaded": In(stream.Signature(loaded_layout)), "digest": In(8 * IDENTITY_BYTES)}
                if shape.load_bytes
                else {}
            )
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.crc = crc = CRC32_ISO_HDLC().create()
        request, width = self.request.payload, self._shape.output_bytes
        part, index, length = Signal(_Part), Signal(range(max(len(self._info), 8))), Signal(range(LENGTHS))
        fault, infers = request.fault, request.kind == PacketKind.INFER
        loads: Value = Const(0, 1)
        there: Value = Const(1, 1)
        told: Value = Cat(Const(byte, 8) for byte in self._info)
        if self._shape.load_bytes:
            loads = (request.kind == PacketKind.LOAD) & (request.fault == 0)
            there = ~loads | self.loaded.valid
            fault = Mux(loads & self.loaded.payload.refused, Fault.NETWORK, fault)
            digest = Signal.like(self.digest)  # that of one network, though another one may come meanwhile
            with m.If(part == _Part.OPEN):
                m.d.sync += digest.eq(self.digest)
            told = Cat(told[: 8 * DIGEST.start], digest, told[8 * DIGEST.stop :])
            told = Mux(loads, self.loaded.payload.count, told)
        failed = fault != 0
        outputs = (part == _Part.PAYLOAD) & ~failed & infers
        mark = (part == _Part.OPEN) | (part == _Part.CLOSE)
        taken = self.o.valid & self.o.ready
        byte_told: Value = told.word_select(index, 8)
        if self._exchangeable:
            byte_told, settled = self._looked_up(m, index, taken)
            there = (part != _Part.PAYLOAD) | failed | infers | settled
        output = self.i.payload.data.as_unsigned().word_select(index, 8)
        payload = Mux(failed, fault, Mux(infers, output, byte_told))
        kind = Mux(failed, PacketKind.FAULT, Cat(request.kind[:7], Const(1, 1)))
        bytes_of = {
            _Part.HEAD: Mux(index == 0, kind, request.sequence),
            _Part.PAYLOAD: payload,
            _Part.LENGTH: length.word_select(index[:1], 8),
            _Part.CRC: crc.crc.word_select(index[:2], 8),
        }
        byte: Value = Const(0, 8)
        for of, value in bytes_of.items():
            byte = Mux(part == of, value, byte)
        last = {
            _Part.HEAD: index == 1,
            _Part.PAYLOAD: failed
            | Mux(
                infers,
                (index == width - 1) & self.i.payload.last,
                index == Mux(loads, OFFSET_BYTES - 1, len(self._info) - 1),
            ),
            _Part.LENGTH: index == 1,
            _Part.CRC: index == 3,
        }
        ends: Value = Const(1, 1)
        for of, value in last.items():
            ends = Mux(part == of, value, ends)
        summed = (part == _Part.HEAD) | (part == _Part.PAYLOAD) | (part == _Part.LENGTH)
        m.d.comb += [
            self.o.valid.eq(self.request.valid & (~outputs | self.i.valid) & there),
            self.o.payload.data.eq(byte),
            self.o.payload.end.eq(mark),
            self.i.ready.eq(outputs & self.request.valid & self.o.ready & (index == width - 1)),
            self.request.ready.eq(taken & (part == _Part.CLOSE)),
            crc.start.eq(part == _Part.OPEN),
            crc.valid.eq(taken & summed),
            crc.data.eq(byte),
        ]
        if self._shape.load_bytes:
            m.d.comb += self.loaded.ready.eq(loads & self.request.ready)
        with m.If(taken):
            m.d.sync += index.eq(Mux(ends | (outputs & (index == width - 1)), 0, index + 1))
            with m.If(ends):
                m.d.sync += part.eq(Mux(part == _Part.CLOSE, _Part.OPEN, part + 1))
            with m.If(part == _Part.OPEN):
                m.d.sync += length.eq(0)
            with m.If(part == _Part.PAYLOAD):
                m.d.sync += length.eq(length + 1)
        return m

    def _looked_up(self, m: Module, index: Value, taken: Value) -> tuple[Value, Value]:
        """A byte of the information, and whether it is there: a memory takes its time behind a byte that is taken."""
        assert not self._shape.load_bytes
        m.submodules.info = memory = InfoMemory(self._info)
        waited = Signal(range(memory.latency + 1))
        m.d.comb += memory.address.eq(index)
        with m.If(taken):
            m.d.sync += waited.eq(0)
        with m.Elif(waited != memory.latency):
            m.d.sync += waited.eq(waited + 1)
        return memory.data, waited == memory.latency
