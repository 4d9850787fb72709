"""Random networks through the generated Verilog: every row, every output, every cycle count."""

import re
import shutil

import numpy as np
import pytest

from darb_hw.config import EngineConfig
from darb_prune.encoded import DENSE, EMPTY, Level, TestVectors
from sim.launch import simulate
from sim.scenario import Scenario
from tests.altered import altered
from tests.networks import at_the_edges, bound_inputs, random_inputs, random_network

pytestmark = pytest.mark.simulator

MIXED = Level(1, 1), Level(3, 1), Level(5, 1)
# name: (random_network options, lanes, device, input order)
NETWORKS = {
    "odd shapes": ({"sizes": (37, 23, 29, 11)}, 4, "ecp5-85k", "logical"),
    "one row": ({"sizes": (13, 1, 9, 1)}, 3, "ice40-hx8k", "logical"),
    "one column": ({"sizes": (1, 17, 1, 5)}, 1, "ecp5-25k", "logical"),
    "empty rows": ({"sizes": (20, 31, 12), "levels": (EMPTY, Level(3, 1))}, 7, "ecp5-85k", "logical"),
    "all rows empty": ({"sizes": (5, 9, 3), "levels": (EMPTY,)}, 4, "ice40-up5k", "logical"),
    "extreme weights": ({"sizes": (33, 20, 8), "extreme": True}, 8, "ice40-up5k", "logical"),
    "segments": ({"sizes": (19, 26, 15, 7), "split": True}, 5, "ecp5-85k", "storage"),
    "narrow": ({"sizes": (30, 16, 6), "weight_bits": 2, "activation_bits": 2}, 2, "ice40-hx8k", "logical"),
    "wide": ({"sizes": (30, 16, 6), "activation_bits": 16, "extreme": True}, 16, "ecp5-85k", "storage"),
    "dense": ({"sizes": (24, 18, 10), "levels": (DENSE,)}, 6, "ecp5-85k", "logical"),
    "n:m": ({"sizes": (32, 24, 8), "levels": (Level(2, 2),)}, 4, "ecp5-85k", "logical"),
    "bank-balanced": ({"sizes": (64, 24, 8), "levels": (Level(5, 3),)}, 4, "ecp5-85k", "logical"),
    "more lanes than rows": ({"sizes": (12, 9, 4)}, 33, "ecp5-85k", "logical"),
    "edges": (
        {"sizes": (9, 21, 1, 13, 6), "levels": (Level(15, 1), Level(1, 2), Level(2, 4))},
        3,
        "ecp5-85k",
        "logical",
    ),
    "edges again": ({"sizes": (21, 17, 5), "levels": (Level(3, 8), EMPTY, Level(3, 8))}, 8, "ice40-hx8k", "logical"),
    "edges, narrow input": ({"sizes": (1, 1), "levels": (Level(0, 1),)}, 1, "ice40-up5k", "storage"),
    "edges and segments": ({"sizes": (12, 9, 10, 8, 7), "split": True}, 2, "ecp5-25k", "logical"),
    "128 lanes": ({"sizes": (40, 150, 9)}, 128, "ecp5-85k", "logical"),
    "output longer than input": ({"sizes": (3, 10, 60)}, 16, "ecp5-85k", "logical"),
    "groups that wait": ({"sizes": (64, 48, 10), "levels": MIXED}, 8, "ecp5-85k", "logical"),
    "groups that wait twice": ({"sizes": (40, 30, 20)}, 8, "ice40-hx8k", "storage"),
}
# Of the six samples the last two are at the bounds of an accumulator.
SCENARIOS = [
    Scenario(tuple(range(6))),
    Scenario((3, 5, 0, 4), idle=0.4, burst=4, seed=1),
    Scenario((1, 4, 2, 5), stall=0.5, burst=6, seed=2),
    Scenario((5, 2, 4, 0), idle=0.2, stall=0.2, burst=2, seed=3),
    Scenario((0, 1, 4), idle=0.1, stall=0.1, resets=4, seed=4),
    Scenario((2, 5, 3), idle=0.1, bad_frames=True, seed=5),
]
LONG = pytest.mark.long


def build_of(name, make_build, **memory):
    options, lanes, device, order = NETWORKS[name]
    random = random_network(len(name), **options)
    if name.startswith("edges"):
        random = at_the_edges(random, len(name))
    inputs = np.concatenate([random_inputs(7, random.network, 4), bound_inputs(random, 0)])
    slug = re.sub(r"\W+", "-", " ".join([name, *memory.values()]))
    config = EngineConfig(lanes=lanes, device=device, input_order=order, **memory)
    return make_build(slug, random.network, random.vectors(inputs), config)


def check(build, simulator, scenarios):
    reports = simulate(build, simulator, scenarios)
    assert [report.mismatch for report in reports] == [None] * len(scenarios)
    for report, scenario in zip(reports, scenarios, strict=True):
        assert report.frames == len(scenario.samples)
        assert report.compute == [build.plan.timing.offer]
        assert report.rows >= report.frames * len(build.plan.writes.layer)
        assert report.resets == scenario.resets
        assert report.bad_frames == (len(scenario.samples) if scenario.bad_frames else 0)
    return reports


@pytest.mark.parametrize("name", [pytest.param(name, marks=[LONG] * (name == "128 lanes")) for name in NETWORKS])
def test_icarus(name, make_build):
    scenarios = SCENARIOS
    if name == "128 lanes":  # ten seconds a frame
        scenarios = [Scenario((1,), idle=0.2, stall=0.2, burst=2, seed=3)]
    check(build_of(name, make_build), "icarus", scenarios)


@pytest.mark.parametrize(
    ("name", "memory"),
    [(name, "shared") for name in ("wide", "edges and segments", "groups that wait")]
    + [(name, "private") for name in ("odd shapes", "output longer than input")]
    + [pytest.param(*case, marks=LONG) for case in (("groups that wait twice", "shared"), ("segments", "private"))],
)
def test_other_memories(name, memory, make_build):
    """Beside the default, an overlapped input in memories of each lane's own."""
    build = build_of(name, make_build, input="alone", memory=memory)
    assert not build.plan.overlapped
    assert build.plan.latency.shared == (memory == "shared")
    check(build, "icarus", SCENARIOS)


@pytest.mark.parametrize(
    "name",
    ["odd shapes", "extreme weights", "edges", "groups that wait twice"]
    + [pytest.param(name, marks=LONG) for name in ("one column", "empty rows", "segments", "wide")],
)
def test_verilator(name, make_build):
    check(build_of(name, make_build), "verilator", SCENARIOS)


@pytest.mark.parametrize(("name", "rows"), [("groups that wait", 1), ("groups that wait twice", 2)])
def test_they_do_wait(name, rows, make_build):
    assert build_of(name, make_build).plan.latency.held == rows


def test_bound_is_reached(make_build):
    """The inputs of the extreme network drive a row to both ends of the accumulator it was given."""
    options, *_ = NETWORKS["extreme weights"]
    random = random_network(len("extreme weights"), **options)
    low, high = random.network.accumulator_bounds(random.network.layers[0])
    for row in range(3):
        assert random.sums(bound_inputs(random, row))[:, 0, 0, row].tolist() == [high[row], low[row]]


@pytest.mark.parametrize("simulator", ["icarus", "verilator"])
def test_a_wrong_expectation_is_located(simulator, make_build):
    """One value of the vectors changed: the report names layer, row, sample and cycle."""
    build = build_of("odd shapes", make_build)
    vectors = TestVectors.load(build.vectors)
    vectors.tensors["t1"][3, 17] += 1
    broken = make_build("broken-vectors", build.plan.network, vectors, build.plan.config)
    (report,) = simulate(broken, simulator, SCENARIOS[:1])
    where = "layer 'layer1', row 17, element 17, sample 3"
    assert re.match(rf"cycle \d+: {where}: engine -?\d+, oracle -?\d+$", report.mismatch)


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("= base | {", "= base | 1'h0 & {"),  # decode without the index
        (".address(row),", ".address(row ^ 1'h1),"),  # rows with the parameters of others
        (" data <= LATE ? waiting : fetched;", " data <= words[address];"),  # memories a cycle early
        (" read_data <= fetched;", " read_data <= {WIDTH{1'bx}};"),  # unknown activations
        ("= ~ busy;", "= busy ? 1'bx : 1'b1;"),  # unknown control
    ],
)
def test_broken_verilog_is_noticed(right, wrong, make_build, tmp_path):
    build = build_of("odd shapes", make_build)
    shutil.copytree(build.folder, tmp_path / "b", ignore=shutil.ignore_patterns("sim"))
    (report,) = simulate(altered(tmp_path / "b", right, wrong), "icarus", SCENARIOS[:1])
    assert report.mismatch
