"""Schedule, memory map and plan, without any hardware."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from networks import bound_inputs, random_inputs, random_network

from darb_hw.config import DEVICES, EngineConfig
from darb_hw.memory_map import memory_map
from darb_hw.plan import Plan, PlanError
from darb_hw.sequencer import Sequencer
from darb_prune.encoded import DENSE, EMPTY, DarbError, EncodedNetwork, Level, Segment


@given(st.integers(0, 10_000), st.integers(1, 40), st.booleans())
def test_rom_contents_compute_the_network(seed, lanes, split):
    """Executes program, code ROM and row parameters in plain Python: every row gets its value, once."""
    random = random_network(seed, split=split)
    network = random.network
    plan = Plan.make(network, EngineConfig(lanes=lanes))
    inputs = random_inputs(seed, network, 2)
    expected = random.trace(inputs)
    for sample in range(2):
        memory = {}
        for position, logical in enumerate(_order(network.tensor("x"))):
            memory[plan.regions["x"].start + position] = int(inputs[sample, logical])
        codes = [_fields(plan.images["codes"], word) for word in plan.images["codes"].integers()]
        rows = [_fields(plan.images["rows"], word)[0] for word in plan.images["rows"].integers()]
        sums, at, row, output = [0] * lanes, 0, 0, {}
        for step in Sequencer.model(list(plan.words)):
            if step is None:
                continue
            if step["first"]:
                sums = [0] * lanes
            for lane in range(lanes):
                code = codes[at][lane]
                sums[lane] += code["weight"] * memory[step["base"] + code.get("index", 0)]
            at += 1
            if step["last"]:
                for lane in range(step["rows"]):
                    r = rows[row]
                    row += 1
                    shift = r.get("shift", 0) + plan.shift_base
                    y = ((sums[lane] + r["bias"]) * r["mult"] + (1 << shift - 1)) >> shift
                    low, high = plan.clamps[r.get("clamp", 0)]
                    target = output if r["output"] else memory
                    target[r.get("address", 0)] = min(max(y, low), high)
        assert [output[i] for i in range(plan.output_size)] == expected[network.output][sample].tolist()
        assert (at, row) == (len(codes), len(rows))


def _order(tensor):
    return np.arange(tensor.size) if tensor.order is None else tensor.order


def _fields(image, word):
    """Fields of each copy in a ROM word, taken apart by shifting."""
    copies = []
    for _ in range(image.copies):
        values = {}
        for field in image.fields:
            value = word & ((1 << field.width) - 1)
            word >>= field.width
            values[field.name] = value - (1 << field.width) if field.signed and value >> field.width - 1 else value
        copies.append(values)
    return copies


@given(st.integers(0, 10_000), st.integers(1, 20))
def test_groups_drain_before_they_are_overwritten(seed, lanes):
    plan = Plan.make(random_network(seed, split=True).network, EngineConfig(lanes=lanes))
    now, ends = 0, []
    for group in plan.groups:
        start = now
        now += sum(run.steps + run.pad for run in group.runs)
        ends.append((group, start, start + group.lead - 1))
    for (before, _, end), (after, start, after_end) in itertools.pairwise(ends):
        assert after_end - end >= len(before.rows)
        if after.layer != before.layer:
            # Written by the port in cycle end + drain + rows - 1; its address is issued code + address after the step.
            readable = end + plan.latency.drain + len(before.rows)
            assert start + plan.latency.code + plan.latency.address == readable


@given(st.integers(0, 10_000), st.integers(1, 20))
def test_every_row_once_and_empty_rows_fill_spare_lanes(seed, lanes):
    network = random_network(seed, levels=(EMPTY, DENSE, Level(2, 1))).network
    plan = Plan.make(network, EngineConfig(lanes=lanes))
    expected = {(n, row) for n, layer in enumerate(network.layers) for row in range(layer.rows)}
    assert set(plan.schedule) == expected
    assert len(plan.schedule) == len(expected)
    for number, _ in enumerate(network.layers):
        groups = [group for group in plan.groups if group.layer == number]
        partial = [group for group in groups if len(group.rows) < lanes]
        if any(group.coded == 0 for group in groups):
            # Empty rows get groups of their own only once no lane is left over.
            assert all(group.coded in (0, lanes) for group in partial)


def test_accumulator_is_as_wide_as_its_bound_and_no_wider():
    random = random_network(5, sizes=(30, 6), extreme=True, levels=(DENSE,))
    plan = Plan.make(random.network, EngineConfig())
    sums = [int((random.dense[0] @ column)[row]) for row in range(6) for column in bound_inputs(random, row)]
    bits = plan.widths.accumulator
    assert -(1 << bits - 1) <= min(sums)
    assert max(sums) < 1 << bits - 1
    assert min(sums) < -(1 << bits - 2) or max(sums) >= 1 << bits - 2


def test_memory_map_reuses_the_place_of_dead_tensors():
    network = random_network(6, sizes=(784, 300, 100, 60, 10)).network
    regions = memory_map(network)
    assert max(region.start + region.size for region in regions.values()) == 784 + 300
    assert set(regions) == {"x", "t1", "t2", "t3"}
    for one in regions.values():
        for other in regions.values():
            apart = one.start + one.size <= other.start or other.start + other.size <= one.start
            assert one is other or apart or one.last < other.first or other.last < one.first


def test_memory_map_keeps_a_tensor_until_its_last_reader():
    network = random_network(7, sizes=(20, 20, 20, 20), split=True).network
    regions = memory_map(network)
    assert regions["x"].last == 1
    assert len({region.start for region in regions.values()}) == len(regions)


def test_program_is_short_where_groups_repeat():
    network = random_network(8, sizes=(64, 256, 10), levels=(Level(3, 1),)).network
    plan = Plan.make(network, EngineConfig(lanes=4))
    # Layer 1: 63 groups and one before the layer change; layer 2: two full groups, one of two rows, which ends.
    assert plan.images["program"].depth <= 6
    assert len(plan.groups) == 64 + 3


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


def test_more_multipliers_than_there_are():
    network = random_network(9, sizes=(64, 32, 10)).network
    with pytest.raises(PlanError, match="9 DSP blocks needed, ice40-up5k has 8"):
        Plan.make(network, EngineConfig(lanes=9, device="ice40-up5k", lane_multiplier="dsp", requant_multiplier="lut"))
    with pytest.raises(PlanError, match="too wide for the DSP blocks of ice40-up5k"):
        Plan.make(network, EngineConfig(lanes=1, device="ice40-up5k", requant_multiplier="dsp"))


def test_the_output_of_the_network_may_not_be_read():
    network = random_network(10, sizes=(6, 5, 4)).network
    tensors, (first, second) = network.tensors, network.layers
    second = replace(second, output="t2")
    with pytest.raises(PlanError, match="layer 'layer2' reads tensor 't1', which is the output"):
        Plan.make(EncodedNetwork("n", "x", "t1", tensors, (first, second)), EngineConfig())


def test_a_layer_nobody_reads():
    network = random_network(10, sizes=(6, 5, 4), levels=(DENSE,)).network
    first, second = network.layers
    second = replace(
        second, segments=(Segment("x", 0, 5),), row_level=second.row_level, index=second.index, weight=second.weight
    )
    with pytest.raises(PlanError, match="nobody reads its output 't1'"):
        Plan.make(EncodedNetwork("n", "x", "t2", network.tensors, (first, second)), EngineConfig())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lanes": 0}, "lanes = 0: choose a whole number from 1 to 128"),
        ({"lanes": 129}, "lanes = 129"),
        ({"lanes": 2.0}, "lanes = 2.0"),
        ({"device": "ecp5-12k"}, "unknown device 'ecp5-12k': choose one of ice40-up5k"),
        ({"lane_multiplier": "fast"}, "lane_multiplier = 'fast': choose one of auto, dsp, lut"),
        ({"input_order": "spread"}, "input_order = 'spread'"),
        ({"top": "9x"}, "not a legal Verilog module name"),
        ({"top": "module"}, "top = 'module': not a legal Verilog module name"),
        ({"top": "darb_ram"}, "or one that is taken"),
        ({"device": ["ecp5-85k"]}, "unknown device"),
    ],
)
def test_impossible_configurations(options, message):
    with pytest.raises(DarbError, match=message):
        EngineConfig(**options)


def test_stored_bits_count_every_rom():
    network = random_network(13, sizes=(40, 30, 8)).network
    plan = Plan.make(network, EngineConfig(lanes=4))
    assert plan.stored_bits == sum(len(image.hex().split()) * image.width for image in plan.images.values())
    assert plan.stored_bits_per_weight == plan.stored_bits / network.kept
    assert plan.index_overhead >= 1
    dense = random_network(13, sizes=(40, 32, 8), levels=(DENSE,)).network
    assert Plan.make(dense, EngineConfig(lanes=4)).index_overhead == 1


def test_utilisation_counts_the_whole_inference():
    network = random_network(14, sizes=(32, 64, 16), levels=(Level(2, 1),)).network
    plan = Plan.make(network, EngineConfig(lanes=8))
    assert plan.utilisation == network.kept / (8 * plan.interval_cycles)
    # Per layer without input and output: the sum of the layers' cycles is what the plan predicts.
    cycles = sum(row["steps"] + row["idle"] for row in plan.layer_table())
    assert cycles + plan.latency.issue - 1 == plan.run_cycles
