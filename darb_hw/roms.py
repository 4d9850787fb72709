"""ROM contents: codes, program, loops, row parameters, tables, and what memories hold at power-up."""

from collections.abc import Iterable

import numpy as np

from darb_hw.cell_memory import state_image
from darb_hw.image import Field, Image, pack, signed_bits, unsigned_bits
from darb_hw.layout import Layout
from darb_hw.memory_map import STATES, MemoryMap
from darb_hw.schedule import Group, Loop, Schedule, Word
from darb_prune.encoded import EncodedNetwork

__all__ = [
    "GATE", "INSIDE", "OUTPUT", "codes", "embedding", "functions", "input_order", "loops", "power_up", "program",
    "rows", "states",
]  # fmt: skip

INSIDE, OUTPUT, GATE = 0, 1, 2
"""Where a result goes: activation memory, output buffer, gates of a cell."""


def codes(network: EncodedNetwork, schedule: Schedule, lanes: int, weight_bits: int) -> Image:
    """One word a step of each group: a code for every lane. The index of a row that stands further to the right of
    the output counts from the same base, so that all lanes add to one address."""
    total = sum(group.steps for group in schedule.groups)
    index, weight = np.zeros((total, lanes), np.int64), np.zeros((total, lanes), np.int8)
    at = greatest = 0
    for group in schedule.groups:
        if group.coded:
            greatest = max(greatest, group.level.block - 1 + int(group.places.max()) * group.ahead)
            found = network.layers[group.layer].codes_of(group.rows[: group.coded])
            ahead = group.places[: group.coded] * group.ahead
            index[at : at + group.steps, : group.coded] = found[0].T + ahead
            weight[at : at + group.steps, : group.coded] = found[1].T
        at += group.steps
    fields = {Field("index", unsigned_bits(greatest)): index, Field("weight", weight_bits, signed=True): weight}
    return pack("codes", fields, copies=lanes)


def _unsigned(name: str, values: Iterable, width: int | None = None) -> tuple[Field, np.ndarray]:
    values = np.array([int(value) for value in values])
    return Field(name, unsigned_bits(values.max()) if width is None else width), values


def program(words: tuple[Word, ...], loops: tuple[Loop, ...], address_bits: int, row_bits: int) -> Image:
    """One word a run of a group."""
    return pack(
        "program",
        dict(
            [
                _unsigned("base", (w.run.base % (1 << address_bits) for w in words), address_bits),
                _unsigned("codes", (w.run.codes - 1 for w in words)),
                _unsigned("lines", (w.run.lines - 1 for w in words)),
                _unsigned("pitch", (w.run.pitch for w in words)),
                _unsigned("bits", (w.run.level.bits for w in words)),
                _unsigned("kept", (w.run.level.kept - 1 for w in words)),
                _unsigned("bank", (w.run.bank for w in words)),
                _unsigned("pad", (w.run.pad for w in words)),
                _unsigned("repeat", (w.repeat for w in words)),
                _unsigned("rows", (w.rows for w in words), row_bits),
                _unsigned("loop", (loops.index(w.loop) for w in words)),
                _unsigned("first", (w.first for w in words), 1),
                _unsigned("last", (w.last for w in words), 1),
                _unsigned("idle", (w.idle for w in words), 1),
                _unsigned("end", (w.end for w in words)),
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
    fires = _fires(network, groups, cells)
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
            address = memory.start(layer.output) + layout.pixel(0, 0) + tensor.channel_position[channel]
            address = address + group.places * layout.channels
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


def _fires(network: EncodedNetwork, groups: tuple[Group, ...], cells: dict) -> list[np.ndarray]:
    """Of the rows of each group, those that are the last gate of their unit: the cell runs for it then."""
    fires = [np.zeros(len(group.rows), bool) for group in groups]
    seen: set[tuple[str, int]] = set()
    for group, fire in reversed(list(zip(groups, fires, strict=True))):
        layer = network.layers[group.layer]
        if layer.output in cells:
            size = network.tensor(cells[layer.output].output).size
            for place in reversed(range(len(group.rows))):
                unit = layer.output, int(layer.first + group.rows[place]) % size
                fire[place] = unit not in seen
                seen.add(unit)
    return fires


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
