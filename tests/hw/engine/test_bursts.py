# amaranth: UnusedElaboratable=no
"""Results are put together, wait for an idle cycle, and are written in the order in which they came."""

import numpy as np
import pytest
from amaranth.hdl import ResetInserter, Signal

from darb_hw.config import EngineConfig
from darb_hw.engine.bursts import Bursts
from darb_hw.plan.plan import Plan
from tests.hw.amaranth_sim import simulate
from tests.map_networks import residual_network


def plan_of(positions: int, lanes: int) -> Plan:
    config = EngineConfig(lanes, "ice40-up5k", positions=positions, results=1, memory="spram", input="alone")
    return Plan.make(residual_network().network, config)


def drawn(plan: Plan, rng, count: int) -> list[list[tuple[int, int, int]]]:
    """Bursts of (bank, address, value): an address for each pair of banks, some of the banks in any order."""
    banks, bursts = plan.config.banks, []
    for _ in range(count):
        addresses = rng.integers(0, plan.memory_depth, banks // 2)
        chosen = rng.permutation(banks)[: rng.integers(1, banks + 1)]
        bursts.append([(int(bank), int(addresses[bank // 2]), int(rng.integers(-128, 128))) for bank in chosen])
    return bursts


@pytest.mark.parametrize(("positions", "lanes", "queue"), [(8, 8, 2), (4, 8, 6), (2, 2, 2)])
def test_bursts_are_written_in_idle_cycles(positions, lanes, queue):
    plan = plan_of(positions, lanes)
    assert plan.queue == queue
    bursts, rng = Bursts(plan), np.random.default_rng(lanes + positions)
    wanted = drawn(plan, rng, 60)

    async def bench(ctx):
        got, waiting, fullest = [], 0, 0
        to_come = [(*result, result is burst[-1]) for burst in wanted for result in burst]
        for cycle in range(100_000):
            if len(got) == len(wanted):
                break
            idle = bool(rng.random() < (0.15 if cycle < 300 else 0.6))
            # The plan never sends a burst for which there is no room: as many wait as the queue holds, and one is put
            # together meanwhile.
            comes = bool(to_come) and waiting < plan.queue and rng.random() < 0.9
            bank, address, value, ends = to_come.pop(0) if comes else (0, 0, 0, False)
            ctx.set(bursts.write, {"enable": comes, "bank": bank, "address": address, "data": value, "ends": ends})
            ctx.set(bursts.idle, idle)
            enable = ctx.get(bursts.o.enable)
            assert idle or not enable
            if enable:
                got.append(
                    {
                        bank: (ctx.get(bursts.o.address[bank // 2]), ctx.get(bursts.o.data[bank].as_signed()))
                        for bank in range(positions)
                        if enable >> bank & 1
                    }
                )
            waiting += (comes and ends) - bool(enable)
            fullest = max(fullest, waiting)
            await ctx.tick()
        assert got == [{bank: (address, value) for bank, address, value in burst} for burst in wanted]
        assert fullest == plan.queue

    simulate(bursts, bench)


def test_a_burst_is_there_two_cycles_after_its_last_result():
    plan = plan_of(8, 8)
    bursts = Bursts(plan)

    async def bench(ctx):
        ctx.set(bursts.idle, 1)
        seen = []
        for cycle in range(8):
            enable = cycle in (0, 2)
            ctx.set(
                bursts.write, {"enable": enable, "bank": cycle, "address": 3, "data": 7 + cycle, "ends": cycle == 2}
            )
            seen.append(ctx.get(bursts.o.enable))
            await ctx.tick()
        assert seen == [0, 0, 0, 0, 0b101, 0, 0, 0]

    simulate(bursts, bench)


def test_a_reset_forgets_what_waits():
    bursts, reset = Bursts(plan_of(2, 2)), Signal()

    async def bench(ctx):
        for ends in (1, 0):  # a whole burst, and a part of another
            ctx.set(bursts.write, {"enable": 1, "bank": 0, "address": 1, "data": 5, "ends": ends})
            await ctx.tick()
        ctx.set(bursts.write, {"enable": 0, "bank": 0, "address": 0, "data": 0, "ends": 0})
        await ctx.tick()
        ctx.set(reset, 1)
        await ctx.tick()
        ctx.set(reset, 0)
        ctx.set(bursts.idle, 1)
        for _ in range(4):
            assert ctx.get(bursts.o.enable) == 0
            await ctx.tick()
        ctx.set(bursts.write, {"enable": 1, "bank": 1, "address": 1, "data": 6, "ends": 1})
        await ctx.tick()
        ctx.set(bursts.write, {"enable": 0, "bank": 0, "address": 0, "data": 0, "ends": 0})
        await ctx.tick()
        assert ctx.get(bursts.o.enable) == 0b10

    simulate(ResetInserter(reset)(bursts), bench)
