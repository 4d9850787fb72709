"""Channels in another order."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from darb_prune import encode, prune, quantize
from darb_prune.errors import DarbError
from darb_prune.frontend.capture import capture
from tests.prune.frontend.capture.nets import Net, check, names


def shuffled(x, groups):
    samples, channels, height, width = x.shape
    return x.view(samples, groups, channels // groups, height, width).transpose(1, 2).reshape(x.shape)


MAPS = {
    "shuffle": lambda m, x: m.six(nn.ChannelShuffle(3)(m.a(x))),
    "shuffle by reshape": lambda m, x: m.six(shuffled(m.a(x), 2)),
    "shuffle of groups and depthwise": lambda m, x: m.six(m.depth(shuffled(m.groups(m.a(x)).relu(), 3))),
    "flattened": lambda m, x: m.fc(m.a(x).view(-1, 2, 3, 4, 6).transpose(1, 2).flatten(1)),
    "three parts": lambda m, x: m.twelve(
        torch.cat([m.a(x), m.a2(x)], 1).view(-1, 2, 3, 2, 4, 6).permute(0, 3, 1, 2, 4, 5).reshape(-1, 12, 4, 6)
    ),
    "flip": lambda m, x: m.six(m.a(x).flip(1).relu()),
    "roll": lambda m, x: m.six(m.a(x).roll(2, 1)),
    "list": lambda m, x: m.three(m.a(x)[:, [5, 0, 0]]),
    "every second one": lambda m, x: m.three(m.a(x)[:, 1::2]) + m.three2(m.a2(x)[:, ::2, :, :]),
    "index": lambda m, x: m.three(m.a(x).index_select(1, torch.tensor([1, 4, 2]))),
    "of a part": lambda m, x: m.three(m.a(x)[:, 3:].flip(1)),
    "repeated": lambda m, x: m.six(m.three3(x).repeat(1, 2, 1, 1)),
    "grey to colours": lambda m, x: m.three(x[:, :1].repeat_interleave(3, 1)),
    "input": lambda m, x: m.a(x.flip(1)),
    "added": lambda m, x: m.six(m.a(x) + m.a2(x).flip(1)),
    "pixel shuffle": lambda m, x: m.three(F.pixel_shuffle(m.twelve2(x), 2)),
    "pixel unshuffle": lambda m, x: m.twelve(F.pixel_unshuffle(m.three3(x).relu(), 2)),
    "pixel unshuffle, padded": lambda m, x: m.twelve(F.pixel_unshuffle(F.pad(m.three3(x), (1, 1, 0, 2)), 2)),
    "there and back": lambda m, x: m.three(F.pixel_shuffle(F.pixel_unshuffle(m.three3(x), 2), 2)),
}


def net(forward):
    return Net(
        forward, a=nn.Conv2d(2, 6, 3, padding=1), a2=nn.Conv2d(2, 6, 1), groups=nn.Conv2d(6, 6, 1, groups=2),
        depth=nn.Conv2d(6, 6, 3, padding=1, groups=6), six=nn.Conv2d(6, 2, 1), twelve=nn.Conv2d(12, 2, 1),
        twelve2=nn.Conv2d(2, 12, 1), three=nn.Conv2d(3, 2, 1), three2=nn.Conv2d(3, 2, 1), three3=nn.Conv2d(2, 3, 1),
        fc=nn.Linear(144, 3),
    )  # fmt: skip


@pytest.mark.parametrize("name", MAPS)
def test_maps(name):
    check(net(MAPS[name]), torch.randn(2, 2, 4, 6))


VECTORS = {
    "vector": lambda m, x: m.b(m.a(x).view(-1, 2, 4).transpose(1, 2).flatten(1)),
    "line": lambda m, x: m.b(m.a(x).flip(1)),
}


@pytest.mark.parametrize("name", VECTORS)
def test_vectors(name):
    stages = check(Net(VECTORS[name], a=nn.Linear(3, 8), b=nn.Linear(8, 2)), torch.randn(2, 3))
    assert len(stages.stages) == 3


def test_what_changes_nothing_needs_no_stage():
    model = Net(
        lambda m, x: m.b(m.a(x).view(-1, 2, 3, 4, 6).relu().reshape(-1, 6, 4, 6)), a=nn.Conv2d(2, 6, 1),
        b=nn.Conv2d(6, 2, 1),
    )  # fmt: skip
    assert names(check(model, torch.randn(2, 2, 4, 6))) == ["a", "b"]


def test_pruned_in_an_order_of_its_own():
    """What is picked from, and what is made of it, have storage orders; a copy is not counted as pruned."""
    torch.manual_seed(0)
    model = Net(lambda m, x: m.b(shuffled(m.a(x).relu(), 2)), a=nn.Conv2d(2, 8, 3), b=nn.Conv2d(8, 6, (2, 3))).eval()
    x = torch.randn(8, 2, 4, 6)
    pruned = prune(model, 1.5, example=x)
    integer = quantize(model, x)
    network = encode(integer)
    assert network.weights - network.kept == pruned.weights - pruned.kept > 0
    outputs = integer(integer.quantize_input(x)).double() * integer.tensors[integer.output].scale
    wanted = model(x).detach().flatten(1)
    assert float((outputs - wanted).abs().max() / wanted.abs().max()) < 0.05


ILLEGAL = {
    "flip of other dimensions than the channels": lambda m, x: m.six(m.a(x).flip(2)),
    "every 2-th channel is read, and a part of another": lambda m, x: m.three(m.a(x)[:, ::2, 1:]),
    "indexing with a tensor": lambda m, x: m.six(m.a(x)[:, :, torch.tensor([1, 0])]),
}


@pytest.mark.parametrize("message", ILLEGAL)
def test_illegal(message):
    with pytest.raises(DarbError, match=message):
        capture(net(ILLEGAL[message]), torch.randn(2, 2, 4, 6))
