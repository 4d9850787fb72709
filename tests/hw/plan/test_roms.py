"""ROM words, run in plain Python: they compute the network, and in the cycles the plan says."""

from collections import Counter, defaultdict
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from darb_hw.config import EngineConfig
from darb_hw.engine.sequencer import Sequencer
from darb_hw.plan.memory_map import STATES
from darb_hw.plan.plan import Plan
from darb_prune.encoded import DENSE, EMPTY, Cell, Embedding, EncodedNetwork, Level, Operand
from tests.hw.interpreter import GATE, INSIDE, OUTPUT, Machine, execute, sequences, single, unpack
from tests.hw.plans import any_network, plans
from tests.hw.small import convolution, layer, lstm, network, tensor
from tests.networks import RandomNetwork, at_the_edges, random_inputs, random_lengths, random_network


def gate_of(net: EncodedNetwork, layer) -> tuple[int, int] | None:
    """Number of the first unit and number of units of the cell that a layer writes gates of."""
    first = 0
    for cell in net.cells:
        units = net.tensor(cell.output).channels
        if cell.gates == layer.output:
            return first, units
        first += units
    return None


def check_results(plan: Plan, run, values: dict[str, np.ndarray], frame: int) -> None:
    """Every result, its place, and every cell output, against the reference."""
    net, writes = plan.network, plan.writes
    last = defaultdict(list)
    for number, result in enumerate(run.results):
        layer, element = net.layers[writes.layer[number]], int(writes.element[number])
        expected = int(values[layer.output][frame, element])
        assert result.value == expected if writes.final[number] else result.value <= expected
        height, width, _ = net.tensor(layer.output).shape
        channel, pixel = divmod(element, height * width)
        assert channel == layer.first + writes.row[number]
        if layer.output == net.output:
            where = OUTPUT, element
        elif gate_of(net, layer):
            first, units = gate_of(net, layer)
            position = net.tensor(next(c.output for c in net.cells if c.gates == layer.output)).channel_position
            where = GATE, first + int(position[channel % units])
            assert result.bank == channel // units
        else:
            layout = plan.memory.layouts[layer.output]
            position = int(net.tensor(layer.output).channel_position[channel])
            where = INSIDE, plan.memory.start(layer.output) + layout.pixel(*divmod(pixel, width)) + position
            if layer.output in net.carried and result.address != where[1]:
                where = INSIDE, where[1] + plan.memory.bank
        assert (result.target, result.address) == where
        if writes.final[number]:
            last[layer.output].append(element)
    ran = {net.layers[number].output for number in writes.layer[: len(run.results)]}
    for name in ran:
        assert sorted(last[name]) == list(range(net.tensor(name).size))
    assert len(run.units) == sum(net.tensor(cell.output).size for cell in net.cells)
    for (_, _, value), cell, unit in zip(run.units, writes.cell, writes.unit, strict=True):
        assert value == values[net.cells[cell].output][frame, unit]


def check_cycles(plan: Plan, run, whole: bool) -> None:
    """When each layer begins and when its last result is written, and the length of the run."""
    schedule, layers, writes = plan.schedule, plan.network.layers, plan.writes
    gates = [cell.gates for cell in plan.network.cells]
    last_of_gates = {layers[number].output: number for number in range(len(layers))}
    by_layer = defaultdict(list)
    for result, number in zip(run.results, writes.layer.tolist(), strict=False):
        by_layer[number].append(result)
    for number, results in by_layer.items():
        assert min(result.begun for result in results) == schedule.spans[number].start
        if layers[number].output not in gates:
            assert max(result.cycle for result in results) == schedule.spans[number].written
    for cell, name in enumerate(gates):
        mine = [cycle for (cycle, *_), of in zip(run.units, writes.cell, strict=True) if of == cell]
        assert max(mine) == schedule.spans[last_of_gates[name]].written
    assert run.cycles == (schedule.period if whole else schedule.body_period)
    outputs = [result.cycle for result in run.results if result.target == OUTPUT]
    assert not whole or (max(outputs), len(outputs)) == (schedule.written, plan.output_writes[1])
    assert sorted(run.port) == schedule.busy[: None if whole else schedule.body_busy].tolist()


MEMORIES = st.sampled_from(
    [("overlapped", "private"), ("reused", "private"), ("alone", "private"), ("alone", "shared")]
)


@given(any_network(), st.integers(1, 40), st.sampled_from([1, 16]), st.sampled_from(["logical", "storage"]), MEMORIES)
def test_rom_contents_compute_the_network(random, lanes, unroll, order, memory):
    """Sequences of every kind of network, as fast as they can and with inputs as late as they can: values, places and
    cycles of all results."""
    compute(random, lanes, unroll, order, memory)


@settings(max_examples=20)
@given(st.integers(0, 10_000), st.sampled_from(["lstm", "gru"]), st.integers(1, 40), MEMORIES)
def test_rom_contents_carry_what_layers_write(seed, kind, lanes, memory):
    random = random_network(seed, kind, carried=True)
    compute(random, lanes, 1, "logical", memory)


def compute(random: RandomNetwork, lanes: int, unroll: int, order: str, memory: tuple[str, str]) -> None:
    net = random.network
    config = EngineConfig(lanes=lanes, unroll=unroll, input_order=order, input=memory[0], memory=memory[1])
    plan = Plan.make(net, config)
    lengths = random_lengths(lanes, net, 3, 3)
    inputs = random_inputs(lanes, net, 3 if lengths is None else int(lengths.sum()))
    expected = random.trace(inputs, lengths)
    for frame, final, run, output in sequences(plan, inputs, lengths, late=lanes % 2 == 1):
        whole = final or net.emit == "step"
        assert len(run.results) == (len(plan.writes.layer) if whole else plan.body_writes(1))
        check_results(plan, run, expected, frame)
        check_cycles(plan, run, whole)
        if output is not None:
            assert output == expected[net.output][frame].tolist()


@given(st.integers(0, 1000), st.integers(1, 9))
def test_rom_contents_at_the_edges_of_what_is_legal(seed, lanes):
    random = at_the_edges(random_network(seed, split=True), seed)
    plan = Plan.make(random.network, EngineConfig(lanes=lanes))
    inputs = random_inputs(seed, random.network, 3)
    expected = random.trace(inputs)
    for frame, _, run, output in sequences(plan, inputs):
        check_results(plan, run, expected, frame)
        assert output == expected[random.network.output][frame].tolist()


@given(plans())
def test_program_and_loops_say_what_the_model_says(plan):
    addresses, targets = 1 << plan.widths.address, 1 << plan.widths.target
    for flags in product([False, True], repeat=4):
        flags = dict(zip(("final", "fresh", "odd", "second"), flags, strict=True))
        expected = Sequencer.model(plan, **flags)
        for step in filter(None, expected):
            step["base"] %= addresses
            if step["last"]:
                step["context"]["write"] %= targets
                step["context"]["aux"] %= addresses
        assert execute(plan, **flags) == expected


@given(plans())
def test_every_word_is_used(plan):
    """One code word a step of a group (of a uniform one in all), one row word a row of a group: as many as the groups
    have."""
    groups = plan.schedule.groups
    stored = [1 if plan.network.layers[group.layer].uniform else group.steps for group in groups]
    assert plan.images["weights"].depth == sum(stored)
    low = 0
    for number, high in enumerate(plan.index_widths):
        image = plan.images[f"index_{number}"]
        assert image.depth == sum(
            count for count, group in zip(stored, groups, strict=True) if group.index_bits >= high
        )
        assert image.width == plan.config.lanes * (high - low)
        low = high
    assert plan.images["rows"].depth == sum(len(group.rows) for group in groups)
    assert plan.images["program"].depth == len(plan.schedule.words)


@given(plans(("lstm", "gru")))
def test_a_cell_fires_once_for_each_unit_with_the_last_of_its_gates(plan):
    seen, fired = Counter(), Counter()
    for row in single(plan.images["rows"]):
        if row["target"] != GATE:
            assert not row["fire"]
            continue
        seen[row["address"]] += 1
        fired[row["address"]] += row["fire"]
        assert row["fire"] == (seen[row["address"]] == 4)
    assert set(fired.values()) == {1}
    assert sorted(fired) == list(range(plan.memory.bank))


def test_rows_that_the_operand_does_not_cover():
    x, a, y = tensor("x", 7), tensor("a", 3, order=np.array([2, 0, 1])), tensor("y", 6)
    layers = [layer("a", "a", [("x", 0, 7)], 3), layer("y", "y", [("a", 0, 3)], 6, operand=Operand("a", first=2))]
    plan = Plan.make(network([x, a, y], layers), EngineConfig(lanes=8))
    start = plan.memory.start("a")
    rows = [(row["operand"], row["aux"]) for row in single(plan.images["rows"])][3:]
    assert rows == [(0, 0), (0, 0), (1, start + 1), (1, start + 2), (1, start), (0, 0)]


def test_addresses_of_columns_at_once_follow_the_map():
    x, a, y = tensor("x", 2, 4, 1), tensor("a", 2, 4, 2), tensor("y", 2, 4, 1)
    plan = Plan.make(network([x, a, y], [convolution("a", x, a), convolution("y", a, y)]), EngineConfig(lanes=8))
    first = single(plan.images["rows"])[:8]
    start = plan.memory.start("a") + plan.memory.layouts["a"].pixel(0, 0)
    assert sorted(row["address"] - start for row in first) == list(range(8))
    last = single(plan.images["rows"])[8:]
    assert [(row["target"], row["address"]) for row in last] == [(OUTPUT, place) for place in range(4)]


def test_lanes_without_a_row_have_codes_of_nothing():
    net = network([tensor("x", 9), tensor("y", 3)], [layer("a", "y", [("x", 0, 9)], 3, (DENSE, EMPTY), [0, 1, 0])])
    plan = Plan.make(net, EngineConfig(lanes=5))
    # Two rows with weights, each over two lanes: the fifth has nothing to do.
    assert [(group.rows.tolist(), group.fold) for group in plan.schedule.groups] == [([1], 0), ([0, 2], 1)]
    words = [[code["weight"] for code in word] for word in unpack(plan.images["weights"])]
    assert len(words) == 1 + 5
    assert all(any(word[lane] for word in words) for lane in range(4))
    assert not any(word[4] for word in words)
    assert [row["address"] for row in single(plan.images["rows"])] == [1, 0, 2]


def test_codes_have_no_more_bits_than_the_widest_block_that_is_used():
    segments = [("x", 0, 40)]
    made = layer("a", "y", segments, 4, (Level(3, 1), Level(5, 2)), [0, 0, 0, 0])
    plan = Plan.make(network([tensor("x", 40), tensor("y", 4)], [made]), EngineConfig(lanes=2))
    assert plan.widths.index == 3


def test_clamps_are_those_of_the_layer_or_else_of_its_tensor():
    x, a, y = tensor("x", 5), tensor("a", 2, qmin=0), tensor("y", 2)
    layers = [layer("a", "a", [("x", 0, 5)], 2), layer("y", "y", [("a", 0, 2)], 2, clamp=(-7, 9))]
    plan = Plan.make(network([x, a, y], layers), EngineConfig())
    assert [plan.clamps[row["clamp"]] for row in single(plan.images["rows"])] == [(0, 127)] * 2 + [(-7, 9)] * 2


# What memories hold at power-up.


def power_up(net) -> list[int] | None:
    image = Plan.make(net, EngineConfig(lanes=2)).images.get("activations")
    return None if image is None else [word["value"] for word in single(image)]


def test_power_up_is_only_there_if_something_relies_on_it():
    assert power_up(random_network(3, split=True).network) is None
    x, y = tensor("x", 3, 3, 1), tensor("y", 3, 3, 1)
    assert power_up(network([x, y], [convolution("a", x, y)])) == [0] * (2 * (5 * 4 + 1))
    y = tensor("y", 1, 1, 1)
    assert power_up(network([x, y], [convolution("a", x, y, padding=(0, 0))])) is None


def test_power_up_holds_the_outputs_of_cells_before_the_first_step():
    initial = np.array([5, -6, 7], np.int32)
    net = lstm(3)
    order = np.array([2, 0, 1])
    tensors = [tensor("h", 3, scale=2.0**-7, order=order, initial=initial) if t.name == "h" else t for t in net.tensors]
    net = network(tensors, net.layers, cells=net.cells)
    plan = Plan.make(net, EngineConfig(lanes=2))
    start = plan.memory.regions[STATES].start
    found = power_up(net)
    assert found[start : start + 9] == [0] * 6 + [7, 5, -6]
    assert not any(found[:start] + found[start + 9 :])


def test_initial_states_are_numbered_like_the_units():
    net = lstm(3, state=np.array([100, -200, 300], np.int32))
    order = np.array([1, 2, 0])
    tensors = [tensor("h", 3, scale=2.0**-7, order=order) if t.name == "h" else t for t in net.tensors]
    plan = Plan.make(network(tensors, net.layers, cells=net.cells), EngineConfig(lanes=2))
    assert [word["value"] for word in single(plan.images["cell_state"])] == [0] * 4 + [-200, 300, 100]


# Input.


@pytest.mark.parametrize(
    ("shape", "order", "padded", "rom"),
    [
        ((1, 1, 5), None, False, False),
        ((1, 1, 5), [4, 0, 1, 2, 3], False, True),
        ((3, 3, 1), None, False, False),
        ((3, 3, 1), None, True, False),
        ((3, 3, 2), None, False, False),
        ((3, 3, 2), [1, 0], True, False),
        ((3, 1, 4), [3, 0, 2, 1], True, False),
    ],
)
def test_order_of_the_input_is_a_rom_only_if_elements_of_a_vector_jump(shape, order, padded, rom):
    x = tensor("x", *shape, order=None if order is None else np.array(order))
    y = tensor("y", *shape[:2], 1)
    made = convolution("a", x, y, (3, 3) if padded else (1, 1), (1, 1) if padded else (0, 0))
    plan = Plan.make(network([x, y], [made]), EngineConfig())
    assert ("input_order" in plan.images) == rom
    expected = plan.memory.layouts["x"].elements(x).tolist()
    if rom:
        assert [word["address"] for word in single(plan.images["input_order"])] == expected
    else:
        assert Machine(plan).input_places(x.size) == expected


def test_embedding_is_one_symbol_after_another():
    table = np.arange(-6, 6).reshape(4, 3).astype(np.int16)
    tensors = [tensor("s", 2, qmin=0, qmax=3), tensor("x", 6), tensor("y", 2)]
    net = network(tensors, [layer("y", "y", [("x", 0, 6)], 2)], embedding=Embedding("e", "x", table))
    plan = Plan.make(net, EngineConfig())
    assert [word["value"] for word in single(plan.images["embedding"])] == table.ravel().tolist()


def test_functions_are_one_table_after_another():
    tables = [np.arange(256) - 100, np.arange(256)[::-1] * 100]
    net = network(
        [tensor("x", 3), tensor("y", 2)],
        [layer("y", "y", [("x", 0, 3)], 2, function=np.array([2, 0], np.uint8))],
        functions=tuple(table.astype(np.int16) for table in tables),
    )
    plan = Plan.make(net, EngineConfig())
    assert [word["value"] for word in single(plan.images["functions"])] == np.concatenate(tables).tolist()
    assert [row["function"] for row in single(plan.images["rows"])] == [2, 0]


def test_gates_written_by_several_layers_fire_with_the_last():
    """Layers write i and f, then o, then g: the cell of a unit runs with its g."""
    tensors = [tensor("x", 4), tensor("g", 8, bits=16, qmin=-32768, qmax=32767), tensor("h", 2, scale=2.0**-7)]
    tensors.append(tensor("y", 1))
    layers = [
        layer("if", "g", [("x", 0, 4), ("h", 0, 2)], 4),
        layer("o", "g", [("x", 0, 4)], 2, first=6),
        layer("g", "g", [("h", 0, 2)], 2, first=4),
        layer("y", "y", [("h", 0, 2)], 1),
    ]
    plan = Plan.make(network(tensors, layers, cells=(Cell("cell", "lstm", "g", "h"),)), EngineConfig(lanes=3))
    rows = [row for row in single(plan.images["rows"]) if row["target"] == GATE]
    assert [row["bank"] for row in rows] == [0, 0, 1, 1, 3, 3, 2, 2]
    assert [row["fire"] for row in rows] == [0, 0, 0, 0, 0, 0, 1, 1]
    assert [row["address"] for row in rows] == [0, 1] * 4
