# amaranth: UnusedElaboratable=no
"""Ports are declared twice, as members and as annotations: both say the same."""

import pytest
from amaranth.lib.wiring import FlippedInterface, flipped

from darb_hw.config import EngineConfig
from darb_hw.engine.cell import CellUnit
from darb_hw.engine.codes import Codes
from darb_hw.engine.drain import Drain
from darb_hw.engine.engine import Engine
from darb_hw.engine.fetch import Fetch
from darb_hw.engine.lane import Lane
from darb_hw.engine.loader import Loader
from darb_hw.engine.planned import Planned
from darb_hw.engine.requant import Requantiser
from darb_hw.engine.sender import Sender
from darb_hw.engine.sequencer import Sequencer
from darb_hw.plan.plan import Plan
from tests.hw.small import lstm

PLANNED = (Codes, Drain, Engine, Fetch, Lane, Loader, Requantiser, Sender, Sequencer)


@pytest.fixture(scope="module")
def plan() -> Plan:
    return Plan.make(lstm(), EngineConfig(lanes=2))


def check(component) -> None:
    annotations = vars(type(component))["__annotations__"]
    assert list(annotations) == list(component.signature.members)
    for name, kind in annotations.items():
        port = getattr(component, name)
        port = flipped(port) if isinstance(port, FlippedInterface) else port  # a stream that comes in
        assert type(port) is kind, name


def test_every_component_is_here():
    assert set(Planned.__subclasses__()) == set(PLANNED)


@pytest.mark.parametrize("component", PLANNED)
def test_annotations_are_the_ports(component, plan):
    check(component(plan))
    assert component(plan).plan is plan


def test_annotations_are_the_ports_of_cells(plan):
    cell = plan.network.cells[0]
    check(
        CellUnit(cell.kind, plan.memory.bank, 8, plan.images["cell_state"], plan.images["cell_tanh"], plan.cell_style)
    )
