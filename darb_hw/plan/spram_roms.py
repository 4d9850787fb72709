"""Which ROMs stand in single-port RAMs, slice by slice, so that block RAMs are left for the rest."""

from collections.abc import Mapping, Sequence

from darb_hw.config import EngineConfig, Target
from darb_hw.errors import PlanError
from darb_hw.plan.blocks import SPRAM_BITS, SPRAM_WORDS, block_rams_of
from darb_hw.plan.image import Image

__all__ = ["SLICE", "check_slices", "merged_ends", "read_once", "rows_of_sprams", "slices_of"]

SLICE = 2 * SPRAM_BITS
"""Bits of a word that a single-port RAM holds."""
_ROMS = ("weights", "columns", "rows", "embedding", "input_order")


def rows_of_sprams(depth: int) -> int:
    """Single-port RAMs behind each other that hold so many words."""
    return -(-depth // SPRAM_WORDS)


def slices_of(images: Mapping[str, Image], device: Target) -> dict[str, int]:
    """How many slices of each image stand in single-port RAMs, the lowest bits of its words first; those with none are
    left out. They are those that save most block RAMs.
    """
    # By single-port RAMs: the most block RAMs that are saved so far, and how.
    best: dict[int, tuple[int, dict[str, int]]] = {0: (0, {})}
    for name, image in _candidates(images).items():
        whole, rows = block_rams_of(device, image.width, image.depth, False), rows_of_sprams(image.depth)
        for used, (saved, slices) in sorted(best.items(), reverse=True):
            for count in range(1, -(-image.width // SLICE) + 1):
                total = used + count * rows
                if total > device.sprams:
                    break
                rest = block_rams_of(device, max(0, image.width - count * SLICE), image.depth, False)
                gain = saved + whole - rest
                if gain > max((other for taken, (other, _) in best.items() if taken <= total), default=0):
                    best[total] = gain, slices | {name: count}
    return max(best.values(), key=lambda way: way[0])[1]


def read_once(name: str) -> bool:
    """Whether an engine has one ROM of an image, whatever the plan is; other than that of the program, whose first word
    is read before there is a network."""
    return name in _ROMS or name.startswith("index_")


def _candidates(images: Mapping[str, Image]) -> dict[str, Image]:
    return {name: image for name, image in images.items() if read_once(name)}


def merged_ends(ends: Sequence[int], lanes: int) -> list[int]:
    """Up to which bit each ROM of indices goes: the first one fills its slices, whose bits nobody else can use.

    Parameters
    ----------
    ends : sequence of int
        The widths of indices that there are, rising.
    lanes : int
    """
    if not ends:
        return []
    room = -(-ends[0] * lanes // SLICE) * SLICE // lanes
    first = max(end for end in ends if end <= room)
    return [first, *(end for end in ends if end > first)]


def check_slices(images: Mapping[str, Image], config: EngineConfig) -> None:
    """Raise :class:`PlanError` if no slice can stand in a single-port RAM, or none saves anything."""
    if slices_of(images, config.target):
        return
    deepest = max(_candidates(images).values(), key=lambda image: image.depth)
    if rows_of_sprams(deepest.depth) <= config.target.sprams:
        raise PlanError("roms = 'spram' saves no block RAM of such a small network: choose roms = 'blocks'")
    raise PlanError(
        f"roms = 'spram': {deepest.name} has {deepest.depth:,} words, the {config.target.sprams} single-port RAMs of "
        f"{config.device} hold {config.target.sprams * SPRAM_WORDS:,}: choose more lanes, or prune more"
    )
