"""Random models of torch: graphs of maps in which every step takes some of the maps so far."""

from math import gcd

import torch
import torch.nn.functional as F
from torch import nn

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
}


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
            found.append(STEPS[name](self, h, others[two % len(others)]))
        result = self.add(nn.Linear(found[-1][0].numel(), 3))(found[-1].flatten(1)), found[-1]
        self.used = 0
        return result


def draw_model(draw: SeedDraw) -> tuple[Grown, torch.Tensor]:
    """A model in floats of 32 bits, and inputs of it."""
    shape = draw.integer(1, 3), draw.integer(3, 8), draw.integer(3, 8)
    names = sorted(STEPS)
    steps = [(draw.choice(names), draw.integer(0, 99), draw.integer(0, 99)) for _ in range(draw.integer(1, 8))]
    torch.manual_seed(draw.integer(0, 1 << 30))
    model, x = Grown(steps), torch.randn(16, *shape)
    with torch.no_grad():
        model(x.double())
    return model.float().eval(), x
