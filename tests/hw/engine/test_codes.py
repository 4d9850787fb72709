# amaranth: UnusedElaboratable=no
"""Words of the ROMs of weights and indices, step by step, against where the groups stand in them."""

from dataclasses import replace

import numpy as np
import pytest

from darb_hw.config import EngineConfig
from darb_hw.engine.codes import Codes
from darb_hw.engine.sequencer import Sequencer
from darb_hw.plan.plan import Plan
from darb_prune.encoded import DENSE, EMPTY, Level, Segment
from tests.hw.amaranth_sim import simulate
from tests.hw.interpreter import unpack
from tests.hw.small import convolution, layer, network, tensor
from tests.networks import random_network


def words_of(plan: Plan, final: bool = True) -> list[tuple[int, list[int | None]]]:
    """Of each step the number of its word in the ROM of weights, and in each ROM of indices, if it has one there:
    every group once, as often as it has passes."""
    widths, net = plan.index_widths, plan.network
    weights, indices = 0, [0] * len(widths)
    words = []
    for group in plan.schedule.groups:
        if net.emit == "last" and not final and group.layer >= net.tail:
            break
        reaches = [group.index_bits >= width for width in widths]
        for _ in range(group.loop.passes):
            for step in range(group.steps):
                word = 0 if group.uniform else step
                at = [first + word if reach else None for first, reach in zip(indices, reaches, strict=True)]
                words.append((weights + word, at))
        stored = 1 if group.uniform else group.steps
        weights += stored
        indices = [first + stored * reach for first, reach in zip(indices, reaches, strict=True)]
    if final:  # all words have been used
        assert weights == plan.images["weights"].depth
        assert all(n in (0, plan.images[f"index_{rom_number}"].depth) for rom_number, n in enumerate(indices))
    return words


def expected_of(plan: Plan, final: bool) -> list[tuple[list[int], list[int]]]:
    """Weights, as unsigned numbers, and indices of all lanes of each step."""
    wide = 1 << plan.widths.weight
    weights = [[code["weight"] % wide for code in word] for word in unpack(plan.images["weights"])]
    roms = [
        [[code["index"] for code in word] for word in unpack(plan.images[f"index_{rom_number}"])]
        for rom_number in range(len(plan.index_widths))
    ]
    expected = []
    for weight, at in words_of(plan, final):
        index, low = [0] * plan.config.lanes, 0
        for rom, address, high in zip(roms, at, plan.index_widths, strict=True):
            if address is not None:
                index = [before | bits << low for before, bits in zip(index, rom[address], strict=True)]
            low = high
        expected.append((weights[weight], index))
    return expected


def check(plan: Plan, finals: list[bool], pauses: list[int], cut: int | None = None) -> None:
    """Programs one after another, so many idle cycles between them; the first one perhaps broken off after ``cut``
    cycles, as by a reset of what is before the ROMs. Outside steps the flags of a step mean nothing."""
    codes, rng = Codes(plan), np.random.default_rng(1)
    stream, expected = [None], {}
    for program, (final, pause) in enumerate(zip(finals, pauses, strict=True)):
        steps = Sequencer.model(plan, final=final)
        steps = steps[:cut] if program == 0 else steps
        values = expected_of(plan, final)
        begun = len(stream)
        real = [begun + cycle for cycle, step in enumerate(steps) if step]
        assert len(real) == len(values) or (cut and not program)
        expected |= dict(zip(real, values, strict=False))
        stream += [*steps, *[None] * pause]
        if program == 0:
            restarts = {0}
        restarts.add(begun - 1)
    lanes = range(plan.config.lanes)
    tail = codes.latency_weight + 1

    async def bench(ctx):
        for now in range(len(stream) + tail):
            step = stream[now] if now < len(stream) else None
            ctx.set(codes.restart, now in restarts)
            ctx.set(codes.step.valid, step is not None)
            ctx.set(codes.step.index, step["index"] if step else 0)
            for name in ("last", "again", "stay") if plan.uniform else ("last", "again"):
                value = bool(rng.integers(0, 2)) if step is None or name not in step else step[name]
                ctx.set(getattr(codes.step, name), value)
            _, index = expected.get(now - codes.latency, (None, [0] * len(lanes)))
            assert [ctx.get(codes.index[lane]) for lane in lanes] == index, now
            weight, _ = expected.get(now - codes.latency_weight, (None, None))
            if weight is not None:
                assert [ctx.get(codes.weight[lane]) for lane in lanes] == weight, now
            await ctx.tick()

    simulate(codes, bench)


@pytest.mark.parametrize("lanes", [1, 3, 16])
@pytest.mark.parametrize("seed", range(3))
def test_groups_of_several_levels(seed, lanes):
    """The second program right behind the first one: every pointer begins anew."""
    check(Plan.make(random_network(seed, split=seed == 1).network, EngineConfig(lanes=lanes)), [True] * 3, [0, 3, 0])


@pytest.mark.parametrize(("seed", "lanes"), [(1, 2), (5, 4), (11, 4), (27, 5)])
def test_passes(seed, lanes):
    """At every output position the codes of the group once more."""
    plan = Plan.make(random_network(seed, "convolution").network, EngineConfig(lanes=lanes))
    check(plan, [True, True], [0, 0])


@pytest.mark.parametrize("lanes", [1, 3])
def test_groups_that_take_one_code(lanes):
    """An average over four pixels of a map at each of six positions, of several runs, between layers of other codes."""
    x, a, b, y = tensor("x", 4, 6, 3), tensor("a", 4, 6, 4), tensor("b", 2, 3, 4), tensor("y", 3)
    pixels = [Segment("a", 4 * column, 4, line) for line in range(2) for column in range(2)]
    mean = layer("b", "b", pixels, 4, (Level(2, 1),), positions=(2, 3), stride=(2, 2), depthwise=True)
    mean = replace(mean, index=np.arange(4, dtype=np.uint16), weight=np.array([3, -4, 5, 6], np.int8))
    layers = [convolution("a", x, a), mean, layer("y", "y", [("b", 0, 24)], 3)]
    plan = Plan.make(network([x, a, b, y], layers), EngineConfig(lanes=lanes, unroll=1))
    uniform = [group for group in plan.schedule.groups if group.uniform]
    assert {(group.layer, group.steps, group.loop.passes, len(group.runs)) for group in uniform} == {(1, 4, 6, 2)}
    check(plan, [True, True], [0, 2])


@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_steps_of_a_sequence(kind):
    """A step that ends before the tail: the next one begins with the first word."""
    for seed in range(20):
        net = random_network(seed, kind).network
        if net.emit == "last" and 0 < net.tail < len(net.layers):
            break
    check(Plan.make(net, EngineConfig(lanes=3)), [False, True, False, False, True], [0, 0, 2, 0, 0])


def mixed(lanes: int) -> Plan:
    """Two convolutions of rows of three levels; none of them folded."""
    levels, rows = (DENSE, Level(2, 2), Level(4, 1), EMPTY), [0, 1, 1, 2, 2, 3, 2]
    x, a, b, y = tensor("x", 4, 5, 3), tensor("a", 4, 5, 7), tensor("b", 2, 2, 7), tensor("y", 4)
    layers = [
        convolution("a", x, a, levels=levels, row_level=rows),
        convolution("b", a, b, (1, 2), (0, 0), (2, 2), levels=levels, row_level=rows),
        layer("y", "y", [("b", 0, 28)], 4),
    ]
    return Plan.make(network([x, a, b, y], layers), EngineConfig(lanes=lanes, unroll=1))


@pytest.mark.parametrize("lanes", [1, 2, 5])
def test_levels_and_passes(lanes):
    plan = mixed(lanes)
    groups = plan.schedule.groups
    assert len(plan.index_widths) > 1
    assert any(group.loop.passes > 1 and group.steps > 1 for group in groups)
    # A pass that leaves out some of the ROMs, between passes that do not.
    reach = [sum(group.index_bits >= width for width in plan.index_widths) for group in groups]
    reach = [now for now, after in zip(reach, [*reach[1:], None], strict=True) if now != after]
    assert any(before > now < after for before, now, after in zip(reach, reach[1:], reach[2:], strict=False))
    check(plan, [True, True], [0, 0])


@pytest.mark.parametrize("lanes", [4, 8])
def test_folded_rows(lanes):
    levels = Level(2, 1), Level(5, 2)
    made = layer("a", "y", [("x", 0, 200)], 3, levels, [0, 1, 1])
    plan = Plan.make(network([tensor("x", 200), tensor("y", 3)], [made]), EngineConfig(lanes=lanes))
    assert plan.folds
    check(plan, [True, True], [1, 0])


def test_a_program_that_breaks_off():
    """Wherever that is, the next one begins with the first word."""
    plan = mixed(2)
    for cut in (1, 7, 30, 53):
        check(plan, [True, True], [2, 0], cut)


def test_codes_without_indices():
    """Dense rows of one column: no ROM of indices at all."""
    net = network([tensor("x", 1), tensor("y", 4)], [layer("a", "y", [("x", 0, 1)], 4)])
    plan = Plan.make(net, EngineConfig(lanes=2))
    assert not plan.index_widths
    check(plan, [True, True], [0, 0])
