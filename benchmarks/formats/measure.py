"""One point of the shoot-out: a layer, a ratio, a format, a number of lanes."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from torch import Tensor

from benchmarks.formats import build
from benchmarks.formats.engine import on_engine
from benchmarks.formats.layers import FORMATS, LAYERS, PrunedMatrix, encode, prune
from benchmarks.formats.skeleton import cycles, stored_bits
from darb_prune.encoded import Level

__all__ = ["LANES", "PLACED", "at_equal_norm", "measure", "points"]

BUILD = Path("build") / "formats"
LANES = (16, 64)
PLACED = {("lenet", 13)}
"""Layers that are placed and routed: the dense one fits the device as well."""


def points() -> list[tuple[str, float, str, int]]:
    """Layer, ratio, format, lanes."""
    return [
        (layer, ratio, name, lanes)
        for layer, about in LAYERS.items()
        for ratio in about.ratios
        for lanes in LANES
        for name in FORMATS
    ]


def pruned_layers(layer: str, ratio: float) -> dict[str, PrunedMatrix]:
    """The layer pruned for every format."""
    weight = LAYERS[layer].make()
    return {name: prune(weight, name, ratio) for name in FORMATS}


def measure(
    by_format: dict[str, PrunedMatrix], layer: str, ratio: float, name: str, lanes: int, seeds: tuple[int, ...],
    progress: Callable[[str], None],
) -> dict:  # fmt: skip
    """Encode, simulate, synthesise; of some layers also place and route.

    Parameters
    ----------
    by_format : dict of str to PrunedMatrix
        The layer pruned for every format.
    seeds : tuple of int
        Of place and route; nothing is placed without.
    """
    pruned = by_format[name]
    encoded = encode(pruned, name, lanes)
    # The surroundings are those of all formats: as many bits for a sum as any pruned matrix needs; dense needs more.
    others = [name] if name == "dense" else [other for other in FORMATS if other != "dense"]
    bits = build.accumulator_bits([encode(by_format[other], other, lanes) for other in others])
    folder = BUILD / f"{layer}-{ratio}x-{lanes}" / name
    progress("simulating")
    skeleton = build.write_skeleton(encoded, bits, folder / "skeleton")
    seen = build.simulate(skeleton, np.where(pruned.mask, pruned.weight, 0), folder / "skeleton")
    kept = int(pruned.mask.sum())
    best = FORMATS[name].store(pruned.mask, pruned.levels)
    point = {
        "layer": layer, "asked": ratio, "format": name, "lanes": lanes, "order": pruned.order,
        "levels": _levels(pruned), "retained": pruned.retained, "weights": pruned.mask.size, "kept": kept,
        "codes": int(encoded.lengths.sum() * encoded.span), "cycles": cycles(encoded), "simulated": seen,
        "stored_bits": stored_bits(encoded), "best_bits": best.bits, "best_encoding": best.encoding,
        "imbalance": encoded.imbalance, "waiting": encoded.waiting, "copies": encoded.copies, "accumulator": bits,
    }  # fmt: skip
    progress("synthesising decoders")
    point["decoder"] = {
        kind: build.decoder_resources(encoded, aligned, BUILD / "decoders")
        for kind, aligned in (("aligned", True), ("any", False))
    }
    if pruned.levels is not None:
        point["engine"] = on_engine(pruned, lanes)
    if (layer, ratio) in PLACED and seeds:
        progress("synthesising")
        point["skeleton"] = build.resources(folder / "skeleton", "skeleton")
        point["fmax_mhz"] = {}
        for seed in seeds:
            progress(f"placing, seed {seed}")
            point["fmax_mhz"][seed] = build.fmax(folder / "skeleton", seed)
    return point


def _levels(pruned: PrunedMatrix) -> dict[str, int] | None:
    """Rows of each level."""
    if pruned.levels is None:
        return None
    pairs, counts = np.unique(pruned.levels, axis=0, return_counts=True)
    return {str(Level(*pair)): count for pair, count in zip(pairs.tolist(), counts.tolist(), strict=True)}


def at_equal_norm(layer: str, ratio: float, lanes: int) -> list[dict]:
    """What each format takes to keep as much of the sum of squares as DARB does at ``ratio``."""
    weight = LAYERS[layer].make()
    aim = prune(weight, "darb", ratio).retained
    rows = []
    for name in FORMATS:
        if name == "dense":
            continue
        pruned = prune(weight, name, ratio) if name == "darb" else _keeping(weight, name, aim)
        encoded = encode(pruned, name, lanes)
        rows.append(
            {
                "layer": layer, "asked": ratio, "format": name, "lanes": lanes, "retained": pruned.retained,
                "kept": int(pruned.mask.sum()), "weights": pruned.mask.size, "cycles": cycles(encoded),
                "stored_bits": stored_bits(encoded), "levels": _levels(pruned),
            }
        )  # fmt: skip
    return rows


def _keeping(weight: Tensor, name: str, aim: float) -> PrunedMatrix:
    """The sparsest mask of the format that retains ``aim``."""
    if name in ("bank", "nm"):
        low, high = {"bank": (6, 9), "nm": (2, 6)}[name]
        ratios = sorted({(1 << b) / m for b in range(low, high) for m in range(1, (1 << b) + 1)}, reverse=True)
        # Retained norm does not rise strictly with density over block sizes: the first that is enough.
        return next(pruned for ratio in ratios if (pruned := prune(weight, name, ratio)).retained >= aim)
    low, high = 1.0, 200.0  # dense is always enough
    best = prune(weight, name, low)
    for _ in range(12):
        middle = (low * high) ** 0.5
        trial = prune(weight, name, middle)
        if trial.retained >= aim:
            low, best = middle, trial
        else:
            high = middle
    return best
