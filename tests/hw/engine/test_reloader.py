"""Another network, byte by byte: every word goes where it belongs, and nothing is exchanged too early or in vain."""

from typing import Any
from zlib import crc32

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from darb_hw.config import EngineConfig
from darb_hw.engine.reloader import Reloader, settling
from darb_hw.plan.plan import Plan
from darb_hw.plan.reload import reload_bytes, reloadable
from tests.hw.amaranth_sim import simulate
from tests.hw.plans import any_network
from tests.networks import random_network

PLAN = Plan.make(random_network(3, sizes=(6, 7, 3)).network, EngineConfig(2, reload=True))
DATA = reload_bytes(PLAN)


class Bench:
    """Sends bytes, and keeps what is written, in the ROMs that are not read."""

    def __init__(self, ctx: Any, reloader: Reloader, seed: int = 0) -> None:
        self.ctx, self.reloader, self.rng, self.plan = ctx, reloader, np.random.default_rng(seed), reloader.plan
        self.roms: list[dict[str, dict[int, int]]] = [{name: {} for name in reloadable(self.plan)} for _ in range(2)]
        self.told: list[str] = []

    @property
    def bank(self) -> int:
        """Which is read; where there is room for one, that is never the one that is written."""
        return 1 if self.plan.config.overwrites else self.ctx.get(self.reloader.writes.bank)

    async def cycle(self) -> bool:
        """A cycle. Gives whether a byte is taken with it."""
        ctx, writes = self.ctx, self.reloader.writes
        enable, data = ctx.get(writes.enable), ctx.get(writes.data)
        for number, name in enumerate(reloadable(self.plan)):
            if enable >> number & 1:
                size = 8 * -(-self.plan.images[name].width // 8)
                word = data >> len(writes.data) - size & (1 << self.plan.images[name].width) - 1
                self.roms[1 - self.bank][name][ctx.get(writes.address)] = word
        taken = ctx.get(self.reloader.i.valid) and ctx.get(self.reloader.i.ready)
        self.told += [flag for flag in ("done", "error") if ctx.get(getattr(self.reloader, flag))]
        await ctx.tick()
        return bool(taken)

    async def send(self, data: bytes, last: bool = True) -> None:
        ctx, i = self.ctx, self.reloader.i
        for position, byte in enumerate(data):
            for _ in range(int(self.rng.integers(0, 3)) * (self.rng.random() < 0.2)):
                await self.cycle()
            ctx.set(i.payload.data, byte)
            ctx.set(i.payload.last, last and position == len(data) - 1)
            ctx.set(i.valid, 1)
            while not await self.cycle():
                pass
            ctx.set(i.valid, 0)

    async def outcome(self, cycles: int = 1000) -> str:
        for _ in range(cycles):
            if self.told:
                return self.told.pop()
            await self.cycle()
        return ""


@given(any_network(), st.integers(1, 9))
def test_results_are_written_by_then(random, lanes):
    plan = Plan.make(random.network, EngineConfig(lanes, reload=True))
    for schedule in plan.subsets.values():
        written = schedule.written + plan.latency.issue + plan.latency.visible
        assert written <= schedule.period + settling(plan)


def run(bench_of, plan: Plan = PLAN) -> None:
    reloader = Reloader(plan)

    async def bench(ctx):
        await bench_of(Bench(ctx, reloader))

    simulate(reloader, bench)


ONE_WORD = Plan.make(random_network(3, sizes=(1, 1)).network, EngineConfig(1, reload=True))


@pytest.mark.parametrize("plan", [PLAN, ONE_WORD], ids=["words", "one word"])
def test_words_are_written_and_then_read(plan):
    assert (max(image.depth for image in plan.images.values()) == 1) == (plan is ONE_WORD)

    async def bench(b):
        for bank in (1, 0):
            await b.send(reload_bytes(plan))
            assert await b.outcome() == "done"
            assert b.bank == bank
            for name, words in b.roms[bank].items():
                assert [words[address] for address in range(len(words))] == plan.images[name].integers()

    run(bench, plan)


@pytest.mark.parametrize(
    "data",
    [
        DATA[:10] + bytes([DATA[10] ^ 4]) + DATA[11:],
        DATA[:-1] + bytes([DATA[-1] ^ 128]),
        DATA[:-1],
        DATA[:1],
        DATA + b"\0",
        DATA + crc32(DATA).to_bytes(4, "little"),
        DATA + DATA,
        b"\0" * len(DATA),
    ],
    ids=["a bit", "a bit of the check sum", "short", "one byte", "long", "long and summed up", "twice", "zeros"],
)
def test_what_is_wrong_changes_nothing(data):
    async def bench(b):
        await b.send(data)
        assert await b.outcome() == "error"
        assert b.bank == 0
        await b.send(DATA)
        assert await b.outcome() == "done"

    run(bench)


def test_an_engine_at_work_is_waited_for():
    async def bench(b):
        ctx, reloader = b.ctx, b.reloader
        ctx.set(reloader.taken, 1)  # a frame begins
        await b.cycle()
        ctx.set(reloader.taken, 0)
        ctx.set(reloader.waits, 1)
        await b.send(DATA)
        assert await b.outcome(50) == ""
        assert not ctx.get(reloader.hold)
        ctx.set(reloader.taken, 1)
        ctx.set(reloader.last, 1)  # and ends
        await b.cycle()
        ctx.set(reloader.taken, 0)
        assert ctx.get(reloader.hold)
        assert await b.outcome(50) == ""
        ctx.set(reloader.running, 1)
        ctx.set(reloader.waits, 0)
        assert await b.outcome(50) == ""
        ctx.set(reloader.running, 0)
        assert await b.outcome(settling(PLAN)) == ""
        assert await b.outcome(4) == "done"
        assert not ctx.get(reloader.hold)

    run(bench)


ONE_NETWORK = Plan.make(random_network(3, sizes=(6, 7, 3)).network, EngineConfig(2, "ice40-up5k", roms="spram"))


def test_where_there_is_room_for_one_it_goes_when_the_engine_rests():
    data = reload_bytes(ONE_NETWORK)

    async def bench(b):
        ctx, reloader = b.ctx, b.reloader
        assert not ctx.get(reloader.present)
        await b.send(data)
        assert await b.outcome() == "done"
        assert ctx.get(reloader.present)
        for name, words in b.roms[0].items():
            assert [words[address] for address in range(len(words))] == ONE_NETWORK.images[name].integers()
        ctx.set(reloader.running, 1)
        ctx.set(reloader.i.valid, 1)  # offered, and not taken
        assert await b.outcome(50) == ""
        assert ctx.get(reloader.hold)
        assert ctx.get(reloader.present)
        ctx.set(reloader.running, 0)
        for _ in range(settling(ONE_NETWORK)):
            assert not await b.cycle()
            assert ctx.get(reloader.present)
        ctx.set(reloader.i.valid, 0)
        await b.send(data[:-1])
        assert not ctx.get(reloader.present)
        assert await b.outcome() == "error"
        assert not ctx.get(reloader.present)
        assert ctx.get(reloader.hold)
        await b.send(data)
        assert await b.outcome() == "done"
        assert ctx.get(reloader.present)
        assert not ctx.get(reloader.hold)

    run(bench, ONE_NETWORK)


def test_networks_one_behind_the_other():
    async def bench(b):
        ctx, i = b.ctx, b.reloader.i
        ctx.set(i.valid, 1)
        position, sent = 0, 0
        while sent < 3:
            ctx.set(i.payload.data, DATA[position])
            ctx.set(i.payload.last, position == len(DATA) - 1)
            if await b.cycle():
                position = (position + 1) % len(DATA)
                sent += not position
        ctx.set(i.valid, 0)
        for _ in range(10):
            await b.cycle()
        assert b.told == ["done", "done", "done"]
        assert b.bank == 1

    run(bench)
