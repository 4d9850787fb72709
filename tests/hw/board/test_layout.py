"""Contents of block RAMs in the text of a layout."""

import numpy as np
import pytest

from darb_hw.board.layout import exchanged
from darb_prune.encoded import DarbError


def bits_of(values: list[int], width: int) -> np.ndarray:
    return np.array([[value >> bit & 1 for bit in range(width)] for value in values], np.uint8)


def ecp5(words: list[int]) -> str:
    """As Project Trellis writes them."""
    return "".join(" ".join(f"{word:03x}" for word in words[n : n + 8]) + "\n" for n in range(0, 2048, 8))


def ice40(words: list[int]) -> str:
    """As Project IceStorm writes them: a line is a number of 256 bits, whose lowest 16 bits are the first word."""
    numbers = (sum(word << 16 * n for n, word in enumerate(words[first : first + 16])) for first in range(0, 256, 16))
    return "".join(f"{number:064x}\n" for number in numbers)


FAMILIES = {
    "ecp5": (ecp5, 2048, 9, ".bram_init {}\n", ("3", "12")),
    "ice40": (ice40, 256, 16, ".ram_data {}\n", ("8 3", "25 11")),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_one_block_changes_and_nothing_else(family):
    text, depth, width, head, (one, other) = FAMILIES[family]
    rng = np.random.default_rng(0)
    before, there, new = (rng.integers(0, 1 << width, depth).tolist() for _ in range(3))

    def layout(words: list[int]) -> bytes:
        return (
            f".tile\narc: x\n\n{head.format(one)}{text(there)}\n{head.format(other)}{text(words)}\n.sym 1 a\n".encode()
        )

    assert exchanged(family, layout(before), {other: bits_of(new, width)}) == layout(new)
    assert exchanged(family, layout(before), {}) == layout(before)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_block_that_is_not_there_or_not_whole(family):
    text, depth, width, head, (one, other) = FAMILIES[family]
    zeros = bits_of([0] * depth, width)
    layout = f"{head.format(one)}{text([0] * depth)}".encode()
    with pytest.raises(DarbError, match=f"no whole block {other}: make the bitstream again with darb board"):
        exchanged(family, layout, {other: zeros})
    for cut in (layout[:-1], layout[: layout.rindex(b"\n", 0, -1) + 1]):
        with pytest.raises(DarbError, match=f"no whole block {one}"):
            exchanged(family, cut, {one: zeros})
