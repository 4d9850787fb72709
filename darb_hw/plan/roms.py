"""ROM contents: codes, program, loops, row parameters, tables, and what memories hold at power-up."""

from collections.abc import Iterable
from itertools import pairwise

import numpy as np

from darb_hw.plan.cell_memory import state_image
from darb_hw.plan.groups import Group, Loop, addresses_of, fires_of
from darb_hw.plan.image import Field, Image, pack, signed_bits, unsigned_bits
from darb_hw.plan.layout import Layout
from darb_hw.plan.memory_map import STATES, MemoryMap
from darb_hw.plan.program import Word
from darb_prune.encoded import EncodedNetwork

__all__ = [
    "GATE", "INSIDE", "OUTPUT", "codes", "embedding", "functions", "index_widths", "input_order", "loops", "power_up",
    "program", "rows", "states",
]  # fmt: skip

INSIDE, OUTPUT, GATE = 0, 1, 2
"""Where a result goes: activation memory, output buffer, gates of a cell."""


def codes(network: EncodedNetwork, groups: tuple[Group, ...], lanes: int, weight_bits: int) -> dict[str, Image]:
    """Weights, one word a step of each group with a weight for every lane; and the indices beside them, in as many
    ROMs as there are widths of indices: ``index_0`` has the lowest bits, each of the others the bits that some groups
    have above those, and words for the steps of these groups only. So a code takes the bits of its weight and of its
    index whatever the other rows have, and no bit is moved about in hardware: a ROM that has nothing to say in a step
    stays where it is.
    """
    steps = np.array([group.steps for group in groups])
    index, weight = np.zeros((steps.sum(), lanes), np.int64), np.zeros((steps.sum(), lanes), np.int8)
    at = 0
    for group in groups:
        if group.coded:
            index[at : at + group.steps], weight[at : at + group.steps] = _lane_codes(network, group, lanes)
        at += group.steps
    found = {"weights": pack("weights", {Field("weight", weight_bits, signed=True): weight}, copies=lanes)}
    bits = np.repeat([group.index_bits for group in groups], steps)
    for number, (low, high) in enumerate(pairwise([0, *index_widths(groups)])):
        part = (index[bits >= high] >> low) & ((1 << high - low) - 1)
        name = f"index_{number}"
        found[name] = pack(name, {Field("index", high - low): part}, copies=lanes)
    return found


def index_widths(groups: tuple[Group, ...]) -> list[int]:
    """The widths of indices that there are, ascending."""
    return sorted({group.index_bits for group in groups} - {0})


def _lane_codes(network: EncodedNetwork, group: Group, lanes: int) -> tuple[np.ndarray, np.ndarray]:
    """Index and weight of every lane in every step of a group: shape (steps, lanes).

    The index of a row that stands further to the right of the output counts from the same base, so that all lanes
    add to one address; so does that of a lane that has the second, third ... block of a folded row.
    """
    layer, level, fold = network.layers[group.layer], group.level, 1 << group.fold
    rows = group.rows[: group.coded]
    found = np.stack(layer.codes_of(rows)).astype(np.int64)  # (2, rows, codes)
    found[0] += (group.places[: group.coded] * group.ahead)[:, None]
    parts, at = [], 0
    for segment in layer.segments:
        count = level.codes(segment.length)
        mine, at = found[:, :, at : at + count], at + count
        blocks = count // level.kept
        mine = mine.reshape(2, len(rows), blocks, level.kept)
        if group.fold:
            mine = mine.copy()
            mine[0] += (np.arange(blocks) % fold)[:, None] << level.bits
            mine = np.pad(mine, ((0, 0), (0, 0), (0, -blocks % fold), (0, 0)))
        # Blocks of a row to its lanes in turn: (step of blocks, kept) by (row, lane of it).
        mine = mine.reshape(2, len(rows), -1, fold, level.kept).transpose(0, 2, 4, 1, 3)
        parts.append(mine.reshape(2, -1, len(rows) * fold))
    both = np.concatenate(parts, axis=1)
    return tuple(np.pad(both, ((0, 0), (0, 0), (0, lanes - both.shape[2]))))


def _unsigned(name: str, values: Iterable, width: int | None = None) -> tuple[Field, np.ndarray]:
    values = np.array([int(value) for value in values])
    return Field(name, unsigned_bits(values.max()) if width is None else width), values


def program(
    words: tuple[Word, ...], loops: tuple[Loop, ...], widths: list[int], address_bits: int, row_bits: int
) -> Image:
    """One word a run of a group; ``index`` says how many of the ROMs of indices it takes."""
    lines = any(word.run.lines > 1 for word in words)
    return pack(
        "program",
        dict(
            [
                _unsigned("base", (w.run.base % (1 << address_bits) for w in words), address_bits),
                _unsigned("steps", (w.run.steps - 1 for w in words)),
                _unsigned("cycles", (w.run.cycles - 1 for w in words)),
                _unsigned("codes", (w.run.codes - 1 if lines else 0 for w in words)),
                _unsigned("pitch", (w.run.pitch for w in words)),
                _unsigned("bits", (w.run.level.bits for w in words)),
                _unsigned("kept", (w.run.level.kept - 1 for w in words)),
                _unsigned("index", (sum(w.index_bits >= width for width in widths) for w in words)),
                _unsigned("bank", (w.run.bank for w in words)),
                _unsigned("repeat", (w.repeat for w in words)),
                _unsigned("rows", (w.rows for w in words), row_bits),
                _unsigned("fold", (w.fold for w in words)),
                _unsigned("loop", (loops.index(w.loop) for w in words)),
                _unsigned("first", (w.first for w in words), 1),
                _unsigned("last", (w.last for w in words), 1),
                _unsigned("idle", (w.idle for w in words)),
                _unsigned("end", (w.end for w in words)),
                _unsigned("release", (w.release for w in words)),
            ]
        ),
    )


def loops(found: tuple[Loop, ...], read_bits: int, write_bits: int, aux_bits: int) -> Image:
    """One word a loop: counts, and what is added to each address when a counter advances."""
    fields = [_unsigned(f"count_{place}", (loop.counts[place] - 1 for loop in found)) for place in range(4)]
    for name, bits in (("read", read_bits), ("write", write_bits), ("aux", aux_bits)):
        deltas = np.array([loop.deltas(getattr(loop, name)) for loop in found])
        for place in range(4):
            used = any(loop.counts[place] > 1 for loop in found)
            values = deltas[:, place] % (1 << bits) if used else np.zeros(len(found), int)
            fields.append(_unsigned(f"{name}_{place}", values, bits if used and deltas.any() else 0))
    fields.append(_unsigned("maximum", (loop.maximum for loop in found)))
    fields.append(_unsigned("aux_bank", (loop.aux_bank for loop in found)))
    return pack("loops", dict(fields))


def rows(
    network: EncodedNetwork,
    groups: tuple[Group, ...],
    layouts: dict[str, Layout],
    memory: MemoryMap,
    clamps: tuple[tuple[int, int], ...],
    shift_base: int,
) -> Image:
    """One word a row of each group, in the order of write-back: requantisation, and where the result goes."""
    columns: dict[str, list[np.ndarray]] = {}
    cells = {cell.gates: cell for cell in network.cells}
    fires = fires_of(network, groups)
    for group, fire in zip(groups, fires, strict=True):
        layer = network.layers[group.layer]
        tensor = network.tensor(layer.output)
        layout = layouts[layer.output]
        channel = layer.first + group.rows
        bank = np.zeros(len(group.rows), int)
        if layer.output == network.output:
            target, address = OUTPUT, channel * layout.shape[0] * layout.shape[1] + group.places
        elif layer.output in cells:
            cell = cells[layer.output]
            size = network.tensor(cell.output).size
            bank, unit = channel // size, channel % size
            target, address = GATE, memory.units[cell.output] + network.tensor(cell.output).position[unit]
        else:
            target = INSIDE
            address = addresses_of(network, layer, group.rows, group.places, layouts, memory)
        aux, operand = address if layer.renews else np.zeros(len(group.rows), int), 0
        if layer.operand:
            added, where = network.tensor(layer.operand.tensor), layouts[layer.operand.tensor]
            source = group.rows - layer.operand.first
            operand = (source >= 0) & (source < added.channels)
            position = added.channel_position[np.where(operand, source, 0)]
            ahead = group.places * layer.operand.stride[1] * where.channels
            aux = np.where(operand, memory.start(added.name) + where.pixel(0, 0) + position + ahead, 0)
        for name, values in (
            ("bias", layer.bias[group.rows]),
            ("mult", layer.mult[group.rows]),
            ("shift", layer.shift[group.rows].astype(int) - shift_base),
            ("function", layer.row_function[group.rows]),
            ("clamp", clamps.index(layer.clamp or (tensor.qmin, tensor.qmax))),
            ("target", target),
            ("address", address),
            ("aux", aux),
            ("operand", operand),
            ("bank", bank),
            ("fire", fire),
        ):
            columns.setdefault(name, []).append(np.broadcast_to(values, len(group.rows)).astype(np.int64))
    flat = {name: np.concatenate(parts) for name, parts in columns.items()}
    bias = flat.pop("bias")
    fields = {Field("bias", signed_bits(int(bias.min()), int(bias.max())), signed=True): bias}
    return pack("rows", fields | dict(_unsigned(name, values) for name, values in flat.items()))


def functions(network: EncodedNetwork) -> Image:
    """All tables, one after another; entry ``i`` of a table is the value of ``i - 128``."""
    values = np.concatenate(network.functions).astype(np.int64)
    return pack("functions", {Field("value", signed_bits(int(values.min()), int(values.max())), signed=True): values})


def input_order(addresses: np.ndarray) -> Image:
    """Address of each element that is loaded, in the order in which they come."""
    return pack("input_order", {Field("address", unsigned_bits(addresses.max())): addresses})


def states(network: EncodedNetwork) -> Image:
    """State of all units at the first step."""
    parts = []
    for cell in network.cells:
        tensor = network.tensor(cell.output)
        initial = np.zeros(tensor.size, np.int64)
        if cell.state is not None:
            initial[tensor.position] = cell.state
        parts.append(initial)
    return state_image(np.concatenate(parts))


def embedding(network: EncodedNetwork) -> Image:
    """Features of all symbols, one symbol after another."""
    values = network.embedding.table.astype(np.int64).reshape(-1)
    return pack("embedding", {Field("value", signed_bits(int(values.min()), int(values.max())), signed=True): values})


def power_up(network: EncodedNetwork, memory: MemoryMap, bits: int) -> Image | None:
    """What the activation memory holds before anything is written: zeros around maps, outputs of cells before the
    first step; nothing if the network relies on neither."""
    padded = any(region.layout.padding != (0, 0) for region in memory.regions.values())
    if not (padded or memory.units):
        return None
    values = np.zeros(memory.depth, np.int64)
    for name, unit in memory.units.items():
        tensor = network.tensor(name)
        if tensor.initial is not None:
            values[memory.regions[STATES].start + 2 * memory.bank + unit + tensor.position] = tensor.initial
    return pack("activations", {Field("value", bits, signed=True): values})
