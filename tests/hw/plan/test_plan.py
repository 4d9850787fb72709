"""The plan: widths, cycles, results, tables, without any hardware."""

import itertools
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from darb_hw.config import DEVICES, EngineConfig
from darb_hw.engine.sequencer import Sequencer
from darb_hw.errors import PlanError
from darb_hw.plan import metrics
from darb_hw.plan.plan import Plan
from darb_prune.encoded import DENSE, DarbError, Level
from tests.hw import small
from tests.hw.plans import plans
from tests.map_networks import residual_network
from tests.networks import bound_inputs, random_network


def test_accumulator_is_as_wide_as_its_bound_and_no_wider():
    random = random_network(5, sizes=(30, 6), extreme=True, levels=(DENSE,))
    plan = Plan.make(random.network, EngineConfig())
    sums = [int((random.dense[0] @ column)[row]) for row in range(6) for column in bound_inputs(random, row)]
    bits = plan.widths.accumulator
    assert -(1 << bits - 1) <= min(sums)
    assert max(sums) < 1 << bits - 1
    assert min(sums) < -(1 << bits - 2) or max(sums) >= 1 << bits - 2


@pytest.mark.parametrize("device", DEVICES)
def test_multipliers_follow_the_device(device):
    network = random_network(9, sizes=(64, 32, 10)).network
    dsps = DEVICES[device].dsps
    plan = Plan.make(network, EngineConfig(lanes=8, device=device))
    assert plan.lane_style.dsp == (dsps >= 8)
    used = 8 * plan.lane_style.dsp + plan.requant_style.limbs * plan.requant_style.dsp
    assert used <= dsps
    plan = Plan.make(network, EngineConfig(lanes=128, device=device, requant_multiplier="lut"))
    assert plan.lane_style.dsp == (dsps >= 128)


@pytest.mark.parametrize("kind", ["lstm", "gru"])
@pytest.mark.parametrize("device", DEVICES)
def test_cells_get_what_multipliers_are_left(device, kind):
    net = random_network(3, kind).network
    dsps = DEVICES[device].dsps
    operands = {"lstm": (16, 16, 16), "gru": (16, 17)}[kind]
    for lanes in range(1, min(dsps, 16) + 1):
        plan = Plan.make(net, EngineConfig(lanes=lanes, device=device))
        used = lanes * plan.lane_style.dsp + plan.requant_style.limbs * plan.requant_style.dsp
        styles = [plan.cell_style(width) for width in operands]
        assert len({style.dsp for style in styles}) == 1
        assert used + sum(style.limbs * style.dsp for style in styles) <= dsps
    # With one lane they all fit, where there are any.
    plan = Plan.make(net, EngineConfig(lanes=1, device=device))
    assert plan.cell_style(16).dsp == (dsps > 0)


def test_more_multipliers_than_there_are():
    network = random_network(9, sizes=(64, 32, 10)).network
    with pytest.raises(PlanError, match="9 DSP blocks needed, ice40-up5k has 8"):
        Plan.make(network, EngineConfig(lanes=9, device="ice40-up5k", lane_multiplier="dsp", requant_multiplier="lut"))
    with pytest.raises(PlanError, match="too wide for the DSP blocks of ice40-up5k"):
        Plan.make(network, EngineConfig(lanes=1, device="ice40-up5k", requant_multiplier="dsp"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lanes": 0}, "lanes = 0: choose a whole number from 1 to 128"),
        ({"lanes": 129}, "lanes = 129"),
        ({"lanes": 2.0}, "lanes = 2.0"),
        ({"device": "ecp5-99k"}, "unknown device 'ecp5-99k': choose one of ice40-up5k"),
        ({"lane_multiplier": "fast"}, "lane_multiplier = 'fast': choose one of auto, dsp, lut"),
        ({"unroll": 0}, "unroll = 0: choose a whole number from 1 up"),
        ({"unroll": True}, "unroll = True"),
        ({"positions": 3, "lanes": 6}, "positions = 3: choose a power of two that divides 6"),
        ({"positions": 4, "lanes": 6}, "positions = 4: choose a power of two that divides 6"),
        ({"positions": 0}, "positions = 0"),
        ({"positions": True}, "positions = True"),
        ({"positions": 4, "results": 8}, "results = 8: choose a power of two that divides 4"),
        ({"positions": 4, "results": 3}, "results = 3"),
        ({"results": 3}, "results = 3: choose a power of two that divides 8"),
        ({"positions": 1, "results": 2}, "results = 2: choose a power of two that divides 1"),
        ({"positions": 4, "memory": "shared"}, "lanes with copies of maps: choose positions = 1"),
        ({"input_order": "spread"}, "input_order = 'spread'"),
        ({"input": "twice"}, "input = 'twice': choose one of auto, overlapped, reused, alone"),
        ({"memory": None}, "memory = None: choose one of auto, private, shared, spram"),
        ({"memory": "spram"}, "ecp5-85k has no such RAMs: choose the device ice40-up5k"),
        ({"roms": "flash"}, "roms = 'flash': choose one of blocks, spram"),
        ({"roms": "spram"}, "roms = 'spram': ecp5-85k has no such RAMs: choose the device ice40-up5k"),
        (
            {"roms": "spram", "device": "ice40-up5k", "reload": True},
            "has the port for other networks: leave out reload",
        ),
        (
            {"roms": "spram", "memory": "spram", "device": "ice40-up5k", "positions": 2},
            "hold maps or ROMs, not both: choose memory = 'spram' or roms = 'spram'",
        ),
        ({"memory": "spram", "device": "ice40-up5k", "lanes": 16}, "feeds up to 8 lanes, not 16: choose fewer lanes"),
        ({"memory": "spram", "device": "ice40-up5k", "positions": 1}, "even number of lanes, positions 2 or more"),
        ({"memory": "spram", "device": "ice40-up5k", "lanes": 5}, "even number of lanes, positions 2 or more"),
        (
            {"memory": "spram", "device": "ice40-up5k", "results": 2},
            "one result after the other, not 2: choose results",
        ),
        ({"memory": "spram", "device": "ice40-up5k", "input": "reused"}, "no port for an? reused input"),
        ({"memory": "shared", "input": "overlapped"}, "no port for an overlapped input: choose input = 'alone'"),
        ({"memory": "shared", "input": "reused"}, "memory = 'shared' has no port for an? reused input"),
        ({"top": "9x"}, "not a legal Verilog module name"),
        ({"top": "module"}, "top = 'module': not a legal Verilog module name"),
        ({"top": "darb_ram"}, "or one that is taken"),
        ({"device": ["ecp5-85k"]}, "unknown device"),
    ],
)
def test_impossible_configurations(options, message):
    with pytest.raises(DarbError, match=message):
        EngineConfig(**options)


@pytest.mark.parametrize("kind", ["lstm", "gru", "sections"])
def test_positions_of_a_recurrent_network_are_refused(kind):
    with pytest.raises(PlanError, match="not computed at once in a network with LSTM, GRU or RNN"):
        Plan.make(random_network(3, kind).network, EngineConfig(lanes=8, positions=4))


def test_lanes_are_streams_times_positions():
    config = EngineConfig(lanes=24, positions=8, results=4)
    assert (config.streams, config.banks, config.ways) == (3, 8, 4)
    assert EngineConfig(**config.as_dict()) == config
    assert (EngineConfig(lanes=24).streams, EngineConfig(lanes=24).banks, EngineConfig().ways) == (24, 1, 1)


def test_stored_bits_count_every_rom():
    network = random_network(13, sizes=(40, 30, 8)).network
    plan = Plan.make(network, EngineConfig(lanes=4))
    assert metrics.stored_bits(plan) == sum(len(image.hex().split()) * image.width for image in plan.images.values())
    assert metrics.stored_bits_per_weight(plan) == metrics.stored_bits(plan) / network.kept
    assert metrics.index_overhead(plan) >= 1
    indices = [f"index_{number}" for number in range(len(plan.index_widths))]
    assert metrics.code_bits(plan) == sum(plan.images[name].bits for name in ["weights", *indices])
    dense = random_network(13, sizes=(40, 32, 8), levels=(DENSE,)).network
    assert metrics.index_overhead(Plan.make(dense, EngineConfig(lanes=4))) == 1
    assert Plan.make(dense, EngineConfig(lanes=4)).index_widths == []


@pytest.mark.parametrize("lanes", [3, 8])
def test_depthwise_layers_and_contents_at_power_up_are_counted_apart(lanes):
    """The ratio and the bits of a weight say what pruning has done, whatever averages and zeros of a padding take."""
    network = residual_network().network
    plan = Plan.make(network, EngineConfig(lanes=lanes, positions=4 if lanes == 8 else 1))
    pruned = [layer for layer in network.layers if not layer.depthwise]
    assert len(network.layers) - len(pruned) == 2
    assert network.kept == sum(layer.kept for layer in pruned)
    assert network.ratio == sum(layer.rows * layer.columns for layer in pruned) / network.kept
    assert network.depthwise_weights == 9 * 4 + next(layer.rows for layer in network.layers if layer.uniform)
    zeros = plan.images["activations"].bits if "activations" in plan.images else 0
    assert (metrics.power_up_bits(plan), zeros > 0) == (zeros, lanes == 3)
    streams = plan.config.streams
    steps = [(1 if group.uniform else group.steps, group) for group in plan.schedule.groups]
    apart = sum(count * (8 + group.index_bits) for count, group in steps if network.layers[group.layer].depthwise)
    assert metrics.depthwise_bits(plan) == streams * apart
    rest = metrics.stored_bits(plan) - streams * apart - zeros
    assert metrics.stored_bits_per_weight(plan) == rest / network.kept


@given(plans())
def test_code_bits_are_those_of_weights_and_indices_of_all_lanes(plan):
    """Whatever other groups have: every step of a group takes its own index and a weight, of every lane; all steps of a
    uniform one the same."""
    groups = plan.schedule.groups
    assert plan.index_widths == sorted({group.index_bits for group in groups if group.coded and group.index_bits})
    bits = sum((1 if group.uniform else group.steps) * (plan.widths.weight + group.index_bits) for group in groups)
    assert metrics.code_bits(plan) == plan.config.lanes * bits
    kept = sum(
        level.weights(segment.length) * (layer.weight_bits + level.bits)
        for layer in plan.network.layers
        for level in (layer.levels[number] for number in layer.row_level)
        for segment in layer.segments[: 1 if layer.uniform else None]
    )
    assert metrics.index_overhead(plan) == metrics.code_bits(plan) / max(kept, 1)


@given(plans())
def test_utilisation_counts_the_whole_inference(plan):
    assert metrics.utilisation(plan) == plan.network.macs / (plan.config.lanes * plan.timing.interval_of(1))
    taken = [layer.kept * (len(layer.segments) if layer.uniform else 1) for layer in plan.network.layers]
    positions = [
        layer.positions[0] * layer.positions[1] * plan.network.times(number)
        for number, layer in enumerate(plan.network.layers)
    ]
    useful = sum(codes * count for codes, count in zip(taken, positions, strict=True))
    assert plan.network.macs == useful
    assert metrics.utilisation(plan) <= 1
    assert plan.timing.interval_of(1) >= max(plan.schedule.period, plan.timing.load, plan.output_size)


# Cycles of an inference, a step, a sequence.


@given(plans())
def test_cycles_of_an_inference(plan):
    """From what happens one after another, element by element; `test_pace.py` has what follows from them."""
    net, latency = plan.network, plan.latency
    features = net.embedding.table.shape[1] if net.embedding else 0
    # Cycle of the last element: the first, taken in 0, enters in 1.
    stored = net.tensor(net.input).size * (1 + features)
    first_step = stored + latency.start + latency.issue
    written = first_step + plan.schedule.written
    last_left = written + latency.send + net.tensor(net.output).size - 1
    assert plan.timing.load == stored
    assert plan.timing.compute == written + latency.send - stored
    assert plan.timing.latency_of(1) == last_left + 1
    assert plan.output_banks == plan.timing.output_banks


@given(plans())
def test_an_input_alone_comes_in_when_all_is_done(plan):
    """Back to back: loading, start, program, and what it takes until nothing is read any more."""
    if plan.overlapped:
        return
    between = plan.schedule.period + plan.latency.release + plan.timing.load + plan.latency.start
    assert plan.timing.interval_of(1) == max(between, plan.output_size)


@given(plans(("lstm", "gru")), st.integers(2, 5))
def test_a_step_that_gives_no_output_is_not_longer(plan, steps):
    timing, schedule = plan.timing, plan.schedule
    assert schedule.body_period <= schedule.period
    assert schedule.body_release <= schedule.release
    # A step more takes at least its program and its input.
    assert timing.interval_of(steps) - timing.interval_of(steps - 1) >= min(schedule.body_period, plan.timing.load)
    assert timing.latency_of(steps) > timing.latency_of(steps - 1)
    if plan.network.emit == "step":
        assert schedule.body_period == schedule.period


def test_a_step_that_gives_no_output_is_shorter():
    step, last = (Plan.make(small.lstm(3, emit=emit, tail=3), EngineConfig(lanes=4)) for emit in ("step", "last"))
    assert step.schedule.body_period == step.schedule.period
    assert last.schedule.body_period < last.schedule.period
    assert last.timing.latency_of(4) < step.timing.latency_of(4)
    assert last.timing.latency_of(1) >= step.timing.latency_of(1)


def test_a_second_input_hides_the_loading():
    """One 64 to 64 layer: the program takes 64 * 64 / 16 cycles, the input 64."""
    net = random_network(3, sizes=(64, 64), levels=(DENSE,)).network
    overlapped, alone = (Plan.make(net, EngineConfig(lanes=16, input=one)) for one in ("overlapped", "alone"))
    assert overlapped.overlapped
    assert not alone.overlapped
    assert overlapped.timing.interval_of(1) == 64 * 64 / 16
    assert metrics.utilisation(overlapped) == 1
    assert alone.timing.interval_of(1) > 64 * 64 / 16 + 64
    assert overlapped.memory_depth == 2 * alone.memory_depth
    assert overlapped.timing.latency_of(1) <= alone.timing.latency_of(1)


def test_shared_memories_are_half_as_many():
    net = random_network(4, sizes=(40, 30, 8)).network
    for lanes in (1, 2, 7, 8):
        private, shared = (Plan.make(net, EngineConfig(lanes=lanes, memory=one)) for one in ("private", "shared"))
        assert (private.copies, shared.copies) == (lanes, -(-lanes // 2))
        assert not shared.overlapped
        assert shared.latency.visible == private.latency.visible + 1
    assert not Plan.make(net, EngineConfig()).latency.shared


# Addresses.


@given(plans())
def test_disjoint_is_what_all_steps_say(plan):
    """No step adds an index to an address that has a one where the index may have one."""
    places = [0, *plan.index_widths]
    apart = True
    for second, odd, fresh in itertools.product([False, True], repeat=3):
        for step in filter(None, Sequencer.model(plan, second=second and plan.overlapped, odd=odd, fresh=fresh)):
            apart &= step["base"] % (1 << places[step["index"].bit_length()]) == 0
    banks = plan.memory.second | plan.memory.bank
    if banks % (1 << places[-1]) == 0:
        assert plan.disjoint == apart
    else:  # it does not look at who reads which of them
        assert apart or not plan.disjoint


@pytest.mark.parametrize("lanes", [1, 6, 16])
@pytest.mark.parametrize("loading", ["overlapped", "alone"])
def test_layers_that_read_whole_vectors_are_disjoint(lanes, loading):
    net = random_network(6, sizes=(200, 70, 33, 10)).network
    assert Plan.make(net, EngineConfig(lanes=lanes, input=loading)).disjoint


def test_windows_that_move_by_less_than_a_block_are_not():
    x, y = small.tensor("x", 4, 4, 2), small.tensor("y", 4, 3, 1)
    for level, disjoint in ((DENSE, True), (Level(1, 1), True), (Level(2, 1), False)):
        net = small.network([x, y], [small.convolution("a", x, y, (1, 2), (0, 0), levels=(level,))])
        assert Plan.make(net, EngineConfig(lanes=1)).disjoint == disjoint


# What is on the write port.


@given(plans())
def test_writes_visit_every_output_position_of_every_row(plan):
    """Per layer and row: each position once, windows of a pool together; a value stays if nothing comes after it."""
    net, writes = plan.network, plan.writes
    inside = np.array([net.section_of(number) is not None for number in range(len(net.layers))])
    assert (np.diff(writes.layer)[~inside[writes.layer[1:]]] >= 0).all()
    for number, layer in enumerate(net.layers):
        mine = writes.layer == number
        row, element, final = writes.row[mine], writes.element[mine], writes.final[mine]
        assert mine.sum() == layer.rows * layer.position_count * net.times(number)
        height, width, _ = net.tensor(layer.output).shape
        window = layer.pool[0] * layer.pool[1]
        taken = [
            range(other.first, other.first + other.rows)
            for other in net.layers[number + 1 :]
            if other.output == layer.output and other.maximum
        ]
        for one in range(layer.rows):
            places = element[row == one]
            pixels = (layer.first + one) * height * width + np.arange(height * width)
            assert sorted(places) == sorted(pixels.tolist() * window)
            for pixel in pixels:
                stays = final[row == one][places == pixel]
                assert not stays[:-1].any()
                assert stays[-1] != any(layer.first + one in channels for channels in taken)
    body = plan.body_writes(1)
    assert body == (sum(writes.layer < net.tail) if net.emit == "last" else len(writes.layer))
    for cell, entry in enumerate(net.cells):
        assert sorted(writes.unit[writes.cell == cell]) == list(range(net.tensor(entry.output).size))


def test_values_stay_where_no_maximum_is_to_come():
    x, a, y = small.tensor("x", 3, 3, 2), small.tensor("a", 2, 2, 3), small.tensor("y", 2)
    windows = {"positions": (2, 2)}
    layers = [
        small.layer("first", "a", [("x", 0, 2)], 3, **windows),
        small.layer("tap", "a", [("x", 2, 2)], 1, first=1, maximum=True, **windows),
        small.layer("again", "a", [("x", 0, 2, 1)], 2, first=1, maximum=True, **windows),
        small.layer("y", "y", [("a", 0, 12)], 2),
    ]
    writes = Plan.make(small.network([x, a, y], layers), EngineConfig(lanes=2)).writes
    final = {(layer, row): stays for layer, row, stays in zip(writes.layer, writes.row, writes.final, strict=True)}
    assert [final[0, row] for row in range(3)] == [True, False, False]
    assert [final[1, 0], final[2, 0], final[2, 1]] == [False, True, True]


# Read-only.


def test_nothing_in_a_plan_changes():
    plan = Plan.make(small.lstm(3), EngineConfig(lanes=2))
    with pytest.raises(TypeError):
        plan.images["weights"] = plan.images["rows"]
    with pytest.raises(TypeError):
        plan.memory.regions["x"] = None
    with pytest.raises(AttributeError):
        plan.images = {}
    with pytest.raises(ValueError, match="read-only"):
        plan.images["weights"].words[0] = 0


# Tables.


@given(plans())
def test_layer_table(plan):
    table, net = metrics.layer_table(plan), plan.network
    assert [row["layer"] for row in table] == [layer.name for layer in net.layers]
    steps = [step for step in Sequencer.model(plan) if step]
    assert sum(row["steps"] for row in table) == len(steps)
    for number, (row, layer) in enumerate(zip(table, net.layers, strict=True)):
        groups = [group for group in plan.schedule.groups if group.layer == number]
        assert (row["rows"], row["columns"], row["kept"]) == (layer.rows, layer.columns, layer.kept)
        assert row["positions"] == layer.positions[0] * layer.positions[1] * net.times(number)
        assert row["groups"] == len(groups)
        assert row["at once"] == len({place for group in groups for place in group.positions.tolist()})
        macs = layer.macs * net.times(number)
        assert row["utilisation"] == macs / (plan.config.lanes * (row["steps"] + row["idle"]))
        assert row["fold"] == max(2**group.fold for group in groups)
    # All cycles of the program belong to a layer.
    cycles = sum(row["steps"] + row["idle"] for row in table)
    assert cycles + plan.schedule.spans[0].start == plan.schedule.period


@given(plans())
def test_memory_table(plan):
    table = metrics.memory_table(plan)
    assert {row["tensor"] for row in table} == set(plan.memory.regions)
    assert [row["first"] for row in table] == sorted(row["first"] for row in table)
    assert max(row["start"] + row["size"] for row in table) == plan.memory_depth
    for row in table:
        (height, width, channels), (above, left) = row["shape"], row["padding"]
        assert row["size"] == ((height + 2 * above) * (width + left) + left) * channels
        region = plan.memory.regions[row["tensor"]]
        assert (row["start"], row["first"], row["last"]) == (region.start, region.first, region.last)
    assert json.loads(json.dumps(table)) == table


# What the network needs.


@given(plans())
def test_only_what_the_network_needs_is_there(plan):
    net, images = plan.network, set(plan.images)
    functions = any(layer.function is not None and layer.function.any() for layer in net.layers)
    operand = any(layer.operand and not layer.operand.product for layer in net.layers)
    product = any(layer.operand and layer.operand.product for layer in net.layers)
    maximum = any(layer.maximum or layer.pool != (1, 1) for layer in net.layers)
    assert {"weights", "program", "rows"} <= images
    indices = {name for name in images if name.startswith("index_")}
    assert indices == {f"index_{number}" for number in range(len({g.index_bits for g in plan.schedule.groups} - {0}))}
    assert ("functions" in images) == functions
    assert ("embedding" in images) == (net.embedding is not None)
    assert {"cell_state", "cell_tanh"} <= images or not net.cells
    assert (plan.latency.cell > 0) == bool(net.cells)
    lanes = plan.config.lanes if plan.config.memory != "shared" else (plan.config.lanes + 1) // 2
    assert plan.copies == lanes + (operand or product or maximum)
    assert plan.folds == max(group.fold for group in plan.schedule.groups)
    assert plan.latency.fold == (1 if plan.folds else 0)
    assert (plan.latency.functions, plan.latency.operand, plan.latency.maximum) == (functions, operand, maximum)
    assert (plan.latency.product > 0) == product
    padded = any(any(layer.padding) for layer in net.layers)
    assert ("activations" in images) == (padded or bool(net.cells))


@given(plans())
def test_widths_hold_every_number(plan):
    """And no address has more bits than its memory needs."""
    net, widths = plan.network, plan.widths
    assert plan.memory_depth <= 1 << widths.address
    assert widths.address == 1 or plan.memory_depth > 1 << widths.address - 1
    assert plan.output_size <= 1 << widths.target
    assert plan.memory.bank <= 1 << widths.target
    assert widths.activation == max(tensor.bits for tensor in net.tensors if tensor.name in plan.memory)
    assert widths.value >= max(widths.activation, widths.output, 16 if net.cells else 0)
    for layer in net.layers:
        low, high = net.accumulator_bounds(layer)
        assert -(1 << widths.biased - 1) <= min(low)
        assert max(high) < 1 << widths.biased - 1
        assert -(1 << widths.accumulator - 1) <= min(low - layer.bias)
        assert max(high - layer.bias) < 1 << widths.accumulator - 1
