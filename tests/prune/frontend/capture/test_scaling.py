"""Arithmetic with numbers."""

import pytest
import torch
import torch.nn.functional as F

from tests.prune.frontend.capture.nets import check, maps, names, refuse_maps, refuse_vectors, vectors

VECTORS = {
    "product": (lambda m, x: m.c(m.a(x) * 2), "ac"),
    "product the other way round": (lambda m, x: m.c(torch.tensor(0.5) * (-3 * m.a(x))), "ac"),
    "quotient": (lambda m, x: m.c(m.a(x) / 3), "ac"),
    "negative": (lambda m, x: m.c(-m.a(x)), "ac"),
    "negative in place": (lambda m, x: m.c(m.a(x).neg_().mul_(2).div_(3)), "ac"),
    "behind limits": (lambda m, x: m.c(-F.hardtanh(m.a(x), -0.5, 0.25) * 2), "ac"),
    "limits behind": (lambda m, x: m.c((m.a(x) * -2).relu()), "ac"),
    "behind a function": (lambda m, x: m.c(torch.tanh(m.a(x)) * -2 + 1), "ac"),
    "behind a curve": (lambda m, x: m.c((F.gelu(m.a(x)) - 1) * 2), "ac"),
    "behind a norm": (lambda m, x: m.c(m.norm(m.a(x)) * -2), "ac"),
    "behind a concatenation": (lambda m, x: m.wide(torch.cat([m.a(x).relu(), m.other(x).tanh()], 1) * 2), None),
    "behind a sum": (lambda m, x: m.c((m.a(x) + m.other(x)) * 2), None),
    "of what others read": (lambda m, x: (lambda h: m.c(h * 2) + m.d(h))(m.a(x)), None),
    "of the input": (lambda m, x: m.a((x - 0.5) / 0.25), None),
    "nothing": (lambda m, x: m.c(m.a(x) * 1), "ac"),
    "zero": (lambda m, x: m.c(m.a(x) * 0 + 1), "ac"),
    "at the end": (lambda m, x: m.a(x) / 8, "a"),
    "reciprocal": (lambda m, x: m.c(1 / (m.a(x).sigmoid() + 1)), None),
    "dividend": (lambda m, x: m.c(torch.div(torch.tensor(2.0), m.a(x).sigmoid() + 1)), None),
}


@pytest.mark.parametrize("name", VECTORS)
def test_vectors(name):
    forward, stages = VECTORS[name]
    made = check(vectors(forward), torch.randn(4, 6))
    assert stages is None or names(made) == list(stages)


MAPS = {
    "behind a pool": (lambda m, x: m.b(F.max_pool2d(m.a(x), 2) * 2), ["a", "b"]),
    "negative of a pool": (lambda m, x: m.b(-F.max_pool2d(m.a(x), 2)), ["a", "neg", "b"]),
    "behind taps": (lambda m, x: m.b(F.max_pool2d(m.a(x), 3, 1) * 2 + 1), None),
    "behind an average": (lambda m, x: m.b(F.avg_pool2d(m.a(x), 2) * -2), ["a", "avg_pool2d", "b"]),
}  # fmt: skip


@pytest.mark.parametrize("name", MAPS)
def test_maps(name):
    forward, stages = MAPS[name]
    made = check(maps(forward), torch.randn(2, 2, 9, 6))
    assert stages is None or names(made) == stages


ILLEGAL = {
    r"mul with a constant tensor of \(8,\); only single numbers": lambda m, x: m.c(m.a(x) * torch.ones(8)),
    "div of two tensors": lambda m, x: m.c(m.a(x) / m.other(x)),
    "div by 0": lambda m, x: m.c(m.a(x) / 0),
    "mul with nan": lambda m, x: m.c(m.a(x) * float("nan")),
    "div with rounding": lambda m, x: m.c(torch.div(m.a(x), 2, rounding_mode="floor")),
}


@pytest.mark.parametrize("message", ILLEGAL)
def test_illegal(message):
    refuse_vectors(message, ILLEGAL[message])


def test_negatives_are_not_taken_for_values_from_0_on():
    def refused(m, x):
        return F.max_pool2d(-F.avg_pool2d(m.a(x).relu(), 1), 3, 1, 1)

    refuse_maps(r"max_pool2d with padding \(or ceil_mode\) needs values from 0 on", refused)
