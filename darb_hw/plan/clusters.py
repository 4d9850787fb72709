"""Lanes in clusters: which tensors are cut into parts, and the layers of all parts as one that runs in lock-step.

A *part* of a vector is in the memories of one cluster only. A layer in parts has a layer of the file for each part,
which reads that part of one vector and writes that part of another. The last layer of a chain reads all parts: each
cluster adds up what its own part gives, and the drain adds up the clusters.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from darb_hw.config import EngineConfig
from darb_hw.errors import PlanError
from darb_hw.plan.layout import Layout
from darb_prune.encoded import EncodedNetwork, Layer, Level, Segment, Tensor, part_sizes

__all__ = [
    "ALL",
    "WEIGHTS_MAX",
    "ClusteredNetwork",
    "PartLayout",
    "clustered",
    "clusters_of",
    "part_layouts",
    "source_of",
]

ALL = 0
"""Number of what is written to the memories of all clusters; that of a single cluster is one more than its own."""

WEIGHTS_MAX = 1 << 26
"""Of a layer in parts, before pruning: they are all looked at."""
LEVELS_MAX = 256
"""Of a layer: the number of each takes 8 bits."""
_TOLERANCE = 1.05
"""A level may take so many times the fewest codes, if its blocks, and so its indices, are smaller."""


@dataclass(frozen=True)
class PartLayout(Layout):
    """Addresses of a vector of which each cluster has a part: ``shape`` is that of the largest part, and all parts have
    the same addresses, each in the memories of its own cluster. Where parts are one shorter there is a zero.

    Parameters
    ----------
    starts : tuple of int
        Where each part begins in the vector.
    size_all : int
        Elements of the vector.
    """

    starts: tuple[int, ...] = (0,)
    size_all: int = 0

    @classmethod
    def of(cls, size: int, clusters: int) -> "PartLayout":
        """Of a vector of so many elements."""
        sizes = part_sizes(size, clusters)
        return cls((1, 1, sizes[0]), starts=_starts(sizes), size_all=size)

    @property
    def has_zeros(self) -> bool:
        return self.channels * len(self.starts) > self.size_all

    @cached_property
    def border(self) -> np.ndarray:
        """Lanes whose part is shorter read, with weights of 0, the address behind it: bool, shape (size,)."""
        return np.arange(self.size) == (self.size - 1 if self.has_zeros else -1)

    def elements(self, tensor: Tensor) -> np.ndarray:
        return tensor.channel_position - np.asarray(self.starts)[self.clusters(tensor) - 1]

    def clusters(self, tensor: Tensor) -> np.ndarray:
        """Number of the cluster that holds each element, as it is written: int64, shape (size,)."""
        return np.searchsorted(self.starts, tensor.channel_position, side="right")


def _starts(sizes: Sequence[int]) -> tuple[int, ...]:
    return tuple(np.cumsum((0, *sizes[:-1])).tolist())


@dataclass(frozen=True, eq=False)
class ClusteredNetwork(EncodedNetwork):
    """What the lanes run: a network whose layers in parts are one layer each.

    Such a layer has the rows of all parts, and one segment: the part that the cluster of a row holds. A layer that
    reads all parts has that segment once for each part. Rows that run together have one level.

    Parameters
    ----------
    source : EncodedNetwork
        The network of the file.
    parted : frozenset of str
        Vectors of which each cluster holds a part.
    clusters : int
    """

    source: EncodedNetwork | None = None
    parted: frozenset[str] = frozenset()
    clusters: int = 1


def part_layouts(network: EncodedNetwork) -> dict[str, PartLayout]:
    """Of the tensors in parts."""
    if not isinstance(network, ClusteredNetwork):
        return {}
    return {name: PartLayout.of(network.tensor(name).channels, network.clusters) for name in network.parted}


def clusters_of(network: EncodedNetwork, layer_number: int) -> int:
    """How many clusters a layer keeps apart: the lanes of each read a part of their own; 1 of any other layer."""
    own = isinstance(network, ClusteredNetwork) and network.layers[layer_number].segments[0].tensor in network.parted
    return network.clusters if own and isinstance(network, ClusteredNetwork) else 1


def source_of(network: EncodedNetwork) -> EncodedNetwork:
    """The network of the file."""
    source = network.source if isinstance(network, ClusteredNetwork) else None
    return source or network


def clustered(network: EncodedNetwork, config: EngineConfig) -> EncodedNetwork:
    """What the lanes run: ``network`` itself if there is one cluster.

    Raises
    ------
    PlanError
        If the network has no layers in so many parts, has time steps, sections, tasks or an embedding, or a tensor in
        parts is used in another way.
    """
    clusters = config.clusters
    if clusters == 1 or isinstance(network, ClusteredNetwork):
        return network
    what = f"clusters = {clusters}"
    if network.recurrent or network.sections or network.tasks or network.embedding:
        raise PlanError(
            f"{what}: not for networks with time steps, sections, tasks or an embedding: choose --clusters 1"
        )
    sets = list(_sets(network, clusters))
    if not sets:
        raise PlanError(
            f"{what}: no layer is in {clusters} parts: darb partition --parts {clusters} makes some; or choose "
            "--clusters 1"
        )
    parted = {
        name for first in sets for name in (network.layers[first].segments[0].tensor, network.layers[first].output)
    }
    layers: list[Layer] = []
    layer_number = 0
    while layer_number < len(network.layers):
        layer = network.layers[layer_number]
        if layer_number in sets:
            parts = network.layers[layer_number : layer_number + clusters]
            layers.append(_joined(parts, config.lanes // clusters))
            layer_number += clusters
            continue
        read = {segment.tensor for segment in layer.segments} & parted
        if layer.operand and layer.operand.tensor in parted:
            read.add(layer.operand.tensor)
        if read:
            tensor = network.tensor(min(read))
            if not _plain(layer) or layer.segments[0].length != tensor.size:
                raise PlanError(
                    f"{what}: layer {layer.name!r} reads tensor {tensor.name!r}, which is in parts, but not as a Linear"
                    " layer that reads all of it: choose --clusters 1"
                )
            layer = _gathering(layer, clusters, config.lanes // clusters)
        layers.append(layer)
        layer_number += 1
    return ClusteredNetwork(
        network.name, network.input, network.output, network.tensors, tuple(layers), functions=network.functions,
        source=network, parted=frozenset(parted), clusters=clusters,
    )  # fmt: skip


def _plain(layer: Layer) -> bool:
    """Whether a layer is nothing but rows that read one segment of a vector, with a function or clamp."""
    return (
        layer.position_count == 1
        and len(layer.segments) == 1
        and layer.segments[0].line == 0
        and not (layer.operand or layer.depthwise or layer.maximum or layer.transposed or any(layer.padding))
        and (layer.groups, layer.spread, layer.pool) == (1, (1, 1), (1, 1))
    )


def _sets(network: EncodedNetwork, clusters: int) -> Iterator[int]:
    """Number of the first layer of all that are a layer in parts together."""
    layers = network.layers
    # A maximum is taken with what is in memory, and only one memory is read for that.
    renewed = {layer.output for layer in layers if layer.renews}
    layer_number = 0
    while layer_number + clusters <= len(layers):
        together = layers[layer_number : layer_number + clusters]
        if together[0].segments[0].tensor not in renewed and _is_set(network, together):
            yield layer_number
            layer_number += clusters
        else:
            layer_number += 1


def _is_set(network: EncodedNetwork, parts: Sequence[Layer]) -> bool:
    first, clusters = parts[0], len(parts)
    source, target = network.tensor(first.segments[0].tensor), network.tensor(first.output)
    if any(tensor.size != tensor.channels or tensor.size < clusters for tensor in (source, target)):
        return False
    if target.name == network.output or any(not _plain(layer) or layer.clamp != first.clamp for layer in parts):
        return False
    read, written = part_sizes(source.size, clusters), part_sizes(target.size, clusters)
    # Where a part of the output is stored: in any order, but by itself.
    places = np.searchsorted(_starts(written), target.channel_position, side="right")
    together = np.array_equal(places, np.repeat(np.arange(1, clusters + 1), written))
    return together and all(
        layer.segments == (Segment(source.name, column, columns),)
        and (layer.output, layer.first, layer.rows) == (target.name, row, rows)
        for layer, column, columns, row, rows in zip(parts, _starts(read), read, _starts(written), written, strict=True)
    )


def _joined(parts: Sequence[Layer], at_once: int) -> Layer:
    """The layers of all parts as one. ``at_once`` rows of each run together."""
    columns = parts[0].columns  # the first part is not smaller than others
    values = [np.pad(_weights(layer), ((0, 0), (0, columns - layer.columns))) for layer in parts]
    chunks: list[tuple[Level, np.ndarray]] = []
    # Rows of about as many weights run together.
    orders = [np.argsort((value != 0).sum(1), kind="stable") for value in values]
    begins = _starts([len(value) for value in values])
    of_all = np.concatenate(values)
    for start in range(0, len(values[0]), at_once):
        of_parts = zip(begins, orders, strict=True)
        chosen = np.concatenate([begin + order[start : start + at_once] for begin, order in of_parts])
        chunks.append((_level(of_all[chosen][:, None]), chosen))
    first = parts[0]
    return replace(
        first,
        name=f"{first.name} ... {parts[-1].name}",
        segments=(Segment(first.segments[0].tensor, 0, first.segments[0].length),),
        weight_bits=max(layer.weight_bits for layer in parts),
        bias=np.concatenate([layer.bias for layer in parts]),
        mult=np.concatenate([layer.mult for layer in parts]),
        shift=np.concatenate([layer.shift for layer in parts]),
        function=np.concatenate([layer.row_function for layer in parts]),
        **_encoded(of_all[:, None], chunks),
    )


def _gathering(layer: Layer, clusters: int, at_once: int) -> Layer:
    """A layer that reads all parts, with the codes of each part by themselves."""
    values = _weights(layer)
    sizes = part_sizes(values.shape[1], clusters)
    parts = np.split(values, _starts(sizes)[1:], axis=1)
    values = np.stack([np.pad(part, ((0, 0), (0, sizes[0] - part.shape[1]))) for part in parts], axis=1)
    order = np.argsort((values != 0).sum((1, 2)), kind="stable")
    chunks = [order[start : start + at_once] for start in range(0, len(order), at_once)]
    segment = Segment(layer.segments[0].tensor, 0, values.shape[2])
    return replace(
        layer,
        segments=(segment,) * clusters,
        **_encoded(values, [(_level(values[chosen]), chosen) for chosen in chunks]),
    )


def _weights(layer: Layer) -> np.ndarray:
    """The weights of a layer of one segment, int8, shape (rows, columns)."""
    if layer.rows * layer.columns > WEIGHTS_MAX:
        raise PlanError(
            f"layer {layer.name!r}: {layer.rows:,} x {layer.columns:,} weights are too many to be dealt to clusters, "
            f"at most {WEIGHTS_MAX:,}: choose --clusters 1"
        )
    values = np.zeros((layer.rows, layer.columns), np.int8)
    for level_number, level in enumerate(layer.levels):
        rows = layer.rows_of(level_number)
        if len(rows) and not level.is_empty:
            index, weight = layer.codes_of(rows)
            column = layer.code_layout(level)[:, 1] + index.astype(np.int64)
            row, code = np.nonzero(weight)  # null codes are no weights
            values[rows[row], column[row, code]] = weight[row, code]
    return values


def _level(values: np.ndarray) -> Level:
    """The level with the smallest blocks that hold the weights of all rows, int8, (rows, segments, columns), and take
    about the fewest codes."""
    columns = values.shape[2]
    codes, levels = [], []
    for bits in range((columns - 1).bit_length() + 1):
        starts = np.arange(0, columns, 1 << bits)
        kept = max(int(np.add.reduceat(values != 0, starts, axis=2, dtype=np.int64).max()), 1)
        codes.append(len(starts) * kept)
        levels.append(Level(bits, kept))
    return next(level for level, count in zip(levels, codes, strict=True) if count <= min(codes) * _TOLERANCE)


def _encoded(values: np.ndarray, chunks: Sequence[tuple[Level, np.ndarray]]) -> dict:
    """Levels and codes of a layer: weights of shape (rows, segments, columns), and the level of some rows each."""
    levels = tuple(sorted({level for level, _ in chunks}))
    if len(levels) > LEVELS_MAX:
        raise PlanError(
            f"clusters: rows that run together would have {len(levels)} different levels, and a layer has room for "
            f"{LEVELS_MAX}: choose more lanes"
        )
    row_level = np.zeros(len(values), np.uint8)
    index: dict[int, np.ndarray] = {}
    weight: dict[int, np.ndarray] = {}
    for level, rows in chunks:
        row_level[rows] = levels.index(level)
        own = values[rows]
        own = np.pad(own, ((0, 0), (0, 0), (0, -own.shape[2] % level.block)))
        own = own.reshape(*own.shape[:2], -1, level.block)
        place = np.argsort(own == 0, axis=3, kind="stable")[..., : level.kept]  # weights first, in their order
        kept = np.take_along_axis(own, place, axis=3)
        place[kept == 0] = 0
        index |= zip(rows.tolist(), place.reshape(len(rows), -1), strict=True)
        weight |= zip(rows.tolist(), kept.reshape(len(rows), -1), strict=True)
    every = range(len(values))
    return {
        "levels": levels,
        "row_level": row_level,
        "index": np.concatenate([index[row] for row in every]).astype(np.uint16),
        "weight": np.concatenate([weight[row] for row in every]),
    }
