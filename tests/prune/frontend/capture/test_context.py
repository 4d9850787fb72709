"""How the input is read, and whose parameters are whose."""

import pytest
import torch
from torch import nn

from tests.prune.frontend.capture.nets import Net, check, refuse_maps, refuse_vectors

ILLEGAL = {
    "b: Linear shares its weight with layer 'b' ": lambda m, x: m.b(m.b(m.a(x))),
    "b2: Linear shares its weight with layer 'b'": lambda m, x: m.b2(m.b(m.a(x))),
}


@pytest.mark.parametrize("message", ILLEGAL)
def test_illegal(message):
    refuse_vectors(message, ILLEGAL[message])


ILLEGAL_MAPS = {
    "permuted; give inputs as": lambda m, x: m.last(x.permute(0, 3, 2, 1)),
    "first: Conv2d must read": lambda m, x: m.six(x.permute(0, 3, 1, 2)).mean((2, 3)) + m.first(x).mean((2, 3)),
    "the input is read as": lambda m, x: m.first(x) + m.first2(x.view(-1, 2, 6, 9)).transpose(2, 3),
}


@pytest.mark.parametrize("message", ILLEGAL_MAPS)
def test_illegal_maps(message):
    refuse_maps(message, ILLEGAL_MAPS[message])


INPUTS = {
    "vector as image": (lambda m, x: m.conv(x.view(-1, 1, 4, 5)).relu(), (20,), (1, 4, 5)),
    "image as vector": (lambda m, x: m.fc(x.flatten(1)), (1, 4, 5), (20, 1, 1)),
    "grey image": (lambda m, x: m.conv(x.unsqueeze(1)), (4, 5), (1, 4, 5)),
    "image and vector": (lambda m, x: m.fc(x.flatten(1)) + m.fc3(m.conv(x).mean((2, 3))), (1, 4, 5), (1, 4, 5)),
    "line": (lambda m, x: m.line(x[:, None]), (20,), (1, 1, 20)),
    "single value": (lambda m, x: m.one(x), (1,), (1, 1, 1)),
}


LAST = {
    "line": (lambda m, x: m.line(x.transpose(1, 2)), (7, 5), (5, 1, 7)),
    "image": (lambda m, x: m.conv(x.permute(0, 3, 1, 2)), (4, 6, 2), (2, 4, 6)),
    "a line of the image": (lambda m, x: m.conv(x.permute(0, 3, 1, 2)), (1, 6, 2), (2, 1, 6)),
    "activation": (lambda m, x: m.line(x.transpose(1, 2).tanh()), (7, 5), (5, 1, 7)),
    "read twice": (lambda m, x: m.line(x.transpose(1, 2)) + m.line2(x.transpose(1, 2)), (7, 5), (5, 1, 7)),
    "layer and addition": (lambda m, x: m.each(x) + x, (7, 5), (5, 1, 7)),
}


@pytest.mark.parametrize("name", LAST)
def test_inputs_with_their_channels_last(name):
    forward, sizes, shape = LAST[name]
    model = Net(
        forward, line=nn.Conv1d(5, 3, 1), line2=nn.Conv1d(5, 3, 1), conv=nn.Conv2d(2, 3, (1, 2)), each=nn.Linear(5, 5)
    )
    stages = check(model, torch.randn(2, *sizes))
    assert (stages.values["input"].shape, stages.input_last) == (shape, True)


@pytest.mark.parametrize("name", INPUTS)
def test_shape_of_the_input(name):
    forward, given, found = INPUTS[name]
    model = Net(
        forward, conv=nn.Conv2d(1, 3, 3), fc=nn.Linear(20, 3), fc3=nn.Linear(3, 3), line=nn.Conv1d(1, 2, 3),
        one=nn.Linear(1, 2),
    )  # fmt: skip
    stages = check(model, torch.randn(2, *given))
    assert stages.values["input"].shape == found
