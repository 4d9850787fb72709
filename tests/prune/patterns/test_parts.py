"""Rows and columns dealt to parts: balanced, never worse than what their neighbours allow, and planted blocks found."""

from itertools import pairwise, permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from darb_prune.encoded import part_sizes
from darb_prune.patterns.parts import inside, parts_of_chain


@given(st.integers(1, 200), st.integers(1, 20))
def test_sizes_are_equal_up_to_one(count, parts):
    sizes = part_sizes(count, parts)
    assert (sum(sizes), len(sizes), max(sizes) - min(sizes) in (0, 1)) == (count, parts, True)


@given(st.integers(0, 99), st.sampled_from([(7, 5), (6, 4, 5), (5, 6, 5, 7)]), st.integers(2, 3))
def test_parts_are_balanced_and_better_than_chance(seed, counts, parts):
    rng = np.random.default_rng(seed)
    worths = [rng.random((rows, columns)) for columns, rows in pairwise(counts)]
    chain = parts_of_chain(worths, parts)
    assert [tuple(np.bincount(own, minlength=parts)) for own in chain] == [part_sizes(n, parts) for n in counts]
    kept = sum(inside(worth, chain[n + 1], chain[n]) for n, worth in enumerate(worths))
    assert kept > 0.95 * sum(worth.sum() for worth in worths) / parts
    for place, own in enumerate(chain):  # no two things of one place gain by changing places
        for i in range(len(own)):
            for j in range(i):
                other = own.copy()
                other[[i, j]] = own[[j, i]]
                changed = [*chain[:place], other, *chain[place + 1 :]]
                assert sum(inside(worth, changed[n + 1], changed[n]) for n, worth in enumerate(worths)) <= kept + 1e-9


def part_sorted(count, parts):
    return np.repeat(np.arange(parts), part_sizes(count, parts))


def test_the_best_parts_of_a_small_matrix():
    worth = np.random.default_rng(3).random((4, 4))
    halves = [np.array(own) for own in set(permutations((0, 0, 1, 1)))]
    best = max(inside(worth, rows, columns) for rows in halves for columns in halves)
    columns, rows = parts_of_chain([worth], 2)
    assert inside(worth, rows, columns) == pytest.approx(best)


def test_planted_blocks_are_found():
    rng = np.random.default_rng(0)
    planted = [rng.permutation(part_sorted(n, 4)) for n in (48, 32, 40)]
    worths = [
        (rows[:, None] == columns) + 0.2 * rng.random((len(rows), len(columns))) for columns, rows in pairwise(planted)
    ]
    chain = parts_of_chain(worths, 4)
    for own, known in zip(chain, planted, strict=True):
        assert len(set(zip(own, known, strict=True))) == 4
