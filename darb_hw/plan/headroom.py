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
_TABLES = ("masks", "taps", "tiles", "drains")
"""ROMs that walks over tiles look up; those whose words are numbered by others come first."""
_SCALED = ("weights", "index_", "columns", "program", "rows", "loops", *_TABLES)
"""How the names of ROMs begin whose words become more and fewer from network to network of an architecture."""
_CODES = ("weights", "index_")
"""ROMs of codes, by how their names begin."""
_NUMBERED = {
    ("taps", "mask"): "masks", ("program", "tap"): "taps", ("loops", "first_tile"): "tiles",
    ("loops", "first_write"): "drains",
}  # fmt: skip
"""Fields that number the words of a table, by ROM and name."""
_EXACT = (*WRITTEN, *COMMON)
"""What has no more room: it fills a memory of the size of others, or is the same for all networks."""
_COUNTS = ("steps", "cycles", "codes", "repeat", "bits", "bias", "kind")
"""Fields that get as many bits more as sums do: what they hold depends on how rows are pruned, and trained."""
_FIXED = (
    "first", "last", "idle", "end", "release", "opens", "uniform", "column", "fold", "bank", "maximum", "aux_bank",
    "write_bank", "target", "operand", "product", "fire", "function", "clamp", "inner_clamp", "mask", "valid", "ends",
    "total", "rotation", "near", "far",
)  # fmt: skip
"""Fields that are flags, or numbers of what the capacity itself has: no network has more of it."""
_LEAST = {"idle": 1, "repeat": 4, "fold": 1}
"""Fields of the program that one network may need where another does not, and the bits that they get at least."""
_CELL_BITS = "bits of what cells write"
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
        If the network has several tasks, or the device is too small.
    """
    if network.tasks:
        raise PlanError(
            "--capacity: not with networks of several tasks, whose engines know where each subset's program begins: "
            "leave it out"
        )
    natural = fitting_plan(network, config)
    plan = Plan.make(network, natural.config, _capacity_of(natural, headroom))
    check_fit(plan, config.positions is not None)
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
        ceil(plan.queue * (1 + headroom)), MappingProxyType(_rooms(plan, headroom)), None,
    )  # fmt: skip
    # Addresses follow from the rooms. A plan in these has the fields that hold them.
    images = Plan.make(plan.network, plan.config, capacity).images
    shapes, roms = SHAPES[plan.config.target.family], {}
    for name in (*(table for table in _TABLES if table in images), *(name for name in images if name not in _TABLES)):
        known = {
            field: unsigned_bits(roms[table].depth - 1)
            for (rom, field), table in _NUMBERED.items()
            if rom == name and table in roms
        }
        known |= {"shift": values.shift, "mult": values.mult} if name == "rows" else {}
        known |= {"column": images[name].field_width("column") + spare} if name == "columns" else {}
        roms[name] = _rom_room(images[name], headroom, spare, known, last, shapes)
    return replace(capacity, roms=MappingProxyType(roms))


def _rooms(plan: Plan, headroom: float) -> dict[str, int]:
    """Addresses of each tensor. A vector in between may have more elements: units that nobody reads are taken out."""
    ends = plan.memory.loaded, SECOND, STATES
    return {
        name: int(region.size * (1 + headroom * (name not in ends and region.layout.shape[:2] == (1, 1))))
        for name, region in plan.memory.regions.items()
    }


def _rom_room(
    image: Image, headroom: float, spare: int, known: Mapping[str, int], index_bits: int, shapes: Mapping[int, int]
) -> RomRoom:
    """Room for a ROM and as much more, up to the end of its last block RAM.

    Fields of ROMs of codes are as wide as the capacity says; ``known`` are bits of other fields.
    """
    if image.name in _EXACT or image.name.startswith(_CODES):
        room = list(image.fields)
    else:
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
            remedy = "the network has another architecture; make a build of its own for it"
            if name == _CELL_BITS and value and others[name]:
                remedy = f"compile it again with darb compile --cell-bits {value}, or quantize(..., cell_bits={value})"
            raise PlanError(f"{name}: {_shown(others[name])}, in the build {_shown(value)}: {remedy}")


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
        "kind of cells": network.cells[0].kind if network.cells else "",
        "units of cells": memory.cell_units,
        _CELL_BITS: network.tensor(network.cells[0].output).bits if network.cells else 0,
        "states": memory.bank,
        "symbols": len(network.embedding.table) if network.embedding else 0,
        "features of a symbol": plan.features,
        "columns of maps": (memory.columns.moves, [sweep.steps for sweep in memory.columns.sweeps]),
        "tables of functions": len(network.functions),
        "addresses of the second input": memory.second,
        "address of the input": 0 if "input_order" in plan.images or plan.input_walk else plan.load_base,
        "order of the input": _walk(plan),
        "depth of the activation memory": plan.memory_depth,
        "layers that walk over positions": plan.walks,
        "rows of several lines": plan.lines > 1,
        "clusters": plan.clustered,
        "turns of maps": plan.rotation and (asdict(plan.rotation), _turns(plan)),
        "bursts that wait": plan.queue,
        "words of a row of results": (plan.words, plan.repeats, plan.spot_shift),
        "ways of results": tuple(map(sorted, plan.crossings)) if plan.banked else (),
        "depthwise layers": plan.uniform,
        "stages of the data path": asdict(plan.latency),
        "widths of signals": asdict(plan.widths),
        # Without reload, memory begins anew with each network.
        "places of what memory holds at power-up": kept_places(plan) if plan.config.loads else {},
    }


def _turns(plan: Plan) -> list[int]:
    return np.unique(plan.images["taps"].field("rotation")).tolist()


def _walk(plan: Plan) -> Any:
    walk = plan.input_walk
    return walk and (walk.axes, walk.moves, walk.first)
