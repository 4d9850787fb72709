# amaranth: UnusedElaboratable=no
"""The SPI slave with a master, as fast as it may be and slower: bytes both ways at once."""

import numpy as np
import pytest
from amaranth.hdl import ResetInserter, Signal
from amaranth.sim import Simulator

from darb_hw.link.spi import SpiSlave
from sim.packets import ReferencePacket, Unpacker, pack
from tests.hw.amaranth_sim import PERIOD


class Master:
    """Mode 0: data changes at falling edges and is read at rising ones.

    ``half``: half a period, in cycles of the slave. ``gaps``: how likely the slave has nothing to say in a cycle.
    """

    def __init__(self, half: float, gaps: float = 0.0) -> None:
        self.slave, self.half, self.gaps = SpiSlave(), half, gaps
        self.rng, self.reset = np.random.default_rng(5), Signal()
        self.says, self.came = [], []

    def run(self, bench) -> None:
        """Both sides, until ``bench`` has ended."""
        simulator, ended = Simulator(ResetInserter(self.reset)(self.slave)), []

        async def master(ctx):
            await bench(ctx)
            ended.append(True)

        async def link(ctx):
            slave, valid = self.slave, False
            while True:
                valid = bool(self.says) and (valid or self.rng.random() >= self.gaps)
                ctx.set(slave.i.valid, valid)
                ctx.set(slave.i.payload, self.says[0] if valid else 0)
                taken, (came, data, bad) = (
                    ctx.get(slave.i.ready),
                    (ctx.get(value) for value in (slave.o.valid, slave.o.data, slave.o.bad)),
                )
                assert not bad
                if came:
                    self.came.append(data)
                if valid and taken:
                    self.says.pop(0)
                    valid = False
                await ctx.tick()

        simulator.add_clock(PERIOD)
        simulator.add_testbench(master)
        simulator.add_testbench(link, background=True)
        simulator.run()
        assert ended

    async def wait(self, ctx, cycles: float) -> None:
        await ctx.delay(cycles * PERIOD)

    async def bits(self, ctx, byte: int, count: int = 8) -> int:
        back = 0
        for position in range(7, 7 - count, -1):
            ctx.set(self.slave.copi, (byte >> position) & 1)
            await self.wait(ctx, self.half)
            back = (back << 1) | ctx.get(self.slave.cipo)
            ctx.set(self.slave.sck, 1)
            await self.wait(ctx, self.half)
            ctx.set(self.slave.sck, 0)
        return back

    async def exchange(self, ctx, sent, cut: int = 8) -> bytes:
        """Select, bytes, deselect. Gives what came back. Of the last byte there are ``cut`` bits."""
        ctx.set(self.slave.cs, 1)
        await self.wait(ctx, self.half)
        got = [await self.bits(ctx, byte, cut if place == len(sent) - 1 else 8) for place, byte in enumerate(sent)]
        ctx.set(self.slave.cs, 0)
        await self.wait(ctx, self.half + 5 + self.rng.random())
        return bytes(got)


@pytest.mark.parametrize(("half", "gaps"), [(0.5, 0.0), (0.5, 0.9), (0.77, 0.9), (4.0, 0.0), (4.0, 0.99)])
def test_bytes_go_both_ways(half, gaps):
    """What the slave says comes whole, however it comes by it and whenever it is asked; so does what it hears."""
    master = Master(half, gaps)
    packets = [ReferencePacket(0x82, number, bytes([0xC0, 0xDB, 0xDE, number])) for number in range(4)]
    master.says = list(b"".join(pack(packet.body) for packet in packets))

    async def bench(ctx):
        sent, heard = b"", b""
        await master.wait(ctx, 20)
        while master.says or len(heard) < 70:
            data = master.rng.integers(0, 256, int(master.rng.integers(1, 20)), np.uint8).tobytes()
            heard += await master.exchange(ctx, data)
            sent += data
        heard += await master.exchange(ctx, bytes(3))
        assert bytes(master.came) == sent + bytes(3)
        assert list(Unpacker().take(heard)) == packets
        assert (b"\xdb\xde" in heard) == (gaps > 0)

    master.run(bench)


@pytest.mark.parametrize("bits", range(1, 8))
def test_a_byte_that_is_cut_off_is_none(bits):
    """Deselected in the middle of a byte: the next one begins anew, both ways."""
    master = Master(0.6)

    async def bench(ctx):
        await master.exchange(ctx, b"\x77\x99", bits)
        assert set(await master.exchange(ctx, b"\x5a\xa5")) == {0xC0}
        assert master.came == [0x77, 0x5A, 0xA5]

    master.run(bench)


def test_what_others_are_told_is_not_heard():
    """The clock of a bus runs for other slaves too."""
    master = Master(0.5)

    async def bench(ctx):
        for _ in range(3):
            await master.bits(ctx, 0x12)
        await master.wait(ctx, 9)
        await master.exchange(ctx, b"\x34")
        assert master.came == [0x34]

    master.run(bench)


def test_a_reset_is_no_byte():
    master = Master(0.5)

    async def bench(ctx):
        await master.exchange(ctx, b"\x01")
        ctx.set(master.reset, 1)
        await master.wait(ctx, 9)
        ctx.set(master.reset, 0)
        await master.wait(ctx, 9)
        assert await master.exchange(ctx, b"\x02\x03") == b"\xc0\xc0"
        assert master.came == [1, 2, 3]

    master.run(bench)
