"""Which layers read the same tensor: they must agree on the order in which its channels are stored."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from darb_prune.frontend.stages import EmbeddingStage, Matrix, Stages, Weight
from darb_prune.modules.layers import PrunableLayer

__all__ = ["Reading", "Stored", "stored_tensors"]


@dataclass(frozen=True, eq=False)
class Reading:
    """One part of a layer that reads a tensor.

    Parameters
    ----------
    layer, part : int
        Numbers of the layer in the tuple of layers, and of the part in the layer.
    columns : int64 tensor of shape (repeats, channels)
        Column of the part's matrix that reads a channel, at each position of a kernel or feature map.
    """

    layer: int
    part: int
    columns: Tensor

    def order(self, channels: Tensor) -> Tensor:
        """Storage order of the columns, when the channels are stored in the order ``channels``."""
        return self.columns[:, channels].reshape(-1)


@dataclass(frozen=True, eq=False)
class Stored:
    """Values that have the same channels in the same places, and everything prunable that reads one of them.

    Parameters
    ----------
    channels : int
    movable : bool
        Whether the channels may be stored in another order than their own.
    readings : tuple of Reading
        Sorted by layer.
    """

    channels: int
    movable: bool
    readings: tuple[Reading, ...]


@dataclass(eq=False)
class _Group:
    """Values that have the same channels."""

    channels: int
    movable: bool = True
    readings: list[Reading] = field(default_factory=list)


def stored_tensors(stages: Stages, layers: tuple[PrunableLayer, ...]) -> tuple[Stored, ...]:
    """Group the parts of ``layers``, all of a model, by the tensor they read.

    Every part is in exactly one group. A depthwise stage (pooling, a copy), an addition and a product leave channels in
    their places, so what they read is stored as what they write.
    """
    groups = {name: _Group(value.shape[0]) for name, value in stages.values.items()}
    numbers = {
        (part.module, part.name): (layer_number, part_number)
        for layer_number, layer in enumerate(layers)
        for part_number, part in enumerate(layer.parts)
    }
    for stage in stages.stages:
        if isinstance(stage, EmbeddingStage):
            # The channels of a vector of several symbols are those of one after the other.
            groups[stage.output].movable &= stages.values[stage.output].shape[0] == stage.module.embedding_dim
        if not isinstance(stage, Matrix):
            continue
        # A concatenation: which of its channels a layer writes is a range of them. Of a transposed stage it is pixels.
        groups[stage.output].movable &= stage.rows == stages.values[stage.output].shape[0] and not stage.transposed
        for name, weight in zip(stage.inputs, stage.weights, strict=True):
            if stage.window is not None and stage.window.depthwise:
                # Rows pick a channel in any order, and other channels come out.
                if stage.picks is not None or (stage.transposed and stage.channels is None):
                    continue
                if stage.channels is None:
                    _join(groups, stage, name)
                groups[name].movable &= stage.channels is None
                continue
            if stage.window is not None and stage.window.groups > 1:  # any order will do, see below
                continue
            if weight.part is None:
                continue
            # The candidate state of a GRU is another stage with the same weights.
            key = numbers.pop((weight.part.module, weight.part.name), None)
            if key is not None:
                source = groups[name]
                if stage.channels is not None:  # a range of them, which must stay one
                    source.movable = False
                    source = groups[f"{name} of {stage.name}"] = _Group(stage.channels[1] - stage.channels[0], False)
                elif stage.picks is not None:  # channels of its own, which are stored side by side
                    source = groups[f"{name} of {stage.name}"] = _Group(len(stage.picks))
                columns = _columns(layers[key[0]].parts[key[1]].columns, source.channels, stage, weight)
                source.readings.append(Reading(*key, columns))
        if stage.operand is not None:
            _join(groups, stage, stage.operand.value, stage.operand.first)
        if stage.product is not None:
            _join(groups, stage, stage.product.value, stage.product.first)
    tensors = [
        Stored(group.channels, group.movable, tuple(sorted(group.readings, key=lambda reading: reading.layer)))
        for group in dict.fromkeys(groups.values())
        if group.readings
    ]
    # A layer that the model does not run is nobody's reader. One of groups names the channels that it reads.
    for layer_number, part_number in numbers.values():
        columns = layers[layer_number].parts[part_number].columns
        reading = Reading(layer_number, part_number, torch.arange(columns)[None])
        tensors.append(Stored(columns, False, (reading,)))
    return tuple(tensors)


def _join(groups: dict[str, _Group], stage: Matrix, name: str, first: int = 0) -> None:
    """Value ``name`` has the channels that ``stage`` writes. If not all of its output's are its own, all keep their
    order."""
    source, output = groups[name], groups[stage.output]
    if first or not source.channels == stage.rows == output.channels:
        source.movable = output.movable = False
        return
    if source is not output:
        source.movable &= output.movable
        source.readings += output.readings
        groups.update({value: source for value, group in groups.items() if group is output})


def _columns(columns: int, channels: int, stage: Matrix, weight: Weight) -> Tensor:
    """As in :class:`Reading`, of a stage that reads a value of ``channels`` channels."""
    # A flattened feature map: channels outermost in torch, innermost in memory.
    if stage.window is None and not weight.innermost:
        return torch.arange(columns).reshape(channels, -1).T
    return torch.arange(columns).reshape(-1, channels)
