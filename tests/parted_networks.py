"""Random networks whose layers are in parts, as ``darb partition`` leaves them."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import torch
from torch import nn

from darb_prune import Darb, partition, prune
from darb_prune.encoded import EncodedNetwork, Segment, Tensor
from tests.draws import SeedDraw
from tests.networks import RandomNetwork, draw_layer
from tests.prune.frontend.capture.nets import lively
from tests.random_rows import LEVELS, matrix_of

__all__ = ["parted_model", "parted_network"]


def parted_network(seed: int | SeedDraw, parts: int, levels=LEVELS, extreme: bool = False) -> RandomNetwork:
    """One to three layers in parts, and one that reads all parts; perhaps layers before and behind them. ``extreme``:
    all weights are at the ends of their range."""
    draw = seed if isinstance(seed, SeedDraw) else SeedDraw(seed)
    rng = draw.rng
    before, behind = draw.choice((False, False, True)), draw.choice((False, True))
    sizes = [draw.integer(1, 12)] if before else []
    sizes += [
        parts * draw.integer(1, 11) + draw.choice((0, draw.integer(0, parts - 1))) for _ in range(draw.integer(2, 4))
    ]
    whole = len(sizes)  # from here on tensors are whole
    sizes += [draw.integer(1, 12) for _ in range(1 + behind)]
    in_parts = range(int(before), whole)
    tensors = []
    for number, size in enumerate(sizes):
        order = rng.permutation(size) if number < len(sizes) - 1 else None
        if number > before and number in in_parts:  # every part by itself
            order = np.concatenate([rng.permutation(own) for own in np.array_split(np.arange(size), parts)])
        order = None if order is None else order.astype(np.int32)
        tensors.append(Tensor(f"t{number}", (1, 1, size), 8, -128, 127, 1.0, order))
    by_name = {tensor.name: tensor for tensor in tensors}
    layers, matrices = [], []
    for number, (source, target) in enumerate(pairwise(tensors)):
        if number in in_parts and number + 1 in in_parts:
            cut = [
                (f"layer{number}.parts.{part}", int(read[0]), len(read), int(rows[0]), len(rows))
                for part, (read, rows) in enumerate(
                    zip(*(np.array_split(np.arange(tensor.size), parts) for tensor in (source, target)), strict=True)
                )
            ]
        else:
            cut = [(f"layer{number}", 0, source.size, 0, target.size)]
        for name, start, length, first, rows in cut:
            segments = (Segment(source.name, start, length),)
            layer, dense = draw_layer(rng, target.name, rows, number, segments, levels, 8, extreme)
            layers.append(replace(layer, name=name, first=first))
            matrices.append(matrix_of(dense, segments, by_name))
    return RandomNetwork(EncodedNetwork("parts", "t0", tensors[-1].name, tuple(tensors), tuple(layers)), matrices)


def parted_model(draw: SeedDraw, parts: int) -> tuple[nn.Module, torch.Tensor]:
    """A model of Linear layers in parts, perhaps behind convolutions that are in parts too, and inputs of it; perhaps
    pruned. Parts may differ in size by one."""
    torch.manual_seed(draw.integer(0, 1 << 30))
    shape, modules = (parts * draw.integer(1, 6) + draw.choice((0, 0, 1)),), []
    if draw.chance(60):
        shape = draw.integer(1, 2), draw.integer(4, 8), draw.integer(4, 8)
        modules = _maps(draw, parts, shape)
    columns = nn.Sequential(*modules).double().eval()(torch.zeros(1, *shape).double()).numel()
    for _ in range(draw.integer(1, 3)):
        rows = parts * draw.integer(1, 6) + draw.choice((0, draw.integer(0, parts - 1)))
        norm = draw.choice((nn.Identity(), lively(nn.BatchNorm1d(rows))))
        modules += [nn.Linear(columns, rows, draw.chance(80)), norm, draw.choice((nn.ReLU(), nn.Tanh(), nn.Identity()))]
        columns = rows
    modules.append(nn.Linear(columns, draw.integer(parts, 12)))
    if draw.chance(40):
        modules += [nn.ReLU(), nn.Linear(modules[-1].out_features, draw.integer(1, 5))]
    model, x = nn.Sequential(*modules).float().eval(), torch.randn(16, *shape)
    partition(model, parts, exclude=draw.choice(([], [str(len(modules) - 1)])), example=x)
    if draw.chance(60):
        prune(model, draw.choice((1.5, 2, 4)), Darb(order=draw.choice(("none", "search"))), example=x)
    return model, x


def _maps(draw: SeedDraw, parts: int, shape: tuple[int, int, int]) -> list[nn.Module]:
    """One to three convolutions with what may stand between them, and ``flatten``."""
    channels, size, modules = shape[0], min(shape[1:]), []
    while not modules or (size > 3 and draw.chance(70)):
        rows, kernel = parts * draw.integer(1, 3) + draw.choice((0, 0, 0, 1)), draw.choice((1, 3, (1, 3), (3, 2)))
        stride, padding = draw.choice((1, 1, 2)), draw.choice((0, 1))
        modules.append(nn.Conv2d(channels, rows, kernel, stride, padding, bias=draw.chance(80)))
        modules.append(draw.choice((nn.Identity(), lively(nn.BatchNorm2d(rows)))))
        modules.append(draw.choice((nn.ReLU(), nn.Hardswish(), nn.Identity())))
        pools = (
            nn.Identity(),
            nn.Identity(),
            nn.AvgPool2d(2, 1),
            nn.MaxPool2d(2),
            nn.Sequential(nn.ReLU(), nn.MaxPool2d(3, 1, 1)),
        )
        size = (size - 2) // stride // 2
        modules.append(draw.choice(pools[: 5 if size else 2]))
        if draw.chance(30):
            modules += [nn.Conv2d(rows, rows, 3, padding=1, groups=rows), lively(nn.BatchNorm2d(rows)), nn.ReLU()]
        channels = rows
    end = draw.choice((nn.Identity(), nn.AdaptiveAvgPool2d(1), nn.AdaptiveMaxPool2d(1)))
    return [*modules, end, nn.Flatten()]
