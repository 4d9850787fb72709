"""Where each tensor stands in the activation memory: first fit by lifetime."""

from dataclasses import dataclass

from darb_prune.encoded import EncodedNetwork

__all__ = ["Region", "depth_of", "memory_map"]


@dataclass(frozen=True)
class Region:
    """Addresses ``start .. start + size`` hold ``tensor`` while layers ``first .. last`` run (``first`` is -1
    for the input, which is loaded before layer 0)."""

    tensor: str
    start: int
    size: int
    first: int
    last: int


def memory_map(network: EncodedNetwork) -> dict[str, Region]:
    """Place every tensor that a layer reads; no tensor holds memory after its last reader.

    A layer writes its output while it still reads its input, so the two never overlap.
    """
    last = {}
    for number, layer in enumerate(network.layers):
        for segment in layer.segments:
            last[segment.tensor] = number
    # The input is always stored, even if no layer reads it.
    last.setdefault(network.input, -1)
    born = {network.input: -1} | {layer.output: number for number, layer in enumerate(network.layers)}
    placed: list[Region] = []
    for name, first in born.items():
        if name not in last:
            continue
        size = network.tensor(name).size
        start = 0
        for other in sorted(placed, key=lambda region: region.start):
            if other.last >= first and other.start < start + size:
                start = max(start, other.start + other.size)
        placed.append(Region(name, start, size, first, last[name]))
    return {region.tensor: region for region in placed}


def depth_of(regions: dict[str, Region]) -> int:
    """Elements of a memory that holds all ``regions``."""
    return max(region.start + region.size for region in regions.values())
