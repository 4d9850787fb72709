"""A partitioned model is the masked one, an ordinary module, and can be made again from its record."""

import copy
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from darb_prune import Darb, encode, finetune, partition, prune, quantize
from darb_prune.errors import ModelError
from darb_prune.frontend.example import stages_of
from darb_prune.modules.masked import load_pruned
from darb_prune.modules.partitioned import PartitionedLinear
from darb_prune.patterns.parts import parts_of_chain
from darb_prune.structure.record import rebuild
from tests.prune.training import tiny


def mlp(sizes=(18, 13, 12, 5), bias=True, norm=False):
    modules = []
    for columns, rows in pairwise(sizes):
        modules += [nn.Linear(columns, rows, bias), *([nn.BatchNorm1d(rows)] if norm else []), nn.ReLU()]
    return nn.Sequential(*modules[: -1 - norm]).eval()


def head():
    conv = nn.Conv2d(1, 6, 3)
    return nn.Sequential(conv, nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), *mlp((54, 12, 9, 3))).eval()


@torch.no_grad()
def masked(model, names, parts, channels):
    """The same parts as masks on ``model``."""
    chain = [model.get_submodule(name) for name in names]
    worths = [layer.weight.double().abs().unflatten(1, (-1, 1)).sum(2).numpy() for layer in chain]
    worths[0] = chain[0].weight.double().abs().unflatten(1, (channels, -1)).sum(2).numpy()
    dealt = parts_of_chain(worths, parts)
    for number, layer in enumerate(chain):
        columns = np.repeat(dealt[number], layer.in_features // len(dealt[number]))
        layer.weight *= torch.from_numpy(dealt[number + 1][:, None] == columns)


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 999), st.integers(2, 5), st.booleans(), st.booleans())
def test_the_masked_model(seed, parts, bias, norm):
    torch.manual_seed(seed)
    model, x = mlp(bias=bias, norm=norm), torch.randn(7, 18)
    for module in model:
        if isinstance(module, nn.BatchNorm1d):
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    other = copy.deepcopy(model)
    made = partition(other, parts)
    masked(model, made.layers, parts, 18)
    assert torch.allclose(model(x), other(x), atol=1e-5)
    blocks = [part.weight for module in other if isinstance(module, PartitionedLinear) for part in module.parts]
    assert made.kept == sum(map(torch.numel, blocks)) < made.weights == 18 * 13 + 13 * 12
    assert 1 / parts < made.saliency < 1
    assert len(stages_of(other).stages) == 2 * parts + 1  # no copies


def test_behind_a_map_parts_read_whole_channels():
    model, x = head(), torch.randn(5, 1, 8, 8)
    other = copy.deepcopy(model)
    made = partition(other, 3, example=x)
    masked(model, made.layers, 3, 6)
    assert torch.allclose(model(x), other(x), atol=1e-5)


def test_pruned_and_encoded():
    torch.manual_seed(0)
    model, x = mlp(), torch.randn(40, 18)
    partition(model, 3)
    prune(model, 2, Darb(order="search"), example=x)
    integer = quantize(model, x)
    network = encode(integer)
    assert network.weights == sum(layer.weight.numel() for layer in model.modules() if isinstance(layer, nn.Linear))
    assert network.weights / network.kept >= 2
    assert not np.array_equal(network.tensor(network.input).channel_position, np.arange(18))
    error = (integer(integer.quantize_input(x)) * integer.tensors[integer.output].scale - model(x)).abs().max()
    assert error < 0.05 * model(x).abs().max()


def test_training_goes_on():
    model = tiny.model()
    partition(model, 2)
    losses = finetune(model, tiny.loader(), epochs=8, progress=False)
    assert losses[-1] < losses[0]


def test_exclude_ends_a_chain():
    model = mlp((18, 12, 10, 8, 4))
    assert partition(copy.deepcopy(model), 2).layers == ("0", "2", "4")
    assert partition(copy.deepcopy(model), 2, exclude=["2"]).layers == ("0", "4")
    assert partition(model, 2, exclude=["4", "6"]).layers == ("0", "2")


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second, self.third, self.out = (nn.Linear(8, n) for n in (8, 8, 8, 3))

    def forward(self, x):
        x = self.first(x).relu()
        x = x + self.second(x)
        return self.out(torch.tanh(self.third(x)))


class Symbols(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.first = nn.Embedding(9, 4), nn.Linear(12, 8)
        self.second, self.out = nn.Linear(8, 6), nn.Linear(6, 3)

    def forward(self, x):
        return self.out(self.second(self.first(self.embedding(x).flatten(1)).relu()).relu())


def test_a_layer_behind_an_embedding_stays_whole():
    model, x = Symbols(), torch.randint(0, 9, (5, 3))
    assert partition(model, 2, example=x).layers == ("second",)
    stages_of(model, x)


def test_units_that_others_read_stay_where_they_are():
    assert partition(Residual(), 2).layers == ("third",)


@pytest.mark.parametrize(
    ("model", "parts", "message"),
    [
        (mlp(), 1, "parts 1 must be 2 to 64"),
        (mlp(), 13, "layer '2': 12 rows for 13 parts; use fewer parts, or exclude the layer"),
        (mlp((3, 9, 9)), 4, "layer '0': 3 channels to read for 4 parts"),
        (mlp((9, 9)), 2, "no two Linear layers of which one alone reads the other"),
        (nn.Sequential(nn.Linear(8, 8), nn.PReLU(8), nn.Linear(8, 2)), 2, "no two Linear layers"),
    ],
)
def test_refused(model, parts, message):
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ModelError, match=message):
        partition(model, parts)
    assert before.keys() == model.state_dict().keys()


def test_a_pruned_model_is_refused():
    model = mlp()
    prune(model, 2)
    with pytest.raises(ModelError, match="layer '0' is pruned already; partition the dense model"):
        partition(model, 2)


def test_records():
    model = head()
    x = torch.randn(4, 1, 8, 8)
    record = partition(model, 3, example=x).record
    prune(model, 2, example=x)
    state = model.state_dict()
    again = rebuild(head(), [record], state)
    load_pruned(again, state)
    assert torch.equal(again.eval()(x), model(x))
    with_norm = mlp(norm=True)
    record = partition(with_norm, 4).record
    again = rebuild(mlp(norm=True), [record], with_norm.state_dict())
    load_pruned(again, with_norm.state_dict())


@pytest.mark.parametrize(
    "change",
    [
        {"parts": 1}, {"parts": 1 << 40}, {"parts": True}, {"parts": None}, {"layers": None}, {"layers": [3]},
        {"name": ""}, {"name": "1"}, {"name": "none"}, {"name": None}, {"channels": 5}, {"channels": -18},
        {"channels": 2.0}, {"norm": "0"}, {"norm": "1"}, {"norm": 4}, {"parts": 5}, {"parts": 14},
    ],
)  # fmt: skip
def test_records_that_do_not_fit(change):
    model = mlp()
    record = partition(model, 4).record
    entry = {**record["layers"][0], **{key: value for key, value in change.items() if key in record["layers"][0]}}
    record = {**record, "layers": [entry], **{key: value for key, value in change.items() if key in record}}
    with pytest.raises(ModelError, match=r"run( the command)? again|must be 2 to 64"):
        rebuild(mlp(), [record], model.state_dict())


def test_channels_that_are_read_twice_are_refused():
    model = mlp()
    record, state = partition(model, 2).record, model.state_dict()
    state["0.picks_0"][0] = state["0.picks_1"][0]
    with pytest.raises(ModelError, match="layer '0': the channels of its parts are not all channels once"):
        rebuild(mlp(), [record], state)


def test_a_record_that_leaves_something_out_is_refused():
    model = mlp()
    record = partition(model, 4).record
    entry = {key: value for key, value in record["layers"][0].items() if key != "norm"}
    with pytest.raises(ModelError, match="does not fit the model"):
        rebuild(mlp(), [{**record, "layers": [entry]}], model.state_dict())
