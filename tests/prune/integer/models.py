"""Models of every kind, and how far their integers are from their floats."""

import itertools

import torch
import torch.nn.functional as F
from torch import nn

from darb_prune.frontend.capture import capture
from darb_prune.integer.ranges import calibrate, calibration_batches


def model(*sizes, last_relu=False):
    layers = []
    for columns, rows in itertools.pairwise(sizes):
        layers += [nn.Linear(columns, rows), nn.ReLU()]
    return nn.Sequential(*(layers if last_relu else layers[:-1]))


def scale_of(integer):
    return integer.tensors[integer.output].scale


def error_of(integer, x, expected):
    """Error of the integer model relative to the spread of what is expected."""
    found, expected = integer(integer.quantize_input(x)).double() * scale_of(integer), expected.detach()
    return float((found - expected.double()).square().mean().sqrt() / expected.double().std())


def scales_of(net, x, bits=8, percentile=100.0):
    """Scales of the values of a chain, in order."""
    stages = capture(net, torch.rand(2, 6))
    ranges = calibrate(stages, calibration_batches(x), bits, percentile)
    return [ranges[name].scale for name in (stages.input, *(stage.output for stage in stages.stages))]


class Residual(nn.Module):
    """Two blocks, a strided shortcut without weights, concatenation, both kinds of pooling, a norm alone."""

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(2, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.conv2, self.bn2 = nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.depthwise = nn.Conv2d(8, 8, 3, stride=2, padding=1, groups=8)
        self.left, self.right = nn.Conv2d(8, 4, 1), nn.Conv2d(8, 4, 3, padding=1)
        self.norm, self.relu6 = nn.BatchNorm2d(8), nn.ReLU6()
        self.pool, self.mean = nn.MaxPool2d(3, 2, 1), nn.AvgPool2d(2)
        self.fc = nn.Linear(8, 5)

    def forward(self, x):
        x = self.bn1(self.conv1(x)).relu()
        x = (self.bn2(self.conv2(x)) + x).relu()
        x = self.relu6(self.depthwise(x))
        x = torch.cat([self.left(x).tanh(), self.right(x).sigmoid()], dim=1)
        x = self.norm(x).relu()
        return self.fc(self.mean(self.pool(x)).flatten(1))


class Padded(nn.Module):
    """Zeros that are not symmetric in front of strided convolutions and a pooling, dilated kernels, a large one."""

    def __init__(self):
        super().__init__()
        self.tall, self.down = nn.Conv2d(1, 8, (10, 4), 2), nn.Conv2d(8, 8, 3, 2, groups=8)
        self.point, self.spread = nn.Conv2d(8, 6, 1), nn.Conv2d(6, 8, 3, padding=2, dilation=2)
        self.zero, self.narrow = nn.ZeroPad2d((2, 0, 0, 1)), nn.Conv2d(8, 4, (2, 3), dilation=(1, 2))
        self.fc = nn.Linear(12, 5)

    def forward(self, x):
        x = self.tall(F.pad(x, (1, 1, 4, 5))).relu()
        x = self.point(self.down(F.pad(x, (0, 1, 0, 1))).relu()).relu()
        x = self.narrow(self.zero(self.spread(x).relu())).relu()
        return self.fc(F.max_pool2d(F.pad(x, (0, 1, 1, 0)), 3, 2).flatten(1))


class Curves(nn.Module):
    """Functions whose tables are calibrated, numbers and differences, in maps and vectors."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.third = nn.Conv2d(2, 8, 3), nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 1)
        self.norm, self.slopes, self.slope = nn.BatchNorm2d(8), nn.PReLU(8), nn.PReLU()
        self.fc, self.wide, self.output = nn.Linear(32, 16), nn.Linear(16, 16), nn.Linear(16, 5)

    def forward(self, x):
        x = F.gelu(self.norm(self.first(x - 0.25)) * 2)
        x = self.slopes(self.second(x)) - x
        x = F.max_pool2d(F.elu(self.third(x)) * -0.5, 5)
        x = F.silu(self.slope(self.fc(x.flatten(1))))
        x = F.leaky_relu(self.wide(x)) + F.mish(x)
        return self.output(x / 4 + F.hardswish(x))


class Projected(nn.Module):
    def __init__(self):
        super().__init__()
        self.cells, self.output = nn.LSTM(6, 9, 2, batch_first=True, proj_size=5), nn.Linear(5, 4)

    def forward(self, x):
        states = x.new_full((2, len(x), 5), 0.3), x.new_full((2, len(x), 9), -0.2)
        return self.output(self.cells(x, states)[0][:, -1])


class Plain(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.RNN(6, 9, batch_first=True), nn.RNN(9, 8, batch_first=True, nonlinearity="relu")
        self.output = nn.Linear(8, 4)

    def forward(self, x):
        return self.output(self.second(self.first(x)[0], x.new_full((1, len(x), 8), -0.3))[0])


class Columns(nn.Module):
    """A convolution, and cells of two directions over the columns of its map: the last step, or ``every`` one."""

    def __init__(self, kind, channels=6, every=False):
        super().__init__()
        self.conv = nn.Conv2d(1, channels, 3, padding=1)
        self.cells = getattr(nn, kind)(2 * channels, 7, 2, bidirectional=True)
        self.output, self.every = nn.Linear(14 * 7 if every else 14, 4), every

    def forward(self, x):
        x = F.max_pool2d(self.conv(x).relu(), 2)
        x = self.cells(x.permute(3, 0, 1, 2).flatten(2))[0]
        return self.output(x.transpose(0, 1).flatten(1) if self.every else x[-1])


class Recurrent(nn.Module):
    """Symbols or frames through two layers of cells."""

    def __init__(self, kind, last, symbols=None):
        super().__init__()
        self.embedding = nn.Embedding(symbols, 6) if symbols else nn.Identity()
        self.cells = getattr(nn, kind)(6, 12, 2, batch_first=True)
        self.fc, self.output = nn.Linear(12, 9), nn.Linear(9, 4)
        self.last = last

    def forward(self, x):
        x, _ = self.cells(self.embedding(x))
        return self.output(self.fc(x[:, -1] if self.last else x).relu())


def trained_norms(net, *shape):
    """``net`` with statistics and gains that are not those of a fresh norm."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.uniform_(module.bias, -1, 1)
    net.train()
    net(torch.randn(64, *shape))
    return net.eval()


CASES = {
    "residual": lambda: (trained_norms(Residual(), 2, 12, 12), torch.randn(40, 2, 12, 12)),
    "padded": lambda: (Padded(), torch.randn(40, 1, 25, 18)),
    "curves": lambda: (trained_norms(Curves(), 2, 12, 12), torch.randn(40, 2, 12, 12)),
    "lstm": lambda: (Recurrent("LSTM", True), torch.randn(30, 7, 6)),
    "projection": lambda: (Projected(), torch.randn(30, 7, 6)),
    "rnn": lambda: (Plain(), torch.randn(30, 7, 6)),
    "columns, lstm": lambda: (Columns("LSTM"), torch.randn(30, 1, 4, 14)),
    "columns, every": lambda: (Columns("RNN", 8, True), torch.randn(30, 1, 4, 14)),
    "columns, gru": lambda: (Columns("GRU"), torch.randn(30, 1, 4, 14)),
    "columns, rnn": lambda: (Columns("RNN"), torch.randn(30, 1, 4, 14)),
    "lstm, symbols": lambda: (Recurrent("LSTM", False, 20), torch.randint(0, 20, (30, 7))),
    "gru": lambda: (Recurrent("GRU", False), torch.randn(30, 7, 6)),
    "gru, symbols": lambda: (Recurrent("GRU", True, 300), torch.randint(0, 300, (30, 7))),
}
