"""Random networks for tests, with their dense integer matrices.

Encoded here row by row and block by block, in plain loops that share nothing with ``darb_prune.encode``.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch

from darb_prune.encoded import DENSE, EMPTY, EncodedNetwork, Layer, Level, Segment, Tensor, TestVectors

LEVELS = (DENSE, EMPTY, Level(1, 1), Level(2, 1), Level(2, 2), Level(3, 1), Level(3, 3), Level(4, 2), Level(5, 1))


@dataclass(frozen=True, eq=False)
class RandomNetwork:
    """An encoded network and what it was made from: dense matrices (rows, columns of all segments, logical)."""

    network: EncodedNetwork
    dense: list[np.ndarray]
    columns: list[list[tuple[str, np.ndarray]]]

    def trace(self, inputs: np.ndarray) -> dict[str, np.ndarray]:
        """Every tensor for ``inputs`` (samples, size), by torch on int64: the normative formula."""
        values = {self.network.input: torch.as_tensor(inputs, dtype=torch.int64)}
        for layer, dense, columns in zip(self.network.layers, self.dense, self.columns, strict=True):
            x = torch.cat([values[name][:, torch.as_tensor(index)] for name, index in columns], dim=1)
            acc = x @ torch.as_tensor(dense, dtype=torch.int64).T
            bias, mult, shift = (
                torch.as_tensor(np.asarray(a, np.int64)) for a in (layer.bias, layer.mult, layer.shift)
            )
            out = self.network.tensor(layer.output)
            y = ((acc + bias) * mult + (torch.ones_like(shift) << (shift - 1))) >> shift
            values[layer.output] = y.clamp(out.qmin, out.qmax)
        return {name: value.numpy().astype(np.int32) for name, value in values.items()}

    def vectors(self, inputs: np.ndarray) -> TestVectors:
        return TestVectors(self.network.digest, self.trace(inputs))


def random_network(
    seed: int,
    *,
    sizes: tuple[int, ...] | None = None,
    levels: tuple[Level, ...] = LEVELS,
    weight_bits: int = 8,
    activation_bits: int = 8,
    extreme: bool = False,
    split: bool = False,
) -> RandomNetwork:
    """A chain of layers of random sizes, levels, orders, weights and requantisation parameters.

    Parameters
    ----------
    extreme : bool
        All weights at the ends of their range, and requantisation that clamps nothing away needlessly.
    split : bool
        Rows read several segments, of the tensor before and of the one before that.
    """
    rng = np.random.default_rng(seed)
    if sizes is None:
        sizes = tuple(int(n) for n in rng.integers(1, 40, rng.integers(2, 5)))
    names = ["x"] + [f"t{i}" for i in range(1, len(sizes))]
    low, high = -(1 << (activation_bits - 1)), (1 << (activation_bits - 1)) - 1
    tensors = []
    for number, (name, size) in enumerate(zip(names, sizes, strict=True)):
        inner = 0 < number < len(sizes) - 1
        order = rng.permutation(size).astype(np.int32) if number < len(sizes) - 1 and rng.random() < 0.7 else None
        tensors.append(
            Tensor(name, size, activation_bits, 0 if inner and rng.random() < 0.5 else low, high, 1.0, order)
        )
    layers, dense, columns = [], [], []
    for number in range(1, len(sizes)):
        segments = _segments(rng, tensors, number, split)
        layer, matrix, where = _layer(rng, tensors, number, segments, levels, weight_bits, extreme)
        layers.append(layer)
        dense.append(matrix)
        columns.append(where)
    network = EncodedNetwork("random", "x", names[-1], tuple(tensors), tuple(layers))
    return RandomNetwork(network, dense, columns)


def _segments(rng, tensors, number, split):
    source = tensors[number - 1]
    if not split:
        return (Segment(source.name, 0, source.size),)
    cut = int(rng.integers(0, source.size))
    parts = [(source, 0, cut), (source, cut, source.size - cut)]
    if number > 1:
        older = tensors[number - 2]
        start = int(rng.integers(0, older.size))
        parts.append((older, start, older.size - start))
    return tuple(Segment(t.name, start, length) for t, start, length in parts if length)


def _layer(rng, tensors, number, segments, levels, weight_bits, extreme):
    rows = tensors[number].size
    by_name = {tensor.name: tensor for tensor in tensors}
    low, high = -(1 << (weight_bits - 1)), (1 << (weight_bits - 1)) - 1
    total = sum(segment.length for segment in segments)
    row_level = rng.integers(0, len(levels), rows)
    index, weight = [], []
    dense = np.zeros((rows, total), np.int64)
    where, at = [], {}
    for segment in segments:
        tensor = by_name[segment.tensor]
        order = np.arange(tensor.size) if tensor.order is None else tensor.order
        # Column ``offset + p`` of the dense matrix is position ``start + p`` of the tensor.
        at[segment] = sum(len(columns) for _, columns in where)
        where.append((segment.tensor, order[segment.start : segment.start + segment.length]))
    for row in range(rows):
        level = levels[row_level[row]]
        for segment in segments:
            for start in range(0, segment.length, level.block):
                width = min(level.block, segment.length - start)
                kept = np.sort(rng.permutation(width)[: min(level.kept, width)])
                for column in kept:
                    value = int(rng.choice([low, high])) if extreme else int(rng.integers(low, high + 1))
                    index.append(int(column))
                    weight.append(value)
                    dense[row, at[segment] + start + column] = value
                for _ in range(level.kept - len(kept)):
                    index.append(0)
                    weight.append(0)
    # Multipliers that bring typical sums into the range of the output, and some that clamp.
    spread = np.maximum(np.abs(dense).sum(axis=1) * 40.0, 1.0)
    shift = rng.integers(14, 20, rows)
    mult = np.clip(np.round(127.0 / spread * (1 << shift.astype(np.int64)) * rng.uniform(0.3, 3.0, rows)), 0, 65535)
    bias = rng.integers(-2000, 2001, rows)
    layer = Layer(
        name=f"layer{number}",
        output=tensors[number].name,
        segments=segments,
        weight_bits=weight_bits,
        levels=tuple(levels),
        row_level=row_level.astype(np.uint8),
        index=np.array(index, np.uint16),
        weight=np.array(weight, np.int8),
        bias=bias.astype(np.int64),
        mult=mult.astype(np.int32),
        shift=shift.astype(np.uint8),
    )
    return layer, dense, where


def at_the_edges(random: RandomNetwork, seed: int) -> RandomNetwork:
    """The same weights with tensors of all widths and ranges, and every shift, multiplier and bias that is legal."""
    rng = np.random.default_rng(seed)
    network = random.network
    tensors = []
    for tensor in network.tensors:
        bits = int(rng.choice([2, 4, 7, 9, 13, 16]))
        low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
        if tensor.name != network.input and rng.random() < 0.5:
            low, high = int(rng.integers(low, 1)), int(rng.integers(1, high + 1))
        tensors.append(replace(tensor, bits=bits, qmin=low, qmax=high))
    layers = []
    for layer in network.layers:
        mult = rng.choice([0, 1, 2, 255, 32768, 65535], layer.rows).astype(np.int32)
        shift = rng.choice([1, 2, 15, 16, 17, 30, 47], layer.rows).astype(np.uint8)
        bias = rng.choice([-(1 << 38), 1 << 38, 0, 1, -1, 12345], layer.rows)
        layers.append(replace(layer, mult=mult, shift=shift, bias=bias.astype(np.int64)))
    return replace(random, network=replace(network, tensors=tuple(tensors), layers=tuple(layers)))


def random_inputs(seed: int, network: EncodedNetwork, samples: int) -> np.ndarray:
    """Random inputs; the first two are all at the ends of the range."""
    tensor = network.tensor(network.input)
    inputs = np.random.default_rng(seed).integers(tensor.qmin, tensor.qmax + 1, (samples, tensor.size))
    inputs[0] = tensor.qmax
    if samples > 1:
        inputs[1] = tensor.qmin
    return inputs


def bound_inputs(random: RandomNetwork, row: int) -> np.ndarray:
    """Two inputs that drive row ``row`` of the first layer to its greatest and its least accumulator."""
    network = random.network
    tensor = network.tensor(network.input)
    inputs = np.zeros((2, tensor.size), np.int64)
    columns = np.concatenate([index for _, index in random.columns[0]])
    weights = random.dense[0][row]
    inputs[0, columns] = np.where(weights > 0, tensor.qmax, tensor.qmin)
    inputs[1, columns] = np.where(weights > 0, tensor.qmin, tensor.qmax)
    return inputs
