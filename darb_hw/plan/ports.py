"""What comes in, and in which order it is stored."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from darb_hw.config import EngineConfig
from darb_hw.plan.memory_map import MemoryMap
from darb_prune.encoded import EncodedNetwork

__all__ = ["Walk", "features_of", "load_addresses", "load_banks", "stream_order", "walk_of"]


@dataclass(frozen=True, eq=False)
class Walk:
    """Where the elements of an input map go, as sums: an address of the line, one of the column, one of the channel.

    Parameters
    ----------
    axes : tuple of str
        ``"lines"``, ``"columns"``, ``"channels"``: the one that counts fastest comes first.
    addresses : mapping of str to int64 array
        Of each axis.
    banks : int64 array
        Of each column.
    """

    axes: tuple[str, str, str]
    addresses: Mapping[str, np.ndarray]
    banks: np.ndarray


def features_of(network: EncodedNetwork) -> int:
    """Elements that a symbol of the input becomes; 0 without embedding."""
    return network.embedding.table.shape[1] if network.embedding else 0


def stream_order(network: EncodedNetwork, config: EngineConfig) -> np.ndarray:
    """``stream_order[beat]``: logical index of the input element that the engine takes in that beat."""
    source = network.tensor(network.input)
    stored = config.input_order == "storage" and not network.embedding
    return np.argsort(source.position) if stored else np.arange(source.size)


def load_addresses(network: EncodedNetwork, config: EngineConfig, memory: MemoryMap) -> np.ndarray:
    """Address of each element that is loaded, in the order in which they come, int64.

    With an embedding these are the features of a symbol, in logical order; else the elements of the input.
    """
    tensor = network.tensor(memory.loaded)
    order = np.arange(tensor.size) if network.embedding else stream_order(network, config)
    if memory.banked:
        return memory.start(tensor.name) + memory.banked[tensor.name].elements(tensor)[1][order]
    return memory.start(tensor.name) + memory.layouts[tensor.name].elements(tensor)[order]


def load_banks(network: EncodedNetwork, config: EngineConfig, memory: MemoryMap) -> np.ndarray:
    """Bank of each element that is loaded, in the order in which they come, int64; zeros if there is one memory."""
    tensor = network.tensor(memory.loaded)
    order = np.arange(tensor.size) if network.embedding else stream_order(network, config)
    return memory.banked[tensor.name].elements(tensor)[0][order] if memory.banked else np.zeros(len(order), np.int64)


def walk_of(network: EncodedNetwork, config: EngineConfig, memory: MemoryMap) -> Walk | None:
    """The input as sums of addresses, where a map is in banks and has such sums; else none."""
    if not memory.banked or network.embedding:
        return None
    tensor = network.tensor(memory.loaded)
    height, width, channels = tensor.shape
    bank, address = memory.banked[tensor.name].elements(tensor)
    bank, address = (part.reshape(channels, height, width) for part in (bank, address))
    stored = config.input_order == "storage"
    if stored:  # channels come in the order of the memory
        bank, address = (part[np.argsort(tensor.channel_position)] for part in (bank, address))
    parts = {
        "channels": memory.start(tensor.name) + address[:, 0, 0],
        "lines": address[0, :, 0] - address[0, 0, 0],
        "columns": address[0, 0] - address[0, 0, 0],
    }
    sums = parts["channels"][:, None, None] + parts["lines"][:, None] + parts["columns"]
    if (sums != memory.start(tensor.name) + address).any() or (bank != bank[0, 0]).any():
        return None
    axes = ("channels", "columns", "lines") if stored else ("columns", "lines", "channels")
    return Walk(axes, parts, bank[0, 0])
