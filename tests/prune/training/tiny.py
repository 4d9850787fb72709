"""A tiny problem, for tests of training."""

import torch
from torch import nn

from darb_prune.training.batches import Batches
from darb_prune.training.loop import seeded

GENERATOR = torch.Generator().manual_seed(1)


INPUTS = torch.randn(256, 12, generator=GENERATOR)


LABELS = (INPUTS[:, :4].sum(dim=1) > 0).long() + 2 * (INPUTS[:, 4] > 0).long()


def model():
    with seeded(3):
        return nn.Sequential(nn.Linear(12, 32), nn.ReLU(), nn.Dropout(0.1), nn.Linear(32, 4))


def loader(seed=0):
    return Batches(INPUTS, LABELS, 32, seed)


def same(model, other):
    return all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), other.state_dict().values(), strict=True))
