"""In which order results reach the memories: what a simulation compares, result by result."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from darb_hw.plan.groups import Group
from darb_hw.plan.image import Image
from darb_hw.plan.memory_map import MemoryMap
from darb_hw.plan.schedule import Schedule
from darb_prune.encoded import EncodedNetwork

__all__ = ["Writes", "writes_of"]


@dataclass(frozen=True, eq=False)
class Writes:
    """Results in the order in which they are on the write port, in one run of the whole program.

    Parameters
    ----------
    layer, row : int64 arrays of shape (results,)
        Number of the layer, row of the layer.
    element : int64 array of shape (results,)
        Logical index in the layer's output tensor.
    final : bool array of shape (results,)
        Whether the tensor keeps this value. It does not if a maximum is still to come.
    cell, unit : int64 arrays of shape (units,)
        Number of the cell and of the element of its output, of each cell output. These are in an order of their own.
    """

    layer: np.ndarray
    row: np.ndarray
    element: np.ndarray
    final: np.ndarray
    cell: np.ndarray
    unit: np.ndarray


def writes_of(
    network: EncodedNetwork, schedule: Schedule, memory: MemoryMap, rows: Image, groups: Sequence[Group]
) -> Writes:
    """The order of one run of the whole program; ``rows`` is the ROM of row parameters, with the rows of ``groups``."""
    results = [_results(network, group) for group in schedule.groups]
    layer, row, element, final = (
        _in_order(network, schedule, [values[number] for values in results], moves=number == _ELEMENT)
        for number in range(4)
    )
    return Writes(layer, row, element, final, *_fired(network, schedule, memory, rows, groups))


_ELEMENT = 2
"""Which of the results of a group says the element."""


def _in_order(network: EncodedNetwork, schedule: Schedule, values: list[np.ndarray], moves: bool) -> np.ndarray:
    """Values of the results of each group, in the order in which these come: in a sweep, once for each column.
    ``moves`` if they are elements of column 0, and move on with the column."""
    ordered = []
    for part in schedule.parts:
        groups = range(part.first, part.stop)
        once = np.concatenate([values[number] for number in groups])
        if not moves or not part.period:
            ordered.append(np.tile(once, part.steps))
            continue
        sections = (network.section_of(schedule.groups[number].layer) for number in groups)
        backward = [section is not None and section.backward for section in sections]
        steps = np.arange(part.steps)[:, None]
        column = np.where(
            np.repeat(backward, [len(values[number]) for number in groups]), part.steps - 1 - steps, steps
        )
        ordered.append((once + column).ravel())
    return np.concatenate(ordered)


def _results(network: EncodedNetwork, group: Group) -> tuple[np.ndarray, ...]:
    """Layer, row, element and whether it is final, of each result of a group."""
    layer, loop = network.layers[group.layer], group.loop
    if group.tiling:
        return _tile_results(network, group)
    height, width, channels = network.tensor(layer.output).shape
    pool_x, pool_y, columns, _ = loop.counts
    unroll = layer.positions[1] // layer.pool[1] // columns
    pixel, window = np.divmod(np.arange(loop.passes), pool_x * pool_y)
    final = (window == pool_x * pool_y - 1)[:, None] & ~_later(network, group)
    (down, across), (top, left) = layer.spread, layer.origin
    x, y = pixel % columns * unroll * across + left, pixel // columns * down + top
    row = layer.first + group.rows
    if layer.transposed:
        position = group.positions + (y * layer.positions[1] + x)[:, None]
        pixel, channel = np.divmod(row * layer.position_count + position, channels)
        element = channel * height * width + pixel
    else:
        element = row * height * width + group.positions * across + (y * width + x)[:, None]
    shape = loop.passes, len(group.rows)
    return tuple(np.broadcast_to(column, shape).reshape(-1) for column in (group.layer, group.rows, element, final))


def _tile_results(network: EncodedNetwork, group: Group) -> tuple[np.ndarray, ...]:
    """The same for a group that walks over tiles: results of a cycle in the order of the ways."""
    assert group.tiling is not None
    layer, loop, drainage = network.layers[group.layer], group.loop, group.tiling.drainage
    height, width, _ = network.tensor(layer.output).shape
    tile = loop.offsets(loop.tile)
    channel = layer.first + group.rows
    window = np.arange(loop.passes) % (loop.counts[0] * loop.counts[1])
    final = (window == loop.counts[0] * loop.counts[1] - 1)[:, None] & ~_later(network, group)
    element = (channel * height * width)[:, None, None] + drainage.pixel[tile][:, None]
    valid = np.broadcast_to(drainage.valid[tile][:, None], element.shape)
    columns = group.layer, group.rows[:, None, None], element, final[:, :, None, None]
    return tuple(np.broadcast_to(column, element.shape)[valid] for column in columns)


def _later(network: EncodedNetwork, group: Group) -> np.ndarray:
    """Whether a maximum is still to come, of each row."""
    layer = network.layers[group.layer]
    channel = layer.first + group.rows
    later = np.zeros(len(channel), bool)
    for other in network.layers[group.layer + 1 :]:
        if other.maximum and other.output == layer.output:
            later |= (other.first <= channel) & (channel < other.first + other.rows)
    return later


def _fired(
    network: EncodedNetwork, schedule: Schedule, memory: MemoryMap, rows: Image, groups: Sequence[Group]
) -> tuple[np.ndarray, np.ndarray]:
    """Cell of each cell output, and its element."""
    if not network.cells:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    # Units of all cells are numbered in a row.
    starts = np.array([memory.cells[cell.output] for cell in network.cells])
    outputs = [network.tensor(cell.output) for cell in network.cells]
    logical = np.concatenate([np.argsort(output.channel_position) * output.shape[1] for output in outputs])
    ends = np.cumsum([len(group.rows) for group in groups])[:-1]
    split = (np.split(rows.field(name), ends) for name in ("address", "fire"))
    units = [
        address[fire == 1]
        for group, address, fire in zip(groups, *split, strict=True)
        if group.layer in schedule.layers
    ]
    cells = [np.searchsorted(starts, unit, side="right") - 1 for unit in units]
    elements = [logical[unit] for unit in units]
    return _in_order(network, schedule, cells, moves=False), _in_order(network, schedule, elements, moves=True)
