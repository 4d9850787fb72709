"""Metrics and the loss, against sums over single samples."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from darb_prune.errors import DataError
from darb_prune.tasks.language import LanguageModel
from darb_prune.training import metrics
from darb_prune.training.batches import Split
from darb_prune.training.metrics import loss, measure


def slow_nats(outputs, label):
    return math.log(sum(math.exp(value) for value in outputs)) - outputs[label]


def test_accuracy_counts_the_first_of_equals(monkeypatch):
    monkeypatch.setattr(metrics, "MEASURED", 3)
    outputs = torch.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, 2.0], [0.0, 3.0]])
    net = nn.Sequential(nn.Dropout(0.9), nn.Identity()).train()
    assert measure("accuracy", net, Split(outputs, torch.tensor([0, 0, 0, 1]))) == 0.75
    assert not net.training


@given(st.integers(2, 300), st.integers(1, 5), st.integers(1, 40), st.integers(0, 99))
def test_text_metrics_read_every_symbol_once(symbols, streams, steps, seed):
    """A model without memory: then the cut into streams must not matter."""
    torch.manual_seed(seed)
    table = torch.randn(7, 7, dtype=torch.float64)
    tokens = torch.randint(7, (symbols + 1,))
    split = Split(tokens[:-1], tokens[1:])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics, "STREAMS", streams)
        patch.setattr(metrics, "STEPS", steps)
        measured = {name: measure(name, _Table(table), split) for name in ("bits per character", "perplexity")}
    wanted = sum(
        slow_nats(table[a].tolist(), b)
        for a, b in zip(*map(torch.Tensor.tolist, (tokens[:-1], tokens[1:])), strict=True)
    )
    assert measured["bits per character"] == pytest.approx(wanted / symbols / math.log(2))
    assert measured["perplexity"] == pytest.approx(math.exp(wanted / symbols))


class _Table(nn.Module):
    def __init__(self, table):
        super().__init__()
        self.table = table

    def forward(self, tokens, state=None):
        return self.table[tokens], state


def test_text_metrics_carry_the_state(monkeypatch):
    model = LanguageModel(5, 4, 6, layers=2, dropout=0.5)
    tokens = torch.randint(5, (101,))
    outputs, _ = model.eval()(tokens[None, :-1])
    wanted = sum(slow_nats(row, label) for row, label in zip(outputs[0].tolist(), tokens[1:].tolist(), strict=True))
    monkeypatch.setattr(metrics, "STREAMS", 1)
    monkeypatch.setattr(metrics, "STEPS", 7)
    model.train()
    measured = measure("bits per character", model, Split(tokens[:-1], tokens[1:]))
    assert measured == pytest.approx(wanted / 100 / math.log(2), rel=1e-5)


@pytest.mark.parametrize("shape", [(6,), (2, 3)])
def test_loss_takes_classes_and_probabilities(shape):
    outputs, labels = torch.randn(*shape, 4), torch.randint(4, shape)
    pairs = zip(outputs.view(-1, 4).tolist(), labels.flatten().tolist(), strict=True)
    wanted = sum(slow_nats(row, label) for row, label in pairs) / 6
    assert loss(outputs, labels).item() == pytest.approx(wanted, rel=1e-5)
    certain = nn.functional.one_hot(labels, 4).float()
    assert loss(outputs, certain).item() == pytest.approx(wanted, rel=1e-5)
    half = loss(outputs, (certain + torch.ones(*shape, 4) / 4) / 2)
    spread = -outputs.log_softmax(-1).mean()
    assert half.item() == pytest.approx((wanted + spread.item()) / 2, rel=1e-5)


def test_distance_is_relative_to_the_labels():
    split = Split(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[2.0, 2.0], [-2.0, 4.0]]))
    assert measure("distance", nn.Identity(), split) == pytest.approx((1 + 5) / 10)


def test_mistakes_are_named():
    with pytest.raises(DataError, match="metric 'accuracy': no samples"):
        measure("accuracy", nn.Identity(), Split(torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64)))
