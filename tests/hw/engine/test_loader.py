"""The loader: idle patterns, frames of the wrong length, sequences, symbols, two inputs at a time."""

from itertools import count

import numpy as np
import pytest

from darb_hw.config import EngineConfig
from darb_hw.engine.loader import Loader
from darb_hw.plan.plan import Plan
from darb_prune.encoded import Embedding, EncodedNetwork
from tests.hw.amaranth_sim import simulate
from tests.hw.engine.streams import PATTERNS, plan_of
from tests.hw.small import convolution, layer, lstm, network, tensor


def map_plan(input_order: str, **options) -> Plan:
    """A feature map with zeros around it, whose channels are not equally far apart."""
    x, y = tensor("x", 2, 3, 3, order=np.array([1, 2, 0])), tensor("y", 2, 3, 1)
    return Plan.make(
        network([x, y], [convolution("a", x, y)]), EngineConfig(lanes=2, input_order=input_order, **options)
    )


def banked_plan(input_order: str, **options) -> Plan:
    """A feature map in four banks, whose addresses are no sums: a line begins in another bank than the one before."""
    x, y = tensor("x", 3, 5, 2, order=np.array([1, 0])), tensor("y", 3, 5, 1)
    config = EngineConfig(lanes=4, positions=4, results=2, input_order=input_order, **options)
    return Plan.make(network([x, y], [convolution("a", x, y)]), config)


def phases_plan(input_order: str, **options) -> Plan:
    """A feature map in two banks, in phases, whose addresses are sums."""
    x, y = tensor("x", 2, 4, 3, order=np.array([1, 2, 0])), tensor("y", 1, 2, 1)
    config = EngineConfig(lanes=2, positions=2, results=2, input_order=input_order, **options)
    return Plan.make(network([x, y], [convolution("a", x, y, stride=(2, 2))]), config)


def symbols_plan(count: int = 2) -> Plan:
    """An LSTM behind an embedding: five symbols of three features."""
    net, table = lstm(3), np.arange(-7, 8).reshape(5, 3).astype(np.int16)
    x = tensor("x", 3 * count, order=np.random.default_rng(1).permutation(3 * count).astype(np.int32))
    tensors = (tensor("s", count, qmin=0, qmax=4), x, *net.tensors[1:])
    layers = (layer("gate", "gates", [("x", 0, x.size), ("h", 0, 3)], 12), *net.layers[1:])
    embedding = Embedding("e", "x", table)
    made = EncodedNetwork("n", "s", net.output, tensors, layers, cells=net.cells, embedding=embedding)
    return Plan.make(made, EngineConfig(lanes=2))


def stored(plan: Plan, values: list[int], second: bool = False) -> dict[int, int]:
    """Where the values of a whole input, in the order of the stream, have to be; of the second input in memory."""
    net = plan.network
    if net.embedding:
        values = [int(value) for symbol in values for value in net.embedding.table[symbol]]
    elif plan.config.input_order == "storage":
        values = [values[position] for position in net.tensor("x").position]
    if plan.banked:
        banks, addresses = plan.memory.banked["x"].elements(net.tensor("x"))
        addresses = addresses + plan.memory.start("x") + (banks << plan.widths.address)
    else:
        addresses = plan.memory.start("x") + plan.memory.layouts["x"].elements(net.tensor("x"))
    addresses = addresses + plan.memory.second * second
    return dict(zip(addresses.tolist(), values, strict=True))


Inputs = list[tuple[list[int], bool, bool]]
"""Whole inputs: values, whether it ends its frame, whether it begins one."""


def wholes(frames: list[list[int]], size: int) -> Inputs:
    """Inputs of frames of any number of steps, the last of which may be broken off."""
    return [
        (frame[start : start + size], start + size == len(frame), start == 0)
        for frame in frames
        for start in range(0, len(frame) // size * size, size)
    ]


def is_wrong(plan: Plan, value: int, last: bool, position: int) -> bool:
    """Whether an element shows that its frame is wrong, behind ``position`` elements of its input."""
    whole = position == plan.input_size - 1
    unknown = plan.features and not 0 <= value < len(plan.network.embedding.table)
    return bool(unknown or ((last and not whole) if plan.network.recurrent else last != whole))


def load(plan: Plan, frames: list[list[int]], whole: Inputs, pattern: list[int], busy=(0,), work: int = 40) -> int:
    """Send frames; begin to work on every input that is there, as the engine does, for ``work`` cycles each; the last
    thing it does with it is to read it. Between, results take the write port as ``busy`` says.

    Checked in every cycle: when an element is accepted; that nothing is written outside the addresses of an input, nor
    when the port is taken; of every input, while it is worked on, what is in memory, and its flags. Returns the number
    of errors.
    """
    loader, banks = Loader(plan), 1 + (plan.memory.second > 0)
    queue = [(value, position == len(frame) - 1) for frame in frames for position, value in enumerate(frame)]
    addresses = {address for second in range(banks) for address in stored(plan, whole[0][0], second)}
    begun, errors = [], []

    async def bench(ctx):
        memory, taken_port, left = {}, [False] * loader.latency, 0
        held = position = 0  # inputs that are whole and not released; elements of the next one
        skipping, seen, released, rests, idle = False, None, -1, 0, 0
        for now in count():
            free = not busy[now % len(busy)]
            go = bool(queue) and bool(pattern[now % len(pattern)])
            value, last = queue[0] if go else (5, now % 2)
            ctx.set(loader.busy, not free)
            ctx.set(loader.i.valid, go)
            ctx.set(loader.i.payload.data, value)
            ctx.set(loader.i.payload.last, last)

            # The engine: it is told a cycle late that an input is ready, and begins a cycle after that.
            ready = ctx.get(loader.ready)
            if ready and seen is None:
                seen = now
            begins = seen is not None and now >= max(seen + 2, rests)
            ctx.set(loader.begin, begins)
            ctx.set(loader.release, now == released)
            written = ctx.get(loader.write.enable)
            if written:
                assert not taken_port[-loader.latency]
                bank = ctx.get(loader.bank) << plan.widths.address if plan.banked else 0
                memory[bank + ctx.get(loader.write.address)] = ctx.get(loader.write.data)
                assert set(memory) <= addresses
            if begins:
                values, final, fresh = whole[len(begun)]
                second = len(begun) % banks
                flags = [bool(ctx.get(flag)) for flag in (loader.final, loader.fresh, loader.second)]
                assert flags == [final, fresh, bool(second)], (now, len(begun))
                begun.append(stored(plan, values, second))
                seen, rests, released = None, now + work, now + work - 1
            if begun and now <= released:
                assert {address: memory.get(address) for address in begun[-1]} == begun[-1], now

            # What is accepted: all, unless there is no room, the port is taken, or a symbol has features to come.
            assert ctx.get(loader.i.ready) == (held < banks and free and not left), now
            done = bool(left == 1 and free and position == plan.input_size)
            left -= bool(left and free)
            accepted = go and ctx.get(loader.i.ready)
            wrong = accepted and not skipping and is_wrong(plan, value, last, position)
            assert ctx.get(loader.error) == bool(wrong), now
            if accepted:
                queue.pop(0)
                if wrong or skipping:
                    position, skipping = 0, not last
                else:
                    position, left = position + 1, plan.features
                    done = not left and position == plan.input_size
            errors.append(wrong)
            position = 0 if done else position
            held += done - (now == released)
            taken_port.append(not free)
            await ctx.tick()
            idle = 0 if queue or held or written else idle + 1
            if idle > 20:
                break
        assert len(begun) == len(whole)

    simulate(loader, bench)
    return sum(errors)


BUSY = {"never": [0], "now and then": [0, 0, 1, 0, 1, 1, 1, 0, 0, 0, 0], "mostly": [1, 1, 1, 0]}


@pytest.mark.parametrize("inputs", ["overlapped", "reused", "alone"])
@pytest.mark.parametrize("input_order", ["logical", "storage"])
@pytest.mark.parametrize(
    ("make", "pattern"),
    [
        *((plan_of, pattern) for pattern in PATTERNS),
        *((make, "bursts") for make in (map_plan, banked_plan, phases_plan)),
    ],
)
def test_loader_writes_a_frame_in_storage_order(make, pattern, input_order, inputs):
    plan = make(input_order=input_order, input=inputs)
    assert plan.input_mode == inputs
    assert ("input_order" in plan.images) == (make is banked_plan or (make is plan_of and input_order == "logical"))
    assert (plan.input_walk is not None) == (make in (map_plan, phases_plan))
    size = plan.input_size
    frames = [list(range(first, first + size)) for first in (-5, 7, -60, 90, 13)]
    work = 6 if input_order == "logical" else 3 * size
    assert load(plan, frames, wholes(frames, size), PATTERNS[pattern], work=work) == 0


@pytest.mark.parametrize("work", [6, 30])
@pytest.mark.parametrize("busy", BUSY)
@pytest.mark.parametrize("inputs", ["overlapped", "reused", "alone"])
def test_loader_yields_the_write_port(inputs, busy, work):
    plan = plan_of(input=inputs)
    rng = np.random.default_rng(len(busy))
    frames = [rng.integers(-128, 128, 11).tolist() for _ in range(6)]
    assert load(plan, frames, wholes(frames, 11), [1], BUSY[busy], work) == 0


def test_loader_writes_an_element_three_cycles_after_it_was_taken():
    loader = Loader(plan_of())
    assert loader.latency == 3

    async def bench(ctx):
        ctx.set(loader.i.valid, 1)
        ctx.set(loader.i.payload.data, -77)
        for _ in range(loader.latency):
            assert not ctx.get(loader.write.enable)
            await ctx.tick()
            ctx.set(loader.i.valid, 0)
        assert ctx.get(loader.write.enable)
        assert ctx.get(loader.write.data) == -77
        await ctx.tick()
        assert not ctx.get(loader.write.enable)

    simulate(loader, bench)


@pytest.mark.parametrize("make", [plan_of, map_plan])
def test_an_input_is_ready_so_early_that_the_engine_starts_when_the_plan_says(make):
    """Two cycles before: the engine is told a cycle late, and begins a cycle after that."""
    plan = make(input_order="logical")
    assert plan.latency.loops == (make is map_plan)
    loader = Loader(plan)

    async def bench(ctx):
        ctx.set(loader.i.valid, 1)
        for position in range(plan.input_size):
            ctx.set(loader.i.payload.last, position == plan.input_size - 1)
            assert not ctx.get(loader.ready)
            await ctx.tick()
        ctx.set(loader.i.valid, 0)
        for _ in range(plan.latency.start - 3):
            assert not ctx.get(loader.ready)
            await ctx.tick()
        assert ctx.get(loader.ready)

    simulate(loader, bench)


@pytest.mark.parametrize("inputs", ["overlapped", "reused", "alone"])
def test_loader_holds_as_many_inputs_as_there_is_room_for(inputs):
    """Nobody works on them: no element more is taken. One released: one input more, in its bank."""
    plan = plan_of(input=inputs)
    loader, banks = Loader(plan), 1 + (plan.memory.second > 0)

    async def bench(ctx):
        async def offer(cycles: int) -> int:
            taken = 0
            for _ in range(cycles):
                ctx.set(loader.i.valid, 1)
                ctx.set(loader.i.payload.last, taken % 11 == 10)
                taken += ctx.get(loader.i.ready)
                await ctx.tick()
                ctx.set(loader.begin, 0)
                ctx.set(loader.release, 0)
            ctx.set(loader.i.valid, 0)
            return taken

        assert await offer(60) == 11 * banks
        for turn in range(3):
            assert ctx.get(loader.ready)
            assert ctx.get(loader.second) == (turn % 2 if banks == 2 else 0)
            ctx.set(loader.begin, 1)
            ctx.set(loader.release, 1)
            assert await offer(40) == 11

    simulate(loader, bench)


@pytest.mark.parametrize("pattern", ["always", "bursts"])
@pytest.mark.parametrize(
    ("make", "excess"),
    [
        *((plan_of, excess) for excess in ([-8, 0], [-1, 0], [1, 0], [19, 0, 0], [-10, 14, -9, 0], [11, 0])),
        (map_plan, [-10, 14, -9, 1, 0]),
    ],
)
def test_loader_drops_frames_of_the_wrong_length(make, excess, pattern):
    plan = make(input_order="logical")
    lengths = [plan.input_size + more for more in excess]
    rng = np.random.default_rng(sum(lengths))
    frames = [rng.integers(-128, 128, length).tolist() for length in lengths]
    whole = [(frame, True, True) for frame in frames if len(frame) == plan.input_size]
    assert load(plan, frames, whole, PATTERNS[pattern]) == sum(map(bool, excess))


@pytest.mark.parametrize("pattern", ["always", "bursts"])
@pytest.mark.parametrize(
    "lengths", [[4, 8, 12], [3, 4], [5, 4], [1, 2, 3, 8], [11, 8], [4, 4, 7, 4]], ids=lambda lengths: str(lengths)
)
def test_loader_takes_sequences_of_any_number_of_steps(lengths, pattern):
    """A frame that ends within a step is dropped there; the steps before it have been computed. What comes behind it
    begins a sequence."""
    rng = np.random.default_rng(sum(lengths))
    frames = [rng.integers(-128, 128, length).tolist() for length in lengths]
    plan = Plan.make(lstm(2), EngineConfig(lanes=2))
    assert plan.input_size == 4
    work = 6 if pattern == "always" else 40
    errors = load(plan, frames, wholes(frames, 4), PATTERNS[pattern], BUSY["now and then"], work)
    assert errors == sum(length % 4 != 0 for length in lengths)


@pytest.mark.parametrize("busy", BUSY)
@pytest.mark.parametrize("pattern", ["always", "rare"])
@pytest.mark.parametrize("symbols", [1, 2])
def test_loader_writes_the_features_of_symbols(symbols, pattern, busy):
    frames = [[3, 0], [4, 4, 1, 2], [0, 1, 2, 3, 4, 3, 2, 1]]
    whole, work = wholes(frames, symbols), 6 if pattern == "always" else 30
    assert load(symbols_plan(symbols), frames, whole, PATTERNS[pattern], BUSY[busy], work) == 0


@pytest.mark.parametrize(
    ("frames", "whole"),
    [
        ([[5, 0], [1, 2]], [([1, 2], True, True)]),  # the first symbol
        ([[0, -1], [1, 2]], [([1, 2], True, True)]),  # the last one of its frame
        ([[0, 1, 2, 5], [1, 2]], [([0, 1], False, True), ([1, 2], True, True)]),
        ([[0, 1, 7, 0, 0, 0, 0, 0], [3, 3]], [([0, 1], False, True), ([3, 3], True, True)]),  # the rest is dropped
        ([[0, 1, 6, 7, 5, 6], [3, 3]], [([0, 1], False, True), ([3, 3], True, True)]),  # one error only
        ([[-8], [0, 1, 2], [2, 2]], [([0, 1], False, True), ([2, 2], True, True)]),  # and one that ends within a step
        ([[0, 1, 2], [9, 9, 9], [4, 4, 0, 0]], [([0, 1], False, True), ([4, 4], False, True), ([0, 0], True, False)]),
    ],
)
def test_loader_drops_a_frame_from_an_unknown_symbol_on(frames, whole):
    for pattern, busy in (("always", "never"), ("every other", "now and then")):
        assert load(symbols_plan(), frames, whole, PATTERNS[pattern], BUSY[busy]) == len(frames) - 1


def test_symbols_of_a_network_that_is_not_recurrent():
    """One frame, one input: also with symbols."""
    tensors = [tensor("s", 2, qmin=0, qmax=3), tensor("x", 6), tensor("y", 2)]
    table = np.arange(-6, 6).reshape(4, 3).astype(np.int16)
    net = network(tensors, [layer("y", "y", [("x", 0, 6)], 2)], embedding=Embedding("e", "x", table))
    plan = Plan.make(net, EngineConfig())
    frames = [[1, 2], [3], [0, 1, 2, 3], [2, 4], [3, 3]]
    assert load(plan, frames, [([1, 2], True, True), ([3, 3], True, True)], [1]) == 3


def test_loader_takes_nothing_while_the_write_port_is_taken():
    loader = Loader(plan_of())

    async def bench(ctx):
        ctx.set(loader.i.valid, 1)
        ctx.set(loader.busy, 1)
        for _ in range(20):
            assert not ctx.get(loader.i.ready)
            await ctx.tick()
            assert not ctx.get(loader.write.enable)

    simulate(loader, bench)
