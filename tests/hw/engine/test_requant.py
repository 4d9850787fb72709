"""Requantisation: the model against exact arithmetic, the hardware against the model, row after row of inferences."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from hypothesis import given
from hypothesis import strategies as st

from darb_hw.config import EngineConfig
from darb_hw.engine.requant import Requantiser
from darb_hw.engine.sequencer import Sequencer
from darb_hw.engine.step import context_layout
from darb_hw.plan.plan import Plan
from darb_prune.encoded import DENSE
from tests.hw.amaranth_sim import simulate
from tests.hw.interpreter import GATE, INSIDE, OUTPUT, single, unpack
from tests.hw.plans import plans, tile_plan
from tests.hw.small import lstm
from tests.networks import random_network


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


@given(st.integers(-500, 500), st.integers(-40, 40), st.integers(-40, 40), st.integers(-9, 0), st.integers(1, 9))
def test_model_is_function_then_operand_then_clamp_then_maximum(value, operand, old, low, high):
    table = list(range(-300, -44))
    plain = {"bias": 0, "mult": 2, "shift": 1, "qmin": low, "qmax": high}
    clamped = value if -128 <= value <= 127 else -128 if value < 0 else 127
    through = int(np.clip(clamped - 172 + operand, low, high))
    assert Requantiser.model(value, **plain, function=table, operand=operand) == through
    assert Requantiser.model(value, **plain, operand=operand) == int(np.clip(value + operand, low, high))
    # What is there is not clamped again: the layer before may have had another range.
    assert Requantiser.model(value, **plain, old=old) == max(int(np.clip(value, low, high)), old)


@dataclass
class Row:
    """A row on its way: what goes in, and what has to come out."""

    value: int
    number: int
    context: dict
    result: dict


def inside_address(plan, name: str, channel: int, y: int, x: int) -> int:
    position = int(plan.network.tensor(name).channel_position[channel])
    return plan.memory.start(name) + plan.memory.layouts[name].pixel(y, x) + position


def rows_of(plan: Plan, memory: list[int], rng, **flags) -> list[Row]:
    """Rows of a run in the order of the schedule, with accumulators within their bounds.

    Parameters and addresses come from network, layouts and memory map, contexts from the model of the sequencer.
    """
    net, banks = plan.network, {1: 2 * plan.memory.bank, 2: plan.memory.bank}
    banks |= {1: plan.memory.bank if flags.get("odd") else 0} if not flags.get("fresh", True) else {}
    banks |= {2: 0} if flags.get("odd") else {}
    contexts = iter([step["context"] for step in Sequencer.model(plan, **flags) if step and step["last"]])
    whole = flags.get("final", True) or net.emit == "step"
    rows = []
    first = 0  # of the rows of the group, in the ROM
    for group in plan.schedule.groups:
        if not whole and group.layer >= net.tail:
            break
        layer = net.layers[group.layer]
        bounds = net.accumulator_bounds(layer)
        pool_x, pool_y, columns, _ = group.loop.counts
        unroll = layer.positions[1] // layer.pool[1] // columns
        for pass_number in range(group.loop.passes):
            context = next(contexts)
            y, x = divmod(pass_number // (pool_x * pool_y), columns)
            for lane, (row, position) in enumerate(zip(group.rows.tolist(), group.positions.tolist(), strict=True)):
                low, high = (int(bound[row] - layer.bias[row]) for bound in bounds)
                edges = [value for value in _edges(net, layer, row) if low <= value <= high]
                value = int(rng.choice([low, high, rng.integers(low, high + 1), *edges]))
                result = _result(
                    plan, layer, row, y, x * unroll + position, value, memory, banks[group.loop.aux_bank or 1]
                )
                old = memory[result["address"]] if context["maximum"] else None
                result["value"] = max(result["value"], old) if context["maximum"] else result["value"]
                rows.append(Row(value, first + lane, context, result))
        first += len(group.rows)
    return rows


def _edges(net, layer, row: int) -> list[int]:
    """Least accumulators whose results are just in, or just out of, the range of the layer and that of tables."""
    tensor = net.tensor(layer.output)
    bias, mult, shift = int(layer.bias[row]), int(layer.mult[row]), int(layer.shift[row])
    low, high = layer.clamp or ((-32768, 32767) if layer.multiplies else (tensor.qmin, tensor.qmax))
    halves = [2 * result - 1 for bound in (low, high + 1, -128, 128) for result in (bound, bound - 1)]
    return [-(-(half << shift - 1) // mult) - bias for half in halves if mult]


def _result(plan, layer, row: int, y: int, x: int, value: int, memory: list[int], bank: int) -> dict:
    net = plan.network
    tensor, channel = net.tensor(layer.output), layer.first + row
    function, operand = int(layer.row_function[row]), 0
    (low, high), inner = _limits(layer, tensor)
    if layer.operand:
        added = net.tensor(layer.operand.tensor)
        source = row - layer.operand.first
        if 0 <= source < added.channels:
            at = y * layer.operand.stride[0], x * layer.operand.stride[1]
            in_cell = added.name in plan.memory.units
            operand = memory[inside_address(plan, added.name, source, *at) + bank * in_cell]
    result = {"target": INSIDE}
    cell = next((cell for cell in net.cells if cell.gates == layer.output), None)
    if layer.output == net.output:
        height, width, _ = tensor.shape
        result |= {"target": OUTPUT, "address": (channel * height + y) * width + x}
    elif cell:
        gate, unit = divmod(channel, net.tensor(cell.output).size)
        number_of = plan.memory.units[cell.output] + int(net.tensor(cell.output).position[unit])
        result |= {"target": GATE, "address": number_of, "bank": gate}
    else:
        result["address"] = inside_address(plan, layer.output, channel, y, x)
    table = net.functions[function - 1].tolist() if function else None
    parameters = int(layer.bias[row]), int(layer.mult[row]), int(layer.shift[row]), low, high
    return result | {"value": Requantiser.model(value, *parameters, table, operand, None, inner)}


def _limits(layer, tensor) -> tuple[tuple[int, int], tuple[int, int] | None]:
    """Range of the result, and of what is multiplied."""
    limits = tensor.qmin, tensor.qmax
    return (limits, layer.clamp or (-32768, 32767)) if layer.multiplies else (layer.clamp or limits, None)


def check(plan: Plan, seed: int, runs: list[dict]) -> None:
    """Send the rows of some runs, with pauses, and compare all results; every one that goes to the activation memory,
    and nothing else, is announced."""
    requant = Requantiser(plan)
    rng = np.random.default_rng(seed)
    bits = plan.widths.activation
    memory = rng.integers(-(1 << bits - 1), 1 << bits - 1, plan.memory_depth).tolist()
    members = list(context_layout(plan).members)
    fed = [rows_of(plan, memory, rng, **flags) for flags in runs]

    async def bench(ctx):
        asked, sent, got, notices, now = [0], [], [], [], 0
        parts = [name for name in _NAMES if name in requant.result.shape().members]

        async def tick():
            """A cycle; the memory answers two cycles after it was asked."""
            nonlocal now
            asked.append(ctx.get(requant.read_address))
            await ctx.tick()
            now += 1
            ctx.set(requant.read_data, memory[asked[-2] % len(memory)])
            if ctx.get(requant.ahead):
                notices.append(now + plan.latency.ahead)
            if ctx.get(requant.result.valid):
                got.append((now, {name: ctx.get(requant.result[name]) for name in parts}))

        for rows in fed:
            ctx.set(requant.row, rows[0].number)
            await tick()
            for row, following in zip(rows, [*rows[1:], rows[-1]], strict=True):
                if rng.random() < 0.05:
                    for _ in range(int(rng.integers(1, 5))):
                        await tick()
                ctx.set(requant.valid, 1)
                assert plan.latency.early == 1
                ctx.set(requant.row, following.number)
                ctx.set(requant.value, row.value)
                ctx.set(requant.context, {name: int(row.context[name]) for name in members})
                sent.append((now + requant.latency, row.result))
                await tick()
                ctx.set(requant.valid, 0)
            for _ in range(requant.latency):
                await tick()
        assert len(got) == len(sent)
        assert notices == [at for at, result in got if result["target"] == INSIDE]
        for (at, result), (when, expected) in zip(got, sent, strict=True):
            assert at == when
            assert {name: result[name] for name in expected} == expected

    simulate(requant, bench)


_NAMES = ("value", "target", "address", "bank", "fire")


@pytest.mark.parametrize("device", ["ecp5-85k", "ice40-hx8k"])
@pytest.mark.parametrize("seed", range(4))
def test_chains(seed, device):
    """Rows of the second inference have the parameters of the first."""
    net = random_network(seed + 40, extreme=seed % 2 == 0).network
    check(Plan.make(net, EngineConfig(lanes=3, device=device)), seed, [{}, {}])


@pytest.mark.parametrize("k", [5, 20])
def test_a_value_that_rounds_up_to_a_power_of_two(k):
    """The least product is just below the middle between -2**k and the value before it."""
    net = random_network(2, sizes=(3, 1), levels=(DENSE,)).network
    (layer,) = net.layers
    low = net.accumulator_bounds(layer)[0] - layer.bias
    shift = np.uint8(16)
    bias = -(1 << k + int(shift)) - 1 - low
    net = replace(net, layers=(replace(layer, bias=bias, mult=np.ones(1, np.int32), shift=shift[None]),))
    plan = Plan.make(net, EngineConfig(lanes=1))
    assert Requantiser.model(int(low[0]), int(bias[0]), 1, 16, -(1 << 60), 0) == -(1 << k)
    check(plan, k, [{}] * 8)


@given(plans())
def test_no_product_needs_more_bits(plan):
    """Shifted by all but one place, before it is rounded."""
    bits = plan.widths.rounded
    for layer in plan.network.layers:
        for bound in plan.network.accumulator_bounds(layer):
            for sum_of, mult, shift in zip(bound.tolist(), layer.mult.tolist(), layer.shift.tolist(), strict=True):
                assert -(1 << bits) <= sum_of * mult >> shift - 1 < 1 << bits


class Ways(wiring.Component):
    """The requantisers of all ways, as the engine connects them."""

    def __init__(self, plan: Plan) -> None:
        self.requants = [Requantiser(plan, way) for way in range(plan.config.ways)]
        super().__init__({})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for way, requant in enumerate(self.requants):
            m.submodules[f"requant_{way}"] = requant
            if way:
                m.d.comb += requant.parameters.eq(self.requants[0].parameters)
        return m


def check_ways(plan: Plan, seed: int) -> None:
    """Words of rows of the plan, one a cycle with pauses: the result of each way and where it goes, or none; and what
    it reads, from memories of several banks."""
    ways, rng, bits = plan.config.ways, np.random.default_rng(seed), plan.widths.activation
    network, drains, numbers = plan.network, unpack(plan.images["drains"]), single(plan.images["rows"])
    low = -(1 << bits - 1)
    memory = rng.integers(low, -low, (plan.config.banks, 1 << plan.widths.address)).tolist()
    component, members = Ways(plan), list(context_layout(plan).members)
    words, first = [], 0
    for group in plan.schedule.groups:
        layer, tiling = network.layers[group.layer], group.tiling
        bounds = network.accumulator_bounds(layer)
        for row, number in zip(group.rows.tolist(), range(first, first + len(group.rows)), strict=True):
            for word in rng.integers(0, tiling.tiles * tiling.drainage.words, 3).tolist():
                spots = drains[tiling.drainage.first + word]
                maximum = bool(layer.renews and (layer.maximum or rng.random() < 0.5))
                values = [
                    int(rng.integers(bounds[0][row] - layer.bias[row], bounds[1][row] - layer.bias[row] + 1))
                    for _ in range(ways)
                ]
                parameters = numbers[number]
                results = [
                    _of_way(plan, layer, row, parameters, spot, value, memory, maximum) if spot["valid"] else None
                    for spot, value in zip(spots, values, strict=True)
                ]
                words.append((number, spots, values, maximum, results))
        first += len(group.rows)
    words = [words[number] for number in np.sort(rng.choice(len(words), min(len(words), 60), replace=False))]

    async def bench(ctx):
        requants, sent, got, asked, now = component.requants, [], [], [], 0
        spots_before: list = []

        async def tick():
            nonlocal now, spots_before
            reads = [(ctx.get(r.read_bank), ctx.get(r.read_address)) for r in requants] if reads_memory else []
            asked.append(reads)
            spots, spots_before = spots_before, []
            await ctx.tick()
            now += 1
            for requant, spot in zip(requants, spots, strict=False):
                ctx.set(requant.spot, {name: spot[name] for name in requant.spot.shape().members})
            if len(asked) >= plan.latency.aux:
                for requant, (bank, address) in zip(requants, asked[-plan.latency.aux], strict=False):
                    ctx.set(requant.read_data, memory[bank][address])
            for way, requant in enumerate(requants):
                if ctx.get(requant.result.valid):
                    names = ("value", "target", "address", "bank")
                    got.append((now, way, {name: ctx.get(requant.result[name]) for name in names}))

        for number, spots, values, maximum, results in words:
            ctx.set(requants[0].row, number)
            for requant in requants:
                ctx.set(requant.valid, 0)
            for _ in range(int(rng.integers(1, 3))):
                await tick()
            for requant, value in zip(requants, values, strict=True):
                ctx.set(requant.valid, 1)
                ctx.set(requant.value, value)
                context = {name: int(maximum) if name == "maximum" else 0 for name in members}
                ctx.set(requant.context, context)
            spots_before = spots
            for way, result in enumerate(results):
                if result:
                    sent.append((now + requants[0].latency, way, result))
            await tick()
        for requant in requants:
            ctx.set(requant.valid, 0)
        for _ in range(requants[0].latency + 1):
            await tick()
        assert got == sent

    reads_memory = plan.latency.reads_back
    simulate(component, bench)


def _of_way(plan: Plan, layer, row: int, parameters: dict, spot: dict, value: int, memory, maximum: bool) -> dict:
    """The result of an accumulator: the row says what becomes of it, the spot where it goes."""
    tensor = plan.network.tensor(layer.output)
    read = memory[spot["aux_bank"]][(parameters["aux"] + (spot["aux"] << plan.spot_shift)) % (1 << plan.widths.address)]
    function = int(layer.row_function[row])
    table = plan.network.functions[function - 1].tolist() if function else None
    of_row = int(layer.bias[row]), int(layer.mult[row]), int(layer.shift[row])
    clamp, inner = _limits(layer, tensor)
    operand = read if parameters["operand"] or parameters["product"] else 0
    value = Requantiser.model(value, *of_row, *clamp, table, operand, read if maximum else None, inner)
    address = parameters["address"] + (spot["address"] << plan.spot_shift)
    return {"value": value, "target": parameters["target"], "address": address, "bank": spot["bank"]}


# Seed, positions, streams and results of networks that add operands, or pool.
@pytest.mark.parametrize("sizes", [(2, 4, 2, 2), (3, 8, 1, 4), (10, 2, 1, 2), (13, 4, 2, 2)])
def test_results_that_are_written_at_once(sizes):
    """Requantisers that share the parameters of a row."""
    check_ways(tile_plan(*sizes), sizes[0])


CONVOLUTIONS = [(1, 2), (2, 8), (3, 3), (5, 16), (7, 4), (13, 6), (27, 5)]


@pytest.mark.parametrize(("seed", "lanes"), CONVOLUTIONS)
def test_convolutions(seed, lanes):
    """Functions, operands, maxima: what is read from the memory is what the row needs, in the cycle that needs it."""
    net = random_network(seed, "convolution").network
    check(Plan.make(net, EngineConfig(lanes=lanes)), seed, [{}, {}])


def test_convolutions_have_every_part():
    latencies = [
        Plan.make(random_network(seed, "convolution").network, EngineConfig(lanes=lanes)).latency
        for seed, lanes in CONVOLUTIONS
    ]
    for part in ("functions", "operand", "maximum"):
        assert {getattr(latency, part) for latency in latencies} == {True, False}
    assert any(latency.functions and latency.operand and latency.maximum for latency in latencies)


PRODUCTS = [(1, 2), (2, 8), (3, 3), (4, 5), (12, 4), (18, 3)]


@pytest.mark.parametrize(("seed", "lanes"), PRODUCTS)
def test_products(seed, lanes):
    """Factors beside operands, functions and maxima: each is read once, and used where it is needed."""
    net = random_network(seed, "convolution", products=True).network
    check(Plan.make(net, EngineConfig(lanes=lanes)), seed, [{}, {}])


def test_products_come_with_every_other_part():
    latencies = [
        Plan.make(random_network(seed, "convolution", products=True).network, EngineConfig(lanes=lanes)).latency
        for seed, lanes in PRODUCTS
    ]
    assert any(latency.product and latency.operand for latency in latencies)
    assert any(latency.product and latency.maximum for latency in latencies)
    assert {latency.functions for latency in latencies if latency.product} == {True, False}


@given(st.integers(-40000, 40000), st.integers(-128, 127), st.integers(-32768, 0), st.integers(1, 32767))
def test_model_rounds_products_half_up(value, operand, low, high):
    """The product of the clamped value, in units of 2**-11, against exact rational arithmetic."""
    from fractions import Fraction

    exact = Fraction(min(max(value, low), high) * operand, 1 << 11)
    rounded = (exact + Fraction(1, 2)).__floor__()
    # mult 2 and shift 1 leave the value as it is.
    assert Requantiser.model(value, 0, 2, 1, -(1 << 60), 1 << 60, None, operand, None, (low, high)) == rounded


@pytest.mark.parametrize("kind", ["lstm", "gru"])
@pytest.mark.parametrize("seed", range(3))
def test_steps_of_a_sequence(kind, seed):
    """Gates with bank and unit; operands from either bank; steps that end before the tail."""
    plan = Plan.make(random_network(seed, kind).network, EngineConfig(lanes=4))
    flags = [
        {"final": False, "fresh": True, "odd": False},
        {"final": False, "fresh": False, "odd": True},
        {"final": True, "fresh": False, "odd": False},
        {"final": True, "fresh": True, "odd": True},
    ]
    check(plan, seed, flags)


def test_the_last_gate_of_a_unit_fires():
    plan = Plan.make(lstm(3), EngineConfig(lanes=12))
    requant = Requantiser(plan)

    async def bench(ctx):
        fired = []
        ctx.set(requant.valid, 1)
        for row in range(12 + requant.latency):
            ctx.set(requant.row, min(row + plan.latency.early, 11))
            await ctx.tick()
            if ctx.get(requant.result.valid):
                fired.append((ctx.get(requant.result.bank), ctx.get(requant.result.fire)))
        assert fired[:12] == [(gate, int(gate == 3)) for gate in range(4) for _ in range(3)]

    simulate(requant, bench)
