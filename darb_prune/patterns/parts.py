"""Rows and columns of matrices dealt to parts, so that the weights inside of the parts are worth the most."""

from collections.abc import Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

from darb_prune.encoded import part_sizes

__all__ = ["inside", "parts_of_chain"]

STARTS = 4
"""Random assignments to begin with; the best end is taken."""
ROUNDS = 100
"""At most; an assignment that no round changes comes much earlier."""
BLOCK = 2048
"""So many things are dealt at once; of more, random ones among themselves."""


def inside(worth: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> float:
    """What the weights are worth whose row and column are in one part: ``sum worth[i, j] [rows[i] = columns[j]]``."""
    return float(worth[rows[:, None] == columns].sum())


def parts_of_chain(worths: Sequence[np.ndarray], parts: int, seed: int = 0) -> list[np.ndarray]:
    """Deal columns and rows of a chain of matrices to parts that are equally large, up to one.

    Rows of a matrix are columns of the next one, and both have one part. The sum of what :func:`inside` says of all
    matrices rises with every step: the parts of all columns, or of all rows, are the best ones for the parts of their
    neighbours (a linear assignment), in turn until nothing changes. That is a local optimum; the best of
    ``STARTS`` random starts is taken.

    Parameters
    ----------
    worths : sequence of float array of shape (rows, columns)
        What each weight is worth, not negative.
    parts : int
    seed : int
        Of the starts.

    Returns
    -------
    list of int array
        Part of each column of the first matrix, and of each row of every matrix.
    """
    random = np.random.default_rng(seed)
    counts = [worths[0].shape[1], *(len(worth) for worth in worths)]
    slots = [np.repeat(np.arange(parts), part_sizes(count, parts)) for count in counts]
    best, most = [], -1.0
    for _ in range(STARTS):
        chain = [random.permutation(own) for own in slots]
        value = -1.0
        for _ in range(ROUNDS):
            for place in range(len(slots)):
                gain = np.zeros((counts[place], parts))
                if place:
                    gain += worths[place - 1] @ _members(chain[place - 1], parts)
                if place < len(worths):
                    gain += worths[place].T @ _members(chain[place + 1], parts)
                _deal(gain, chain[place], random)
            reached = sum(inside(worth, chain[n + 1], chain[n]) for n, worth in enumerate(worths))
            if reached <= value:
                break
            value = reached
        if value > most:
            best, most = chain, value
    return best


def _deal(gain: np.ndarray, own: np.ndarray, random: np.random.Generator) -> None:
    """Deal things, whose gain in each part has the shape (things, parts), to their parts anew, in place."""
    if len(own) <= BLOCK:
        blocks = [np.arange(len(own))]
    else:
        blocks = np.array_split(random.permutation(len(own)), -(-len(own) // BLOCK))
    for block in blocks:
        slots = np.sort(own[block])
        own[block] = slots[linear_sum_assignment(gain[np.ix_(block, slots)], maximize=True)[1]]


def _members(own: np.ndarray, parts: int) -> np.ndarray:
    """Whether each thing is in each part: floats, shape (things, parts)."""
    return (own[:, None] == np.arange(parts)).astype(float)
