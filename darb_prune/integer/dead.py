"""Channels that change nothing: found in the integer model, and taken out of it before it is encoded.

A channel is *dead* if every weight that reads it is 0. A channel is *constant* if all weights of its row are 0; what
its readers make of it becomes part of their biases, and then it is dead. All that the network still computes stays the
same, bit for bit.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from darb_prune.encoded import EMPTY, Level
from darb_prune.integer.arithmetic import IntegerCell, IntegerEmbedding, IntegerMatrix, IntegerTensor
from darb_prune.integer.encoder import channel_orders, cheapest_level, columns_of, encoded_tensor, segments_of
from darb_prune.integer.network import IntegerNetwork

__all__ = ["Living", "without_dead"]

ROW_BITS = 48
"""Bits that a row takes beside its codes, about: bias, multiplier, shift, address."""


@dataclass(frozen=True, eq=False)
class Living:
    """What is left of a network.

    Parameters
    ----------
    network : IntegerNetwork
    removed : int
        Dead channels that are gone.
    emptied : int
        Dead channels that are still there, without a weight: without them the blocks of their readers would take more
        bits than that saves.
    """

    network: IntegerNetwork
    removed: int
    emptied: int


def without_dead(network: IntegerNetwork) -> Living:
    """``network`` without its dead channels; constant ones are folded into the biases behind them, where no zeros of a
    padding stand between them.

    Left as they are: input and output of the network, what cells and embeddings read and write, sides of residual
    additions and of products, what layers of groups and shuffles read and write, what transposed layers write, tensors
    that are read in parts, parts of a concatenation, and networks that were pruned without levels.
    """
    if any(matrix.levels is None and not matrix.depthwise for matrix in network.matrices):
        return Living(network, 0, 0)
    work = _Work(network)
    work.fold_constants()
    emptied = work.empty()
    removed = sum(work.remove(names) for names in work.components)
    return Living(work.network(), removed, emptied - removed)


def _kept_whole(matrix: IntegerMatrix) -> set[str]:
    """Tensors that keep their channels for the sake of ``matrix``."""
    names = set()
    for read in (matrix.operand, matrix.product):
        names |= {read.value, matrix.output} if read else set()
    if matrix.groups > 1 or matrix.picks is not None or (matrix.transposed and matrix.depthwise):
        names |= {*matrix.inputs, matrix.output}
    if matrix.transposed:
        names.add(matrix.output)
    return names | ({*matrix.inputs} if matrix.channels is not None else set())


def _by_channel(weight: Tensor, channels: int) -> Tensor:
    """Weights of a layer that is not depthwise, shape (rows, channels, taps)."""
    return weight.reshape(len(weight), channels, -1)


class _Work:
    """A network whose layers change one after another.

    ``components``: sets of tensors that lose the same channels, since depthwise layers lead from one to the other.
    """

    def __init__(self, network: IntegerNetwork) -> None:
        self._network = network
        self._tensors = dict(network.tensors)
        self._matrices = {matrix.name: matrix for matrix in network.matrices}
        self.components = list(self._components())

    def network(self) -> IntegerNetwork:
        """The network as it is now."""
        old = self._network
        stages = [self._matrices[stage.name] if isinstance(stage, IntegerMatrix) else stage for stage in old.stages]
        return IntegerNetwork(
            old.name, old.input, old.output, self._tensors.values(), stages, old.recurrent, old.emit,
            old.input_last, old.outputs, old.limits, old.sections,
        )  # fmt: skip

    def _writers(self, name: str) -> list[IntegerMatrix]:
        return [matrix for matrix in self._matrices.values() if matrix.output == name]

    def _readers(self, name: str) -> list[tuple[IntegerMatrix, int]]:
        """Layers that read a tensor, and the number of the input with which they do."""
        return [
            (matrix, number)
            for matrix in self._matrices.values()
            for number, source in enumerate(matrix.inputs)
            if source == name
        ]

    def _fixed(self) -> set[str]:
        """Tensors all of whose channels stay."""
        old = self._network
        fixed = {old.input, old.output, *old.delayed}
        for stage in old.stages:
            if isinstance(stage, IntegerCell):
                fixed |= {stage.gates, stage.output}
            elif isinstance(stage, IntegerEmbedding):
                fixed.add(stage.output)
            else:
                fixed |= _kept_whole(stage)
        for name, tensor in self._tensors.items():
            writers = self._writers(name)
            if len(writers) > 1 and not all(writer.depthwise for writer in writers):
                fixed.add(name)
            if any(matrix.first or matrix.rows != tensor.shape[0] for matrix in writers):
                fixed.add(name)
        return fixed

    def _components(self) -> Iterator[set[str]]:
        """Sets of tensors that may lose channels."""
        sets = [{name} for name in self._tensors]
        for matrix in self._matrices.values():
            if matrix.depthwise:
                names = {*matrix.inputs, matrix.output}
                joined = set().union(*(names_of for names_of in sets if names_of & names))
                sets = [names_of for names_of in sets if not names_of & names] + [joined]
        fixed = self._fixed()
        for names in sets:
            if not names & fixed:
                yield names

    def _inside(self, matrix: IntegerMatrix, names: set[str]) -> bool:
        """Whether a layer leads from a tensor of a component to another one."""
        return matrix.depthwise and matrix.output in names

    def fold_constants(self) -> None:
        """Make what readers get from constant channels a part of their biases."""
        fixed = self._fixed()
        for matrix in list(self._matrices.values()):
            matrix, name = self._matrices[matrix.name], matrix.output
            if name in fixed or len(self._writers(name)) > 1:
                continue
            constant = ~torch.stack([weight.flatten(1).any(1) for weight in matrix.weights]).any(0)
            values = _without_input(matrix)
            for reader, number in self._readers(name):
                bordered = reader.window is not None and any(reader.window.padding)
                channels = torch.nonzero(constant & ((values == 0) | (not bordered))).flatten()
                if len(channels):
                    self._matrices[reader.name] = _folded(self._matrices[reader.name], number, channels, values)

    def empty(self) -> int:
        """Take all weights from the rows of dead channels, which may let others die. Gives the dead channels."""
        dead: dict[int, Tensor] = {}
        before = -1
        while sum(int(mask.sum()) for mask in dead.values()) > before:
            before = sum(int(mask.sum()) for mask in dead.values())
            for component_number, names in enumerate(self.components):
                dead[component_number] = self._dead(names)
                for name in names:
                    for writer in self._writers(name):
                        if not writer.depthwise:
                            self._matrices[writer.name] = _emptied(writer, dead[component_number])
        return sum(int(mask.sum()) * len(names) for names, mask in zip(self.components, dead.values(), strict=True))

    def _dead(self, names: set[str]) -> Tensor:
        """Channels of a component that nothing outside reads, bool, shape (channels,)."""
        channels = self._tensors[next(iter(names))].shape[0]
        read = torch.zeros(channels, dtype=torch.bool)
        for name in names:
            for reader, number in self._readers(name):
                if not self._inside(reader, names):
                    read |= _by_channel(reader.weights[number], channels).any(2).any(0)
        return ~read

    def remove(self, names: set[str]) -> int:
        """Remove the dead channels of a component, if that takes fewer bits and no more codes. Gives how many."""
        dead = self._dead(names)
        alive = max(len(dead) - int(dead.sum()), 1)
        if any(self._spans_pixels(reader, names) for name in names for reader, _ in self._readers(name)):
            # Blocks are to divide a pixel: else their codes would have to name it.
            alive = 1 << (alive - 1).bit_length()
        stay = torch.argsort(dead.to(torch.int8), stable=True)[:alive].sort().values
        if len(stay) >= len(dead):
            return 0
        tensors, matrices = self._tensors, self._matrices
        self._tensors = {
            name: replace(tensor, shape=(len(stay), *tensor.shape[1:])) if name in names else tensor
            for name, tensor in tensors.items()
        }
        self._matrices = {name: self._reduced(matrix, names, stay, tensors) for name, matrix in matrices.items()}
        changed = [name for name, matrix in matrices.items() if names & {matrix.output, *matrix.inputs}]
        releveled = self._with_levels([name for name in changed if names & {*matrices[name].inputs}])
        self._matrices |= releveled
        fewer = all(
            _codes(self._matrices[name], self._tensors) <= _codes(matrices[name], tensors) for name in releveled
        )
        bits = sum(_bits(self._matrices[name], self._tensors) for name in changed)
        if not fewer or bits >= sum(_bits(matrices[name], tensors) for name in changed):
            self._tensors, self._matrices = tensors, matrices
            return 0
        return (len(dead) - len(stay)) * len(names)

    def _spans_pixels(self, reader: IntegerMatrix, names: set[str]) -> bool:
        """Whether a segment of a layer outside a component holds several pixels."""
        if self._inside(reader, names):
            return False
        if reader.window is None:
            return not reader.column and any(self._tensors[name].shape[1:] != (1, 1) for name in reader.inputs)
        return reader.window.kernel[1] > 1

    @staticmethod
    def _reduced(
        matrix: IntegerMatrix, names: set[str], stay: Tensor, tensors: dict[str, IntegerTensor]
    ) -> IntegerMatrix:
        """A layer with the channels of a component that stay."""
        if matrix.output in names:
            parts = {name: getattr(matrix, name) for name in ("bias", "mult", "shift", "function", "levels")}
            matrix = replace(
                matrix,
                weights=tuple(weight[stay] for weight in matrix.weights),
                kept=tuple(None if kept is None else kept[stay] for kept in matrix.kept),
                **{name: None if part is None else part[stay] for name, part in parts.items()},
            )
        if matrix.depthwise or not names & {*matrix.inputs}:
            return matrix
        weights, kept, orders = list(matrix.weights), list(matrix.kept), list(matrix.orders)
        for number, name in enumerate(matrix.inputs):
            if name not in names:
                continue
            channels, height, width = tensors[name].shape
            weight = weights[number]
            if matrix.window is None:
                pixels = height if matrix.column else height * width
                columns = (stay[:, None] * pixels + torch.arange(pixels)).flatten()
                weights[number] = weight[:, columns]
            else:
                taps = weight[0, 0].numel()
                columns = (torch.arange(taps)[:, None] * channels + stay).flatten()
                weights[number] = weight[:, stay]
            mask, order = (parts[number] if parts else None for parts in (kept, orders))
            if mask is not None:
                kept[number] = mask[:, columns]
            if order is not None:
                fresh = torch.full((weight[0].numel(),), -1)
                fresh[columns] = torch.arange(len(columns))
                orders[number] = fresh[order][fresh[order] >= 0]
        return replace(matrix, weights=tuple(weights), kept=tuple(kept), orders=tuple(orders))

    def _with_levels(self, names: list[str]) -> dict[str, IntegerMatrix]:
        """Layers that have lost columns, with levels for the blocks that are left."""
        orders = channel_orders(self.network())
        tensors = {name: encoded_tensor(tensor, orders.get(name)) for name, tensor in self._tensors.items()}
        made = {}
        for matrix in (self._matrices[name] for name in names):
            if matrix.levels is None:
                continue
            _, kept = columns_of(matrix, tensors)
            lengths = [segment.length for segment in segments_of(matrix, tensors)]
            levels = matrix.levels.numpy().copy()
            for level in np.unique(matrix.levels.numpy(), axis=0):
                rows = np.flatnonzero((matrix.levels.numpy() == level).all(1))
                rows = rows[kept[rows].any(1)]
                if len(rows) and tuple(level) != (0, 1):
                    levels[rows] = cheapest_level(kept[rows], lengths, matrix.weight_bits)
            levels[~kept.any(1)] = EMPTY.bits, EMPTY.kept
            made[matrix.name] = replace(matrix, levels=torch.from_numpy(levels))
        return made


def _without_input(matrix: IntegerMatrix) -> Tensor:
    """Results of rows without a weight, int64, shape (rows,)."""
    return matrix.of_sums(torch.zeros(1, matrix.rows, dtype=torch.int64))[0].clamp(*matrix.clamp)


def _folded(matrix: IntegerMatrix, number: int, channels: Tensor, values: Tensor) -> IntegerMatrix:
    """A layer that no longer reads some channels of an input, which always have these values."""
    weight, bias = matrix.weights[number].clone(), matrix.bias.clone()
    kept = list(matrix.kept) or [None] * len(matrix.weights)
    if matrix.depthwise:
        bias[channels] += weight[channels].flatten(1).sum(1) * values[channels]
        weight[channels] = 0
    else:
        by_channel, marks = _by_channel(weight, len(values)), _channel_marks(matrix, number, len(values))
        bias += (by_channel.sum(2) * values)[:, channels].sum(1)
        by_channel[:, channels], marks[:, channels] = 0, False
        weight = by_channel.reshape(weight.shape)
        kept[number] = marks.flatten(1) if matrix.window is None else marks.movedim(1, 2).flatten(1)
    weights = (*matrix.weights[:number], weight, *matrix.weights[number + 1 :])
    return replace(matrix, weights=weights, bias=bias, kept=tuple(kept))


def _channel_marks(matrix: IntegerMatrix, number: int, channels: int) -> Tensor:
    """Which weights of an input are kept, bool, shape (rows, channels, taps)."""
    weight = matrix.weights[number]
    kept = matrix.kept[number] if matrix.kept else None
    if kept is None:
        return torch.ones(len(weight), channels, weight[0].numel() // channels, dtype=torch.bool)
    if matrix.window is None:
        return kept.reshape(len(weight), channels, -1).clone()
    return kept.reshape(len(weight), -1, channels).movedim(2, 1).clone()


def _emptied(matrix: IntegerMatrix, dead: Tensor) -> IntegerMatrix:
    """A layer whose dead rows have no weights, no bias and no function."""
    if not bool(dead.any()):
        return matrix
    rows = dead.nonzero().flatten()

    def filled(values: Tensor, value: int) -> Tensor:
        return values.index_fill(0, rows, value)

    assert matrix.levels is not None
    kept = [
        torch.ones(len(weight), weight[0].numel(), dtype=torch.bool) if mask is None else mask
        for weight, mask in zip(matrix.weights, matrix.kept or (None,) * len(matrix.weights), strict=True)
    ]
    return replace(
        matrix,
        weights=tuple(filled(weight, 0) for weight in matrix.weights),
        kept=tuple(mask.index_fill(0, rows, False) for mask in kept),
        bias=filled(matrix.bias, 0),
        mult=filled(matrix.mult, 0),
        shift=matrix.shift.index_fill(0, rows, int(matrix.shift.min())),
        function=None if matrix.function is None else filled(matrix.function, 0),
        levels=filled(matrix.levels, 0),
    )


def _lengths(matrix: IntegerMatrix, tensors: dict[str, IntegerTensor]) -> list[int]:
    """Columns of each segment."""
    plain = {name: encoded_tensor(tensors[name], None) for name in matrix.inputs}
    return [segment.length for segment in segments_of(matrix, plain)]


def _counts(matrix: IntegerMatrix, tensors: dict[str, IntegerTensor]) -> list[tuple[int, int]]:
    """Codes of each row and bits of an index."""
    lengths = _lengths(matrix, tensors)
    if matrix.levels is None:
        bits = (tensors[matrix.inputs[0]].shape[0] - 1).bit_length()
        return [(len(lengths), bits)] * matrix.rows
    levels = [Level(bits, kept) for bits, kept in matrix.levels.tolist()]
    return [(sum(map(level.codes, lengths)), level.bits) for level in levels]


def _codes(matrix: IntegerMatrix, tensors: dict[str, IntegerTensor]) -> int:
    return sum(codes for codes, _ in _counts(matrix, tensors))


def _bits(matrix: IntegerMatrix, tensors: dict[str, IntegerTensor]) -> int:
    """Stored bits of a layer, about."""
    counts = _counts(matrix, tensors)
    return sum(codes * (matrix.weight_bits + bits) + ROW_BITS for codes, bits in counts)
