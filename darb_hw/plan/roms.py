"""ROM contents: codes, program, loops, row parameters, tables, and what memories hold at power-up."""

from collections.abc import Iterable, Sequence
from itertools import groupby, pairwise
from operator import attrgetter

import numpy as np

from darb_hw.plan import cell_memory
from darb_hw.plan.clusters import PartLayout
from darb_hw.plan.groups import Group, Loop, addresses_of, fires_of
from darb_hw.plan.image import Field, Image, pack, signed_bits, unsigned_bits
from darb_hw.plan.memory_map import STATES, MemoryMap
from darb_hw.plan.ports import Walk
from darb_hw.plan.program import Word
from darb_hw.plan.tile_groups import Tiles
from darb_hw.plan.widths import Widths
from darb_prune.encoded import FACTOR_RANGE, Cell, Embedding, EncodedNetwork, Layer, Operand

__all__ = [
    "COMMON", "GATE", "INSIDE", "OUTPUT", "WRITTEN", "clamp_of", "codes", "index_widths", "inner_clamp_of", "jumps",
    "loops", "program", "reached", "rows", "tables", "tile_tables",
]  # fmt: skip

WRITTEN = ("activations", "cell_state")
"""Images of memories that the engine writes: what they hold at power-up. A reset does not bring it back."""
COMMON = ("cell_tanh",)
"""Images that are the same for all networks."""
INSIDE, OUTPUT, GATE = 0, 1, 2
"""Where a result goes: activation memory, output buffer, gates of a cell."""


def codes(
    network: EncodedNetwork, groups: Sequence[Group], lanes: int, weight_bits: int, ends: Sequence[int] | None = None
) -> dict[str, Image]:
    """ROMs of weights and indices.

    ``weights`` has a word for each step of each group, with a weight for every lane; one for all steps of a group that
    take the same codes. The indices are in as many ROMs as
    there are widths of indices, or up to the bits that ``ends`` names. ``index_0`` has the lowest bits. Each other ROM
    has the bits that some groups have above those, and words for the steps of these groups only.

    So a code takes the bits of its weight and of its index, whatever the other rows have. No bit is moved about in
    hardware: a ROM that has nothing to say in a step does not advance.
    """
    steps = np.array([group.stored_steps for group in groups])
    index, weight = np.zeros((steps.sum(), lanes), np.int64), np.zeros((steps.sum(), lanes), np.int8)
    column = np.zeros_like(index)
    first = 0
    for group in groups:
        stored = slice(group.stored_steps)
        here = slice(first, first + group.stored_steps)
        if group.coded and group.tiling:
            rows = slice(group.first_row, group.first_row + group.coded)
            for codes_of_all, values in (
                (index, group.tiling.index),
                (column, group.tiling.column),
                (weight, group.tiling.weight),
            ):
                codes_of_all[here, : group.coded] = values[rows].T[stored]
        elif group.coded:
            index[here], weight[here] = (codes[stored] for codes in _lane_codes(network, group, lanes))
        first += group.stored_steps
    images = {"weights": pack("weights", {Field("weight", weight_bits, signed=True): weight}, copies=lanes)}
    bits = np.repeat([group.index_bits for group in groups], steps)
    for rom_number, (low, high) in enumerate(pairwise([0, *(ends or index_widths(groups))])):
        part = (index[bits > low] >> low) & ((1 << high - low) - 1)
        name = f"index_{rom_number}"
        images[name] = pack(name, {Field("index", high - low): part}, copies=lanes)
    column_bits = np.repeat([group.column_bits for group in groups], steps)
    if column_bits.any():
        field = Field("column", int(column_bits.max()))
        images["columns"] = pack("columns", {field: column[column_bits > 0]}, copies=lanes)
    return images


def tile_tables(tiles: Tiles, address_bits: int, ways: int) -> dict[str, Image]:
    """What walks over tiles look up.

    ``taps``: addresses of the banks that read the tile itself and the one behind, relative to the first channel read;
    bits of the stages of the rotation; its first mask. ``masks``: of each tap in each kind of tile, which lanes read a
    pixel of the map. ``tiles``: kind of a tile. ``drains``: where results go, and which of them end
    a burst; addresses without the bits that are zero in all.
    """
    tables, modulus = tiles.tables, 1 << address_bits
    taps, masks, words = tables.taps.words, tables.masks.words, tables.drains.words
    fields = [
        _unsigned("near", taps[:, 0] % modulus, address_bits),
        _unsigned("far", taps[:, 1] % modulus, address_bits),
        _unsigned("rotation", tiles.rotation.bits(taps[:, 2])),
        _unsigned("mask", taps[:, 3]),
    ]
    names = ("valid", "bank", "address", "aux_bank", "aux", *(["ends"] if tables.paired else []))
    shifts = [tiles.spot_shift if name in ("address", "aux") else 0 for name in names]
    columns = words.reshape(len(words), ways, len(names)) >> np.array(shifts)
    drains = {
        Field(name, unsigned_bits(int(columns[:, :, column].max()))): columns[:, :, column]
        for column, name in enumerate(names)
    }
    return {
        "taps": pack("taps", dict(fields)),
        "masks": pack("masks", {Field("mask", 1): masks}, copies=masks.shape[1]),
        "tiles": pack(
            "tiles",
            dict([_unsigned("kind", tables.tiles.words[:, 0], max(1, unsigned_bits(int(tables.tiles.words.max()))))]),
        ),
        "drains": pack("drains", drains, copies=ways),
    }


def index_widths(groups: Sequence[Group]) -> list[int]:
    """The widths of indices that there are, rising."""
    return sorted({group.index_bits for group in groups} - {0})


def _lane_codes(network: EncodedNetwork, group: Group, lanes: int) -> tuple[np.ndarray, np.ndarray]:
    """Index and weight of every lane in every step of a group, int64, shape (steps, lanes).

    All lanes add their index to one address. So the index of a row at a later position counts from the address of the
    first position, and the index of a lane that has the second block of a folded row from that of the first block.
    """
    layer, level, fold = network.layers[group.layer], group.level, 1 << group.fold
    rows = group.rows[: group.coded]
    row_codes = np.stack(layer.codes_of(rows)).astype(np.int64)  # (2, rows, codes): indices and weights
    if group.apart:  # a segment for each lane of a row
        of_lanes = row_codes.reshape(2, len(rows), fold, -1).transpose(0, 3, 1, 2).reshape(2, -1, len(rows) * fold)
        index, weight = np.pad(of_lanes, ((0, 0), (0, 0), (0, lanes - of_lanes.shape[2])))
        return index, weight
    row_codes[0] += (group.positions[: group.coded] * group.ahead)[:, None]
    parts, first = [], 0
    for segment in layer.segments:
        count = level.codes(segment.length)
        blocks = count // level.kept
        part = row_codes[:, :, first : first + count].reshape(2, len(rows), blocks, level.kept)
        first += count
        if group.fold:
            part = part.copy()
            part[0] += (np.arange(blocks) % fold)[:, None] << level.bits
            part = np.pad(part, ((0, 0), (0, 0), (0, -blocks % fold), (0, 0)))
        # Blocks of a row go to its lanes in turn: (turn, kept) by (row, lane of it).
        part = part.reshape(2, len(rows), -1, fold, level.kept).transpose(0, 2, 4, 1, 3)
        parts.append(part.reshape(2, -1, len(rows) * fold))
    of_lanes = np.concatenate(parts, axis=1)
    index, weight = np.pad(of_lanes, ((0, 0), (0, 0), (0, lanes - of_lanes.shape[2])))
    return index, weight


def _unsigned(name: str, values: Iterable[int], width: int | None = None) -> tuple[Field, np.ndarray]:
    """A field of numbers from 0 up, as wide as the greatest of them if no width is given."""
    array = values.astype(np.int64) if isinstance(values, np.ndarray) else np.array([int(value) for value in values])
    return Field(name, unsigned_bits(array.max()) if width is None else width), array


def _signed(values: np.ndarray, name: str = "value") -> dict[Field, np.ndarray]:
    """A field of numbers in two's complement, as wide as they need."""
    return {Field(name, signed_bits(int(values.min()), int(values.max())), signed=True): values}


def _jumps_of(words: Sequence[Word]) -> list[int]:
    """The layers whose codes and rows a word begins, though those of the word before end elsewhere; rising."""
    return sorted({word.jump for word in words if word.jump is not None})


def reached(index_bits: int, ends: Sequence[int]) -> int:
    """How many ROMs of indices, which end with these bits, indices of so many bits are spread over."""
    return sum(low < index_bits for low in (0, *ends[:-1]))


def jumps(words: Sequence[Word], groups: Sequence[Group], ends: Sequence[int]) -> dict[str, Image]:
    """One word a layer that is jumped to, behind a first one that nobody reads: the number of its first row, and of its
    first word in each ROM of codes, those of indices up to the bits ``ends``. No ROM if no layer is left out."""
    layers = _jumps_of(words)
    if not layers:
        return {}
    first = [next(number for number, group in enumerate(groups) if group.layer == layer) for layer in layers]
    steps = np.array([group.stored_steps for group in groups])

    def before(counts: np.ndarray) -> np.ndarray:
        """The sum of the counts of all groups before each of ``first``."""
        return np.concatenate([[0], (np.cumsum(counts) - counts)[first]])

    index_bits = np.array([group.index_bits for group in groups])
    column_bits = np.array([group.column_bits for group in groups])
    fields = [
        _unsigned("row", before(np.array([len(group.rows) for group in groups]))),
        _unsigned("weights", before(steps)),
        *(
            _unsigned(f"index_{rom_number}", before(steps * (index_bits > low)))
            for rom_number, low in enumerate([0, *ends[:-1]][: len(ends)])
        ),
        _unsigned("columns", before(steps * (column_bits > 0))),
    ]
    return {"jumps": pack("jumps", dict(fields))}


def program(words: Sequence[Word], ends: Sequence[int], loops: Sequence[Loop], widths: Widths) -> Image:
    """One word a run of a group. ``index`` is the number of ROMs of indices that the group uses, which end with the
    bits ``ends``."""
    jumped = _jumps_of(words)
    lines = any(word.run.lines > 1 for word in words)
    return pack(
        "program",
        dict(
            [
                _unsigned("base", (w.run.base % (1 << widths.address) for w in words), widths.address),
                _unsigned("steps", (w.run.steps - 1 for w in words)),
                _unsigned("cycles", (w.run.cycles - 1 for w in words)),
                _unsigned("codes", (w.run.codes - 1 if lines else 0 for w in words)),
                _unsigned("pitch", (w.run.pitch for w in words)),
                _unsigned("bits", (w.run.level.bits for w in words)),
                _unsigned("kept", (w.run.level.kept - 1 for w in words)),
                _unsigned("index", (reached(w.index_bits, ends) for w in words)),
                _unsigned("bank", (w.run.bank for w in words)),
                _unsigned("follow", (w.run.follow for w in words)),
                _unsigned("opens", (w.opens for w in words)),
                _unsigned("repeat", (w.repeat for w in words)),
                _unsigned("rows", (w.rows for w in words), widths.row),
                _unsigned("fold", (w.fold for w in words)),
                _unsigned("loop", (loops.index(w.loop) for w in words)),
                _unsigned("first", (w.first for w in words), 1),
                _unsigned("last", (w.last for w in words), 1),
                _unsigned("idle", (w.idle for w in words)),
                _unsigned("end", (w.end for w in words)),
                _unsigned("release", (w.release for w in words)),
                _unsigned("tap", (w.run.tap for w in words)),
                _unsigned("tap_pitch", (w.run.tap_pitch for w in words)),
                _unsigned("column", (w.column for w in words)),
                _unsigned("uniform", (w.uniform for w in words)),
                _unsigned("jump", (0 if w.jump is None else 1 + jumped.index(w.jump) for w in words)),
            ]
        ),
    )


def loops(loops: Sequence[Loop], widths: Widths, write_bits: int) -> dict[str, Image]:
    """One word a loop: counts, and what is added to each address when a counter advances. No ROM if nothing moves.

    ``write_bits`` are those of an address that results are written to, or of the number of a word that has them.
    """
    fields = [_unsigned(f"count_{axis}", (loop.counts[axis] - 1 for loop in loops)) for axis in range(4)]
    for name, bits, loop_deltas in (
        ("read", widths.address, [loop.deltas(loop.read) for loop in loops]),
        ("write", write_bits, [loop.deltas(loop.write) for loop in loops]),
        ("aux", widths.address, [loop.deltas(loop.aux) for loop in loops]),
    ):
        deltas = np.array(loop_deltas)
        for axis in range(4):
            counts = any(loop.counts[axis] > 1 for loop in loops)
            values = deltas[:, axis] % (1 << bits) if counts else np.zeros(len(loops), int)
            fields.append(_unsigned(f"{name}_{axis}", values, bits if counts and deltas.any() else 0))
    fields += _tile_fields(loops)
    fields.append(_unsigned("maximum", (loop.maximum for loop in loops)))
    fields.append(_unsigned("aux_bank", (loop.aux_bank for loop in loops)))
    fields.append(_unsigned("write_bank", (loop.write_bank for loop in loops)))
    fields.append(_unsigned("write_follow", (loop.write_follow for loop in loops)))
    fields.append(_unsigned("aux_follow", (loop.aux_follow for loop in loops)))
    image = pack("loops", dict(fields))
    return {"loops": image} if image.width else {}


def _tile_fields(loops: Sequence[Loop]) -> list[tuple[Field, np.ndarray]]:
    """Of a loop over tiles: how its numbers of taps and tiles move, and where it begins. Of other loops no bits."""
    fields = [
        _unsigned("first_write", (loop.first_write for loop in loops)),
        _unsigned("first_tile", (loop.first_tile for loop in loops)),
        _unsigned("words", (loop.words - 1 for loop in loops)),
        _unsigned("repeat", (loop.repeat - 1 for loop in loops)),
        _unsigned("total", (loop.total for loop in loops)),
    ]
    for name, moves in (
        ("tap", [loop.deltas(loop.tap) for loop in loops]),
        ("tile", [loop.deltas(loop.tile) for loop in loops]),
    ):
        deltas = np.array(moves)
        for axis in range(4):
            bits = signed_bits(int(deltas.min()), int(deltas.max())) if deltas.any() else 0
            counts = any(loop.counts[axis] > 1 for loop in loops)
            width = bits * counts
            fields.append((Field(f"{name}_{axis}", width, signed=width > 0), deltas[:, axis] * counts))
    return fields


def clamp_of(network: EncodedNetwork, layer: Layer) -> tuple[int, int]:
    """Least and greatest result of a layer."""
    tensor = network.tensor(layer.output)
    return (tensor.qmin, tensor.qmax) if layer.multiplies else layer.clamp or (tensor.qmin, tensor.qmax)


def inner_clamp_of(layer: Layer) -> tuple[int, int]:
    """Least and greatest value of a layer in front of the product with its operand."""
    return layer.clamp or FACTOR_RANGE


def rows(
    network: EncodedNetwork, groups: Sequence[Group], memory: MemoryMap, clamps: Sequence[tuple[int, int]],
    inner_clamps: Sequence[tuple[int, int]], shift_base: int,
) -> Image:  # fmt: skip
    """One word a row of each group, in the order of write-back: requantisation, and where the result goes."""
    columns: dict[str, list[np.ndarray]] = {}
    for layer_number, of_layer in groupby(groups, key=attrgetter("layer")):
        layer = network.layers[layer_number]
        rows, positions = (
            np.concatenate(parts) for parts in zip(*((group.rows, group.positions) for group in of_layer), strict=True)
        )
        target, address, bank = _destination(network, layer, rows, positions, memory)
        aux, operand = address if layer.renews else np.zeros(len(rows), int), 0
        if layer.operand:
            column = memory.columns.read(layer_number, layer.operand.tensor).first
            aux, operand = _operand(network, layer.operand, rows, positions, memory, column)
        for name, values in (
            ("bias", layer.bias[rows]),
            ("mult", layer.mult[rows]),
            ("shift", layer.shift[rows].astype(int) - shift_base),
            ("function", layer.row_function[rows]),
            ("clamp", clamps.index(clamp_of(network, layer))),
            ("target", target),
            ("address", address),
            ("aux", aux),
            ("operand", operand if not layer.multiplies else 0),
            ("product", layer.multiplies),
            ("inner_clamp", inner_clamps.index(inner_clamp_of(layer)) if layer.multiplies else 0),
            ("bank", bank),
        ):
            columns.setdefault(name, []).append(np.broadcast_to(values, len(rows)).astype(np.int64))
    flat = {name: np.concatenate(parts) for name, parts in columns.items()}
    flat["fire"] = np.concatenate(fires_of(network, groups))
    bias = flat.pop("bias")
    return pack("rows", _signed(bias, "bias") | dict(_unsigned(name, values) for name, values in flat.items()))


def _destination(
    network: EncodedNetwork, layer: Layer, rows: np.ndarray, positions: np.ndarray, memory: MemoryMap
) -> tuple[int, np.ndarray, np.ndarray]:
    """Where the results of rows go in the first pass: target, and of each row the address and the bank there."""
    channel, no_bank = layer.first + rows, np.zeros(len(rows), int)
    cell = next((cell for cell in network.cells if cell.gates == layer.output), None)
    if layer.output == network.output:
        height, width, _ = network.tensor(layer.output).shape
        return OUTPUT, channel * height * width + positions, no_bank
    if cell:
        output = network.tensor(cell.output)
        gate, unit = np.divmod(channel, output.channels)
        return GATE, memory.cells[cell.output] + output.channel_position[unit], gate
    layout = memory.layouts.get(layer.output)
    bank = layout.clusters(network.tensor(layer.output))[channel] if isinstance(layout, PartLayout) else no_bank
    return INSIDE, addresses_of(network, layer, rows, positions, memory), bank


def _operand(
    network: EncodedNetwork, operand: Operand, rows: np.ndarray, positions: np.ndarray, memory: MemoryMap, column: int
) -> tuple[np.ndarray, np.ndarray]:
    """Address of the operand of each row in the first pass, which is in ``column``, and whether the row has one."""
    tensor = network.tensor(operand.tensor)
    source = rows - operand.first
    has_operand = (source >= 0) & (source < tensor.channels)
    channel_position = tensor.channel_position[np.where(has_operand, source, 0)]
    if memory.banked:
        return np.where(has_operand, memory.start(tensor.name) + channel_position, 0), has_operand
    layout = memory.layouts[tensor.name]
    ahead = positions * operand.stride[1] * layout.channels
    address = memory.start(tensor.name) + layout.pixel(0, column) + channel_position + ahead
    return np.where(has_operand, address, 0), has_operand


def tables(
    network: EncodedNetwork, memory: MemoryMap, load_addresses: np.ndarray, load_banks: np.ndarray, walk: Walk | None,
    bits: int, ordered: bool = False,
) -> dict[str, Image]:  # fmt: skip
    """ROMs that do not depend on the schedule, those of them that the network needs.

    Parameters
    ----------
    network : EncodedNetwork
    memory : MemoryMap
    load_addresses : numpy.ndarray of int64
        Address of each element that is loaded, in the order in which they come.
    load_banks : numpy.ndarray of int64
        Bank of each of them.
    walk : Walk, optional
        Their addresses as sums.
    bits : int
        Of an element of the activation memory.
    ordered : bool
        Whether a ROM says where elements go though they come in the order of the memory.
    """
    images = {}
    if any(layer.row_function.any() for layer in network.layers):
        images["functions"] = _functions(network)
    if walk:
        images |= _walk_tables(walk)
    elif ordered or (np.diff(load_addresses) != 1).any() or load_banks.any():
        fields = [_unsigned("address", load_addresses)] + [_unsigned("bank", load_banks)] * bool(load_banks.any())
        images["input_order"] = pack("input_order", dict(fields))
    if network.embedding:
        images["embedding"] = _embedding(network.embedding)
    if memory.units or any(region.layout.has_zeros for region in memory.regions.values()):
        images["activations"] = _power_up(network, memory, bits)
    if network.cells:
        states = np.concatenate([_first_state(network, cell) for cell in network.cells])
        images |= {"cell_state": cell_memory.state_image(states), "cell_tanh": cell_memory.tanh_image()}
    return images


def _walk_tables(walk: Walk) -> dict[str, Image]:
    """Addresses of lines, columns and channels of the input that are not equally far apart; banks with the columns."""
    images = {}
    for axis, addresses in walk.addresses.items():
        fields = [_unsigned("address", addresses if walk.move(axis) is None else np.zeros_like(addresses))]
        fields += [_unsigned("bank", walk.banks)] * (axis == "columns")
        images[f"input_{axis}"] = pack(f"input_{axis}", dict(fields))
    return {name: image for name, image in images.items() if image.width}


def _functions(network: EncodedNetwork) -> Image:
    """All tables, one after another. Entry ``i`` of a table is the value of ``i - 128``."""
    return pack("functions", _signed(np.concatenate(network.functions).astype(np.int64)))


def _embedding(embedding: Embedding) -> Image:
    """Features of all symbols, one symbol after another."""
    return pack("embedding", _signed(embedding.table.astype(np.int64).reshape(-1)))


def _first_state(network: EncodedNetwork, cell: Cell) -> np.ndarray:
    """State of the units of a cell in the first time step, in storage order, int64."""
    tensor = network.tensor(cell.output)
    state = np.zeros(tensor.channels, np.int64)
    if cell.state is not None:
        state[tensor.channel_position] = cell.state
    return state


def _power_up(network: EncodedNetwork, memory: MemoryMap, bits: int) -> Image:
    """What the activation memory holds before anything is written: zeros around maps, and what the first time step, or
    the first step of a section, reads of the one before."""
    values = np.zeros(memory.depth, np.int64)
    for name, unit in memory.units.items():
        tensor = network.tensor(name)
        if tensor.initial is not None:
            values[memory.regions[STATES].start + 2 * memory.bank + unit + tensor.position] = tensor.initial
    for (_, name), column in memory.columns.reads.items():
        tensor = network.tensor(name)
        if column.before and tensor.initial is not None:
            pixel = memory.start(name) + memory.layouts[name].pixel(0, column.first)
            values[pixel + tensor.channel_position] = tensor.initial
    return pack("activations", {Field("value", bits, signed=True): values})
