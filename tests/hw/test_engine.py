"""The whole engine in Amaranth's own simulator, with its memories as Amaranth describes them."""

import pytest
from hw.amaranth_sim import simulate
from networks import random_inputs, random_network

from darb_hw.config import EngineConfig
from darb_hw.engine import Engine, bus_bits
from darb_hw.plan import Plan


@pytest.mark.parametrize(("lanes", "device"), [(1, "ecp5-25k"), (3, "ice40-hx8k")])
def test_inferences_back_to_back(lanes, device):
    random = random_network(61, sizes=(9, 12, 5), split=True)
    plan = Plan.make(random.network, EngineConfig(lanes=lanes, device=device))
    engine = Engine(plan)
    inputs = random_inputs(2, random.network, 3)
    expected = random.trace(inputs)[random.network.output].tolist()

    async def bench(ctx):
        """Both streams in one loop: what is offered and what is taken at each edge."""
        ctx.set(engine.m_axis_tready, 1)
        elements = [
            (int(value) & 0xFF, number == plan.input_size - 1) for frame in inputs for number, value in enumerate(frame)
        ]
        frames, frame, ends, cycle = [], [], [], 0
        while len(frames) < len(inputs):
            ctx.set(engine.s_axis_tvalid, bool(elements))
            if elements:
                ctx.set(engine.s_axis_tdata, elements[0][0])
                ctx.set(engine.s_axis_tlast, elements[0][1])
            taken = elements and ctx.get(engine.s_axis_tready)
            if ctx.get(engine.m_axis_tvalid):
                value = ctx.get(engine.m_axis_tdata)
                frame.append(value - 256 if value > 127 else value)
                if ctx.get(engine.m_axis_tlast):
                    frames.append(frame)
                    ends.append(cycle)
                    frame = []
            await ctx.tick()
            cycle += 1
            if taken:
                elements.pop(0)
        assert frames == expected
        assert ends[0] == plan.latency_cycles - 1
        assert ends[-1] - ends[-2] == plan.interval_cycles

    simulate(engine, bench)


def test_streams_are_bench_bytes():
    assert [bus_bits(n) for n in (2, 8, 9, 16)] == [8, 8, 16, 16]
