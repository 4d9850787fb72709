"""Additions, differences and concatenation."""

import pytest
import torch
import torch.nn.functional as F

from tests.prune.frontend.capture.nets import check, maps, refuse_maps, refuse_vectors, vectors

VECTORS = {
    "residual": lambda m, x: (lambda h: m.c((m.b(h) + h).relu()))(m.a(x).relu()),
    "addition of two layers": lambda m, x: m.c(torch.add(m.a(x), m.other(x)).tanh()),
    "addition of what others read": lambda m, x: (lambda g, h: m.c(g + h) + m.d(g) + m.d2(h))(m.a(x), m.other(x)),
    "doubled": lambda m, x: (lambda h: m.c(h + h))(m.a(x)),
    "sum": lambda m, x: m.c(sum([m.a(x), m.other(x)])),
    "added in place": lambda m, x: (lambda h: m.c(h.__iadd__(m.other(x))))(m.a(x)),
    "input added": lambda m, x: m.back(m.a(x)) + x,
    "concatenation": lambda m, x: m.wide(torch.cat([m.a(x).relu(), m.other(x)], dim=1).tanh()),
    "nested concatenation": lambda m, x: m.wide3(
        torch.cat([torch.cat([m.a(x), m.other(x)], 1), m.third(x)], -1).relu()
    ),
    "concatenation of what others read": lambda m, x: (
        lambda h: m.wide(torch.cat([h, m.b(h)], 1)) + m.c(torch.relu(h))
    )(m.a(x)),
    "twice in a concatenation": lambda m, x: (lambda h: m.wide(torch.cat([h, h], 1)))(m.a(x)),
    "input in a concatenation": lambda m, x: m.thin(torch.cat([x, m.a(x)], 1)),
    "sum at the end": lambda m, x: m.a(x) + m.other(x),
    "addition with alpha": lambda m, x: m.c(torch.add(m.a(x), m.other(x), alpha=2)),
    "difference": lambda m, x: m.c(m.a(x) - m.other(x)),
    "difference of what others read": lambda m, x: (lambda g, h: m.c((g - h).relu()) + m.d(h))(m.a(x), m.other(x)),
    "difference with alpha": lambda m, x: m.c(torch.sub(m.a(x).relu(), m.other(x).relu(), alpha=0.5)),
    "difference the other way round": lambda m, x: m.c(torch.rsub(m.a(x), m.other(x), alpha=0.5)),
    "difference from the input": lambda m, x: x - m.back(m.a(x)),
    "numbers added": lambda m, x: m.c(1 + (m.a(x) + 1).relu() - 0.5),
    "a number minus": lambda m, x: m.c(1 - (2 - m.a(x)).relu().sub(0.5)),
    "a number added to a constant of one element": lambda m, x: m.c(torch.tensor([2.0]) + m.a(x)),
    "a number added to the input": lambda m, x: m.a(x - 0.5) + m.other(x),
    "a number added to a sum": lambda m, x: m.c(m.a(x) + m.other(x) + 1),
    "a number added behind a norm": lambda m, x: m.c(m.norm(m.a(x)) + 1),
}


@pytest.mark.parametrize("name", VECTORS)
def test_vectors(name):
    check(vectors(VECTORS[name]), torch.randn(4, 6))


MAPS = {
    "residual": lambda m, x: (lambda h: (m.norm(m.a2(h)) + h).relu())(m.a(x).relu()),
    "projected": lambda m, x: (lambda h: (m.down(h) + m.one(h)).relu())(m.a(x)),
    "shortcut": lambda m, x: (lambda h: m.wider(h) + F.pad(h[:, :, ::2, ::2], (0, 0, 0, 0, 1, 1)))(m.a(x)),
    "uneven shortcut": lambda m, x: (lambda h: F.pad(h[..., ::2], (0, 0, 0, 0, 2, 0)) + m.wider2(h))(m.a(x)),
    "both strided": lambda m, x: m.b(m.a(x)[:, :, ::2, ::2] + m.again(x)[:, :, ::2, ::2]),
    "padded and added": lambda m, x: F.pad(m.narrow(h := m.a(x)), (0, 0, 1, 1)) + h,
    "concatenation": lambda m, x: m.wide(torch.cat([m.a(x).relu(), F.max_pool2d(m.again(x).relu(), 3, 1, 1)], 1)),
    "concatenated pools": lambda m, x: m.wide(F.max_pool2d(torch.cat([m.a(x), m.again(x)], 1), 2)),
    "dense": lambda m, x: (lambda h: m.wide(torch.cat([h, m.a2(h)], 1)))(m.a(x)),
}


@pytest.mark.parametrize("name", MAPS)
def test_maps(name):
    check(maps(MAPS[name]), torch.randn(2, 2, 9, 6))


ILLEGAL = {
    r"add with a constant tensor of \(8,\); only single numbers": lambda m, x: m.c(m.a(x) + torch.ones(8)),
    r"sub with a constant tensor of \(1, 1, 1\)": lambda m, x: m.c((m.a(x) - torch.ones(1, 1, 1)).squeeze(0)),
    "add with inf": lambda m, x: m.c(m.a(x) + float("inf")),
    r"addition of a tensor of \(3, 8\) and a tensor of \(3,\)": lambda m, x: m.a(x) + m.single(x),
    "concatenation of other dimensions": lambda m, x: m.c(torch.cat([m.a(x), m.other(x)], 0)),
}


@pytest.mark.parametrize("message", ILLEGAL)
def test_illegal(message):
    refuse_vectors(message, ILLEGAL[message])


ILLEGAL_MAPS = {
    "reads channels of zeros": lambda m, x: m.six(F.pad(m.a(x), (0, 0, 0, 0, 1, 1))),
    "concatenation of other dimensions than channels, or of different": lambda m, x: torch.cat([m.a(x), m.a2(x)], 2),
}


@pytest.mark.parametrize("message", ILLEGAL_MAPS)
def test_illegal_maps(message):
    refuse_maps(message, ILLEGAL_MAPS[message])
