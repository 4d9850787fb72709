"""Codes of every format stand for the matrix they were made from, and what is stored is what the formats say."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.formats import encodings
from benchmarks.formats.skeleton import images, stored_bits
from darb_prune.encoded import DarbError
from darb_prune.patterns.storage import run_length as best_run_length
from tests.benchmarks.formats.random_formats import KINDS, random_format


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=20)
@given(st.integers(0, 1 << 30), st.sampled_from([4, 8, 16]))
def test_codes_stand_for_the_matrix(kind, seed, lanes):
    matrix, encoded = random_format(kind, seed, lanes)
    assert (encodings.decode(encoded) == matrix).all()
    there = encoded.rows[encoded.rows >= 0]
    assert sorted(there) == list(range(len(matrix)))
    assert len(encoded.weights) == encoded.steps.sum() == len(encoded.index) * encoded.span
    assert encoded.kept >= np.count_nonzero(matrix)
    # Steps of a group are those of its longest row.
    assert encoded.waiting >= 1 - 1e-9


def test_run_length_by_hand():
    weight = np.zeros((2, 50), np.int64)
    weight[0, [0, 4, 20, 21, 38]] = 1, 2, 3, 4, 5
    encoded = encodings.run_length(weight, weight != 0, lanes=2)
    assert encoded.index[:, 0].tolist() == [0, 3, 15, 0, 15, 0]
    assert encoded.weights[:, 0].tolist() == [1, 2, 3, 4, 0, 5]
    assert encoded.rows.tolist() == [[0, 1]]
    assert encoded.lengths.tolist() == [6, 0]


@settings(max_examples=20)
@given(st.integers(0, 1 << 30))
def test_run_length_stores_as_many_codes_as_its_accounting_says(seed):
    matrix, _ = random_format("run", seed)
    mask = matrix != 0
    best = best_run_length(mask, 8)
    run_bits = int(best.encoding.split()[-1])
    encoded = encodings.run_length(matrix, mask, 4, run_bits)
    counts = matrix.shape[0] * matrix.shape[1].bit_length()
    assert encoded.lengths.sum() * (8 + run_bits) == best.bits - counts


def test_blocks_by_hand():
    mask = np.zeros((4, 8), bool)
    mask[:2, 2:4] = mask[:2, 6:8] = mask[2:, :2] = True
    weight = np.arange(32).reshape(4, 8)
    encoded = encodings.blocks(weight, mask, lanes=4, size=2)
    # Two strips side by side; the first has two blocks.
    assert encoded.index.tolist() == [[1, 0], [3, 0]]
    assert encoded.weights.tolist() == [[2, 10, 16, 24], [3, 11, 17, 25], [6, 14, 0, 0], [7, 15, 0, 0]]
    assert (encoded.imbalance, encoded.waiting) == (4 / 3, 4 / 3)


def test_longest_rows_share_a_group():
    mask = np.arange(12)[None, :] < np.array([1, 12, 2, 11])[:, None]
    encoded = encodings.coordinate(np.ones(mask.shape), mask, lanes=2)
    assert encoded.rows.tolist() == [[1, 3], [2, 0]]
    assert encoded.steps.tolist() == [12, 2]
    assert encoded.waiting == 28 / 26


def test_index_planes_are_no_deeper_than_their_levels():
    mask = np.zeros((4, 16), bool)
    mask[0, [3, 15]] = True  # blocks of 8
    mask[1, ::4] = mask[2, ::4] = True  # blocks of 4
    mask[3, :] = True
    levels = np.array([[3, 1], [2, 1], [2, 1], [0, 1]])
    encoded = encodings.by_level(np.ones(mask.shape), mask, levels, lanes=2)
    found = images(encoded)
    assert {name: (image.width, image.depth) for name, image in found.items() if name != "program"} == {
        "weights": (16, 2 + 4 + 16), "index0": (2 * 2, 2 + 4), "index2": (2, 2),
    }  # fmt: skip
    assert stored_bits(encoded) == 16 * 22 + 4 * 6 + 2 * 2 + found["program"].bits


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda w, m: encodings.coordinate(w, m[:1], 4), "two matrices of one shape"),
        (lambda w, m: encodings.coordinate(w, m, 0), "lanes 0"),
        (lambda w, m: encodings.blocks(w, m, 4, 3), "power of two"),
        (lambda w, m: encodings.blocks(w, m, 6, 4), "divides the lanes"),
        (lambda w, m: encodings.blocks(w, m, 4, 2), "kept in part"),
        (lambda w, m: encodings.by_level(w, m, [[1, 1]] * 4, 4), "more than 1"),
        (lambda w, m: encodings.by_level(w, m, [[0, 0]] * 4, 4), "empty level"),
    ],
)
def test_what_cannot_be_encoded(call, message):
    weight = np.ones((4, 4), np.int64)
    mask = np.tril(np.ones((4, 4), bool))
    with pytest.raises(DarbError, match=message):
        call(weight, mask)
