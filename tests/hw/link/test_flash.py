"""The reader of the flash memory, against a memory made of a few lines."""

import numpy as np

from darb_hw.link.flash import PLACE, FlashReader
from tests.hw.amaranth_sim import simulate


class Memory:
    """What is heard while it is selected, bit by bit; it gives bits behind 32 of them."""

    def __init__(self, data: bytes) -> None:
        self.data, self.heard, self.commands, self.high, self.selected = data, [], [], 0, 0

    def tick(self, ctx, reader: FlashReader) -> None:
        selected, high = ctx.get(reader.cs), ctx.get(reader.sck)
        if selected and high and not self.high:
            self.heard.append(ctx.get(reader.copi))
        elif selected and self.high and not high and len(self.heard) >= 32:
            place, bit = divmod(len(self.heard) - 32, 8)
            ctx.set(reader.cipo, self.data[place] >> (7 - bit) & 1 if place < len(self.data) else 1)
        if self.selected and not selected:
            self.commands.append(self.heard)
            self.heard = []
        self.high, self.selected = high, selected


def number(bits: list[int]) -> int:
    return int("".join(map(str, bits)), 2)


def test_all_bytes_come_once():
    """It wakes the memory, waits for it, and reads one after another, whenever they are taken."""
    data = np.random.default_rng(0).integers(0, 256, 23).astype(np.uint8).tobytes()
    reader, memory, rng = FlashReader(23, 1e6), Memory(data), np.random.default_rng(1)
    came, between = [], []

    async def bench(ctx):
        for _ in range(3000):
            memory.tick(ctx, reader)
            ready = int(rng.integers(0, 4) == 0)
            ctx.set(reader.o.ready, ready)
            if ready and ctx.get(reader.o.valid):
                assert ctx.get(reader.o.payload.offset) == 0
                came.append((ctx.get(reader.o.payload.data), ctx.get(reader.o.payload.last)))
            if len(memory.commands) == 1 and not memory.heard:
                between.append(1)
            await ctx.tick()

    simulate(reader, bench, 4000)
    assert came == [(byte, int(place == 22)) for place, byte in enumerate(data)]
    woken, read = memory.commands
    assert number(woken) == 0xAB
    assert len(between) > 30  # microseconds at this clock
    assert (number(read[:8]), number(read[8:32])) == (0x03, PLACE)
    assert len(read) == 32 + 8 * 23
