"""LSTM and GRU layers, and models of sequences."""

from collections import OrderedDict

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from darb_prune.errors import DarbError
from darb_prune.frontend.capture import capture
from tests.prune.frontend.capture.nets import Net, check


def zeros(x, *shape):
    return torch.zeros(shape[0], len(x), shape[1], dtype=x.dtype)


SEQUENCES = {
    "steps": lambda m, x: m.out(m.lstm(x)[0]),
    "last": lambda m, x: m.out(m.lstm(x)[0][:, -1, :]),
    "last as a slice": lambda m, x: m.out(m.lstm(x)[0][:, -1:].squeeze(1)),
    "selected": lambda m, x: m.out(m.lstm(x)[0].select(1, -1)),
    "state": lambda m, x: m.out(m.lstm(x)[1][0][-1]),
    "squeezed state": lambda m, x: m.out(m.lstm(x)[1][0].squeeze(0)),
    "state first": lambda m, x: m.out(m.lstm(x)[1][0].transpose(0, 1).flatten(1)),
    "states of layers": lambda m, x: m.wide(torch.cat([(h := m.deep(x)[1][0])[0], h[1]], 1)),
    "states of layers as a vector": lambda m, x: m.wide(m.deep(x)[1][0].permute(1, 0, 2).reshape(len(x), -1)),
    "gru": lambda m, x: m.out(m.gru(x)[0].relu()),
    "gru, state": lambda m, x: m.out(m.gru(x)[1][-1]),
    "gru, deep": lambda m, x: m.out(m.deepgru(x)[0]),
    "gru without bias": lambda m, x: m.out(m.plain(x)[0]),
    "stacked": lambda m, x: m.out(m.gru2(m.lstm(x)[0])[0]),
    "residual": lambda m, x: m.out((h := m.lstm(x)[0]) + m.gru2(h)[0]),
    "layers in front": lambda m, x: m.out(m.lstm(m.front(x).relu())[0]),
    "given zeros": lambda m, x: m.out(m.lstm(x, (zeros(x, 1, 4), zeros(x, 1, 4)))[0]),
    "zeros like others": lambda m, x: m.out(m.gru(x, x.new_zeros(1, len(x), 4) + torch.ones_like(x)[:1, :1, :1])[0]),
    "given states": lambda m, x: m.out(m.deep(x, (zeros(x, 2, 4) + 0.3, zeros(x, 2, 4) - 0.2))[0]),
    "learnt state": lambda m, x: m.out(m.gru(x, hx=m.start.weight[:1, None, :4].repeat(1, len(x), 1))[0]),
    "nothing given": lambda m, x: m.out(m.gru(x, None)[0]),
    "bare": lambda m, x: m.lstm(x),
    "rnn": lambda m, x: m.out(m.rnn(x)[0]),
    "rnn, bare": lambda m, x: m.rnn(x),
    "rnn, function behind": lambda m, x: m.out(m.rnn(x)[0].relu() * 2),
    "rnn of relu, states": lambda m, x: m.out(m.deeprnn(x, zeros(x, 2, 4) - 0.5)[1][-1]),
    "projection": lambda m, x: m.narrow(m.proj(x)[0]),
    "projection, bare": lambda m, x: m.proj(x),
    "projection, function behind": lambda m, x: m.narrow(m.proj(x)[0].relu() * 2),
    "projection, states": lambda m, x: m.narrow(m.deepproj(x, (zeros(x, 2, 3) + 0.3, zeros(x, 2, 4) - 0.2))[1][0][-1]),
    "projection, residual": lambda m, x: m.narrow(m.proj(x)[0] + m.less(x)),
    "norm of steps": lambda m, x: m.out(m.norm(m.lstm(x)[0].reshape(-1, 4)).view(x.shape[0], x.shape[1], 4)),
    "convolution": lambda m, x: m.out(
        m.lstm5(m.conv(x.reshape(-1, 1, 5)).relu().reshape(x.size(0), x.size(1), -1))[0][:, -1]
    ),
    "both directions of time": lambda m, x: m.out(m.turned(x.transpose(0, 1))[0][-1]),
    "both ends": lambda m, x: m.out(m.lstm(x)[0][:, -1] + m.near(x[:, -1])),
}


@pytest.mark.parametrize("name", SEQUENCES)
def test_recurrent(name):
    model = Net(
        SEQUENCES[name], lstm=nn.LSTM(5, 4, batch_first=True), deep=nn.LSTM(5, 4, 2, batch_first=True),
        out=nn.Linear(4, 3),
        wide=nn.Linear(8, 3), gru=nn.GRU(5, 4, batch_first=True), deepgru=nn.GRU(5, 4, 3, batch_first=True),
        plain=nn.GRU(5, 4, batch_first=True, bias=False), gru2=nn.GRU(4, 4, batch_first=True), front=nn.Linear(5, 5),
        start=nn.Linear(5, 4), norm=nn.BatchNorm1d(4), conv=nn.Conv1d(1, 2, 3), lstm5=nn.LSTM(6, 4, batch_first=True),
        turned=nn.LSTM(5, 4), near=nn.Linear(5, 4), proj=nn.LSTM(5, 4, batch_first=True, proj_size=3),
        deepproj=nn.LSTM(5, 4, 2, batch_first=True, proj_size=3), narrow=nn.Linear(3, 3), less=nn.Linear(5, 3),
        rnn=nn.RNN(5, 4, batch_first=True), deeprnn=nn.RNN(5, 4, 2, batch_first=True, nonlinearity="relu"),
    )  # fmt: skip
    stages = check(model, torch.randn(2, 6, 5))
    assert stages.recurrent
    assert not stages.time_first


TIME_FIRST = {
    "steps": lambda m, x: m.out(m.lstm(x)[0]),
    "last": lambda m, x: m.out(m.lstm(x)[0][-1]),
    "state": lambda m, x: m.out(m.lstm(x)[1][0][0]),
    "turned": lambda m, x: m.out(m.gru(x.transpose(0, 1))[0][:, -1]),
}


@pytest.mark.parametrize("name", TIME_FIRST)
def test_time_first(name):
    lstm, gru = nn.LSTM(5, 4), nn.GRU(5, 4, batch_first=True)
    stages = check(Net(TIME_FIRST[name], lstm=lstm, gru=gru, out=nn.Linear(4, 3)), torch.randn(6, 2, 5))
    assert stages.time_first


def together(h):
    return torch.cat([h[-2], h[-1]], 1)


COLUMNS = {
    "last step": lambda m, x: m.wide(m.both(x)[0][:, -1]),
    "every step": lambda m, x: m.wide(m.gru(x)[0]),
    "bare": lambda m, x: m.both(x),
    "two layers": lambda m, x: m.wide(m.deep(x)[0][:, -1]),
    "states": lambda m, x: m.wide(together(m.deep(x)[1][0])),
    "states as a vector": lambda m, x: m.wide(m.both(x)[1][0].transpose(0, 1).flatten(1)),
    "states of a GRU": lambda m, x: m.wide(together(m.gru(x)[1])),
    "state of one direction": lambda m, x: m.out(m.both(x)[1][0][1]),
    "state of a lower layer": lambda m, x: m.out(m.deep(x)[1][0][0] + m.near(m.deep2(x)[0][:, 0])),
    "projection": lambda m, x: m.narrow(m.proj(x)[0]),
    "projection, states": lambda m, x: m.narrow(m.proj(x, (zeros(x, 2, 3) + 0.3, zeros(x, 2, 4) - 0.2))[0][:, -1]),
    "initial states": lambda m, x: m.wide(m.deep(x, (zeros(x, 4, 4) + 0.3, zeros(x, 4, 4) - 0.2))[0]),
    "rnn": lambda m, x: m.wide(m.rnn(x, zeros(x, 2, 4) - 0.5)[0].relu()),
    "no batch first": lambda m, x: m.wide(m.turned(x.transpose(0, 1))[0][-1]),
    "steps first": lambda m, x: m.wide(m.turned(x.transpose(0, 1))[0]),
    "steps and samples in one dimension": lambda m, x: m.wide(
        (h := m.turned(m.front(x.permute(1, 0, 2)))[0]).reshape(-1, 8)
    ).view(*h.shape[:2], 3),
    "channels first": lambda m, x: m.wide(m.six(x.transpose(1, 2))[0][:, -1]),
    "convolution in front": lambda m, x: m.out(m.one(m.conv(x.transpose(1, 2)).relu().transpose(1, 2))[0][:, -1]),
    "convolution behind": lambda m, x: m.behind(m.both(x)[0].transpose(1, 2)).mean(2),
    "convolution behind an initial state": lambda m, x: m.again(
        m.one(x, (zeros(x, 1, 4) + 0.3, zeros(x, 1, 4)))[0].transpose(1, 2)
    ).mean(2),
    "mean of all steps": lambda m, x: m.out(m.one(x)[0].mean(1)),
    "maximum of all steps": lambda m, x: m.out(m.one(x)[0].max(1)[0]),
    "average pooling": lambda m, x: m.wide(nn.functional.adaptive_avg_pool1d(m.both(x)[0].transpose(1, 2), 1)[..., 0]),
    "all steps as a vector": lambda m, x: m.all(m.one(x)[0].flatten(1)),
    "first step": lambda m, x: m.out(m.one(x)[0][:, 0]),
    "residual": lambda m, x: m.wide((h := m.both(x)[0]) + m.after(h)[0]),
    "layers in front": lambda m, x: m.wide(m.both(m.front(x).relu())[0]),
    "norm behind": lambda m, x: m.wide(m.norm(m.both(x)[0].transpose(1, 2)).transpose(1, 2)),
    "two readers": lambda m, x: m.wide(torch.cat([m.one(x)[0], m.one2(x)[0]], 2)[:, -1] + m.gru(x)[0].mean(1)),
    "sections behind each other": lambda m, x: m.wide(m.after(m.both(x)[0])[0][:, -1]),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_columns(name):
    """Models of sequences of one length: time is the width of a map."""
    first = {"batch_first": True}
    two = first | {"bidirectional": True}
    model = Net(
        COLUMNS[name], both=nn.LSTM(5, 4, **two), gru=nn.GRU(5, 4, **two), deep=nn.LSTM(5, 4, 2, **two),
        deep2=nn.LSTM(5, 4, **first), proj=nn.LSTM(5, 4, proj_size=3, **two), turned=nn.LSTM(5, 4, bidirectional=True),
        rnn=nn.RNN(5, 4, **two), six=nn.LSTM(6, 4, **two), one=nn.LSTM(5, 4, **first), one2=nn.LSTM(5, 4, **first),
        after=nn.LSTM(8, 4, **two), conv=nn.Conv1d(5, 5, 3, padding=1),
        behind=nn.Conv1d(8, 3, 3),
        again=nn.Conv1d(4, 3, 3, padding=1), norm=nn.BatchNorm1d(8), front=nn.Linear(5, 5), near=nn.Linear(4, 4),
        out=nn.Linear(4, 3), wide=nn.Linear(8, 3), narrow=nn.Linear(6, 3), all=nn.Linear(24, 3),
    )  # fmt: skip
    stages = check(model, torch.randn(2, 6, 5))
    assert stages.sections
    assert not stages.recurrent
    assert stages.columns_first == (name in ("steps first", "steps and samples in one dimension"))


IMAGES = {
    "columns of one line": lambda m, x: m.wide(m.both(m.flat(x).squeeze(2).transpose(1, 2))[0]),
    "columns of several lines": lambda m, x: m.wide(m.tall(m.conv(x).relu().permute(0, 3, 1, 2).flatten(2))[0]),
    "steps first": lambda m, x: m.wide(m.turned(m.conv(x).permute(3, 0, 1, 2).flatten(2))[0]),
    "other readers": lambda m, x: (
        m.wide(m.tall((h := m.conv(x)).permute(0, 3, 1, 2).flatten(2))[0][:, -1]) + m.fc(m.again(h).flatten(1))
    ),
    "pooled": lambda m, x: m.wide(m.both(nn.functional.max_pool2d(m.conv(x), (4, 2))[:, :, 0].transpose(1, 2))[0]),
    "input": lambda m, x: m.wide(m.eight(x.permute(0, 3, 1, 2).flatten(2))[0].mean(1)),
}


@pytest.mark.parametrize("name", IMAGES)
def test_columns_of_images(name):
    two = {"batch_first": True, "bidirectional": True}
    model = Net(
        IMAGES[name], conv=nn.Conv2d(2, 3, 3, padding=1), flat=nn.Conv2d(2, 3, (4, 3)), both=nn.LSTM(3, 4, **two),
        tall=nn.GRU(12, 4, **two), turned=nn.LSTM(12, 4, bidirectional=True), eight=nn.LSTM(8, 4, **two),
        again=nn.Conv2d(3, 2, 3, padding=2), fc=nn.Linear(2 * 6 * 8, 3), wide=nn.Linear(8, 3),
    )  # fmt: skip
    assert check(model, torch.randn(2, 2, 4, 6)).sections


SYMBOLS = {
    "two directions": lambda m, x: m.wide(m.both(m.embedding(x))[0][:, -1]),
    "steps first": lambda m, x: m.wide(m.turned(m.embedding(x.t()))[0]),
    "steps first behind": lambda m, x: m.wide(m.turned(m.embedding(x).permute(1, 0, 2))[0][-1]),
    "dropout and mean": lambda m, x: m.wide(m.both(m.drop(m.embedding(x)))[0].mean(1)),
    "convolution": lambda m, x: m.out(m.conv(m.embedding(x).transpose(1, 2)).relu().amax(2)),
    "convolution and cells": lambda m, x: m.wide(m.both(m.conv(m.embedding(x).transpose(1, 2)).transpose(1, 2))[0]),
}


@pytest.mark.parametrize("name", SYMBOLS)
def test_columns_of_symbols(name):
    model = Net(
        SYMBOLS[name], embedding=nn.Embedding(9, 5), both=nn.GRU(5, 4, batch_first=True, bidirectional=True),
        turned=nn.GRU(5, 4, bidirectional=True), wide=nn.Linear(8, 3), out=nn.Linear(5, 3), drop=nn.Dropout(),
        conv=nn.Conv1d(5, 5, 3, padding=1),
    )  # fmt: skip
    stages = check(model, torch.randint(9, (4, 6)))
    assert stages.values["embedding.out"].shape == (5, 1, 6)
    assert bool(stages.sections) == (name != "convolution")


ILLEGAL_SEQUENCES = {
    "both: LSTM must read .steps, samples, features., and the samples are dimension 0": lambda m, x: m.both(x),
    "the cell state c of an LSTM": lambda m, x: m.out(m.lstm(x)[1][1][-1]),
    "out: Linear must read": lambda m, x: m.out(m.deep(x)[1][0]),
    "initial state of LSTM depends on the input": lambda m, x: m.lstm(x, m.lstm2(x)[1]),
    "initial state of GRU is not the same for all": lambda m, x: m.gru(x, torch.randn(1, 3, 4)),
    "turned: LSTM runs over the samples of another layer": lambda m, x: m.turned(m.lstm(x)[0]),
    "cell: operator LSTMCell is not supported; call it for every": lambda m, x: (
        m.cell(x[:, -1])[0] + m.lstm(x)[0][:, -1]
    ),
    "lstm: LSTM must read .samples, steps, features., steps being the last dimension of a map": lambda m, x: m.lstm(
        m.image(x[:, None]).transpose(1, 2).flatten(2)
    )[0],
    "addition of": lambda m, x: m.lstm(x)[0] + m.lstm2(x)[0][:, -1:],
}


@pytest.mark.parametrize("message", ILLEGAL_SEQUENCES)
def test_illegal_sequences(message):
    net = Net(
        ILLEGAL_SEQUENCES[message], lstm=nn.LSTM(5, 4, batch_first=True), lstm2=nn.LSTM(5, 4, batch_first=True),
        both=nn.LSTM(5, 4, bidirectional=True),
        deep=nn.LSTM(5, 4, 2, batch_first=True),
        gru=nn.GRU(5, 4, batch_first=True), out=nn.Linear(4, 3), turned=nn.LSTM(4 if "samples of" in message else 5, 4),
        cell=nn.LSTMCell(5, 4), image=nn.Conv2d(1, 1, 1),
    )  # fmt: skip
    with pytest.raises(DarbError, match=message):
        capture(net, torch.randn(3, 6, 5))


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["lstm", "gru", "linear", "relu", "add"]), st.integers(1, 3)), max_size=4),
    st.booleans(), st.booleans(), st.integers(1, 4),
)  # fmt: skip
def test_random_recurrent_networks(kinds, last, first, steps):
    torch.manual_seed(len(kinds))
    modules = OrderedDict(first=nn.GRU(3, 3, batch_first=first))
    for number, (kind, count) in enumerate(kinds):
        of = {
            "lstm": lambda n: nn.LSTM(3, 3, n, batch_first=first),
            "gru": lambda n: nn.GRU(3, 3, n, batch_first=first),
        }
        modules[f"m{number}"] = of[kind](count) if kind in of else nn.Linear(3, 3)

    def forward(m, x):
        h = before = m.first(x)[0]
        for number, (kind, _) in enumerate(kinds):
            module = getattr(m, f"m{number}")
            new = h.relu() if kind == "relu" else h + before if kind == "add" else module(h)
            before, h = h, new if isinstance(new, torch.Tensor) else new[0]
        return (h[:, -1] if first else h[-1]) if last else h

    x = torch.randn(2, steps, 3)
    assert check(Net(forward, **modules), x if first else x.transpose(0, 1)).emit == ("last" if last else "step")
