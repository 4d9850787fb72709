"""What a layer costs on an engine, in cycles, as far as pruning can know it without a plan.

Counted is what takes most of them: the codes of each group of rows at each of its passes over the output positions, or
the results of a group where writing them takes longer. Not counted are layers that are not pruned (depthwise ones,
pooling), and what a plan loses or gains besides: rows that are folded, waits from a layer to the next.
"""

from darb_prune.modules.layers import PrunableLayer
from darb_prune.pruning.methods import Allocated

__all__ = ["dense_cycles", "least_cycles", "passes"]


def _streams(method: Allocated) -> int:
    assert method.streams is not None, "the class checks that a budget of cycles has lanes"
    return method.streams


def _at_once(method: Allocated, layer: PrunableLayer) -> int:
    """Output positions computed at once; where lanes are those of rows, of which a convolution may have too few."""
    if method.over_positions:
        return method.positions or 1
    return max(_streams(method) // layer.shape[0], 1) if layer.kind == "conv" else 1


def passes(method: Allocated, layer: PrunableLayer, positions: int) -> int:
    """How often a group of rows runs for one input, where the layer has so many output positions."""
    return -(-positions // _at_once(method, layer))


def _groups(method: Allocated, layer: PrunableLayer) -> int:
    return -(-layer.shape[0] // _streams(method))


def least_cycles(method: Allocated, layer: PrunableLayer) -> int:
    """Cycles of a pass of a group of rows that keep nothing, in the mean of all groups: its results are written."""
    results = layer.shape[0] * _at_once(method, layer)
    return method.cycles_of(-(-results // _groups(method, layer)))


def dense_cycles(method: Allocated, layer: PrunableLayer, positions: int) -> int:
    """Of the whole layer with all of its weights, for one input."""
    return passes(method, layer, positions) * _groups(method, layer) * max(layer.shape[1], least_cycles(method, layer))
