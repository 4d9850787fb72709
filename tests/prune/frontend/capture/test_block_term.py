"""Block-term layers."""

import pytest
import torch
from torch import nn

from darb_prune.errors import ModelError
from darb_prune.frontend.capture import capture
from darb_prune.modules.block_term import BlockTermConv2d, BlockTermGRU, BlockTermLinear, BlockTermLSTM
from darb_prune.modules.layers import layers
from tests.prune.frontend.capture.nets import Net, check, names

NETS = {
    "behind a Linear": (lambda m, x: m.out(m.three(m.a(x).relu()).relu()), (5,)),
    "of the input": (lambda m, x: m.out(m.of_input(x).tanh()), (12,)),
    "of an input that others read": (lambda m, x: m.out(m.of_input(x) + m.beside(x)), (12,)),
    "of an image": (lambda m, x: m.out(m.three(m.conv(x).relu().flatten(1))), (2, 3, 4)),
    "of an image that is pooled": (lambda m, x: m.out(m.three(m.pool(m.conv(x)).flatten(1))), (2, 6, 16)),
    "of a part": (lambda m, x: m.out(m.three(m.wide(x)[:, 2:26])), (5,)),
    "of four modes": (lambda m, x: m.out(m.four(m.a(x))), (5,)),
    "of one term": (lambda m, x: m.out(m.one(m.a(x))), (5,)),
    "one behind the other": (lambda m, x: m.out(m.of_input(m.three(m.a(x)))), (5,)),
    "at the end": (lambda m, x: m.three(m.a(x)), (5,)),
    "at the end, without bias": (lambda m, x: m.plain(m.a(x)), (5,)),
    "with outputs of one mode": (lambda m, x: m.classes(m.a(x)), (5,)),
    "convolution": (lambda m, x: m.terms(x).relu(), (6, 5, 5)),
}  # fmt: skip


def net(forward):
    return Net(
        forward, a=nn.Linear(5, 24), conv=nn.Conv2d(2, 2, (3, 1), padding=(1, 0)), pool=nn.MaxPool2d((2, 4)),
        wide=nn.Linear(5, 30), beside=nn.Linear(12, 12), out=nn.Linear(12, 3),
        three=BlockTermLinear((2, 3, 4), (3, 2, 2), (2, 3, 2)), of_input=BlockTermLinear((3, 4), (4, 3), (2, 3), 3),
        four=BlockTermLinear((2, 3, 2, 2), (3, 2, 1, 2), (2, 2, 2, 3)), one=BlockTermLinear((4, 6), (4, 3), (2, 2), 1),
        plain=BlockTermLinear((2, 3, 4), (3, 2, 2), (2, 3, 2), bias=False),
        classes=BlockTermLinear((2, 3, 4), (5, 1, 1), (2, 2, 3)),
        terms=BlockTermConv2d((2, 3), (4, 2), (3, 2), (2, 3, 2, 1), stride=(1, 2), padding=(1, 0)),
    )  # fmt: skip


@pytest.mark.parametrize("name", NETS)
def test_linear_and_convolution(name):
    forward, sizes = NETS[name]
    check(net(forward), torch.randn(2, *sizes))


def test_the_stages_are_the_products_of_the_modes():
    """The first one reads what the layer in front writes so; those of a mode write one value; rows of the first mode
    are its outputs."""
    stages = check(net(NETS["behind a Linear"][0]), torch.randn(2, 5))
    assert names(stages) == [
        "a",
        "three.mode_3",
        "three.mode_2.0",
        "three.mode_2.1",
        "three.mode_1",
        "three.bias",
        "out",
    ]
    a, three, second, _, first, *_ = stages.stages
    assert [stages.values[stage.output].shape for stage in (a, three, second, first)] == [
        (4, 1, 6), (3, 8, 2), (2, 8, 2), (12, 1, 1),
    ]  # fmt: skip
    assert [stage.rows for stage in (three, second, first)] == [8, 4, 3]
    assert second.output == stages.stages[3].output


def test_an_input_is_read_as_it_comes():
    stages = check(net(NETS["of the input"][0]), torch.randn(2, 12))
    assert stages.values[stages.input].shape == (4, 1, 3)
    assert stages.input_last


SEQUENCES = {
    "lstm": (lambda m, x: m.out(m.lstm(x)[0][:, -1]), 6),
    "gru": (lambda m, x: m.out(m.gru(x)[0]), 6),
    "behind a layer, state": (lambda m, x: m.out(m.lstm(m.front(x).relu())[1][0][-1]), 3),
    "gru, state": (lambda m, x: m.out(m.gru(x)[1][-1]), 6),
    "initial state": (lambda m, x: m.out(m.lstm(x, state(x, 2))[0]), 6),
    "initial state of a gru": (lambda m, x: m.out(m.gru(x, state(x, 1))[0]), 6),
    "behind each other": (lambda m, x: m.out(m.second(m.lstm(x)[0])[0]), 6),
}


def state(x, count):
    made = tuple(torch.linspace(-0.5, 0.5, 4, dtype=x.dtype).view(1, 1, 4).repeat(1, len(x), 1) for _ in range(count))
    return made if count > 1 else made[0]


@pytest.mark.parametrize("name", SEQUENCES)
def test_sequences(name):
    forward, features = SEQUENCES[name]
    model = Net(
        forward, lstm=BlockTermLSTM((2, 3), (8, 2), (2, 3)), gru=BlockTermGRU((2, 3, 1), (3, 2, 2), (2, 3, 1)),
        front=nn.Linear(3, 6), second=BlockTermLSTM((2, 2), (4, 4), (2, 2)), out=nn.Linear(4, 3),
    )  # fmt: skip
    stages = check(model, torch.randn(2, 4, features))
    assert stages.recurrent
    assert [layer.name for layer in layers(model)] == ["lstm.hidden", "gru.hidden", "front", "second.hidden", "out"]


REFUSED = {
    "three: BlockTermLinear must read all values of a sample": (lambda m, x: m.three(m.conv(x).flatten(2)), (2, 6, 4)),
    "three: BlockTermLinear shares its weight with layer 'three'": (
        lambda m, x: m.three(torch.cat([m.three(m.a(x))] * 2, 1)), (5,),
    ),
    r"block terms 2,3 -> 4,2, .*: reads \(samples, 6, height, width\), not": (lambda m, x: m.terms(x), (5, 5)),
}  # fmt: skip


@pytest.mark.parametrize("message", REFUSED)
def test_what_is_refused(message):
    forward, sizes = REFUSED[message]
    with pytest.raises(ModelError, match=message):
        capture(net(forward), torch.randn(2, *sizes))


def test_among_columns_of_a_map():
    model = Net(
        lambda m, x: m.out(m.both(m.lstm(x)[0])[0]), lstm=BlockTermLSTM((2, 3), (8, 2), (2, 3)),
        both=nn.LSTM(4, 2, batch_first=True, bidirectional=True), out=nn.Linear(4, 3),
    )  # fmt: skip
    with pytest.raises(ModelError, match="lstm: BlockTermLSTM among layers that look at several time steps at once"):
        capture(model, torch.randn(2, 5, 6))


def test_weights_follow_the_parameters():
    """Nothing is copied: what is trained is what is captured."""
    model = net(NETS["of the input"][0])
    stages = capture(model, torch.randn(2, 12))
    before = stages.stages[0].weights[0].part.module.weight.clone()
    with torch.no_grad():
        model.of_input.cores.mul_(2)
    assert torch.allclose(stages.stages[0].weights[0].part.module.weight, 2 * before)
