"""The whole engine in Amaranth's own simulator, with its memories as Amaranth describes them."""

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import pytest
from amaranth.hdl import ResetInserter, Signal

from darb_hw.config import EngineConfig
from darb_hw.engine.engine import Engine, bus_bits
from darb_hw.plan.plan import Plan
from tests.hw.amaranth_sim import simulate
from tests.networks import RandomNetwork, random_inputs, random_network


def elements(plan: Plan, inputs: np.ndarray, lengths: list[int]) -> list[tuple[int, bool]]:
    """What is sent: value and whether it ends its frame."""
    ends = set((np.cumsum(lengths) - 1).tolist())
    ordered = inputs[:, plan.stream_order]
    return [
        (int(value), frame in ends and position == plan.input_size - 1)
        for frame, values in enumerate(ordered)
        for position, value in enumerate(values)
    ]


@dataclass
class Seen:
    """What an engine did: frames that left, cycles of the first and last elements in and out, errors."""

    frames: list[list[int]] = field(default_factory=list)
    begins: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    errors: int = 0


async def exchange(ctx, engine: Engine, sent: list[tuple[int, bool]], frames: int, idle=0.0, stall=0.0) -> Seen:
    """Both streams in one loop: what is offered and what is taken at each edge, with random pauses."""
    plan, seen, rng = engine.plan, Seen(), np.random.default_rng(1)
    in_mask = (1 << bus_bits(plan.widths.input)) - 1
    out_bits = bus_bits(plan.widths.output)
    queue, frame, cycle, offering, opening = list(sent), [], 0, False, True
    while len(seen.frames) < frames:
        offering = bool(queue) and (offering or rng.random() >= idle)
        ctx.set(engine.s_axis_tvalid, offering)
        if offering:
            ctx.set(engine.s_axis_tdata, queue[0][0] & in_mask)
            ctx.set(engine.s_axis_tlast, queue[0][1])
        ctx.set(engine.m_axis_tready, rng.random() >= stall)
        taken = offering and ctx.get(engine.s_axis_tready)
        if taken and opening:
            seen.begins.append(cycle)
        if taken:
            opening = queue[0][1]
        if ctx.get(engine.m_axis_tvalid) and ctx.get(engine.m_axis_tready):
            value = ctx.get(engine.m_axis_tdata)
            frame.append(value - (1 << out_bits) if value >> out_bits - 1 else value)
            if ctx.get(engine.m_axis_tlast):
                seen.frames.append(frame)
                seen.ends.append(cycle)
                frame = []
        seen.errors += ctx.get(engine.frame_error)
        await ctx.tick()
        cycle += 1
        if taken:
            queue.pop(0)
            offering = False
    assert not queue
    assert not frame
    return seen


def expected_frames(random: RandomNetwork, inputs: np.ndarray, lengths: list[int]) -> list[list[int]]:
    """Outputs of each sequence, of all its steps or of the last one."""
    values = random.trace(inputs, lengths)[random.network.output]
    starts = np.concatenate([[0], np.cumsum(lengths)])
    every = random.network.emit == "step"
    return [values[start if every else stop - 1 : stop].ravel().tolist() for start, stop in pairwise(starts)]


def check(random: RandomNetwork, config: EngineConfig, lengths: list[int], pauses: bool = False) -> None:
    """Sequences back to back: outputs, and the cycles that the plan predicts. Then perhaps again with pauses."""
    plan = Plan.make(random.network, config)
    engine = Engine(plan)
    inputs = random_inputs(2, random.network, sum(lengths))
    expected = expected_frames(random, inputs, lengths)
    sent = elements(plan, inputs, lengths)

    async def bench(ctx):
        seen = await exchange(ctx, engine, sent, len(lengths))
        assert seen.frames == expected
        assert seen.errors == 0
        planned = plan.timing.times_of(lengths)
        assert seen.ends[0] - seen.begins[0] + 1 == plan.timing.latency_of(lengths[0])
        assert [begin - seen.begins[0] for begin in seen.begins] == [sequence[0].begun for sequence in planned]
        assert [end - seen.begins[0] for end in seen.ends] == [sequence[-1].left for sequence in planned]
        if pauses:
            seen = await exchange(ctx, engine, sent, len(lengths), idle=0.3, stall=0.4)
            assert seen.frames == expected
            assert seen.errors == 0

    simulate(engine, bench, cycles=40_000)


@pytest.mark.parametrize(("lanes", "device"), [(1, "ecp5-25k"), (3, "ice40-hx8k")])
def test_chains(lanes, device):
    random = random_network(61, sizes=(9, 12, 5), split=True)
    check(random, EngineConfig(lanes=lanes, device=device), [1, 1, 1], pauses=lanes == 1)


# Small networks; what they have between them is checked below.
CONVOLUTIONS = [(1, 2, "storage"), (5, 2, "logical"), (20, 3, "logical")]
RECURRENT = [("lstm", 8, 2, False), ("gru", 12, 1, False), ("lstm", 33, 2, True)]


@pytest.mark.parametrize(("seed", "lanes", "order"), CONVOLUTIONS)
def test_convolutions(seed, lanes, order):
    check(random_network(seed, "convolution"), EngineConfig(lanes=lanes, input_order=order), [1, 1], pauses=seed == 20)


@pytest.mark.parametrize(("kind", "seed", "lanes", "carried"), RECURRENT)
def test_sequences(kind, seed, lanes, carried):
    check(random_network(seed, kind, carried=carried), EngineConfig(lanes=lanes), [2, 1])


def test_the_networks_have_what_there_is():
    random = [random_network(seed, "convolution") for seed, *_ in CONVOLUTIONS]
    layers = [layer for example in random for layer in example.network.layers]
    for part in (
        lambda layer: layer.operand,
        lambda layer: layer.maximum,
        lambda layer: layer.first,
        lambda layer: layer.function is not None,
        lambda layer: layer.pool != (1, 1),
        lambda layer: any(layer.padding),
        lambda layer: layer.stride != (1, 1),
    ):
        assert any(part(layer) for layer in layers)
    nets = [random_network(seed, kind, carried=carried).network for kind, seed, _, carried in RECURRENT]
    assert {bool(net.carried) for net in nets} == {True, False}
    assert {net.emit for net in nets} == {"step", "last"}
    assert {bool(net.embedding) for net in nets} == {True, False}
    assert any(layer.position_count > 1 for net in nets for layer in net.layers)
    assert any(tensor.initial is not None for net in nets for tensor in net.tensors)
    assert any(cell.state is not None for net in nets for cell in net.cells)


@pytest.mark.parametrize(("kind", "seed"), [("lstm", 24), ("gru", 12)])
def test_a_sequence_that_breaks_off_leaves_nothing_behind(kind, seed):
    """A frame that ends within its second step, one with a symbol that does not exist: the next one begins anew."""
    random = random_network(seed, kind)
    net = random.network
    plan = Plan.make(net, EngineConfig(lanes=2))
    assert plan.input_size > 1 or net.embedding
    engine = Engine(plan)
    inputs = random_inputs(3, net, 4)
    broken = elements(plan, inputs[:2], [2])
    if net.embedding:
        broken[-1] = len(net.embedding.table), True
    else:
        broken = broken[:-2] + [(broken[-2][0], True)]
    sent = broken + elements(plan, inputs[2:], [2])
    expected = expected_frames(random, inputs[2:], [2])

    async def bench(ctx):
        # The first step of the broken sequence may have given an output, which no mark ends.
        seen = await exchange(ctx, engine, sent, 1)
        assert seen.errors == 1
        assert seen.frames[0][-len(expected[0]) :] == expected[0]
        steps = len(seen.frames[0]) - len(expected[0])
        assert steps == (plan.output_size if net.emit == "step" else 0)

    simulate(engine, bench, cycles=40_000)


@pytest.mark.parametrize(("kind", "seed", "lanes"), [("convolution", 20, 3), ("lstm", 24, 2)])
def test_reset_in_the_middle(kind, seed, lanes):
    """While it computes, and while it sends: the next inference is right. Memories keep what they hold."""
    random = random_network(seed, kind)
    plan = Plan.make(random.network, EngineConfig(lanes=lanes))
    engine, reset = Engine(plan), Signal()
    lengths = [2, 1] if random.network.recurrent else [1]
    inputs = random_inputs(4, random.network, sum(lengths))
    expected = expected_frames(random, inputs, lengths)
    sent = elements(plan, inputs, lengths)

    async def bench(ctx):
        first, last = plan.timing.times_of(lengths)[0][0], plan.timing.times_of(lengths)[-1][-1]
        for after in (first.start + plan.schedule.period // 3, last.offered + 1, first.start + 1, first.stored):
            queue = list(sent)
            ctx.set(engine.m_axis_tready, 1)
            for _ in range(after):
                ctx.set(engine.s_axis_tvalid, bool(queue))
                if queue:
                    ctx.set(engine.s_axis_tdata, queue[0][0] & ((1 << len(engine.s_axis_tdata)) - 1))
                    ctx.set(engine.s_axis_tlast, queue[0][1])
                taken = queue and ctx.get(engine.s_axis_tready)
                await ctx.tick()
                if taken:
                    queue.pop(0)
            ctx.set(engine.s_axis_tvalid, 0)
            ctx.set(reset, 1)
            await ctx.tick()
            ctx.set(reset, 0)
            await ctx.tick()
            seen = await exchange(ctx, engine, sent, len(lengths))
            assert seen.frames == expected

    simulate(ResetInserter(reset)(engine), bench, cycles=40_000)


def test_streams_are_bench_bytes():
    assert [bus_bits(n) for n in (2, 8, 9, 16)] == [8, 8, 16, 16]
