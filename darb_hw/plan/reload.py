"""Another network for an engine that runs: which memories it fills, and the bytes that fill them."""

import zlib

from darb_hw.plan.image import Image
from darb_hw.plan.memory_map import STATES
from darb_hw.plan.plan import Plan
from darb_hw.plan.roms import COMMON, WRITTEN

__all__ = ["CHECK_BYTES", "contents", "fixed", "kept_places", "reload_bytes", "reload_size", "reloadable", "word_bytes"]

CHECK_BYTES = 4
"""Of the check sum behind all words: CRC-32 (ISO HDLC, that of zlib), the lowest byte first."""


def reloadable(plan: Plan) -> tuple[str, ...]:
    """Names of the ROMs that another network fills, in the order in which it comes. None if the plan has no port for
    one."""
    if not plan.config.loads:
        return ()
    return tuple(name for name in plan.images if name not in (*WRITTEN, *COMMON))


def fixed(plan: Plan) -> tuple[str, ...]:
    """Names of the images that stay what they are as another network is loaded, so that both must have the same."""
    return tuple(name for name in plan.images if name not in reloadable(plan))


def kept_places(plan: Plan) -> dict[str, list[int]]:
    """Where the activation memory stays as it was at power-up, by tensor: its first address, its shape, the zeros
    around it. What one network writes there, another one would read."""
    network = plan.network
    everywhere = bool(network.sections) or plan.clustered
    return {
        name: [region.start, *region.layout.shape, *getattr(region.layout, "padding", (0, 0))]
        for name, region in plan.memory.regions.items()
        if everywhere or name == STATES or region.layout.has_zeros
    }


def contents(plan: Plan, name: str) -> Image:
    """What the memory of an image holds at power-up: with room for a second network beside the first if the plan has
    that."""
    image = plan.images[name]
    return image.doubled() if plan.config.reload and name in reloadable(plan) else image


def word_bytes(image: Image) -> int:
    """Bytes of a word, as it comes."""
    return -(-image.width // 8)


def reload_size(plan: Plan) -> int:
    """Bytes of a network as it comes; 0 if the plan has no port for one."""
    images = [plan.images[name] for name in reloadable(plan)]
    return sum(image.depth * word_bytes(image) for image in images) + CHECK_BYTES if images else 0


def reload_bytes(plan: Plan) -> bytes:
    """The network of a plan as it comes: all words of all ROMs, the lowest byte of each first, and a check sum."""
    words = b"".join(plan.images[name].words.tobytes() for name in reloadable(plan))
    return words + zlib.crc32(words).to_bytes(CHECK_BYTES, "little")
