"""Gradients of the loss on a few batches."""

import pytest
import torch
from torch import nn

from darb_prune.errors import DarbError, DataError, ModelError
from darb_prune.training.gradients import collect


def mean_square(outputs, labels):
    return (outputs - labels).square().mean()


def batches(count, size=5):
    return [(torch.randn(size, 4), torch.randn(size, 2)) for _ in range(count)]


def model():
    return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Dropout(), nn.Linear(6, 2))


def reader(net):
    return lambda: [net[0].weight.grad, net[3].weight.grad]


def test_collect_is_the_mean_over_batches():
    net, data = model(), batches(3)
    means = collect(net, data, mean_square, reader(net), batches=3)
    net.eval()
    each = []
    for inputs, labels in data:
        weights = [net[0].weight, net[3].weight]
        each.append(torch.autograd.grad(mean_square(net(inputs), labels), weights))
    for matrix in range(2):
        stacked = torch.stack([gradients[matrix] for gradients in each])
        torch.testing.assert_close(means.absolute[matrix], stacked.abs().mean(dim=0))
        torch.testing.assert_close(means.square[matrix], stacked.square().mean(dim=0))


def test_collect_stops_after_the_batches_asked_for():
    net, data = model(), batches(4)
    some, all_of_two = (collect(net, data[:most], mean_square, reader(net), batches=2) for most in (4, 2))
    torch.testing.assert_close(some.square, all_of_two.square)


@pytest.mark.parametrize("broken", [False, True])
def test_collect_leaves_the_model_as_it_was(broken):
    net = model()
    net[0].train()
    net[1].eval()
    net[0].weight.grad = kept = torch.ones(6, 4)
    state = {name: value.clone() for name, value in net.state_dict().items()}
    modes = [module.training for module in net.modules()]

    def read():
        if broken:
            raise RuntimeError("broken")
        return reader(net)()

    try:
        with torch.no_grad():
            collect(net, batches(2), mean_square, read)
    except RuntimeError:
        assert broken
    assert [module.training for module in net.modules()] == modes
    assert net[0].weight.grad is kept
    assert torch.equal(kept, torch.ones(6, 4))
    assert net[3].weight.grad is None
    for name, value in net.state_dict().items():
        assert torch.equal(value, state[name])


def test_collect_carries_the_state_of_a_recurrent_model():
    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.gru = nn.GRU(4, 2, batch_first=True)

        def forward(self, inputs, state=None):
            return self.gru(inputs, state)

    net = Recurrent()
    data = [(torch.randn(3, 5, 4), torch.randn(3, 5, 2))] * 2
    means = [collect(net, data, mean_square, lambda: [net.gru.weight_hh_l0.grad], count) for count in (1, 2)]
    assert not torch.allclose(means[0].absolute[0], means[1].absolute[0])  # the same batch, from another state


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda net: collect(net, [], mean_square, reader(net)), DataError, "the loader has no batches"),
        (lambda net: collect(net, batches(1), mean_square, reader(net), 0), DarbError, "batches 0"),
        (
            lambda net: collect(net, batches(2), lambda outputs, _: outputs.sum() / 0, reader(net)),
            ModelError,
            "the loss of batch 0 is",
        ),
    ],
)
def test_mistakes(call, error, message):
    with pytest.raises(error, match=message):
        call(model())
