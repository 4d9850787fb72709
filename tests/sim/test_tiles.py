"""Maps through an engine whose lanes compute neighbouring positions, and through ones with one thing wrong."""

import hashlib
import json
import re
import shutil

import pytest

from darb_hw.config import EngineConfig
from darb_hw.emit import Build, manifest_bytes
from sim.launch import simulate
from sim.scenario import Scenario
from tests.altered import altered
from tests.map_networks import averaging, residual_network
from tests.networks import random_inputs

pytestmark = pytest.mark.simulator

SCENARIOS = [
    Scenario((0, 1, 2)),
    Scenario((3, 1), idle=0.3, stall=0.2, burst=3, seed=1),
    Scenario((0, 2), idle=0.1, stall=0.1, resets=2, seed=2),
    Scenario((3,), idle=0.1, bad_frames=True, seed=3),
]
CONFIGS = {
    "overlapped": EngineConfig(lanes=8, positions=4, results=2, input="overlapped"),
    "alone": EngineConfig(lanes=8, positions=8, results=4, input="alone", input_order="storage", top="maps"),
    "spram": EngineConfig(8, "ice40-up5k", positions=8, results=1, input="alone", memory="spram"),
    "spram, streams": EngineConfig(8, "ice40-up5k", positions=4, results=1, input="alone", memory="spram"),
}


@pytest.fixture
def build(request, make_build) -> Build:
    random = residual_network()
    name = getattr(request, "param", "overlapped")
    vectors = random.vectors(random_inputs(1, random.network, 4))
    return make_build(f"tiles-{name.replace(', ', '-')}", random.network, vectors, CONFIGS[name])


@pytest.mark.parametrize(
    ("build", "simulator"),
    [("overlapped", "icarus"), ("alone", "verilator"), ("spram", "verilator"), ("spram, streams", "icarus")]
    + [pytest.param(name, "icarus", marks=pytest.mark.long) for name in ("alone", "spram")],
    indirect=["build"],
)
def test_every_result_is_exact(build, simulator):
    plan = build.plan
    assert plan.banked
    assert plan.folds
    assert plan.latency.operand
    assert plan.latency.maximum
    assert len(plan.rotation.stages) >= 2
    reports = simulate(build, simulator, SCENARIOS)
    assert [report.mismatch for report in reports] == [None] * len(SCENARIOS)
    for report, scenario in zip(reports, SCENARIOS, strict=True):
        assert report.frames == len(scenario.samples)
        assert report.compute == [plan.timing.offer]
        assert report.rows >= report.frames * len(plan.writes.layer)
        assert report.resets == scenario.resets
        assert report.bad_frames == (len(scenario.samples) if scenario.bad_frames else 0)


@pytest.mark.parametrize("lanes", [pytest.param(3, marks=pytest.mark.long), 8])
def test_averages_take_one_code(lanes, make_build):
    """Over the taps of a window and over a map, by lanes that compute different rows and by lanes over positions."""
    random = averaging(residual_network())
    vectors = random.vectors(random_inputs(1, random.network, 4))
    config = EngineConfig(lanes=lanes, positions=4 if lanes == 8 else 1)
    build = make_build(f"averages-{lanes}", random.network, vectors, config)
    assert {group.layer for group in build.plan.schedule.groups if group.uniform} == {2, 4}
    assert [report.mismatch for report in simulate(build, "icarus", SCENARIOS)] == [None] * len(SCENARIOS)


def copy(build: Build, folder):
    shutil.copytree(build.folder, folder, ignore=shutil.ignore_patterns("sim"))
    return folder


def with_wrong_bit(build: Build, folder, image: str, field: str, copy_number: int, word: int) -> Build:
    """The build with the lowest bit of a field of a word of a ROM turned over."""
    copy(build, folder)
    fields = build.plan.images[image]
    low = copy_number * (fields.width // fields.copies)
    for entry in fields.fields:
        if entry.name == field:
            break
        low += entry.width
    path = folder / "rom" / f"{image}.hex"
    lines = path.read_text().split("\n")
    lines[word] = f"{int(lines[word], 16) ^ (1 << low):0{len(lines[word])}x}"
    path.write_text("\n".join(lines))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"][f"rom/{image}.hex"] = hashlib.sha256(path.read_bytes()).hexdigest()
    (folder / "manifest.json").write_bytes(manifest_bytes(manifest))
    return Build.load(folder)


@pytest.mark.parametrize(
    ("image", "field", "copy_number", "word"),
    [
        ("masks", "mask", 1, 2),  # a lane that reads zeros for pixels, or pixels for zeros
        ("taps", "rotation", 0, 5),  # what banks give goes to the lanes beside
        ("taps", "far", 0, 1),  # banks behind the end read another tile
        ("tiles", "kind", 0, 1),  # masks of another tile
        ("drains", "bank", 1, 2),  # a result in another bank
        ("columns", "column", 1, 3),  # a code of another pixel
    ],
)
def test_a_wrong_bit_of_a_table_is_noticed(image, field, copy_number, word, build, tmp_path):
    (report,) = simulate(
        with_wrong_bit(build, tmp_path / "b", image, field, copy_number, word), "icarus", SCENARIOS[:1]
    )
    assert report.mismatch


@pytest.mark.parametrize("port", ["value", "spot"])
def test_swapped_results_are_noticed(port, build, tmp_path):
    """The second requantiser gets the sum of the first one, or writes where the first one does."""
    first, second = re.findall(rf"\.{port}\({port}s\[\d+:\d+\]\)", build.verilog.read_text())
    (report,) = simulate(altered(copy(build, tmp_path / "b"), second, first), "icarus", SCENARIOS[:1])
    assert report.mismatch
