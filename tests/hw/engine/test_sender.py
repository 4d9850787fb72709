"""The sender: back-pressure patterns, two or three outputs at a time."""

from dataclasses import replace
from itertools import count, pairwise

import pytest
from hypothesis import given, settings

from darb_hw.engine.sender import Sender
from darb_hw.plan.plan import Plan
from tests.hw.amaranth_sim import simulate
from tests.hw.engine.streams import PATTERNS, plan_of
from tests.hw.interpreter import GATE, INSIDE, OUTPUT
from tests.hw.plans import plans


def sender_plan(size: int, banks: int) -> Plan:
    """A plan with room for so many outputs."""
    plan = replace(plan_of(size_out=size))
    vars(plan)["timings"] = {1: replace(plan.timing, output_banks=banks)}
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
    assert plan.output_writes == {1: plan.output_size}
