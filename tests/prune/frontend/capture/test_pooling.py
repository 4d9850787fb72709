"""Maxima that join a stage, maxima of overlapping windows, averages."""

import pytest
import torch
import torch.nn.functional as F

from tests.prune.frontend.capture.nets import check, lines, maps, refuse_maps

MAPS = {
    "norm and pool": lambda m, x: m.b(F.max_pool2d(m.norm(m.a(x)).relu(), 2)),
    "pool twice": lambda m, x: m.b(F.max_pool2d(F.max_pool2d(m.a(x), 2), (2, 1))),
    "pool of the input": lambda m, x: m.first(F.max_pool2d(x, 2)),
    "pool at the end": lambda m, x: F.max_pool2d(m.a(x), 2),
    "pool of a sum": lambda m, x: F.max_pool2d(m.a(x) + m.again(x), 2),
    "norm behind the pool": lambda m, x: m.b(m.norm(F.max_pool2d(m.a(x), 2))),
    "overlapping": lambda m, x: m.b(F.max_pool2d(m.a(x), 3, 2)),
    "overlapping and padded": lambda m, x: m.b(F.max_pool2d(m.a(x).relu(), 3, 2, 1)),
    "padded, of sigmoids": lambda m, x: m.b(F.max_pool2d(m.a(x).sigmoid(), 2, 2, 1)),
    "padded, of averages": lambda m, x: m.b(F.max_pool2d(F.avg_pool2d(m.a(x).relu(), 2), 3, 1, 1)),
    "dilated": lambda m, x: m.b(F.max_pool2d(m.a(x), (3, 2), 2, dilation=(2, 3))),
    "dilated and padded": lambda m, x: m.b(F.max_pool2d(m.a(x).relu(), 3, 1, 1, 2)),
    "ceil": lambda m, x: m.b(F.max_pool2d(m.a(x).relu(), 2, ceil_mode=True)),
    "average": lambda m, x: m.b(F.avg_pool2d(m.a(x), 2).relu()),
    "padded average": lambda m, x: m.b(F.avg_pool2d(m.a(x), 3, 2, 1)),
    "divisor": lambda m, x: m.b(F.avg_pool2d(m.a(x), 3, 2, divisor_override=7)),
    "maximum": lambda m, x: m.fc4(m.a(x).relu().amax((2, 3))),
    "maximum of lines": lambda m, x: m.a(x).max(3).values.max(2, keepdim=True)[0],
    "adaptive maximum": lambda m, x: F.adaptive_max_pool2d(m.a(x), (3, 2)),
    "adaptive maximum of 1": lambda m, x: m.fc4(F.adaptive_max_pool2d(m.a(x), 1).flatten(1)),
    "maximum of a map read twice": lambda m, x: (lambda h: m.fc4(torch.amax(h, (2, 3)) + h.mean((2, 3))))(m.a(x)),
    "adaptive": lambda m, x: F.adaptive_avg_pool2d(m.a(x), (1, None)),
    "adaptive to 1": lambda m, x: m.fc4(torch.flatten(F.adaptive_avg_pool2d(m.a(x), 1), 1)),
    "mean": lambda m, x: m.fc4(m.a(x).mean((2, 3))),
    "mean of the channels": lambda m, x: m.a(x).mean(1),
    "maximum of the channels": lambda m, x: m.norm(m.a(x)).amax(1, keepdim=True),
    "mean and maximum of the channels": lambda m, x: m.again(
        torch.cat([(h := m.a(x)).mean(1, keepdim=True), h.amax(1, keepdim=True)], 1)
    ),
    "mean of one dimension": lambda m, x: m.a(x).mean(-1, keepdim=True),
    "mean of all pixels": lambda m, x: m.fc4(m.a(x).flatten(2).mean(2)),
    "padded average in front": lambda m, x: m.b(F.avg_pool2d(F.pad(m.a(x), (1, 0)), 2)),
    "uneven maximum in front": lambda m, x: m.b(F.max_pool2d(F.pad(m.a(x), (0, 1, 2, 0)), 3, 2)),
    "uneven maximum without overlap": lambda m, x: m.b(F.max_pool2d(F.pad(m.a(x), (0, 2, 1, 0)), 2)),
    "uneven average": lambda m, x: m.b(F.avg_pool2d(F.pad(m.a(x), (0, 1, 2, 0)), 3, 2)),
    "padded maximum in front": lambda m, x: m.b(F.max_pool2d(F.pad(m.a(x), (1, 1, 1, 1)), 3, 2)),
}


@pytest.mark.parametrize("name", MAPS)
def test_maps(name):
    check(maps(MAPS[name]), torch.randn(2, 2, 9, 6))


LINES = {
    "overlapping": lambda m, x: F.max_pool1d(m.a(x).relu(), 3, 2, 1),
    "average": lambda m, x: F.avg_pool1d(m.a(x), 3, 2),
    "maximum": lambda m, x: m.a(x).amax(2) + m.a2(x).transpose(1, 2).max(1)[0],
    "adaptive maximum": lambda m, x: F.adaptive_max_pool1d(F.pad(m.a(x), (1, 1)), 3),
    "mean": lambda m, x: F.adaptive_avg_pool1d(m.a(x), 1).squeeze(-1) + m.a2(x).mean(2),
}


@pytest.mark.parametrize("name", LINES)
def test_sequences_of_convolutions(name):
    check(lines(LINES[name]), torch.randn(2, 3, 10))


ILLEGAL_MAPS = {
    "maximum over other dimensions than those of the image; put the channels": lambda m, x: m.a(x).amax((1, 2)),
    "positions of a maximum cannot be used; use its values": lambda m, x: m.a(x).max(3).indices.float(),
    "max of two tensors": lambda m, x: torch.max(m.a(x), m.a2(x)),
    "max_pool2d with padding .* needs values from 0 on": lambda m, x: F.max_pool2d(m.a(x), 3, 1, 1),
    "max_pool2d with padding .or ceil_mode. needs": lambda m, x: F.max_pool2d(m.a(x).tanh(), 3, 2, ceil_mode=True),
    "operator max_pool2d_with_indices is not supported": lambda m, x: F.max_pool2d(m.a(x), 2, return_indices=True)[0],
    "padding that does not count": lambda m, x: F.avg_pool2d(m.a(x), 3, 2, 1, count_include_pad=False),
    "avg_pool2d with ceil_mode": lambda m, x: F.avg_pool2d(m.a(x), 2, ceil_mode=True),
    r"adaptive_avg_pool2d of \(9, 6\) pixels to \(2, 2\)": lambda m, x: F.adaptive_avg_pool2d(m.a(x), 2),
    "mean over other dimensions": lambda m, x: m.a(x).mean((1, 3)),
}


@pytest.mark.parametrize("message", ILLEGAL_MAPS)
def test_illegal_maps(message):
    refuse_maps(message, ILLEGAL_MAPS[message])
