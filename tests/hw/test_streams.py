"""Loader and sender: idle patterns x back-pressure patterns, frames of the wrong length, sequences, symbols."""

from dataclasses import replace

import numpy as np
import pytest
from hw.amaranth_sim import simulate
from hw.interpreter import GATE, INSIDE, OUTPUT
from hw.plans import plans
from hw.small import convolution, layer, lstm, network, tensor
from hypothesis import given, settings

from darb_hw.config import EngineConfig
from darb_hw.loader import Loader
from darb_hw.plan import Plan
from darb_hw.sender import Sender
from darb_prune.encoded import Embedding, EncodedNetwork

PATTERNS = {"always": [1], "every other": [1, 0], "bursts": [1, 1, 1, 0, 0], "rare": [0, 0, 0, 1]}


def plan_of(size_in=11, size_out=9, input_order="logical") -> Plan:
    order = np.random.default_rng(size_in).permutation(size_in).astype(np.int32)
    tensors = [tensor("x", size_in, order=order), tensor("y", size_out)]
    made = network(tensors, [layer("a", "y", [("x", 0, size_in)], size_out)])
    return Plan.make(made, EngineConfig(lanes=2, input_order=input_order))


def map_plan(input_order: str) -> Plan:
    """A feature map with zeros around it."""
    x, y = tensor("x", 2, 3, 2, order=np.array([1, 0])), tensor("y", 2, 3, 1)
    return Plan.make(network([x, y], [convolution("a", x, y)]), EngineConfig(lanes=2, input_order=input_order))


def symbols_plan(count: int = 2) -> Plan:
    """An LSTM behind an embedding: five symbols of three features."""
    net, table = lstm(3), np.arange(-7, 8).reshape(5, 3).astype(np.int16)
    x = tensor("x", 3 * count, order=np.random.default_rng(1).permutation(3 * count).astype(np.int32))
    tensors = (tensor("s", count, qmin=0, qmax=4), x, *net.tensors[1:])
    layers = (layer("gate", "gates", [("x", 0, x.size), ("h", 0, 3)], 12), *net.layers[1:])
    embedding = Embedding("e", "x", table)
    made = EncodedNetwork("n", "s", net.output, tensors, layers, cells=net.cells, embedding=embedding)
    return Plan.make(made, EngineConfig(lanes=2))


def stored(plan: Plan, values: list[int]) -> dict[int, int]:
    """Where the values of a whole input, in the order of the stream, have to be."""
    net = plan.network
    if net.embedding:
        values = [int(value) for symbol in values for value in net.embedding.table[symbol]]
    elif plan.config.input_order == "storage":
        values = [values[position] for position in net.tensor("x").position]
    addresses = plan.memory.start("x") + plan.layouts["x"].elements(net.tensor("x"))
    return dict(zip(addresses.tolist(), values, strict=True))


def load(plan: Plan, frames: list[list[int]], pattern: list[int]) -> tuple[list[tuple[list[int], bool]], int]:
    """Send frames, and close the loader for a while after every whole input, as the engine does.

    Returns the inputs that were whole, as (values, whether it was the last of its frame), and the number of errors.
    After each one, what was written since the one before is compared with what has to be in memory.
    """
    loader, size = Loader(plan), plan.input_size
    queue = [(value, number == len(frame) - 1) for frame in frames for number, value in enumerate(frame)]
    inputs, errors = [], []

    async def bench(ctx):
        memory, taken, closed, idle, cycle, final = {}, [], 0, 0, 0, 0
        while idle < 12:
            go = bool(queue) and (closed or pattern[cycle % len(pattern)])
            ctx.set(loader.accept, not closed)
            ctx.set(loader.i.valid, go)
            if go:
                ctx.set(loader.i.payload.data, queue[0][0])
                ctx.set(loader.i.payload.last, queue[0][1])
            assert not (closed and ctx.get(loader.i.ready))
            if go and ctx.get(loader.i.ready):
                taken.append(queue.pop(0)[0])
                errors.append(ctx.get(loader.error))
            else:
                assert not ctx.get(loader.error)
            done, last = ctx.get(loader.done), ctx.get(loader.i.payload.last)
            await ctx.tick()
            cycle += 1
            if not plan.features:  # it stays until the next input is whole
                final = last if done else final
                assert ctx.get(loader.final) == final
            if ctx.get(loader.write.enable):
                memory[ctx.get(loader.write.address)] = ctx.get(loader.write.data)
            closed = loader.latency + 2 if done else max(closed - 1, 0)
            if closed == 1:  # all is written by now
                where = stored(plan, taken[-size:])
                assert {address: memory.get(address) for address in where} == where
                inputs.append((taken[-size:], bool(ctx.get(loader.final))))
                memory.clear()
            idle = 0 if queue or closed else idle + 1

    simulate(loader, bench)
    return inputs, sum(errors)


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("input_order", ["logical", "storage"])
@pytest.mark.parametrize("make", [plan_of, map_plan])
def test_loader_writes_a_frame_in_storage_order(make, input_order, pattern):
    plan = make(input_order=input_order)
    assert ("input_order" in plan.images) == (input_order == "logical" or make is map_plan)
    frames = [list(range(first, first + plan.input_size)) for first in (-5, 7)]
    inputs, errors = load(plan, frames, PATTERNS[pattern])
    assert inputs == [(frame, True) for frame in frames]
    assert errors == 0


def test_loader_writes_an_element_two_cycles_after_it_was_taken():
    loader = Loader(plan_of())

    async def bench(ctx):
        ctx.set(loader.accept, 1)
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


@pytest.mark.parametrize("pattern", ["always", "bursts"])
@pytest.mark.parametrize("lengths", [[3, 11], [10, 11], [12, 11], [30, 11, 11], [1, 25, 2, 11], [22, 11]])
def test_loader_drops_frames_of_the_wrong_length(lengths, pattern):
    rng = np.random.default_rng(sum(lengths))
    frames = [rng.integers(-128, 128, length).tolist() for length in lengths]
    inputs, errors = load(plan_of(), frames, PATTERNS[pattern])
    assert inputs == [(frame, True) for frame in frames if len(frame) == 11]
    assert errors == sum(length != 11 for length in lengths)


@pytest.mark.parametrize("pattern", ["always", "bursts"])
@pytest.mark.parametrize(
    "lengths", [[4, 8, 12], [3, 4], [5, 4], [1, 2, 3, 8], [11, 8], [4, 4, 7, 4]], ids=lambda lengths: str(lengths)
)
def test_loader_takes_sequences_of_any_number_of_steps(lengths, pattern):
    """A frame that ends within a step is dropped there; the steps before it have been computed."""
    rng = np.random.default_rng(sum(lengths))
    frames = [rng.integers(-128, 128, length).tolist() for length in lengths]
    plan = Plan.make(lstm(2), EngineConfig(lanes=2))
    assert plan.input_size == 4
    expected = [
        (frame[start : start + 4], start + 4 == len(frame))
        for frame in frames
        for start in range(0, len(frame) // 4 * 4, 4)
    ]
    inputs, errors = load(plan, frames, PATTERNS[pattern])
    assert inputs == expected
    assert errors == sum(length % 4 != 0 for length in lengths)


@pytest.mark.parametrize("pattern", ["always", "rare"])
@pytest.mark.parametrize("count", [1, 2])
def test_loader_writes_the_features_of_symbols(count, pattern):
    frames = [[3, 0], [4, 4, 1, 2], [0, 1, 2, 3, 4, 3, 2, 1]]
    inputs, errors = load(symbols_plan(count), frames, PATTERNS[pattern])
    expected = [
        (frame[start : start + count], start + count == len(frame))
        for frame in frames
        for start in range(0, len(frame), count)
    ]
    assert inputs == expected
    assert errors == 0


@pytest.mark.parametrize(
    ("frames", "whole"),
    [
        ([[5, 0], [1, 2]], [([1, 2], True)]),  # the first symbol
        ([[0, -1], [1, 2]], [([1, 2], True)]),  # the last one of its frame
        ([[0, 1, 2, 5], [1, 2]], [([0, 1], False), ([1, 2], True)]),
        ([[0, 1, 7, 0, 0, 0, 0, 0], [3, 3]], [([0, 1], False), ([3, 3], True)]),  # the rest is dropped
        ([[0, 1, 6, 7, 5, 6], [3, 3]], [([0, 1], False), ([3, 3], True)]),  # one error only
        ([[-8], [0, 1, 2], [2, 2]], [([0, 1], False), ([2, 2], True)]),  # and one that ends within a step
        ([[0, 1, 2], [9, 9, 9], [4, 4]], [([0, 1], False), ([4, 4], True)]),
    ],
)
def test_loader_drops_a_frame_from_an_unknown_symbol_on(frames, whole):
    for pattern in ("always", "every other"):
        inputs, errors = load(symbols_plan(), frames, PATTERNS[pattern])
        assert inputs == whole
        assert errors == len(frames) - 1


def test_symbols_of_a_network_that_is_not_recurrent():
    """One frame, one input: also with symbols."""
    tensors = [tensor("s", 2, qmin=0, qmax=3), tensor("x", 6), tensor("y", 2)]
    table = np.arange(-6, 6).reshape(4, 3).astype(np.int16)
    net = network(tensors, [layer("y", "y", [("x", 0, 6)], 2)], embedding=Embedding("e", "x", table))
    plan = Plan.make(net, EngineConfig())
    inputs, errors = load(plan, [[1, 2], [3], [0, 1, 2, 3], [2, 4], [3, 3]], [1])
    assert inputs == [([1, 2], True), ([3, 3], True)]
    assert errors == 3


def test_loader_takes_nothing_unless_told():
    loader = Loader(plan_of())

    async def bench(ctx):
        ctx.set(loader.i.valid, 1)
        for _ in range(20):
            assert not ctx.get(loader.i.ready)
            await ctx.tick()
            assert not ctx.get(loader.write.enable)

    simulate(loader, bench)


class Frames:
    """Results of frames on the port of a sender, and what comes out of it, cycle by cycle.

    Parameters
    ----------
    values : list of list of int
        Of each frame, by address.
    finals : list of int
    gap : float
        Probability that a result is followed by a cycle without one, and a frame by some.
    """

    def __init__(self, sender: Sender, values: list[list[int]], finals: list[int], seed: int, gap: float = 0.0):
        self.sender, self.finals = sender, finals
        self._rng, self._gap = np.random.default_rng(seed), gap
        self._port = [self._results(frame) for frame in values]
        self.left, self.last = [], []  # elements; cycles of the last result of each frame
        self.first = []  # cycles in which each first element was offered
        self.crowded = 0

    def _results(self, frame: list[int]) -> list[dict | None]:
        """A frame on the port, in any order, with results in between that are not for the output."""
        port = []
        for address in self._rng.permutation(len(frame)):
            while self._rng.random() < self._gap:
                target = [None, INSIDE, GATE][self._rng.integers(3)]
                inside = {"target": target, "address": int(address), "value": ~frame[address]}
                port.append(None if target is None else inside)
            port.append({"target": OUTPUT, "address": int(address), "value": frame[address]})
        return port

    async def run(self, ctx, pattern: list[int], wait: int = 0) -> None:
        """Until all have left. A frame begins when there is room, its results come ``wait`` cycles later at the
        earliest; what is offered has to be held until it is taken."""
        sender, size = self.sender, self.sender.plan.output_size
        begun, due, number, cycle, held = 0, [], 0, 0, None
        while len(self.left) < size * len(self._port):
            begins = begun < len(self._port) and ctx.get(sender.room)
            ctx.set(sender.begin, begins)
            ctx.set(sender.final, self.finals[begun] if begins else int(self._rng.integers(2)))
            self.crowded += begun < len(self._port) and not begins
            if begins:
                begun += 1
                due.append(cycle + wait)
            result = None
            if number < len(due) and cycle >= due[number]:
                result = self._port[number].pop(0)
                if not self._port[number]:
                    self.last.append(cycle)
                    number += 1
            ctx.set(sender.result.valid, result is not None)
            for name, value in (result or {}).items():
                ctx.set(sender.result[name], value)
            ready = pattern[cycle % len(pattern)]
            ctx.set(sender.o.ready, ready)
            if ctx.get(sender.o.valid):
                element = ctx.get(sender.o.payload.data), ctx.get(sender.o.payload.last)
                assert held in (None, element)
                if held is None and len(self.left) % size == 0:
                    self.first.append(cycle)
                held = None if ready else element
                if ready:
                    self.left.append(element)
            else:
                assert held is None
            await ctx.tick()
            cycle += 1
            assert cycle < 3000
        ctx.set(sender.begin, 0)
        ctx.set(sender.result.valid, 0)
        for _ in range(2 * sender.latency):
            assert not ctx.get(sender.o.valid)
            assert ctx.get(sender.room)
            await ctx.tick()


def elements_of(values: list[list[int]], finals: list[int]) -> list[tuple[int, int]]:
    size = len(values[0])
    return [
        (value, int(final and number == size - 1))
        for frame, final in zip(values, finals, strict=True)
        for number, value in enumerate(frame)
    ]


@pytest.mark.parametrize("size", [1, 2, 9, 16])
@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize(("gap", "wait"), [(0.0, 0), (0.5, 7)])
def test_sender_holds_elements_until_they_are_taken(pattern, size, gap, wait):
    """Outputs of several steps of one sequence make one frame: only the last element of it is marked."""
    plan = plan_of(size_out=size)
    assert plan.output_writes == size
    sender = Sender(plan)
    finals = [1, 0, 1, 0, 0, 1, 1]
    values = np.random.default_rng(size).integers(-128, 128, (len(finals), size)).tolist()

    async def bench(ctx):
        frames = Frames(sender, values, finals, size, gap)
        await frames.run(ctx, PATTERNS[pattern], wait)
        assert frames.left == elements_of(values, finals)
        assert frames.crowded or pattern != "rare"
        assert frames.first[0] == frames.last[0] + sender.latency

    simulate(sender, bench)


@pytest.mark.parametrize("size", [1, 3, 8])
def test_sender_sends_one_frame_behind_the_other(size):
    """Without a pause if the next one is complete; ``latency`` cycles after the last result if it is not."""
    sender = Sender(plan_of(size_out=size))
    values = [[10 * frame + row for row in range(size)] for frame in range(5)]
    stall = 2 * size + 8

    async def bench(ctx):
        frames = Frames(sender, values, [1] * 5, size)
        await frames.run(ctx, [0] * stall + [1] * 200)
        assert frames.left == elements_of(values, [1] * 5)
        assert frames.first[:2] == [frames.last[0] + sender.latency, stall + size]
        for number in range(2, 5):
            earliest = max(frames.last[number] + sender.latency, frames.first[number - 1] + size)
            assert frames.first[number] == earliest

    simulate(sender, bench)


def test_sender_drops_what_has_come_of_an_output_that_is_discarded():
    """Any number of its results, while the frame before is sent."""
    size = 5
    sender = Sender(plan_of(size_out=size))

    async def bench(ctx):
        ctx.set(sender.o.ready, 1)
        got = []

        async def tick():
            if ctx.get(sender.o.valid):
                got.append((ctx.get(sender.o.payload.data), ctx.get(sender.o.payload.last)))
            await ctx.tick()

        async def give(values):
            for row, value in enumerate(values):
                ctx.set(sender.result, {"valid": 1, "target": OUTPUT, "address": row, "value": value})
                await tick()
            ctx.set(sender.result.valid, 0)

        for number in range(size):
            ctx.set(sender.begin, 1)
            ctx.set(sender.final, 1)
            await tick()
            ctx.set(sender.begin, 0)
            await give([-1] * number)
            ctx.set(sender.discard, 1)
            await tick()
            ctx.set(sender.discard, 0)
            await give(range(10 * number, 10 * number + size))
            for _ in range(number):
                await tick()
        for _ in range(20):
            await tick()
        assert got == elements_of([list(range(10 * n, 10 * n + size)) for n in range(size)], [1] * size)

    simulate(sender, bench)


@pytest.mark.parametrize("banks", [2, 3])
def test_sender_has_room_for_as_many_frames_as_there_are_banks(banks):
    """From ``begin`` until the last element has left."""
    plan = plan_of(size_out=4)
    plan.__dict__["timing"] = replace(plan.timing, output_banks=banks)
    sender = Sender(plan)

    async def bench(ctx):
        await ctx.tick()
        for _ in range(banks):
            assert ctx.get(sender.room)
            ctx.set(sender.begin, 1)
            await ctx.tick()
        ctx.set(sender.begin, 0)
        for row in range(4 * banks):
            assert not ctx.get(sender.room)
            ctx.set(sender.result, {"valid": 1, "target": OUTPUT, "address": row % 4, "value": row})
            await ctx.tick()
        ctx.set(sender.result.valid, 0)
        for _ in range(10):
            assert not ctx.get(sender.room)
            await ctx.tick()
        ctx.set(sender.o.ready, 1)
        taken = []
        for _ in range(4 * banks):
            taken += [ctx.get(sender.o.payload.data)] * ctx.get(sender.o.valid)
            if not 4 <= len(taken) <= 5:
                assert ctx.get(sender.room) == (len(taken) > 4)
            await ctx.tick()
        assert taken == list(range(4 * banks))

    simulate(sender, bench)


@given(plans())
@settings(max_examples=20)
def test_each_element_of_the_output_is_written_once(plan):
    assert plan.output_writes == plan.output_size
