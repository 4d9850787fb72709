"""Walks over tiles: taps, masks, tiles, drains and codes, run in plain Python, compute the network."""

from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given

from darb_hw.config import EngineConfig
from darb_hw.plan.plan import Plan
from darb_prune.encoded import EncodedNetwork, Level, Segment
from tests.hw.interpreter import INSIDE, OUTPUT, sequences
from tests.hw.plans import paired_plans, tile_plans
from tests.hw.small import convolution, layer, network, tensor
from tests.hw.tile_interpreter import TileMachine
from tests.networks import RandomNetwork, random_inputs
from tests.random_rows import matrix_of
from tests.reference import Matrix


def check_results(plan: Plan, run, values: dict[str, np.ndarray], frame: int) -> None:
    """Every result and its place against the reference."""
    net, writes = plan.network, plan.writes
    assert len(run.results) == len(writes.layer)
    places = {
        name: (bank << plan.widths.address) + address + plan.memory.start(name)
        for name, layout in plan.memory.banked.items()
        if name in plan.memory
        for bank, address in [layout.elements(net.tensor(name))]
    }
    last = defaultdict(list)
    for number, result in enumerate(run.results):
        layer, element = net.layers[writes.layer[number]], int(writes.element[number])
        expected = int(values[layer.output][frame, element])
        assert result.value == expected if writes.final[number] else result.value <= expected
        outside = layer.output == net.output
        where = (OUTPUT, element) if outside else (INSIDE, places[layer.output][element])
        assert (result.target, result.address) == where
        if writes.final[number]:
            last[layer.output].append(element)
    for layer in net.layers:
        assert sorted(last[layer.output]) == list(range(net.tensor(layer.output).size))


def check_cycles(plan: Plan, run) -> None:
    """When each layer begins and when its last result is written, and the length of the run."""
    schedule, by_layer = plan.schedule, defaultdict(list)
    for result, number in zip(run.results, plan.writes.layer.tolist(), strict=True):
        by_layer[number].append(result)
    for number, results in by_layer.items():
        assert min(result.begun for result in results) == schedule.spans[number].start
        assert max(result.cycle for result in results) == schedule.spans[number].written
    assert run.cycles == schedule.period
    outputs = [result.cycle for result in run.results if result.target == OUTPUT]
    assert (max(outputs), len(outputs)) == (schedule.written, plan.output_writes[1])
    assert sorted(set(run.port)) == schedule.busy.tolist()


def check(plan: Plan, random: RandomNetwork, late: bool) -> None:
    inputs = random_inputs(plan.config.lanes, random.network, 3)
    expected = random.trace(inputs)
    for frame, _, run, output in sequences(plan, inputs, late=late, machine_type=TileMachine):
        check_results(plan, run, expected, frame)
        check_cycles(plan, run)
        assert output == expected[random.network.output][frame].tolist()


@given(tile_plans())
def test_tables_compute_the_network(made):
    """Inputs as fast as they can and as late as they can come: values, places and cycles of all results. The machine
    finds what is read before it is written, and two results on one write port."""
    random, plan = made
    check(plan, random, late=plan.config.streams % 2 == 1)


@given(paired_plans())
def test_pairs_of_banks_compute_the_network(made):
    """Two banks in a single-port RAM have one address a cycle, which is that of a read or of a burst."""
    random, plan = made
    check(plan, random, late=plan.config.streams % 2 == 1)


def depthwise(pixels: list[tuple[str, int, int]], weights: list[int]) -> tuple[EncodedNetwork, list[Matrix]]:
    """Rows that read pixels (tensor, line, column) of the same channel, one position, with a weight for each pixel."""
    x, a, y = tensor("x", 2, 2, 3), tensor("a", 2, 2, 3), tensor("y", 3)
    segments = tuple(Segment(name, 3 * column, 3, line) for name, line, column in pixels)
    index, weight = np.repeat(np.arange(3), len(pixels)), np.tile(weights, 3)
    made = layer("y", "y", segments, 3, (Level(2, 1),), depthwise=True)
    made = replace(made, index=index.astype(np.uint16), weight=weight.astype(np.int8))
    first = convolution("a", x, a, (1, 1), (0, 0))
    dense = np.concatenate([weight * np.eye(3, dtype=np.int64) for weight in weights], axis=1)
    if not any(name == "a" for name, *_ in pixels):
        return network([x, y], [made]), [matrix_of(dense, segments, {"x": x})]
    before = np.zeros((3, 3), np.int64)
    before[np.arange(3)[:, None], np.arange(3)] = first.weight.reshape(3, 3)
    matrices = [matrix_of(before, first.segments, {"x": x}), matrix_of(dense, segments, {"x": x, "a": a})]
    return network([x, a, y], [first, made]), matrices


MAP = [(line, column) for line in range(2) for column in range(2)]


@pytest.mark.parametrize(
    ("pixels", "weights", "total"),
    [
        ([("x", *pixel) for pixel in MAP], [7] * 4, True),
        ([("a", *pixel) for pixel in MAP[:3]], [-7] * 3, True),
        ([("x", *pixel) for pixel in MAP], [7, 7, 7, 6], False),
        ([("x", 0, 0), ("a", 0, 1)], [5, 5], False),
        ([("x", 0, 0), ("x", 0, 1), ("x", 0, 0)], [5] * 3, False),
        ([("x", 1, 1)], [3], False),
    ],
)
def test_lanes_are_added_up_where_a_row_averages_pixels(pixels, weights, total):
    """Pixels of one tensor, each once, with equal weights."""
    random = RandomNetwork(*depthwise(pixels, weights))
    plan = Plan.make(random.network, EngineConfig(lanes=8, positions=4, results=2))
    assert plan.schedule.groups[-1].loop.total == total
    check(plan, random, late=False)


def test_an_average_of_nothing_but_the_zeros_around_a_map():
    net, matrices = depthwise([("x", *pixel) for pixel in MAP], [7] * 4)
    above = replace(net.layers[0], padding=(2, 0, 0, 0))
    random = RandomNetwork(replace(net, layers=(above,)), matrices)
    plan = Plan.make(random.network, EngineConfig(lanes=8, positions=4, results=2))
    assert plan.schedule.groups[-1].loop.total
    check(plan, random, late=False)
