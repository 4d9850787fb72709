"""The networks of the engine benchmark, each made unless its file exists."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.builds import darb, one_shot
from darb_prune.encoded import Level
from darb_prune.pruning.methods import Darb, Method, Mixed, Unpruned

__all__ = ["BUILD", "NETWORKS", "SEEDS", "lenet", "linear"]

RUNS, BUILD = Path("runs") / "engine", Path("build") / "engine"
SEEDS = (0, 1, 2)
SIZE = 1024
MULT_BITS = 8
FOUR = "2,1 3,1 4,1 5,1"
"""Levels of LeNet-300-100 at 13x."""
LAYER_LEVELS = tuple(Level(bits, 1) for bits in (3, 4, 5, 6))
EVEN_LEVELS = tuple(Level(4 + more, 1 << more) for more in range(4))
"""Four levels of equal codes a row: all rows take as many cycles."""


def lenet(path: Path, seed: int = 0, ratio: float = 13, mult_bits: int | None = MULT_BITS) -> list[str]:
    """LeNet-300-100 on MNIST, DARB with four levels for 16 lanes; dense if ``ratio`` is 1. Gives the commands."""
    dense = pruned = RUNS / f"lenet-300-100-s{seed}"
    commands = [darb("train", "--task", "mnist", "--seed", seed, "-o", dense, done=dense / "run.json")]
    if ratio > 1:
        pruned = RUNS / f"lenet-300-100-s{seed}-{ratio}x"
        options = "--ratio", ratio, "--levels", FOUR, "--order", "spread", "--lanes", 16
        commands.append(darb("prune", dense, *options, "-o", pruned, done=pruned / "run.json"))
    narrow = ("--mult-bits", mult_bits) if mult_bits else ()
    return [*commands, darb("compile", pruned, *narrow, "-o", path, done=path)]


def digits(path: Path, weight_bits: int) -> list[str]:
    """The digits task, 8x, for 8 lanes."""
    dense, pruned = RUNS / "digits", RUNS / "digits-8x"
    narrow = "--weight-bits", weight_bits, "--mult-bits", MULT_BITS
    return [
        darb("train", "--task", "digits", "-o", dense, done=dense / "run.json"),
        darb("prune", dense, "--ratio", 8, "--lanes", 8, "-o", pruned, done=pruned / "run.json"),
        darb("compile", pruned, *narrow, "-o", path, done=path),
    ]


def _layer() -> tuple[nn.Module, Tensor, dict]:
    """A 1024x1024 layer with weights of Student's t distribution (3 degrees of freedom), rows of different norms; 64
    inputs to calibrate with and 20 to simulate, normal."""
    weight = torch.distributions.StudentT(3.0).sample((SIZE, SIZE)) / SIZE**0.5
    layer = nn.Linear(SIZE, SIZE)
    with torch.no_grad():
        layer.weight[:] = weight * torch.exp(0.5 * torch.randn(SIZE, 1))
        layer.bias[:] = torch.randn(SIZE)
    return nn.Sequential(layer), torch.randn(64, SIZE), {"random": torch.randn(20, SIZE)}


def linear(path: Path, ratio: float, method: Method) -> list[str]:
    """A 1024x1024 layer pruned in one shot. No command makes it."""
    one_shot(path, _layer, ratio, MULT_BITS, method)
    return []


_FOR_64, _FOR_128 = (Darb(levels=LAYER_LEVELS, lanes=lanes) for lanes in (64, 128))
# Stored bits of 64 codes a row with 5.5 bits of index in the mean.
_EVEN = 8 * SIZE / (64 * (8 + 5.5))

NETWORKS: dict[str, Callable[[Path], list[str]]] = {
    "lenet-300-100": lenet,
    "lenet-300-100-dense": partial(lenet, ratio=1),
    "linear-1024-16x": partial(linear, ratio=16, method=_FOR_64),
    "linear-1024-16x-one": partial(linear, ratio=16, method=Darb(levels=(Level(4, 1),), lanes=64)),
    "linear-1024-16x-even": partial(linear, ratio=_EVEN, method=Mixed(levels=EVEN_LEVELS, budget="bits", lanes=64)),
    "linear-1024-25x": partial(linear, ratio=25, method=_FOR_64),
    "linear-1024-25x-128": partial(linear, ratio=25, method=_FOR_128),
    "linear-1024-dense": partial(linear, ratio=1, method=Unpruned()),
    "digits-4bit": partial(digits, weight_bits=4),
    "digits-8bit": partial(digits, weight_bits=8),
}
