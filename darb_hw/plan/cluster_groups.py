"""Rows into groups, where each cluster of lanes has a part of what a layer reads."""

import numpy as np

from darb_hw.plan.clusters import PartLayout, clusters_of
from darb_hw.plan.groups import Group, Run, bank_of, long_enough
from darb_hw.plan.memory_map import MemoryMap
from darb_prune.encoded import EncodedNetwork

__all__ = ["cluster_groups_of"]

_NO_ROW = -1


def cluster_groups_of(network: EncodedNetwork, layer_number: int, lanes: int, memory: MemoryMap) -> list[Group]:
    """Cut the rows of a layer that reads a part in each cluster into groups of one level.

    Lane number ``i`` is in cluster ``i`` modulo their number. A layer in parts has the rows of a part in the lanes of
    its cluster. A row of a layer that reads all parts has a lane in each cluster, side by side; the drain adds them up.
    """
    layer, clusters = network.layers[layer_number], clusters_of(network, layer_number)
    segment = layer.segments[0]
    at_once, gathers = lanes // clusters, len(layer.segments) > 1
    position, layout = network.tensor(layer.output).channel_position, memory.layouts.get(layer.output)
    target = layout.clusters(network.tensor(layer.output)) if isinstance(layout, PartLayout) else position
    base, bank = memory.start(segment.tensor), bank_of(network, layer_number, segment.tensor, memory)
    groups = []
    for level_number, level in enumerate(layer.levels):
        rows = layer.rows_of(level_number)
        rows = rows[np.argsort(position[layer.first + rows], kind="stable")]
        runs = (long_enough(Run(base, level.codes(segment.length), level, bank=bank)),)
        of_parts = rows[None] if gathers else _by_cluster(rows, target[rows], clusters)
        for first in range(0, of_parts.shape[1], at_once):
            together = of_parts[:, first : first + at_once].T.reshape(-1)
            together = together[together != _NO_ROW]  # behind all others: the first parts are the larger ones
            groups.append(
                Group(
                    layer_number, level, together, np.zeros(len(together), np.int64), len(together), runs,
                    fold=gathers * (clusters.bit_length() - 1), apart=gathers,
                )
            )  # fmt: skip
    return groups


def _by_cluster(rows: np.ndarray, target: np.ndarray, clusters: int) -> np.ndarray:
    """Rows that are written to each cluster, int64, shape (clusters, rows): of each as many, up to one."""
    counts = np.bincount(target - 1, minlength=clusters)
    of_parts = np.full((clusters, counts.max(initial=0)), _NO_ROW)
    of_parts[np.arange(of_parts.shape[1]) < counts[:, None]] = rows
    return of_parts
