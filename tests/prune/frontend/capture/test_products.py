"""Products of two tensors."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from darb_prune.errors import DarbError
from darb_prune.frontend.capture import capture
from darb_prune.frontend.stages import Factor
from tests.prune.frontend.capture.nets import Net, check, lines, maps, names, refuse_maps, refuse_vectors, vectors

# name: (forward, stages, the one that multiplies, its factor)
VECTORS = {
    "of two layers": (lambda m, x: m.c(m.a(x) * m.other(x)), ["a", "other", "c"], "other", "a.out"),
    "the other way round": (lambda m, x: m.c(m.other(x) * m.a(x)), ["other", "a", "c"], "a", "other.out"),
    "a gate": (lambda m, x: m.c(m.a(x) * torch.sigmoid(m.other(x))), ["a", "other", "c"], "other", "a.out"),
    "in place": (lambda m, x: m.c(m.a(x).mul_(m.other(x))), None, "other", "a.out"),
    "torch.mul": (lambda m, x: m.c(torch.mul(m.a(x), m.other(x))), None, "other", "a.out"),
    "by the input": (lambda m, x: m.c(m.b(m.a(x) * 1) * m.a2(x)), ["a", "b", "a2", "c"], "a2", "b.out"),
    "of the input": (lambda m, x: m.third(m.back(m.a(x)) * x), ["a", "back", "third"], "back", "input"),
    "read again": (lambda m, x: m.wide(torch.cat([m.a(x) * torch.relu(m.other(x)), m.c8(x)], 1)), None, None, None),
    "limits in front": (lambda m, x: m.c(m.a(x).relu() * m.other(x).clamp(-1, 2)), None, "other", "a.out"),
}


def net_of(forward):
    net = vectors(forward)
    net.a2, net.c8 = nn.Linear(6, 8), nn.Linear(6, 8)
    return net


@pytest.mark.parametrize("name", VECTORS)
def test_vectors(name):
    forward, stages, multiplies, factor = VECTORS[name]
    made = check(net_of(forward), torch.randn(3, 6))
    assert stages is None or names(made) == stages
    products = {stage.name: stage.product for stage in made.stages if stage.product}
    assert multiplies is None or products == {multiplies: Factor(factor)}


def test_nothing_comes_behind_a_product():
    """A clamp, a table, numbers and a sum are copies then, and what comes in front stays there."""
    for behind in (torch.relu, torch.tanh, lambda h: 2 * h + 1):
        made = check(net_of(lambda m, x, f=behind: m.c(f(m.a(x) * m.other(x)))), torch.randn(3, 6))
        assert len(made.stages) == 4
    made = check(net_of(lambda m, x: m.c(m.a(x) * m.other(x) + m.a2(x))), torch.randn(3, 6))
    assert names(made) == ["a", "other", "a2", "c"]  # the sum is a2's
    (highway,) = [s for s in check(net_of(highways), torch.randn(3, 6)).stages if s.operand]
    assert highway.product is None


def highways(m, x):
    gate = torch.sigmoid(m.a(x))
    return m.c(gate * torch.relu(m.other(x)) + (1 - gate) * m.a2(x))


def test_a_product_is_not_taken_for_values_from_0_on():
    def refused(m, x):
        return F.max_pool2d(m.a(x).relu() * m.a2(x), 3, 1, 1)

    refuse_maps(r"max_pool2d with padding \(or ceil_mode\) needs values from 0 on", refused)


def test_maps():
    made = check(maps(lambda m, x: m.b(m.a(x) * m.again(x).relu())), torch.randn(2, 2, 9, 6))
    assert names(made) == ["a", "again", "b"]
    made = check(maps(lambda m, x: m.b(F.max_pool2d(m.a(x), 2) * F.avg_pool2d(m.again(x), 2))), torch.randn(2, 2, 9, 6))
    assert [stage.name for stage in made.stages if stage.product] == ["avg_pool2d"]


def test_a_gate_for_each_channel():
    """Squeeze and excitation: one pixel is that of all positions."""

    def gated(m, x):
        h = m.a(x).relu()
        return m.point(h * torch.sigmoid(m.narrow1(F.adaptive_avg_pool2d(h, 1))))

    net = maps(gated)
    net.narrow1 = nn.Conv2d(4, 4, 1)
    made = check(net, torch.randn(2, 2, 9, 6))
    (product,) = [stage.product for stage in made.stages if stage.product]
    assert product == Factor("narrow1.out", (0, 0))

    def of_linear(m, x):
        h = m.a(x).relu()
        return m.point(h * torch.sigmoid(m.fc4(h.mean((2, 3))))[:, :, None, None])

    made = check(maps(of_linear), torch.randn(2, 2, 9, 6))
    assert Factor("fc4.out", (0, 0)) in [stage.product for stage in made.stages]


def test_gates_of_sequences():
    gated = lines(lambda m, x: m.depth(torch.tanh(m.a2(x)) * torch.sigmoid(m.again(x))))
    gated.again = nn.Conv1d(3, 4, 3)
    made = check(gated, torch.randn(2, 3, 12))
    assert [stage.product for stage in made.stages if stage.product] == [Factor("a2.out")]


def test_gates_behind_a_recurrent_layer():
    net = Net(
        lambda m, x: m.head(m.gate(m.layer(x)[0]).sigmoid() * m.value(x)),
        layer=nn.GRU(5, 6, batch_first=True), gate=nn.Linear(6, 4), value=nn.Linear(5, 4), head=nn.Linear(4, 2),
    )  # fmt: skip
    made = check(net, torch.randn(3, 7, 5))
    assert sum(stage.product is not None for stage in made.stages if hasattr(stage, "product")) == 1


@pytest.mark.parametrize("half", [1, 4])
def test_glu(half):
    net = Net(lambda m, x: m.b(F.glu(m.a(x), 1)), a=nn.Linear(6, 2 * half), b=nn.Linear(half, 3))
    made = check(net, torch.randn(3, 6))
    assert names(made) == ["a", "glu", "b"]
    assert made.stages[1].product == Factor("a.out")


def test_glu_of_a_map():
    net = maps(lambda m, x: m.from2(m.glu(m.a(x))))
    net.glu, net.from2 = nn.GLU(1), nn.Conv2d(2, 3, 3)
    made = check(net, torch.randn(2, 2, 9, 6))
    assert [stage.product for stage in made.stages if stage.product] == [Factor("a.out")]


def test_a_part_is_a_factor():
    """Without a copy of it."""

    def gated(m, x):
        first, second, third = m.a(x).split((2, 2, 4), 1)
        return m.c4(torch.cat([torch.relu(m.g(third)) * second, first], 1))

    net = Net(gated, a=nn.Linear(6, 8), g=nn.Linear(4, 2), c4=nn.Linear(4, 3))
    made = check(net, torch.randn(3, 6))
    assert Factor("a.out", (1, 1), -2) in [stage.product for stage in made.stages if stage.product]


ILLEGAL = {
    "product of a tensor of .* both sides must have one shape": lambda m, x: m.b(m.a(x) * m.to1(x)),
}


@pytest.mark.parametrize("message", ILLEGAL)
def test_illegal(message):
    net = maps(ILLEGAL[message])
    net.to1 = nn.Conv2d(2, 1, 3, padding=1)
    with pytest.raises(DarbError, match=message):
        capture(net, torch.randn(2, 2, 9, 6))


def test_a_quotient_is_no_product():
    refuse_vectors("div of two tensors", lambda m, x: m.c(m.a(x) / m.other(x)))
