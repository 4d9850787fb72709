# amaranth: UnusedElaboratable=no
"""Ports are declared twice, as members and as annotations: both say the same."""

from dataclasses import replace

import pytest
from amaranth.lib.wiring import FlippedInterface, flipped

from darb_hw.config import EngineConfig
from darb_hw.engine.banks import Banks
from darb_hw.engine.bursts import Bursts
from darb_hw.engine.cell import CellUnit
from darb_hw.engine.codes import Codes
from darb_hw.engine.drain import Drain
from darb_hw.engine.engine import Engine
from darb_hw.engine.fetch import Fetch
from darb_hw.engine.input_walk import InputWalk
from darb_hw.engine.lane import Lane
from darb_hw.engine.loader import Loader
from darb_hw.engine.planned import Planned
from darb_hw.engine.reload_walk import ReloadWalk
from darb_hw.engine.reloader import Reloader
from darb_hw.engine.requant import Requantiser
from darb_hw.engine.sender import Sender
from darb_hw.engine.sequencer import Sequencer
from darb_hw.engine.step_counter import StepCounter
from darb_hw.engine.tile_drain import TileDrain
from darb_hw.plan.plan import Plan
from tests.draws import SeedDraw
from tests.hw.plans import tile_plan
from tests.hw.small import lstm
from tests.legal import column_network
from tests.networks import random_network
from tests.parted_networks import parted_network
from tests.task_networks import with_tasks

PLANNED = (Banks, Codes, Drain, Engine, Fetch, InputWalk, Lane, Loader, Requantiser, Sender, Sequencer)


BANKED = {
    Codes: {"column"},
    InputWalk: {"bank"},
    Loader: {"bank"},
    Requantiser: {"spot", "parameters", "read_enable", "read_bank"},
}
"""Ports that are only there where lanes compute neighbouring positions."""
SECTIONED = {Codes: {"enter", "again"}, Sequencer: {"enter", "again", "units"}}
"""Ports that are only there where the network has sections."""
TASKED = {
    Codes: {"jump", "target"},
    Engine: {"s_axis_tuser"},
    Loader: {"subset"},
    Sender: {"subset"},
    Sequencer: {"subset", "jump", "target"},
}
"""Ports that are only there where the network has tasks."""
RELOADED = {
    Engine: {
        "reload_axis_tdata",
        "reload_axis_tvalid",
        "reload_axis_tlast",
        "reload_axis_tready",
        "reload_done",
        "reload_error",
        "reload_bank",
    },
    Loader: {"empty"},
    Sequencer: {"running"},
}
"""Ports that are only there where another network can be loaded; all readers of ROMs have ``reload`` then."""
OVERWRITTEN = {Engine: {"reload_present"}, Reloader: {"present"}}
"""Ports that are only there where networks take each other's place."""


@pytest.fixture(scope="module")
def plan() -> Plan:
    return Plan.make(lstm(), EngineConfig(lanes=2))


@pytest.fixture(scope="module")
def banked() -> Plan:
    plan = tile_plan(2, 4, 2, 2)
    assert "columns" in plan.images
    return plan


def absent(component, *tables) -> set[str]:
    """Ports of a component that are only there in other engines."""
    return {name for table in tables for name in table.get(component, ())}


def check(component, without=frozenset()) -> None:
    annotations = {name: kind for name, kind in vars(type(component))["__annotations__"].items() if name not in without}
    assert list(annotations) == list(component.signature.members)
    check_kinds(component, annotations)


def check_kinds(component, annotations: dict[str, type]) -> None:
    for name, kind in annotations.items():
        port = getattr(component, name)
        port = flipped(port) if isinstance(port, FlippedInterface) else port  # a stream that comes in
        assert type(port) is kind, name


def test_every_component_is_here():
    assert set(Planned.__subclasses__()) == {*PLANNED, Bursts, Reloader, ReloadWalk, StepCounter}


@pytest.mark.parametrize("component", [component for component in PLANNED if component is not Banks])
def test_annotations_are_the_ports(component, plan):
    check(component(plan), absent(component, BANKED, SECTIONED, TASKED, RELOADED, OVERWRITTEN))
    assert component(plan).plan is plan


@pytest.mark.parametrize("component", [component for component in PLANNED if component not in (Drain, Fetch)])
def test_annotations_are_the_ports_where_lanes_have_banks(component, banked):
    check(component(banked), absent(component, SECTIONED, TASKED, RELOADED, OVERWRITTEN))


@pytest.mark.parametrize("component", [Codes, Sequencer, StepCounter])
def test_annotations_are_the_ports_of_sections(component):
    plan = Plan.make(column_network(), EngineConfig(lanes=2))
    check(component(plan), absent(component, BANKED, TASKED, RELOADED, OVERWRITTEN))


@pytest.mark.parametrize("component", TASKED)
def test_annotations_are_the_ports_of_tasks(component):
    plan = Plan.make(with_tasks(random_network(3), SeedDraw(0)).network, EngineConfig(lanes=2))
    assert "jumps" in plan.images
    check(component(plan), absent(component, BANKED, SECTIONED, RELOADED, OVERWRITTEN))


@pytest.mark.parametrize("component", [*PLANNED, Reloader])
def test_annotations_are_the_ports_where_networks_are_loaded(component, banked):
    lanes_apart = component in (Drain, Fetch)
    config = EngineConfig(lanes=2, reload=True) if lanes_apart else replace(banked.config, reload=True)
    plan = Plan.make(lstm() if lanes_apart else banked.network, config)
    made = component(plan)
    annotations = {**(Planned.__annotations__ if component.has_roms else {}), **vars(component)["__annotations__"]}
    without = absent(component, SECTIONED, TASKED, OVERWRITTEN)
    assert set(annotations) - without == set(made.signature.members)
    check_kinds(made, {name: kind for name, kind in annotations.items() if name not in without})


@pytest.mark.parametrize("component", [Engine, Reloader])
def test_annotations_are_the_ports_where_networks_take_each_others_place(component):
    network = random_network(5, sizes=(40, 90, 12)).network
    made = component(Plan.make(network, EngineConfig(2, "ice40-up5k", roms="spram")))
    annotations = {**(Planned.__annotations__ if component.has_roms else {}), **vars(component)["__annotations__"]}
    without = absent(component, SECTIONED, TASKED) | {"reload_bank", "bank", "reload"}
    assert set(annotations) - without == set(made.signature.members)


def test_loaders_of_clusters_have_a_bank():
    plan = Plan.make(parted_network(1, 2).network, EngineConfig(lanes=4, clusters=2))
    check(Loader(plan), absent(Loader, SECTIONED, TASKED, RELOADED, OVERWRITTEN))


def test_annotations_are_the_ports_of_single_port_rams():
    plan = tile_plan(24, 4, 2, 1, device="ice40-up5k", memory="spram", input="alone")
    for component in (Banks, Bursts, Loader, Requantiser):
        check(component(plan), absent(component, SECTIONED, TASKED, RELOADED, OVERWRITTEN))


def test_chains_have_the_ports_of_the_shadow_row_and_their_own(banked):
    drain = TileDrain(banked)
    annotations = {**vars(Drain)["__annotations__"], **vars(TileDrain)["__annotations__"]}
    assert set(annotations) - {"value"} == set(drain.signature.members)
    check_kinds(drain, {name: kind for name, kind in annotations.items() if name != "value"})


def test_annotations_are_the_ports_of_cells(plan):
    cell = plan.network.cells[0]
    check(
        CellUnit(cell.kind, plan.memory.bank, 8, plan.images["cell_state"], plan.images["cell_tanh"], plan.cell_style)
    )
