"""The shadow row against its model: order, cycles, context, and what changes around it in the meantime."""

from dataclasses import replace

import numpy as np
import pytest

from darb_hw.config import EngineConfig
from darb_hw.engine.drain import Drain
from darb_hw.engine.step import context_layout
from darb_hw.plan.plan import Plan
from tests.hw.amaranth_sim import simulate
from tests.hw.engine.resets import groups_behind_resets
from tests.networks import random_network


def plan_of(kind, lanes, folds=0, held=0):
    if kind == "chain":
        plan = Plan.make(random_network(31, sizes=(20, 20)).network, EngineConfig(lanes=lanes))
        return replace(plan, latency=replace(plan.latency, folds=folds, held=held))
    plan = Plan.make(random_network(3, "convolution").network, EngineConfig(lanes=lanes))
    plan = replace(plan, latency=replace(plan.latency, held=held))
    folded = {"fold"} if plan.folds else set()
    assert set(context_layout(plan).members) == {"rows", "row", "write", "aux", "maximum"} | folded
    return plan


def check(plan, groups, pauses=()):
    """Groups of (accumulators, context), back to back: the earliest next capture is in the cycle of the last row of the
    group before, or, where groups are held, in the cycle in which one of them has left its holding row. Then pauses."""
    drain = Drain(plan)
    members, early = context_layout(plan).members, plan.latency.early
    expected, captures = [], {}
    # The shadow row is free from ``free`` on, if a group captured in cycle 0 begins to leave in 0.
    capture = free = 0
    begun = []
    pauses = [*pauses, *[0] * len(groups)]
    for (accumulators, context), pause in zip(groups, pauses, strict=False):
        lanes = 1 << context.get("fold", 0)
        held = plan.latency.held
        full = 0 if held else free  # until when there is no room
        if 0 < held <= len(begun):
            full = begun[-held] + held
        capture = max(capture + 1 if begun else 0, full) + pause
        begun.append(max(capture, free))
        free = begun[-1] + lanes * context["rows"]
        captures[capture] = accumulators, context
        for row, value in enumerate(Drain.model(accumulators, context["rows"], context.get("fold", 0))):
            passing = context | {"row": context["row"] + row & (1 << members["row"]) - 1}
            expected.append((begun[-1] + 1 + early + drain.latency + lanes * (row + 1) - 1, value, passing))

    async def bench(ctx):
        got, row_numbers = [], []
        for cycle in range(free + drain.latency + early + 8):
            ctx.set(drain.capture, cycle in captures)
            # Context and accumulators are only there for a cycle.
            _, context = captures.get(cycle, (None, dict.fromkeys(members, 1)))
            values, _ = captures.get(cycle - 1 - early, ([~lane for lane in range(plan.config.lanes)], None))
            for lane, value in enumerate(values):
                ctx.set(drain.accumulators[lane], value)
            ctx.set(drain.context, {name: context[name] for name in members})
            row_numbers.append(ctx.get(drain.row))
            if ctx.get(drain.valid):
                passing = {name: ctx.get(drain.passing[name]) for name in members} | {"row": row_numbers[-1 - early]}
                got.append((cycle, ctx.get(drain.value), passing))
            await ctx.tick()
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
@pytest.mark.parametrize("held", [0, 1, 2])
def test_rows_leave_in_order_while_the_next_group_runs(lanes, kind, held):
    plan, rng = plan_of(kind, lanes, held=held), np.random.default_rng(lanes)
    check(plan, list(random_groups(plan, rng, 12)))
    check(plan, list(random_groups(plan, rng, 12)), rng.integers(0, 2 * lanes + 2, 12).tolist())


@pytest.mark.parametrize(("lanes", "folds"), [(2, 1), (6, 1), (8, 3), (13, 2), (16, 4)])
@pytest.mark.parametrize("held", [0, 1, 2])
def test_lanes_that_share_a_row_are_summed(lanes, folds, held):
    """Folded groups and others in turn, each with sums at the ends of the accumulator."""
    plan, rng = plan_of("chain", lanes, folds, held), np.random.default_rng(lanes)
    groups = list(random_groups(plan, rng, 12))
    least = -(1 << plan.widths.accumulator - folds - 1)
    groups.append(([least] * lanes, groups[-1][1] | {"fold": folds, "rows": lanes >> folds}))
    check(plan, groups)
    check(plan, groups, rng.integers(0, 2 * lanes, len(groups)).tolist())


@pytest.mark.parametrize("held", [0, 1, 2])
def test_nothing_leaves_after_a_reset(held):
    """In whatever cycle it comes; the group after it is whole."""
    plan = plan_of("chain", 4, 1, held)
    drain = Drain(plan)
    context = {"rows": 2, "row": 3, "fold": 1}
    groups = groups_behind_resets(drain, 4, context, 8, lambda ctx: ctx.get(drain.value))
    assert groups == [[21, 25]] * 8
