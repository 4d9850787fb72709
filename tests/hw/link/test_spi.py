"""The SPI slave with a master, as slow as it may be and slower: bytes both ways at once."""

import numpy as np
import pytest

from darb_hw.link.spi import SpiSlave
from tests.hw.amaranth_sim import simulate


class Master:
    """Mode 0: data changes at falling edges and is read at rising ones. ``phase``: cycles of half a period."""

    def __init__(self, slave: SpiSlave, phase: int) -> None:
        self.slave, self.phase = slave, phase
        self.came: list[int] = []
        self.says: list[int] = []

    async def wait(self, ctx, cycles: int) -> None:
        for _ in range(cycles):
            ctx.set(self.slave.i.valid, bool(self.says))
            ctx.set(self.slave.i.payload, self.says[0] if self.says else 0)
            if self.says and ctx.get(self.slave.i.ready):
                self.says.pop(0)
            if ctx.get(self.slave.o.valid):
                assert not ctx.get(self.slave.o.bad)
                self.came.append(ctx.get(self.slave.o.data))
            await ctx.tick()

    async def exchange(self, ctx, sent: list[int]) -> list[int]:
        """Select, bytes, deselect. Gives what came back."""
        got = []
        ctx.set(self.slave.cs_n, 0)
        await self.wait(ctx, 2 * self.phase)
        for byte in sent:
            back = 0
            for position in range(7, -1, -1):
                ctx.set(self.slave.copi, (byte >> position) & 1)
                await self.wait(ctx, self.phase)
                back = (back << 1) | ctx.get(self.slave.cipo)
                ctx.set(self.slave.sck, 1)
                await self.wait(ctx, self.phase)
                ctx.set(self.slave.sck, 0)
            got.append(back)
        await self.wait(ctx, self.phase)
        ctx.set(self.slave.cs_n, 1)
        await self.wait(ctx, 2 * self.phase)
        return got


@pytest.mark.parametrize("phase", [4, 5, 11])
@pytest.mark.parametrize("lengths", [[1] * 6, [3, 1, 8], [20]])
def test_bytes_go_both_ways(phase, lengths):
    """What the slave says comes in order, whole, with marks where it says nothing."""
    slave, rng = SpiSlave(), np.random.default_rng(phase)

    async def bench(ctx):
        master, sent, heard = Master(slave, phase), [], []
        ctx.set(slave.cs_n, 1)
        await master.wait(ctx, 5)
        said = [int(byte) for byte in rng.integers(0, 0xC0, sum(lengths) // 2)]
        master.says = list(said)
        for length in lengths:
            data = [int(byte) for byte in rng.integers(0, 256, length)]
            heard += await master.exchange(ctx, data)
            sent += data
        assert master.came == sent
        assert [byte for byte in heard if byte != 0xC0] == said
        assert len(heard) == len(sent)

    simulate(slave, bench)


def test_a_byte_that_is_cut_off_is_none():
    """Deselected in the middle of a byte: the next one begins anew."""
    slave = SpiSlave()

    async def bench(ctx):
        master = Master(slave, 5)
        ctx.set(slave.cs_n, 0)
        await master.wait(ctx, 10)
        for _ in range(5):
            ctx.set(slave.sck, 1)
            await master.wait(ctx, 5)
            ctx.set(slave.sck, 0)
            await master.wait(ctx, 5)
        ctx.set(slave.cs_n, 1)
        await master.wait(ctx, 10)
        await master.exchange(ctx, [0x5A, 0xA5])
        assert master.came == [0x5A, 0xA5]

    simulate(slave, bench)
