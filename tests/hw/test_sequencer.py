import pytest
from hw.amaranth_sim import simulate
from networks import random_network

from darb_hw.config import EngineConfig
from darb_hw.plan import Plan
from darb_hw.schedule import RUN_CYCLES_MIN
from darb_hw.sequencer import Sequencer


@pytest.mark.parametrize("lanes", [1, 3, 16])
@pytest.mark.parametrize("seed", range(4))
def test_steps_follow_the_program(seed, lanes):
    network = random_network(seed, split=seed % 2 == 1).network
    plan = Plan.make(network, EngineConfig(lanes=lanes))
    sequencer = Sequencer(plan)
    expected = Sequencer.model(list(plan.words))
    # What follows the last step of the last word is silence.
    while expected[-1] is None:
        expected.pop()

    async def bench(ctx):
        for _ in range(4):
            await ctx.tick()
        for _ in range(2):  # the second inference starts from the first word again
            ctx.set(sequencer.start, 1)
            await ctx.tick()
            ctx.set(sequencer.start, 0)
            for _ in range(sequencer.latency - 1):
                assert not ctx.get(sequencer.step.valid)
                await ctx.tick()
            for number, step in enumerate(expected):
                assert ctx.get(sequencer.step.valid) == (step is not None), number
                if step is not None:
                    got = {name: ctx.get(getattr(sequencer.step, name)) for name in ("base", "first", "last")}
                    assert got == {name: step[name] for name in got}, number
                    if step["last"]:
                        assert ctx.get(sequencer.step.rows) == step["rows"]
                await ctx.tick()
            for _ in range(30):
                assert not ctx.get(sequencer.step.valid)
                await ctx.tick()

    simulate(sequencer, bench)


def test_model_visits_every_group_once():
    network = random_network(11, sizes=(30, 40, 12)).network
    plan = Plan.make(network, EngineConfig(lanes=4))
    steps = [step for step in Sequencer.model(list(plan.words)) if step]
    assert len(steps) == plan.images["codes"].depth == sum(group.steps for group in plan.groups)
    assert sum(step["last"] for step in steps) == sum(step["first"] for step in steps) == len(plan.groups)
    assert sum(step["rows"] for step in steps if step["last"]) == sum(layer.rows for layer in network.layers)


def test_runs_leave_time_to_fetch_the_next():
    network = random_network(12, sizes=(2, 30, 3), split=True).network
    plan = Plan.make(network, EngineConfig(lanes=1))
    for word in plan.words[:-1]:
        assert word.run.steps + word.run.pad >= RUN_CYCLES_MIN
