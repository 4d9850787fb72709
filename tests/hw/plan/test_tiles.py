"""Walks over tiles: taps, masks, tiles, drains and codes, run in plain Python, compute the network."""

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given

from darb_hw.plan.plan import Plan
from tests.hw.interpreter import INSIDE, OUTPUT, execute, sequences
from tests.hw.plans import tile_plans
from tests.hw.tile_interpreter import TileMachine
from tests.networks import random_inputs


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
    assert (max(outputs), len(outputs)) == (schedule.written, plan.output_writes)
    assert sorted(set(run.port)) == schedule.busy.tolist()


@given(tile_plans())
def test_tables_compute_the_network(made):
    """Inputs as fast as they can and as late as they can come: values, places and cycles of all results. The machine
    finds what is read before it is written, and two results on one write port."""
    random, plan = made
    inputs = random_inputs(plan.config.lanes, random.network, 3)
    expected = random.trace(inputs)
    late = plan.config.streams % 2 == 1
    for frame, _, run, output in sequences(plan, inputs, late=late, machine_type=TileMachine):
        check_results(plan, run, expected, frame)
        check_cycles(plan, run)
        assert output == expected[random.network.output][frame].tolist()
