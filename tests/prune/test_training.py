"""Training, fine-tuning and gradual pruning on tiny problems: reproducible, and masks hold."""

import functools
import itertools
import math
import operator

import pytest
import torch
from torch import nn

from darb_prune import training
from darb_prune.batches import Batches
from darb_prune.container import DarbError
from darb_prune.distillation import soften
from darb_prune.encoded import Level
from darb_prune.masks import level_mask
from darb_prune.pruned import shadow_weight
from darb_prune.pruning import prune
from darb_prune.qat import FakeQuantized
from darb_prune.quantization import quantize
from darb_prune.training import evaluate, finetune, gradual, ratios, seeded, train

GENERATOR = torch.Generator().manual_seed(1)
INPUTS = torch.randn(256, 12, generator=GENERATOR)
LABELS = (INPUTS[:, :4].sum(dim=1) > 0).long() + 2 * (INPUTS[:, 4] > 0).long()


def model():
    with seeded(3):
        return nn.Sequential(nn.Linear(12, 32), nn.ReLU(), nn.Dropout(0.1), nn.Linear(32, 4))


def loader(seed=0):
    return Batches(INPUTS, LABELS, 32, seed)


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


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


def test_cubic_schedule():
    schedule = ratios(13, 8)
    assert len(schedule) == 8
    assert schedule == sorted(schedule)
    assert schedule[-1] == 13
    sparsity = [1 - 1 / ratio for ratio in schedule]
    assert sparsity[3] == pytest.approx((1 - 1 / 13) * (1 - 0.5**3))
    assert ratios(5, 1) == [5]


def test_gradual_reaches_the_ratio_and_repeats_itself():
    nets = [model(), model()]
    for net in nets:
        train(net, loader(), 10, 1e-2, progress=False)
        left, history = gradual(net, loader(1), 8, steps=3, epochs=2, final_epochs=4, progress=False)
    assert same(*nets)
    assert 8 <= left.ratio < 8.5
    assert [round(step["wanted"], 3) for step in history] == [round(ratio, 3) for ratio in ratios(8, 3)]
    assert all(step["ratio"] >= step["wanted"] for step in history)
    for layer in (nets[0][0], nets[0][3]):
        # Fine-tuning has moved the weights since the mask was made: levels still hold, places need not.
        counts = level_mask(layer.weight, layer.weight_level, layer.weight_order)
        assert torch.all(layer.weight[~counts] == 0)


def test_rates_of_gradual_reach_their_steps(monkeypatch):
    rates = []
    monkeypatch.setattr(training, "finetune", lambda model, loader, epochs, rate, **_: rates.append((epochs, rate)))
    gradual(model(), loader(), 4, steps=3, epochs=2, final_epochs=5, rate=0.25, final_rate=0.125, progress=False)
    assert rates == [(2, 0.25), (2, 0.25), (5, 0.125)]


@pytest.mark.parametrize("order", ["none", "spread", "search"])
def test_the_order_of_gradual_is_chosen_once_and_blocks_are_nested(order, monkeypatch):
    seen = []

    def note(net, *_, **__):
        seen.append([(layer.weight_order.clone(), layer.weight_mask.clone()) for layer in (net[0], net[3])])
        return []

    monkeypatch.setattr(training, "finetune", note)
    gradual(model(), loader(), 10, steps=5, method="bmwm", order=order, progress=False)
    assert len(seen) == 5
    for before, after in itertools.pairwise(seen):
        for (old_order, old), (new_order, new) in zip(before, after, strict=True):
            assert torch.equal(old_order, new_order)
            assert not (new > old).any()  # nothing comes back
    assert (seen[0][0][0].tolist() == list(range(12))) == (order == "none")


def test_regrowth_brings_weights_back_and_pulls_masked_ones_down():
    def returned(regrow):
        net = model()
        masks = []
        loaded = loader()
        real = type(loaded).__iter__

        class Noting(type(loaded)):
            def __iter__(self):
                masks.append(net[0].weight_mask.clone())
                return real(self)

        loaded.__class__ = Noting
        gradual(
            net, loaded, 8, 3, 8, 2, 2e-2, seed=1, method="irregular", regrow=regrow, progress=False,
        )  # fmt: skip
        assert torch.equal(masks[-1], masks[-2])  # not in the last step
        return sum(int((new > old).sum()) for old, new in itertools.pairwise(masks))

    assert returned(0.0) == 0
    assert returned(1e-3) > 0


def test_rates_of_one_fall(monkeypatch):
    shares = []

    def note(model, loader, epochs, rate, rates=None, **_):
        shares.extend(rates(epoch / epochs) for epoch in range(epochs))
        return []

    monkeypatch.setattr(training, "finetune", note)
    gradual(model(), loader(), 4, steps=3, epochs=2, final_epochs=4, rewind=False, progress=False)
    assert shares == pytest.approx([0.01 + 0.99 * (1 + math.cos(math.pi * step / 8)) / 2 for step in range(8)])


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
        name: one.scale for name, one in seen[-1].ranges.items()
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


def test_gradual_to_dense_only_trains():
    net = model()
    left, history = gradual(net, loader(), 1, method="dense", final_epochs=1, progress=False)
    assert left.ratio == 1
    assert len(history) == 1


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
        gradual(model(), loader(), 8, steps=0)
    with pytest.raises(DarbError, match="sparsest choice costs"):  # reached only by the last step
        gradual(model(), None, 8, levels=[Level(0, 1), Level(1, 1)])
    with pytest.raises(DarbError, match="operator gelu is not supported"):
        finetune(nn.Sequential(nn.Linear(12, 4), nn.GELU()), loader(), 1, weight_bits=8)
