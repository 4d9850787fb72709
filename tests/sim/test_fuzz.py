"""Random networks of every kind on random engines, through the generated Verilog; each network has a number.

pytest tests/sim/test_fuzz.py -n 2 --icarus-networks 500 --verilator-networks 500
"""

import shutil

import numpy as np
import pytest

from darb_hw.config import EngineConfig
from darb_hw.emit import generate
from sim.batch import batch
from sim.launch import SIMULATORS, simulate
from sim.scenario import Scenario
from tests.draws import SeedDraw
from tests.networks import (
    RandomNetwork,
    at_the_edges,
    bound_inputs,
    random_inputs,
    random_lengths,
    random_network,
    with_bound_state,
)

pytestmark = pytest.mark.simulator

KINDS = ("convolution", "lstm", "gru", "convolution", "chain")
KEPT = 6
"""So many networks stay in the cache with their simulators, compiled; of further ones nothing is left, and on Verilator
they run as batches: every output and cycle count, but no pauses, resets and wrong frames, in a third of the time."""


def pytest_generate_tests(metafunc):
    if "number" in metafunc.fixturenames:
        cases = [
            (simulator, number)
            for simulator in SIMULATORS
            for number in range(metafunc.config.getoption(f"--{simulator}-networks"))
        ]
        metafunc.parametrize(("simulator", "number"), cases)


def draw_network(simulator: str, number: int) -> tuple[RandomNetwork, SeedDraw]:
    """Network ``number`` of a simulator, and what draws the rest of its test."""
    kind = KINDS[number % len(KINDS)]
    draw = SeedDraw(2 * number + SIMULATORS.index(simulator))
    extreme = draw.chance(15)
    if kind == "chain":
        random = random_network(draw, kind, extreme=extreme, split=draw.chance(50))
        return (at_the_edges(random, number) if draw.chance(30) else random), draw
    return random_network(draw, kind, extreme=extreme), draw


def draw_config(draw: SeedDraw) -> EngineConfig:
    loading, memory = draw.choice((("overlapped", "private"), ("alone", "private"), ("alone", "shared")))
    return EngineConfig(
        lanes=draw.choice((1, 2, 3, 4, 5, 7, 8, 16, 33)),
        device="ecp5-85k",
        lane_multiplier=draw.choice(("auto", "dsp", "lut")),
        requant_multiplier=draw.choice(("auto", "dsp", "lut")),
        input_order=draw.choice(("logical", "storage")),
        input=loading,
        memory=memory,
        unroll=draw.choice((1, 2, 16)),
    )


def draw_vectors(random: RandomNetwork, draw: SeedDraw):
    """A network and vectors: two at the ends of the range, random ones, and two that drive a row of the first layer
    to the ends of its accumulator; as far as the step before matters for that, to one of them."""
    network = random.network
    row = draw.integer(0, network.layers[0].rows - 1)
    lengths = random_lengths(draw.integer(0, 1000), network, 4)
    frames = 4 if lengths is None else int(lengths.sum())
    inputs = random_inputs(draw.integer(0, 1000), network, frames)
    if not network.embedding:
        random = with_bound_state(random, row, draw.chance(50)) if network.delayed else random
        inputs = np.concatenate([inputs, bound_inputs(random, row)])
        lengths = None if lengths is None else np.append(lengths, [1, 1])
    return random, random.vectors(inputs, lengths)


def test_fuzz(simulator, number, make_build, tmp_path):
    random, draw = draw_network(simulator, number)
    random, vectors = draw_vectors(random, draw)
    config = draw_config(draw)
    if number < KEPT:
        build = make_build(f"fuzz-{simulator}-{number}", random.network, vectors, config)
    else:
        build = generate(random.network, config, tmp_path / "build", vectors)
    samples = tuple(range(vectors.samples))
    if simulator == "verilator" and number >= KEPT:
        report = batch(build, [*samples, *samples[::-1]], seed=number + 1)
        assert (report.mismatch, report.frames) == (None, 2 * len(samples)), config
    else:
        check(build, simulator, samples, number)
    shutil.rmtree(tmp_path / "build", ignore_errors=True)


def check(build, simulator, samples, number):
    """Every result, with pauses, resets and wrong frames."""
    scenarios = [
        Scenario(samples),
        Scenario(samples[::-1], idle=0.3, burst=3, seed=number),
        Scenario(samples, idle=0.1, stall=0.4, burst=4, seed=number),
        Scenario(samples[:3], idle=0.1, stall=0.1, resets=3, seed=number),
        Scenario(samples[-3:], idle=0.1, bad_frames=True, seed=number),
    ]
    reports = simulate(build, simulator, scenarios, seed=number + 1)
    assert [report.mismatch for report in reports] == [None] * len(scenarios), build.plan.config
    assert [report.frames for report in reports] == [len(scenario.samples) for scenario in scenarios]
    assert [report.resets for report in reports] == [scenario.resets for scenario in scenarios]
    network = build.plan.network
    # Any number of elements is a sequence if a step has one.
    no_bad = network.recurrent and build.plan.input_size == 1 and not network.embedding
    assert reports[-1].bad_frames == (0 if no_bad else len(scenarios[-1].samples))
