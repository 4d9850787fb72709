"""Engines with room for other networks: those compute as exactly, in as many cycles as their own plans say."""

import pytest

from darb_hw.config import EngineConfig
from darb_hw.emit import Build, generate
from sim.launch import simulate
from sim.scenario import Scenario
from tests.families import member
from tests.random_engines import draw_config, draw_network, draw_positions, draw_vectors

pytestmark = pytest.mark.simulator

CASES = [
    ("chain", EngineConfig(lanes=4), 0.3),
    ("residual", EngineConfig(lanes=3, input="reused"), 4),
    ("lstm", EngineConfig(lanes=4, device="ice40-hx8k"), 1),
    ("chain", EngineConfig(lanes=2, reload=True), 1),
    ("residual", EngineConfig(lanes=8, positions=4, results=2), 0.2),
    ("5 channels", EngineConfig(lanes=4, positions=4, results=1, input="reused", reload=True), 0.5),
    (
        "residual",
        EngineConfig(lanes=2, device="ice40-up5k", positions=2, results=1, memory="spram", input="alone"),
        0.2,
    ),
    ("parts", EngineConfig(lanes=4, clusters=2), 0.5),
    ("two directions", EngineConfig(lanes=4), 1),
]
IDS = ["chain", "residual", "lstm", "reload", "positions", "positions-reload", "spram", "clusters", "columns"]


def exact(build, samples: int) -> None:
    numbers = tuple(range(samples))
    scenarios = [Scenario(numbers), Scenario(numbers[:3], idle=0.3, stall=0.3, resets=2)]
    reports = simulate(build, "icarus", scenarios)
    assert [report.mismatch for report in reports] == [None, None]
    assert [report.frames for report in reports] == [samples, 3]


@pytest.mark.parametrize(("family", "config", "headroom"), CASES, ids=IDS)
def test_another_network_in_the_same_engine(family, config, headroom, tmp_path):
    """The Verilog is that of the first network."""
    build = generate(member(family, 0)[0], config, tmp_path / "first", headroom=headroom)
    engine = build.verilog.read_bytes()
    network, vectors = member(family, 1, 4.4)
    other = generate(network, None, tmp_path / "other", vectors, like=build)
    assert other.verilog.read_bytes() == engine
    exact(Build.load(other.folder), 5)


@pytest.mark.parametrize("number", [*range(4), *(pytest.param(number, marks=pytest.mark.long) for number in (4, 5))])
def test_random_networks(number, tmp_path):
    random, draw = draw_network("icarus", number)
    random, vectors = draw_vectors(random, draw)
    config = draw_positions(draw, draw_config(draw), random.network)
    build = generate(random.network, config, tmp_path, vectors, headroom=(0, 0.25, 1, 4)[number % 4])
    exact(build, vectors.samples)
