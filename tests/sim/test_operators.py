"""Operators that are whole layers, from torch to Verilog: tiny models, pruned, on Icarus."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from darb_hw import EngineConfig
from darb_hw.emit import generate
from darb_prune import BlockTermGRU, BlockTermLinear, encode, prune, quantize
from darb_prune.modules.partitioned import PartitionedLinear
from sim.launch import simulate
from sim.scenario import Scenario
from tests.prune.frontend.capture.nets import Net

pytestmark = pytest.mark.simulator


MODELS = {
    "block terms": (
        lambda m, x: m.out(m.three(m.first(x).relu().flatten(1)).relu()), (1, 5, 8),
        {"first": nn.Conv2d(1, 4, (3, 3)), "three": BlockTermLinear((4, 3, 6), (3, 1, 2), (2, 3, 2)),
         "out": nn.Linear(6, 3)},
    ),
    "block terms of sequences": (
        lambda m, x: m.out(m.gru(m.first(x))[0]), (3, 4),
        {"first": nn.Linear(4, 12), "gru": BlockTermGRU((3, 4), (3, 2), (2, 2)), "out": nn.Linear(2, 3)},
    ),
    "linear at every position": (
        lambda m, x: m.out(m.second(m.first(x).relu()).mean(1)), (6, 5),
        {"first": nn.Linear(5, 8), "second": nn.Linear(8, 6), "out": nn.Linear(6, 3)},
    ),
    "groups": (
        lambda m, x: m.out(m.multiplied(m.grouped(m.first(x).relu()).relu()).relu()), (2, 5, 6),
        {"first": nn.Conv2d(2, 8, 3, padding=1), "grouped": nn.Conv2d(8, 12, 3, groups=2),
         "multiplied": nn.Conv2d(12, 24, (2, 1), groups=12), "out": nn.Conv2d(24, 3, 1)},
    ),
    "groups of a line": (
        lambda m, x: m.out(m.grouped(m.first(x).relu()).relu()), (2, 9),
        {"first": nn.Conv1d(2, 8, 3, padding=1), "grouped": nn.Conv1d(8, 8, 3, dilation=2, groups=4),
         "out": nn.Conv1d(8, 3, 1)},
    ),
    "maximum over time": (
        lambda m, x: m.out(m.first(x).amax(2).relu()), (2, 9),
        {"first": nn.Conv1d(2, 8, 3), "out": nn.Linear(8, 3)},
    ),
    "transposed convolution": (
        lambda m, x: m.out(m.up(m.first(x).relu()).relu()), (2, 3, 5),
        {"first": nn.Conv2d(2, 6, 3, padding=1), "up": nn.ConvTranspose2d(6, 5, 3, 2, 1, 1),
         "out": nn.Conv2d(5, 3, 3, padding=1)},
    ),
    "transposed convolution of a line": (
        lambda m, x: m.out(m.up(m.first(x).relu()).relu()), (2, 7),
        {"first": nn.Conv1d(2, 6, 3), "up": nn.ConvTranspose1d(6, 5, 4, 3), "out": nn.Conv1d(5, 3, 2)},
    ),
    "shuffle": (
        lambda m, x: m.out(torch.channel_shuffle(m.first(x).relu(), 3)), (2, 3, 4),
        {"first": nn.Conv2d(2, 6, 3, padding=1), "out": nn.Conv2d(6, 3, 3, padding=1)},
    ),
    "pixel shuffle": (
        lambda m, x: m.out(F.pixel_shuffle(m.first(x).relu(), 2)), (2, 3, 4),
        {"first": nn.Conv2d(2, 8, 3, padding=1), "out": nn.Conv2d(2, 8, 3, padding=1)},
    ),
    "parts": (
        lambda m, x: m.out(torch.tanh(m.second(m.first(x).relu()))), (9,),
        {"first": PartitionedLinear((5, 4), (4, 3), channels=9), "second": PartitionedLinear((4, 3), (4, 4)),
         "out": nn.Linear(8, 3)},
    ),
    "nearest neighbours": (
        lambda m, x: m.out(F.interpolate(m.first(x).relu(), scale_factor=2)), (2, 3, 4),
        {"first": nn.Conv2d(2, 6, 3, padding=1), "out": nn.Conv2d(6, 3, 3, padding=1)},
    ),
}  # fmt: skip


ONE_POSITION = {"block terms", "block terms of sequences"}
"""Channels and positions change places in these."""
TWO_POSITIONS = {"groups", "transposed convolution", "pixel shuffle"}
"""Of the others, two positions at once are long."""


@pytest.mark.parametrize(
    ("name", "positions"),
    [(name, 1) for name in MODELS]
    + [
        pytest.param(name, 2, marks=[pytest.mark.long] * (name not in TWO_POSITIONS))
        for name in MODELS
        if name not in ONE_POSITION
    ],
)
def test_operators(name, positions, tmp_path):
    """Lanes over rows, and over output positions."""
    forward, sizes, modules = MODELS[name]
    torch.manual_seed(0)
    model, x = Net(forward, **modules), torch.randn(8, *sizes)
    pruned = prune(model, 2, example=x)
    integer = quantize(model, x)
    network = encode(integer)
    assert network.weights - network.kept == pruned.weights - pruned.kept > 0  # real weights only
    build = generate(network, EngineConfig(4, positions=positions), tmp_path, integer.vectors(network, x))
    (report,) = simulate(build, "icarus", [Scenario((0, 1, 2), idle=0.2, stall=0.2)])
    assert (report.mismatch, report.frames) == (None, 3)
