"""Symbolic graphs of models."""

import pytest
import torch
from torch import nn

from darb_prune.errors import DarbError
from darb_prune.modules.graph import trace


class Branching(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 3)

    def forward(self, x):
        return torch.sigmoid(self.fc(x)) if self.training else self.fc(x)


class Looking(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


def test_graphs_are_those_of_eval_mode_and_flags_are_given_back():
    model = Branching()
    model.fc.eval()
    root, graph = trace(model, "")
    assert root is model
    assert [node.op for node in graph.nodes] == ["placeholder", "call_module", "output"]
    assert model.training
    assert not model.fc.training


def test_bare_layers_get_a_path():
    linear = nn.Linear(4, 3)
    root, graph = trace(linear, "")
    assert root[0] is linear
    assert [node.target for node in graph.nodes if node.op == "call_module"] == ["0"]


def test_models_that_cannot_be_traced():
    model = Looking()
    with pytest.raises(DarbError, match=r"Looking: cannot be traced \(.*\); do this") as caught:
        trace(model, "do this")
    assert "\n" not in str(caught.value)
    assert model.training
