"""Steps of sections, against a count in plain Python."""

from darb_hw.config import EngineConfig
from darb_hw.engine.step_counter import StepCounter
from darb_hw.plan.plan import Plan
from tests.hw.amaranth_sim import simulate
from tests.legal import column_network
from tests.networks import random_network


def check(plan: Plan) -> None:
    counter = StepCounter(plan)
    network, memory = plan.network, plan.memory
    addresses = 1 << plan.widths.address

    async def bench(ctx):
        ctx.set(counter.restart, 1)
        await ctx.tick()
        ctx.set(counter.restart, 0)
        for _ in range(2):
            for sweep in memory.columns.sweeps:
                steps = sweep.steps
                for step in range(steps):
                    for _ in range(step % 3):
                        await ctx.tick()
                    assert (ctx.get(counter.more), ctx.get(counter.again)) == (step + 1 < steps, step > 0)
                    moved = [ctx.get(counter.moved[number]) for number in range(len(memory.columns.moves))]
                    assert moved == [step * move % addresses for move in memory.columns.moves]
                    if memory.second:
                        moved = [ctx.get(counter.second[number]) for number in range(len(memory.columns.moves))]
                        assert moved == [(memory.second + step * move) % addresses for move in memory.columns.moves]
                    for section in sweep.sections:
                        written = {network.layers[number].output for number in range(section.first, section.stop)}
                        for number, cell in enumerate(network.cells):
                            if cell.gates in written:
                                pixel = memory.layouts[cell.output].pixel(0, section.column(step, steps))
                                unit = memory.start(cell.output) + pixel - memory.cells[cell.output]
                                assert ctx.get(counter.units[number]) == unit % addresses
                    ctx.set(counter.ends, 1)
                    await ctx.tick()
                    ctx.set(counter.ends, 0)
                    await ctx.tick()
            ctx.set(counter.restart, 1)
            await ctx.tick()
            ctx.set(counter.restart, 0)

    simulate(counter, bench)


def test_two_sections():
    check(Plan.make(column_network(), EngineConfig(lanes=2)))


def test_random_sections():
    for seed in range(4):
        check(Plan.make(random_network(seed, "sections").network, EngineConfig(lanes=3)))
