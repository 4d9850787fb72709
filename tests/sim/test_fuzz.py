"""Random networks of every kind on random engines, through the generated Verilog; each network has a number.

pytest tests/sim/test_fuzz.py -n 2 --icarus-networks 500 --verilator-networks 500 --models 100
"""

import shutil

import pytest
import torch

from darb_hw.emit import generate
from darb_prune import encode, quantize
from darb_prune.frontend.capture import capture
from darb_prune.structure.removal import problem_without, remove
from darb_prune.structure.units import units_of
from sim.batch import batch
from sim.launch import SIMULATORS, simulate
from sim.scenario import Scenario
from tests.draws import SeedDraw
from tests.random_engines import (
    draw_config,
    draw_engine,
    draw_network,
    draw_parts,
    draw_positions,
    draw_tasks,
    draw_vectors,
)
from tests.random_models import draw_model

pytestmark = pytest.mark.simulator

KEPT = 6
"""So many networks stay in the cache with their simulators, compiled; of further ones nothing is left, and on Verilator
they run as batches: every output and cycle count, but no pauses, resets and wrong frames, in a third of the time."""
NETWORKS = {"icarus": 3, "verilator": 4}
"""So many, if nobody says how many."""
LONG = {("icarus", 0)}
"""Networks that are left out then: they take as long as ten others."""
SHARES = {"number": 1, "task_number": 10, "part_number": 5}
"""To so many networks comes one of several tasks, and one in parts."""


def pytest_generate_tests(metafunc):
    for name, share in SHARES.items():
        if name in metafunc.fixturenames:
            cases = []
            for simulator in SIMULATORS:
                asked = metafunc.config.getoption(f"--{simulator}-networks")
                left_out = LONG if asked is None else set()
                for number in range((NETWORKS[simulator] if asked is None else asked) // share):
                    marks = [pytest.mark.long] * ((simulator, number) in left_out)
                    cases.append(pytest.param(simulator, number, marks=marks))
            metafunc.parametrize(("simulator", name), cases)
    if "model_number" in metafunc.fixturenames:
        metafunc.parametrize("model_number", range(metafunc.config.getoption("--models")))


def test_fuzz(simulator, number, make_build, tmp_path):
    random, draw = draw_network(simulator, number)
    random, vectors, config = draw_engine(draw, random)
    if number < KEPT:
        build = make_build(f"fuzz-{simulator}-{number}", random.network, vectors, config)
    else:
        build = generate(random.network, config, tmp_path / "build", vectors)
    check(build, simulator, vectors.samples, number)
    shutil.rmtree(tmp_path / "build", ignore_errors=True)


def test_parts(simulator, part_number, tmp_path):
    """Layers in parts, on clusters of lanes and without."""
    network, vectors, config = draw_parts(simulator, part_number)
    build = generate(network, config, tmp_path / "build", vectors)
    check(build, simulator, vectors.samples, part_number)
    shutil.rmtree(tmp_path / "build", ignore_errors=True)


def test_tasks(simulator, task_number, tmp_path):
    """Frames that ask for random subsets of tasks."""
    random, draw = draw_tasks(simulator, task_number)
    random, vectors = draw_vectors(random, draw)
    config = draw_positions(draw, draw_config(draw), random.network)
    build = generate(random.network, config, tmp_path / "build", vectors)
    check_closely(build, simulator, tuple(range(vectors.samples)), task_number)
    shutil.rmtree(tmp_path / "build", ignore_errors=True)


def test_models(model_number, tmp_path):
    """From torch to Verilog, with every operator that has a stage; of some models units are taken out."""
    draw = SeedDraw(model_number)
    model, x = draw_model(draw, mixes=model_number % 10 == 7)
    if model_number % 5 == 4:
        without_units(model, x)
    integer = quantize(model, x, draw.integer(3, 8), draw.choice((8, 8, 5, 12)))
    network = encode(integer)
    config = draw_positions(draw, draw_config(draw), network)
    build = generate(network, config, tmp_path / "build", integer.vectors(network, x))
    if model_number % 2:
        reports = simulate(build, "icarus", [Scenario((0, 1, 2), idle=0.2, stall=0.2)])
        assert [(report.mismatch, report.frames) for report in reports] == [(None, 3)], config
    else:
        report = batch(build)
        assert (report.mismatch, report.frames) == (None, len(x)), config


def without_units(model, x):
    """Take some units and blocks out of ``model``, if it runs without."""
    units = units_of(capture(model, x))
    there = torch.rand(units.size, generator=torch.Generator().manual_seed(units.size)) < 0.6
    there[: units.count] |= units.best(there[: units.count].float())
    if not units.equal and not problem_without(model, units, there, x):
        remove(model, units, there)


def check(build, simulator, count, number):
    """Every result of ``count`` samples; on Verilator only the first networks are looked at closely."""
    samples = tuple(range(count))
    if simulator == "verilator" and number >= KEPT:
        report = batch(build, [*samples, *samples[::-1]], seed=number + 1)
        assert (report.mismatch, report.frames) == (None, 2 * count), build.plan.config
    else:
        check_closely(build, simulator, samples, number)


def check_closely(build, simulator, samples, number):
    """Every result; then three samples each, which overlap, with pauses, resets and wrong frames."""
    scenarios = [
        Scenario(samples),
        Scenario(samples[::-1][:3], idle=0.3, burst=3, seed=number),
        Scenario(samples[:3], idle=0.1, stall=0.4, burst=4, seed=number),
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
