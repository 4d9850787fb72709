"""Models of several inputs."""

import pytest
import torch
from torch import nn

from darb_prune import JoinedInputs, encode, prune, quantize
from darb_prune.errors import ModelError
from tests.prune.frontend.capture.nets import check


class Pair(nn.Module):
    """Two inputs, each through a layer of its own."""

    def __init__(self, one, two, out):
        super().__init__()
        self.one, self.two, self.out = one, two, out

    def forward(self, left, right):
        return self.out(torch.cat([self.one(left), self.two(right)], -1 if left.dim() < 4 else 1))


class Steps(nn.Module):
    """An LSTM over both inputs."""

    def __init__(self):
        super().__init__()
        self.lstm, self.out = nn.LSTM(6, 5, batch_first=True), nn.Linear(5, 2)

    def forward(self, left, right):
        return self.out(self.lstm(torch.cat([left, right.relu()], 2))[0][:, -1])


PAIRS = {
    "vectors": (lambda: Pair(nn.Linear(5, 8), nn.Linear(3, 8), nn.Linear(16, 4)), (5, 3), 1, (8,)),
    "images": (lambda: Pair(nn.Conv2d(3, 4, 3), nn.Conv2d(1, 4, 3), nn.Conv2d(8, 4, 1)), (3, 1), 1, (4, 6, 6)),
    "sequences": (lambda: Pair(nn.Linear(4, 4), nn.Linear(2, 4), nn.Linear(8, 3)), (4, 2), -1, (7, 6)),
    "time steps": (Steps, (4, 2), 2, (7, 6)),
}


@pytest.mark.parametrize("name", PAIRS)
def test_pruned_and_encoded(name):
    build, channels, dim, shape = PAIRS[name]
    torch.manual_seed(0)
    model = build()
    joined, x = JoinedInputs(model, channels, dim), torch.randn(6, *shape)
    assert torch.equal(joined(x), model(*x.split(channels, dim)))
    check(joined, x)
    joined = joined.float()
    prune(joined, 2, example=x)
    integer = quantize(joined, x)
    assert encode(integer).kept > 0
    outputs = integer(integer.quantize_input(x)).double() * integer.tensors[integer.output].scale
    wanted = joined(x).detach()
    wanted = wanted.movedim(-1, 1).flatten(1) if dim == -1 else wanted.flatten(1)
    assert float((outputs - wanted).abs().max() / wanted.abs().max()) < 0.05


@pytest.mark.parametrize("channels", [(), (3, 0), (3, 1.5)])
def test_illegal_channels(channels):
    with pytest.raises(ModelError, match=r"give the channels of each input, as in \(3, 1\)"):
        JoinedInputs(nn.Identity(), channels)


def test_another_input():
    build, channels, dim, _ = PAIRS["vectors"]
    model = build()
    with pytest.raises(ModelError, match=r"an input of shape \(2, 7\); dimension 1 must have 5 \+ 3 channels"):
        JoinedInputs(model, channels, dim)(torch.randn(2, 7))
