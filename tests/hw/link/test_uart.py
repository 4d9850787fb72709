# amaranth: UnusedElaboratable=no
"""The UART against bits, at clocks that are not those of the other side."""

import pytest
from amaranth.hdl import Module
from amaranth.lib.wiring import Component, Out

from darb_hw.link.line import received_byte
from darb_hw.link.uart import UartReceiver, UartTransmitter
from tests.hw.amaranth_sim import simulate

BYTES = [0x00, 0xFF, 0x55, 0xAA, 0xC0, 0xDB, 0x01, 0x80]


def bits_of(byte: int, stop: int = 1) -> list[int]:
    return [0, *((byte >> position) & 1 for position in range(8)), stop]


@pytest.mark.parametrize(("divisor", "drift"), [(4, 0), (5, 0), *((n, d) for n in (8, 16, 217) for d in (-0.03, 0.03))])
def test_bytes_come_out_of_bits(divisor, drift):
    """Back to back, from a sender whose clock is 3 % off; one byte without its stop bit is bad."""
    receiver = UartReceiver(divisor)
    sent = [bit for byte in BYTES for bit in bits_of(byte)] + bits_of(0x5A, 0) + [1] * 12 + bits_of(0x33) + [1] * 12

    async def bench(ctx):
        got = []
        for cycle in range(int(len(sent) * divisor * (1 + drift))):
            ctx.set(receiver.rx, sent[min(int(cycle / divisor / (1 + drift)), len(sent) - 1)])
            if ctx.get(receiver.o.valid):
                got.append((ctx.get(receiver.o.data), ctx.get(receiver.o.bad)))
            await ctx.tick()
        # A stop bit that is missing is the beginning of another byte, as far as anyone can tell.
        assert got[: len(BYTES) + 1] == [(byte, 0) for byte in BYTES] + [(0x5A, 1)]
        assert got[-1] == (0x33, 0)

    simulate(receiver, bench, len(sent) * divisor * 2)


def test_a_spike_is_no_byte():
    receiver = UartReceiver(16)

    async def bench(ctx):
        for cycle in range(400):
            ctx.set(receiver.rx, not 20 <= cycle < 25)
            assert not ctx.get(receiver.o.valid)
            await ctx.tick()

    simulate(receiver, bench)


class Both(Component):
    """A transmitter whose line goes to a receiver."""

    o: Out(received_byte)

    def __init__(self, divisor: int) -> None:
        self.transmitter, self.receiver = UartTransmitter(divisor), UartReceiver(divisor)
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.submodules.transmitter, m.submodules.receiver = self.transmitter, self.receiver
        m.d.comb += self.receiver.rx.eq(self.transmitter.tx)
        m.d.comb += self.o.eq(self.receiver.o)
        return m


@pytest.mark.parametrize("divisor", [4, 7, 30])
@pytest.mark.parametrize("pause", [0, 50])
def test_what_is_sent_arrives(divisor, pause):
    both = Both(divisor)
    expected = BYTES * 2

    async def bench(ctx):
        got, left, wait = [], list(expected), 0
        while len(got) < len(expected):
            ctx.set(both.transmitter.i.valid, bool(left) and wait == 0)
            ctx.set(both.transmitter.i.payload, left[0] if left else 0)
            if left and wait == 0 and ctx.get(both.transmitter.i.ready):
                left.pop(0)
                wait = pause
            wait = max(wait - 1, 0)
            if ctx.get(both.o.valid):
                assert not ctx.get(both.o.bad)
                got.append(ctx.get(both.o.data))
            await ctx.tick()
        assert got == expected

    simulate(both, bench, len(expected) * (divisor * 11 + pause) * 2)


def test_a_bit_of_three_cycles_is_refused():
    with pytest.raises(ValueError, match="at least 4"):
        UartReceiver(3)
