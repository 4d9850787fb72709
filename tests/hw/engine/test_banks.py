# amaranth: UnusedElaboratable=no
"""What the lanes of a stream read: neighbouring banks, rotated, with zeros outside the map."""

from functools import cache

import numpy as np
import pytest

from darb_hw.engine.banks import Banks
from darb_hw.engine.sequencer import Sequencer
from darb_hw.plan.plan import Plan
from tests.hw.amaranth_sim import simulate
from tests.hw.interpreter import single, unpack
from tests.hw.plans import tile_plan
from tests.hw.tile_interpreter import rotations_of

# Seed, positions, streams and results: rotations of no stage to three, with columns and without, of one port to four.
PLANS = [(11, 2, 1, 1), (11, 8, 1, 4), (13, 8, 1, 4), (6, 4, 2, 2)]
# The same with two banks in each single-port RAM.
SPRAM = {"device": "ice40-up5k", "memory": "spram", "input": "alone"}
PAIRED = [(11, 2, 2, 1), (8, 8, 1, 1), (3, 8, 1, 1), (24, 4, 2, 1)]


async def write(ctx, banks: Banks, plan: Plan, writes: dict[int, tuple[int, int, int]]) -> None:
    """A cycle in which each port writes (bank, address, value), or nothing."""
    ways = plan.config.ways
    for port in range(ways):
        bank, address, value = writes.get(port, (0, 0, 0))
        ctx.set(
            banks.write[port],
            {"enable": port in writes, "bank": bank // ways, "address": address, "data": value}
            | ({"ends": 1} if plan.latency.paired else {}),
        )
    await ctx.tick()


async def fill(ctx, banks: Banks, plan: Plan, memory: np.ndarray) -> None:
    """All ports write at once, in all banks, int64, shape (banks, depth)."""
    ways = plan.config.ways
    for first in range(0, plan.config.banks, ways):
        for address in range(plan.memory_depth):
            values = {port: (first + port, address, int(memory[first + port, address])) for port in range(ways)}
            await write(ctx, banks, plan, values)
    for _ in range(plan.latency.visible):
        await write(ctx, banks, plan, {})


@cache
def tables_of(plan: Plan) -> tuple[list, list, list, list]:
    images = plan.images
    return single(images["taps"]), unpack(images["masks"]), single(images["tiles"]), rotations_of(plan)


def expected(plan: Plan, memory: np.ndarray, step: dict, index: list[int], column: list[int]) -> list[int | None]:
    """What each lane gets, from the words of the ROMs; ``None`` behind the end of the memory."""
    banks = plan.config.banks
    taps, masks, tiles, rotations = tables_of(plan)
    values = []
    for channel, behind in zip(index, column, strict=True):
        tap = taps[step["tap"] + behind]
        mask = masks[tap["mask"] + tiles[step["tile"]]["kind"]]
        rotation = rotations[step["tap"] + behind]
        for lane in range(banks):
            bank = (lane + rotation) % banks
            # In a RAM with two banks, both have the address of the second one.
            chooser = bank | 1 if plan.latency.paired else bank
            address = step["base"] + channel + tap["far" if chooser < rotation else "near"]
            address %= 1 << plan.widths.address
            known = address < plan.memory_depth
            values.append(int(memory[bank, address]) * mask[lane]["mask"] if known else None)
    return values


def drawn(plan: Plan, rng) -> np.ndarray:
    bits = plan.widths.activation
    return rng.integers(-(1 << bits - 1), 1 << bits - 1, (plan.config.banks, plan.memory_depth))


def steps_of(plan: Plan, rng, count: int) -> list[tuple[dict, list[int], list[int]]]:
    """Steps of the program, each with channels and columns that its codes may have."""
    steps = [step for step in Sequencer.model(plan) if step]
    taps = plan.images["taps"].depth
    drawn = []
    for step in (steps[number] for number in rng.integers(0, len(steps), count)):
        most = (1 << plan.images["columns"].fields[0].width) - 1 if "columns" in plan.images else 0
        column = rng.integers(0, min(most, taps - 1 - step["tap"]) + 1, plan.config.streams)
        index = rng.integers(0, 1 << plan.widths.index, plan.config.streams)
        drawn.append((step, index.tolist(), column.tolist()))
    return drawn


@pytest.mark.parametrize(("sizes", "options"), [(s, {}) for s in PLANS] + [(s, SPRAM) for s in PAIRED])
def test_lanes_read_neighbouring_banks(sizes, options):
    plan = tile_plan(*sizes, **options)
    assert plan.latency.paired == bool(options)
    banks, rng = Banks(plan), np.random.default_rng(sizes[0])
    memory, steps = drawn(plan, rng), steps_of(plan, rng, 60)
    wanted = [expected(plan, memory, *step) for step in steps]
    assert any(0 in values for values in wanted)

    async def bench(ctx):
        await fill(ctx, banks, plan, memory)
        got = []
        for cycle in range(len(steps) + banks.latency):
            if cycle < len(steps):
                for name in ("base", "tap", "tile"):
                    bits = len(banks.step[name])
                    ctx.set(banks.step[name], steps[cycle][0][name] % (1 << bits))
            ctx.set(banks.step.valid, cycle < len(steps))
            late = cycle - plan.latency.index
            if 0 <= late < len(steps):
                _, index, column = steps[late]
                for stream in range(plan.config.streams):
                    ctx.set(banks.index[stream], index[stream])
                    if "columns" in plan.images:
                        ctx.set(banks.column[stream], column[stream])
            await ctx.tick()
            got.append([ctx.get(banks.activation[lane]) for lane in range(plan.config.lanes)])
        for values, step in zip(got[banks.latency - 1 :], wanted, strict=False):
            known = [value if other is not None else None for value, other in zip(values, step, strict=True)]
            assert known == step

    simulate(banks, bench)


def test_a_burst_waits_for_a_cycle_without_a_step():
    """Steps read the old value as long as they come one after the other."""
    plan = tile_plan(24, 4, 2, 1, **SPRAM)
    banks, memory = Banks(plan), np.full((4, plan.memory_depth), 7)
    step = next(step for step in Sequencer.model(plan) if step and any(_reads(plan, memory, step)))
    lane = _reads(plan, memory, step).index(7)
    tap, rotation = single(plan.images["taps"])[step["tap"]], rotations_of(plan)[step["tap"]]
    bank = (lane + rotation) % 4
    address = (step["base"] + tap["far" if bank | 1 < rotation else "near"]) % (1 << plan.widths.address)
    idle = plan.latency.fetch + 30

    async def bench(ctx):
        await fill(ctx, banks, plan, memory)
        for name in ("base", "tap", "tile"):
            ctx.set(banks.step[name], step[name] % (1 << len(banks.step[name])))
        ctx.set(banks.step.valid, 1)
        for _ in range(banks.latency + 2):
            await ctx.tick()
        got = []
        for cycle in range(idle + banks.latency + 10):
            ctx.set(banks.step.valid, cycle != idle)
            await write(ctx, banks, plan, {0: (bank, address, -9)} if not cycle else {})
            got.append(ctx.get(banks.activation[lane]))
        seen = idle + banks.latency - 1  # what the cycle without a step gives is of no use
        assert got[:seen] == [7] * seen
        assert got[seen + 1 :] == [-9] * (len(got) - seen - 1)

    simulate(banks, bench)


def test_plans_are_of_every_kind():
    plans = [tile_plan(*sizes) for sizes in PLANS]
    paired = [tile_plan(*sizes, **SPRAM) for sizes in PAIRED]
    assert any(bank % 2 for plan in paired for bank in rotations_of(plan))
    assert {"columns" in plan.images for plan in paired} == {True, False}
    assert {len(plan.rotation.stages) for plan in plans} >= {0, 1, 2, 3}
    assert {"columns" in plan.images for plan in plans} == {True, False}
    assert any(plan.rotation.fixed for plan in plans)


def test_what_is_written_is_visible_when_the_plan_says():
    """A bank is read in every cycle while it is written: the old value up to a cycle, the new one from then on."""
    plan = tile_plan(2, 4, 2, 2)
    banks = Banks(plan)
    memory = np.full((4, plan.memory_depth), 7)
    step = next(step for step in Sequencer.model(plan) if step and any(_reads(plan, memory, step)))
    lane = _reads(plan, memory, step).index(7)
    tap = single(plan.images["taps"])[step["tap"]]
    rotation = rotations_of(plan)[step["tap"]]
    bank = (lane + rotation) % 4
    address = (step["base"] + tap["far" if bank < rotation else "near"]) % (1 << plan.widths.address)

    async def bench(ctx):
        await fill(ctx, banks, plan, memory)
        for name in ("base", "tap", "tile"):
            ctx.set(banks.step[name], step[name] % (1 << len(banks.step[name])))
        for _ in range(banks.latency + 2):
            await ctx.tick()
        got = []
        await write(ctx, banks, plan, {bank % 2: (bank, address, -9)})
        got.append(ctx.get(banks.activation[lane]))
        for _ in range(plan.latency.visible + plan.latency.rotate + 5):
            await write(ctx, banks, plan, {})
            got.append(ctx.get(banks.activation[lane]))
        # In the cycle ``visible`` after the write the address may be that one.
        first = plan.latency.visible + plan.latency.activation + plan.latency.rotate - 1
        assert got == [7] * first + [-9] * (len(got) - first)

    simulate(banks, bench)


def _reads(plan: Plan, memory: np.ndarray, step: dict) -> list[int]:
    zeros = [0] * plan.config.streams
    return expected(plan, memory, step, zeros, zeros)
