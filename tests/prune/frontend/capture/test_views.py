"""Reshaping, permuting, padding and indexing."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from darb_prune import encode, prune, quantize
from tests.prune.frontend.capture.nets import Dilated, check, lines, maps, names, refuse_maps, refuse_vectors, vectors

VECTORS = {
    "shapes": lambda m, x: m.c(m.a(x).view(x.size(0), -1, 1).reshape(len(x), 8)) if x.dim() == 2 else None,
    "squeezed": lambda m, x: m.c(m.a(x).unsqueeze(1).transpose(1, 2).squeeze(2)[:, None].flatten(1)),
}


VECTORS |= {
    "parts of a vector": lambda m, x: (lambda h: m.four(h[:, :4]) + m.four2(h[..., 4:]))(m.a(x).relu()),
    "part as operand": lambda m, x: (lambda h: m.c(h) + h[:, 2:5])(m.a(x)),
    "parts of the input": lambda m, x: m.two(x[:, :2]) + m.four(x.narrow(1, -4, 4)),
    "part of a part": lambda m, x: m.two(m.a(x)[:, 2:7][:, 1:3]),
    "one channel": lambda m, x: m.one(m.a(x)[:, 5:6]) + m.two(m.a2(x).split(2, 1)[-1]),
    "part behind a function": lambda m, x: m.four(m.a(x).chunk(2, dim=1)[1].tanh()),
    "part at the end": lambda m, x: m.a(x)[:, 3:],
    "parts in another order": lambda m, x: m.c(torch.cat(m.a(x).tensor_split([3, 5], 1)[::-1], 1)),
}


@pytest.mark.parametrize("name", VECTORS)
def test_vectors(name):
    net = vectors(VECTORS[name])
    net.one, net.two, net.a2 = nn.Linear(1, 3), nn.Linear(2, 3), nn.Linear(6, 8)
    net.four, net.four2 = nn.Linear(4, 3), nn.Linear(4, 3)
    check(net, torch.randn(4, 6))


MAPS = {
    "flattened": lambda m, x: m.fc(m.a(x).flatten(1)),
    "flattened and padded": lambda m, x: (lambda h: m.fc(h.view(h.shape[0], -1)) + m.fc4(m.a2(h).mean((2, 3))))(m.a(x)),
    "input flattened and padded": lambda m, x: m.fc4(m.a(x).mean((2, 3))) + m.fcx(x.reshape(len(x), -1)),
    "strided": lambda m, x: m.b(m.a(x)[:, :, ::2, 0:6:3]),
    "strided to one": lambda m, x: m.fc4(m.a(x)[:, :, ::9, ::9].flatten(1)),
    "padded in front": lambda m, x: m.b(F.pad(m.a(x), (1, 2, 0, 1))),
    "padded before a stride": lambda m, x: m.uneven(F.pad(m.a(x), (0, 1, 0, 1))),
    "read twice, padded": lambda m, x: (lambda h: m.uneven(h) + m.uneven2(h))(m.zero(m.a(x))),
    "padded unlike": lambda m, x: (lambda h: m.uneven(F.pad(h, (2, 0) * 2)) + m.uneven2(F.pad(h, (0, 2) * 2)))(m.a(x)),
    "padded twice": lambda m, x: m.uneven(F.pad(F.pad(m.a(x), (0, 1)), (0, 0, 2, 1))),
    "padded input": lambda m, x: m.tall_kernel(F.pad(x, (1, 1, 4, 5))).relu(),
    "ZeroPad2d": lambda m, x: m.b(m.zero(m.a(x)).relu()),
    "no pixels": lambda m, x: m.point(m.a(x).mean((2, 3), keepdim=True)).flatten(1),
    "vector as map": lambda m, x: m.point(m.fc(m.a(x).flatten(1))[:, :, None, None]),
}


MAPS |= {
    "halves": lambda m, x: (lambda a, b: m.point(torch.cat([a, m.two(b)], 1)))(*m.a(x).chunk(2, 1)),
    "part of a depthwise": lambda m, x: m.three(m.a(x)[:, 1:]),
    "part with a wide kernel": lambda m, x: m.wide2(m.a(x)[:, 2:]),
    "part behind a pooling": lambda m, x: m.two(F.max_pool2d(m.a(x), 2)[:, :2]),
    "part with a pooling": lambda m, x: m.two(F.max_pool2d(m.a(x)[:, :2].relu(), 3, 2, 1)),
    "part with a norm": lambda m, x: m.two(m.norm2(m.a(x)[:, 1:3]).relu()),
    "part of an addition": lambda m, x: (lambda h: m.two(h[:, :2] + h[:, 2:]))(m.a(x)),
    "part of the input": lambda m, x: m.to_one(x[:, :1]) + m.to_one2(x[:, 1:]),
    "part flattened": lambda m, x: m.fcx(m.a(x)[:, 1:3].flatten(1)),
    "part with zeros": lambda m, x: m.two(F.pad(m.a(x)[:, 2:], (1, 0))),
    "unbind": lambda m, x: m.fc54(sum(m.a(x).unbind(1)).flatten(1)),
    "select": lambda m, x: m.fc54(m.a(x)[:, -2].flatten(1)),
    "chunks of which one is read": lambda m, x: m.two(m.a(x).chunk(2, 1)[0]),
    "edges cut off": lambda m, x: m.point(m.a(x)[:, :, 1:-1, 2:].relu()),
    "edges of the input cut off": lambda m, x: m.a(x[:, :, 2:-1, 1:]),
    "edges cut off a pooling": lambda m, x: m.point(F.max_pool2d(m.a(x), 2)[:, :, 1:, :-1]),
    "edges cut off overlapping windows": lambda m, x: m.point(F.max_pool2d(m.a(x).relu(), 3, 2, 1)[:, :, 1:, 1:]),
    "edges cut off behind zeros": lambda m, x: m.point(F.pad(m.a(x), (2, 1, 0, 1))[..., 1:]),
    "differences": lambda m, x: (lambda h: m.point(h[:, :, 1:] - h[:, :, :-1]))(m.a(x)),
    "every second from the second on": lambda m, x: m.point(m.a(x)[:, :, 1::2, 2::3]),
    "behind an addition": lambda m, x: m.point((m.a(x) + m.again(x)).relu()[:, :, 2:, :-2]),
    "one position": lambda m, x: m.fc4(m.a(x)[:, :, 4, -2]),
    "lines in halves": lambda m, x: (lambda a, b: m.point(a[:, :, :4] + 2 * b))(*m.a(x).chunk(2, 2)),
    "part and edges": lambda m, x: m.two(m.a(x)[:, 1:3, 1:, ::2]),
}


@pytest.mark.parametrize("name", MAPS)
def test_maps(name):
    net = maps(MAPS[name])
    net.two, net.three, net.wide2 = nn.Conv2d(2, 2, 1), nn.Conv2d(3, 3, 3, groups=3), nn.Conv2d(2, 3, 3)
    net.to_one, net.to_one2, net.fc54 = nn.Conv2d(1, 3, 1), nn.Conv2d(1, 3, 3, padding=1), nn.Linear(54, 2)
    check(net, torch.randn(2, 2, 9, 6))


def test_positions_that_are_cut_off_are_not_computed():
    stages = check(lines(lambda m, x: m.depth(m.a(x)[..., 1:-2].relu())), torch.randn(2, 3, 10))
    assert names(stages) == ["a", "depth"]
    assert stages.values["a.out"].shape == (4, 1, 7)
    assert stages.stages[0].window.padding == (0, 0, 0, 0)


def test_parts_are_read_where_they_are():
    net = maps(lambda m, x: m.last(m.a(x).split([1, 3], 1)[1]))
    net.last = nn.Conv2d(3, 2, (3, 1))
    stages = check(net, torch.randn(2, 2, 9, 6))
    assert names(stages) == ["a", "last"]
    assert stages.stages[1].channels == (1, 4)


@pytest.mark.parametrize("model", ["dilated", "two halves"])
def test_models_with_parts_are_pruned_and_encoded(model):
    """Layers keep the storage order of a tensor of which a part is read."""
    if model == "dilated":
        net, x = Dilated(), torch.randn(6, 3, 20)
    else:
        net = maps(lambda m, x: m.fc(torch.cat([m.a(x)[:, 2:], m.point(m.a2(m.again(x)))], 1).mean((2, 3))))
        net.point, net.a2, net.fc = nn.Conv2d(4, 3, 1), nn.Identity(), nn.Linear(5, 3)
        x = torch.randn(6, 2, 9, 6)
    prune(net, 1.5, example=x)
    integer = quantize(net, x)
    assert encode(integer).layers
    outputs = integer(integer.quantize_input(x)).double() * integer.tensors[integer.output].scale
    wanted = net(x).detach().flatten(1)
    assert float((outputs - wanted).abs().max() / wanted.abs().max()) < 0.05


LINES = {
    "strided": lambda m, x: m.down(x) + m.a(x)[:, :, ::2],
    "padded": lambda m, x: m.depth(F.pad(m.a(x), (2, 0))),
}


@pytest.mark.parametrize("name", LINES)
def test_sequences_of_convolutions(name):
    check(lines(LINES[name]), torch.randn(2, 3, 10))


ILLEGAL = {
    "Linear must read all values of a sample": lambda m, x: m.four(m.a(x).view(-1, 2, 4)),
    "reshape to .2, 12. cuts": lambda m, x: m.twelve(m.a(x).reshape(2, 12)),
    "indexing other than the last step": lambda m, x: m.four(m.a(x)[:0, :4]),
    "indexing with a tensor": lambda m, x: m.a(x)[torch.arange(2)],
    r"padding other than with zeros \(1.0\); train the model with zeros": lambda m, x: m.c(
        F.pad(m.a(x)[:, :, None], (1, 0), value=1.0).flatten(1)[:, :8]
    ),
}


@pytest.mark.parametrize("message", ILLEGAL)
def test_illegal(message):
    refuse_vectors(message, ILLEGAL[message])


ILLEGAL_MAPS = {
    r"padding other than with zeros \(mode 'reflect'\)": lambda m, x: F.pad(m.a(x), (1, 1, 1, 1), "reflect"),
    r"padding that cuts lines or columns off \(\(0, -1\)\); index them": lambda m, x: F.pad(m.a(x), (0, -1)),
    "padding with -inf is supported in front of a max": lambda m, x: m.a2(F.pad(x, (1, 0), value=-torch.inf)).sigmoid(),
    "padding of a max pooling needs": lambda m, x: F.max_pool2d(F.pad(m.a(x), (1, 0), value=-torch.inf), 2),
    "padding of channels and of the image": lambda m, x: F.pad(m.a(x), (1, 1, 0, 0, 1, 1)),
}


@pytest.mark.parametrize("message", ILLEGAL_MAPS)
def test_illegal_maps(message):
    refuse_maps(message, ILLEGAL_MAPS[message])
