"""Clamps, tables and what does nothing."""

import pytest
import torch
import torch.nn.functional as F

from tests.prune.frontend.capture.nets import check, maps, refuse_vectors, vectors

VECTORS = {
    "relu": lambda m, x: m.c(m.a(x).relu()),
    "in place": lambda m, x: m.c(F.relu(m.a(x), inplace=True).relu_()),
    "relu6, hardtanh and clamp": lambda m, x: m.c(F.hardtanh(F.relu6(m.a(x)), -1, 0.5).clamp(min=0.1)),
    "limits": lambda m, x: m.c(torch.clamp_max(m.a(x), 0.3).clamp_min(-0.2)),
    "sigmoid and tanh": lambda m, x: m.c(torch.tanh(m.b(m.a(x).sigmoid()))),
    "hardsigmoid": lambda m, x: m.c(F.hardsigmoid(m.a(x))),
    "functions one after another": lambda m, x: m.c(F.hardsigmoid(torch.tanh(torch.sigmoid(F.relu(m.a(x)))))),
    "of the input": lambda m, x: m.a(torch.tanh(x)),
    "relu of what others read": lambda m, x: (lambda h: m.c(h.relu()) + m.d(h))(m.a(x)),
    "dropout, identity and copies": lambda m, x: m.c(m.drop(m.id(F.dropout(m.a(x), 0.5, m.training).clone()))),
}


@pytest.mark.parametrize("name", VECTORS)
def test_vectors(name):
    check(vectors(VECTORS[name]), torch.randn(4, 6))


MAPS = {
    "relu behind the pool": lambda m, x: m.b(F.max_pool2d(m.a(x), 2).relu()),
    "tanh behind the pool": lambda m, x: m.b(F.max_pool2d(m.a(x), (1, 3)).tanh()),
    "relu behind taps": lambda m, x: m.b(F.max_pool2d(m.a(x), 3, 1).relu()),
    "hardsigmoid of a pool": lambda m, x: F.hardsigmoid(F.max_pool2d(m.a(x), 2)),
}


@pytest.mark.parametrize("name", MAPS)
def test_maps(name):
    check(maps(MAPS[name]), torch.randn(2, 2, 9, 6))


ILLEGAL = {
    "clamp to a tensor": lambda m, x: m.a(x).clamp(min=torch.zeros(8)),
    "dropout that is active in eval mode": lambda m, x: m.c(F.dropout(m.a(x))),
}


@pytest.mark.parametrize("message", ILLEGAL)
def test_illegal(message):
    refuse_vectors(message, ILLEGAL[message])
