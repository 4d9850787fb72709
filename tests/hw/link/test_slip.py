"""SLIP both ways, and from one clock domain to another."""

import pytest
from amaranth.hdl import ClockDomain, Module
from amaranth.lib.wiring import Component
from amaranth.sim import Simulator
from hypothesis import given
from hypothesis import strategies as st

from darb_hw.host.packets import Packet, PacketReader
from darb_hw.link.crossing import Crossing
from darb_hw.link.slip import SlipDecoder, SlipEncoder
from sim.packets import ReferencePacket, pack
from tests.hw.amaranth_sim import simulate


def encoded(data: bytes, hold: int) -> bytes:
    """What the encoder makes of a packet; the line takes a byte every ``hold`` cycles."""
    encoder, got = SlipEncoder(), bytearray()
    items = [(0, 1), *((byte, 0) for byte in data), (0, 1)]

    async def bench(ctx):
        cycle = 0
        while items:
            ctx.set(encoder.i.valid, 1)
            ctx.set(encoder.i.payload.data, items[0][0])
            ctx.set(encoder.i.payload.end, items[0][1])
            ctx.set(encoder.o.ready, cycle % hold == 0)
            if cycle % hold == 0:
                got.append(ctx.get(encoder.o.payload))
            if ctx.get(encoder.i.ready):
                items.pop(0)
            cycle += 1
            await ctx.tick()

    simulate(encoder, bench)
    return bytes(got)


@given(st.binary(min_size=1, max_size=12) | st.lists(st.sampled_from([0xC0, 0xDB, 0xDC, 0xDD, 1])).map(bytes))
def test_the_encoder_stuffs(data):
    for hold in (1, 3):
        assert encoded(data, hold) == pack(data)


@given(st.lists(st.sampled_from([0xC0, 0xDB, 0xDC, 0xDD, 0, 77]), max_size=20))
def test_the_decoder_does_what_the_host_does(line):
    """Bytes, marks and what is bad, for any bytes at all."""
    decoder, events = SlipDecoder(), []

    async def bench(ctx):
        for byte in [*line, 0xC0, None]:
            ctx.set(decoder.i.valid, byte is not None)
            ctx.set(decoder.i.data, byte or 0)
            await ctx.tick()
            if ctx.get(decoder.o.valid):
                events.append(ctx.get(decoder.o.data))
            if ctx.get(decoder.o.bad):
                events.append("bad")
            if ctx.get(decoder.o.end):
                events.append("end")

    simulate(decoder, bench)
    expected, escaped = [], False
    for byte in [*line, 0xC0]:
        if byte == 0xC0:
            expected.append("end")
        elif escaped:
            expected.append({0xDC: 0xC0, 0xDD: 0xDB}.get(byte, "bad"))
        elif byte != 0xDB:
            expected.append(byte)
        escaped = byte == 0xDB and not escaped
    assert events == expected


@given(st.integers(0, 255), st.integers(0, 255), st.binary(max_size=40), st.integers(1, 50))
def test_both_packets_of_python_agree(kind, sequence, payload, piece):
    ours, theirs = Packet(kind, sequence, payload), ReferencePacket(kind, sequence, payload)
    line = ours.on_line()
    assert line == pack(theirs.body)
    reader = PacketReader()
    pieces = [line[start : start + piece] for start in range(0, len(line), piece)]
    assert [packet for part in pieces for packet in reader.take(part)] == [ours]


@given(st.binary(max_size=20), st.data())
def test_the_host_takes_no_damaged_packet(payload, draw):
    line = bytearray(Packet(2, 7, payload).on_line())
    place = draw.draw(st.integers(1, len(line) - 2))
    line[place] ^= draw.draw(st.integers(1, 255))
    assert all(packet is None for packet in PacketReader().take(bytes(line)))


class Across(Component):
    """A stream between two clocks."""

    def __init__(self):
        self.crossing = Crossing(8, "slow", "fast")
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        m.domains += [ClockDomain("slow"), ClockDomain("fast")]
        m.submodules.crossing = self.crossing
        return m


@pytest.mark.parametrize(("slow", "fast"), [(40e-9, 5e-9), (40e-9, 39e-9), (5e-9, 83e-9), (10e-9, 10e-9)])
def test_elements_cross(slow, fast):
    """All of them, in order, each once, whatever the clocks and however slowly they are taken."""
    across, sent, got = Across(), list(range(200, 230)), []
    crossing, done = across.crossing, []

    async def source(ctx):
        left, wait = list(sent), 0
        while left:
            offers = wait == 0
            ctx.set(crossing.i.valid, offers)
            ctx.set(crossing.i.payload, left[0])
            taken = offers and ctx.get(crossing.i.ready)
            await ctx.tick("slow")
            wait = left.pop(0) % 3 if taken else max(wait - 1, 0)
        ctx.set(crossing.i.valid, 0)

    async def sink(ctx):
        wait = 0
        while len(got) < len(sent):
            takes = wait == 0
            ctx.set(crossing.o.ready, takes)
            taken, value = takes and ctx.get(crossing.o.valid), ctx.get(crossing.o.payload)
            await ctx.tick("fast")
            if taken:
                got.append(value)
            wait = value % 4 if taken else max(wait - 1, 0)
        done.append(True)

    simulator = Simulator(across)
    simulator.add_clock(slow, domain="slow")
    simulator.add_clock(fast, domain="fast")
    simulator.add_testbench(source)
    simulator.add_testbench(sink)
    simulator.run_until(30 * 20 * (slow + fast))
    assert done
    assert got == sent
