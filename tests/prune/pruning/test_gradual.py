"""Gradual pruning on a tiny problem: it reaches its ratios, and repeats itself."""

import itertools
import math

import pytest
import torch

from darb_prune.errors import DarbError, DataError
from darb_prune.patterns.masks import level_mask
from darb_prune.pruning.gradual import Gradual, gradual
from darb_prune.pruning.methods import BMWM, Irregular, Unpruned
from darb_prune.pruning.schedule import PruningSchedule, ratios
from darb_prune.training.loop import train
from tests.prune.training.tiny import loader, model, same


def test_cubic_schedule():
    schedule = ratios(13, 8)
    assert len(schedule) == 8
    assert schedule == sorted(schedule)
    assert schedule[-1] == 13
    sparsity = [1 - 1 / ratio for ratio in schedule]
    assert sparsity[3] == pytest.approx((1 - 1 / 13) * (1 - 0.5**3))
    assert ratios(5, 1) == [5]


def test_a_ratio_that_is_no_number_is_refused():
    with pytest.raises(DarbError, match="ratio '8' must be a number from 1 up"):
        gradual(model(), loader(), "8")


def test_gradual_reaches_the_ratio_and_repeats_itself():
    nets = [model(), model()]
    for net in nets:
        train(net, loader(), 10, 1e-2, progress=False)
        left, history = gradual(
            net, loader(1), 8, schedule=PruningSchedule(steps=3, epochs=2, final_epochs=4), progress=False
        )
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
    monkeypatch.setattr(
        "darb_prune.pruning.gradual.finetune", lambda model, loader, epochs, rate, **_: rates.append((epochs, rate))
    )
    schedule = PruningSchedule(steps=3, epochs=2, final_epochs=5, rate=0.25, final_rate=0.125)
    gradual(model(), loader(), 4, schedule=schedule, progress=False)
    assert rates == [(2, 0.25), (2, 0.25), (5, 0.125)]


@pytest.mark.parametrize("order", ["none", "spread", "search"])
def test_the_order_of_gradual_is_chosen_once_and_blocks_are_nested(order, monkeypatch):
    seen = []

    def note(net, *_, **__):
        seen.append([(layer.weight_order.clone(), layer.weight_mask.clone()) for layer in (net[0], net[3])])
        return []

    monkeypatch.setattr("darb_prune.pruning.gradual.finetune", note)
    gradual(model(), loader(), 10, BMWM(order=order), PruningSchedule(steps=5), progress=False)
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
        schedule = PruningSchedule(steps=3, epochs=8, final_epochs=2, rate=2e-2, regrow=regrow)
        gradual(net, loaded, 8, Irregular(), schedule, seed=1, progress=False)
        assert torch.equal(masks[-1], masks[-2])  # not in the last step
        return sum(int((new > old).sum()) for old, new in itertools.pairwise(masks))

    assert returned(0.0) == 0
    assert returned(1e-3) > 0


def test_rates_of_one_fall(monkeypatch):
    shares = []

    def note(model, loader, epochs, rate, rates=None, **_):
        shares.extend(rates(epoch / epochs) for epoch in range(epochs))
        return []

    monkeypatch.setattr("darb_prune.pruning.gradual.finetune", note)
    schedule = PruningSchedule(steps=3, epochs=2, final_epochs=4, rewind=False)
    gradual(model(), loader(), 4, schedule=schedule, progress=False)
    assert shares == pytest.approx([0.01 + 0.99 * (1 + math.cos(math.pi * step / 8)) / 2 for step in range(8)])


def test_gradual_to_dense_only_trains():
    net = model()
    left, history = gradual(net, loader(), 1, Unpruned(), PruningSchedule(final_epochs=1), progress=False)
    assert left.ratio == 1
    assert len(history) == 1


@pytest.mark.parametrize(
    ("method", "options"),
    [("darb", {}), ("nm", {"regrow": 0.01}), ("darb", {"admm": 0.01}), ("irregular", {"rewind": False})],
)
@pytest.mark.parametrize("stop", [0, 1, 2, 3])
def test_a_state_between_steps_is_enough_to_go_on(method, options, stop):
    schedule = PruningSchedule(steps=3, epochs=1, final_epochs=2, **options)

    def run(net):
        return Gradual(net, loader(2), 6, method, schedule, progress=False, seed=4)

    whole, part, again = model(), model(), model()
    expected = run(whole).run()
    stopped = run(part)
    stopped.steps = stopped.steps[:stop]
    if stop:
        stopped.run()
    resumed = run(again)
    resumed.restore(stopped.state())
    assert len(resumed.history) == stop
    assert resumed.run() == expected
    assert again.state_dict().keys() == whole.state_dict().keys()
    assert same(whole, again)


def test_a_checkpoint_of_the_version_before_has_none_for_admm():
    pruning = Gradual(model(), loader(2), 6, progress=False)
    Gradual(model(), loader(2), 6, progress=False).restore(pruning.state() | {"admm": None})


def test_a_loader_that_cannot_go_on_has_no_state():
    pruning = Gradual(model(), [(torch.zeros(2, 12), torch.zeros(2, dtype=torch.int64))], 4, progress=False)
    with pytest.raises(DataError, match="this loader cannot go on; give one that has state and restore"):
        pruning.state()
