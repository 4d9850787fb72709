"""Two banks in one single-port RAM: they have one address a cycle, and what is written to both is written together.

Banks ``2 k`` and ``2 k + 1`` are a *pair*. Where a rotation is even, both read the tile itself, or both the tile behind
it. Where it is odd, the banks of one pair would read different tiles. There both read what the second bank wants, and
the lane that gets the value of the first one waits: it is always the last lane. Its pixel is read in a step of its own,
with the same code.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from darb_prune.encoded import Level

__all__ = ["ALL", "LAST", "OTHERS", "Codes", "Lines", "Tap", "burst_ends", "mask_of_part", "split"]

ALL, OTHERS, LAST = 0, 1, 2
"""Lanes that read a tap: all of them, all but the last one, the last one alone."""


@dataclass(frozen=True)
class Tap:
    """A pixel of the window; or, where sums are added up, a tile of a phase of the map.

    Parameters
    ----------
    tensor : str
    y, x : int
    part : int
        ``ALL``, ``OTHERS`` or ``LAST``.
    """

    tensor: str
    y: int
    x: int
    part: int = ALL


@dataclass(frozen=True)
class Lines:
    """Lines of codes of a row that follow each other alike, and how codes say what they read.

    Parameters
    ----------
    start : int
        First channel of the first block.
    codes : int
        Codes of a line.
    level : Level
        How the address advances within a line.
    count : int
        Number of lines.
    tap, pitch : int
        First tap of the first line; taps from a line to the next.
    taps, span : int
        Taps that a line reads, and channels of each.
    """

    start: int
    codes: int
    level: Level
    count: int
    tap: int
    pitch: int
    taps: int
    span: int


Codes = tuple[np.ndarray, np.ndarray, np.ndarray, int]
"""Index, column and weight of the codes of rows, int64, shape (rows, codes); bits of a column."""


def split(
    lines: Sequence[tuple[str, Lines]], taps: Sequence[Tap], codes: Codes, is_odd: Callable[[Tap], bool]
) -> tuple[list[tuple[str, Lines]], list[Tap], Codes]:
    """Lines with a tap for which ``is_odd`` come twice, one behind the other: for all lanes but the last one, and for
    the last one."""
    *arrays, column_bits = codes
    made: list[tuple[str, Lines]] = []
    made_taps: list[Tap] = []
    order, first = [np.zeros(0, np.int64)], 0
    for tensor, run in lines:
        begin = len(made_taps)
        for line in range(run.count):
            here = taps[run.tap + line * run.pitch :][: run.taps]
            mine = np.arange(first, first + run.codes)
            for part in (OTHERS, LAST) if any(map(is_odd, here)) else (ALL,):
                made_taps += [replace(tap, part=part) for tap in here]
                order.append(mine)
            first += run.codes
        count = (len(made_taps) - begin) // run.taps
        made.append((tensor, replace(run, count=count, tap=begin, pitch=run.taps)))
    index, column, weight = (array[:, np.concatenate(order)] for array in arrays)
    return made, made_taps, (index, column, weight, column_bits)


def mask_of_part(part: int, rotation: int, mask: np.ndarray) -> np.ndarray:
    """The lanes of a mask, bool, shape (tiles, banks), that read a tap in one of its steps. With an even rotation all
    lanes read in the first one."""
    last = np.arange(mask.shape[1]) == mask.shape[1] - 1
    if part == ALL:
        return mask
    if rotation % 2 == 0:
        return mask & (part == OTHERS)
    return mask & (last if part == LAST else ~last)


def burst_ends(valid: np.ndarray, bank: np.ndarray, address: np.ndarray) -> np.ndarray:
    """With which results a *burst* ends. Its results are written in one cycle: each pair has one address.

    Parameters
    ----------
    valid : bool array of shape (tiles, words)
        Whether there is a result. The last one of a tile ends a burst.
    bank, address : int64 arrays of that shape

    Returns
    -------
    bool array of that shape
    """
    ends = np.zeros(valid.shape, bool)
    for tile in range(len(valid)):
        at: dict[int, int] = {}  # the address of each pair so far
        before = None
        for word in np.flatnonzero(valid[tile]).tolist():
            pair = int(bank[tile, word]) // 2
            if at.setdefault(pair, int(address[tile, word])) != address[tile, word]:
                ends[tile, before] = True
                at = {pair: int(address[tile, word])}
            before = word
        if before is not None:
            ends[tile, before] = True
    return ends
