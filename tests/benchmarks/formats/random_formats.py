"""Random matrices in every format of the shoot-out."""

import numpy as np
import torch

from benchmarks.formats import encodings
from benchmarks.formats.encodings import Encoded
from darb_prune.patterns.masks import level_mask

KINDS = ("dense", "darb", "bank", "mixed", "block4", "block2", "run", "coordinate")
_LEVELS = {
    "dense": [(0, 1)],
    "darb": [(0, 0), (1, 1), (2, 1), (3, 1), (5, 1)],
    "bank": [(4, 3)],
    "mixed": [(0, 0), (0, 1), (2, 2), (3, 1), (6, 7)],
}


def random_format(kind: str, seed: int, lanes: int = 8, most: tuple[int, int] = (30, 70)) -> tuple[np.ndarray, Encoded]:
    """A masked matrix of random shape, ``most`` at most, and random density, and its codes; kept weights can be 0."""
    rng = np.random.default_rng(seed)
    shape = tuple(int(rng.integers(1, length + 1)) for length in most)
    weight = rng.integers(-128, 128, shape) * (rng.random(shape) < 0.9)
    if kind in _LEVELS:
        choices = np.array(_LEVELS[kind])
        levels = choices[rng.integers(0, len(choices), shape[0])]
        mask = level_mask(torch.from_numpy(weight), torch.from_numpy(levels)).numpy()
        return np.where(mask, weight, 0), encodings.by_level(weight, mask, levels, lanes)
    density = rng.uniform(0, 1, (shape[0], 1)) ** 2
    if kind.startswith("block"):
        size = int(kind[-1])
        cut = -(-shape[0] // size), -(-shape[1] // size)
        mask = (rng.random(cut) < density[: cut[0]]).repeat(size, 0).repeat(size, 1)[: shape[0], : shape[1]]
        return np.where(mask, weight, 0), encodings.blocks(weight, mask, lanes, size)
    mask = rng.random(shape) < density
    encode = {"run": encodings.run_length, "coordinate": encodings.coordinate}[kind]
    return np.where(mask, weight, 0), encode(weight, mask, lanes)
