"""Encoder, decoder and the file they share: round trips of random networks, and speed."""

import itertools
import time

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from darb_prune.container import DarbError
from darb_prune.decoder import decode
from darb_prune.encoded import DENSE, EMPTY, EncodedNetwork, Level, TestVectors
from darb_prune.encoder import encode, encode_matrix
from darb_prune.masks import level_mask
from darb_prune.quantization import IntegerLinear, IntegerNetwork

LEVELS = [(0, 0), (0, 1), (1, 1), (1, 2), (2, 1), (2, 3), (3, 1), (4, 5), (4, 16), (6, 2), (7, 1)]


def random_network(seed, sizes, weight_bits=8, thinned=False):
    """Random levels, orders and weights; ``thinned`` keeps fewer weights than the levels allow."""
    generator = torch.Generator().manual_seed(seed)
    layers, top = [], 1 << (weight_bits - 1)
    for number, (columns, rows) in enumerate(itertools.pairwise(sizes)):
        pick = torch.randint(0, len(LEVELS), (rows,), generator=generator)
        levels = torch.tensor(LEVELS, dtype=torch.int16)[pick]
        order = torch.randperm(columns, generator=generator) if seed % 3 else None
        kept = level_mask(torch.randn(rows, columns, generator=generator), levels, order)
        if thinned:
            kept &= torch.rand(rows, columns, generator=generator) < 0.6
        weight = torch.randint(-top, top, (rows, columns), generator=generator) * kept
        layers.append(
            IntegerLinear(
                f"net.{number}", weight, torch.randint(-99, 99, (rows,), generator=generator),
                torch.randint(0, 2**16, (rows,), generator=generator), 20 + number, True, weight_bits, 8, 0.1,
                kept, levels, order,
            )
        )  # fmt: skip
    return IntegerNetwork(layers, 8, 0.01, "random")


networks = st.builds(
    random_network,
    st.integers(0, 2**31),
    st.lists(st.integers(1, 70), min_size=2, max_size=4),
    st.integers(2, 8),
    st.booleans(),
)


@given(networks)
def test_decode_gives_the_dense_matrices_back(network):
    encoded = encode(network)
    dense = decode(encoded)
    assert list(dense) == [layer.name for layer in network.layers]
    for layer in network.layers:
        assert np.array_equal(dense[layer.name], layer.weight.numpy())


@given(networks)
def test_codes_are_where_the_format_says(network):
    """Code by code: the n-th of a block is the n-th kept weight of that block in storage order."""
    encoded = encode(network)
    for layer, source in zip(encoded.layers, network.layers, strict=True):
        columns = layer.columns
        order = source.order.tolist() if source.order is not None else list(range(columns))
        expected = []
        for row in range(layer.rows):
            level = layer.levels[layer.row_level[row]]
            assert [level.bits, level.kept] == source.levels[row].tolist()
            for start in range(0, columns, level.block) if level.kept else ():
                codes = [
                    (place, int(source.weight[row, column]))
                    for place, column in enumerate(order[start : start + level.block])
                    if source.kept[row, column]
                ]
                expected += codes + [(0, 0)] * (level.kept - len(codes))
        assert list(zip(layer.index.tolist(), layer.weight.tolist(), strict=True)) == expected


@given(networks)
def test_file_round_trip(tmp_path_factory, network):
    encoded = encode(network, provenance={"seed": 3, "accuracy": {"dense": 0.5}})
    path = tmp_path_factory.mktemp("file") / "net.darb"
    encoded.save(path)
    loaded = EncodedNetwork.load(path)
    assert loaded.digest == encoded.digest
    assert loaded.provenance == encoded.provenance
    assert (loaded.weights, loaded.kept) == (encoded.weights, encoded.kept)
    for one, other in zip(loaded.layers, encoded.layers, strict=True):
        assert (one.levels, one.segments, one.weight_bits) == (other.levels, other.segments, other.weight_bits)
        for name in ("row_level", "index", "weight", "bias", "mult", "shift"):
            assert np.array_equal(getattr(one, name), getattr(other, name)), name
    for one, other in zip(loaded.tensors, encoded.tensors, strict=True):
        assert np.array_equal(one.position, other.position)


def test_tensors_orders_and_vectors():
    network = random_network(4, [20, 11, 5])
    encoded = encode(network, name="mine")
    assert (encoded.name, encoded.input, encoded.output) == ("mine", "input", "net.1.out")
    assert [tensor.name for tensor in encoded.tensors] == ["input", "net.0.out", "net.1.out"]
    assert encoded.tensors[0].order.tolist() == network.layers[0].order.tolist()
    assert encoded.tensors[1].order.tolist() == network.layers[1].order.tolist()
    assert encoded.tensors[2].order is None
    assert (encoded.tensors[1].qmin, encoded.tensors[1].qmax) == (0, 127)
    x = torch.randint(-128, 128, (3, 20))
    TestVectors(encoded.digest, {k: v.numpy() for k, v in network.trace(x).items()}).check(encoded)


def test_identity_order_is_left_out():
    network = random_network(3, [8, 4])
    network.layers[0].order = torch.arange(8)
    assert encode(network).tensors[0].order is None


def test_irregular_mask_has_no_encoding():
    network = random_network(1, [8, 4])
    network.layers[0].levels = None
    with pytest.raises(DarbError, match=r"layer 'net.0': pruned without levels \(irregular\).*darb, mixed, bmwm, bank"):
        encode(network)


def test_too_many_weights_in_a_block():
    kept = np.zeros((3, 6), bool)
    kept[1, 4:6] = kept[2] = True
    weight = kept.astype(np.int64)
    levels, rows = (Level(2, 1), EMPTY, DENSE), np.array([0, 0, 2])
    with pytest.raises(DarbError, match=r"layer 'a', row 1: a block of level \(2, 1\) holds more than 1 weights"):
        encode_matrix(weight, kept, levels, rows, "layer 'a'")
    with pytest.raises(DarbError, match="row 1: keeps weights, but its level is empty"):
        encode_matrix(weight, kept, levels, np.array([0, 1, 2]), "layer 'a'")


def test_weights_that_no_code_can_hold_are_refused():
    network = random_network(1, [8, 4])
    layer = network.layers[0]
    layer.kept[2] = False
    layer.weight[2] = 0
    layer.weight[2, 5] = 1
    with pytest.raises(DarbError, match=r"layer 'net.0', row 2: a weight that is not kept is not 0"):
        encode(network)
    layer.weight[2] = 0
    layer.weight[3, 1] = 128
    with pytest.raises(DarbError, match=r"layer 'net.0', row 3: a weight leaves 8 bits"):
        encode(network)


def test_same_network_same_bytes(tmp_path):
    for name in ("a", "b"):
        encode(random_network(8, [30, 20, 10])).save(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_ten_million_weights_in_seconds():
    weight = torch.randint(-128, 128, (2500, 4000))
    levels = torch.tensor([[4, 1], [3, 1], [5, 2], [0, 0], [7, 8]], dtype=torch.int16).repeat(500, 1)
    kept = level_mask(weight.float(), levels)
    ones = torch.ones(2500, dtype=torch.int64)
    layer = IntegerLinear("big", weight * kept, ones, ones, 20, True, 8, 8, 1.0, kept, levels, torch.randperm(4000))
    layer.kept = level_mask(layer.weight.float().abs() + 0.5, levels, layer.order)
    layer.weight *= layer.kept
    start = time.perf_counter()
    encoded = encode(IntegerNetwork([layer], 8, 1.0))
    assert time.perf_counter() - start < 10
    assert encoded.kept == int(layer.kept.sum())
