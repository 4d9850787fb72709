"""Random models of torch: graphs of maps in which every step takes some of the maps so far, and models of sequences."""

from math import gcd

import torch
import torch.nn.functional as F
from torch import nn

from darb_prune.modules.block_term import BlockTermGRU, BlockTermLinear, BlockTermLSTM
from tests.draws import SeedDraw
from tests.prune.frontend.capture.nets import lively

STEPS = {
    "conv": lambda m, h, g: m.add(nn.Conv2d(h.shape[1], 3, 3, padding=1))(h),
    "strided": lambda m, h, g: m.add(nn.Conv2d(h.shape[1], 2, (2, 1), 2, (1, 0)))(h),
    "depthwise": lambda m, h, g: m.add(nn.Conv2d(h.shape[1], h.shape[1], 3, 1, 1, groups=h.shape[1]))(h),
    "groups": lambda m, h, g: m.add(nn.Conv2d(h.shape[1], 6, 2, groups=gcd(h.shape[1], 6)))(h),
    "multiplier": lambda m, h, g: m.add(nn.Conv2d(h.shape[1], 2 * h.shape[1], (1, 3), 1, (0, 1), groups=h.shape[1]))(h),
    "transposed": lambda m, h, g: m.add(nn.ConvTranspose2d(h.shape[1], 3, (3, 2), (2, 1), 1))(h),
    "nearest": lambda m, h, g: F.interpolate(h[:, :, ::2, ::2], scale_factor=2),
    "shuffle": lambda m, h, g: torch.channel_shuffle(h, 2) if h.shape[1] % 2 == 0 else h.flip(1),
    "picks": lambda m, h, g: h[:, ::2].repeat(1, 2, 1, 1),
    "blocks": lambda m, h, g: F.pixel_unshuffle(h[:, :2, :2, :2], 2),
    "pixels": lambda m, h, g: F.pixel_shuffle(h.repeat(1, 4, 1, 1), 2),
    "norm": lambda m, h, g: m.add(lively(nn.BatchNorm2d(h.shape[1])))(h),
    "relu": lambda m, h, g: F.relu(h),
    "tanh": lambda m, h, g: torch.tanh(h),
    "pool": lambda m, h, g: F.max_pool2d(h, 2),
    "global": lambda m, h, g: h.amax(3, keepdim=True),
    "taps": lambda m, h, g: F.max_pool2d(h.relu(), 3, 2, 1),
    "average": lambda m, h, g: F.avg_pool2d(h, 2, 1),
    "add": lambda m, h, g: h + g,
    "cat": lambda m, h, g: torch.cat([h, g], 1),
    "shortcut": lambda m, h, g: h[:, :, ::2, ::2],
    "leaky relu": lambda m, h, g: F.leaky_relu(h, 0.2),
    "prelu": lambda m, h, g: m.add(nn.PReLU(h.shape[1]))(h),
    "elu": lambda m, h, g: F.elu(h),
    "gelu": lambda m, h, g: F.gelu(h),
    "silu": lambda m, h, g: h * torch.sigmoid(h),
    "hardswish": lambda m, h, g: F.hardswish(h),
    "hardsigmoid": lambda m, h, g: F.hardsigmoid(h),
    "softplus": lambda m, h, g: F.softplus(h),
    "numbers": lambda m, h, g: 1 - h * 2,
    "subtract": lambda m, h, g: h - g,
    "gate": lambda m, h, g: h * torch.sigmoid(m.add(nn.Conv2d(g.shape[1], h.shape[1], 1))(g)),
    "squeeze": lambda m, h, g: h * F.hardsigmoid(m.add(nn.Conv2d(h.shape[1], h.shape[1], 1))(h.mean((2, 3), True))),
    "product": lambda m, h, g: h * g,
    "linear": lambda m, h, g: m.add(nn.Linear(h.shape[1], 4))(h.permute(0, 2, 3, 1)).permute(0, 3, 1, 2),
    "channels": lambda m, h, g: m.add(nn.Conv2d(h.shape[1] - h.shape[1] // 3, 3, 1))(h[:, h.shape[1] // 3 :]),
    "part": lambda m, h, g: h[:, h.shape[1] // 2 :],
    "halves": lambda m, h, g: torch.cat(h.chunk(2, 1)[::-1], 1),
    "edges": lambda m, h, g: h[:, :, 1:, : h.shape[3] - h.shape[3] // 3],
    "chomp": lambda m, h, g: m.add(nn.Conv2d(h.shape[1], 2, 3, padding=2))(h)[:, :, :-2, :-2],
    "position": lambda m, h, g: h[:, :, -1:, 1:2],
    "cells": lambda m, h, g: columns(h, m.add(nn.LSTM(h.shape[1] * h.shape[2], 2, bidirectional=True))),
    "rnn": lambda m, h, g: columns(h, m.add(nn.RNN(h.shape[1] * h.shape[2], 3))),
}


MIXES = {
    "positions": lambda m, h, g: m.add(nn.Conv2d(h.shape[1], 2, 1))(over_positions(m, h).relu()),
    "residual": lambda m, h, g: h + over_positions(m, h),
    "exchange": lambda m, h, g: m.add(nn.Conv2d(h[0, 0].numel(), 3, (2, 1), 1, (1, 0)))(
        h.flatten(2).transpose(1, 2).unsqueeze(3)
    ),
    "statistics": lambda m, h, g: torch.cat([h.mean(1, keepdim=True), h.amax(1, keepdim=True)], 1),
    "block terms": lambda m, h, g: m.add(nn.Conv2d(1, 2, 1))(
        m.add(BlockTermLinear(h.shape[1:], (3, 2, 2), (1, 2, 2)))(h.flatten(1)).view(-1, 1, 3, 4)
    ),
}
"""Steps in which channels and positions change places."""


def over_positions(m, h):
    """A Linear over all positions of a map."""
    return m.add(nn.Linear(h[0, 0].numel(), h[0, 0].numel()))(h.flatten(2)).view(h.shape)


def columns(h, layer):
    """What a recurrent layer makes of the columns of a map."""
    return layer(h.permute(3, 0, 1, 2).flatten(2))[0].permute(1, 2, 0).unsqueeze(2)


class Grown(nn.Module):
    """A random model; its layers are made when it runs for the first time.

    Gives what a Linear makes of the last map, and the map.
    """

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
            found.append((STEPS | MIXES)[name](self, h, others[two % len(others)]))
        result = self.add(nn.Linear(found[-1][0].numel(), 3))(found[-1].flatten(1)), found[-1]
        self.used = 0
        return result


ENDS = {
    "last": lambda h, states: h[:, -1],
    "steps": lambda h, states: h,
    "state": lambda h, states: (states[0] if isinstance(states, tuple) else states)[-1],
    "maximum": lambda h, states: h.amax(1),
    "mean": lambda h, states: h.transpose(1, 2).mean(2),
    "vector": lambda h, states: h.flatten(1),
    "first": lambda h, states: h[:, 0],
}
"""What a model makes of all steps of its last layer, (samples, steps, features), and of its states."""


class Sequence(nn.Module):
    """A random model of sequences of ``steps`` steps: perhaps an embedding, a layer in front, cells, and their end."""

    def __init__(self, draw: SeedDraw, steps: int):
        super().__init__()
        kind, features, units = draw.choice((nn.LSTM, nn.GRU, nn.RNN)), draw.integer(1, 5), draw.integer(2, 5)
        self.embedding = nn.Embedding(draw.integer(2, 9), features) if draw.chance(25) else None
        self.features = features
        self.front = draw.choice((None, nn.Linear(features, features), nn.Conv1d(features, features, 3, padding=1)))
        options = {"proj_size": draw.integer(1, units - 1)} if kind is nn.LSTM and draw.chance(30) else {}
        options |= {"num_layers": draw.integer(1, 2), "bias": draw.chance(80), "bidirectional": draw.chance(40)}
        self.cells = kind(features, units, batch_first=True, **options)
        self.start, self.end = draw.chance(30), draw.choice(sorted(ENDS))
        size = options.get("proj_size", units)
        size *= 1 if self.end == "state" else 1 + options["bidirectional"]
        self.head = nn.Linear(size * (steps if self.end == "vector" else 1), draw.integer(1, 4))

    def forward(self, x):
        x = x if self.embedding is None else self.embedding(x)
        if isinstance(self.front, nn.Conv1d):
            x = self.front(x.transpose(1, 2)).relu().transpose(1, 2)
        elif self.front is not None:
            x = self.front(x).tanh()
        return self.head(ENDS[self.end](*self.cells(x, self.states(x))))

    def states(self, x):
        """Initial states, or none."""
        cells = self.cells
        count = cells.num_layers * (1 + cells.bidirectional)
        h = x.new_full((count, len(x), cells.proj_size or cells.hidden_size), -0.25)
        c = x.new_full((count, len(x), cells.hidden_size), 0.5)
        return ((h, c) if isinstance(cells, nn.LSTM) else h) if self.start else None


def draw_sequences(draw: SeedDraw) -> tuple[Sequence, torch.Tensor]:
    """A model of sequences, and inputs of it."""
    steps = draw.integer(2, 6)
    torch.manual_seed(draw.integer(0, 1 << 30))
    model = Sequence(draw, steps)
    if model.embedding is not None:
        return model.eval(), torch.randint(model.embedding.num_embeddings, (16, steps))
    return model.eval(), torch.randn(16, steps, model.features)


class Terms(nn.Module):
    """A random model of sequences, with an LSTM or GRU whose input matrix is a sum of Tucker terms."""

    def __init__(self, draw: SeedDraw):
        super().__init__()
        kind, count = draw.choice((BlockTermLSTM, BlockTermGRU)), draw.integer(2, 4)
        inputs, outputs = ([draw.integer(1, 3) for _ in range(count)] for _ in range(2))
        outputs[0] = kind.gates * draw.integer(1, 2)
        ranks = [draw.integer(1, min(3, i * j)) for i, j in zip(inputs, outputs, strict=True)]
        self.cells = kind(inputs, outputs, ranks, draw.integer(1, 3))
        self.front = nn.Linear(4, self.cells.input_size) if draw.chance(50) else None
        self.features = 4 if self.front else self.cells.input_size
        self.last, self.head = draw.chance(50), nn.Linear(self.cells.hidden_size, 3)

    def forward(self, x):
        h, _ = self.cells(self.front(x).tanh() if self.front else x)
        return self.head(h[:, -1] if self.last else h)


def draw_terms(draw: SeedDraw) -> tuple[nn.Module, torch.Tensor]:
    """A model with block terms, and inputs of it."""
    torch.manual_seed(draw.integer(0, 1 << 30))
    model = Terms(draw)
    return model.eval(), torch.randn(16, draw.integer(2, 6), model.features)


def draw_model(draw: SeedDraw, mixes: bool = False) -> tuple[nn.Module, torch.Tensor]:
    """A model in floats of 32 bits, and inputs of it; with ``mixes``, channels and positions change places in it."""
    if draw.chance(30):
        return draw_terms(draw) if mixes else draw_sequences(draw)
    shape = draw.integer(1, 3), draw.integer(3, 8), draw.integer(3, 8)
    names = sorted(STEPS)
    steps = [(draw.choice(names), draw.integer(0, 99), draw.integer(0, 99)) for _ in range(draw.integer(1, 8))]
    steps += [(draw.choice(sorted(MIXES)), 0, 0), (draw.choice(names), 0, 0)] if mixes else []
    torch.manual_seed(draw.integer(0, 1 << 30))
    model, x = Grown(steps), torch.randn(16, *shape)
    with torch.no_grad():
        model(x.double())
    return model.float().eval(), x
