"""The chains of the shadow row: which results leave together, in which cycle, where they go, and sums of lanes."""

from dataclasses import replace

import numpy as np
import pytest

from darb_hw.engine.step import context_layout
from darb_hw.engine.tile_drain import TileDrain, spot_layout
from darb_hw.plan.plan import Plan
from tests.hw.amaranth_sim import simulate
from tests.hw.engine.resets import groups_behind_resets
from tests.hw.interpreter import unpack
from tests.hw.plans import tile_plan


def plan_of(positions: int, streams: int, results: int, repeat: int = 1, total: bool = False) -> Plan:
    """A plan whose passes may take ``repeat`` words of neighbouring results, and whose lanes may be added up."""
    plan = tile_plan(13, positions, streams, results)
    loops = (replace(plan.loops[0], repeat=repeat, words=positions // results * repeat), *plan.loops[1:])
    return replace(plan, loops=loops, latency=replace(plan.latency, folds=int(total)))


def random_groups(plan: Plan, rng, count: int) -> list[tuple[list[int], dict[str, int]]]:
    """Accumulators and context of groups of all kinds."""
    bits, members = plan.widths.accumulator, context_layout(plan).members
    bits -= (plan.config.banks - 1).bit_length() * plan.folds
    groups = []
    for _ in range(count):
        context = {name: int(rng.integers(0, 1 << width)) for name, width in members.items()}
        context["rows"] = int(rng.integers(1, plan.config.streams + 1))
        if plan.repeats > 1:
            context["repeat"] = 0 if context.get("total") else int(rng.integers(0, plan.repeats))
        words = plan.config.banks // plan.config.ways * (context.get("repeat", 0) + 1)
        if plan.config.streams == 1:  # the last lanes may have nothing
            words = int(rng.integers(1, words + 1))
        if plan.words > 1:
            context["words"] = words - 1
        context["write"] = int(rng.integers(0, max(plan.images["drains"].depth - words, 0) + 1))
        groups.append((rng.integers(-(1 << bits - 1), 1 << bits - 1, plan.config.lanes).tolist(), context))
    return groups


def words_of(
    plan: Plan, drains: list, accumulators: list[int], context: dict[str, int]
) -> list[tuple[int, list[int | None], list]]:
    """Row, values and spots of each word of a group; a value is ``None`` where a sum of lanes is not complete."""
    banks, ways, again = plan.config.banks, plan.config.ways, context.get("repeat", 0) + 1
    words = context.get("words", 0) + 1
    members = spot_layout(plan).members
    found = []
    for row in range(context["rows"]):
        lanes = accumulators[row * banks : (row + 1) * banks]
        for word in range(words):
            first = word // again * ways
            values = lanes[first : first + ways]
            if context.get("total"):
                values = [sum(lanes[: words * ways]) if word == words - 1 else None] + [None] * (ways - 1)
            number = context["write"] + word
            spots = drains[number] if number < len(drains) else None
            spots = spots and [{name: spot[name] for name in members} for spot in spots]
            found.append((row, values, spots))
    return found


def check(plan: Plan, groups, pauses=()) -> None:
    """Groups back to back: the earliest next capture is in the cycle of the last word of the group before. Then with
    pauses."""
    drain = TileDrain(plan)
    members, early = context_layout(plan).members, plan.latency.early
    expected, captures, free, drains = [], {}, 0, unpack(plan.images["drains"])
    for (accumulators, context), pause in zip(groups, [*pauses, *[0] * len(groups)], strict=False):
        capture = free + pause
        captures[capture] = accumulators, context
        words = words_of(plan, drains, accumulators, context)
        free = capture + len(words)
        for word, (row, values, spots) in enumerate(words):
            passing = context | {"row": context["row"] + row & (1 << members["row"]) - 1}
            expected.append((capture + 1 + early + drain.latency + word, values, spots, passing))

    async def bench(ctx):
        got, rows, spots = [], [], []
        for cycle in range(free + drain.latency + early + 8):
            ctx.set(drain.capture, cycle in captures)
            # Context and accumulators are only there for a cycle.
            _, context = captures.get(cycle, (None, dict.fromkeys(members, 1)))
            values, _ = captures.get(cycle - 1 - early, ([~lane for lane in range(plan.config.lanes)], None))
            for lane, value in enumerate(values):
                ctx.set(drain.accumulators[lane], value)
            ctx.set(drain.context, {name: context[name] for name in members})
            rows.append(ctx.get(drain.row))
            spots.append(
                [
                    {name: ctx.get(spot[name]) for name in spot_layout(plan).members}
                    for spot in (drain.spots[way] for way in range(plan.config.ways))
                ]
            )
            if ctx.get(drain.valid):
                passing = {name: ctx.get(drain.passing[name]) for name in members} | {"row": rows[-1 - early]}
                got.append((cycle, [ctx.get(drain.values[way]) for way in range(plan.config.ways)], passing))
            await ctx.tick()
        assert len(got) == len(expected)
        for (cycle, values, passing), (when, wanted, where, context) in zip(got, expected, strict=True):
            assert (cycle, passing) == (when, context)
            assert [value if other is not None else None for value, other in zip(values, wanted, strict=True)] == wanted
            assert where is None or spots[cycle + 1] == where

    simulate(drain, bench)


@pytest.mark.parametrize(
    ("sizes", "repeat", "total"),
    [((8, 1, 2), 1, True), ((4, 3, 2), 2, True), ((8, 2, 4), 3, False), ((4, 2, 4), 1, True), ((8, 1, 2), 2, False)],
)
def test_neighbouring_results_leave_together(sizes, repeat, total):
    plan, rng = plan_of(*sizes, repeat, total), np.random.default_rng(sum(sizes))
    check(plan, random_groups(plan, rng, 6))
    check(plan, random_groups(plan, rng, 6), rng.integers(0, 2 * sizes[0], 6).tolist())


def test_a_sum_of_lanes_reaches_the_ends_of_the_accumulator():
    plan = plan_of(8, 2, 2, total=True)
    bits = plan.widths.accumulator - 3
    context = random_groups(plan, np.random.default_rng(1), 1)[0][1] | {"total": 1}
    groups = [([value] * 16, context) for value in (-(1 << bits - 1), (1 << bits - 1) - 1)]
    check(plan, groups)


@pytest.mark.parametrize("total", [False, True])
def test_nothing_leaves_after_a_reset(total):
    """In whatever cycle it comes; the group after it is whole."""
    plan = plan_of(4, 2, 2, 2, total)
    drain = TileDrain(plan)
    context = {"rows": 2, "row": 3, "write": 0, "words": 1} | ({"total": 1} if total else {})
    groups = groups_behind_resets(drain, 8, context, 9, lambda ctx: [ctx.get(drain.values[way]) for way in range(2)])
    assert len(groups) == 8
    for got in groups:
        if total:
            assert [values[0] for values in got[1::2]] == [10 + 11 + 12 + 13, 14 + 15 + 16 + 17]
        else:
            assert got == [[10, 11], [12, 13], [14, 15], [16, 17]]
