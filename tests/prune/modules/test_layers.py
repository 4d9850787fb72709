"""Layers as matrices: reading order, segments, masks on every kind of module."""

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from darb_prune.encoded import Level
from darb_prune.errors import DarbError
from darb_prune.modules.layers import check_finite, layers, select
from darb_prune.modules.masked import (
    LevelPruning,
    apply_mask,
    load_pruned,
    masked_weight,
    refresh,
    regrowing,
    restore_dense,
)
from darb_prune.modules.matrix import as_matrix, as_parameter, segments
from darb_prune.patterns.masks import level_mask, level_rows


class Everything(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(2, 4, (3, 5))
        self.depthwise = nn.Conv2d(4, 4, 3, groups=4)
        self.conv2 = nn.Conv1d(4, 6, 3)
        self.embedding = nn.Embedding(9, 7)
        self.lstm = nn.LSTM(7, 5, num_layers=2, batch_first=True)
        self.projected = nn.LSTM(5, 6, batch_first=True, proj_size=4)
        self.gru = nn.GRU(4, 8, batch_first=True)
        self.rnn = nn.RNN(8, 8, batch_first=True)
        self.fc = nn.Linear(8, 3)

    def forward(self, tokens, state=None):
        out, state = self.lstm(self.embedding(tokens), state)
        return self.fc(self.rnn(self.gru(self.projected(out)[0])[0])[0]), state


def test_what_is_prunable_and_in_which_shape():
    found = {layer.name: (layer.kind, layer.shape, layer.segments) for layer in layers(Everything())}
    assert found == {
        "conv1": ("conv", (4, 30), (10, 10, 10)),
        "conv2": ("conv", (6, 12), (12,)),
        "lstm.0": ("lstm", (20, 12), (7, 5)),
        "lstm.1": ("lstm", (20, 10), (5, 5)),
        "projected": ("lstm", (24, 9), (5, 4)),
        "projected.projection": ("linear", (4, 6), (6,)),
        "gru": ("gru", (24, 12), (4, 8)),
        "rnn": ("rnn", (8, 16), (8, 8)),
        "fc": ("linear", (3, 8), (8,)),
    }


def test_a_convolution_is_a_matrix_product_over_hwc_patches():
    conv, image = nn.Conv2d(3, 5, (2, 3), bias=False), torch.randn(1, 3, 6, 7)
    matrix = layers(conv)[0].matrix()
    expected = conv(image)
    for row in range(5):
        for column in range(5):
            patch = image[0, :, row : row + 2, column : column + 3].permute(1, 2, 0).reshape(-1)
            assert torch.allclose(matrix @ patch, expected[0, :, row, column], atol=1e-5)


@given(st.lists(st.integers(1, 5), min_size=2, max_size=4))
def test_matrix_and_back(shape):
    tensor = torch.randn(shape)
    matrix = as_matrix(tensor)
    assert matrix.shape == (shape[0], tensor[0].numel())
    assert sum(segments(tensor.shape)) == matrix.shape[1]
    assert torch.equal(as_parameter(matrix, tensor.shape), tensor)


def test_segments_of_a_dilated_kernel():
    """A tap each, unless only the lines are dilated; blocks end with them."""
    conv = {
        "lines": (nn.Conv2d(6, 4, 3, dilation=(2, 1)), (18,) * 3),
        "columns": (nn.Conv2d(6, 4, (2, 3), dilation=(1, 2)), (6,) * 6),
        "line": (nn.Conv1d(6, 4, 3, dilation=2), (6,) * 3),
    }
    for module, wanted in conv.values():
        (layer,) = layers(nn.Sequential(module))
        assert layer.segments == wanted
        LevelPruning.apply(module, "weight", level_rows(Level(2, 1), 4), torch.randperm(layer.shape[1]))
        blocks = [size for width in wanted for size in [4] * (width // 4) + [width % 4]]
        blocks = layer.mask()[:, layer.parts[0].order].split(blocks, dim=1)
        assert all((block.sum(1) == 1).all() for block in blocks)


def test_groups():
    """A segment for each tap, of the channels of a group; groups of one channel are not pruned."""
    model = nn.Sequential(nn.Conv2d(6, 4, 3, groups=2), nn.Conv1d(6, 9, 3, groups=3), nn.Conv2d(6, 12, 3, groups=6))
    assert [(layer.name, layer.shape, layer.segments) for layer in layers(model)] == [
        ("0", (4, 27), (3,) * 9), ("1", (9, 6), (2,) * 3),
    ]  # fmt: skip
    LevelPruning.apply(model[0], "weight", level_rows(Level(2, 1), 4))
    assert (layers(model)[0].mask().unflatten(1, (9, 3)).sum(2) == 1).all()


def test_join_and_split_of_a_recurrent_layer():
    layer = layers(nn.LSTM(3, 4))[0]
    one, two = layer.split(layer.matrix())
    assert torch.equal(one, layer.parts[0].shadow)
    assert torch.equal(two, layer.parts[1].shadow)


def test_level_masks_work_in_every_module():
    model = Everything()
    dense = copy.deepcopy(model.state_dict())
    tokens = torch.randint(0, 9, (2, 6))
    before = model(tokens)[0]
    for layer in layers(model):
        levels = torch.tensor([[1, 1]] * layer.shape[0])
        for part in layer.parts:
            LevelPruning.apply(part.module, part.name, levels)
        expected = level_mask(layer.matrix(), levels, segments=layer.segments)
        assert torch.equal(layer.mask(), expected), layer.name
        assert layer.levels().tolist() == levels.tolist()
    after = model(tokens)[0]
    assert not torch.allclose(before, after)
    # The masked weights are what the recurrent kernels really use.
    plain = Everything()
    plain.load_state_dict(
        dense
        | {
            name.removesuffix("_orig"): value * model.state_dict()[name.removesuffix("_orig") + "_mask"]
            for name, value in model.state_dict().items()
            if name.endswith("_orig")
        }
    )
    assert torch.allclose(after, plain(tokens)[0], atol=1e-6)
    other = Everything()
    load_pruned(other, model.state_dict())
    assert torch.equal(other(tokens)[0], after)
    refresh(model)
    assert torch.equal(copy.deepcopy(model)(tokens)[0], after)
    for layer in layers(model):
        for part in layer.parts:
            restore_dense(part.module, part.name)
    assert model.state_dict().keys() == dense.keys()
    assert torch.equal(model(tokens)[0], before)


def test_optimisers_keep_working_through_masks():
    gru = nn.GRU(3, 4)
    parameter = gru.weight_hh_l0
    apply_mask(gru, torch.zeros(12, 4), "weight_hh_l0")
    assert gru.weight_hh_l0_orig is parameter
    restore_dense(gru, "weight_hh_l0")
    assert gru.weight_hh_l0 is parameter
    assert gru._flat_weights[1] is parameter


@pytest.mark.parametrize("regrow", [False, True])
def test_gradients_reach_masked_weights_only_while_regrowing(regrow):
    linear, inputs = nn.Linear(4, 3), torch.rand(2, 4)
    mask = torch.tensor([[1, 0, 1, 0]] * 3)
    apply_mask(linear, mask)
    expected = nn.functional.linear(inputs, linear.weight_orig * mask, linear.bias)
    if regrow:
        with regrowing(linear):
            assert torch.equal(masked_weight(linear), linear.weight_orig * mask)
            output = linear(inputs)
    else:
        output = linear(inputs)
    assert torch.equal(output, expected)
    output.sum().backward()
    reached = linear.weight_orig.grad != 0
    assert torch.equal(reached, torch.ones(3, 4) > 0 if regrow else mask.bool())
    assert not hasattr(linear, "_darb_regrowing")


def test_two_directions():
    found = layers(nn.Sequential(nn.LSTM(2, 3, 2, bidirectional=True, proj_size=2)))
    names = [
        f"0.{number}{ending}" for number in (0, 1) for ending in ("", ".projection", ".reverse", ".reverse.projection")
    ]
    assert [layer.name for layer in found] == names
    assert [part.name for part in found[6].parts] == ["weight_ih_l1_reverse", "weight_hh_l1_reverse"]
    assert found[6].shape == (12, 4 + 2)


def test_errors():
    with pytest.raises(DarbError, match="Sequential: no layer to prune; Linear, Conv1d"):
        layers(nn.Sequential(nn.ReLU()))
    tied = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    tied[1].weight = tied[0].weight
    with pytest.raises(DarbError, match="layer '1' shares its weight with layer '0'"):
        layers(tied)
    normed = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(3, 3)))
    with pytest.raises(DarbError, match="layer '0': its weight is computed"):
        layers(normed)
    model = Everything()
    with torch.no_grad():
        model.lstm.weight_hh_l1[7, 2] = torch.nan
    with pytest.raises(DarbError, match=r"layer 'lstm.1', row 7: .* NaN"):
        check_finite(layers(model))


def test_select():
    found = layers(Everything())
    assert select(found, ["lstm", "conv1"]) == [False, True, False, False, True, True, True, True, True]
    assert select(found, ["lstm.1"]) == [True, True, True, False, True, True, True, True, True]
    assert select(found, ["projected"])[4:6] == [False, False]
    with pytest.raises(DarbError, match="exclude 'fc2': no such layer; the model has conv1, conv2"):
        select(found, ["fc2"])
