"""Channels that change nothing are taken out: outputs, codes and what is left alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from darb_prune.encoded.decoder import decode
from darb_prune.frontend.stages import Window
from darb_prune.integer.dead import without_dead
from darb_prune.integer.encoder import encode
from darb_prune.integer.network import IntegerNetwork
from tests.prune.integer.test_encoder import dense_columns
from tests.prune.integer_networks import Maker, convolutional, inputs, multilayer, recurrent, transposed


def separable(seed: int, channels: int = 16, padding: int = 1) -> IntegerNetwork:
    """A convolution, a depthwise and a pointwise one, an average over the map, a Linear layer."""
    make = Maker(seed, (3, 6, 6))
    side = 6 + 2 * (padding - 1)
    make.tensor("a", (channels, 6, 6), positive=True)
    make.matrix("first", "a", ["input"], channels, Window((3, 3), padding=(1, 1, 1, 1)))
    make.tensor("b", (channels, side, side), positive=True)
    make.matrix("depthwise", "b", ["a"], channels, Window((3, 3), padding=(padding,) * 4, depthwise=True))
    make.tensor("c", (12, side, side), positive=True)
    make.matrix("pointwise", "c", ["b"], 12, Window((1, 1)))
    make.tensor("d", (12, 1, 1))
    make.matrix("mean", "d", ["c"], 12, Window((side, side), depthwise=True))
    make.tensor("out", (5, 1, 1))
    make.matrix("last", "out", ["d"], 5)
    return make.network("out")


def without_columns(network: IntegerNetwork, name: str, channels) -> None:
    """Let a layer not read some channels of its input."""
    (matrix,) = (matrix for matrix in network.matrices if matrix.name == name)
    by_channel = matrix.weights[0].view(matrix.rows, network.tensors[matrix.inputs[0]].shape[0], -1)
    by_channel[:, channels] = 0
    columns = by_channel.shape[1]
    for channel in channels:  # of a window of one pixel, or a vector
        matrix.kept[0].view(matrix.rows, columns)[:, channel] = False


def without_rows(network: IntegerNetwork, name: str, rows) -> None:
    (matrix,) = (matrix for matrix in network.matrices if matrix.name == name)
    for weight, kept in zip(matrix.weights, matrix.kept, strict=True):
        weight[rows] = 0
        if kept is not None:
            kept[rows] = False


def check(network: IntegerNetwork, seed: int = 0):
    """The same outputs, codes that fit their levels, and no more of them."""
    before = encode(network)
    living = without_dead(network)
    x = inputs(network, 4, *[3] * network.recurrent, seed=seed)
    assert torch.equal(living.network(x), network(x))
    after = encode(living.network)
    dense = decode(after)
    for matrix in living.network.matrices:
        assert np.array_equal(dense[matrix.name], dense_columns(matrix, living.network).numpy()), matrix.name
    assert sum(len(layer.weight) for layer in after.layers) <= sum(len(layer.weight) for layer in before.layers)
    source = living.network.tensors[living.network.input]
    living.network.vectors(after, x if source.qmin == 0 else x.double() * source.scale)
    return living


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 2**31),
    st.sampled_from(["multilayer", "convolutional", "separable", "transposed", "recurrent"]),
    st.floats(0, 1),
)
def test_outputs_stay(seed, kind, share):
    """Any weights become 0, whole rows and all that reads a channel among them."""
    network = {
        "multilayer": lambda: multilayer(seed, (9, 20, 17, 6)),
        "convolutional": lambda: convolutional(seed),
        "separable": lambda: separable(seed, padding=seed % 2),
        "transposed": lambda: transposed(seed),
        "recurrent": lambda: recurrent(seed, ("lstm", "gru")[seed % 2], 8, "step", bool(seed % 3)),
    }[kind]()
    random = torch.Generator().manual_seed(seed)
    dead = {name: torch.rand(tensor.shape[0], generator=random) < share for name, tensor in network.tensors.items()}
    for matrix in network.matrices:
        for name, weight in zip(matrix.inputs, matrix.weights, strict=True):
            if matrix.window is None or not matrix.window.depthwise:
                weight.view(matrix.rows, len(dead[name]), -1)[:, dead[name]] = 0
            weight[torch.rand(matrix.rows, generator=random) < share / 2] = 0
    check(network, seed)


@pytest.mark.parametrize("seed", range(3))
def test_dead_channels_through_a_chain(seed):
    """Nobody reads 13 of 16 channels behind the depthwise layer: they are gone in front of it, too."""
    network = separable(seed)
    without_columns(network, "pointwise", [0, *range(4, 16)])
    living = check(network)
    shapes = {name: tensor.shape for name, tensor in living.network.tensors.items()}
    assert shapes["a"] == shapes["b"]
    assert shapes["a"][0] <= 3
    # A row of ``pointwise`` that has lost all of its weights is constant, and so is what averages it.
    assert (living.removed, living.emptied) == (2 * (16 - shapes["a"][0]) + 2 * (12 - shapes["c"][0]), 0)
    assert (without_dead(living.network).removed, without_dead(living.network).emptied) == (0, 0)


def test_constants_are_folded_where_no_zeros_are_around_them():
    """Rows without weights in front of a depthwise layer: behind it they are constant if it does not pad."""
    for padding in (0, 1):
        network = separable(5, padding=padding)
        (first,) = (matrix for matrix in network.matrices if matrix.name == "first")
        without_rows(network, "first", list(range(4, 16)))
        first.bias[:], first.mult[:], first.shift[:] = 50, 4, 2
        tensors = check(network).network.tensors
        assert tensors["a"].shape[0] == tensors["b"].shape[0]
        assert (tensors["a"].shape[0] <= 4) == (padding == 0)


def test_a_channel_that_is_never_positive_is_folded_behind_a_padding():
    network = separable(5)
    without_rows(network, "first", list(range(4, 16)))
    network.matrices[0].bias[:] = -100
    assert network.matrices[1].name == "depthwise"
    (depthwise,) = (matrix for matrix in network.matrices if matrix.name == "depthwise")
    depthwise.bias[:] = -5
    tensors = check(network).network.tensors
    assert tensors["a"].shape[0] == tensors["b"].shape[0] <= 4


def test_too_few_to_be_worth_it_are_emptied():
    """Without one channel of 64 blocks of two would no longer hold one weight each."""
    network = multilayer(1, (8, 64, 32, 4))
    (matrix,) = (matrix for matrix in network.matrices if matrix.name == "net.1")
    matrix.levels[:] = torch.tensor([1, 1])
    order = torch.arange(64) if matrix.orders[0] is None else matrix.orders[0]
    kept = torch.zeros(32, 64, dtype=torch.bool)
    for row in range(32):
        kept[row, order[(row % 2) :: 2]] = True
    kept[:, order[10]], kept[:, order[11]] = False, True
    matrix.kept[0][:] = kept
    matrix.weights[0][:] = torch.where(kept, 3, 0)
    living = check(network)
    assert living.removed == 0
    assert living.emptied >= 1
    assert living.network.matrices[0].levels[order[10]].tolist() == [0, 0]


def test_what_stays():
    """Sides of an addition, parts of a concatenation, gates, and networks without levels."""
    network = convolutional(2)
    for matrix in network.matrices:
        if matrix.name == "fc3":
            matrix.weights[0][:] = 0
    living = check(network)
    assert living.network.tensors["e"].shape == network.tensors["e"].shape
    stages = [replace(matrix, levels=None) for matrix in separable(1).matrices]
    other = separable(1)
    without_columns(other, "pointwise", range(12))
    irregular = IntegerNetwork("n", "input", "out", other.tensors.values(), stages)
    assert without_dead(irregular).network is irregular
