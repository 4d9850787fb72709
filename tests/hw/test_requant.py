import numpy as np
import pytest
from hw.amaranth_sim import simulate
from hypothesis import given
from hypothesis import strategies as st
from networks import random_network

from darb_hw.config import EngineConfig
from darb_hw.plan import Plan
from darb_hw.requant import Requantiser


@given(
    st.integers(-(1 << 39), (1 << 39) - 1),
    st.integers(-(1 << 20), 1 << 20),
    st.integers(0, 65535),
    st.integers(1, 47),
)
def test_model_rounds_half_up(value, bias, mult, shift):
    """The model against exact rational arithmetic: floor(x + 1/2)."""
    from fractions import Fraction

    exact = Fraction((value + bias) * mult, 1 << shift)
    rounded = (exact + Fraction(1, 2)).__floor__()
    assert Requantiser.model(value, bias, mult, shift, -(1 << 60), 1 << 60) == rounded


@pytest.mark.parametrize("device", ["ecp5-85k", "ice40-hx8k"])
@pytest.mark.parametrize("seed", range(4))
def test_rows_of_an_inference(seed, device):
    network = random_network(seed + 40, extreme=seed % 2 == 0).network
    plan = Plan.make(network, EngineConfig(lanes=3, device=device))
    requant = Requantiser(plan)
    rng = np.random.default_rng(seed)
    rows = []
    for number, row in plan.schedule:
        layer = network.layers[number]
        tensor = network.tensor(layer.output)
        low, high = network.accumulator_bounds(layer)
        value = int(rng.choice([low[row], high[row], rng.integers(low[row], high[row] + 1)]) - layer.bias[row])
        leaves = layer.output == network.output
        start = 0 if leaves else plan.regions[layer.output].start
        parameters = int(layer.bias[row]), int(layer.mult[row]), int(layer.shift[row]), tensor.qmin, tensor.qmax
        rows.append((value, parameters, leaves, start + int(tensor.position[row])))

    async def bench(ctx):
        results = []
        for _ in range(2):  # parameters wrap around for the next inference
            for value, *_ in rows:
                ctx.set(requant.valid, 1)
                ctx.set(requant.value, value)
                await ctx.tick()
                results.append(requant_result(ctx))
                if rng.random() < 0.3:
                    ctx.set(requant.valid, 0)
                    await ctx.tick()
                    results.append(requant_result(ctx))
        ctx.set(requant.valid, 0)
        for _ in range(requant.latency):
            await ctx.tick()
            results.append(requant_result(ctx))
        got = [result for result in results if result]
        expected = [
            (Requantiser.model(value, *parameters), int(leaves), address, int(number == len(rows) - 1))
            for number, (value, parameters, leaves, address) in enumerate(rows)
        ]
        assert got == expected * 2
        # The first result comes ``latency`` cycles after the first row.
        assert results.index(got[0]) == requant.latency - 1

    def requant_result(ctx):
        result = requant.result
        if not ctx.get(result.valid):
            return None
        return ctx.get(result.value), ctx.get(result.output), ctx.get(result.address), ctx.get(result.last)

    simulate(requant, bench)
