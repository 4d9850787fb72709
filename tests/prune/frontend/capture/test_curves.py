"""Functions of one value that become tables."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from darb_prune.errors import DarbError
from darb_prune.frontend.capture import capture
from tests.prune.frontend.capture.nets import Net, check, maps, names, refuse_vectors, vectors

MODULES = {
    "LeakyReLU": nn.LeakyReLU(), "steep LeakyReLU": nn.LeakyReLU(0.3, inplace=True), "PReLU": nn.PReLU(),
    "PReLU of channels": nn.PReLU(8), "ELU": nn.ELU(), "ELU with alpha": nn.ELU(0.5, inplace=True),
    "CELU": nn.CELU(0.7), "SELU": nn.SELU(), "SiLU": nn.SiLU(), "GELU": nn.GELU(),
    "GELU by tanh": nn.GELU("tanh"), "Mish": nn.Mish(),
    "Softplus": nn.Softplus(), "Softplus with beta": nn.Softplus(2, 5), "Hardswish": nn.Hardswish(),
    "LogSigmoid": nn.LogSigmoid(), "Softsign": nn.Softsign(), "Tanhshrink": nn.Tanhshrink(),
    "Softshrink": nn.Softshrink(), "Hardshrink": nn.Hardshrink(), "Threshold": nn.Threshold(0.1, -0.2),
}  # fmt: skip


@pytest.mark.parametrize("name", MODULES)
def test_modules(name):
    activation = MODULES[name]
    if isinstance(activation, nn.PReLU):
        nn.init.uniform_(activation.weight, 0, 0.5)
    net = Net(lambda m, x: m.c(m.f(m.a(x))), a=nn.Linear(6, 8), f=activation, c=nn.Linear(8, 3))
    stages = check(net, torch.randn(4, 6))
    assert names(stages) == ["a", "c"]
    ((curve, rows),) = stages.stages[0].functions
    assert (curve, rows) == (stages.curves["a"], 8)


@pytest.mark.parametrize(
    ("function", "rising"), [(F.leaky_relu, True), (F.elu, True), (F.softplus, True), (F.gelu, False), (F.silu, False)]
)
def test_a_pool_stays_where_it_is_behind_functions_that_rise(function, rising):
    stages = check(maps(lambda m, x: m.b(function(F.max_pool2d(m.a(x), 2)))), torch.randn(2, 2, 9, 6))
    assert names(stages) == (["a", "b"] if rising else ["a", function.__name__, "b"])
    assert stages.stages[0].pool == (2, 2)


def test_slopes_that_are_trained_may_fall():
    net = Net(lambda m, x: m.c(m.f(F.max_pool2d(m.a(x), 2)).flatten(1)), a=nn.Conv2d(1, 4, 1), f=nn.PReLU(4),
              c=nn.Linear(16, 3))  # fmt: skip
    stages = check(net, torch.randn(2, 1, 4, 4))
    assert names(stages) == ["a", "f", "c"]


VECTORS = {
    "silu": lambda m, h: h * torch.sigmoid(h),
    "silu, the other way round": lambda m, h: h.sigmoid() * h,
    "silu in place": lambda m, h: h.sigmoid().mul_(h),
    "gelu": lambda m, h: 0.5 * h * (1 + torch.erf(h / math.sqrt(2))),
    "gelu by tanh": lambda m, h: 0.5 * h * (1 + torch.tanh(math.sqrt(2 / math.pi) * (h + 0.044715 * h**3))),
    "gelu by sigmoid": lambda m, h: h * torch.sigmoid(1.702 * h),
    "mish": lambda m, h: h * torch.tanh(F.softplus(h)),
    "hardswish": lambda m, h: h * F.relu6(h + 3) / 6,
    "leaky relu": lambda m, h: torch.maximum(h, 0.1 * h),
    "square": lambda m, h: h * h,
    "softsign": lambda m, h: h / (1 + h.abs()),
    "power": lambda m, h: h**2,
    "bell": lambda m, h: torch.exp(-(h * h)),
}
ONE_STAGE = [name for name in VECTORS if name != "bell"]


@pytest.mark.parametrize("name", VECTORS)
def test_written_by_hand(name):
    stages = check(vectors(lambda m, x: m.c(VECTORS[name](m, m.a(x)))), torch.randn(4, 6))
    assert len(stages.stages) == 2 + (name not in ONE_STAGE)
    assert len(stages.curves) == 1 + (name not in ONE_STAGE)


CONTEXTS = {
    "of what others read": lambda m, x: (lambda h: m.c(h * h.sigmoid()) + m.d(h))(m.a(x)),
    "what it is made of is read": lambda m, x: (lambda h, s: m.c(h * s) + m.d(s))(h := m.a(x), h.sigmoid()),
    "of the input": lambda m, x: m.a(x * x.sigmoid()) + m.other(x),
    "twice": lambda m, x: m.c(F.gelu(m.b(F.silu(m.a(x))))),
    "behind a relu": lambda m, x: m.c(F.gelu(m.a(x).relu())),
    "one behind another": lambda m, x: m.c(F.elu(torch.tanh(F.silu(m.a(x))))),
    "relu behind": lambda m, x: m.c(F.silu(m.a(x)).relu()),
    "operand behind": lambda m, x: m.c((F.silu(m.a(x)) + m.other(x)).relu()),
    "of a sum": lambda m, x: m.c(F.silu(m.a(x) + m.other(x))),
    "of a concatenation": lambda m, x: m.wide(F.silu(torch.cat([m.a(x), m.other(x)], 1))),
    "behind a norm": lambda m, x: m.c(F.silu(m.norm(m.a(x)))),
    "at the end": lambda m, x: F.silu(m.a(x)),
    "in place": lambda m, x: m.c(F.silu(m.a(x), inplace=True)),
}


@pytest.mark.parametrize("name", CONTEXTS)
def test_where_they_stand(name):
    check(vectors(CONTEXTS[name]), torch.randn(4, 6))


def test_slopes_of_channels_behind_a_concatenation():
    net = Net(lambda m, x: m.c(m.f(torch.cat([m.a(x), m.b(x)], 1)).flatten(1)), a=nn.Conv2d(1, 2, 1),
              b=nn.Conv2d(1, 3, 1), f=nn.PReLU(5), c=nn.Linear(20, 3))  # fmt: skip
    nn.init.uniform_(net.f.weight, 0, 1)
    assert names(check(net, torch.randn(2, 1, 2, 2))) == ["a", "b", "f", "c"]


def test_curves_have_gradients():
    net = nn.Sequential(nn.Linear(6, 8), nn.PReLU(8), nn.Linear(8, 3))
    curve = capture(net, torch.randn(4, 6)).curves["0"]
    curve.call(torch.full((5, 8, 1, 1), -1.0)).sum().backward()
    assert net[1].weight.grad.tolist() == [-5.0] * 8


ILLEGAL = {
    "pow of two tensors": lambda m, x: m.c(m.a(x) ** m.other(x)),
    "maximum of two tensors": lambda m, x: m.c(torch.maximum(m.a(x), m.other(x))),
    "minimum with a constant tensor": lambda m, x: m.c(torch.minimum(m.a(x), torch.ones(8))),
}


@pytest.mark.parametrize("message", ILLEGAL)
def test_illegal(message):
    refuse_vectors(message, ILLEGAL[message])


def test_slopes_that_are_not_those_of_channels():
    net = Net(lambda m, x: m.c(m.f(m.a(x).flatten(1))), a=nn.Conv2d(1, 2, 1), f=nn.PReLU(8), c=nn.Linear(8, 3))
    with pytest.raises(DarbError, match=r"f: prelu must read \(samples, channels, ...\)"):
        capture(net, torch.randn(2, 1, 2, 2))
