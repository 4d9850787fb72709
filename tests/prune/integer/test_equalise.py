"""Embeddings in units of their features: the same function, and all integers used."""

import torch
from torch import nn

from darb_prune import quantize
from darb_prune.frontend.capture import capture
from darb_prune.frontend.execution import run
from darb_prune.integer.equalise import equalised
from tests.prune.integer.models import Recurrent


def embedded(*layers: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Embedding(20, 6), *layers)


class Shared(nn.Module):
    """Vectors that ``others`` are made of as well."""

    def __init__(self, others):
        super().__init__()
        self.embedding, self.fc, self.others = nn.Embedding(20, 6), nn.Linear(6, 6), others

    def forward(self, x):
        x = self.embedding(x)
        return self.fc(x) + self.others(x)


def test_the_function_is_the_same():
    net, x = Recurrent("LSTM", False, 20), torch.randint(0, 20, (30, 7))
    stages = capture(net, x[:2])
    made = equalised(stages)
    assert made.stages[0].unit
    before, after = (run(one, x) for one in (stages, made))
    assert torch.allclose(before[stages.output], after[stages.output], atol=1e-5)
    vectors = made.stages[0].output
    assert not torch.allclose(before[vectors], after[vectors])
    assert float(after[vectors].detach().abs().max()) <= 1


def test_every_feature_uses_all_integers():
    net, x = Recurrent("GRU", True, 20), torch.randint(0, 20, (60, 7))
    net.embedding.weight.data[:, 2] *= 30
    net.embedding.weight.data[:, 4] = 0
    (embedding,) = (stage for stage in quantize(net, x).stages if hasattr(stage, "table"))
    greatest = embedding.table.abs().amax(dim=0)
    assert greatest.tolist() == [127, 127, 127, 127, 0, 127]


def test_what_a_feature_is_multiplied_by_changes_nothing():
    net, x = Recurrent("LSTM", False, 20), torch.randint(0, 20, (60, 7))
    first = quantize(net, x, 4)
    factor = torch.tensor([1.0, 8.0, 0.25, 64.0, 2.0, 0.5])
    net.embedding.weight.data *= factor
    recurrent = next(module for module in net.modules() if isinstance(module, nn.LSTM))
    recurrent.weight_ih_l0.data /= factor
    second = quantize(net, x, 4)
    assert torch.equal(first(first.quantize_input(x)), second(second.quantize_input(x)))


def test_vectors_that_others_see_stay_as_they_are():
    x = torch.randint(0, 20, (9,))
    for net in (Shared(nn.Identity()), embedded(nn.ReLU(), nn.Linear(6, 3))):
        stages = capture(net, x[:2])
        assert equalised(stages) is stages
    for net in (Shared(nn.Linear(6, 6)), embedded(nn.Linear(6, 3))):
        assert equalised(capture(net, x[:2])).stages[0].unit
