"""Steps and contexts of the sequencer, cycle by cycle, against its model."""

from dataclasses import replace
from itertools import product

import pytest

from darb_hw.config import EngineConfig
from darb_hw.engine.sequencer import Sequencer
from darb_hw.engine.step import context_layout
from darb_hw.plan.latency import RUN_CYCLES_MIN
from darb_hw.plan.plan import Plan
from darb_hw.plan.program import COLUMN_END
from darb_prune.encoded import Operand, Section, Segment
from tests.draws import SeedDraw
from tests.hw.amaranth_sim import simulate
from tests.hw.plans import tile_plan
from tests.hw.small import convolution, layer, lstm, network, tensor
from tests.legal import change, column_network, dense_layer
from tests.map_networks import averaging, residual_network
from tests.networks import random_network
from tests.task_networks import with_tasks


def check(plan: Plan, runs: list[dict], together: bool = True) -> None:
    """Let the sequencer run once for each of ``runs`` (final, fresh, odd), one right behind the other or each after a
    while, and compare every cycle with the model."""
    sequencer = Sequencer(plan)
    step = sequencer.step
    names = list(context_layout(plan).members)
    fields = ["base", "first", "last", "index"] + ["tap", "tile", "column"] * plan.banked + ["stay"] * plan.uniform
    usual = {"final": True, "fresh": True, "odd": False} | ({"subset": max(plan.subsets)} if plan.tasks else {})
    runs = [usual | {"second": run % 2 == 1} | flags for run, flags in enumerate(runs)]

    def upcoming(ctx, flags):
        ctx.set(sequencer.upcoming, {name: value for name, value in flags.items() if name != "subset"})
        if plan.tasks:
            ctx.set(sequencer.subset, flags["subset"])

    async def bench(ctx):
        upcoming(ctx, runs[0])
        for _ in range(plan.latency.start):
            assert not ctx.get(step.valid)
            await ctx.tick()
        expected: dict[int, dict] = {}  # steps by cycle
        releases, now, left, end, finish = [], 0, list(runs), 1 << 30, 1 << 30
        ctx.set(sequencer.go, 1)
        upcoming(ctx, left[0])
        while now < end:
            if ctx.get(sequencer.begin):
                flags = left.pop(0)
                model = Sequencer.model(plan, **flags)
                expected |= {now + sequencer.latency + n: wanted for n, wanted in enumerate(model) if wanted}
                final = flags["final"]
                schedule = plan.subsets[flags.get("subset", 1)]
                releases.append(now + (schedule.release if final else schedule.body_release))
                finish = now + len(model)
                end = end if left else finish + 20
                ctx.set(sequencer.go, bool(left) and together)
            if not together and left and now == finish + 7:
                ctx.set(sequencer.go, 1)
            wanted = expected.get(now)
            assert ctx.get(step.valid) == (wanted is not None), now
            assert ctx.get(sequencer.release) == (now in releases), now
            if wanted:
                base = wanted["base"] % (1 << plan.widths.address)
                got = {name: ctx.get(getattr(step, name)) for name in fields}
                assert got == {name: wanted[name] for name in got} | {"base": base}, now
                if wanted["last"]:
                    assert ctx.get(step.again) == wanted["again"]
                    got = {name: ctx.get(step.context[name]) for name in names}
                    assert got == {name: wanted["context"][name] for name in names}, now
            await ctx.tick()
            now += 1
            # What is upcoming changes in the cycle after it has begun.
            if left:
                upcoming(ctx, left[0])
        assert not left

    simulate(sequencer, bench)


@pytest.mark.parametrize("lanes", [1, 3, 16])
@pytest.mark.parametrize("seed", range(4))
def test_chains(seed, lanes):
    """The second inference begins with the first word again."""
    net = random_network(seed, split=seed % 2 == 1).network
    check(Plan.make(net, EngineConfig(lanes=lanes)), [{}, {}])


# Seed and lanes of networks that have between them all that the next test asks for.
CONVOLUTIONS = [(1, 2), (2, 8), (3, 3), (5, 16), (11, 4), (13, 6), (27, 5), (32, 12)]


@pytest.mark.parametrize(("seed", "lanes"), CONVOLUTIONS)
def test_convolutions(seed, lanes):
    check(Plan.make(random_network(seed, "convolution").network, EngineConfig(lanes=lanes)), [{}, {}])


@pytest.mark.parametrize("config", [EngineConfig(lanes=3), EngineConfig(lanes=8, positions=4, results=2)])
def test_groups_that_take_one_code(config):
    """Averages over all taps of a window, and over a map: codes stay up to the last step of a pass."""
    plan = Plan.make(averaging(residual_network()).network, config)
    uniform = [group for group in plan.schedule.groups if group.uniform]
    assert any(group.steps > 1 and group.loop.passes > 1 for group in uniform)
    assert plan.banked or any(len(group.runs) > 1 for group in uniform)
    assert len({group.layer for group in uniform}) == 2
    check(plan, [{}, {}])


def test_convolutions_are_of_every_kind():
    plans = [
        Plan.make(random_network(seed, "convolution").network, EngineConfig(lanes=lanes))
        for seed, lanes in CONVOLUTIONS
    ]
    layers = [layer for plan in plans for layer in plan.network.layers]
    groups = [group for plan in plans for group in plan.schedule.groups]
    assert any(layer.operand for layer in layers)
    assert any(layer.maximum for layer in layers)
    assert any(layer.pool != (1, 1) for layer in layers)
    assert any(any(layer.padding) for layer in layers)
    assert any(group.positions.any() for group in groups)
    assert any(len(group.runs) > 1 and group.loop.passes > 1 for group in groups)
    assert any(word.repeat and word.loop.passes > 1 for plan in plans for word in plan.schedule.words)


def test_every_counter_of_a_loop():
    """Two layers with several rows, columns, pool rows and pool columns, of several groups of two runs each."""
    x, a, b = tensor("x", 7, 10, 2), tensor("a", 3, 2, 5), tensor("b", 1, 1, 3)
    y = tensor("y", 4)
    segments = [("x", 0, 2), ("x", 3, 4), ("x", 0, 6, 1)]
    first = layer("a", "a", segments, 5, positions=(6, 6), stride=(1, 1), padding=(1, 0, 1, 0), pool=(2, 3))
    layers = [first, convolution("b", a, b, (2, 1), (0, 0), (1, 1), (2, 2)), layer("y", "y", [("b", 0, 3)], 4)]
    plan = Plan.make(network([x, a, b, y], layers), EngineConfig(lanes=2, unroll=1))
    assert {loop.counts for loop in plan.loops} == {(3, 2, 2, 3), (2, 2, 1, 1), (1, 1, 1, 1)}
    assert max(word.repeat for word in plan.schedule.words) > 0
    assert not all(word.first and word.last for word in plan.schedule.words)
    assert {step["context"]["maximum"] for step in Sequencer.model(plan) if step and step["last"]} == {True, False}
    check(plan, [{}, {}])


# Seed, positions, streams and results of networks that have between them all that the next test asks for.
TILES = [(2, 4, 2, 2), (10, 4, 2, 2), (11, 4, 3, 4), (12, 2, 1, 1), (13, 8, 1, 4), (14, 16, 1, 2, True)]


@pytest.mark.parametrize("sizes", TILES)
def test_tiles(sizes):
    check(tile_plan(*sizes), [{}, {}])


def test_tiles_are_of_every_kind():
    plans = [tile_plan(*sizes) for sizes in TILES]
    words = [word for plan in plans for word in plan.schedule.words]
    assert any(word.column for word in words)
    assert any(word.run.tap_pitch > 1 for word in words)
    assert any(word.loop.repeat > 1 for word in words)
    assert any(word.loop.total for word in words)
    assert any(word.loop.pooled for word in words)
    assert any(word.loop.maximum for word in words)
    assert any(word.repeat and word.loop.counts[2] > 1 for word in words)


FLAGS = [dict(zip(("final", "fresh", "odd"), values, strict=True)) for values in product([False, True], repeat=3)]


@pytest.mark.parametrize("emit", ["last", "step"])
def test_steps_of_a_sequence(emit):
    """In all combinations of final, fresh and odd: which bank is read, and whether the tail runs."""
    plan = Plan.make(lstm(3, emit=emit), EngineConfig(lanes=4))
    lengths = {(f["final"], len(Sequencer.model(plan, **f))) for f in FLAGS}
    assert len(lengths) == 2
    assert len({length for _, length in lengths}) == (2 if emit == "last" else 1)
    check(plan, FLAGS + FLAGS[::-1])


def test_an_operand_from_either_bank():
    """The loop names the bank of an operand, where no layer has more than one position."""
    net = lstm(3)
    tensors = [tensor("mixed", 3, scale=2.0**-7) if t.name == "y0" else t for t in net.tensors[:4]]
    tensors.append(tensor("y1", 3, scale=2.0**-7))
    layers = [
        layer("mix", "mixed", [("x", 0, 4)], 3, operand=Operand("h")),
        layer("gate", "gates", [("mixed", 0, 3)], 12),
        layer("y1", "y1", [("mixed", 0, 3)], 3, operand=Operand("h")),
    ]
    plan = Plan.make(network(tensors, layers, cells=net.cells), EngineConfig(lanes=4))
    assert not plan.walks
    assert "loops" in plan.images
    assert len({s["context"]["aux"] for f in FLAGS for s in Sequencer.model(plan, **f) if s and s["last"]}) == 3
    check(plan, FLAGS)


def test_an_operand_of_the_step_before_in_the_first_cycle_of_all():
    """The first group after a reset reads a bank, while other layers have several positions."""
    x, m, mixed = tensor("x", 1, 4, 1), tensor("m", 1, 4, 2), tensor("mixed", 3, scale=2.0**-7)
    _, gates, h, y, _ = lstm(3).tensors
    layers = [
        layer("mix", "mixed", [("x", 0, 4)], 3, operand=Operand("h")),
        convolution("m", x, m, (1, 1), (0, 0)),
        layer("gate", "gates", [("mixed", 0, 3), ("m", 0, 8)], 12),
        layer("y", "y0", [("h", 0, 3)], 5),
    ]
    net = network([x, m, mixed, gates, h, y], layers, cells=lstm(3).cells)
    plan = Plan.make(net, EngineConfig(lanes=3, unroll=1))
    assert plan.walks
    assert next(s for s in Sequencer.model(plan) if s and s["last"])["context"]["aux"] == 2 * plan.memory.bank
    for flags in FLAGS[3::4]:
        check(plan, [flags])


@pytest.mark.parametrize("kind", ["lstm", "gru"])
@pytest.mark.parametrize("carried", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_recurrent_networks(kind, seed, carried):
    net = random_network(seed, kind, carried=carried).network
    assert bool(net.carried) == carried
    check(Plan.make(net, EngineConfig(lanes=1 + 3 * seed)), FLAGS[seed % 2 :: 2])


@pytest.mark.parametrize("seed", range(4))
def test_sections(seed):
    """One inference behind the other, whose inputs stand in either place."""
    check(Plan.make(random_network(seed, "sections").network, EngineConfig(lanes=1 + 3 * seed)), [{}] * 3)


def test_a_section_of_one_word():
    """It begins and ends with the same word, which is not the first one of the program."""
    x, b, a, y = tensor("x", 1, 5, 3), tensor("b", 1, 5, 3), tensor("a", 1, 5, 2), tensor("y", 2)
    layers = [convolution("b", x, b, (1, 1), (0, 0)), layer("a", "a", [("b", 0, 3)], 2)]
    layers.append(layer("y", "y", [("a", 0, 10)], 2))
    plan = Plan.make(network([x, b, a, y], layers, sections=(Section(1, 2, True),)), EngineConfig(lanes=2))
    assert [word.opens and word.end == COLUMN_END for word in plan.schedule.words].count(True) == 1
    check(plan, [{}] * 3)


@pytest.mark.parametrize("carries", [True, False])
def test_sections_and_a_layer_that_read_the_input(carries):
    """Columns and all of either input; without a layer that carries on there is no ROM of loops."""
    net = column_network()
    (gate, back, _), (x, gates, h, _, y) = net.layers, net.tensors
    reads = [Segment("x", 0, 12), Segment("h", 0, 6)] + [Segment("r", 0, 6)] * carries
    head = dense_layer("head", "y", 2, *reads)
    if carries:
        net = change(net, layers=(gate, replace(back, operand=None), head))
    else:
        net = change(net, tensors=(x, gates, h, y), layers=(gate, head), sections=net.sections[:1])
    plan = Plan.make(net, EngineConfig(lanes=3))
    assert plan.memory.second
    assert ("loops" in plan.images) == carries
    check(plan, [{}] * 3)


def test_model_visits_every_group_once():
    net = random_network(11, sizes=(30, 40, 12)).network
    plan = Plan.make(net, EngineConfig(lanes=4))
    groups = plan.schedule.groups
    steps = [step for step in Sequencer.model(plan) if step]
    assert len(steps) == plan.images["weights"].depth == sum(group.steps for group in groups)
    assert not plan.uniform
    assert sum(step["last"] for step in steps) == sum(step["first"] for step in steps) == len(groups)
    assert sum(step["context"]["rows"] for step in steps if step["last"]) == sum(layer.rows for layer in net.layers)


def test_runs_leave_time_to_fetch_the_next():
    net = random_network(12, sizes=(2, 30, 3), split=True).network
    plan = Plan.make(net, EngineConfig(lanes=1))
    for word in plan.schedule.words:
        assert word.idle or word.run.steps + word.run.pad >= RUN_CYCLES_MIN


@pytest.mark.parametrize(("seed", "kind"), [(3, "chain"), (10, "gru"), (10, "convolution")])
def test_subsets(seed, kind):
    """Subsets of tasks, one behind the other: each begins with its first word, and leaves out what it does not need."""
    plan = Plan.make(with_tasks(random_network(seed, kind), SeedDraw(seed)).network, EngineConfig(lanes=3))
    assert "jumps" in plan.images
    subsets = [*plan.subsets]
    assert len({len(Sequencer.model(plan, subset=subset)) for subset in subsets}) > 1
    check(plan, [{"subset": subset} for subset in (*subsets, *subsets[::-1])])
    check(plan, [{"subset": subset} for subset in subsets], together=False)
