"""Engines that get other networks while they run."""

import pytest

from darb_hw.config import EngineConfig
from darb_hw.emit import generate
from darb_prune.encoded import DarbError
from sim.launch import simulate
from sim.reload import simulate_reload
from sim.scenario import Scenario
from tests.families import member
from tests.networks import random_inputs, random_lengths, random_network, twin

pytestmark = pytest.mark.simulator

# Frames; sequences with symbols; maps in banks, whose lanes compute neighbouring positions.
ENGINES = {
    "chain": (5, {"sizes": (9, 11, 4)}, EngineConfig(4, reload=True), "icarus", 20),
    "one element": (5, {"sizes": (1, 4)}, EngineConfig(1, reload=True), "icarus", 8),
    "gru": (5, {"kind": "gru"}, EngineConfig(2, reload=True), "verilator", 6),
    "convolution": (
        11,
        {"kind": "convolution"},
        EngineConfig(4, positions=2, results=2, reload=True),
        "icarus",
        4,
    ),
    "chain in single-port RAMs": (5, {"sizes": (40, 90, 12)}, EngineConfig(4, "ice40-up5k", roms="spram"), "icarus", 4),
    "gru in single-port RAMs": (5, {"kind": "gru"}, EngineConfig(2, "ice40-up5k", roms="spram"), "verilator", 6),
}


def builds_of(make_build, name: str, same: bool = False):
    """Two networks for the same engine. With ``same`` the second one has the vectors of another network."""
    seed, options, config, *_ = ENGINES[name]
    first = random_network(seed, **options)
    second = twin(first)
    lengths = random_lengths(seed, first.network, 20)
    inputs = random_inputs(seed, first.network, 30 if lengths is None else int(lengths.sum()))
    builds = []
    for number, random in enumerate((first, second)):
        vectors = random.vectors(inputs, lengths)
        if same and number:
            vectors.tensors[random.network.output][:, 0] ^= 1
        builds.append(make_build(f"reload-{name}-{number}-{same}", random.network, vectors, config))
    outputs = [build.load_vectors().tensors[first.network.output] for build in builds]
    assert (outputs[0] != outputs[1]).any()
    assert builds[0].verilog.read_bytes() == builds[1].verilog.read_bytes()
    return builds


@pytest.mark.parametrize("name", list(ENGINES))
def test_networks_are_exchanged_between_frames(name, make_build):
    """Every frame is done with one network as a whole, whatever comes in between."""
    *_, simulator, exchanges = ENGINES[name]
    done = simulate_reload(*builds_of(make_build, name), simulator, exchanges)
    assert done["exchanged"] == exchanges
    assert min(done["frames of network 0"], done["frames of network 1"]) >= exchanges // 2
    if exchanges >= 20:
        assert min(done.values()) >= 1


@pytest.mark.parametrize(
    ("family", "headroom", "config", "exchanges"),
    [
        ("chain", 0.5, EngineConfig(2, "ecp5-25k", reload=True), 2),
        ("chain", 0.5, EngineConfig(2, "ice40-up5k", roms="spram"), 2),
        pytest.param("lstm", 1, EngineConfig(2, "ecp5-25k", reload=True), 6, marks=pytest.mark.long),
    ],
)
def test_networks_that_differ_in_more_than_weights(family, headroom, config, exchanges, tmp_path):
    """Trained and pruned anew, in the room that an engine has: other levels, programs, cycles."""
    network, vectors = member(family, 0)
    first = generate(network, config, tmp_path / "a", vectors, headroom=headroom)
    network, others = member(family, 1, 5.0, vectors)
    second = generate(network, None, tmp_path / "b", others, like=first)
    assert first.verilog.read_bytes() == second.verilog.read_bytes()
    assert first.plan.timing.compute != second.plan.timing.compute
    done = simulate_reload(first, second, "icarus", exchanges)
    assert done["exchanged"] == exchanges


@pytest.mark.parametrize(
    ("name", "simulator"), [("chain", "icarus"), ("chain", "verilator"), ("gru in single-port RAMs", "icarus")]
)
def test_the_pace_is_that_of_the_plan(name, simulator, make_build):
    """While no other network comes, the engine is as exact and as fast as one without the port."""
    build, _ = builds_of(make_build, name)
    scenarios = [Scenario(tuple(range(12))), Scenario(tuple(range(12)), idle=0.2, stall=0.2, bad_frames=True)]
    reports = simulate(build, simulator, scenarios)
    assert [(report.mismatch, report.frames) for report in reports] == [(None, 12)] * 2


def test_a_wrong_network_is_seen(make_build):
    """The bench itself: the second network gives other outputs than its vectors say."""
    with pytest.raises(DarbError, match="came of network 1"):
        simulate_reload(*builds_of(make_build, "chain", same=True), "icarus", 20)
