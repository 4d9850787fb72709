"""Block RAMs: the words they can have, and how a memory is made of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from operator import itemgetter

from darb_hw.config import Target

__all__ = [
    "BESIDE", "FLIP_FLOPS", "LUT_WORDS", "SHAPES", "SPRAM_BITS", "SPRAM_WORDS", "Row", "block_rams_of", "rows_of",
    "shapes_of",
]  # fmt: skip

_NINTHS = {36: 512, 18: 1024, 9: 2048, 4: 4096, 2: 8192, 1: 16384}
SHAPES = {"ice40": {16: 256, 8: 512, 4: 1024, 2: 2048}, "ecp5": _NINTHS, "gowin": _NINTHS, "nexus": _NINTHS}
"""Word widths of a block RAM, and how many words it has then. Where blocks have bytes of 9 bits, words of less leave
the ninth ones unused."""
BESIDE = 36
"""A block of ECP5 needs both of its ports for this width. Only a memory that nobody writes can have it."""
LUT_WORDS = 32
"""Memories of up to this many words are left to synthesis, which builds them from LUTs."""

FLIP_FLOPS = 64
"""As many of these cost Yosys as much as a block RAM, where a memory that is written can be made of either."""

SPRAM_WORDS, SPRAM_BITS = 16384, 8
"""Half of a single-port RAM, which is a bank of maps: its words, and bits of a word."""


@dataclass(frozen=True)
class Row:
    """Blocks side by side, ``columns`` of ``width`` bits, that hold ``depth`` words of a memory from ``first`` on."""

    width: int
    depth: int
    columns: int
    first: int = 0


def shapes_of(family: str, read_only: bool) -> dict[int, int]:
    """Word widths of a block RAM for a memory, which is ``read_only`` or written, and how many words it has then."""
    return {width: depth for width, depth in SHAPES[family].items() if read_only or width != BESIDE}


def rows_of(width: int, depth: int, shapes: Mapping[int, int]) -> tuple[Row, ...]:
    """The rows of blocks that a memory is made of.

    These are the fewest blocks, and with as many blocks the fewest rows, whose outputs have to be multiplexed. Deep
    rows come first, so that each begins at a multiple of its depth.

    Parameters
    ----------
    width, depth : int
        Bits of a word, number of words.
    shapes : mapping of int to int
        Word widths of a block, and its words then: a power of two.
    """
    unit = min(shapes.values())
    units = -(-depth // unit)
    # best[n]: for n units of words, of the shapes so far: number of blocks, number of rows, widths of the rows, the
    # deepest first. Wide shapes are shallow and come first.
    best: list[tuple[int, int, tuple[int, ...]]] = [(0, 0, ()), *[(1 << 60, 0, ())] * units]
    for wide, deep in sorted(shapes.items(), reverse=True):
        columns = -(-width // wide)
        for n in range(1, units + 1):
            blocks, rows, others = best[max(n - deep // unit, 0)]
            best[n] = min(best[n], (blocks + columns, rows + 1, (wide, *others)), key=itemgetter(0, 1))
    made, first = [], 0
    for wide in best[units][2]:
        made.append(Row(wide, shapes[wide], -(-width // wide), first))
        first += shapes[wide]
    return tuple(made)


def block_rams_of(device: Target, width: int, depth: int, read_only: bool = True) -> int:
    """Block RAMs of a memory of ``depth`` words of ``width`` bits. Narrow memories take as many if they are written."""
    small = depth <= LUT_WORDS
    if small and (read_only or device.family != "ice40"):
        return 0
    shapes = shapes_of(device.family, read_only)
    if device.family == "ecp5":
        return sum(row.columns for row in rows_of(width, depth, shapes))
    # Inferred: all blocks alike.
    blocks = min(-(-width // wide) * -(-depth // deep) for wide, deep in shapes.items())
    # iCE40 has no RAMs of LUTs.
    return 0 if small and width * depth <= FLIP_FLOPS * blocks else blocks
