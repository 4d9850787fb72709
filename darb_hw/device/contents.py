"""What the blocks of a memory hold, as bits, family by family."""

import numpy as np

from darb_hw.device.ice40_roms import block_bits
from darb_hw.device.memory import MemoryShape
from darb_hw.device.primitives import initial_bits, rows_of_shape
from darb_hw.plan.blocks import LUT_WORDS, SHAPES, rows_of
from darb_hw.plan.image import Image
from darb_hw.plan.roms import WRITTEN

__all__ = ["contents_of"]


def contents_of(family: str, image: Image) -> dict[tuple[int, int], np.ndarray]:
    """Contents of the blocks of an image in an engine with room for other networks, by column and row of blocks.

    Returns
    -------
    dict of (int, int) to uint8 array
        Of shape (2048, 9) on ECP5, (256, 16) on iCE40; empty if the memory is not made of blocks whose contents are
        known: if it is small, or is written on iCE40.
    """
    written = image.name in WRITTEN
    if image.depth <= LUT_WORDS or (written and family == "ice40"):
        return {}
    if family == "ice40":
        rows = rows_of(image.width, image.depth, SHAPES[family])
        return {(c, r): block_bits(image, row, c) for r, row in enumerate(rows) for c in range(row.columns)}
    rows = rows_of_shape(MemoryShape("darb_ram" if written else "darb_rom", image.width, image.depth, image))
    return {(c, r): _ecp5_bits(initial_bits(image, row, c)) for r, row in enumerate(rows) for c in range(row.columns)}


def _ecp5_bits(digits: str) -> np.ndarray:
    """The 18 bits of each of 1024 lines of 20, as two words of 9 bits."""
    lines = np.frombuffer(bytes.fromhex(digits), np.uint8)[::-1]
    return np.unpackbits(lines, bitorder="little").reshape(1024, 20)[:, :18].reshape(2048, 9)
