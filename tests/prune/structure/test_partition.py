"""A partitioned model is the masked one, an ordinary module, and can be made again from its record."""

import copy
import json
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
from darb_prune.modules.layers import layers
from darb_prune.modules.masked import load_pruned
from darb_prune.modules.partitioned import PartitionedConv2d, PartitionedLinear
from darb_prune.patterns.parts import parts_of_chain
from darb_prune.structure.record import rebuild
from tests.prune.frontend.capture.nets import lively
from tests.prune.training import tiny


def mlp(sizes=(18, 13, 12, 5), bias=True, norm=False):
    modules = []
    for columns, rows in pairwise(sizes):
        modules += [nn.Linear(columns, rows, bias), *([nn.BatchNorm1d(rows)] if norm else []), nn.ReLU()]
    return nn.Sequential(*modules[: -1 - norm]).eval()


def head():
    conv = nn.Conv2d(1, 6, 3)
    return nn.Sequential(conv, nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), *mlp((54, 12, 9, 3))).eval()


CHANNELS = nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(1), nn.AvgPool2d(2, 1), nn.MaxPool2d(3, 2, 1)


def image(end=CHANNELS[0], norm=True):
    """Four convolutions, with a depthwise one between two of them, and a head behind ``end``."""
    norms = [nn.BatchNorm2d(rows) if norm else nn.Identity() for rows in (9, 10, 10, 8)]
    maps = [nn.Conv2d(2, 9, 3, padding=1), norms[0], nn.ReLU(), nn.Conv2d(9, 10, (1, 3), (1, 2), bias=False)]
    maps += [norms[1], nn.ReLU(), nn.MaxPool2d(3, 1, 1), nn.Conv2d(10, 10, 3, padding=1, groups=10), norms[2]]
    maps += [nn.Hardswish(), nn.Conv2d(10, 8, 3, padding="same"), norms[3], nn.ReLU(), nn.Dropout(0.1)]
    maps += [nn.Conv2d(8, 11, 2, dilation=(1, 2)), nn.ReLU(), end, nn.Flatten()]
    columns = nn.Sequential(*maps)(torch.zeros(1, 2, 8, 13)).numel()
    return nn.Sequential(*maps, *mlp((columns, 12, 9, 3), norm=norm)).eval()


@torch.no_grad()
def masked(model, names, parts, channels):
    """The same parts as masks on ``model``; the first layer reads so many channels."""
    chain = [model.get_submodule(name) for name in names]
    counts = [channels, *(len(layer.weight) for layer in chain)]
    weights = [layer.weight.view(len(layer.weight), count, -1) for layer, count in zip(chain, counts, strict=False)]
    dealt = parts_of_chain([weight.double().abs().sum(2).numpy() for weight in weights], parts)
    for weight, columns, rows in zip(weights, dealt, dealt[1:], strict=False):
        weight *= torch.from_numpy(rows[:, None] == columns)[..., None]


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 999), st.integers(2, 5), st.booleans(), st.booleans())
def test_the_masked_model(seed, parts, bias, norm):
    torch.manual_seed(seed)
    model, x = mlp(bias=bias, norm=norm), torch.randn(7, 18)
    lively(model).float()
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


CUT = ("3", "10", "14", "18", "20")


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 999), st.integers(2, 5), st.booleans(), st.sampled_from(CHANNELS))
def test_channels_of_convolutions(seed, parts, norm, end):
    torch.manual_seed(seed)
    model, x = lively(image(end, norm)).float(), torch.randn(5, 2, 8, 13)
    names = tuple(str(int(name) + 1 * (norm and int(name) > 18)) for name in CUT)
    other = copy.deepcopy(model)
    made = partition(other, parts, example=x)
    assert made.layers == names
    masked(model, names, parts, 9)
    assert torch.allclose(model(x), other(x), atol=1e-5)
    blocks = [module for module in other.modules() if isinstance(module, PartitionedLinear | PartitionedConv2d)]
    assert made.kept == sum(part.weight.numel() for module in blocks for part in module.parts) < made.weights
    assert 1 / parts < made.saliency < 1


def test_parts_of_channels_are_read_where_they_are():
    model, x = image(CHANNELS[1]), torch.randn(1, 2, 8, 13)
    before = len(stages_of(model, x).stages)
    partition(model, 3, example=x)
    assert len(stages_of(model, x).stages) == before + 2 * len(CUT)


@pytest.mark.parametrize(("build", "shape"), [(mlp, (18,)), (image, (2, 8, 13))])
def test_pruned_and_encoded(build, shape):
    torch.manual_seed(0)
    model, x = build(), torch.randn(40, *shape)
    partition(model, 3, example=x)
    prune(model, 2, Darb(order="search"), example=x)
    integer = quantize(model, x)
    network = encode(integer)
    pruned = [layer for layer in network.layers if not layer.depthwise]
    weights = sum(layer.weights for layer in layers(model))
    assert sum(layer.dense_weights for layer in pruned) == weights
    assert weights / sum(layer.kept for layer in pruned) >= 2
    moved = not np.array_equal(network.tensor(network.input).channel_position, np.arange(shape[0]))
    assert moved or build is image
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


class Bottleneck(nn.Module):
    def __init__(self, groups=1):
        super().__init__()
        self.front, self.first, self.out = nn.Conv2d(2, 8, 1), nn.Conv2d(8, 6, 1), nn.Conv2d(8, 3, 1)
        self.second, self.third = nn.Conv2d(6, 6, 3, padding=1, groups=groups), nn.Conv2d(6, 8, 1)

    def forward(self, x):
        x = self.front(x)
        x = x + self.third(self.second(self.first(x).relu()).relu())
        return self.out(x.relu())


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second, self.third, self.out = (nn.Linear(8, n) for n in (8, 8, 8, 3))
        self.norm = lively(nn.BatchNorm1d(8)).float()

    def forward(self, x):
        x = self.norm(self.first(x)).relu()
        return self.out(self.third(self.norm(self.second(x)).relu()))


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


def test_channels_of_a_sum_stay_where_they_are():
    x = torch.randn(3, 2, 5, 5)
    model = Bottleneck()
    other = copy.deepcopy(model)
    assert partition(other, 2, example=x).layers == ("second",)
    masked(model, ["second"], 2, 6)
    assert torch.allclose(model(x), other(x), atol=1e-5)
    with pytest.raises(ModelError, match="no three layers that begin with a convolution"):
        partition(Bottleneck(groups=2), 2, example=x)


def test_layers_of_one_norm_stay_whole():
    model, x = Twice().eval(), torch.randn(4, 8)
    other = copy.deepcopy(model)
    assert partition(other, 2, example=x).layers == ("third",)
    masked(model, ["third"], 2, 8)
    assert torch.allclose(model(x), other(x), atol=1e-5)


@pytest.mark.parametrize(
    ("model", "parts", "message"),
    [
        (mlp(), "2", "parts '2' must be 2 to 64"),
        (mlp(), 2.5, "parts 2.5 must be 2 to 64"),
        (mlp(), 1, "parts 1 must be 2 to 64"),
        (mlp(), 13, "layer '2': 12 rows for 13 parts; use fewer parts, or exclude the layer"),
        (mlp((3, 9, 9)), 4, "layer '0': 3 channels to read for 4 parts"),
        (
            mlp((9, 9)),
            2,
            "no two Linear layers, and no three layers that begin with a convolution, of which each alone",
        ),
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


@pytest.mark.parametrize(("build", "shape"), [(head, (1, 8, 8)), (image, (2, 8, 13))])
def test_records(build, shape):
    model, x = build(), torch.randn(4, *shape)
    record = json.loads(json.dumps(partition(model, 3, example=x).record))
    prune(model, 2, example=x)
    state = model.state_dict()
    again = rebuild(build(), [record], state)
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


@pytest.mark.parametrize(
    "change", [{"name": "7"}, {"name": "1"}, {"channels": 9}, {"norm": "1"}, {"norm": "3"}, {"parts": 10}]
)
def test_records_that_do_not_fit_convolutions(change):
    model, x = image(), torch.zeros(1, 2, 8, 13)
    record = partition(model, 4, example=x).record
    entry = record["layers"][0] | {key: value for key, value in change.items() if key != "parts"}
    record = {**record, "parts": change.get("parts", 4), "layers": [entry]}
    with pytest.raises(ModelError, match="does not fit the model at layer"):
        rebuild(image(), [record], model.state_dict())


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
