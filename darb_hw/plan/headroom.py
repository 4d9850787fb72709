"""An engine with room for other networks of its architecture, and what another network makes of that room."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from fractions import Fraction
from math import ceil, log2
from types import MappingProxyType
from typing import Any

import numpy as np

from darb_hw.config import EngineConfig
from darb_hw.errors import PlanError
from darb_hw.plan.blocks import SHAPES, rows_of
from darb_hw.plan.capacity import Capacity, RomRoom
from darb_hw.plan.image import Field, Image, signed_bits, unsigned_bits
from darb_hw.plan.memory_map import SECOND, STATES
from darb_hw.plan.plan import Plan
from darb_hw.plan.reload import kept_places
from darb_hw.plan.resources import check_fit, fitting_plan
from darb_hw.plan.roms import COMMON, WRITTEN
from darb_hw.plan.widths import ValueWidths
from darb_prune.encoded import DarbError, EncodedNetwork

__all__ = ["HEADROOM_MAX", "check_alike", "headroom_of", "plan_within", "roomy_plan"]

HEADROOM_MAX = 4
"""Four times as much on top: five times what the first network needs."""
_SCALED = ("weights", "index_", "program", "rows", "loops")
"""How the names of ROMs begin whose words become more and fewer from network to network of an architecture."""
_CODES = ("weights", "index_")
"""ROMs of codes, by how their names begin."""
_EXACT = (*WRITTEN, *COMMON)
"""What has no more room: it fills a memory of the size of others, or is the same for all networks."""
_COUNTS = ("steps", "cycles", "codes", "repeat", "bits", "bias")
"""Fields that get as many bits more as sums do: what they hold depends on how rows are pruned, and trained."""
_FIXED = (
    "first", "last", "idle", "end", "release", "opens", "uniform", "column", "fold", "bank", "maximum", "aux_bank",
    "write_bank", "target", "operand", "product", "fire", "function", "clamp", "inner_clamp",
)  # fmt: skip
"""Fields that are flags, or numbers of what the capacity itself has: no network has more of it."""
_LEAST = {"idle": 1, "repeat": 4, "fold": 1}
"""Fields of the program that one network may need where another does not, and the bits that they get at least."""
_SHIFT_MAX, _MULT_BITS, _TABLE_BITS = 63, 16, 16


def headroom_of(text: str) -> float:
    """What ``--capacity`` says: ``"20%"`` is 0.2.

    Raises
    ------
    DarbError
        If it is no percentage, or too large.
    """
    try:
        share = float(Fraction(text.removesuffix("%"))) / 100
        if not text.endswith("%") or not 0 <= share <= HEADROOM_MAX:
            raise ValueError
    except (ValueError, ZeroDivisionError, OverflowError):
        raise DarbError(f"--capacity {text}: choose a percentage from 0% to {100 * HEADROOM_MAX}%, like 20%") from None
    return share


def roomy_plan(network: EncodedNetwork, config: EngineConfig, headroom: float) -> Plan:
    """The plan of a network on a device, with room for others of its architecture.

    Parameters
    ----------
    network : EncodedNetwork
    config : EngineConfig
    headroom : float
        Share of every depth and number that there is on top.

    Raises
    ------
    PlanError
        If the network or the configuration is of a kind that has no capacity, or the device is too small.
    """
    for what, present in (
        ("--memory spram", config.memory == "spram"),
        ("--positions", config.banks > 1),
        ("--results", config.ways > 1),
        ("--clusters", config.clusters > 1),
        ("networks of several tasks", bool(network.tasks)),
        ("networks that scan columns of maps", bool(network.sections)),
    ):
        if present:
            raise PlanError(
                f"--capacity: not with {what}, whose engines depend on their network in more ways: leave it out"
            )
    natural = fitting_plan(network, replace(config, positions=1, results=1), asked=False)
    plan = Plan.make(network, natural.config, _capacity_of(natural, headroom))
    check_fit(plan, asked=False)
    return plan


def plan_within(plan: Plan, network: EncodedNetwork) -> Plan:
    """The plan of another network in the engine of ``plan``, which has a capacity.

    Raises
    ------
    PlanError
        If it has no room there, or another engine.
    """
    made = Plan.make(network, plan.config, plan.capacity)
    check_alike(plan, made)
    return made


def _capacity_of(plan: Plan, headroom: float) -> Capacity:
    """What ``plan`` needs, and as much more. Of shifts, sums and indices that is in bits."""
    spare, shifts = ceil(log2(1 + headroom)), [layer.shift for layer in plan.network.layers]
    least = max(1, plan.shift_base - spare)
    most = min(_SHIFT_MAX, max(int(shift.max()) for shift in shifts) + spare)
    natural = plan.widths
    values = ValueWidths(
        weight=natural.weight,
        activation=natural.activation,
        accumulator=natural.accumulator + spare,
        biased=natural.biased + spare,
        mult=min(_MULT_BITS, natural.mult + spare),
        shift=unsigned_bits(most - least),
        rounded=natural.rounded + spare,
    )
    *others, last = plan.index_widths or [0]
    ends = (*others, last + spare) if last else ()
    capacity = Capacity(
        values, plan.clamps, plan.inner_clamps, ends, least, plan.latency.folds, plan.latency.held, plan.output_banks,
        MappingProxyType(_rooms(plan, headroom)), None,
    )  # fmt: skip
    # Addresses follow from the rooms. A plan in these has the fields that hold them.
    images = Plan.make(plan.network, plan.config, capacity).images.values()
    shapes = SHAPES[plan.config.target.family]
    roms = {image.name: _rom_room(image, headroom, spare, values, last, shapes) for image in images}
    return replace(capacity, roms=MappingProxyType(roms))


def _rooms(plan: Plan, headroom: float) -> dict[str, int]:
    """Addresses of each tensor. A vector in between may have more elements: units that nobody reads are taken out."""
    ends = plan.memory.loaded, SECOND, STATES
    return {
        name: int(region.size * (1 + headroom * (name not in ends and region.layout.shape[:2] == (1, 1))))
        for name, region in plan.memory.regions.items()
    }


def _rom_room(
    image: Image, headroom: float, spare: int, values: ValueWidths, index_bits: int, shapes: Mapping[int, int]
) -> RomRoom:
    """Room for a ROM and as much more, up to the end of its last block RAM.

    Fields of ROMs of codes are as wide as the capacity says, and so are two of rows.
    """
    if image.name in _EXACT or image.name.startswith(_CODES):
        room = list(image.fields)
    else:
        known = {"shift": values.shift, "mult": values.mult} if image.name == "rows" else {}
        room = [
            replace(field, width=known.get(field.name) or _field_bits(image, field, headroom, spare))
            for field in image.fields
        ]
    if image.name == "program" and headroom:
        least = _LEAST | {"kept": index_bits}  # rows may be dense
        present = {field.name for field in room}
        room = [replace(field, width=max(field.width, least.get(field.name, 0))) for field in room]
        room += [Field(name, bits) for name, bits in least.items() if name not in present]
    if image.name in _EXACT:
        return RomRoom(image.depth, tuple(room))
    width = image.copies * sum(field.width for field in room)
    depth = max(1, int(image.depth * (1 + headroom * image.name.startswith(_SCALED))))
    return RomRoom(sum(row.depth for row in rows_of(width, depth, shapes)), tuple(room))


def _field_bits(image: Image, field: Field, headroom: float, spare: int) -> int:
    """Bits of a field for greater numbers."""
    if field.name in _COUNTS:
        return field.width + spare
    if field.name in _FIXED:
        return field.width
    values = np.concatenate([image.field(field.name, copy) for copy in range(image.copies)])
    low, high = (int(end * (1 + headroom)) for end in (values.min(), values.max()))
    # Entries of tables are values, which never have more bits. A bit that is not used may have no block.
    return max(field.width, min(signed_bits(low, high), _TABLE_BITS) if field.signed else unsigned_bits(high))


def check_alike(plan: Plan, other: Plan) -> None:
    """Raise :class:`PlanError` where ``other``, within the capacity of ``plan``, has another engine: it names what."""
    ours, others = _structure(plan), _structure(other)
    for name, value in ours.items():
        if others[name] != value:
            raise PlanError(
                f"{name}: {_shown(others[name])}, in the build {_shown(value)}: the network has another "
                "architecture; make a build of its own for it"
            )


def _shown(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _structure(plan: Plan) -> dict[str, Any]:
    """What of a plan makes its engine, beside what the capacity gives; by names for people."""
    network, memory = plan.network, plan.memory
    return {
        "elements of an input": plan.input_size,
        "elements of an output": plan.output_size,
        "time steps": network.recurrent,
        "outputs of a sequence": network.emit,
        "units of cells": memory.cell_units,
        "states": memory.bank,
        "symbols": len(network.embedding.table) if network.embedding else 0,
        "tables of functions": len(network.functions),
        "addresses of the second input": memory.second,
        "address of the input": 0 if "input_order" in plan.images or plan.input_walk else plan.load_base,
        "order of the input": _walk(plan),
        "depth of the activation memory": plan.memory_depth,
        "layers that walk over positions": plan.walks,
        "rows of several lines": plan.lines > 1,
        "depthwise layers": plan.uniform,
        "stages of the data path": asdict(plan.latency),
        "widths of signals": asdict(plan.widths),
        # Without reload, memory begins anew with each network.
        "places of what memory holds at power-up": kept_places(plan) if plan.config.loads else {},
    }


def _walk(plan: Plan) -> Any:
    walk = plan.input_walk
    return walk and (walk.axes, walk.moves, walk.first)
