"""Selection of units on tiny problems: ratios are reached, criteria say what they should, stopped runs go on."""

import copy

import pytest
import torch
from torch import nn

from darb_prune import select_channels, select_neurons
from darb_prune.errors import DarbError, ModelError
from darb_prune.frontend.capture import capture
from darb_prune.modules.layers import layers
from darb_prune.pruning.methods import Channels, Neurons
from darb_prune.pruning.one_shot import prune
from darb_prune.pruning.schedule import PruningSchedule
from darb_prune.structure.gates import Gated, WeightCount
from darb_prune.structure.selection import UnitSelection, units_left
from darb_prune.structure.units import units_of
from darb_prune.training.batches import Batches
from darb_prune.training.checkpoint import Checkpoint
from darb_prune.training.loop import evaluate, train
from tests.prune.structure.test_units import EXAMPLES, Recurrent
from tests.prune.training.test_checkpoint import Stopped, Stopping
from tests.prune.training.tiny import INPUTS, LABELS, loader, model, same

SHORT = PruningSchedule(steps=3, epochs=3, final_epochs=3, rate=1e-2, final_rate=1e-2)


def images(seed=0):
    """Two classes that one of four channels tells apart, and that channel's shape."""
    random = torch.Generator().manual_seed(seed)
    labels = torch.randint(2, (128,), generator=random)
    inputs = torch.randn(128, 2, 6, 6, generator=random)
    inputs[:, 0] += 2.0 * labels[:, None, None]
    return Batches(inputs, labels, 32, seed)


def convolutional():
    torch.manual_seed(5)
    return nn.Sequential(
        nn.Conv2d(2, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2),
    )  # fmt: skip


@pytest.mark.parametrize("criterion", ["gates", "lasso", "uniform"])
def test_neurons_reach_the_ratio_and_repeat_themselves(criterion):
    nets = [model(), model()]
    for net in nets:
        train(net, loader(), 10, 1e-2, progress=False)
        left, history = select_neurons(net, loader(1), 3, Neurons(criterion=criterion), SHORT, progress=False)
    assert same(*nets)
    assert 3 <= left.ratio < 3.4
    assert left.kept == sum(layer.weights for layer in layers(nets[0]))
    assert left.weights == 12 * 32 + 32 * 4
    assert history[-1]["units"] == {"0": [nets[0][0].out_features, 32]}
    assert evaluate(nets[0], INPUTS, LABELS) > 0.85
    assert prune(nets[0], 4).ratio >= 4


@pytest.mark.parametrize("criterion", ["gates", "lasso", "slimming", "uniform"])
def test_channels_reach_the_ratio(criterion):
    net = convolutional()
    train(net, images(), 6, 1e-2, progress=False)
    left, history = select_channels(net, images(1), 4, Channels(criterion=criterion), SHORT, progress=False)
    assert left.ratio >= 4
    assert history[-1]["units"] == {"0": [net[0].out_channels, 8], "3": [net[3].out_channels, 8]}
    assert net[1].num_features == net[0].out_channels
    # Scales that have not shrunk yet say little, after 6 epochs.
    assert criterion == "slimming" or evaluate(net, images().inputs, images().labels) > 0.85


def test_gates_find_what_a_model_does_not_need():
    net = model()
    with torch.no_grad():
        net[0].weight[::2], net[0].bias[::2] = 0, -1  # half of the units give 0, whatever they read
    useless = torch.arange(32) % 2 == 0
    kept = copy.deepcopy(net)
    selection = UnitSelection(kept, loader(1), 2, Neurons(), SHORT.updated({"final_epochs": 0}), progress=False)
    there, _ = selection._choose()
    assert float((~there[useless]).float().mean()) > 0.9


def test_the_penalty_brings_the_expected_weights_to_what_is_asked_for():
    net = model()
    units = units_of(capture(net, INPUTS[:1]))
    count = WeightCount(layers(net), units)
    gated = Gated(net, units, count, 0.25, 4, 1.0)
    optimizer = torch.optim.Adam([gated.logits], 1e-2)
    for _ in range(6):
        gated.before_epoch()
        for _ in range(60):
            optimizer.zero_grad()
            gated.penalty().backward()
            optimizer.step()
    share = float(gated._expected().detach() / count.total)
    assert 0.05 < share < 0.26


def test_gates_are_random_in_training_only_and_are_taken_away():
    net = model().eval()
    before, state = net(INPUTS), {name: value.clone() for name, value in net.state_dict().items()}
    units = units_of(capture(net, INPUTS[:1]))
    gated = Gated(net, units, WeightCount(layers(net), units), 0.5, 4, 1.0)
    gated.eval()
    torch.testing.assert_close(gated(INPUTS), before)
    with torch.no_grad():
        gated.logits.zero_()
    gated.train()
    net[2].eval()
    assert not torch.equal(gated(INPUTS), gated(INPUTS))
    gated.eval()
    assert torch.equal(gated(INPUTS), gated(INPUTS))
    assert not torch.allclose(gated(INPUTS), before)
    gated.open()
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())


def test_layers_of_one_module_keep_as_many_units():
    net = Recurrent()
    units = units_of(capture(net, EXAMPLES[Recurrent]()))
    torch.manual_seed(0)
    there = units_left(units, WeightCount(layers(net), units), torch.rand(units.size), 1.5)
    [sides] = units.equal
    assert len(sides) == 4
    [kept] = {int(there[side].sum()) for side in sides}
    assert 0 < kept < 6


def test_units_that_are_outputs_keep_all_of_their_module():
    lstm = nn.LSTM(3, 8, 2, batch_first=True)
    assert units_of(capture(lstm, torch.randn(2, 4, 3))).count == 0


@pytest.mark.parametrize("stop", [4, 7])
def test_selection_goes_on_where_it_stopped(tmp_path, stop):
    def run(net, batches, checkpoint=None):
        return UnitSelection(net, batches, 3, Neurons(), SHORT, progress=False, checkpoint=checkpoint).run()

    straight, stopped, path = model(), model(), tmp_path / "run.partial"
    left, history = run(straight, Batches(INPUTS, LABELS, 32, 1))
    with pytest.raises(Stopped):
        run(stopped, Stopping(INPUTS, LABELS, 32, 1, stop=stop), Checkpoint(path, {}, every=0))
    again = model()
    assert run(again, Batches(INPUTS, LABELS, 32, 1), Checkpoint(path, {}, every=0)) == (left, history)
    expected = straight.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in again.state_dict().items())


@pytest.mark.parametrize(
    ("make", "method", "message"),
    [
        (lambda: prune(net := model(), 2) and net, Neurons(), r"layer '0' is pruned; select units first"),
        (lambda: convolutional()[:6].append(nn.Conv2d(8, 2, 1)), Neurons(), r"no units .* method channels takes"),
        (lambda: nn.Sequential(nn.Linear(12, 4)), Channels(), r"no units to select with method channels"),
        (lambda: nn.Sequential(nn.Linear(12, 4)), Neurons(), r"method neurons; exclude fewer layers, or prune weights"),
        (model, Channels(criterion="slimming"), r"no batch normalisation with scales"),
    ],
)
def test_what_cannot_be_selected_is_refused(make, method, message):
    net = make()
    batches = images() if isinstance(net[0], nn.Conv2d) else loader()
    with pytest.raises(ModelError, match=message):
        UnitSelection(net, batches, 2, method, SHORT, progress=False).run()


def test_ratios_that_cannot_be_reached_are_refused_before_training():
    with pytest.raises(DarbError, match=r"ratio 600 cannot be reached: with one unit of each layer it is 32\.00"):
        UnitSelection(model(), loader(), 600, Neurons())
    for select in (select_neurons, select_channels):
        with pytest.raises(DarbError, match=r"ratio '8' must be a number from 1 up"):
            select(model(), loader(), "8")
    with pytest.raises(DarbError, match=r"ratio 0\.5"):
        UnitSelection(model(), loader(), 0.5, Neurons())
    with pytest.raises(DarbError, match="method neurons: has no masks; use select_neurons"):
        prune(model(), 2, "neurons")
