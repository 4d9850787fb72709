"""Loader and sender: idle patterns x back-pressure patterns, frames of the wrong length."""

import numpy as np
import pytest
from hw.amaranth_sim import simulate
from networks import random_network

from darb_hw.config import EngineConfig
from darb_hw.loader import Loader
from darb_hw.plan import Plan
from darb_hw.sender import Sender

PATTERNS = {"always": [1], "every other": [1, 0], "bursts": [1, 1, 1, 0, 0], "rare": [0, 0, 0, 1]}


def plan_of(size_in=11, size_out=9, input_order="logical") -> Plan:
    network = random_network(53, sizes=(size_in, size_out)).network
    assert network.tensor("x").order is not None
    return Plan.make(network, EngineConfig(lanes=2, input_order=input_order))


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("input_order", ["logical", "storage"])
def test_loader_writes_a_frame_in_storage_order(input_order, pattern):
    plan = plan_of(input_order=input_order)
    loader = Loader(plan)
    frame = list(range(-5, 6))
    position = plan.network.tensor("x").position

    async def bench(ctx):
        ctx.set(loader.accept, 1)
        written, sent, cycle, done = {}, 0, 0, []
        while sent < len(frame) or cycle < 4 * len(frame) + 8:
            go = sent < len(frame) and PATTERNS[pattern][cycle % len(PATTERNS[pattern])]
            ctx.set(loader.i.valid, go)
            if go:
                ctx.set(loader.i.payload.data, frame[sent])
                ctx.set(loader.i.payload.last, sent == len(frame) - 1)
                sent += 1
            if ctx.get(loader.done):
                done.append(sent)
            assert not ctx.get(loader.error)
            await ctx.tick()
            if ctx.get(loader.write.enable):
                written[ctx.get(loader.write.address)] = ctx.get(loader.write.data)
            cycle += 1
        assert done == [len(frame)]
        places = position if input_order == "logical" else np.arange(len(frame))
        assert written == {int(place): value for place, value in zip(places, frame, strict=True)}

    simulate(loader, bench)


@pytest.mark.parametrize("lengths", [[3, 11], [10, 11], [12, 11], [30, 11, 11], [1, 25, 2, 11], [22, 11]])
def test_loader_drops_frames_of_the_wrong_length(lengths):
    plan = plan_of()
    loader = Loader(plan)

    async def bench(ctx):
        ctx.set(loader.accept, 1)
        done, errors = [], 0
        for number, length in enumerate(lengths):
            for element in range(length):
                ctx.set(loader.i.valid, 1)
                ctx.set(loader.i.payload.last, element == length - 1)
                if ctx.get(loader.done):
                    done.append(number)
                errors += ctx.get(loader.error)
                await ctx.tick()
        assert done == [number for number, length in enumerate(lengths) if length == 11]
        assert errors == sum(length != 11 for length in lengths)

    simulate(loader, bench)


def test_loader_takes_nothing_unless_told():
    loader = Loader(plan_of())

    async def bench(ctx):
        ctx.set(loader.i.valid, 1)
        for _ in range(20):
            assert not ctx.get(loader.i.ready)
            await ctx.tick()
            assert not ctx.get(loader.write.enable)

    simulate(loader, bench)


@pytest.mark.parametrize("size", [1, 2, 9])
@pytest.mark.parametrize("pattern", PATTERNS)
def test_sender_holds_elements_until_they_are_taken(pattern, size):
    plan = plan_of(size_out=size)
    sender = Sender(plan)
    values = list(range(-4, size - 4))

    async def bench(ctx):
        for _ in range(3):
            for row, value in enumerate(values):
                ctx.set(sender.result.valid, 1)
                ctx.set(sender.result.output, 1)
                ctx.set(sender.result.address, row)
                ctx.set(sender.result.value, value)
                ctx.set(sender.result.last, row == size - 1)
                assert ctx.get(sender.idle)
                await ctx.tick()
            ctx.set(sender.result.valid, 0)
            got, cycle, held, first = [], 0, None, None
            while not ctx.get(sender.idle):
                ready = PATTERNS[pattern][cycle % len(PATTERNS[pattern])]
                ctx.set(sender.o.ready, ready)
                if ctx.get(sender.o.valid):
                    first = cycle if first is None else first
                    element = ctx.get(sender.o.payload.data), ctx.get(sender.o.payload.last)
                    assert held in (None, element)
                    held = None if ready else element
                    if ready:
                        got.append(element)
                else:
                    assert held is None
                await ctx.tick()
                cycle += 1
                assert cycle < 200
            assert got == [(value, int(row == size - 1)) for row, value in enumerate(values)]
            assert first == sender.latency - 1

    simulate(sender, bench)
