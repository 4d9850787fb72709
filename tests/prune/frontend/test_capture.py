"""From modules to stages that compute the same, and what is refused."""

from collections import OrderedDict
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import prune as torch_prune

from darb_prune.encoded import Level
from darb_prune.errors import DarbError
from darb_prune.frontend.capture import capture, check_finite
from darb_prune.frontend.execution import run
from darb_prune.frontend.stages import EmbeddingStage, Matrix, reads
from darb_prune.modules import layers
from darb_prune.modules.masked import apply_mask
from darb_prune.patterns.masks import level_mask, level_rows
from darb_prune.tasks.fsdd import Speech
from darb_prune.tasks.language import LanguageModel
from darb_prune.tasks.lenet import lenet5, lenet_300_100
from darb_prune.tasks.resnet import ResNet, resnet20


class Net(nn.Module):
    """Modules by name and any forward function."""

    def __init__(self, forward, **modules):
        super().__init__()
        for name, module in modules.items():
            self.add_module(name, module)
        self.call = forward

    def forward(self, x):
        return self.call(self, x)


def lively(model):
    """Double precision, and norms that do something."""
    model = model.double().eval()
    for module in model.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            with torch.no_grad():
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2)
                if module.affine:
                    module.weight.normal_()
                    module.bias.normal_()
    return model


def check_rules(stages):
    """What docs/arithmetic.md asks of the stages."""
    names = [stage.name for stage in stages.stages]
    assert len(names) == len(set(names))
    assert all(names)
    written, writers = {}, {}
    for stage in stages.stages:
        for name in reads(stage):
            done = stages.last_writer.get(name) is None or name in written
            assert done or name in stages.delayed
        writers.setdefault(stage.output, []).append(stage)
        if stages.stages[stages.last_writer[stage.output]] is stage:
            written[stage.output] = True
        if not isinstance(stage, Matrix):
            continue
        shape = stages.values[stage.output].shape
        assert 0 <= stage.first <= stage.first + stage.rows <= shape[0]
        assert not (stage.operand and (stage.pool != (1, 1) or stage.maximum))
        if stage.window is None:
            assert shape[1:] == (1, 1)
            for name in stage.inputs:
                padded = [s for s in stages.stages if isinstance(s, Matrix) and name in s.inputs and s.window]
                assert stages.values[name].shape[1:] == (1, 1) or not any(any(s.window.padding) for s in padded)
        else:
            assert len(stage.inputs) == 1
            source = stages.values[stage.inputs[0]].shape
            assert not stage.window.depthwise or source[0] == stage.rows
            for axis in (0, 1):
                reach = (shape[1 + axis] * stage.pool[axis] - 1) * stage.window.stride[axis] + stage.window.kernel[axis]
                limit = source[1 + axis] + 2 * stage.window.padding[axis] - stage.window.offset[axis]
                assert reach <= limit
        if stage.operand:
            _, height, width = stages.values[stage.operand.value].shape
            assert (shape[1] - 1) * stage.operand.stride[0] < height
            assert (shape[2] - 1) * stage.operand.stride[1] < width
    for stage in writers[stages.output]:
        assert isinstance(stage, Matrix)
        assert stage.pool == (1, 1)
        assert not stage.maximum
    assert not any(stages.output in reads(stage) for stage in stages.stages)
    for output, found in writers.items():
        rows = {(s.first, s.rows) for s in found if isinstance(s, Matrix)}
        if rows:
            assert all(a + n == b for (a, n), (b, _) in pairwise(sorted(rows)))
            assert sum(n for _, n in rows) == stages.values[output].shape[0]
            assert not found[0].maximum
    assert set(stages.values) == {stages.input, *stages.last_writer}


def check(model, x):
    """Stages of ``model``, which compute what it computes, for another number of samples as well."""
    model, x = lively(model), x.double() if x.is_floating_point() else x
    stages = capture(model, x)
    check_rules(stages)
    wanted = model(x)
    while not isinstance(wanted, torch.Tensor):
        wanted = next(iter(wanted.values())) if isinstance(wanted, dict) else wanted[0]
    found = run(stages, stages.samples_first(x))[stages.output]
    if stages.emit == "last":
        found = found[:, -1]
    elif stages.recurrent:
        wanted = stages.samples_first(wanted)
    assert torch.allclose(found.flatten(1), wanted.flatten(1), rtol=1e-9, atol=1e-9)
    return stages


def names(stages):
    return [stage.name for stage in stages.stages]


def test_models_of_the_tasks():
    assert names(check(lenet_300_100(), torch.randn(2, 784))) == ["fc1", "fc2", "fc3"]
    stages = check(lenet5(), torch.randn(2, 1, 28, 28))
    assert names(stages) == ["conv1", "conv2", "fc1", "fc2", "fc3"]
    assert [stage.pool for stage in stages.stages] == [(2, 2)] * 2 + [(1, 1)] * 3
    model = ResNet(1)
    stages = check(model, torch.randn(2, 3, 32, 32))
    assert sum(stage.operand is not None for stage in stages.stages) == 3
    assert [stage.name for stage in stages.stages if not stage.weights[0].part] == ["pool"]
    assert stages.stages[4].operand == type(stages.stages[4].operand)("layer1.0.conv2.out", (2, 2), 8)
    assert {layer.name for layer in layers.layers(model)} <= set(names(stages))
    model = LanguageModel(11, 5, 6, 2)
    stages = check(model, torch.randint(11, (2, 4)))
    assert {layer.name for layer in layers.layers(model)} <= set(names(stages))
    assert (stages.recurrent, stages.emit) == (True, "step")
    stages = check(Speech(5, 4, 3), torch.randn(2, 7, 5))
    assert names(stages) == ["gru.n_x", "gru.rz", "gru.n_h", "gru.cell", "output"]
    assert (stages.recurrent, stages.emit) == (True, "last")


def test_resnet20_in_full():
    stages = capture(resnet20(), torch.randn(1, 3, 32, 32))
    check_rules(stages)
    assert len(stages.stages) == 21


class Inverted(nn.Module):
    """The block of MobileNetV2."""

    def __init__(self, channels, width, stride):
        super().__init__()
        hidden, self.same = 2 * channels, stride == 1
        self.net = nn.Sequential(
            nn.Conv2d(channels, hidden, 1, bias=False), nn.BatchNorm2d(hidden), nn.ReLU6(inplace=True),
            nn.Conv2d(hidden, hidden, 3, stride, 1, groups=hidden, bias=False), nn.BatchNorm2d(hidden),
            nn.ReLU6(inplace=True), nn.Conv2d(hidden, width, 1, bias=False), nn.BatchNorm2d(width),
        )  # fmt: skip

    def forward(self, x):
        return x + self.net(x) if self.same else self.net(x)


class Fire(nn.Module):
    """The module of SqueezeNet."""

    def __init__(self, channels):
        super().__init__()
        self.squeeze, self.one, self.three = (
            nn.Conv2d(channels, 2, 1),
            nn.Conv2d(2, 4, 1),
            nn.Conv2d(2, 4, 3, padding=1),
        )
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        x = self.relu(self.squeeze(x))
        return torch.cat([self.relu(self.one(x)), self.relu(self.three(x))], 1)


class Dense(nn.Module):
    """The block of DenseNet."""

    def __init__(self, channels):
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(nn.BatchNorm2d(width), nn.ReLU(inplace=True), nn.Conv2d(width, 2, 3, padding=1, bias=False))
            for width in (channels, channels + 2, channels + 4)
        )

    def forward(self, x):
        found = [x]
        for layer in self.layers:
            found.append(layer(torch.cat(found, 1)))
        return torch.cat(found, 1)


class Basic(nn.Module):
    """The block of ResNet-18, with a projection."""

    def __init__(self, channels, width):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(channels, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width)
        self.down = nn.Sequential(nn.Conv2d(channels, width, 1, 2, bias=False), nn.BatchNorm2d(width))
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        out += self.down(x)
        return self.relu(out)


def test_blocks_of_published_networks():
    stem = [nn.Conv2d(3, 4, 3, 2, 1, bias=False), nn.BatchNorm2d(4), nn.ReLU(inplace=True)]
    pooled = [nn.MaxPool2d(3, 2, 1), nn.MaxPool2d(3, 2, ceil_mode=True)]
    end = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(), nn.Linear(8, 5)]
    x = torch.randn(1, 3, 17, 16)
    stages = check(nn.Sequential(*stem, Inverted(4, 4, 1), Inverted(4, 8, 2), *end), x)
    assert len(stages.stages) == 9
    assert sum(stage.operand is not None for stage in stages.stages) == 1
    stages = check(nn.Sequential(*stem, pooled[1], Fire(4), Fire(8), *end), x)
    assert len(stages.stages) == 1 + 9 + 6 + 2
    stages = check(nn.Sequential(*stem, pooled[0], Basic(4, 8), *end), x)
    assert len(stages.stages) == 1 + 9 + 3 + 2
    check(nn.Sequential(*stem, Dense(4), nn.BatchNorm2d(10), nn.ReLU(), nn.Conv2d(10, 8, 1), nn.AvgPool2d(2), *end), x)


VECTORS = {
    "relu": lambda m, x: m.c(m.a(x).relu()),
    "in place": lambda m, x: m.c(F.relu(m.a(x), inplace=True).relu_()),
    "relu6, hardtanh and clamp": lambda m, x: m.c(F.hardtanh(F.relu6(m.a(x)), -1, 0.5).clamp(min=0.1)),
    "limits": lambda m, x: m.c(torch.clamp_max(m.a(x), 0.3).clamp_min(-0.2)),
    "sigmoid and tanh": lambda m, x: m.c(torch.tanh(m.b(m.a(x).sigmoid()))),
    "hardsigmoid": lambda m, x: m.c(F.hardsigmoid(m.a(x))),
    "functions one after another": lambda m, x: m.c(F.hardsigmoid(torch.tanh(torch.sigmoid(F.relu(m.a(x)))))),
    "of the input": lambda m, x: m.a(torch.tanh(x)),
    "norm": lambda m, x: m.c(m.norm(m.a(x)).relu()),
    "norm behind relu": lambda m, x: m.c(m.norm(m.a(x).relu())),
    "residual": lambda m, x: (lambda h: m.c((m.b(h) + h).relu()))(m.a(x).relu()),
    "addition of two layers": lambda m, x: m.c(torch.add(m.a(x), m.other(x)).tanh()),
    "addition of what others read": lambda m, x: (lambda g, h: m.c(g + h) + m.d(g) + m.d2(h))(m.a(x), m.other(x)),
    "doubled": lambda m, x: (lambda h: m.c(h + h))(m.a(x)),
    "sum": lambda m, x: m.c(sum([m.a(x), m.other(x)])),
    "added in place": lambda m, x: (lambda h: m.c(h.__iadd__(m.other(x))))(m.a(x)),
    "input added": lambda m, x: m.back(m.a(x)) + x,
    "concatenation": lambda m, x: m.wide(torch.cat([m.a(x).relu(), m.other(x)], dim=1).tanh()),
    "nested concatenation": lambda m, x: m.wide3(
        torch.cat([torch.cat([m.a(x), m.other(x)], 1), m.third(x)], -1).relu()
    ),
    "concatenation of what others read": lambda m, x: (
        lambda h: m.wide(torch.cat([h, m.b(h)], 1)) + m.c(torch.relu(h))
    )(m.a(x)),
    "twice in a concatenation": lambda m, x: (lambda h: m.wide(torch.cat([h, h], 1)))(m.a(x)),
    "input in a concatenation": lambda m, x: m.thin(torch.cat([x, m.a(x)], 1)),
    "relu of what others read": lambda m, x: (lambda h: m.c(h.relu()) + m.d(h))(m.a(x)),
    "output read by others": lambda m, x: (lambda h: (h, m.c(h)))(m.a(x)),
    "sum at the end": lambda m, x: m.a(x) + m.other(x),
    "first of many": lambda m, x: {"logits": m.a(x), "rest": m.other(x)},
    "dropout, identity and copies": lambda m, x: m.c(m.drop(m.id(F.dropout(m.a(x), 0.5, m.training).clone()))),
    "shapes": lambda m, x: m.c(m.a(x).view(x.size(0), -1, 1).reshape(len(x), 8)) if x.dim() == 2 else None,
    "squeezed": lambda m, x: m.c(m.a(x).unsqueeze(1).transpose(1, 2).squeeze(2)[:, None].flatten(1)),
    "unused": lambda m, x: (m.other(x), m.a(x))[1],
    "mode": lambda m, x: m.c(torch.softmax(m.a(x), 1) if m.training else m.a(x)),
    "keywords": lambda m, x: m.c(input=F.relu(input=m.a(input=x))),
}


def vectors(forward):
    return Net(
        forward, a=nn.Linear(6, 8), b=nn.Linear(8, 8), c=nn.Linear(8, 3), d=nn.Linear(8, 3), d2=nn.Linear(8, 3),
        other=nn.Linear(6, 8, bias=False), third=nn.Linear(6, 2), wide=nn.Linear(16, 3), wide3=nn.Linear(18, 3),
        thin=nn.Linear(14, 3), back=nn.Linear(8, 6), norm=nn.BatchNorm1d(8), drop=nn.Dropout(), id=nn.Identity(),
    )  # fmt: skip


@pytest.mark.parametrize("name", VECTORS)
def test_vectors(name):
    check(vectors(VECTORS[name]), torch.randn(4, 6))


MAPS = {
    "conv": lambda m, x: m.a(x).relu(),
    "norm and pool": lambda m, x: m.b(F.max_pool2d(m.norm(m.a(x)).relu(), 2)),
    "relu behind the pool": lambda m, x: m.b(F.max_pool2d(m.a(x), 2).relu()),
    "tanh behind the pool": lambda m, x: m.b(F.max_pool2d(m.a(x), (1, 3)).tanh()),
    "pool twice": lambda m, x: m.b(F.max_pool2d(F.max_pool2d(m.a(x), 2), (2, 1))),
    "pool of the input": lambda m, x: m.first(F.max_pool2d(x, 2)),
    "pool at the end": lambda m, x: F.max_pool2d(m.a(x), 2),
    "pool of a sum": lambda m, x: F.max_pool2d(m.a(x) + m.again(x), 2),
    "norm behind the pool": lambda m, x: m.b(m.norm(F.max_pool2d(m.a(x), 2))),
    "norm of a concatenation": lambda m, x: m.wide(m.norm8(torch.cat([m.a(x), m.again(x)], 1)).relu()),
    "norm of the input": lambda m, x: m.first(m.norm2(x)),
    "overlapping": lambda m, x: m.b(F.max_pool2d(m.a(x), 3, 2)),
    "overlapping and padded": lambda m, x: m.b(F.max_pool2d(m.a(x).relu(), 3, 2, 1)),
    "padded, of sigmoids": lambda m, x: m.b(F.max_pool2d(m.a(x).sigmoid(), 2, 2, 1)),
    "padded, of averages": lambda m, x: m.b(F.max_pool2d(F.avg_pool2d(m.a(x).relu(), 2), 3, 1, 1)),
    "ceil": lambda m, x: m.b(F.max_pool2d(m.a(x).relu(), 2, ceil_mode=True)),
    "relu behind taps": lambda m, x: m.b(F.max_pool2d(m.a(x), 3, 1).relu()),
    "average": lambda m, x: m.b(F.avg_pool2d(m.a(x), 2).relu()),
    "padded average": lambda m, x: m.b(F.avg_pool2d(m.a(x), 3, 2, 1)),
    "divisor": lambda m, x: m.b(F.avg_pool2d(m.a(x), 3, 2, divisor_override=7)),
    "adaptive": lambda m, x: F.adaptive_avg_pool2d(m.a(x), (1, None)),
    "adaptive to 1": lambda m, x: m.fc4(torch.flatten(F.adaptive_avg_pool2d(m.a(x), 1), 1)),
    "mean": lambda m, x: m.fc4(m.a(x).mean((2, 3))),
    "mean of one dimension": lambda m, x: m.a(x).mean(-1, keepdim=True),
    "mean of all pixels": lambda m, x: m.fc4(m.a(x).flatten(2).mean(2)),
    "flattened": lambda m, x: m.fc(m.a(x).flatten(1)),
    "flattened and padded": lambda m, x: (lambda h: m.fc(h.view(h.shape[0], -1)) + m.fc4(m.a2(h).mean((2, 3))))(m.a(x)),
    "input flattened and padded": lambda m, x: m.fc4(m.a(x).mean((2, 3))) + m.fcx(x.reshape(len(x), -1)),
    "residual": lambda m, x: (lambda h: (m.norm(m.a2(h)) + h).relu())(m.a(x).relu()),
    "projected": lambda m, x: (lambda h: (m.down(h) + m.one(h)).relu())(m.a(x)),
    "shortcut": lambda m, x: (lambda h: m.wider(h) + F.pad(h[:, :, ::2, ::2], (0, 0, 0, 0, 1, 1)))(m.a(x)),
    "uneven shortcut": lambda m, x: (lambda h: F.pad(h[..., ::2], (0, 0, 0, 0, 2, 0)) + m.wider2(h))(m.a(x)),
    "both strided": lambda m, x: m.b(m.a(x)[:, :, ::2, ::2] + m.again(x)[:, :, ::2, ::2]),
    "strided": lambda m, x: m.b(m.a(x)[:, :, ::2, 0:6:3]),
    "strided to one": lambda m, x: m.fc4(m.a(x)[:, :, ::9, ::9].flatten(1)),
    "padded in front": lambda m, x: m.b(F.pad(m.a(x), (1, 2, 0, 1))),
    "ZeroPad2d": lambda m, x: m.b(m.zero(m.a(x)).relu()),
    "padded average in front": lambda m, x: m.b(F.avg_pool2d(F.pad(m.a(x), (1, 0)), 2)),
    "padded maximum in front": lambda m, x: m.b(F.max_pool2d(F.pad(m.a(x), (1, 1, 1, 1)), 3, 2)),
    "padded and added": lambda m, x: F.pad(m.narrow(h := m.a(x)), (0, 0, 1, 1)) + h,
    "depthwise": lambda m, x: m.depth(m.a(x)).relu(),
    "kernels": lambda m, x: m.tall(m.same(m.valid(m.a(x)))),
    "same, even": lambda m, x: m.even(x),
    "concatenation": lambda m, x: m.wide(torch.cat([m.a(x).relu(), F.max_pool2d(m.again(x).relu(), 3, 1, 1)], 1)),
    "concatenated pools": lambda m, x: m.wide(F.max_pool2d(torch.cat([m.a(x), m.again(x)], 1), 2)),
    "dense": lambda m, x: (lambda h: m.wide(torch.cat([h, m.a2(h)], 1)))(m.a(x)),
    "one channel": lambda m, x: m.from1(m.to1(x).relu()),
    "no pixels": lambda m, x: m.point(m.a(x).mean((2, 3), keepdim=True)).flatten(1),
    "vector as map": lambda m, x: m.point(m.fc(m.a(x).flatten(1))[:, :, None, None]),
    "hardsigmoid of a pool": lambda m, x: F.hardsigmoid(F.max_pool2d(m.a(x), 2)),
}  # fmt: skip


def maps(forward):
    return Net(
        forward, a=nn.Conv2d(2, 4, 3, padding=1), a2=nn.Conv2d(4, 4, 3, padding=1, bias=False),
        b=nn.Conv2d(4, 3, (2, 1)),
        again=nn.Conv2d(2, 4, 3, padding=1), first=nn.Conv2d(2, 3, 2), norm=nn.BatchNorm2d(4), norm2=nn.BatchNorm2d(2),
        norm8=nn.BatchNorm2d(8, affine=False), wide=nn.Conv2d(8, 3, 1), fc=nn.Linear(4 * 9 * 6, 4), fc4=nn.Linear(4, 4),
        fcx=nn.Linear(2 * 9 * 6, 4), down=nn.Conv2d(4, 6, 3, 2, 1), one=nn.Conv2d(4, 6, 1, 2),
        zero=nn.ZeroPad2d((0, 1, 2, 1)),
        wider=nn.Conv2d(4, 6, 3, 2, 1), wider2=nn.Conv2d(4, 6, 3, (1, 2), 1), depth=nn.Conv2d(4, 4, 3, 2, 1, groups=4),
        valid=nn.Conv2d(4, 3, (1, 2), padding="valid"), same=nn.Conv2d(3, 3, (3, 5), padding="same"),
        tall=nn.Conv2d(3, 2, (3, 1), (2, 1), (2, 0)), even=nn.Conv2d(2, 2, (2, 4), padding="same"),
        to1=nn.Conv2d(2, 1, 3),
        from1=nn.Conv2d(1, 3, 3), point=nn.Conv2d(4, 3, 1), narrow=nn.Conv2d(4, 4, (3, 1)),
    )  # fmt: skip


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("name", MAPS)
def test_maps(name):
    check(maps(MAPS[name]), torch.randn(2, 2, 9, 6))


LINES = {
    "conv": lambda m, x: m.fc(F.max_pool1d(m.norm(m.a(x)).relu(), 2).flatten(1)),
    "overlapping": lambda m, x: F.max_pool1d(m.a(x).relu(), 3, 2, 1),
    "average": lambda m, x: F.avg_pool1d(m.a(x), 3, 2),
    "mean": lambda m, x: F.adaptive_avg_pool1d(m.a(x), 1).squeeze(-1) + m.a2(x).mean(2),
    "strided": lambda m, x: m.down(x) + m.a(x)[:, :, ::2],
    "padded": lambda m, x: m.depth(F.pad(m.a(x), (2, 0))),
}


@pytest.mark.parametrize("name", LINES)
def test_sequences_of_convolutions(name):
    model = Net(
        LINES[name], a=nn.Conv1d(3, 4, 3, padding=1), a2=nn.Conv1d(3, 4, 3), norm=nn.BatchNorm1d(4),
        fc=nn.Linear(20, 2),
        down=nn.Conv1d(3, 4, 5, 2, 2), depth=nn.Conv1d(4, 4, 3, groups=4),
    )  # fmt: skip
    check(model, torch.randn(2, 3, 10))


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
    "norm of steps": lambda m, x: m.out(m.norm(m.lstm(x)[0].reshape(-1, 4)).view(x.shape[0], x.shape[1], 4)),
    "convolution": lambda m, x: m.out(
        m.lstm5(m.conv(x.reshape(-1, 1, 5)).relu().reshape(x.size(0), x.size(1), -1))[0][:, -1]
    ),
    "both directions of time": lambda m, x: m.out(m.turned(x.transpose(0, 1))[0][-1]),
    "both ends": lambda m, x: m.out(m.lstm(x)[0][:, -1] + m.near(x[:, -1])),
}  # fmt: skip


@pytest.mark.parametrize("name", SEQUENCES)
def test_recurrent(name):
    model = Net(
        SEQUENCES[name], lstm=nn.LSTM(5, 4, batch_first=True), deep=nn.LSTM(5, 4, 2, batch_first=True),
        out=nn.Linear(4, 3),
        wide=nn.Linear(8, 3), gru=nn.GRU(5, 4, batch_first=True), deepgru=nn.GRU(5, 4, 3, batch_first=True),
        plain=nn.GRU(5, 4, batch_first=True, bias=False), gru2=nn.GRU(4, 4, batch_first=True), front=nn.Linear(5, 5),
        start=nn.Linear(5, 4), norm=nn.BatchNorm1d(4), conv=nn.Conv1d(1, 2, 3), lstm5=nn.LSTM(6, 4, batch_first=True),
        turned=nn.LSTM(5, 4), near=nn.Linear(5, 4),
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


INPUTS = {
    "vector as image": (lambda m, x: m.conv(x.view(-1, 1, 4, 5)).relu(), (20,), (1, 4, 5)),
    "image as vector": (lambda m, x: m.fc(x.flatten(1)), (1, 4, 5), (20, 1, 1)),
    "grey image": (lambda m, x: m.conv(x.unsqueeze(1)), (4, 5), (1, 4, 5)),
    "image and vector": (lambda m, x: m.fc(x.flatten(1)) + m.fc3(m.conv(x).mean((2, 3))), (1, 4, 5), (1, 4, 5)),
    "line": (lambda m, x: m.line(x[:, None]), (20,), (1, 1, 20)),
    "single value": (lambda m, x: m.one(x), (1,), (1, 1, 1)),
}


@pytest.mark.parametrize("name", INPUTS)
def test_shape_of_the_input(name):
    forward, given, found = INPUTS[name]
    model = Net(
        forward, conv=nn.Conv2d(1, 3, 3), fc=nn.Linear(20, 3), fc3=nn.Linear(3, 3), line=nn.Conv1d(1, 2, 3),
        one=nn.Linear(1, 2),
    )  # fmt: skip
    stages = check(model, torch.randn(2, *given))
    assert stages.values["input"].shape == found


def test_names_modules_and_bare_layers():
    model = nn.Sequential(
        OrderedDict(
            net=nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.MaxPool2d(3, 1), nn.ReLU()), flat=nn.Flatten(),
            norm=nn.BatchNorm1d(8), out=nn.Linear(8, 2),
        )
    )  # fmt: skip
    model.norm = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.BatchNorm1d(8))
    stages = check(model, torch.randn(2, 1, 6, 6))
    taps = [f"net.2.{y}.{x}" for y in range(3) for x in range(3)]
    assert names(stages) == ["net.0", *taps, "net.3", "norm.0", "norm.2", "out"]
    assert stages.stages[0].weights[0].part.module is model.net[0]
    assert stages.stages[0].norm is model.net[1]
    linear = nn.Linear(4, 3)
    (stage,) = check(linear, torch.randn(1, 4)).stages
    assert (stage.name, stage.weights[0].part.module) == ("0", linear)


def test_masks_are_masks_of_the_stages_and_gradients_reach_them():
    model = nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 2))
    stages = capture(model, torch.randn(1, 8))
    apply_mask(model[0], level_mask(model[0].weight, level_rows(Level(1, 1), len(model[0].weight))))
    lstm = nn.LSTM(8, 4, batch_first=True)
    apply_mask(lstm, level_mask(lstm.weight_hh_l0, level_rows(Level(1, 1), len(lstm.weight_hh_l0))), "weight_hh_l0")
    for net, x in ((model, torch.randn(3, 8)), (lstm, torch.randn(2, 3, 8))):
        stages = check(net, x)
        run(stages, x.double())[stages.output].sum().backward()
    assert ((model[0].weight_orig.grad != 0) <= (model[0].weight_mask != 0)).all()
    assert lstm.weight_hh_l0_orig.grad.any()


def test_flags_of_training_and_the_example_are_given_back():
    net = vectors(lambda m, x: m.c(m.a(x.relu_())))
    net.b.eval()
    x = torch.full((2, 6), -1.0)
    capture(net, x)
    assert (x == -1).all()
    assert net.training
    assert net.a.training
    assert not net.b.training


ILLEGAL = {
    "model: operator softmax is not supported; supported: Linear, Conv1d": lambda m, x: torch.softmax(m.a(x), 1),
    "operator mul": lambda m, x: m.c(m.a(x) * 2),
    "operator linear": lambda m, x: F.linear(x, m.a.weight),
    "operator unbind": lambda m, x: torch.stack([row.relu() for row in m.a(x)]),
    "add of a constant": lambda m, x: m.c(m.a(x)) + 1,
    "b: Linear shares its weight with layer 'b' ": lambda m, x: m.b(m.b(m.a(x))),
    "b2: Linear shares its weight with layer 'b'": lambda m, x: m.b2(m.b(m.a(x))),
    "model: item makes what the model does depend on values": lambda m, x: m.a(x) if x.sum().item() else m.b(x),
    "model: __bool__ makes": lambda m, x: m.a(x) if x.sum() > 0 else m.other(x),
    "__setitem__ makes .* or writes into another tensor": lambda m, x: torch.zeros(3, 6).__setitem__(0, x[0]) or m.a(x),
    "through another view of it": lambda m, x: ((h := m.a(x)).view(-1, 8).relu_(), m.c(h))[1],
    "a: does not run on the example, .3, 6.": lambda m, x: m.a(m.a(x)),
    "its first output is not a tensor": lambda m, x: torch.ones(2, 2),
    "output is not a tensor that depends": lambda m, x: None,
    "Net: no layer with weights": lambda m, x: x.relu(),
    "addition with alpha": lambda m, x: m.c(torch.add(m.a(x), m.other(x), alpha=2)),
    r"addition of a tensor of \(3, 8\) and a tensor of \(3,\)": lambda m, x: m.a(x) + m.single(x),
    "clamp to a tensor": lambda m, x: m.a(x).clamp(min=torch.zeros(8)),
    "dropout that is active in eval mode": lambda m, x: m.c(F.dropout(m.a(x))),
    "view to .3, 2, 4. cuts": lambda m, x: m.four(m.a(x).view(-1, 2, 4)),
    "reshape to .2, 12. cuts": lambda m, x: m.twelve(m.a(x).reshape(2, 12)),
    "indexing other than the last step": lambda m, x: m.four(m.a(x)[:, :4]),
    "indexing with a tensor": lambda m, x: m.a(x)[:, torch.arange(8)],
    "concatenation of other dimensions": lambda m, x: m.c(torch.cat([m.a(x), m.other(x)], 0)),
    "padding other than with zeros": lambda m, x: m.c(F.pad(m.a(x)[:, :, None], (1, 0), value=1.0).flatten(1)[:, :8]),
    "the dimensions of the output are permuted": lambda m, x: m.a(x).t(),
    "tied: weight of Linear is computed": lambda m, x: m.tied(x),
    "a BatchNorm1d without running|bare: BatchNorm1d without running": lambda m, x: m.bare(m.a(x)),
    "Net: does something that was not recognised": lambda m, x: m.c(m.a(x) if m.count() else -m.a(x)),
}  # fmt: skip


@pytest.mark.parametrize("message", ILLEGAL)
def test_illegal(message):
    net = vectors(ILLEGAL[message])
    net.b2, net.single, net.four, net.twelve = nn.Linear(8, 8), nn.Linear(6, 1), nn.Linear(4, 3), nn.Linear(12, 3)
    net.b2.weight = net.b.weight
    net.bare = nn.BatchNorm1d(8, track_running_stats=False)
    net.tied = nn.Linear(6, 8)
    del net.tied.weight
    net.tied.weight = net.a.weight * 2
    net.count = lambda: True
    if "not recognised" in message:
        net.call = lambda m, x: m.c(torch.relu(m.a(x)) if not torch.is_grad_enabled() else x)
        net.a.register_forward_hook(lambda module, args, result: result.mul_(2))
    with pytest.raises(DarbError, match=message) as caught:
        capture(net, torch.randn(3, 6))
    assert "\n" not in str(caught.value)


ILLEGAL_MAPS = {
    "groups: Conv2d of 2 groups; 1, or as many": lambda m, x: m.groups(m.a(x)),
    "wide: Conv2d with dilation": lambda m, x: m.wide(x),
    "mirror: Conv2d with dilation or padding other": lambda m, x: m.mirror(x),
    "max_pool2d with padding .* needs values from 0 on": lambda m, x: F.max_pool2d(m.a(x), 3, 1, 1),
    "max_pool2d with padding .or ceil_mode. needs": lambda m, x: F.max_pool2d(m.a(x).tanh(), 3, 2, ceil_mode=True),
    "max_pool2d with dilation": lambda m, x: F.max_pool2d(m.a(x), 2, dilation=2),
    "padding that does not count": lambda m, x: F.avg_pool2d(m.a(x), 3, 2, 1, count_include_pad=False),
    "avg_pool2d with ceil_mode": lambda m, x: F.avg_pool2d(m.a(x), 2, ceil_mode=True),
    r"adaptive_avg_pool2d of \(9, 6\) pixels to \(2, 2\)": lambda m, x: F.adaptive_avg_pool2d(m.a(x), 2),
    "mean over other dimensions": lambda m, x: m.a(x).mean(1),
    "fc: Linear must read all values": lambda m, x: m.fc(m.a(x)),
    "permuted; give inputs as": lambda m, x: m.last(x.permute(0, 3, 1, 2)),
    "reads channels of zeros": lambda m, x: m.six(F.pad(m.a(x), (0, 0, 0, 0, 1, 1))),
    "padding of channels and of the image": lambda m, x: F.pad(m.a(x), (1, 1, 0, 0, 1, 1)),
    "norm: BatchNorm1d must read": lambda m, x: m.norm(m.a(x).flatten(1)),
    "concatenation of other dimensions than channels, or of different": lambda m, x: torch.cat([m.a(x), m.a2(x)], 2),
    "Linear must read": lambda m, x: m.flat(m.a(x).permute(0, 2, 3, 1).flatten(1)),
    "the input is read as": lambda m, x: m.first(x) + m.first2(x.view(-1, 2, 6, 9)).transpose(2, 3),
}  # fmt: skip


@pytest.mark.parametrize("message", ILLEGAL_MAPS)
def test_illegal_maps(message):
    net = Net(
        ILLEGAL_MAPS[message], a=nn.Conv2d(2, 4, 3, padding=1), a2=nn.Conv2d(2, 4, 3, padding=1),
        norm=nn.BatchNorm1d(216),
        groups=nn.Conv2d(4, 4, 3, groups=2), wide=nn.Conv2d(2, 4, 3, dilation=2), fc=nn.Linear(6, 3),
        first=nn.Conv2d(2, 2, 1),
        mirror=nn.Conv2d(2, 4, 3, padding=1, padding_mode="reflect"), last=nn.Conv2d(6, 2, 1), six=nn.Conv2d(6, 2, 1),
        flat=nn.Linear(216, 2), first2=nn.Conv2d(2, 2, 1),
    )  # fmt: skip
    with pytest.raises(DarbError, match=message):
        capture(net, torch.randn(2, 2, 9, 6))


ILLEGAL_SEQUENCES = {
    "both: LSTM with two directions": lambda m, x: m.both(x),
    "proj: LSTM with two directions or a projection": lambda m, x: m.proj(x),
    "the cell state c of an LSTM": lambda m, x: m.out(m.lstm(x)[1][1][-1]),
    "reads the states of all layers": lambda m, x: m.out(m.deep(x)[1][0]),
    "initial state of LSTM depends on the input": lambda m, x: m.lstm(x, m.lstm2(x)[1]),
    "initial state of GRU is not the same for all": lambda m, x: m.gru(x, torch.randn(1, 3, 4)),
    "indexing other than the last step": lambda m, x: m.out(m.lstm(x)[0][:, 0]),
    "mean over other dimensions": lambda m, x: m.out(m.lstm(x)[0].mean(1)),
    "the output must be that of the last step": lambda m, x: m.out(m.turned(x.transpose(0, 1))[0]),
    "turned: LSTM runs over the samples of another layer": lambda m, x: m.turned(m.lstm(x)[0]),
    "operator lstm_cell": lambda m, x: m.cell(x[:, -1])[0] + m.lstm(x)[0][:, -1],
    "conv: the dimensions of the input are permuted": lambda m, x: m.lstm(m.conv(x.transpose(1, 2)).transpose(1, 2))[0],
    "lstm: LSTM must read .samples, steps, features.": lambda m, x: m.lstm(x.reshape(-1, 5)[None])[0],
    "addition of": lambda m, x: m.lstm(x)[0] + m.lstm2(x)[0][:, -1:],
}


@pytest.mark.filterwarnings("ignore:LSTM with projections")
@pytest.mark.parametrize("message", ILLEGAL_SEQUENCES)
def test_illegal_sequences(message):
    net = Net(
        ILLEGAL_SEQUENCES[message], lstm=nn.LSTM(5, 4, batch_first=True), lstm2=nn.LSTM(5, 4, batch_first=True),
        both=nn.LSTM(5, 4, bidirectional=True), proj=nn.LSTM(5, 4, proj_size=2),
        deep=nn.LSTM(5, 4, 2, batch_first=True),
        gru=nn.GRU(5, 4, batch_first=True), out=nn.Linear(4, 3), turned=nn.LSTM(4 if "samples of" in message else 5, 4),
        cell=nn.LSTMCell(5, 4), conv=nn.Conv1d(5, 5, 3),
    )  # fmt: skip
    with pytest.raises(DarbError, match=message):
        capture(net, torch.randn(3, 6, 5))


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


@pytest.mark.parametrize("example", [None, torch.tensor(1.0), torch.zeros(0, 6)])
def test_illegal_examples(example):
    with pytest.raises(DarbError, match="example: give a tensor, a batch of at least one sample"):
        capture(vectors(VECTORS["relu"]), example)


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
    with pytest.raises(DarbError, match="operator linear is not supported"):
        capture(net, x)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("where", ["weight", "bias", "masked weight", "norm", "table"])
def test_weights_that_are_not_finite(value, where):
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 5), nn.BatchNorm1d(5))
    x, layer = torch.randn(2, 4), "2"
    if where == "masked weight":
        apply_mask(model[2], torch.ones(5, 3))
    if where == "table":
        model, x, layer = nn.Sequential(nn.Embedding(6, 4), *model), torch.zeros(2).long(), "0"
        model[0].weight.data[4] = value
    else:
        targets = {"weight": model[2].weight, "bias": model[2].bias, "norm": model[3].bias}
        targets.get(where, getattr(model[2], "weight_orig", None)).data[4] = value
    with pytest.raises(DarbError, match=f"layer '{layer}', row 4: weight or bias is NaN or infinite"):
        check_finite(capture(model, x))


@st.composite
def networks(draw):
    """Random graphs of convolutions: every step takes some of the maps of one size so far."""
    channels, size = draw(st.integers(1, 3)), draw(st.tuples(st.integers(3, 9), st.integers(3, 9)))
    steps = draw(
        st.lists(st.tuples(st.sampled_from(sorted(_STEPS)), st.integers(0, 99), st.integers(0, 99)), max_size=8)
    )
    return channels, size, steps


_STEPS = {
    "conv": lambda m, h, g: m.add(nn.Conv2d(h.shape[1], 3, 3, padding=1))(h),
    "strided": lambda m, h, g: m.add(nn.Conv2d(h.shape[1], 2, (2, 1), 2, (1, 0)))(h),
    "depthwise": lambda m, h, g: m.add(nn.Conv2d(h.shape[1], h.shape[1], 3, 1, 1, groups=h.shape[1]))(h),
    "norm": lambda m, h, g: m.add(lively(nn.BatchNorm2d(h.shape[1])))(h),
    "relu": lambda m, h, g: F.relu(h),
    "tanh": lambda m, h, g: torch.tanh(h),
    "pool": lambda m, h, g: F.max_pool2d(h, 2),
    "taps": lambda m, h, g: F.max_pool2d(h.relu(), 3, 2, 1),
    "average": lambda m, h, g: F.avg_pool2d(h, 2, 1),
    "add": lambda m, h, g: h + g,
    "cat": lambda m, h, g: torch.cat([h, g], 1),
    "shortcut": lambda m, h, g: h[:, :, ::2, ::2],
}


class Grown(nn.Module):
    """A random network; its layers are made when it runs for the first time."""

    def __init__(self, steps):
        super().__init__()
        self.steps, self.made, self.used = steps, nn.ModuleList(), None

    def add(self, module):
        if self.used is None:
            self.made.append(module.double())
            return self.made[-1]
        self.used += 1
        return self.made[self.used - 1]

    def forward(self, x):
        found = [self.add(nn.Conv2d(x.shape[1], 2, 1))(x)]
        for name, one, two in self.steps:
            h = found[-1 - one % min(len(found), 3)]
            others = [g for g in found if g.shape[2:] == h.shape[2:] and (name == "cat" or g.shape == h.shape)]
            if min(h.shape[2:]) < 2 or h.shape[1] > 12:
                continue
            found.append(_STEPS[name](self, h, others[two % len(others)]))
        return self.add(nn.Linear(found[-1][0].numel(), 3))(found[-1].flatten(1)), found[-1]


@settings(max_examples=60, deadline=None)
@given(networks())
def test_random_graphs(network):
    channels, size, steps = network
    torch.manual_seed(len(steps))
    model, x = Grown(steps).double(), torch.randn(2, channels, *size).double()
    with torch.no_grad():
        model(x)

    class Again(nn.Module):
        def __init__(self, first):
            super().__init__()
            self.net, self.first = model, first

        def forward(self, x):
            self.net.used = 0
            result = self.net(x)
            return result if self.first else result[1]

    check(Again(True), x)
    check(Again(False), x)


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
