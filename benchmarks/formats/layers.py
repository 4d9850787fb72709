"""Matrices, and how every format prunes them."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from math import log
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

from benchmarks.formats import encodings
from benchmarks.formats.encodings import Encoded
from darb_prune.encoded import DENSE, DarbError, Level
from darb_prune.patterns import allocation, masks
from darb_prune.patterns.order import Reader, channel_order
from darb_prune.patterns.storage import Storage, stored_bits

__all__ = ["FORMATS", "LAYERS", "RUN_BITS", "PrunedMatrix", "encode", "prune"]

RUN = Path("runs") / "formats" / "mnist"
LANES = 64
"""Rows of a DARB level come in multiples of this where possible. 16 lanes use the same masks."""
RUN_BITS = encodings.RUN_BITS
Prune = Callable[[Tensor, float], tuple[Tensor, Tensor | None]]
"""(weights, ratio) -> mask, levels."""


def _lenet() -> Tensor:
    """First layer of LeNet-300-100, trained on MNIST (data: docs/tasks.md)."""
    if not (RUN / "run.json").is_file():
        command = "import sys; from darb_hw.cli import main; main(sys.argv[1:])"
        done = subprocess.run([sys.executable, "-c", command, "train", "--task", "mnist", "-o", str(RUN)], check=False)
        if done.returncode:
            raise DarbError("the first layer of LeNet-300-100 is missing: give MNIST in $DARB_DATA (docs/tasks.md)")
    return safetensors.torch.load_file(RUN / "model.safetensors")["fc1.weight"]


def _normal(spread: float) -> Tensor:
    """1024 x 1024 normal weights; the logarithm of the size of a row is normal too, with deviation ``spread``."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(1024, 1024, generator=generator)
    return weight * torch.exp(spread * torch.randn(1024, 1, generator=generator))


@dataclass(frozen=True)
class Workload:
    """A matrix to prune.

    Parameters
    ----------
    title : str
    make : callable
        Gives the weights, float32 of shape (rows, columns).
    ratios : tuple of float
    """

    title: str
    make: Callable[[], Tensor]
    ratios: tuple[float, ...]


LAYERS = {
    "lenet": Workload("LeNet-300-100, first layer (300 x 784), trained on MNIST", _lenet, (13,)),
    "normal": Workload("1024 x 1024, normal weights", lambda: _normal(0), (13, 16, 25)),
    "skewed": Workload("1024 x 1024, rows of very different size", lambda: _normal(0.5), (16,)),
}


@dataclass(frozen=True, eq=False)
class PrunedMatrix:
    """A matrix pruned for a format, columns in the storage order that suits it.

    Parameters
    ----------
    weight : int array of shape (rows, columns)
        8-bit weights, those not kept included.
    mask : bool array of the same shape
    levels : int array of shape (rows, 2), optional
    order : str
        ``"none"`` or ``"spread"``.
    retained : float
        Share of the sum of squares that is kept.
    """

    weight: np.ndarray
    mask: np.ndarray
    levels: np.ndarray | None
    order: str
    retained: float


def _nearest(ratio: float, bits: range) -> Level:
    """The level whose ratio is nearest in log scale; of two, the level with the smaller blocks."""
    choices = [Level(b, m) for b in bits for m in range(1, (1 << b) + 1)]
    return min(choices, key=lambda level: (round(abs(log(level.block / level.kept / ratio)), 9), level.bits))


def _dense(weight: Tensor, ratio: float) -> tuple[Tensor, Tensor]:
    return torch.ones(weight.shape, dtype=torch.bool), masks.level_rows(DENSE, len(weight))


def _darb(weight: Tensor, ratio: float) -> tuple[Tensor, Tensor]:
    (levels,) = allocation.by_budget([weight], int(weight.numel() / ratio), streams=LANES)
    return masks.level_mask(weight, levels), levels


def _level(bits: range) -> Prune:
    def prune(weight: Tensor, ratio: float) -> tuple[Tensor, Tensor]:
        levels = masks.level_rows(_nearest(ratio, bits), len(weight))
        return masks.level_mask(weight, levels), levels

    return prune


def _blocks(size: int) -> Prune:
    return lambda weight, ratio: (masks.blocks([weight], int(weight.numel() / ratio), (size, size))[0], None)


def _irregular(weight: Tensor, ratio: float) -> tuple[Tensor, None]:
    mask = masks.irregular(weight, ratio)
    assert isinstance(mask, Tensor)
    return mask, None


@dataclass(frozen=True)
class Format:
    """A sparsity format.

    Parameters
    ----------
    title : str
    prune : Prune
    encode : callable (weight, mask, levels, lanes) -> Encoded
    store : callable (mask, levels) -> Storage
        Its best-known encoding without an engine.
    """

    title: str
    prune: Prune
    encode: Callable[[np.ndarray, np.ndarray, np.ndarray | None, int], Encoded]
    store: Callable[[np.ndarray, np.ndarray | None], Storage]


def _by_level(method: str) -> dict[str, Any]:
    return {
        "encode": encodings.by_level,
        "store": lambda mask, levels: stored_bits(method, mask, 8, levels),
    }


def _by_block(size: int) -> dict[str, Any]:
    return {
        "encode": lambda weight, mask, levels, lanes: encodings.blocks(weight, mask, lanes, size),
        "store": lambda mask, levels: stored_bits("block", mask, 8, shape=(size, size)),
    }


FORMATS = {
    "dense": Format("dense", _dense, **_by_level("dense")),
    "darb": Format("DARB", _darb, **_by_level("darb")),
    "bank": Format("bank-balanced", _level(range(6, 9)), **_by_level("bank")),
    "nm": Format("N:M", _level(range(2, 6)), **_by_level("nm")),
    "block4": Format("block 4x4", _blocks(4), **_by_block(4)),
    "block8": Format("block 8x8", _blocks(8), **_by_block(8)),
    "run": Format(
        "run-length", _irregular,
        lambda weight, mask, levels, lanes: encodings.run_length(weight, mask, lanes),
        lambda mask, levels: stored_bits("irregular", mask, 8),
    ),
    "coordinate": Format(
        "coordinate", _irregular,
        lambda weight, mask, levels, lanes: encodings.coordinate(weight, mask, lanes),
        lambda mask, levels: stored_bits("irregular", mask, 8),
    ),
}  # fmt: skip


def prune(weight: Tensor, name: str, ratio: float) -> PrunedMatrix:
    """Prune for a format.

    The storage order of the columns costs nothing, so each format gets the better of two: columns as they are, or
    spread (:func:`darb_prune.patterns.order.channel_order`).
    """
    integers = torch.round(weight * (127 / weight.abs().max())).to(torch.int64)
    candidates = []
    for order in ("none", "spread"):
        positions = channel_order(weight.shape[1], [Reader(weight, (weight.shape[1],))], order)
        stored = weight[:, positions]
        mask, levels = FORMATS[name].prune(stored, ratio)
        retained = float(stored.double().square()[mask].sum() / weight.double().square().sum())
        table = None if levels is None else levels.numpy().astype(np.int64)
        candidates.append(PrunedMatrix(integers[:, positions].numpy(), mask.numpy(), table, order, retained))
    # The first of two that are equal but for rounding.
    return candidates[1] if candidates[1].retained > candidates[0].retained * (1 + 1e-9) else candidates[0]


def encode(pruned: PrunedMatrix, name: str, lanes: int) -> Encoded:
    """The codes of a pruned matrix for ``lanes`` lanes."""
    return FORMATS[name].encode(pruned.weight, pruned.mask, pruned.levels, lanes)
