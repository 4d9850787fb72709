import numpy as np
import pytest
from hw.amaranth_sim import simulate
from networks import random_network

from darb_hw.config import EngineConfig
from darb_hw.drain import Drain
from darb_hw.plan import Plan
from darb_hw.sequencer import context_layout


def plan_of(kind, lanes):
    if kind == "chain":
        return Plan.make(random_network(31, sizes=(20, 20)).network, EngineConfig(lanes=lanes))
    plan = Plan.make(random_network(3, "convolution").network, EngineConfig(lanes=lanes))
    assert set(context_layout(plan).members) == {"rows", "again", "write", "aux", "maximum"}
    return plan


@pytest.mark.parametrize("kind", ["chain", "convolution"])
@pytest.mark.parametrize("lanes", [1, 5, 16])
def test_rows_leave_in_order_while_the_next_group_runs(lanes, kind):
    plan = plan_of(kind, lanes)
    drain = Drain(plan)
    rng = np.random.default_rng(lanes)
    limit = 1 << plan.widths.accumulator - 1
    members = context_layout(plan).members
    contexts = [{name: int(rng.integers(0, 1 << width)) for name, width in members.items()} for _ in range(12)]
    groups = [([int(v) for v in rng.integers(-limit, limit, lanes)], int(rng.integers(1, lanes + 1))) for _ in contexts]

    async def bench(ctx):
        got, expected, cycle = [], [], 0
        for (values, rows), context in zip(groups, contexts, strict=True):
            context["rows"] = rows
            for lane, value in enumerate(values):
                ctx.set(drain.accumulators[lane], value)
            ctx.set(drain.capture, 1)
            ctx.set(drain.context, context)
            await ctx.tick()
            cycle += 1
            ctx.set(drain.capture, 0)
            # The accumulators and the context change at once: the shadow row must not.
            for lane in range(lanes):
                ctx.set(drain.accumulators[lane], 0)
            ctx.set(drain.context, dict.fromkeys(members, 0))
            expected += [(cycle + number, v) for number, v in enumerate(Drain.model(values, rows))]
            # The earliest next capture is in the cycle of the last row.
            for step in range(rows):
                assert ctx.get(drain.valid)
                assert ctx.get(drain.opening) == (step == 0)
                assert {name: ctx.get(drain.passing[name]) for name in members} == context
                got.append((cycle, ctx.get(drain.value)))
                if step < rows - 1:
                    await ctx.tick()
                    cycle += 1
        assert got == expected
        await ctx.tick()
        assert not ctx.get(drain.valid)
        assert not ctx.get(drain.opening)

    simulate(drain, bench)
