"""Multiply and accumulate, exactly."""

import numpy as np
import pytest

from darb_hw.config import EngineConfig
from darb_hw.engine.lane import Lane
from darb_hw.plan.plan import Plan
from tests.hw.amaranth_sim import simulate
from tests.networks import random_network


def plan_of(device: str = "ecp5-85k", **options) -> Plan:
    return Plan.make(random_network(21, sizes=(40, 9), **options).network, EngineConfig(lanes=2, device=device))


@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize("device", ["ecp5-85k", "ice40-hx8k"])
@pytest.mark.parametrize("weight_bits", [2, 5, 8])
def test_lane_accumulates_exactly(device, weight_bits, gaps):
    """Sums one right behind another, and with idle cycles between and within them."""
    plan = plan_of(device, weight_bits=weight_bits, extreme=True)
    lane = Lane(plan)
    rng = np.random.default_rng(weight_bits)
    low, high = -(1 << weight_bits - 1), (1 << weight_bits - 1) - 1
    sums = [
        [(int(rng.choice([-128, 127])), int(rng.choice([low, high]))) for _ in range(length)]
        for length in (1, 7, 2, 12, 40)
    ]
    steps = []  # factors, whether they count, whether the sum begins, which sum it is if that ends
    for sum_number, pairs in enumerate(sums):
        for position, pair in enumerate(pairs):
            if gaps and rng.random() < 0.4:
                steps.append(((77, low), False, bool(rng.integers(0, 2)), None))
            steps.append((pair, True, position == 0, sum_number if position == len(pairs) - 1 else None))
    assert all(-(1 << plan.widths.accumulator - 1) <= Lane.model(pairs) for pairs in sums)

    async def bench(ctx):
        got = {}
        for cycle in range(len(steps) + lane.latency):
            if cycle < len(steps):
                (activation, weight), *_ = steps[cycle]
                ctx.set(lane.activation, activation)
                ctx.set(lane.weight, weight)
            late = cycle - (lane.latency - 1)
            there = 0 <= late < len(steps)
            ctx.set(lane.enable, int(there and steps[late][1]))
            ctx.set(lane.clear, int(there and steps[late][2]))
            await ctx.tick()
            if there and steps[late][3] is not None:
                got[steps[late][3]] = ctx.get(lane.accumulator)
        assert got == {sum_number: Lane.model(pairs) for sum_number, pairs in enumerate(sums)}

    simulate(lane, bench)


def test_the_sum_stays_while_nothing_is_added():
    """Not even ``clear`` counts without ``enable``."""
    lane = Lane(plan_of())

    async def bench(ctx):
        ctx.set(lane.activation, 100)
        ctx.set(lane.weight, -3)
        for _ in range(lane.latency - 1):
            await ctx.tick()
        ctx.set(lane.enable, 1)
        ctx.set(lane.clear, 1)
        await ctx.tick()
        ctx.set(lane.enable, 0)
        for _ in range(4):
            assert ctx.get(lane.accumulator) == -300
            await ctx.tick()

    simulate(lane, bench)
