"""Loader and sender: idle patterns x back-pressure patterns, frames of the wrong length, sequences, symbols; two
inputs, two or three outputs at a time."""

from dataclasses import replace
from itertools import count, pairwise

import numpy as np
import pytest
from hypothesis import given, settings

from darb_hw.config import EngineConfig
from darb_hw.engine.loader import Loader
from darb_hw.engine.sender import Sender
from darb_hw.plan.plan import Plan
from darb_prune.encoded import Embedding, EncodedNetwork
from tests.hw.amaranth_sim import simulate
from tests.hw.interpreter import GATE, INSIDE, OUTPUT
from tests.hw.plans import plans
from tests.hw.small import convolution, layer, lstm, network, tensor

PATTERNS = {"always": [1], "every other": [1, 0], "bursts": [1, 1, 1, 0, 0], "rare": [0, 0, 0, 1]}


def plan_of(size_in=11, size_out=9, input_order="logical", **options) -> Plan:
    order = np.random.default_rng(size_in).permutation(size_in).astype(np.int32)
    tensors = [tensor("x", size_in, order=order), tensor("y", size_out)]
    made = network(tensors, [layer("a", "y", [("x", 0, size_in)], size_out)])
    return Plan.make(made, EngineConfig(lanes=2, input_order=input_order, **options))


def map_plan(input_order: str, **options) -> Plan:
    """A feature map with zeros around it."""
    x, y = tensor("x", 2, 3, 2, order=np.array([1, 0])), tensor("y", 2, 3, 1)
    return Plan.make(
        network([x, y], [convolution("a", x, y)]), EngineConfig(lanes=2, input_order=input_order, **options)
    )


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
    addresses = plan.memory.start("x") + plan.layouts["x"].elements(net.tensor("x"))
    addresses += plan.memory.second * second
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
    loader, banks = Loader(plan), 1 + plan.overlapped
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
                memory[ctx.get(loader.write.address)] = ctx.get(loader.write.data)
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


@pytest.mark.parametrize("inputs", ["overlapped", "alone"])
@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("input_order", ["logical", "storage"])
@pytest.mark.parametrize("make", [plan_of, map_plan])
def test_loader_writes_a_frame_in_storage_order(make, input_order, pattern, inputs):
    plan = make(input_order=input_order, input=inputs)
    assert plan.overlapped == (inputs == "overlapped")
    assert ("input_order" in plan.images) == (input_order == "logical" or make is map_plan)
    size = plan.input_size
    frames = [list(range(first, first + size)) for first in (-5, 7, -60, 90, 13)]
    work = 6 if input_order == "logical" else 3 * size
    assert load(plan, frames, wholes(frames, size), PATTERNS[pattern], work=work) == 0


@pytest.mark.parametrize("work", [6, 30])
@pytest.mark.parametrize("busy", BUSY)
@pytest.mark.parametrize("inputs", ["overlapped", "alone"])
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


@pytest.mark.parametrize("inputs", ["overlapped", "alone"])
def test_loader_holds_as_many_inputs_as_there_is_room_for(inputs):
    """Nobody works on them: no element more is taken. One released: one input more, in its bank."""
    plan = plan_of(input=inputs)
    loader, banks = Loader(plan), 1 + plan.overlapped

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
@pytest.mark.parametrize("lengths", [[3, 11], [10, 11], [12, 11], [30, 11, 11], [1, 25, 2, 11], [22, 11]])
def test_loader_drops_frames_of_the_wrong_length(lengths, pattern):
    rng = np.random.default_rng(sum(lengths))
    frames = [rng.integers(-128, 128, length).tolist() for length in lengths]
    whole = [(frame, True, True) for frame in frames if len(frame) == 11]
    assert load(plan_of(), frames, whole, PATTERNS[pattern]) == sum(length != 11 for length in lengths)


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


# The sender.


def sender_plan(size: int, banks: int) -> Plan:
    """A plan with room for so many outputs."""
    plan = replace(plan_of(size_out=size))
    vars(plan)["timing"] = replace(plan.timing, output_banks=banks)
    assert plan.output_banks == banks
    return plan


def test_there_are_plans_with_two_outputs_and_with_three():
    assert {plan_of(size_out=size).output_banks for size in (1, 9)} == {2, 3}


def results(values: list[int], dense: bool) -> list[tuple[int, int, int] | None]:
    """Results of an inference, as (target, address, value), last row first: those that stay inside in between and none
    side by side, or all one behind the other."""
    stream = []
    for row, value in reversed(list(enumerate(values))):
        inside = [(INSIDE, row, ~value), (GATE, row, ~value), None]
        stream += [(OUTPUT, row, value)] if dense else [inside[0], (OUTPUT, row, value), *inside[1:]]
    return stream


class Exchange:
    """An engine that begins an inference as soon as there is room and ``period`` cycles after the one before, whose
    results come ``behind`` cycles later; one that takes what is sent as ``pattern`` says.

    Checked in every cycle: there is room when fewer outputs are on their way than there is room for; an element is
    offered whenever there is one, the first of an output ``latency`` cycles after its last result; what is offered is
    held until it is taken.
    """

    def __init__(self, sender: Sender, outputs: list[tuple[list[int], bool]], pattern, period=1, behind=9, dense=True):
        self.sender, self.outputs = sender, outputs
        self.pattern, self.period, self.behind, self.dense = pattern, period, behind, dense
        self.begun: list[int] = []
        self.complete: list[int] = []
        self.left: list[int] = []
        self.got: list[tuple[int, int]] = []

    async def run(self, ctx) -> None:
        sender, size, banks = self.sender, self.sender.plan.output_size, self.sender.plan.output_banks
        port, room, held = {}, True, None
        await ctx.tick()  # after a reset there is room a cycle later
        for now in count():
            left_before = len(self.left)
            assert ctx.get(sender.room) == room, now
            begins = bool(
                len(self.begun) < len(self.outputs) and room and now >= (self.begun or [-99])[-1] + self.period
            )
            ctx.set(sender.begin, begins)
            ctx.set(sender.final, self.outputs[len(self.begun)][1] if begins else now % 2)
            if begins:
                first = max(now + self.behind, max(port, default=0) + 1)
                stream = results(self.outputs[len(self.begun)][0], self.dense)
                port |= {first + position: result for position, result in enumerate(stream)}
                self.complete.append(max(cycle for cycle, result in port.items() if result and result[0] == OUTPUT))
                self.begun.append(now)
            result = port.get(now)
            ctx.set(sender.result.valid, result is not None)
            if result:
                ctx.set(sender.result, dict(zip(("target", "address", "value"), result, strict=True)) | {"valid": 1})

            ready = self.pattern[now % len(self.pattern)]
            ctx.set(sender.o.ready, ready)
            output = len(self.got) // size
            there = output < len(self.complete) and now >= self.complete[output] + sender.latency
            assert ctx.get(sender.o.valid) == there, now
            if there:
                element = ctx.get(sender.o.payload.data), ctx.get(sender.o.payload.last)
                assert held in (None, element)
                held = None if ready else element
                if ready:
                    self.got.append(element)
                    if len(self.got) % size == 0:
                        self.left.append(now)
            room = len(self.begun) - left_before < banks
            await ctx.tick()
            if len(self.left) == len(self.outputs) and now > self.left[-1] + 5:
                return


def frames_of(size: int, finals: list[int]) -> tuple[list[tuple[list[int], bool]], list[tuple[int, int]]]:
    """Outputs, and their elements as they have to come: only the last one of a frame is marked."""
    outputs = [([(7 * output + row) % 256 - 128 for row in range(size)], bool(f)) for output, f in enumerate(finals)]
    elements = [(v, int(final and row == size - 1)) for values, final in outputs for row, v in enumerate(values)]
    return outputs, elements


@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize("banks", [2, 3])
@pytest.mark.parametrize("size", [1, 2, 8, 9])
@pytest.mark.parametrize("pattern", PATTERNS)
def test_sender_holds_elements_until_they_are_taken(pattern, size, banks, dense):
    """Frames of one output, and of several, begun as early as there is room."""
    sender = Sender(sender_plan(size, banks))
    outputs, elements = frames_of(size, [1, 0, 1, 1, 0, 0, 1, 1])
    exchange = Exchange(sender, outputs, PATTERNS[pattern], dense=dense)

    async def bench(ctx):
        await exchange.run(ctx)
        assert exchange.got == elements

    simulate(sender, bench)


@pytest.mark.parametrize("banks", [2, 3])
@pytest.mark.parametrize("size", [1, 2, 3, 9])
def test_sender_gives_an_element_a_cycle(size, banks):
    """Outputs that are complete one right behind the other leave without a gap; how many are on their way."""
    sender = Sender(sender_plan(size, banks))
    outputs, elements = frames_of(size, [1] * 12)
    exchange = Exchange(sender, outputs, [1], period=max(size, 2), behind=2)

    async def bench(ctx):
        await exchange.run(ctx)
        assert exchange.got == elements
        for output, following in pairwise(range(len(outputs))):
            if exchange.complete[following] - exchange.complete[output] <= size:
                assert exchange.left[following] - exchange.left[output] == size
        flying = [sum(b <= now for b in exchange.begun) - sum(e < now for e in exchange.left) for now in exchange.begun]
        assert max(flying) == banks

    simulate(sender, bench)


def test_three_outputs_hold_a_pace_that_two_do_not():
    """Short outputs whose results come long after their inference has begun."""
    paces = []
    for banks in (2, 3):
        sender = Sender(sender_plan(2, banks))
        outputs, _ = frames_of(2, [1] * 9)
        exchange = Exchange(sender, outputs, [1], period=8, behind=14)

        async def bench(ctx, exchange=exchange):
            await exchange.run(ctx)

        simulate(sender, bench)
        paces.append((exchange.begun[-1] - exchange.begun[2]) / 6)
    assert paces[1] == 8 < paces[0]


@pytest.mark.parametrize("banks", [2, 3])
@pytest.mark.parametrize("size", [2, 3, 9])
def test_what_a_step_has_given_of_an_output_is_discarded(size, banks):
    """A part of an output, however large, belongs to none: while nothing is sent, and while others are."""
    sender = Sender(sender_plan(size, banks))

    async def bench(ctx):
        ctx.set(sender.o.ready, 1)
        expected, got, now, seen = [], [], 0, []

        async def tick():
            nonlocal now
            if ctx.get(sender.o.valid):
                got.append((ctx.get(sender.o.payload.data), ctx.get(sender.o.payload.last)))
                seen.append(now)
            await ctx.tick()
            now += 1
            ctx.set(sender.result.valid, 0)
            ctx.set(sender.begin, 0)
            ctx.set(sender.discard, 0)

        async def give(values):
            for row, value in enumerate(values):
                ctx.set(sender.result, {"valid": 1, "target": OUTPUT, "address": row, "value": value})
                await tick()

        for turn, part in enumerate([*range(size), *reversed(range(size))]):
            await give([99] * part)
            ctx.set(sender.discard, 1)
            ctx.set(sender.begin, 1)
            ctx.set(sender.final, 1)
            await tick()
            values = [10 * turn + row - 100 for row in range(size)]
            await give(values)
            expected += [(value, int(row == size - 1)) for row, value in enumerate(values)]
            if turn % 3:
                for _ in range(size + 5):
                    await tick()
        for _ in range(30):
            await tick()
        assert got == expected

    simulate(sender, bench)


def test_sender_sends_nothing_of_a_step_that_gives_no_output():
    sender = Sender(plan_of(size_out=3))

    async def bench(ctx):
        ctx.set(sender.o.ready, 1)
        for target, row in ((OUTPUT, 0), (OUTPUT, 1), (INSIDE, 2), (GATE, 2)):
            ctx.set(sender.result, {"valid": 1, "target": target, "address": row, "value": 5})
            await ctx.tick()
        ctx.set(sender.result.valid, 0)
        for _ in range(20):
            assert ctx.get(sender.room)
            assert not ctx.get(sender.o.valid)
            await ctx.tick()

    simulate(sender, bench)


@given(plans())
@settings(max_examples=20)
def test_each_element_of_the_output_is_written_once(plan):
    assert plan.output_writes == plan.output_size
