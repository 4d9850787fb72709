"""Layers with weights, and embeddings."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import prune as torch_prune

from darb_prune.errors import DarbError
from darb_prune.frontend.capture import capture
from darb_prune.frontend.stages import EmbeddingStage
from tests.prune.frontend.capture.nets import Net, check, lines, maps, refuse_maps, refuse_vectors, vectors

VECTORS = {
    "norm": lambda m, x: m.c(m.norm(m.a(x)).relu()),
    "norm behind relu": lambda m, x: m.c(m.norm(m.a(x).relu())),
}


@pytest.mark.parametrize("name", VECTORS)
def test_vectors(name):
    check(vectors(VECTORS[name]), torch.randn(4, 6))


MAPS = {
    "channels innermost": lambda m, x: m.fc(m.a(x).permute(0, 2, 3, 1).flatten(1)),
    "conv": lambda m, x: m.a(x).relu(),
    "norm of a concatenation": lambda m, x: m.wide(m.norm8(torch.cat([m.a(x), m.again(x)], 1)).relu()),
    "norm of the input": lambda m, x: m.first(m.norm2(x)),
    "depthwise": lambda m, x: m.depth(m.a(x)).relu(),
    "groups": lambda m, x: m.groups(m.a(x)),
    "groups, dilated": lambda m, x: m.pairs(m.a(x)),
    "depth multiplier": lambda m, x: m.point12(m.multiplied(m.a(x)).relu()),
    "kernels": lambda m, x: m.tall(m.same(m.valid(m.a(x)))),
    "same, even": lambda m, x: m.even(x),
    "dilated": lambda m, x: m.a2(m.spread(x).relu()),
    "dilated, depthwise": lambda m, x: m.taps(m.a(x)),
    "same, even, dilated": lambda m, x: m.evens(m.a(x)),
    "a large kernel": lambda m, x: m.large(x),
    "one channel": lambda m, x: m.from1(m.to1(x).relu()),
}


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("name", MAPS)
def test_maps(name):
    check(maps(MAPS[name]), torch.randn(2, 2, 9, 6))


LINES = {
    "conv": lambda m, x: m.fc(F.max_pool1d(m.norm(m.a(x)).relu(), 2).flatten(1)),
    "dilated": lambda m, x: m.spread(m.a(x)),
    "groups": lambda m, x: m.groups(m.a(x)),
    "depth multiplier": lambda m, x: m.multiplied(x),
    "a large kernel": lambda m, x: m.long(x),
    "same, even": lambda m, x: m.same(m.a(x)),
}


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("name", LINES)
def test_sequences_of_convolutions(name):
    check(lines(LINES[name]), torch.randn(2, 3, 10))


POSITIONS = {
    "input": (lambda m, x: m.b(m.a(x).relu()).mean(1), (7, 5)),
    "images": (lambda m, x: m.b(m.a(x).relu()).mean((1, 2)), (3, 4, 5)),
    "behind a convolution": (lambda m, x: m.b(m.line(x).transpose(1, 2)).mean(1), (5, 7)),
    "between convolutions": (lambda m, x: m.line6(m.a(m.line5(x).transpose(1, 2)).relu().transpose(1, 2)), (5, 7)),
    "flattened image": (lambda m, x: m.b(m.conv(x).flatten(2).transpose(1, 2)).mean(1), (2, 3, 4)),
    "channels last": (lambda m, x: m.b(m.conv(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2), (2, 3, 4)),
    "padded": (lambda m, x: m.b(F.pad(m.line(x), (1, 2)).transpose(1, 2)).mean(1), (5, 7)),
    "addition": (lambda m, x: (m.same(x) + x).transpose(1, 2).flatten(1), (7, 5)),
    "output": (lambda m, x: m.b(m.a(x).relu()), (7, 5)),
    "output, images": (lambda m, x: m.b(m.a(x).relu()), (3, 4, 5)),
    "one channel": (lambda m, x: m.from1(m.to1(x)).transpose(1, 2), (7, 5)),
    "input of one channel": (lambda m, x: m.from1(x), (7, 1)),
    "one position": (lambda m, x: m.b(m.a(x).relu()).mean(1), (1, 5)),
    "steps": (lambda m, x: m.lstm(m.b(m.a(x)).mean(2))[0], (4, 3, 5)),
}


@pytest.mark.parametrize("name", POSITIONS)
def test_linear_at_every_position(name):
    forward, sizes = POSITIONS[name]
    model = Net(
        forward, a=nn.Linear(5, 6), b=nn.Linear(6, 3), same=nn.Linear(5, 5), to1=nn.Linear(5, 1), from1=nn.Linear(1, 3),
        line=nn.Conv1d(5, 6, 3), line5=nn.Conv1d(5, 5, 2), line6=nn.Conv1d(6, 2, 2), conv=nn.Conv2d(2, 6, 2),
        **({"lstm": nn.LSTM(3, 4, batch_first=True)} if name == "steps" else {}),
    )  # fmt: skip
    stages = check(model, torch.randn(2, *sizes))
    assert stages.output_last == name.startswith("output") or name == "input of one channel"


EXCHANGED = {  # with the stages that are transposed
    "mixer": (
        lambda m, x: (x + m.b7(F.gelu(m.a7(x.transpose(1, 2)))).transpose(1, 2)).flatten(1),
        (7, 5),
        ["input.copy", "b7"],
    ),
    "of what others read": (lambda m, x: (h := m.line(x)) + m.same6(h), (5, 8), ["line.copy", "same6"]),
    "of an image": (lambda m, x: m.on6(m.conv(x).flatten(2)), (2, 3, 4), ["conv"]),
    "and back to an image": (
        lambda m, x: m.narrow(m.same6(m.conv(x).flatten(2)).view(-1, 6, 2, 3)),
        (2, 3, 4),
        ["conv", "same6"],
    ),
    "residual image": (
        lambda m, x: (h := m.conv(x)) + m.same6(h.flatten(2)).view(-1, 6, 2, 3),
        (2, 3, 4),
        ["conv.copy", "same6"],
    ),
    "convolution over what were channels": (lambda m, x: m.conv7(m.a(x).relu()), (7, 5), ["a"]),
    "norm of what were positions": (lambda m, x: m.b(m.norm7(m.a(x))), (7, 5), ["a", "norm7"]),
    "a part of the channels": (lambda m, x: m.on6(m.line(x)[:, 1:5]), (5, 8), ["line.copy"]),
    "a padded map": (lambda m, x: m.on6(F.pad(m.line(x), (1, 0))), (5, 7), ["line.copy"]),
    "concatenation of positions": (
        lambda m, x: m.b(torch.cat([m.a(x), m.a2(x)], 1)),
        (7, 5),
        ["a", "a2", "a.copy", "a2.copy"],
    ),
    "product": (lambda m, x: m.a7(x.transpose(1, 2)).transpose(1, 2).sigmoid() * x, (7, 5), ["input.copy", "a7"]),
    "channels as lines": (
        lambda m, x: m.upright(m.conv(x).flatten(2).transpose(1, 2).unsqueeze(3)),
        (2, 3, 4),
        ["conv"],
    ),
    "a vector as a map": (lambda m, x: m.from1d(m.a(x)[:, None]), (5,), ["a"]),
    "a vector as an image": (lambda m, x: m.from1c(m.a(x).view(-1, 1, 2, 3)), (5,), ["a"]),
    "output": (lambda m, x: m.a(x).view(-1, 1, 2, 3), (5,), ["a"]),
    "steps of an LSTM": (lambda m, x: m.lstm7(m.same(m.line5(x)))[0], (5, 8), ["line5"]),
    "a map in each step": (lambda m, x: m.lstm(m.a3(m.b(m.a(x)).transpose(2, 3)).flatten(2))[0], (4, 3, 5), ["b"]),
}


@pytest.mark.parametrize("name", EXCHANGED)
def test_channels_and_positions_change_places(name):
    forward, sizes, transposed = EXCHANGED[name]
    model = Net(
        forward, a=nn.Linear(5, 6), a2=nn.Linear(5, 6), b=nn.Linear(6, 3), a7=nn.Linear(7, 7), b7=nn.Linear(7, 7),
        line=nn.Conv1d(5, 6, 3), line5=nn.Conv1d(5, 5, 2), conv=nn.Conv2d(2, 6, 2), on6=nn.Linear(6, 4),
        same=nn.Linear(7, 7), same6=nn.Linear(6, 6), narrow=nn.Conv2d(6, 2, 2), conv7=nn.Conv1d(7, 3, 3, padding=1),
        norm7=nn.BatchNorm1d(7), from1d=nn.Conv1d(1, 3, 2), from1c=nn.Conv2d(1, 3, 2), a3=nn.Linear(3, 1),
        upright=nn.Conv2d(6, 2, (3, 1)),
        **({"lstm7": nn.LSTM(7, 4, batch_first=True, bidirectional=True)} if "LSTM" in name else {}),
        **({"lstm": nn.LSTM(3, 4, batch_first=True)} if "step" in name and "LSTM" not in name else {}),
    )  # fmt: skip
    stages = check(model, torch.randn(2, *sizes)).stages
    assert [stage.name for stage in stages if getattr(stage, "transposed", None)] == transposed


ILLEGAL = {
    "tied: weight of Linear is computed": lambda m, x: m.tied(x),
    "a BatchNorm1d without running|bare: BatchNorm1d without running": lambda m, x: m.bare(m.a(x)),
}


@pytest.mark.parametrize("message", ILLEGAL)
def test_illegal(message):
    refuse_vectors(message, ILLEGAL[message])


ILLEGAL_MAPS = {
    "mirror: Conv2d with padding_mode 'reflect'; train it with 'zeros'": lambda m, x: m.mirror(x),
    "fc: Linear must read all values": lambda m, x: m.fc(m.a(x)),
    "norm: BatchNorm1d must read": lambda m, x: m.norm(m.a(x).flatten(1)),
    "Linear must read": lambda m, x: m.flat(m.a(x).permute(0, 2, 1, 3).flatten(1)),
}


@pytest.mark.parametrize("message", ILLEGAL_MAPS)
def test_illegal_maps(message):
    refuse_maps(message, ILLEGAL_MAPS[message])


TOKENS = {
    "steps": (lambda m, x: m.out(m.lstm(m.table(x))[0]), (2, 5)),
    "one step": (lambda m, x: m.out(m.lstm(m.table(x))[0]), (1, 1)),
    "several symbols": (lambda m, x: m.out(m.lstm12(m.table(x).flatten(2))[0]), (2, 5, 3)),
    "no sequence": (lambda m, x: m.fc(m.table(x).flatten(1)), (2, 3)),
    "one symbol": (lambda m, x: m.near(m.table(x).relu()), (2,)),
    "activation": (lambda m, x: m.fc(torch.tanh(m.table(x)).view(len(x), -1)), (2, 3)),
    "long": (lambda m, x: m.fc(m.table(x.long()).flatten(1)), (2, 3)),
}


@pytest.mark.parametrize("name", TOKENS)
def test_embeddings(name):
    forward, shape = TOKENS[name]
    model = Net(
        forward, table=nn.Embedding(7, 4), lstm=nn.LSTM(4, 4, batch_first=True), out=nn.Linear(4, 3),
        fc=nn.Linear(12, 3),
        lstm12=nn.LSTM(12, 4, batch_first=True), near=nn.Linear(4, 3),
    )  # fmt: skip
    stages = check(model, torch.randint(7, shape))
    assert isinstance(stages.stages[0], EmbeddingStage)


def test_illegal_embeddings():
    table, fc = nn.Embedding(7, 4), nn.Linear(4, 3)
    with pytest.raises(DarbError, match="table: Embedding with max_norm"):
        capture(
            Net(lambda m, x: m.fc(m.table(x)), table=nn.Embedding(7, 4, max_norm=1.0), fc=fc), torch.zeros(2).long()
        )
    both = Net(lambda m, x: m.fc(m.table(x)) + m.other(x.float()[:, None]), table=table, fc=fc, other=nn.Linear(1, 3))
    with pytest.raises(DarbError, match="table: the input is read by other layers than one Embedding"):
        capture(both, torch.zeros(2).long())
    two = Net(
        lambda m, x: m.fc(m.table(x)) + m.fc2(m.second(x)),
        table=table,
        second=nn.Embedding(7, 4),
        fc=fc,
        fc2=nn.Linear(4, 3),
    )
    with pytest.raises(DarbError, match="read by other layers than one Embedding"):
        capture(two, torch.zeros(2).long())


def test_computed_parameters_are_refused():
    x = torch.randn(2, 4)
    net = nn.Sequential(nn.Linear(4, 3))
    torch_prune.random_unstructured(net[0], "bias", 0.5)
    with pytest.raises(DarbError, match="0: bias of Linear is computed"):
        capture(net, x)
    net = nn.Sequential(nn.Linear(4, 3))
    with pytest.warns(FutureWarning):
        torch.nn.utils.weight_norm(net[0])
    with pytest.raises(DarbError, match="0: weight of Linear is computed"):
        capture(net, x)
    net = nn.Sequential(torch.nn.utils.parametrizations.weight_norm(nn.Linear(4, 3)))
    with pytest.raises(DarbError, match="0: weight of Linear is computed"):
        capture(net, x)
