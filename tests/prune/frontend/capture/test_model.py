"""Whole models, and what is refused."""

from collections import OrderedDict

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from darb_prune.encoded import Level
from darb_prune.errors import DarbError
from darb_prune.frontend.capture import capture, check_finite
from darb_prune.frontend.execution import run
from darb_prune.modules import layers
from darb_prune.modules.masked import apply_mask
from darb_prune.patterns.masks import level_mask, level_rows
from darb_prune.tasks.fsdd import Speech
from darb_prune.tasks.language import LanguageModel
from darb_prune.tasks.lenet import lenet5, lenet_300_100
from darb_prune.tasks.resnet import ResNet, resnet20
from tests.draws import HypothesisDraw
from tests.prune.frontend.capture.nets import check, check_rules, names, refuse_vectors
from tests.random_models import MIXES, STEPS, Grown, draw_sequences

ILLEGAL = {
    "model: operator softmax is not supported; leave it out of the model": lambda m, x: torch.softmax(m.a(x), 1),
    "model: operator cumsum is not supported; supported: Linear, Conv1d": lambda m, x: torch.cumsum(m.a(x), 1),
    "operator linear": lambda m, x: F.linear(x, m.a.weight),
    "Net: no layer with weights": lambda m, x: x.relu(),
    "the dimensions of the output are permuted": lambda m, x: m.a(x).t(),
    "Net: does something that was not recognised": lambda m, x: m.c(m.a(x) if m.count() else -m.a(x)),
}


@pytest.mark.parametrize("message", ILLEGAL)
def test_illegal(message):
    refuse_vectors(message, ILLEGAL[message])


def test_models_of_the_tasks():
    assert names(check(lenet_300_100(), torch.randn(2, 784))) == ["fc1", "fc2", "fc3"]
    stages = check(lenet5(), torch.randn(2, 1, 28, 28))
    assert names(stages) == ["conv1", "conv2", "fc1", "fc2", "fc3"]
    assert [stage.pool for stage in stages.stages] == [(2, 2)] * 2 + [(1, 1)] * 3
    model = ResNet(1)
    stages = check(model, torch.randn(2, 3, 32, 32))
    assert sum(stage.operand is not None for stage in stages.stages) == 3
    assert [stage.name for stage in stages.stages if not stage.weights[0].part] == ["pool"]
    assert stages.stages[4].operand == type(stages.stages[4].operand)("layer1.0.conv2.out", (2, 2), 8)
    assert {layer.name for layer in layers.layers(model)} <= set(names(stages))
    model = LanguageModel(11, 5, 6, 2)
    stages = check(model, torch.randint(11, (2, 4)))
    assert {layer.name for layer in layers.layers(model)} <= set(names(stages))
    assert (stages.recurrent, stages.emit) == (True, "step")
    stages = check(Speech(5, 4, 3), torch.randn(2, 7, 5))
    assert names(stages) == ["gru.n_x", "gru.rz", "gru.n_h", "gru.cell", "output"]
    assert (stages.recurrent, stages.emit) == (True, "last")


def test_resnet20_in_full():
    stages = capture(resnet20(), torch.randn(1, 3, 32, 32))
    check_rules(stages)
    assert len(stages.stages) == 21


class Inverted(nn.Module):
    """The block of MobileNetV2."""

    def __init__(self, channels, width, stride):
        super().__init__()
        hidden, self.same = 2 * channels, stride == 1
        self.net = nn.Sequential(
            nn.Conv2d(channels, hidden, 1, bias=False), nn.BatchNorm2d(hidden), nn.ReLU6(inplace=True),
            nn.Conv2d(hidden, hidden, 3, stride, 1, groups=hidden, bias=False), nn.BatchNorm2d(hidden),
            nn.ReLU6(inplace=True), nn.Conv2d(hidden, width, 1, bias=False), nn.BatchNorm2d(width),
        )  # fmt: skip

    def forward(self, x):
        return x + self.net(x) if self.same else self.net(x)


class Fire(nn.Module):
    """The module of SqueezeNet."""

    def __init__(self, channels):
        super().__init__()
        self.squeeze, self.one, self.three = (
            nn.Conv2d(channels, 2, 1),
            nn.Conv2d(2, 4, 1),
            nn.Conv2d(2, 4, 3, padding=1),
        )
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        x = self.relu(self.squeeze(x))
        return torch.cat([self.relu(self.one(x)), self.relu(self.three(x))], 1)


class Dense(nn.Module):
    """The block of DenseNet."""

    def __init__(self, channels):
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(nn.BatchNorm2d(width), nn.ReLU(inplace=True), nn.Conv2d(width, 2, 3, padding=1, bias=False))
            for width in (channels, channels + 2, channels + 4)
        )

    def forward(self, x):
        found = [x]
        for layer in self.layers:
            found.append(layer(torch.cat(found, 1)))
        return torch.cat(found, 1)


class Basic(nn.Module):
    """The block of ResNet-18, with a projection."""

    def __init__(self, channels, width):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(channels, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width)
        self.down = nn.Sequential(nn.Conv2d(channels, width, 1, 2, bias=False), nn.BatchNorm2d(width))
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        out += self.down(x)
        return self.relu(out)


def test_blocks_of_published_networks():
    stem = [nn.Conv2d(3, 4, 3, 2, 1, bias=False), nn.BatchNorm2d(4), nn.ReLU(inplace=True)]
    pooled = [nn.MaxPool2d(3, 2, 1), nn.MaxPool2d(3, 2, ceil_mode=True)]
    end = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(), nn.Linear(8, 5)]
    x = torch.randn(1, 3, 17, 16)
    stages = check(nn.Sequential(*stem, Inverted(4, 4, 1), Inverted(4, 8, 2), *end), x)
    assert len(stages.stages) == 9
    assert sum(stage.operand is not None for stage in stages.stages) == 1
    stages = check(nn.Sequential(*stem, pooled[1], Fire(4), Fire(8), *end), x)
    assert len(stages.stages) == 1 + 9 + 6 + 2
    stages = check(nn.Sequential(*stem, pooled[0], Basic(4, 8), *end), x)
    assert len(stages.stages) == 1 + 9 + 3 + 2
    check(nn.Sequential(*stem, Dense(4), nn.BatchNorm2d(10), nn.ReLU(), nn.Conv2d(10, 8, 1), nn.AvgPool2d(2), *end), x)


def test_names_modules_and_bare_layers():
    model = nn.Sequential(
        OrderedDict(
            net=nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.MaxPool2d(3, 1), nn.ReLU()), flat=nn.Flatten(),
            norm=nn.BatchNorm1d(8), out=nn.Linear(8, 2),
        )
    )  # fmt: skip
    model.norm = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.BatchNorm1d(8))
    stages = check(model, torch.randn(2, 1, 6, 6))
    taps = [f"net.2.{y}.{x}" for y in range(3) for x in range(3)]
    assert names(stages) == ["net.0", *taps, "net.3", "norm.0", "norm.2", "out"]
    assert stages.stages[0].weights[0].part.module is model.net[0]
    assert stages.stages[0].norm is model.net[1]
    linear = nn.Linear(4, 3)
    (stage,) = check(linear, torch.randn(1, 4)).stages
    assert (stage.name, stage.weights[0].part.module) == ("0", linear)


def test_masks_are_masks_of_the_stages_and_gradients_reach_them():
    model = nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 2))
    stages = capture(model, torch.randn(1, 8))
    apply_mask(model[0], level_mask(model[0].weight, level_rows(Level(1, 1), len(model[0].weight))))
    lstm = nn.LSTM(8, 4, batch_first=True)
    apply_mask(lstm, level_mask(lstm.weight_hh_l0, level_rows(Level(1, 1), len(lstm.weight_hh_l0))), "weight_hh_l0")
    for net, x in ((model, torch.randn(3, 8)), (lstm, torch.randn(2, 3, 8))):
        stages = check(net, x)
        run(stages, x.double())[stages.output].sum().backward()
    assert ((model[0].weight_orig.grad != 0) <= (model[0].weight_mask != 0)).all()
    assert lstm.weight_hh_l0_orig.grad.any()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("where", ["weight", "bias", "masked weight", "norm", "table"])
def test_weights_that_are_not_finite(value, where):
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 5), nn.BatchNorm1d(5))
    x, layer = torch.randn(2, 4), "2"
    if where == "masked weight":
        apply_mask(model[2], torch.ones(5, 3))
    if where == "table":
        model, x, layer = nn.Sequential(nn.Embedding(6, 4), *model), torch.zeros(2).long(), "0"
        model[0].weight.data[4] = value
    else:
        targets = {"weight": model[2].weight, "bias": model[2].bias, "norm": model[3].bias}
        targets.get(where, getattr(model[2], "weight_orig", None)).data[4] = value
    with pytest.raises(DarbError, match=f"layer '{layer}', row 4: weight or bias is NaN or infinite"):
        check_finite(capture(model, x))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_random_sequences(data):
    check(*draw_sequences(HypothesisDraw(data.draw)))


@st.composite
def networks(draw):
    """Random graphs of convolutions: every step takes some of the maps of one size so far."""
    channels, size = draw(st.integers(1, 3)), draw(st.tuples(st.integers(3, 9), st.integers(3, 9)))
    steps = draw(
        st.lists(st.tuples(st.sampled_from(sorted(STEPS | MIXES)), st.integers(0, 99), st.integers(0, 99)), max_size=8)
    )
    return channels, size, steps


@settings(max_examples=100, deadline=None)
@given(networks())
def test_random_graphs(network):
    channels, size, steps = network
    torch.manual_seed(len(steps))
    model, x = Grown(steps).double(), torch.randn(2, channels, *size).double()
    with torch.no_grad():
        model(x)

    class Again(nn.Module):
        def __init__(self, first):
            super().__init__()
            self.net, self.first = model, first

        def forward(self, x):
            result = self.net(x)
            return result if self.first else result[1]

    check(Again(True), x)
    check(Again(False), x)
