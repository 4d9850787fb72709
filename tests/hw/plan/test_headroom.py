"""Room for other networks: those of an architecture give one Verilog, and what has no room is refused by name."""

import json
from dataclasses import replace

import numpy as np
import pytest

from darb_hw.config import EngineConfig
from darb_hw.emit import verilog_texts
from darb_hw.errors import PlanError
from darb_hw.plan.capacity import Capacity
from darb_hw.plan.headroom import check_alike, headroom_of, plan_within, roomy_plan
from darb_hw.plan.plan import Plan
from darb_hw.plan.resources import fitting_plan
from darb_prune.encoded import DarbError
from tests.draws import SeedDraw
from tests.families import FAMILIES, member
from tests.networks import random_network
from tests.task_networks import with_tasks

OTHERS = ((2, 4.4), (3, 3.7))
"""Seed and ratio of other networks than the first one."""


@pytest.fixture(scope="module")
def plan() -> Plan:
    return roomy_plan(member("chain", 0)[0], EngineConfig(lanes=4, reload=True), 0.2)


@pytest.mark.parametrize(
    ("family", "config"),
    [
        ("chain", EngineConfig(lanes=4)),
        ("chain", EngineConfig(lanes=7, device="ice40-hx8k", input="alone", memory="shared")),
        ("residual", EngineConfig(lanes=4, input_order="storage")),
        ("residual", EngineConfig(lanes=8, input="reused")),
        ("lstm", EngineConfig(lanes=4, device="ice40-up5k")),
        ("symbols", EngineConfig(lanes=3)),
        ("residual", EngineConfig(lanes=8, positions=4, results=2)),
        ("5 channels", EngineConfig(lanes=4, positions=4, results=1, input="reused")),
        (
            "5 channels",
            EngineConfig(lanes=2, device="ice40-up5k", positions=2, results=1, memory="spram", input="alone"),
        ),
        ("parts", EngineConfig(lanes=4, clusters=2)),
        ("two directions", EngineConfig(lanes=4)),
    ],
)
def test_networks_of_an_architecture_give_one_verilog(family, config):
    plan = roomy_plan(member(family, 0)[0], config, 0.3)
    text = verilog_texts(plan)["engine.v"]
    for seed, ratio in OTHERS:
        other = plan_within(plan, member(family, seed, ratio)[0])
        assert verilog_texts(other)["engine.v"] == text, (seed, ratio)
        assert {name: (rom.depth, rom.width) for name, rom in other.images.items()} == {
            name: (rom.depth, rom.width) for name, rom in plan.images.items()
        }
        assert any((other.images[name].words != rom.words).any() for name, rom in plan.images.items())


def test_without_a_capacity_they_do_not():
    texts = {
        verilog_texts(Plan.make(member("chain", seed, ratio)[0], EngineConfig(lanes=4)))["engine.v"]
        for seed, ratio in ((0, 4.0), *OTHERS)
    }
    assert len(texts) > 1


def test_what_a_rom_holds_does_not_change(plan):
    """The words of a network are those that it has without a capacity, in wider fields; behind them are zeros."""
    natural = Plan.make(plan.network, plan.config)
    for name in ("weights", "rows"):
        image, roomy = natural.images[name], plan.images[name]
        for field in image.fields:
            if field.name in ("shift", "address"):
                continue  # counts from another base; tensors are elsewhere
            for copy in range(image.copies):
                expected = np.pad(image.field(field.name, copy), (0, roomy.depth - image.depth))
                np.testing.assert_array_equal(roomy.field(field.name, copy), expected)


def test_a_capacity_survives_a_manifest(plan):
    values = json.loads(json.dumps(plan.capacity.as_dict()))
    again = Capacity.from_dict(values)
    assert again.as_dict() == plan.capacity.as_dict()
    made = Plan.make(plan.network, plan.config, again)
    assert all((made.images[name].words == image.words).all() for name, image in plan.images.items())


@pytest.mark.parametrize(
    "change",
    [
        {"folds": 1 << 40}, {"folds": -1}, {"folds": True}, {"clamps": [[1]]}, {"clamps": 3}, {"roms": []},
        {"roms": {"weights": {"depth": 1 << 50, "fields": []}}}, {"roms": {"weights": {"depth": 4, "fields": [[1]]}}},
        {"rooms": {"input": "x"}}, {"values": {}}, {"values": {"weight": 900}}, {"more": 1}, {"index_ends": [1.5]},
        {"index_ends": [63]}, {"queue": 1025}, {"folds": 40}, {"held": 100}, {"index_ends": [5, 3, 6]},
        {"index_ends": [0, 3]},
    ],
)  # fmt: skip
def test_a_forged_capacity_is_refused(plan, change):
    with pytest.raises(DarbError, match="its capacity is damaged"):
        Capacity.from_dict(plan.capacity.as_dict() | change)
    with pytest.raises(DarbError, match="its capacity is damaged"):
        Capacity.from_dict([])


def shrunk(plan: Plan, rom: str, **changes) -> Capacity:
    roms = {**plan.capacity.roms, rom: replace(plan.capacity.roms[rom], **changes)}
    return replace(plan.capacity, roms=roms)


def test_what_has_no_room_is_named(plan):
    capacity, network, config = plan.capacity, plan.network, plan.config
    steps = Plan.make(network, config).images["weights"].depth
    bias = [replace(field, width=2) if field.name == "bias" else field for field in capacity.roms["rows"].fields]
    fewer = tuple(field for field in capacity.roms["rows"].fields if field.name != "function")
    cases = [
        (shrunk(plan, "weights", depth=8), f"weights: {steps} words, the build has room for 8: prune more, or"),
        (shrunk(plan, "weights", depth=1 << 20), "ROM weights: more than .* bits, which no device has: make the build"),
        (shrunk(plan, "program", depth=1), r"program: \d+ words, the build has room for 1: make the build"),
        (shrunk(plan, "rows", fields=tuple(bias)), r"rows: bias takes \d+ bits, the build has room for 2: make"),
        (shrunk(plan, "rows", fields=fewer), r"rows: function takes 1 bit, the build has room for 0: make"),
        (replace(capacity, index_ends=(1,)), r"index: \d bits, the build has room for 1: prune less, or"),
        (replace(capacity, rooms=capacity.rooms | {"0.out": 5}), r"0\.out: 36 elements, the build has room for 5"),
        (replace(capacity, rooms={}), r"a tensor that the build has not in its memory: make"),
        (replace(capacity, clamps=((-1, 1),)), r"the build has the ranges -1 to 1: quantise as before"),
        (replace(capacity, shift_base=60), r"shift: \d+ to \d+, the build has room for 60 to \d+: make"),
        (
            replace(capacity, values=replace(capacity.values, accumulator=9)),
            r"accumulator: \d+ bits, the build has room for 9: make the build again with a greater --capacity",
        ),
        (replace(capacity, roms={name: room for name, room in capacity.roms.items() if name != "functions"}),
         "ROM functions: the build has none: make the build again from a network that needs it"),
        (replace(capacity, roms=capacity.roms | {"embedding": capacity.roms["rows"]}),
         "ROM embedding: the network has none: make a build of its own for it"),
    ]  # fmt: skip
    for other, message in cases:
        with pytest.raises(PlanError, match=message):
            Plan.make(network, config, other)


def test_another_architecture_is_named(plan):
    smaller = random_network(5, sizes=(40, 36, 24, 5)).network
    with pytest.raises(PlanError, match=r"results from|elements of an output: 5|a tensor that the build has not"):
        plan_within(plan, smaller)
    other = replace(plan, config=replace(plan.config, input_order="storage"))
    longer = replace(other, latency=replace(other.latency, held=2))
    with pytest.raises(
        PlanError, match=r"stages of the data path: .* the network has another architecture; make a build"
    ):
        check_alike(plan, longer)


def test_engines_that_have_no_capacity():
    network = with_tasks(random_network(5, sizes=(9, 8, 4)), SeedDraw(0)).network
    with pytest.raises(PlanError, match=r"--capacity: not with networks of several tasks, .*: leave it out"):
        roomy_plan(network, EngineConfig(lanes=4), 0.2)


def test_positions_are_chosen_as_without_a_capacity():
    network = member("5 channels", 0)[0]
    config = EngineConfig(lanes=4)
    assert roomy_plan(network, config, 0.2).config == fitting_plan(network, config).config


def test_lanes_over_positions_have_room_in_their_tables():
    """Another network walks over windows of other blocks: words of tables, and the fields that number them."""
    config = EngineConfig(lanes=4, positions=4, results=2)
    plan = roomy_plan(member("5 channels", 0)[0], config, 0.2)
    natural = Plan.make(plan.network, config)
    for rom, field, table in (
        ("program", "tap", "taps"),
        ("taps", "mask", "masks"),
        ("loops", "first_write", "drains"),
    ):
        assert plan.images[table].depth > 1.2 * natural.images[table].depth
        assert 1 << plan.images[rom].field_width(field) >= plan.images[table].depth
    spram = replace(config, device="ice40-up5k", lanes=2, positions=2, results=1, memory="spram", input="alone")
    roomy = roomy_plan(plan.network, spram, 1)
    needed = Plan.make(plan.network, roomy.config).queue
    assert roomy.queue == 2 * needed
    less = replace(roomy.capacity, queue=needed - 1)
    with pytest.raises(PlanError, match=f"results that wait: {needed}, the build has room for {needed - 1}: make"):
        plan_within(replace(roomy, capacity=less), plan.network)


def test_cells_that_write_other_bits_are_told_how_to_be_compiled():
    plan = roomy_plan(member("lstm", 0)[0], EngineConfig(lanes=4), 0.2)
    message = r"bits of what cells write: 6, in the build 7: compile it again with darb compile --cell-bits 7, or quant"
    with pytest.raises(PlanError, match=message):
        plan_within(plan, member("lstm", 0, cell_bits=6)[0])


@pytest.mark.parametrize("text", ["20", "x%", "-1%", "401%", "%", "1/0%", "nan%"])
def test_a_share_is_a_percentage(text):
    with pytest.raises(DarbError, match=r"choose a percentage from 0% to 400%, like 20%"):
        headroom_of(text)
    assert headroom_of("20%") == pytest.approx(0.2)


def test_families_are_what_they_are_called():
    assert {family: member(family, 0)[0].recurrent for family in FAMILIES} == {
        "chain": False, "residual": False, "lstm": True, "symbols": True, "parts": False, "two directions": False,
    }  # fmt: skip
