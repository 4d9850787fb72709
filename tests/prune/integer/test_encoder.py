"""Encoder, decoder and the file they share: round trips of random networks, and speed."""

import dataclasses
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from darb_prune import Darb, prune, quantize
from darb_prune.encoded import DENSE, EMPTY, EncodedNetwork, Level, TaskOutput, TestVectors, layers_of, subsets_of
from darb_prune.encoded.decoder import decode
from darb_prune.errors import DarbError, ModelError
from darb_prune.integer.arithmetic import IntegerMatrix, IntegerTensor
from darb_prune.integer.encoder import encode, encode_matrix
from darb_prune.integer.network import IntegerNetwork
from darb_prune.modules.matrix import as_matrix
from darb_prune.patterns.masks import level_mask
from tests.prune.frontend.capture.nets import Net
from tests.prune.integer_networks import convolutional, inputs, multilayer, recurrent, sectioned, transposed

seeds = st.integers(0, 2**31)
networks = st.one_of(
    st.builds(multilayer, seeds, st.lists(st.integers(1, 70), min_size=2, max_size=4), st.integers(2, 8)),
    st.builds(convolutional, seeds),
    st.builds(transposed, seeds),
    st.builds(recurrent, seeds, st.sampled_from(["lstm", "gru"]), st.just(8), st.just("step"), st.booleans()),
    st.builds(sectioned, seeds, st.sampled_from(["lstm", "gru", "projection", "rnn"]), st.just(8), st.booleans()),
)


def dense_columns(matrix, network):
    """Weights of a layer with the columns that :func:`decode` gives."""
    found = []
    for name, weight in zip(matrix.inputs, matrix.weights, strict=True):
        channels, height, _ = network.tensors[name].shape
        if matrix.column:  # a segment is a pixel of the column
            found.append(weight.unflatten(1, (channels, height)).transpose(1, 2).flatten(1))
            continue
        if matrix.window is None or not matrix.window.depthwise:
            found.append(as_matrix(weight))
            continue
        taps = weight.flatten(1)
        each = torch.zeros(matrix.rows, taps.shape[1], channels, dtype=torch.int64)
        each[torch.arange(matrix.rows), :, torch.arange(matrix.rows)] = taps
        found.append(each.flatten(1))
    return torch.cat(found, 1)


@settings(max_examples=25, deadline=None)
@given(networks)
def test_decode_gives_the_dense_matrices_back(network):
    dense = decode(encode(network))
    assert list(dense) == [matrix.name for matrix in network.matrices]
    for matrix in network.matrices:
        assert np.array_equal(dense[matrix.name], dense_columns(matrix, network).numpy()), matrix.name


@settings(max_examples=15, deadline=None)
@given(seeds, st.lists(st.integers(1, 70), min_size=2, max_size=4))
def test_codes_are_where_the_format_says(seed, sizes):
    """Code by code: the n-th of a block is the n-th kept weight of that block in storage order."""
    network = multilayer(seed, sizes)
    encoded = encode(network)
    for layer, source in zip(encoded.layers, network.matrices, strict=True):
        columns = layer.columns
        (order,), (weight,), (kept,) = source.orders, source.weights, source.kept
        order = list(range(columns)) if order is None else order.tolist()
        expected = []
        for row in range(layer.rows):
            level = layer.levels[layer.row_level[row]]
            assert [level.bits, level.kept] == source.levels[row].tolist()
            for start in range(0, columns, level.block) if level.kept else ():
                codes = [
                    (place, int(weight[row, column]))
                    for place, column in enumerate(order[start : start + level.block])
                    if kept[row, column]
                ]
                expected += codes + [(0, 0)] * (level.kept - len(codes))
        assert list(zip(layer.index.tolist(), layer.weight.tolist(), strict=True)) == expected


@settings(max_examples=15, deadline=None)
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
        for field in dataclasses.fields(one):
            found, expected = getattr(one, field.name), getattr(other, field.name)
            assert np.array_equal(found, expected) if isinstance(expected, np.ndarray) else found == expected, field
    for one, other in zip(loaded.tensors, encoded.tensors, strict=True):
        assert np.array_equal(one.position, other.position)


def test_tensors_orders_and_vectors():
    network = multilayer(4, [20, 11, 5])
    encoded = encode(network, name="mine")
    assert (encoded.name, encoded.input, encoded.output) == ("mine", "input", "net.1.out")
    assert [tensor.name for tensor in encoded.tensors] == ["input", "net.0.out", "net.1.out"]
    for matrix, tensor in zip(network.matrices, encoded.tensors, strict=False):
        assert (matrix.orders[0] is None) == (tensor.order is None)
        assert tensor.order is None or tensor.order.tolist() == matrix.orders[0].tolist()
    assert any(tensor.order is not None for tensor in encoded.tensors)
    assert encoded.tensors[2].order is None
    assert (encoded.tensors[1].qmin, encoded.tensors[1].qmax) == (0, 127)
    x = inputs(network, 3)
    TestVectors(encoded.digest, {k: v.numpy() for k, v in network.trace(x).items()}).check(encoded)


class Groups(nn.Module):
    """Groups, and an ordinary layer that reads the same map."""

    def __init__(self):
        super().__init__()
        self.first, self.plain = nn.Conv2d(2, 12, 3), nn.Conv2d(12, 18, (2, 3))
        self.grouped, self.multiplied = nn.Conv2d(12, 18, (2, 3), groups=3), nn.Conv2d(18, 36, 2, groups=18)
        self.last = nn.Conv2d(36, 4, 1)

    def forward(self, x):
        x = self.first(x).relu()
        return self.last(self.multiplied((self.grouped(x) + self.plain(x)).relu()).relu())


@pytest.mark.parametrize("method", [None, Darb(order="spread"), "mixed", "nm"])
def test_groups(method):
    """A row names the channels of its group in each tap, whatever the order of the channels is."""
    torch.manual_seed(1)
    model, x = Groups(), torch.randn(3, 2, 8, 8)
    pruned = prune(model, 3, method=method, example=x) if method else None
    integer = quantize(model, x)
    encoded = encode(integer)
    layers = {layer.name: layer for layer in encoded.layers}
    assert (encoded.tensor("first.out").order is not None) == (method is not None)
    assert [segment.length for segment in layers["grouped"].segments] == [12] * 6
    dense = decode(encoded)
    for name, groups in (("grouped", 3), ("multiplied", 18)):
        layer, matrix = layers[name], next(matrix for matrix in integer.matrices if matrix.name == name)
        (weight,) = matrix.weights
        wanted = torch.zeros(layer.rows, encoded.tensor(matrix.inputs[0]).channels, *weight.shape[2:])
        for row in range(layer.rows):
            first = row * groups // layer.rows * weight.shape[1]
            wanted[row, first : first + weight.shape[1]] = weight[row]
        assert np.array_equal(dense[name], as_matrix(wanted).numpy())
        assert layer.groups == groups
        assert layer.dense_weights == weight.numel()
        assert len(layer.index) == layer.kept
    if pruned:
        assert encoded.weights == pruned.weights + layers["multiplied"].kept
        assert encoded.kept == pruned.kept + layers["multiplied"].kept


def test_equal_weights_of_a_depthwise_row_are_one_code():
    """An average: a code a row, however many pixels it reads."""
    network = convolutional(1)
    (matrix,) = (matrix for matrix in network.matrices if matrix.name == "depthwise")
    matrix.weights[0][:] = torch.tensor([3, -2, 0, 7])[:, None, None, None]
    encoded = encode(network)
    (layer,) = (layer for layer in encoded.layers if layer.name == "depthwise")
    assert layer.uniform
    assert layer.weight.tolist() == [3, -2, 0, 7]
    assert np.array_equal(layer.index, encoded.tensor("a").channel_position)
    assert np.array_equal(decode(encoded)["depthwise"], dense_columns(matrix, network).numpy())
    matrix.weights[0][2, 0, 1, 0] = 1
    (layer,) = (layer for layer in encode(network).layers if layer.name == "depthwise")
    assert (layer.uniform, len(layer.weight)) == (False, 4 * 6)


@pytest.mark.parametrize("seed", range(4))
def test_segments_of_every_kind(seed):
    network = convolutional(seed)
    encoded = encode(network)
    shapes = {tensor.name: tensor.shape for tensor in encoded.tensors}
    assert shapes["a"] == (3, 4, 4)
    layers = {layer.name: layer for layer in encoded.layers}
    found = {name: [(s.start, s.length, s.line) for s in layer.segments] for name, layer in layers.items()}
    width = 3 * (1 + seed % 3)
    assert found["conv1"] == [(0, width, 0), (0, width, 1), (0, width, 2)]
    assert (layers["conv1"].positions, layers["conv1"].pool) == ((6, 8), (2, 2))
    assert layers["conv1"].padding == (1, 1, 1, 1)
    assert layers["conv2"].padding == network.matrices[1].window.padding
    assert found["conv2"] == [(0, 12, 0), (0, 12, 1), (0, 12, 2)]
    assert found["depthwise"] == [(4 * x, 4, y) for y in range(3) for x in range(2)]
    down, right = network.matrices[-6].window.dilation
    if right == 1:
        assert found["dilated"] == [(0, 8, 0), (0, 8, down)]
    else:
        assert found["dilated"] == [(4 * x, 4, y) for y in (0, down) for x in (0, right)]
    assert found["sparse"] == [(4 * x, 4, y) for y in (0, down) for x in (0, right, 2 * right)]
    assert [found[f"pool.{2 * y + x}"] for y in range(2) for x in range(2)] == [
        [(4 * x, 4, y)] for y in range(2) for x in range(2)
    ]
    assert {name for name, layer in layers.items() if layer.depthwise} == {
        stage.name for stage in network.matrices if stage.window is not None and stage.window.depthwise
    }
    assert layers["depthwise"].levels == (Level(2, 1),)
    assert len(layers["depthwise"].index) == 4 * 6
    assert found["pool.3"] == [(4, 4, 1)]
    assert [layers[f"pool.{number}"].maximum for number in range(4)] == [False, True, True, True]
    assert found["fc1"] == [(0, 24, 0)]
    assert (layers["fc1"].first, layers["fc2"].first, layers["fc1"].clamp) == (0, 2, (-5, 100))
    assert layers["conv2"].operand.stride == (2, 2)
    dense = {name: layer.dense_weights for name, layer in layers.items()}
    assert (dense["depthwise"], dense["pool.3"], dense["conv1"], dense["fc1"]) == (24, 4, 12 * width, 48)


@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_functions_are_kept_once(kind):
    network = recurrent(1, kind, embedded=True)
    encoded = encode(network)
    tables = [table.tolist() for table in encoded.functions]
    assert len(tables) == {"lstm": 2, "gru": 1}[kind]
    for layer, matrix in zip(encoded.layers, network.matrices, strict=True):
        for row in range(layer.rows):
            mine = 0 if matrix.function is None else int(matrix.function[row])
            number = int(layer.row_function[row])
            assert (mine == 0) == (number == 0)
            assert not mine or tables[number - 1] == matrix.tables[mine - 1].tolist()
    assert encoded.recurrent
    assert encoded.embedding.table.tolist() == network.stages[0].table.tolist()
    assert encoded.tail == len(encoded.layers) - 2
    x = inputs(network, 2, 3)
    traced = {name: values.numpy() for name, values in network.trace(x).items()}
    TestVectors(encoded.digest, traced, None, np.array([3, 3])).check(encoded)
    with pytest.raises(DarbError, match="needs the lengths"):
        TestVectors(encoded.digest, traced).check(encoded)


def changed(network, number, **fields):
    matrix = dataclasses.replace(network.matrices[number], **fields)
    place = network.stages.index(network.matrices[number])
    stages = (*network.stages[:place], matrix, *network.stages[place + 1 :])
    return IntegerNetwork("changed", network.input, network.output, network.tensors.values(), stages)


def test_identity_order_is_left_out():
    dense = torch.tensor([[0, 1]] * 4)
    network = changed(multilayer(3, [8, 4]), 0, orders=(torch.arange(8),), levels=dense, kept=(None,))
    assert encode(network).tensors[0].order is None


def test_irregular_mask_has_no_encoding():
    with pytest.raises(DarbError, match=r"layer 'net.0': pruned without levels \(irregular\).*darb, mixed, bmwm, bank"):
        encode(changed(multilayer(1, [8, 4]), 0, levels=None))


def test_columns_go_pixel_by_pixel():
    network = convolutional(0)
    for number, matrix in enumerate(network.matrices):
        if matrix.name in ("conv1", "conv2", "fc1"):
            order = torch.arange(matrix.weights[0][0].numel())
            order[:2] = order[:2].flip(0).clone()
            with pytest.raises(DarbError, match=f"layer {matrix.name!r}: its columns are not stored pixel by pixel"):
                encode(changed(network, number, orders=(order,)))


def test_a_part_of_a_tensor_is_read_in_its_own_order():
    network = changed(multilayer(1, [8, 4]), 0, channels=(0, 8), orders=(torch.arange(8).flip(0),))
    with pytest.raises(DarbError, match=r"layer 'net.0': it reads a part of tensor 'input', and was pruned"):
        encode(network)
    dense = torch.tensor([[0, 1]] * 4)
    layer = encode(changed(network, 0, orders=(), levels=dense, kept=(None,))).layers[0]
    assert [(segment.start, segment.length) for segment in layer.segments] == [(0, 8)]


def test_readers_agree_on_the_order():
    network = recurrent(0)
    gates, dense = (one for one in network.matrices if "l1.out" in one.inputs)
    orders = dict(
        zip((gates.name, dense.name), ((None, torch.tensor([1, 2, 0])), (torch.tensor([0, 2, 1]),)), strict=True)
    )
    for number, matrix in enumerate(network.matrices):
        if matrix.name in orders:
            network = changed(network, number, orders=orders[matrix.name])
    with pytest.raises(DarbError, match=r"tensor 'l1.out': layers 'l1' and 'fc1' read it in different orders"):
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
    network = multilayer(1, [8, 4])
    (weight,), (kept,) = network.matrices[0].weights, network.matrices[0].kept
    kept[2] = False
    weight[2] = 0
    weight[2, 5] = 1
    with pytest.raises(DarbError, match=r"layer 'net.0', row 2: a weight that is not kept is not 0"):
        encode(network)
    weight[2] = 0
    weight[3, 1] = 128
    with pytest.raises(DarbError, match=r"layer 'net.0', row 3: a weight leaves 8 bits"):
        encode(network)


def test_same_network_same_bytes(tmp_path):
    for name in ("a", "b"):
        encode(recurrent(8)).save(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_ten_million_weights_in_seconds():
    weight = torch.randint(-128, 128, (2500, 4000))
    levels = torch.tensor([[4, 1], [3, 1], [5, 2], [0, 0], [7, 8]], dtype=torch.int16).repeat(500, 1)
    order = torch.randperm(4000)
    kept = level_mask(weight.float().abs() + 0.5, levels, order)
    ones = torch.ones(2500, dtype=torch.int64)
    layer = IntegerMatrix(
        "big", "out", ("input",), (weight * kept,), ones, ones, 20 * ones, 8, (-128, 127), kept=(kept,), levels=levels,
        orders=(order,),
    )  # fmt: skip
    tensors = [IntegerTensor(*one, 8, -128, 127, 1.0) for one in (("input", (4000, 1, 1)), ("out", (2500, 1, 1)))]
    start = time.perf_counter()
    encoded = encode(IntegerNetwork("big", "input", "out", tensors, [layer]))
    assert time.perf_counter() - start < 10
    assert encoded.kept == int(kept.sum())


def test_outputs_with_names_are_tasks():
    model = Net(lambda m, x: (m.a(x), m.b(x)), a=nn.Linear(4, 3), b=nn.Linear(4, 2))
    integer = quantize(model, torch.randn(8, 4))
    assert encode(integer).tasks == ()
    network = encode(integer, tasks=("odd", "even"))
    assert network.tasks == (TaskOutput("odd", 3), TaskOutput("even", 2))
    assert [layers_of(network, subset) for subset in subsets_of(network)] == [(0,), (1,), (0, 1)]
    with pytest.raises(ModelError, match=r"tasks \['odd'\]: the model has 2 outputs; name each of them, or none"):
        encode(integer, tasks=("odd",))
    single = quantize(nn.Linear(4, 2), torch.randn(8, 4))
    with pytest.raises(ModelError, match="the model has 1 outputs"):
        encode(single, tasks=("odd", "even"))
