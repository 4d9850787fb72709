"""The auxiliary variables of ADMM against the formulas, and what they do to a training."""

import copy
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn.utils import prune as torch_prune

from darb_prune.errors import DarbError
from darb_prune.modules.layers import layers
from darb_prune.patterns.masks import irregular
from darb_prune.pruning.admm import Admm
from darb_prune.pruning.gradual import gradual
from darb_prune.pruning.methods import Irregular
from darb_prune.pruning.one_shot import prune
from darb_prune.pruning.schedule import PruningSchedule
from darb_prune.training.batches import Batches

RANDOM = torch.Generator().manual_seed(0)
INPUTS = torch.rand(200, 12, generator=RANDOM)
LABELS = INPUTS[:, :4].argmax(dim=1)


def model():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 4))


def test_updates_follow_the_formulas():
    net = model()
    pulled = Admm(net, partial(prune, net, method=Irregular()), 4, 0.5)
    pulled.update()
    parts = [layer.parts[0].parameter for layer in layers(net)]
    assert not torch_prune.is_pruned(net)
    weights = [part.detach().clone() for part in parts]
    masks = irregular(weights, 4)
    for weight, mask, target, dual in zip(weights, masks, pulled.targets, pulled.duals, strict=True):
        assert torch.equal(target, weight * mask)
        assert not dual.any()
    expected = 0.25 * sum(((w - z) ** 2).sum() for w, z in zip(weights, pulled.targets, strict=True))
    assert torch.allclose(pulled.pull(), expected)
    with torch.no_grad():
        for part in parts:
            part.mul_(0.5)
    before = [target.clone() for target in pulled.targets]
    pulled.update()
    duals = [weight / 2 - target for weight, target in zip(weights, before, strict=True)]
    raised = [weight / 2 + dual for weight, dual in zip(weights, duals, strict=True)]
    for one, mask, target, dual, expected in zip(
        raised, irregular(raised, 4), pulled.targets, pulled.duals, duals, strict=True
    ):
        assert torch.allclose(target, one * mask)
        assert torch.allclose(dual, expected)
    assert all(torch.equal(part, weight / 2) for part, weight in zip(parts, weights, strict=True))


def test_the_pull_leaves_less_to_prune():
    def energy_lost(method="dense", admm=0.0):
        net = model()
        dense = copy.deepcopy(net)
        schedule = PruningSchedule(steps=6, epochs=6, final_epochs=0, admm=admm)
        gradual(dense, Batches(INPUTS, LABELS, 32), 4, method, schedule, progress=False)
        shadow = [layer.matrix() for layer in layers(dense)]
        masks = irregular(shadow, 4)
        lost = sum((one * ~mask).square().sum() for one, mask in zip(shadow, masks, strict=True))
        return float(lost / sum(one.square().sum() for one in shadow))

    assert energy_lost(Irregular(), admm=0.05) < 0.8 * energy_lost()


def test_mistakes():
    loader = Batches(INPUTS, LABELS, 32)
    for options in ({"admm": -1}, {"admm": float("nan")}, {"regrow": -0.1}):
        with pytest.raises(DarbError, match="must be a number from 0 up"):
            gradual(model(), loader, 4, schedule=PruningSchedule(**options), progress=False)
    with pytest.raises(DarbError, match="admm and regrow exclude each other"):
        gradual(model(), loader, 4, schedule=PruningSchedule(admm=0.1, regrow=0.1), progress=False)
