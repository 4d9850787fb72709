"""Random networks of several tasks: towers side by side, and heads that read from all of them."""

from dataclasses import replace

import numpy as np

from darb_prune.encoded import Layer, Segment, TaskOutput, Tensor
from tests.draws import SeedDraw
from tests.networks import RandomNetwork
from tests.random_rows import LEVELS, draw_codes, make_layer, matrix_of, requantisation
from tests.reference import Matrix

__all__ = ["with_tasks"]


def with_tasks(random: RandomNetwork, draw: SeedDraw) -> RandomNetwork:
    """Two towers like ``random``, whose layers run in turn, and up to two heads that read from them: a task each. The
    network itself if it gives a map, or has sections or an embedding."""
    network = random.network
    if network.tensor(network.output).shape[:2] != (1, 1) or network.sections or network.embedding:
        return random
    towers = [_tower(random, "a", negative=False), _tower(random, "b", negative=True)]
    size = network.tensor(network.output).size
    layers = _in_turn(network.tail if network.recurrent else 0, towers, draw)
    readable = _readable(towers)
    heads = draw.integer(0, 2) if readable else 0
    rows = [draw.integer(1, 3) for _ in range(heads)]
    firsts = np.cumsum([2 * size, *rows]).tolist()
    named = {tensor.name: tensor for tower in towers for tensor in tower.network.tensors}
    outputs = [tower.network.output for tower in towers]
    output = replace(named[outputs[0]], name="y", shape=(1, 1, firsts[-1]), order=None)
    tensors = {name: tensor for name, tensor in named.items() if name not in outputs} | {"y": output}
    pairs = [
        (replace(layer, output="y", first=layer.first + size * outputs.index(layer.output)), matrix)
        if layer.output in outputs
        else (layer, matrix)
        for layer, matrix in layers
    ]
    for number in range(heads):
        source = [tensors[draw.choice(readable[:1] if number else readable)] for _ in range(2)]
        pairs.append(_head(f"head{number}", source, rows[number], firsts[number], draw))
    made = replace(
        network,
        output="y",
        tensors=tuple(tensors.values()),
        layers=tuple(layer for layer, _ in pairs),
        cells=tuple(cell for tower in towers for cell in tower.network.cells),
        tasks=tuple(TaskOutput(name, count) for name, count in zip("abcd", (size, size, *rows), strict=False)),
    )
    return RandomNetwork(made, [matrix for _, matrix in pairs])


def _tower(random: RandomNetwork, prefix: str, negative: bool) -> RandomNetwork:
    """The same network by other names, but for its input; perhaps with all weights negated."""
    network = random.network

    def named(name: str) -> str:
        return name if name == network.input else f"{prefix}_{name}"

    def weights(values: np.ndarray, bits: int) -> np.ndarray:
        return np.minimum(-values.astype(np.int64), (1 << (bits - 1)) - 1) if negative else values

    layers = tuple(
        replace(
            layer,
            name=f"{prefix}_{layer.name}",
            output=named(layer.output),
            segments=tuple(replace(segment, tensor=named(segment.tensor)) for segment in layer.segments),
            operand=replace(layer.operand, tensor=named(layer.operand.tensor)) if layer.operand else None,
            weight=weights(layer.weight, layer.weight_bits).astype(np.int8),
        )
        for layer in network.layers
    )
    matrices = [
        Matrix(
            weights(matrix.weight, layer.weight_bits),
            tuple(replace(columns, tensor=named(columns.tensor)) for columns in matrix.columns),
        )
        for layer, matrix in zip(network.layers, random.matrices, strict=True)
    ]
    cells = tuple(
        replace(cell, name=f"{prefix}_{cell.name}", gates=named(cell.gates), output=named(cell.output))
        for cell in network.cells
    )
    tensors = tuple(replace(tensor, name=named(tensor.name)) for tensor in network.tensors)
    changes = {"tensors": tensors, "layers": layers, "cells": cells, "output": named(network.output)}
    return RandomNetwork(replace(network, **changes), matrices)


def _in_turn(tail: int, towers: list[RandomNetwork], draw: SeedDraw) -> list[tuple[Layer, Matrix]]:
    """Layers and matrices of two towers, each in its order, mixed; those of the tails behind all others."""
    pairs = [list(zip(tower.network.layers, tower.matrices, strict=True)) for tower in towers]
    mixed = []
    for some in ([part[:tail] for part in pairs], [part[tail:] for part in pairs]):
        while some[0] or some[1]:
            mixed.append(some[draw.integer(0, 1) if some[0] and some[1] else int(not some[0])].pop(0))
    return mixed


def _readable(towers: list[RandomNetwork]) -> list[str]:
    """Vectors that a layer behind all others may read, of either tower in turn."""
    names = []
    for tower in towers:
        network = tower.network
        hidden = {network.output, network.input, *(cell.gates for cell in network.cells)}
        names.append([tensor.name for tensor in network.tensors if tensor.shape[:2] == (1, 1)])
        names[-1] = [name for name in names[-1] if name not in hidden]
    return [name for pair in zip(*names, strict=True) for name in pair]


def _head(name: str, sources: list[Tensor], rows: int, first: int, draw: SeedDraw) -> tuple[Layer, Matrix]:
    """A Linear layer that writes some elements of the output from parts of two tensors, and its dense matrix."""
    tensors = {tensor.name: tensor for tensor in sources}
    parts = []
    for tensor in tensors.values():
        start = draw.integer(0, tensor.size - 1)
        parts.append((tensor.name, start, draw.integer(1, tensor.size - start)))
    segments = tuple(Segment(*part) for part in parts)
    rng, levels = draw.rng, tuple(draw.choice(LEVELS) for _ in range(2))
    row_level = rng.integers(0, 2, rows)
    dense, index, weight = draw_codes(rng, segments, levels, row_level, 8)
    parameters = requantisation(rng, np.abs(dense).sum(axis=1) * 30.0, np.full(rows, 127.0))
    layer = make_layer(name, "y", segments, 8, levels, row_level, index, weight, first=first, **parameters)
    return layer, matrix_of(dense, segments, tensors)
