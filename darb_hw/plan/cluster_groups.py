"""Rows into groups, where each cluster of lanes has a part of what a layer reads."""

import numpy as np

from darb_hw.plan.clusters import clusters_of
from darb_hw.plan.groups import Group, Run, bank_of, long_enough
from darb_hw.plan.memory_map import MemoryMap
from darb_prune.encoded import EncodedNetwork

__all__ = ["cluster_groups_of"]


def cluster_groups_of(network: EncodedNetwork, layer_number: int, lanes: int, memory: MemoryMap) -> list[Group]:
    """Cut the rows of a layer that reads a part in each cluster into groups of one level.

    Lane number ``i`` is in cluster ``i`` modulo their number. A layer in parts has the rows of a part in the lanes of
    its cluster. A row of a layer that reads all parts has a lane in each cluster, side by side; the drain adds them up.
    """
    layer, clusters = network.layers[layer_number], clusters_of(network, layer_number)
    segment = layer.segments[0]
    at_once, gathers = lanes // clusters, len(layer.segments) > 1
    position = network.tensor(layer.output).channel_position
    base, bank = memory.start(segment.tensor), bank_of(network, layer_number, segment.tensor, memory)
    groups = []
    for level_number, level in enumerate(layer.levels):
        rows = layer.rows_of(level_number)
        rows = rows[np.argsort(position[layer.first + rows], kind="stable")]
        runs = (long_enough(Run(base, level.codes(segment.length), level, bank=bank)),)
        # Of each cluster as many rows have a level, and they are stored one cluster behind the other.
        of_parts = rows.reshape(1, -1) if gathers else rows.reshape(clusters, -1)
        for first in range(0, of_parts.shape[1], at_once):
            together = of_parts[:, first : first + at_once].T.reshape(-1)
            groups.append(
                Group(
                    layer_number, level, together, np.zeros(len(together), np.int64), len(together), runs,
                    fold=gathers * (clusters.bit_length() - 1), apart=gathers,
                )
            )  # fmt: skip
    return groups
