"""Training, fine-tuning and gradual pruning on tiny problems: reproducible, and masks hold."""

import functools
import operator

import pytest
import torch
from torch import nn

from darb_prune.encoded import Level
from darb_prune.errors import DarbError
from darb_prune.integer.qat import FakeQuantized
from darb_prune.integer.quantization import quantize
from darb_prune.modules.masked import shadow_weight
from darb_prune.pruning.gradual import gradual
from darb_prune.pruning.methods import Darb
from darb_prune.pruning.one_shot import prune
from darb_prune.pruning.schedule import PruningSchedule
from darb_prune.training.batches import Batches
from darb_prune.training.distillation import soften
from darb_prune.training.loop import evaluate, finetune, seeded, train
from tests.prune.training.tiny import INPUTS, LABELS, loader, model, same


def test_batches_cover_everything_in_a_new_order_each_pass():
    batches = Batches(torch.arange(10.0), torch.arange(10), 4, seed=5)
    passes = [[labels.tolist() for _, labels in batches] for _ in range(2)]
    assert len(batches) == 3
    assert [len(part) for part in passes[0]] == [4, 4, 2]
    assert sorted(functools.reduce(operator.iadd, passes[0], [])) == list(range(10))
    assert passes[0] != passes[1]
    again = Batches(torch.arange(10.0), torch.arange(10), 4, seed=5)
    assert [labels.tolist() for _, labels in again] == passes[0]
    for inputs, labels in batches:
        assert torch.equal(inputs.long(), labels)


def test_seeded_leaves_the_caller_alone():
    torch.manual_seed(9)
    expected = torch.rand(3)
    torch.manual_seed(9)
    with seeded(1):
        inside = torch.rand(3)
    assert torch.equal(torch.rand(3), expected)
    with seeded(1):
        assert torch.equal(torch.rand(3), inside)


def test_training_learns_and_repeats_itself():
    nets = [model(), model(), model()]
    histories = [
        train(net, loader(), 15, 1e-2, seed=seed, progress=False) for net, seed in zip(nets, (0, 0, 1), strict=False)
    ]
    assert histories[0][-1] < 0.5 * histories[0][0]
    assert histories[0] == histories[1]
    assert same(nets[0], nets[1])
    assert not same(nets[0], nets[2])  # dropout has another seed
    assert evaluate(nets[0], INPUTS, LABELS) > 0.9
    assert not nets[0].training


def test_evaluate_counts():
    net = nn.Identity()
    outputs = torch.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, 2.0], [0.0, 3.0]])
    assert evaluate(net, outputs, torch.tensor([0, 0, 0, 1])) == 0.75


@pytest.mark.parametrize("weight_bits", [None, 4])
def test_fine_tuning_keeps_masks_and_shadow_weights(weight_bits):
    net = model()
    train(net, loader(), 10, 1e-2, progress=False)
    prune(net, 6)
    mask, shadow = net[0].weight_mask.bool().clone(), shadow_weight(net[0]).clone()
    before = evaluate(net, INPUTS, LABELS)
    finetune(net, loader(), 15, 1e-2, weight_bits, progress=False)
    assert torch.equal(net[0].weight_mask.bool(), mask)
    assert torch.equal(shadow_weight(net[0])[~mask], shadow[~mask])
    assert not torch.equal(shadow_weight(net[0])[mask], shadow[mask])
    assert evaluate(net, INPUTS, LABELS) > before


def test_quantisation_aware_training_helps_at_three_bits():
    accuracy = {}
    for weight_bits in (None, 3):
        net = model()
        train(net, loader(), 15, 1e-2, progress=False)
        finetune(net, loader(), 15, 5e-3, weight_bits, activation_bits=5, progress=False)
        integer = quantize(net, INPUTS, 3, 5)
        outputs = integer(integer.quantize_input(INPUTS))
        accuracy[weight_bits] = float((outputs.argmax(dim=1) == LABELS).double().mean())
    assert accuracy[3] > accuracy[None]


def test_quantisation_aware_training_rounds_and_renews_the_scales(monkeypatch):
    updates, forwards = [], []
    real_update, real_forward = FakeQuantized.update, FakeQuantized.forward
    monkeypatch.setattr(FakeQuantized, "update", lambda self: (updates.append(1), real_update(self))[1])
    monkeypatch.setattr(FakeQuantized, "forward", lambda self, x: (forwards.append(1), real_forward(self, x))[1])
    finetune(model(), loader(), 3, weight_bits=4, progress=False)
    assert len(updates) == 1 + 3
    assert len(forwards) == 3 * len(loader())


def test_calibration_is_used_instead_of_the_loader(monkeypatch):
    seen = []
    real = FakeQuantized.update
    monkeypatch.setattr(FakeQuantized, "update", lambda self: (real(self), seen.append(self))[0])
    net = model()
    finetune(net, loader(), 2, 1e-3, 8, percentile=99.0, calibration=INPUTS[:50], progress=False)
    assert seen[0].percentile == 99
    assert torch.equal(torch.cat(seen[0].calibration), INPUTS[:50])
    integer = quantize(net, INPUTS[:50], percentile=99.0)
    seen[-1].update()
    assert {name: tensor.scale for name, tensor in integer.tensors.items()} == {
        name: tensor_range.scale for name, tensor_range in seen[-1].ranges.items()
    }
    finetune(net, loader(), 1, 1e-3, 8, progress=False)
    assert sorted(torch.cat(seen[-1].calibration).tolist()) == sorted(INPUTS.tolist())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": -1}, "epochs -1 must be at least 0"),
        ({"rate": 0}, "rate 0 must be a number above 0"),
        ({"rate": float("inf")}, "rate inf must be"),
        ({"seed": 1 << 32}, "seed 4294967296 must be 0 to 4294967295"),
    ],
)
def test_settings_that_no_training_can_have(options, message):
    with pytest.raises(DarbError, match=message):
        train(model(), loader(), progress=False, **options)


def test_soften_mixes_the_answers_of_the_model_with_the_classes():
    net = model().eval()
    mixed = soften(net, INPUTS, LABELS, share=0.25, temperature=3.0)
    one_hot = torch.eye(4)[LABELS]
    assert torch.allclose(mixed, 0.25 * (net(INPUTS) / 3).softmax(dim=1) + 0.75 * one_hot)
    assert torch.equal(soften(net, INPUTS, LABELS, share=0.0), one_hot)


@pytest.mark.parametrize("quiet", [True, False])
def test_progress_goes_to_standard_error(quiet, capsys):
    train(model(), loader(), 2, progress=not quiet, label="a label")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert ("a label" in captured.err) is not quiet


def test_mistakes():
    with pytest.raises(DarbError, match="loader: no batches"):
        train(model(), [], 1, progress=False)
    with pytest.raises(DarbError, match=r"train: the loss is (nan|inf) after epoch \d+; lower the learning rate"):
        train(model(), [(INPUTS * 1e30, LABELS)], 3, 1e10, progress=False)
    with pytest.raises(DarbError, match="steps 0 must be at least 1"):
        gradual(model(), loader(), 8, schedule=PruningSchedule(steps=0))
    with pytest.raises(DarbError, match="sparsest choice costs"):  # reached only by the last step
        gradual(model(), None, 8, Darb(levels=[Level(0, 1), Level(1, 1)]))
    with pytest.raises(DarbError, match="operator softmax is not supported"):
        finetune(nn.Sequential(nn.Linear(12, 4), nn.Softmax(1)), loader(), 1, weight_bits=8)
