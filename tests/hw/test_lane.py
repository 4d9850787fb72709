import numpy as np
import pytest
from hw.amaranth_sim import simulate
from networks import random_network

from darb_hw.config import EngineConfig
from darb_hw.fetch import Fetch
from darb_hw.lane import Lane
from darb_hw.plan import Plan


def plan_of(device: str = "ecp5-85k", **options) -> Plan:
    return Plan.make(random_network(21, sizes=(40, 9), **options).network, EngineConfig(lanes=2, device=device))


async def fill(ctx, component, memory):
    for address, value in enumerate(memory):
        ctx.set(component.write.enable, 1)
        ctx.set(component.write.address, address)
        ctx.set(component.write.data, value)
        await ctx.tick()
    ctx.set(component.write.enable, 0)
    await ctx.tick()


def test_fetch_adds_base_and_index():
    plan = plan_of()
    fetch = Fetch(plan)
    rng = np.random.default_rng(0)
    memory = [int(v) for v in rng.integers(-128, 128, plan.memory_depth)]
    reads = [
        (base, int(rng.integers(0, min(1 << plan.widths.index, 40 - base))))
        for base in rng.integers(0, 40, 50).tolist()
    ]

    async def bench(ctx):
        await fill(ctx, fetch, memory)
        got = []
        for base, index in reads + [(0, 0)] * fetch.latency:
            ctx.set(fetch.base, base)
            ctx.set(fetch.index, index)
            await ctx.tick()
            got.append(ctx.get(fetch.activation))
        expected = [Fetch.model(memory, base, index) for base, index in reads]
        assert got[fetch.latency - 1 :][: len(reads)] == expected

    simulate(fetch, bench)


@pytest.mark.parametrize("device", ["ecp5-85k", "ice40-hx8k"])
@pytest.mark.parametrize("weight_bits", [2, 5, 8])
def test_lane_accumulates_exactly(device, weight_bits):
    plan = plan_of(device, weight_bits=weight_bits, extreme=True)
    lane = Lane(plan)
    rng = np.random.default_rng(weight_bits)
    low, high = -(1 << weight_bits - 1), (1 << weight_bits - 1) - 1
    memory = [int(v) for v in rng.choice([-128, 127], plan.memory_depth)]
    sums = [
        [(8 * int(rng.integers(0, 4)), int(rng.integers(0, 8)), int(rng.choice([low, high]))) for _ in range(length)]
        for length in (1, 7, 2, 12)
    ]

    async def bench(ctx):
        await fill(ctx, lane, memory)
        codes = [(code, number == 0) for group in sums for number, code in enumerate(group)]
        ends = np.cumsum([len(group) for group in sums]) - 1
        got = []
        for cycle in range(len(codes) + lane.latency):
            if cycle < len(codes):
                (base, index, weight), _ = codes[cycle]
                ctx.set(lane.base, base)
                ctx.set(lane.code.index, index)
                ctx.set(lane.code.weight, weight)
            late = cycle - (lane.latency - 1)
            ctx.set(lane.enable, int(0 <= late < len(codes)))
            ctx.set(lane.clear, int(0 <= late < len(codes) and codes[late][1]))
            await ctx.tick()
            got.append(ctx.get(lane.accumulator))
        for end, group in zip(ends, sums, strict=True):
            assert got[end + lane.latency - 1] == Lane.model(memory, group)

    simulate(lane, bench)
