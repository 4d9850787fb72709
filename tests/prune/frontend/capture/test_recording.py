"""What a model does with an example: what is seen, and what cannot be recorded."""

import contextlib

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from darb_prune.errors import DarbError
from darb_prune.frontend.capture import capture
from tests.prune.frontend.capture.nets import check, refuse_vectors, vectors

VECTORS = {
    "output read by others": lambda m, x: (lambda h: (h, m.c(h)))(m.a(x)),
    "first of many": lambda m, x: {"logits": m.a(x), "rest": m.other(x)},
    "unused": lambda m, x: (m.other(x), m.a(x))[1],
    "mode": lambda m, x: m.c(torch.softmax(m.a(x), 1) if m.training else m.a(x)),
    "keywords": lambda m, x: m.c(input=F.relu(input=m.a(input=x))),
}


@pytest.mark.parametrize("name", VECTORS)
def test_vectors(name):
    check(vectors(VECTORS[name]), torch.randn(4, 6))


ILLEGAL = {
    "operator stack": lambda m, x: torch.stack([row.relu() for row in m.a(x)]),
    "model: item makes what the model does depend on values": lambda m, x: m.a(x) if x.sum().item() else m.b(x),
    "model: __bool__ makes": lambda m, x: m.a(x) if x.sum() > 0 else m.other(x),
    "__setitem__ makes .* or writes into another tensor": lambda m, x: torch.zeros(3, 6).__setitem__(0, x[0]) or m.a(x),
    "through another view of it": lambda m, x: ((h := m.a(x)).view(-1, 8).relu_(), m.c(h))[1],
    "a: does not run on the example, .3, 6.": lambda m, x: m.a(m.a(x)),
    "its first output is not a tensor": lambda m, x: torch.ones(2, 2),
    "output is not a tensor that depends": lambda m, x: None,
}


@pytest.mark.parametrize("message", ILLEGAL)
def test_illegal(message):
    refuse_vectors(message, ILLEGAL[message])


def test_flags_of_training_and_the_example_are_given_back():
    net = vectors(lambda m, x: m.c(m.a(x.relu_())))
    net.b.eval()
    x = torch.full((2, 6), -1.0)
    capture(net, x)
    assert (x == -1).all()
    assert net.training
    assert net.a.training
    assert not net.b.training


@pytest.mark.parametrize("example", [None, torch.tensor(1.0), torch.zeros(0, 6)])
def test_illegal_examples(example):
    with pytest.raises(DarbError, match="example: give a tensor, a batch of at least one sample"):
        capture(vectors(lambda m, x: m.c(m.a(x).relu())), example)


def test_hooks_of_a_layer_belong_to_it():
    """What they ask of values is no operator of the model, in front of the layer or behind it."""
    net, seen = vectors(lambda m, x: m.c(m.a(x).relu())), []
    net.a.register_forward_pre_hook(lambda module, args: seen.append(args[0].abs().max().item()))
    net.a.register_forward_hook(lambda module, args, result: seen.append(result.abs().max().item()))
    stages = check(net, torch.randn(3, 6))
    assert [stage.name for stage in stages.stages] == ["a", "c"]
    assert seen


@pytest.mark.parametrize("forward", [lambda m, x: m.c(m.a(x)), lambda m, x: m.a(m.a(x)), lambda m, x: m.a(x) * 2])
def test_no_hooks_are_left(forward):
    net, call = vectors(forward), nn.Module.__call__
    with contextlib.suppress(DarbError):
        capture(net, torch.randn(3, 6))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())
    assert not torch.nn.modules.module._global_forward_pre_hooks
    assert nn.Module.__call__ is call
