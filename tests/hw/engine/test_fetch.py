# amaranth: UnusedElaboratable=no
"""Where a lane reads: base and index, in a memory of its own or in half of one that two share."""

import numpy as np
import pytest

from darb_hw.config import EngineConfig
from darb_hw.engine.fetch import Fetch
from darb_hw.plan.plan import Plan
from darb_prune.encoded import Level
from tests.hw.amaranth_sim import simulate
from tests.hw.small import layer, network, tensor
from tests.networks import random_network


def plan_of(memory: str = "private", size: int = 40, bits: int = 3) -> Plan:
    """Blocks of ``2**bits`` elements."""
    tensors = [tensor("x", size), tensor("y", 9)]
    made = network(tensors, [layer("a", "y", [("x", 0, size)], 9, (Level(bits, 1),))])
    return Plan.make(made, EngineConfig(lanes=2, memory=memory))


def whole(plan: Plan, aligned: bool, count: int, rng) -> list[tuple[int, list[int]]]:
    """Base and an index for each port; with ``aligned`` no one of them in the same place."""
    ports, bits, depth = Fetch.lanes_of(plan), plan.widths.index, plan.memory_depth
    bases = rng.integers(0, depth, count) >> bits * aligned << bits * aligned
    return [(int(base), rng.integers(0, min(1 << bits, depth - base), ports).tolist()) for base in bases]


async def fill(ctx, fetch, memory):
    for address, value in enumerate(memory):
        ctx.set(fetch.write.enable, 1)
        ctx.set(fetch.write.address, address)
        ctx.set(fetch.write.data, value)
        await ctx.tick()
    ctx.set(fetch.write.enable, 0)
    await ctx.tick()


def drawn(plan: Plan, rng) -> list[int]:
    return [int(value) for value in rng.integers(-128, 128, plan.memory_depth)]


def check(plan: Plan, aligned: bool) -> None:
    fetch, rng = Fetch(plan), np.random.default_rng(plan.memory_depth)
    memory, reads = drawn(plan, rng), whole(plan, aligned, 80, rng)
    assert any(index for _, indices in reads for index in indices)

    async def bench(ctx):
        await fill(ctx, fetch, memory)
        got = []
        for base, indices in reads + [(0, [0] * len(reads[0][1]))] * fetch.latency:
            ctx.set(fetch.base, base)
            for port, index in enumerate(indices):
                ctx.set(fetch.index[port], index)
            await ctx.tick()
            got.append([ctx.get(fetch.activation[port]) for port in range(len(indices))])
        expected = [[Fetch.model(memory, base, index) for index in indices] for base, indices in reads]
        assert got[fetch.latency - 1 :][: len(reads)] == expected

    simulate(fetch, bench)


@pytest.mark.parametrize("memory", ["private", "shared"])
@pytest.mark.parametrize("size", [40, 64, 5])
def test_aligned_blocks(memory, size):
    plan = plan_of(memory, size)
    assert plan.disjoint
    check(plan, aligned=True)


@pytest.mark.parametrize("memory", ["private", "shared"])
def test_blocks_anywhere(memory):
    """A plan whose blocks stand anywhere: base and index are added."""
    for seed in range(20):
        plan = Plan.make(random_network(seed, "convolution").network, EngineConfig(lanes=2, memory=memory))
        if not plan.disjoint:
            break
    assert not plan.disjoint
    check(plan, aligned=False)


def test_two_lanes_share_a_memory():
    assert Fetch.lanes_of(plan_of("private")) == 1
    assert Fetch.lanes_of(plan_of("shared")) == 2
    assert Fetch(plan_of("shared")).latency == Fetch(plan_of("private")).latency


@pytest.mark.parametrize("memory", ["private", "shared"])
def test_what_is_written_is_visible_when_the_plan_says(memory):
    """Read in every cycle while it is written: the old value up to a cycle, the new one from then on. The tree of
    registers before the write port is not here, so ``spread`` cycles less."""
    plan = plan_of(memory)
    fetch, port = Fetch(plan), Fetch.lanes_of(plan) - 1  # of two lanes the one that does not write
    visible = plan.latency.visible - plan.latency.spread

    async def bench(ctx):
        await fill(ctx, fetch, [7] * plan.memory_depth)
        ctx.set(fetch.base, 8)
        ctx.set(fetch.index[port], 3)
        for _ in range(fetch.latency + 2):
            await ctx.tick()
        ctx.set(fetch.write.enable, 1)
        ctx.set(fetch.write.address, 11)
        ctx.set(fetch.write.data, -9)
        got = []
        for _ in range(visible + fetch.latency + 3):
            await ctx.tick()
            ctx.set(fetch.write.enable, 0)
            got.append(ctx.get(fetch.activation[port]))
        # In the cycle ``visible`` after the write the address may be that one.
        first = visible + plan.latency.activation - 1
        assert got == [7] * first + [-9] * (len(got) - first)

    simulate(fetch, bench)


def test_nothing_else_is_written_by_a_shared_memory():
    """Both lanes read while nothing is written; a write goes to its own address, whatever the lanes ask for."""
    plan = plan_of("shared")
    fetch, rng = Fetch(plan), np.random.default_rng(4)
    memory = drawn(plan, rng)

    async def bench(ctx):
        await fill(ctx, fetch, memory)
        for _ in range(40):
            address, value = int(rng.integers(0, plan.memory_depth)), int(rng.integers(-128, 128))
            memory[address] = value
            ctx.set(fetch.base, int(rng.integers(0, 4)) * 8)
            for port in range(2):
                ctx.set(fetch.index[port], int(rng.integers(0, 8)))
            ctx.set(fetch.write.enable, 1)
            ctx.set(fetch.write.address, address)
            ctx.set(fetch.write.data, value)
            await ctx.tick()
            ctx.set(fetch.write.enable, 0)
            if rng.random() < 0.5:
                await ctx.tick()
        for _ in range(2):
            await ctx.tick()
        for address in range(plan.memory_depth):
            ctx.set(fetch.base, address & ~7)
            for port in range(2):
                ctx.set(fetch.index[port], address & 7)
            for _ in range(fetch.latency):
                await ctx.tick()
            assert [ctx.get(fetch.activation[port]) for port in range(2)] == [memory[address]] * 2

    simulate(fetch, bench)
