"""Formats that are levels of the engine itself: the same pruned matrix as a network of one layer."""

import numpy as np

from benchmarks.formats.layers import PrunedMatrix
from darb_hw.config import EngineConfig
from darb_hw.plan.metrics import stored_bits_per_weight, utilisation
from darb_hw.plan.plan import Plan
from darb_prune.encoded import EncodedNetwork, Layer, Level, Segment, Tensor
from darb_prune.integer.encoder import encode_matrix

__all__ = ["network_of", "on_engine"]


def network_of(pruned: PrunedMatrix) -> EncodedNetwork:
    """A Linear layer, inputs in storage order."""
    rows, columns = pruned.mask.shape
    assert pruned.levels is not None, "not a format of levels"
    pairs, row_level = np.unique(pruned.levels, axis=0, return_inverse=True)
    levels = tuple(Level(*pair) for pair in pairs.tolist())
    row_level = row_level.reshape(-1).astype(np.uint8)
    index, weight = encode_matrix(np.where(pruned.mask, pruned.weight, 0), pruned.mask, levels, row_level)
    # Any parameters with which the requantised value depends on the sum.
    parameters = {
        "bias": np.zeros(rows, np.int64),
        "mult": np.full(rows, 128, np.int32),
        "shift": np.full(rows, 18, np.uint8),
    }
    layer = Layer("layer", "y", (Segment("x", 0, columns),), 8, levels, row_level, index, weight, **parameters)
    tensors = tuple(Tensor(name, (1, 1, size), 8, -128, 127, 1.0) for name, size in (("x", columns), ("y", rows)))
    return EncodedNetwork("one-layer", "x", "y", tensors, (layer,))


def on_engine(pruned: PrunedMatrix, lanes: int) -> dict:
    """What the plan of the engine says.

    ``compute``: cycles from the last input element to the first output element. ``interval``: cycles from an inference
    to the next, with their ``utilisation``. ``bits_per_weight``: stored bits a kept weight.
    """
    plan = Plan.make(network_of(pruned), EngineConfig(lanes=lanes, device="ecp5-85k", input_order="storage"))
    return {
        "compute": plan.timing.compute,
        "interval": plan.timing.interval_of(1),
        "utilisation": utilisation(plan),
        "bits_per_weight": stored_bits_per_weight(plan),
    }
