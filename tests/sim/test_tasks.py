"""Frames that ask for subsets of tasks, one behind the other, through the generated Verilog."""

import pytest

from darb_hw.config import EngineConfig
from sim.batch import batch
from sim.launch import simulate
from sim.scenario import Scenario
from tests.draws import SeedDraw
from tests.networks import random_network
from tests.random_engines import draw_vectors
from tests.task_networks import with_tasks

pytestmark = pytest.mark.simulator

TILES = {"lanes": 8, "positions": 4}
NETWORKS = {
    "icarus": [("chain", 3, {"lanes": 4}), ("gru", 2, {"lanes": 5}), ("convolution", 10, TILES)],
    "verilator": [("chain", 3, {"lanes": 4})],
}


def build_of(make_build, kind, seed, options):
    random = with_tasks(random_network(seed, kind), SeedDraw(seed))
    random, vectors = draw_vectors(random, SeedDraw(seed))
    config = EngineConfig(**{"device": "ecp5-85k", "positions": 1, "results": 1} | options)
    return make_build(f"tasks-{kind}", random.network, vectors, config)


@pytest.mark.parametrize(
    ("simulator", "network"), [(name, each) for name, networks in NETWORKS.items() for each in networks]
)
def test_subsets(simulator, network, make_build):
    build = build_of(make_build, *network)
    samples = tuple(range(3))
    everything = (*build.plan.subsets, 0)
    turns = tuple(number % 6 for number in range(len(everything)))
    scenarios = [
        Scenario(turns, subsets=everything),
        Scenario(samples, idle=0.1, stall=0.3, burst=3, resets=1, bad_frames=True, seed=2),
    ]
    reports = simulate(build, simulator, scenarios)
    assert [report.mismatch for report in reports] == [None] * len(scenarios)
    assert {*reports[0].compute} <= {timing.offer for timing in build.plan.timings.values()}


def test_batches_ask_for_all_tasks(make_build):
    report = batch(build_of(make_build, *NETWORKS["verilator"][0]), [0, 1, 2])
    assert (report.mismatch, report.frames) == (None, 3)
