"""The shadow row against its model: order, cycles, context, and what changes around it in the meantime."""

from dataclasses import replace

import numpy as np
import pytest
from amaranth.hdl import ResetInserter, Signal
from hw.amaranth_sim import simulate
from networks import random_network

from darb_hw.config import EngineConfig
from darb_hw.drain import Drain
from darb_hw.plan import Plan
from darb_hw.sequencer import context_layout


def plan_of(kind, lanes, folds=0):
    if kind == "chain":
        plan = Plan.make(random_network(31, sizes=(20, 20)).network, EngineConfig(lanes=lanes))
        return replace(plan, latency=replace(plan.latency, folds=folds))
    plan = Plan.make(random_network(3, "convolution").network, EngineConfig(lanes=lanes))
    assert set(context_layout(plan).members) == {"rows", "row", "again", "write", "aux", "maximum"}
    return plan


def check(plan, groups):
    """Groups of (accumulators, context), back to back: the earliest next capture loads in the cycle of the last row."""
    drain = Drain(plan)
    members = context_layout(plan).members
    expected, start = [], drain.latency + 1
    for accumulators, context in groups:
        lanes = 1 << context.get("fold", 0)
        for number, value in enumerate(Drain.model(accumulators, context["rows"], context.get("fold", 0))):
            passing = context | {"row": context["row"] + number & (1 << members["row"]) - 1}
            expected.append((start + lanes * (number + 1) - 1, value, passing))
        start += lanes * context["rows"]

    async def bench(ctx):
        got, waiting = [], list(groups)
        left = loads = 0  # cycles until a capture may come; whether this is the cycle of the accumulators
        for cycle in range(1, start + 6):
            ctx.set(drain.capture, not left and bool(waiting))
            # Accumulators and context are only there for a cycle.
            values, context = loads or ([~lane for lane in range(plan.config.lanes)], dict.fromkeys(members, 1))
            for lane, value in enumerate(values):
                ctx.set(drain.accumulators[lane], value)
            ctx.set(drain.context, {name: context[name] for name in members})
            loads = None
            if not left and waiting:
                loads = waiting.pop(0)
                left = loads[1]["rows"] << loads[1].get("fold", 0)
            left = max(left - 1, 0)
            await ctx.tick()
            if ctx.get(drain.valid):
                passing = {name: ctx.get(drain.passing[name]) for name in members} | {"row": ctx.get(drain.row)}
                got.append((cycle, ctx.get(drain.value), passing))
        assert got == expected

    simulate(drain, bench)


def random_groups(plan, rng, count):
    bits, members = plan.widths.accumulator - plan.folds, context_layout(plan).members
    for _ in range(count):
        fold = int(rng.integers(0, plan.folds + 1))
        context = {name: int(rng.integers(0, 1 << width)) for name, width in members.items()}
        context["rows"] = int(rng.integers(1, (plan.config.lanes >> fold) + 1))
        if plan.folds:
            context["fold"] = fold
        yield rng.integers(-(1 << bits - 1), 1 << bits - 1, plan.config.lanes).tolist(), context


@pytest.mark.parametrize("kind", ["chain", "convolution"])
@pytest.mark.parametrize("lanes", [1, 5, 16])
def test_rows_leave_in_order_while_the_next_group_runs(lanes, kind):
    plan = plan_of(kind, lanes)
    check(plan, list(random_groups(plan, np.random.default_rng(lanes), 12)))


@pytest.mark.parametrize(("lanes", "folds"), [(2, 1), (6, 1), (8, 3), (13, 2), (16, 4)])
def test_lanes_that_share_a_row_are_summed(lanes, folds):
    """Folded groups and others in turn, each with sums at the ends of the accumulator."""
    plan = plan_of("chain", lanes, folds)
    groups = list(random_groups(plan, np.random.default_rng(lanes), 12))
    least = -(1 << plan.widths.accumulator - folds - 1)
    groups.append(([least] * lanes, groups[-1][1] | {"fold": folds, "rows": lanes >> folds}))
    check(plan, groups)


def test_nothing_leaves_after_a_reset():
    """In whatever cycle it comes; the group after it is whole."""
    plan = plan_of("chain", 4, 1)
    drain, reset = Drain(plan), Signal()

    async def bench(ctx):
        for wait in range(8):
            ctx.set(drain.capture, 1)
            ctx.set(drain.context, {"rows": 2, "row": 3, "fold": 1})
            await ctx.tick()
            ctx.set(drain.capture, 0)
            for lane in range(4):
                ctx.set(drain.accumulators[lane], 10 + lane)
            for _ in range(wait):
                await ctx.tick()
            ctx.set(reset, 1)
            await ctx.tick()
            ctx.set(reset, 0)
            for _ in range(8):
                assert not ctx.get(drain.valid)
                await ctx.tick()
            ctx.set(drain.capture, 1)
            await ctx.tick()
            ctx.set(drain.capture, 0)
            got = []
            for _ in range(10):
                await ctx.tick()
                if ctx.get(drain.valid):
                    got.append(ctx.get(drain.value))
            assert got == [21, 25]

    simulate(ResetInserter(reset)(drain), bench)
