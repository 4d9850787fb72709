"""Pruned modules: masks as methods of torch's pruning, and states that are loaded back."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import prune as torch_prune

from darb_prune.encoded import Level
from darb_prune.errors import DarbError
from darb_prune.modules.masked import (
    LevelPruning,
    apply_mask,
    load_pruned,
    masked_weight,
    restore_dense,
    shadow_weight,
)
from darb_prune.patterns.masks import level_mask, level_rows


def prune_rows(linear, bits, kept=1):
    """The same level for all rows."""
    LevelPruning.apply(linear, "weight", level_rows(Level(bits, kept), len(linear.weight)))


METHODS = [
    lambda linear: LevelPruning.apply(linear, "weight", torch.tensor([[0, 0], [1, 1], [2, 3]]), torch.randperm(10)),
    lambda linear: prune_rows(linear, 2),
    lambda linear: prune_rows(linear, 3, 2),
    lambda linear: prune_rows(linear, 1),
]


@pytest.mark.parametrize("method", METHODS)
def test_methods_behave_as_torch_pruning(method):
    linear = nn.Linear(10, 3)
    dense, x = linear.weight.detach().clone(), torch.randn(4, 10)
    method(linear)
    assert torch_prune.is_pruned(linear)
    assert {"weight_orig", "weight_mask", "weight_level", "weight_order"} <= set(linear.state_dict())
    assert linear.weight_level.dtype == torch.int16
    expected = dense * level_mask(dense, linear.weight_level, linear.weight_order)
    assert torch.equal(linear.weight, expected)
    assert torch.equal(linear(x), x @ expected.T + linear.bias)
    assert torch.equal(masked_weight(linear), expected)
    assert torch.equal(shadow_weight(linear), dense)
    torch_prune.remove(linear, "weight")
    assert not torch_prune.is_pruned(linear)
    assert torch.equal(linear.weight, expected)
    assert {"weight_level", "weight_order"} <= set(linear.state_dict())


def test_method_on_top_of_another_keeps_only_what_both_keep():
    linear = nn.Linear(16, 4)
    torch_prune.l1_unstructured(linear, "weight", amount=0.5)
    before = linear.weight_mask.bool().clone()
    prune_rows(linear, 2)
    after = linear.weight_mask.bool()
    assert not (after & ~before).any()
    assert (after.reshape(4, 4, 4).sum(dim=2) <= 1).all()
    assert torch.equal(after, level_mask(linear.weight_orig * before, linear.weight_level) & before)


def test_restore_dense_gives_the_shadow_weights_and_the_same_parameter_back():
    linear = nn.Linear(10, 3)
    parameter, dense = linear.weight, linear.weight.detach().clone()
    prune_rows(linear, 2)
    restore_dense(linear)
    assert linear.weight is parameter
    assert torch.equal(linear.weight, dense)
    assert set(linear.state_dict()) == {"weight", "bias"}
    assert not torch_prune.is_pruned(linear)
    restore_dense(linear)  # nothing to do, no error


def network():
    return nn.Sequential(nn.Linear(10, 8), nn.ReLU(), nn.Linear(8, 3))


@pytest.mark.parametrize("removed", [False, True])
@pytest.mark.parametrize("target_is_pruned", [False, True])
def test_load_pruned_round_trip(removed, target_is_pruned):
    source, target, x = network(), network(), torch.randn(4, 10)
    LevelPruning.apply(source[0], "weight", torch.tensor([[2, 1]] * 8), torch.randperm(10))
    apply_mask(source[2], torch.rand(3, 8) > 0.5)
    if removed:
        torch_prune.remove(source[0], "weight")
    if target_is_pruned:
        prune_rows(target[0], 1)
        prune_rows(target[2], 3)
    load_pruned(target, source.state_dict())
    assert target.state_dict().keys() == source.state_dict().keys()
    for key, value in source.state_dict().items():
        assert torch.equal(target.state_dict()[key], value), key
    assert torch.equal(target[2].weight, source[2].weight)
    assert torch.equal(target(x), source(x))


def test_load_pruned_into_another_model():
    source = network()
    prune_rows(source[0], 1)
    with pytest.raises(DarbError, match="do not fit the model"):
        load_pruned(nn.Sequential(nn.Linear(11, 8), nn.ReLU(), nn.Linear(8, 3)), source.state_dict())
    with pytest.raises(DarbError, match=r"do not fit the model: 3.bias is missing"):
        load_pruned(nn.Sequential(*network(), nn.Linear(3, 3)), source.state_dict())


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("0.weight_mask", torch.full((8, 10), 0.5), "0.weight_mask is not 0 or 1 everywhere"),
        ("0.weight_order", torch.arange(1, 11), "0.weight_order is no permutation"),
        ("0.weight_order", torch.arange(9), r"0.weight_order has shape \(9,\), not \(10,\)"),
        ("0.weight_level", torch.tensor([[2, 9]] * 8), r"level \(2, 9\)"),
        ("0.weight_level", torch.ones(8, 2), "0.weight_level holds no integers"),
        ("2.bias", torch.zeros(4), "2.bias has shape"),
        ("5.weight", torch.zeros(4), "5.weight is not in the model"),
    ],
)
def test_a_state_that_does_not_fit_changes_nothing(key, value, message):
    source, target = network(), network()
    prune_rows(source[0], 1)
    LevelPruning.apply(target[0], "weight", torch.tensor([[2, 1]] * 8))
    before = {name: tensor.clone() for name, tensor in target.state_dict().items()}
    with pytest.raises(DarbError, match=message):
        load_pruned(target, source.state_dict() | {key: value})
    assert target.state_dict().keys() == before.keys()
    assert all(torch.equal(target.state_dict()[name], tensor) for name, tensor in before.items())


def test_a_loaded_model_can_be_copied():
    source, target = network(), network()
    prune_rows(source[0], 1)
    load_pruned(target, source.state_dict())
    assert torch.equal(copy.deepcopy(target)[0].weight, source[0].weight)
