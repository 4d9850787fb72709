"""Lanes in clusters: what they run is the network, each cluster reads its own part, and other networks are refused."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from darb_hw.config import EngineConfig
from darb_hw.errors import PlanError
from darb_hw.plan import clusters as plan_clusters
from darb_hw.plan.clusters import clustered
from darb_hw.plan.plan import Plan
from darb_prune.encoded import DENSE, DarbError, Segment
from tests.hw.cluster_interpreter import ClusterMachine
from tests.hw.interpreter import INSIDE, OUTPUT, sequences
from tests.hw.plan.test_roms import check_cycles
from tests.networks import random_inputs, random_network
from tests.parted_networks import parted_network

INPUTS = st.sampled_from(("overlapped", "reused", "alone"))


@settings(max_examples=60)
@given(
    st.integers(0, 10_000), st.sampled_from((2, 4)), st.integers(1, 7), INPUTS, st.sampled_from(("logical", "storage"))
)
def test_rom_contents_compute_the_network(seed, clusters, each, loading, order):
    """Values, places and cycles of all results, with inputs as fast as they can and as late as they can come. No
    cluster reads what nobody has written to it."""
    random = parted_network(seed, clusters)
    config = EngineConfig(lanes=clusters * each, clusters=clusters, input=loading, input_order=order)
    plan = Plan.make(random.network, config)
    inputs = random_inputs(seed, random.network, 3)
    expected = random.trace(inputs)
    net, writes = plan.network, plan.writes
    for frame, _, run, output in sequences(plan, inputs, late=seed % 2 == 1, machine_type=ClusterMachine):
        assert output == expected[net.output][frame].tolist()
        check_cycles(plan, run, whole=True)
        assert len(run.results) == len(writes.layer) == sum(layer.rows for layer in net.layers)
        for result, layer_number, element in zip(run.results, writes.layer, writes.element, strict=True):
            tensor = net.tensor(net.layers[layer_number].output)
            assert result.value == expected[tensor.name][frame, element]
            part, place = 0, int(tensor.channel_position[element])
            if tensor.name in net.parted:
                parts = np.array_split(np.arange(tensor.size), clusters)
                part, place = next((n, place - own[0]) for n, own in enumerate(parts, 1) if place in own)
            where = (OUTPUT, element) if tensor.name == net.output else (INSIDE, plan.memory.start(tensor.name) + place)
            assert (result.target, result.address, result.bank) == (*where, part * (where[0] == INSIDE))


@pytest.mark.parametrize("clusters", [2, 4])
def test_each_lane_holds_a_part(clusters):
    """Of dense layers a memory has as many words fewer as there are clusters."""
    random = parted_network(6, clusters, levels=(DENSE,))
    plan = Plan.make(random.network, EngineConfig(lanes=2 * clusters, clusters=clusters, input="alone"))
    held = {name: region.size for name, region in plan.memory.regions.items()}
    assert plan.network.parted
    for name, size in held.items():
        whole = random.network.tensor(name).size
        assert size == (-(-whole // clusters) if name in plan.network.parted else whole)


def test_codes_are_the_weights_of_the_network():
    random = parted_network(11, 2)
    network = random.network
    run = clustered(network, EngineConfig(lanes=6, clusters=2))
    assert run.source is network
    # A layer in parts has the rows of all parts, one part behind the other.
    dense = dict(zip((layer.name for layer in network.layers), random.dense, strict=True))
    for layer in run.layers:
        first, _, last = layer.name.partition(" ... ")
        names = list(dense)
        parts = names[names.index(first) : names.index(last or first) + 1]
        sums = np.concatenate([np.abs(dense[name]).sum(1) for name in parts])
        for level_number in range(len(layer.levels)):
            rows = layer.rows_of(level_number)
            assert (np.abs(layer.codes_of(rows)[1].astype(int)).sum(1) == sums[rows]).all()
    assert run.kept >= sum(int((weights != 0).sum()) for weights in random.dense)


@pytest.mark.parametrize(
    ("network", "clusters", "message"),
    [
        (random_network(0, sizes=(8, 8, 4)).network, 2, "no layer is in 2 parts: darb partition --parts 2"),
        (parted_network(0, 2).network, 4, "no layer is in 4 parts"),
        (random_network(1, "lstm").network, 2, "not for networks with time steps"),
    ],
)
def test_refused(network, clusters, message):
    with pytest.raises(PlanError, match=message):
        Plan.make(network, EngineConfig(lanes=8, clusters=clusters))


def test_a_layer_that_reads_a_part_by_itself_is_refused():
    random = next(r for r in (parted_network(seed, 2, levels=(DENSE,)) for seed in range(50)) if reads_last(r))
    *rest, last = random.network.layers
    (segment,) = last.segments
    left, right = segment.length // 2, segment.length - segment.length // 2
    halves = Segment(segment.tensor, 0, left), Segment(segment.tensor, left, right)
    network = replace(random.network, layers=(*rest, replace(last, segments=halves)))
    with pytest.raises(PlanError, match=f"layer '{last.name}' reads tensor '{segment.tensor}', which is in parts"):
        Plan.make(network, EngineConfig(lanes=4, clusters=2))


def test_rows_of_too_many_levels_are_refused(monkeypatch):
    monkeypatch.setattr(plan_clusters, "LEVELS_MAX", 1)
    network = parted_network(3, 2).network
    Plan.make(network, EngineConfig(lanes=64, clusters=2))  # one group a layer
    with pytest.raises(PlanError, match="different levels, and a layer has room for 1: choose more lanes"):
        Plan.make(network, EngineConfig(lanes=2, clusters=2))


def test_layers_that_are_too_large_are_refused(monkeypatch):
    monkeypatch.setattr(plan_clusters, "WEIGHTS_MAX", 8)
    with pytest.raises(PlanError, match="weights are too many to be dealt to clusters, at most 8: choose --clusters 1"):
        Plan.make(parted_network(3, 2).network, EngineConfig(lanes=4, clusters=2))


def reads_last(random) -> bool:
    """Whether the last layer is the one that reads all parts."""
    return random.network.layers[-2].name.endswith("parts.1")


@pytest.mark.parametrize(
    "options", [{"lanes": 9, "clusters": 2}, {"clusters": 3}, {"clusters": 0}, {"clusters": True}, {"clusters": 1.0},
                {"clusters": 2, "positions": 2}, {"clusters": 2, "memory": "shared"}, {"clusters": 2, "results": 2}],
)  # fmt: skip
def test_configurations_that_are_not_possible(options):
    with pytest.raises(DarbError, match="clusters = "):
        EngineConfig(**options)


def test_a_configuration_says_clusters_only_if_there_are_several():
    assert "clusters" not in EngineConfig().as_dict()
    assert EngineConfig(**EngineConfig(clusters=2).as_dict()) == EngineConfig(clusters=2)
