"""What comes in, and in which order it is stored."""

import numpy as np

from darb_hw.config import EngineConfig
from darb_hw.plan.memory_map import MemoryMap
from darb_prune.encoded import EncodedNetwork

__all__ = ["features_of", "load_addresses", "load_banks", "stream_order"]


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
