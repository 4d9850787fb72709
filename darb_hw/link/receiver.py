"""Packets that come in: checked as a whole before the engine sees anything of them."""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.crc.catalog import CRC32_ISO_HDLC
from amaranth.lib.wiring import In, Out

from darb_hw.link.protocol import HEAD, LENGTHS, OFFSET_BYTES, TAIL, Fault, PacketKind
from darb_hw.link.shape import LinkShape
from darb_hw.link.slip import packet_byte

__all__ = ["Receiver", "request_layout"]


def request_layout(shape: LinkShape) -> data.StructLayout:
    """A request: its kind, or why it is none (``fault`` is not 0); its number; what it asks of the engine, or where the
    bytes belong that it brings of another network."""
    fields = {"kind": 8, "fault": 4, "sequence": 8, "elements": range(shape.buffer + 1)}
    fields |= {"tasks": shape.tasks} if shape.tasks else {}
    return data.StructLayout(fields | ({"offset": 8 * OFFSET_BYTES} if shape.load_bytes else {}))


class Receiver(wiring.Component):
    """Bytes of packets -> requests, and the elements of inputs in a buffer.

    The elements of a packet are written as they come, behind those of the packets before. The end of a good packet
    makes them valid; a bad packet gives them back. So nothing of a bad packet reaches the engine.

    Parameters
    ----------
    shape : LinkShape

    Members
    -------
    i : In(packet_byte)
        After an end there is none for three cycles.
    request : Out(request_layout)
        Valid for one cycle.
    done : Out(1)
        With ``request``: it is there.
    room : In(1)
        One more request can be taken.
    absent : In(1)
        The engine has no network, or another one is on its way. It is there if networks take each other's place.
    write_enable, write_address, write_data : Out
        To the buffer.
    read : In(unsigned)
        Elements that have been read from the buffer so far, modulo twice its size.
    """

    i: data.View
    request: data.View
    done: Signal
    room: Signal
    absent: Signal
    write_enable: Signal
    write_address: Signal
    write_data: Signal
    read: Signal

    def __init__(self, shape: LinkShape) -> None:
        self._shape = shape
        super().__init__(
            {
                "i": In(packet_byte),
                "request": Out(request_layout(shape)),
                "done": Out(1),
                "room": In(1),
                "write_enable": Out(1),
                "write_address": Out(range(shape.buffer)),
                "write_data": Out(shape.word_bits),
                "read": In(range(2 * shape.buffer)),
            }
            | ({"absent": In(1)} if shape.overwrites else {})
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.crc = crc = CRC32_ISO_HDLC().create()
        # Behind ``TAIL`` bytes, so that what leaves the line is never the length or the check sum.
        # One signal and no array: abc9 of Yosys fails on some netlists with wires `line` and `line[1]`, a byte each.
        line = Signal(8 * TAIL, reset_less=True)
        count, damaged = Signal(range(LENGTHS + HEAD + TAIL)), Signal()
        byte, leaves = line[-8:], self.i.valid & (count >= TAIL)
        summed: list[Any] = [crc.valid.eq(self.i.valid), crc.data.eq(self.i.data), crc.start.eq(self.i.end)]
        m.d.comb += summed
        with m.If(self.i.valid):
            m.d.sync += [line.eq(Cat(self.i.data, line[:-8])), count.eq(count + 1)]
            with m.If(count == LENGTHS + HEAD + TAIL - 1):  # the length is told modulo LENGTHS
                m.d.sync += count.eq(HEAD + TAIL)
        with m.If(self.i.bad):
            m.d.sync += damaged.eq(1)
        head = leaves & (count < TAIL + HEAD)
        with m.If(head):
            m.d.sync += [self.request.kind.eq(self.request.sequence), self.request.sequence.eq(byte)]
        length, infers = Cat(line[-8:], line[-16:-8]), self.request.kind == PacketKind.INFER
        informs = self.request.kind == PacketKind.INFO
        loads = self.request.kind == PacketKind.LOAD if self._shape.load_bytes else Const(0, 1)
        inside = leaves & ~head
        placed, fits = self._place(m, inside & loads, byte) if self._shape.load_bytes else (Const(0, 1), Const(0, 1))
        wrong, full, whole = self._elements(m, inside & infers, inside & placed, byte)
        faults = [
            (Fault.LINE, damaged),
            (Fault.SHORT, count < HEAD + TAIL),
            (Fault.CRC, ~crc.match_detected),
            (Fault.LENGTH, (count - (HEAD + TAIL))[: len(length)] != length),
            (Fault.KIND, ~infers & ~informs & ~loads),
            (Fault.SIZE, Mux(infers, ~whole, Mux(loads, ~fits, length != 0))),
            (Fault.VALUE, infers & wrong),
            (Fault.ROOM, full | ~self.room),
            (Fault.NETWORK, infers & self.absent if self._shape.overwrites else Const(0, 1)),
        ]
        self._judge(m, faults, (count != 0) | damaged)
        with m.If(self.i.end):
            m.d.sync += [count.eq(0), damaged.eq(0)]
        return m

    def _place(self, m: Module, payload: Value, byte: Value) -> tuple[Value, Value]:
        """Takes the place of the bytes of another network in front of them. Gives whether this byte is behind it, and
        whether the bytes so far belong to a network.

        ``payload``: ``byte`` belongs to a request that brings such bytes.
        """
        left, offset = Signal(range(OFFSET_BYTES + 1), init=OFFSET_BYTES), self.request.offset
        with m.If(payload & (left != 0)):
            m.d.sync += [left.eq(left - 1), offset.eq(Cat(offset, byte)[8:])]
        with m.If(self.done):
            m.d.sync += left.eq(OFFSET_BYTES)
        elements = self.request.elements
        return payload & (left == 0), (elements != 0) & (offset + elements <= self._shape.load_bytes)

    def _elements(self, m: Module, payload: Value, load: Value, byte: Value) -> tuple[Signal, Signal, Value]:
        """Writes the elements of a payload.

        ``payload``: ``byte`` belongs to a request for an inference; ``load``: it is one of another network.

        Gives whether a value is out of range, whether there was no room in the buffer, and whether the elements so far
        make whole inputs.
        """
        shape, width = self._shape, self._shape.input_bytes
        wrong, full = Signal(), Signal()
        asked, element, unknown = self._asked(m, payload, byte)
        part, before = Signal(range(max(width, 2))), Signal(max(8 * (width - 1), 1), reset_less=True)
        value = Cat(before, byte) if width > 1 else byte
        complete = element & (part == width - 1)
        word: Value = value[: shape.input_bits]
        if shape.load_bytes:
            word = Mux(load, byte, word)
        with m.If(element):
            m.d.sync += [part.eq(Mux(complete, 0, part + 1)), before.eq(value[8:] if width > 1 else 0)]
        position, inputs = Signal(range(max(shape.inputs, 2))), Signal(2)
        written = self.request.elements
        ends = position == shape.inputs - 1
        write, kept = Signal(range(2 * shape.buffer)), Signal(range(2 * shape.buffer))
        above = value[shape.input_bits - 1 :]
        known = value < shape.symbols if shape.symbols else above.all() | ~above.any()
        held = (write - self.read)[: len(write)] == shape.buffer
        m.d.comb += [
            self.write_enable.eq((complete | load) & ~held),
            self.write_address.eq(write[:-1]),
            self.write_data.eq(word),
        ]
        with m.If(complete):
            m.d.sync += [
                position.eq(Mux(ends, 0, position + 1)),
                inputs.eq(Mux(ends & (inputs < 2), inputs + 1, inputs)),
                wrong.eq(wrong | ~known | unknown),
            ]
        with m.If(complete | load):
            m.d.sync += full.eq(full | held)
            with m.If(~held):
                m.d.sync += [write.eq(write + 1), written.eq(written + 1)]
        with m.If(self.done):
            with m.If(self.request.fault == 0):
                m.d.sync += kept.eq(write)
            with m.Else():
                m.d.sync += write.eq(kept)
            m.d.sync += [part.eq(0), position.eq(0), inputs.eq(0), written.eq(0), wrong.eq(0), full.eq(0)]
        enough = inputs != 0 if shape.recurrent else inputs == 1
        return wrong, full, (position == 0) & (part == 0) & enough & (asked == 0)

    def _asked(self, m: Module, payload: Value, byte: Value) -> tuple[Value, Value, Value]:
        """Takes the tasks before the elements. Gives bytes of tasks still to come, whether this one is of an element,
        and whether there is no such task."""
        shape = self._shape
        if not shape.tasks:
            return Const(0, 1), payload, Const(0, 1)
        left, tasks = Signal(range(shape.task_bytes + 1), init=shape.task_bytes), Signal(8 * shape.task_bytes)
        m.d.comb += self.request.tasks.eq(tasks[: shape.tasks])
        with m.If(payload & (left != 0)):
            m.d.sync += [left.eq(left - 1), tasks.eq(Cat(tasks, byte)[8:])]
        with m.If(self.done):
            m.d.sync += [left.eq(shape.task_bytes), tasks.eq(0)]
        return left, payload & (left == 0), tasks[shape.tasks :].any()

    def _judge(self, m: Module, faults: list[tuple[Fault, Value]], begun: Value) -> None:
        """At the end of a packet: the first of ``faults`` that it has. ``begun``: there was anything in it."""
        m.d.sync += self.done.eq(self.i.end & begun)
        verdict: Value = Const(0, 4)
        for fault, has in reversed(faults):
            verdict = Mux(has, fault, verdict)
        with m.If(self.i.end):
            m.d.sync += self.request.fault.eq(verdict)
        with m.If(self.done):
            m.d.sync += [self.request.kind.eq(0), self.request.sequence.eq(0)]
