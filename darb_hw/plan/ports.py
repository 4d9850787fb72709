"""What comes in, and in which order it is stored."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from darb_hw.config import EngineConfig
from darb_hw.plan.clusters import PartLayout
from darb_hw.plan.memory_map import MemoryMap
from darb_prune.encoded import EncodedNetwork, Tensor

__all__ = ["Walk", "features_of", "load_addresses", "load_banks", "order_varies", "stream_order", "walk_of"]


@dataclass(frozen=True, eq=False)
class Walk:
    """Where the elements of an input map go: the sum of an address of the line, one of the column, one of the channel.

    Parameters
    ----------
    axes : tuple of str
        ``"lines"``, ``"columns"``, ``"channels"``: the one that counts fastest comes first.
    addresses : mapping of str to int64 array
        Of each axis; the least of them is 0.
    banks : int64 array
        Of each column.
    start : int
        Added to every sum.
    """

    axes: tuple[str, str, str]
    addresses: Mapping[str, np.ndarray]
    banks: np.ndarray
    start: int

    def move(self, axis: str) -> int | None:
        """Distance from each address of an axis to the next; none if they are not equally far apart."""
        distances = np.unique(np.diff(self.addresses[axis]))
        return None if len(distances) > 1 else int(distances.sum())

    @property
    def moves(self) -> dict[str, int]:
        """How far the address moves when an axis counts and those that are faster begin again, without what is looked
        up, of each axis that counts."""
        moves, back = {}, 0
        for axis in self.axes:
            last = len(self.addresses[axis]) - 1
            move = self.move(axis) or 0
            if last:
                moves[axis] = move - back
            back += last * move
        return moves

    @property
    def first(self) -> int:
        """Address of the first element, without what is looked up."""
        return self.start + sum(int(self.addresses[axis][0]) for axis in self.axes if self.move(axis) is not None)


def features_of(network: EncodedNetwork) -> int:
    """Elements that a symbol of the input becomes; 0 without embedding."""
    return network.embedding.table.shape[1] if network.embedding else 0


def stream_order(network: EncodedNetwork, config: EngineConfig) -> np.ndarray:
    """``stream_order[beat]``: logical index of the input element that the engine takes in that beat."""
    source = network.tensor(network.input)
    stored = config.input_order == "storage" and not network.embedding
    return np.argsort(source.position) if stored else np.arange(source.size)


def _order(network: EncodedNetwork, config: EngineConfig, tensor: Tensor) -> np.ndarray:
    """Logical index of each element of ``tensor``, which is loaded, in the order in which they come."""
    if network.embedding is None:
        return stream_order(network, config)
    return np.arange(tensor.size).reshape(tensor.channels, -1).T.reshape(-1)  # a symbol is a column of a map


def load_addresses(network: EncodedNetwork, config: EngineConfig, memory: MemoryMap) -> np.ndarray:
    """Address of each element that is loaded, in the order in which they come, int64.

    With an embedding these are the features of a symbol, in logical order; else the elements of the input.
    """
    tensor = network.tensor(memory.loaded)
    order = _order(network, config, tensor)
    if memory.banked:
        return memory.start(tensor.name) + memory.banked[tensor.name].elements(tensor)[1][order]
    return memory.start(tensor.name) + memory.layouts[tensor.name].elements(tensor)[order]


def load_banks(network: EncodedNetwork, config: EngineConfig, memory: MemoryMap) -> np.ndarray:
    """Bank of each element that is loaded, or cluster as :mod:`darb_hw.plan.clusters` counts them, in the order in
    which they come, int64; zeros if all memories hold all elements."""
    tensor = network.tensor(memory.loaded)
    order = _order(network, config, tensor)
    if memory.banked:
        return memory.banked[tensor.name].elements(tensor)[0][order]
    layout = memory.layouts[tensor.name]
    return layout.clusters(tensor)[order] if isinstance(layout, PartLayout) else np.zeros(len(order), np.int64)


def order_varies(network: EncodedNetwork, config: EngineConfig, memory: MemoryMap) -> bool:
    """Whether networks of one architecture may store what is loaded in other orders than it comes in."""
    stored = config.input_order == "storage" and not network.embedding
    return network.tensor(memory.loaded).channels > 1 and not stored


def walk_of(network: EncodedNetwork, config: EngineConfig, memory: MemoryMap) -> Walk | None:
    """The input as sums of addresses, where it has such sums. It needs none if its elements are stored in a row, or
    differ on one axis only."""
    addresses, banks = load_addresses(network, config, memory), load_banks(network, config, memory)
    in_a_row = (np.diff(addresses) == 1).all() and not banks.any()
    height, width, channels = network.tensor(memory.loaded).shape
    if network.embedding or in_a_row or sum(size > 1 for size in (height, width, channels)) < 2:
        return None
    if config.input_order == "storage":  # channels come in the order of the memory, pixel by pixel
        shape, axes = (height, width, channels), ("channels", "columns", "lines")
    else:
        shape, axes = (channels, height, width), ("columns", "lines", "channels")
    sums = addresses.reshape(shape)
    slow, middle, fast = sums[:, 0, 0], sums[0, :, 0], sums[0, 0]
    of_columns = np.moveaxis(banks.reshape(shape), axes[::-1].index("columns"), 2)
    origin = 2 * sums[0, 0, 0]
    if (slow[:, None, None] + middle[:, None] + fast - origin != sums).any() or (of_columns != of_columns[0, 0]).any():
        return None
    parts = dict(zip(axes, (fast, middle, slow), strict=True))
    least = {axis: part.min() for axis, part in parts.items()}
    start = int(sum(least.values()) - origin)
    return Walk(axes, {axis: part - least[axis] for axis, part in parts.items()}, of_columns[0, 0], start)
