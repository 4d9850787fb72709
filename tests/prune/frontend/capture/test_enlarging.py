"""Transposed convolutions and upsampling."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from darb_prune.errors import DarbError
from darb_prune.frontend.capture import capture
from tests.prune.frontend.capture.nets import Net, check, names

TRANSPOSED = {
    "stride 2": (nn.ConvTranspose2d(3, 4, 2, 2), (4, 5)),
    "overlapping": (nn.ConvTranspose2d(3, 4, 3, 2, 1, 1), (4, 5)),
    "padding": (nn.ConvTranspose2d(3, 4, 4, 2, 1), (4, 5)),
    "much padding": (nn.ConvTranspose2d(3, 4, 5, 2, 4), (6, 7)),
    "stride 1": (nn.ConvTranspose2d(3, 4, 3, padding=1, bias=False), (4, 5)),
    "strides that differ": (nn.ConvTranspose2d(3, 4, (3, 4), (1, 3), (2, 0)), (4, 5)),
    "size is no multiple": (nn.ConvTranspose2d(3, 4, 3, 2), (4, 5)),
    "one pixel": (nn.ConvTranspose2d(3, 4, 3, 3), (1, 1)),
    "more phases than pixels": (nn.ConvTranspose2d(3, 4, 4, 4, 1), (1, 2)),
    "groups": (nn.ConvTranspose2d(6, 4, 3, 2, 1, groups=2), (4, 5)),
    "depthwise": (nn.ConvTranspose2d(6, 6, 4, 2, 1, groups=6), (4, 5)),
    "line": (nn.ConvTranspose1d(3, 4, 4, 2, 1), (9,)),
    "line, stride 3": (nn.ConvTranspose1d(3, 4, 5, 3, 1, 2), (9,)),
}


@pytest.mark.parametrize("name", TRANSPOSED)
def test_transposed_convolutions(name):
    layer, size = TRANSPOSED[name]
    conv = nn.Conv1d if len(size) == 1 else nn.Conv2d
    model = Net(
        lambda m, x: m.last(m.up(m.first(x).relu())), first=conv(2, layer.in_channels, 1), up=layer,
        last=conv(layer.out_channels, 2, 1),
    )  # fmt: skip
    stages = check(model, torch.randn(2, 2, *size))
    assert sum(name.startswith("up") for name in names(stages)) == len(stages.stages) - 2


LAYERS = {
    "norm and relu": lambda m, x: m.last(m.norm(m.up(x)).relu()),
    "pooling": lambda m, x: m.last(F.max_pool2d(m.up(x), 2)),
    "addition": lambda m, x: m.last(m.up(x) + m.up2(x)),
    "concatenation": lambda m, x: m.last8(torch.cat([m.up(x), m.up2(x)], 1)),
    "output": lambda m, x: m.up(x),
    "padded": lambda m, x: m.last(m.up(F.pad(x, (1, 0, 0, 2)))),
    "table": lambda m, x: m.last(m.slopes(m.up(x)).tanh()),
    "nearest": lambda m, x: m.last(F.interpolate(m.up(x), scale_factor=2)),
    "nearest, factors that differ": lambda m, x: m.last(F.interpolate(m.up(x), scale_factor=(1, 3), mode="nearest")),
    "nearest of the input": lambda m, x: m.down(nn.Upsample(size=(8, 15))(x)),
    "nearest behind relu, pooled": lambda m, x: m.last(
        F.max_pool2d(nn.Upsample(scale_factor=2)(m.up(x).relu()), 3, 2, 1)
    ),
    "nearest of a factor of 1": lambda m, x: m.last(F.interpolate(m.up(x), scale_factor=1)),
    "skip": lambda m, x: m.last7(torch.cat([F.interpolate(m.down(x), scale_factor=2), m.up(x)], 1)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_between_other_layers(name):
    model = Net(
        LAYERS[name], up=nn.ConvTranspose2d(3, 4, 2, 2), up2=nn.ConvTranspose2d(3, 4, 4, 2, 1), norm=nn.BatchNorm2d(4),
        slopes=nn.PReLU(4), last=nn.Conv2d(4, 2, 3, padding=1), last8=nn.Conv2d(8, 2, 1), last7=nn.Conv2d(7, 2, 1),
        down=nn.Conv2d(3, 3, 3, padding=1),
    )  # fmt: skip
    check(model, torch.randn(2, 3, 4, 5))


def test_nearest_neighbours_in_one_dimension():
    model = Net(lambda m, x: m.b(F.interpolate(m.a(x), scale_factor=3)), a=nn.Conv1d(2, 2, 1), b=nn.Conv1d(2, 3, 2))
    assert names(check(model, torch.randn(2, 2, 5))) == ["a", *(f"interpolate.0.{x}" for x in range(3)), "b"]


ILLEGAL = {
    "up: ConvTranspose2d with dilation .*; use dilation=1": lambda m, x: nn.Sequential(m.up)(x),
    "small: ConvTranspose2d with a kernel of .* and a stride of .*; make the kernel larger": lambda m, x: m.small(x),
    "interpolate with mode 'bilinear'; use mode='nearest'": lambda m, x: F.interpolate(
        m.a(x), scale_factor=2, mode="bilinear"
    ),
    "interpolate of .4, 5. pixels to .6, 8.; use a factor that is an integer": lambda m, x: F.interpolate(
        m.a(x), size=(6, 8)
    ),
}


@pytest.mark.parametrize("message", ILLEGAL)
def test_illegal(message):
    model = Net(
        ILLEGAL[message], up=nn.ConvTranspose2d(3, 4, 2, dilation=2), small=nn.ConvTranspose2d(3, 4, 2, 3),
        a=nn.Conv2d(3, 3, 1),
    )  # fmt: skip
    with pytest.raises(DarbError, match=message):
        capture(model, torch.randn(2, 3, 4, 5))
