"""Small legal networks whose every field a test can change."""

from dataclasses import fields, replace

import numpy as np

from darb_prune.encoded import (
    DENSE,
    EMPTY,
    Cell,
    Embedding,
    EncodedNetwork,
    Layer,
    Level,
    Operand,
    Section,
    Segment,
    Tensor,
)
from tests.reference import SIGMOID, TANH


def change(network: EncodedNetwork, **changes) -> EncodedNetwork:
    """``network`` with other fields, checked again.

    ``a_weight=...`` replaces field ``weight`` of layer (or cell or embedding) ``a``, ``t_in_bits=...`` field ``bits``
    of tensor ``in``, and what names no entry a field of the network.
    """
    entries = {f"t_{tensor.name}": tensor for tensor in network.tensors}
    entries |= {entry.name: entry for entry in (*network.layers, *network.cells)}
    entries |= {network.embedding.name: network.embedding} if network.embedding else {}
    made = {field.name: getattr(network, field.name) for field in fields(network)}
    for key, value in changes.items():
        name = next((name for name in entries if key.startswith(f"{name}_")), None)
        if name is None:
            made[key] = value
        else:
            entries[name] = replace(entries[name], **{key[len(name) + 1 :]: value})
    for group, prefix in (("tensors", "t_"), ("layers", ""), ("cells", "")):
        if group not in changes:
            made[group] = tuple(entries[prefix + entry.name] for entry in getattr(network, group))
    if network.embedding and "embedding" not in changes:
        made["embedding"] = entries[network.embedding.name]
    return EncodedNetwork(**made)


def changed(values, position, value) -> np.ndarray:
    values = np.array(values)
    values[position] = value
    return values


def vector_network(**changes) -> EncodedNetwork:
    """in(6) -> a(3) -> b(2, reads in[1:5] and a)."""
    tensors = (
        Tensor("in", (1, 1, 6), 8, -128, 127, 0.01, np.array([5, 0, 1, 2, 3, 4])),
        Tensor("a", (1, 1, 3), 8, 0, 127, 0.5),
        Tensor("b", (1, 1, 2), 8, -128, 127, 1.0),
    )
    layers = (
        Layer(
            "a", "a", (Segment("in", 0, 6),), 8, (EMPTY, DENSE, Level(2, 2)), np.array([1, 2, 0], np.uint8),
            np.array([0, 0, 0, 0, 0, 0, 1, 3, 0, 1]), np.array([1, 2, 3, 4, 5, 6, -128, 127, 9, 0]),
            np.array([1, 2, 3]), np.array([7, 65535, 0]), np.array([1, 47, 16]),
        ),
        Layer(
            "b", "b", (Segment("in", 1, 4), Segment("a", 0, 3)), 4, (Level(1, 1),), np.array([0, 0]),
            np.array([1, 0, 0, 0, 0, 1, 1, 0]), np.array([7, -8, 1, 2, 3, 4, 5, 6]),
            np.array([0, 0]), np.array([1, 1]), np.array([8, 8]),
        ),
    )  # fmt: skip
    return change(EncodedNetwork("example", "in", "b", tensors, layers, provenance={"seed": 1}), **changes)


def dense_layer(name: str, output: str, rows: int, *segments: Segment, **changes) -> Layer:
    """A layer of dense rows, all weights 1."""
    codes = rows * sum(segment.length for segment in segments)
    return Layer(
        name, output, segments, 8, (DENSE,), np.zeros(rows, np.uint8), np.zeros(codes, np.uint16),
        np.ones(codes, np.int8), np.zeros(rows, np.int64), np.ones(rows, np.int32), np.ones(rows, np.uint8), **changes,
    )  # fmt: skip


def map_network(**changes) -> EncodedNetwork:
    """x(4, 4, 2) -> conv, 3x3, padded, pooled -> m(2, 2, 3) -> left, right, top -> n(2, 2, 5) -> flat -> y(2).

    ``left`` adds ``m`` to channels 0 to 2 of ``n``; ``right`` writes channels 3 and 4, ``top`` takes the maximum.
    """
    tensors = (
        Tensor("x", (4, 4, 2), 8, -128, 127, 1.0, np.array([1, 0], np.int32)),
        Tensor("m", (2, 2, 3), 8, 0, 127, 0.5),
        Tensor("n", (2, 2, 5), 8, -128, 127, 0.5),
        Tensor("y", (1, 1, 2), 8, -128, 127, 1.0),
    )
    conv = [Segment("x", 0, 6, line) for line in range(3)]
    layers = (
        dense_layer("conv", "m", 3, *conv, positions=(4, 4), padding=(1, 1, 1, 1), pool=(2, 2)),
        dense_layer("left", "n", 3, Segment("m", 0, 3), positions=(2, 2), operand=Operand("m")),
        dense_layer("right", "n", 2, Segment("m", 0, 3), positions=(2, 2), first=3, clamp=(-5, 5)),
        dense_layer("top", "n", 2, Segment("x", 2, 2, 1), positions=(2, 2), stride=(2, 2), first=3, maximum=True),
        dense_layer("flat", "y", 2, Segment("n", 0, 20)),
    )
    return change(EncodedNetwork("map", "x", "y", tensors, layers), **changes)


def recurrent_network(kind: str = "lstm", **changes) -> EncodedNetwork:
    """Two symbols of four -> e(4) -> cell of two units -> head -> y(3)."""
    tensors = (
        Tensor("x", (1, 1, 2), 3, 0, 3, 1.0),
        Tensor("e", (1, 1, 4), 8, -128, 127, 1.0),
        Tensor("gates", (1, 1, 8), 16, -32768, 32767, 1.0),
        Tensor("h", (1, 1, 2), 8, -128, 127, 2**-7, initial=np.array([-128, 127])),
        Tensor("y", (1, 1, 3), 8, -128, 127, 1.0),
    )
    layers = (
        dense_layer(
            "gate", "gates", 8, Segment("e", 0, 4), Segment("h", 0, 2),
            function=np.array([1, 1, 1, 1, 2, 2, 1, 1] if kind == "lstm" else [1, 1, 1, 1, 0, 0, 0, 0], np.uint8),
        ),
        dense_layer("head", "y", 3, Segment("h", 0, 2)),
    )  # fmt: skip
    network = EncodedNetwork(
        kind, "x", "y", tensors, layers, cells=(Cell("cell", kind, "gates", "h", np.array([-32768, 32767])),),
        embedding=Embedding("embed", "e", np.arange(8).reshape(4, 2) * 16),
        functions=(SIGMOID.astype(np.int16), TANH.astype(np.int16)), emit="last",
    )  # fmt: skip
    return change(network, **changes)


def column_network(**changes) -> EncodedNetwork:
    """x(2, 3, 2) -> a cell of two units forwards, h(1, 3, 2), and layers that carry on backwards, r(1, 3, 2) -> y(2).

    ``back`` adds ``h`` to what it writes.
    """
    tensors = (
        Tensor("x", (2, 3, 2), 8, -128, 127, 1.0),
        Tensor("gates", (1, 3, 8), 16, -32768, 32767, 1.0),
        Tensor("h", (1, 3, 2), 8, -128, 127, 2**-7, np.array([1, 0], np.int32), np.array([-128, 127])),
        Tensor("r", (1, 3, 2), 8, -128, 127, 2**-7),
        Tensor("y", (1, 1, 2), 8, -128, 127, 1.0),
    )
    columns = Segment("x", 0, 2, 0), Segment("x", 0, 2, 1)
    layers = (
        dense_layer(
            "gate", "gates", 8, *columns, Segment("h", 0, 2), function=np.array([1, 1, 1, 1, 2, 2, 1, 1], np.uint8)
        ),
        dense_layer("back", "r", 2, *columns, Segment("r", 0, 2), operand=Operand("h")),
        dense_layer("head", "y", 2, Segment("h", 0, 6), Segment("r", 0, 6)),
    )
    network = EncodedNetwork(
        "columns", "x", "y", tensors, layers, cells=(Cell("cell", "lstm", "gates", "h", np.array([-32768, 32767])),),
        functions=(SIGMOID.astype(np.int16), TANH.astype(np.int16)), sections=(Section(0, 1), Section(1, 2, True)),
    )  # fmt: skip
    return change(network, **changes)
