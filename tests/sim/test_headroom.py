"""Engines with room for other networks: those compute as exactly, in as many cycles as their own plans say."""

import pytest

from darb_hw.config import EngineConfig
from darb_hw.emit import build_files, generate
from darb_hw.plan.headroom import check_alike
from darb_hw.plan.plan import Plan
from sim.launch import simulate
from sim.scenario import Scenario
from tests.families import member
from tests.random_engines import draw_config, draw_network, draw_vectors

pytestmark = pytest.mark.simulator

CASES = [
    ("chain", EngineConfig(lanes=4)),
    ("residual", EngineConfig(lanes=3, input="reused")),
    ("lstm", EngineConfig(lanes=4, device="ice40-hx8k")),
]


def exact(build, samples: int) -> None:
    numbers = tuple(range(samples))
    scenarios = [Scenario(numbers), Scenario(numbers[:3], idle=0.3, stall=0.3, resets=2)]
    reports = simulate(build, "icarus", scenarios)
    assert [report.mismatch for report in reports] == [None, None]
    assert [report.frames for report in reports] == [samples, 3]


@pytest.mark.parametrize(("family", "config"), CASES, ids=[family for family, _ in CASES])
def test_another_network_in_the_same_engine(family, config, tmp_path):
    """Its ROM images, beside the Verilog that was made for the first network."""
    build = generate(member(family, 0)[0], config, tmp_path, headroom=0.3)
    engine = build.verilog.read_bytes()
    network, vectors = member(family, 1, 4.4)
    plan = Plan.make(network, build.plan.config, build.plan.capacity)
    check_alike(build.plan, plan)
    files, _ = build_files(plan, vectors)
    assert files.pop("engine.v") == engine
    for name, data in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    exact(type(build).load(tmp_path), vectors.samples)


@pytest.mark.parametrize("number", range(6))
def test_random_networks(number, tmp_path):
    random, draw = draw_network("icarus", number if number % 10 != 3 else 10)
    random, vectors = draw_vectors(random, draw)
    build = generate(random.network, draw_config(draw), tmp_path, vectors, headroom=0.25)
    exact(build, vectors.samples)
