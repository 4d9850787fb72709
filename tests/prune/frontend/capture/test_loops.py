"""Cells in loops over time steps."""

import pytest
import torch
from torch import nn

from darb_prune import encode, prune, quantize
from darb_prune.errors import DarbError
from darb_prune.frontend.capture import capture
from darb_prune.frontend.example import example_of
from darb_prune.modules.layers import layers
from tests.prune.frontend.capture.nets import Net, check, names


def last(m, x):
    state = x.new_zeros(len(x), 6), x.new_full((len(x), 6), 0.25)
    for step in range(x.shape[1]):
        state = m.lstm(x[:, step], state)
    return m.fc(state[0])


def every(m, x):
    state, outputs = None, []
    for entry in x.unbind(1):
        state = m.gru(entry, state)
        outputs.append(state)
    return m.fc(torch.stack(outputs, 1))


def deep(m, x):
    """Layers of their own at each step, two cells, and outputs put together by cat."""
    state, other, outputs = None, None, []
    for step in range(x.size(1)):
        state = m.gru(torch.relu(m.same(x[:, step, :])), state)
        other = m.gru2(state, other)
        outputs.append(m.fc(other * torch.sigmoid(other) + state).unsqueeze(1))
    return torch.cat(outputs, 1)


def transposed(m, x):
    state, outputs = None, []
    for entry in x.transpose(0, 1):
        state = m.gru(entry, state)
        outputs.append(state)
    return m.fc(torch.stack(outputs, 1)[:, -1]) + m.fc2(state)


def steps_first(m, x):
    state, outputs = None, []
    for entry in x:
        state = m.gru(entry, state)
        outputs.append(state)
    return m.fc(torch.stack(outputs))


def embedded(m, x):
    state, x = None, m.embedding(x)
    for step in range(x.shape[1]):
        state = m.lstm(x[:, step], state)
    return m.fc(state[0]).relu()


def net(forward):
    return Net(
        forward, lstm=nn.LSTMCell(5, 6), gru=nn.GRUCell(5, 6), gru2=nn.GRUCell(6, 6, bias=False),
        gru3=nn.GRUCell(5, 6), same=nn.Linear(5, 5), fc=nn.Linear(6, 3), fc2=nn.Linear(6, 3),
        embedding=nn.Embedding(9, 5), back=nn.Linear(6, 5),
    )  # fmt: skip


@pytest.mark.parametrize("forward", [last, every, deep, transposed, steps_first, embedded])
def test_loops(forward):
    x = torch.randint(9, (4, 7)) if forward is embedded else torch.randn(4, 7, 5)
    stages = check(net(forward), x)
    assert stages.recurrent
    assert stages.emit == ("last" if forward in (last, transposed, embedded) else "step")
    assert stages.time_first == (forward is steps_first)


def test_a_loop_is_the_layer_over_the_sequence():
    model, x = net(last), torch.randn(4, 7, 5)
    assert names(check(model, x)) == ["lstm", "lstm.cell", "fc"]
    assert [(layer.name, layer.kind) for layer in layers(model)][:2] == [("lstm", "lstm"), ("gru", "gru")]


def test_loops_are_pruned_and_encoded():
    torch.manual_seed(0)
    model = nn.Module()
    model.gru, model.fc = nn.GRUCell(5, 6), nn.Linear(6, 3)
    model.forward = lambda x: every(model, x)
    assert example_of(model).shape[2:] == (5,)
    x = torch.randn(8, 7, 5)
    prune(model, 2)
    integer = quantize(model, x)
    assert [cell.kind for cell in encode(integer).cells] == ["gru"]
    outputs = integer(integer.quantize_input(x)).double() * integer.tensors[integer.output].scale
    wanted = model(x).detach()
    assert float((outputs.flatten() - wanted.flatten()).abs().max() / wanted.abs().max()) < 0.1


def backwards(m, x):
    state = None
    for step in reversed(range(x.shape[1])):
        state = m.gru(x[:, step], state)
    return m.fc(state)


def both(m, x):
    state, other, there, back = None, x.new_full((len(x), 6), 0.5), [], []
    for step in range(x.shape[1]):
        state = m.gru(x[:, step], state)
        there.append(state)
    for step in range(x.shape[1] - 1, -1, -1):
        other = m.gru3(m.same(x[:, step]), other)
        back.insert(0, other)
    return m.fc(torch.stack(there, 1) + torch.stack(back, 1))


@pytest.mark.parametrize("forward", [backwards, both])
def test_loops_that_run_backward(forward):
    stages = check(net(forward), torch.randn(4, 7, 5))
    assert [section.backward for section in stages.sections] == ([True] if forward is backwards else [False, True])


def there_and_back(m, x):
    state = m.gru(x[:, 0])
    for step in reversed(range(x.shape[1])):
        state = m.gru(x[:, step], state)
    return m.fc(state)


def some(m, x):
    state = None
    for step in range(x.shape[1] - 1):
        state = m.gru(x[:, step], state)
    return m.fc(state)


def fed_back(m, x):
    state = m.gru(x[:, 0])
    for _ in range(3):
        state = m.gru(m.back(state), state)
    return m.fc(state)


@pytest.mark.parametrize("forward", [there_and_back, some, fed_back])
def test_other_loops(forward):
    with pytest.raises(DarbError, match="gru: operator GRUCell is not supported; call it for every time step"):
        capture(net(forward), torch.randn(4, 7, 5))
