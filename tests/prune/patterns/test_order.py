"""Tensor orders."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from darb_prune.encoded import EMPTY, Level
from darb_prune.errors import DarbError
from darb_prune.patterns.allocation import DARB_LEVELS, MIXED_LEVELS
from darb_prune.patterns.order import Reader, bit_reverse, channel_order, kept_energy


def plain(*rows):
    weight = torch.tensor(rows, dtype=torch.float32)
    return Reader(weight, (weight.shape[1],))


def slow_energy(channels, reader, order):
    """Sum of squares kept by every row, block by block."""
    total = 0.0
    blocks = [reader.blocks] * len(reader.weight)
    if reader.levels is not None:
        blocks = [(1 << bits, kept) for bits, kept in reader.levels.tolist()]
    repeats = reader.weight.shape[1] // channels
    stored = reader.weight.double()[:, [r * channels + c for r in range(repeats) for c in order.tolist()]]
    for row, (size, kept) in zip(stored.tolist(), blocks, strict=True):
        first = 0
        for width in reader.segments:
            segment = row[first : first + width]
            first += width
            for start in range(0, width, size):
                block = sorted((value * value for value in segment[start : start + size]), reverse=True)
                total += sum(block[:kept])
    return total


@st.composite
def tensors(draw, menu=MIXED_LEVELS):
    """A tensor and what reads it: vectors, feature maps, kernels; several levels each."""
    count = draw(st.integers(1, 40))
    random = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    readers = []
    for _ in range(draw(st.integers(1, 3))):
        rows, height, width = (draw(st.integers(1, most)) for most in (5, 2, 3))
        weight = torch.randn(rows, height * width * count, generator=random)
        segments = (width * count,) * height
        if draw(st.booleans()):
            levels = draw(st.lists(st.sampled_from(menu), min_size=rows, max_size=rows))
            table = torch.tensor([[level.bits, level.kept] for level in levels], dtype=torch.int16)
            readers.append(Reader(weight, segments, table))
        else:
            size = draw(st.integers(1, 12))
            readers.append(Reader(weight, segments, blocks=(size, draw(st.integers(1, size)))))
    return count, readers


@given(st.integers(1, 300))
def test_bit_reverse_is_its_definition(count):
    width = len(bin(count - 1)) - 2 if count > 1 else 0
    expected = [int(f"{j:0{width}b}"[::-1], 2) if width else 0 for j in range(count)]
    assert bit_reverse(count).tolist() == expected


@given(tensors(), st.sampled_from(["none", "spread", "search"]))
def test_orders_are_permutations(case, order):
    channels, readers = case
    result = channel_order(channels, readers, order, rounds=20)
    assert result.dtype == torch.int64
    assert sorted(result.tolist()) == list(range(channels))


@given(st.integers(0, 6), st.integers(0, 2**31))
def test_spread_puts_the_strongest_columns_into_different_blocks(bits, seed):
    columns = 1 << bits
    weight = torch.randn(4, columns, generator=torch.Generator().manual_seed(seed))
    order = channel_order(weight.shape[1], [Reader(weight, (weight.shape[1],))], "spread")
    strength = weight.square().sum(dim=0)
    ranked = torch.argsort(strength, descending=True).tolist()
    position = {column: index for index, column in enumerate(order.tolist())}
    for block_bits in range(bits + 1):
        blocks = columns >> block_bits
        assert {position[column] >> block_bits for column in ranked[:blocks]} == set(range(blocks))


def test_spread_without_holes():
    # Norms fall with the column, so ranks are columns: 0, 4, 2, 1, 5, 3 sorts ranks 0..5 by reversed bits.
    assert channel_order(6, [plain([6, 5, 4, 3, 2, 1])], "spread").tolist() == [0, 4, 2, 1, 5, 3]


def test_spread_counts_every_reader():
    assert channel_order(4, [plain([3, 0, 0, 0]), plain([0, 0, 9, 0])], "spread")[0] == 2


def test_spread_counts_every_repeat():
    # Column 2 is channel 0 at the second position: 3 and 4.5 together beat the 5 of channel 1, 3 and 3 do not.
    assert channel_order(2, [plain([3, 5, 4.5, 0])], "spread").tolist() == [0, 1]
    assert channel_order(2, [plain([3, 5, 3, 0])], "spread").tolist() == [1, 0]


def test_none_is_the_identity():
    assert channel_order(5, [plain([1, 2, 3, 4, 5])], "none").tolist() == [0, 1, 2, 3, 4]


@given(tensors(), st.integers(0, 2**31))
def test_kept_energy_is_what_levels_keep(case, seed):
    # Up to the rows that keep the same whatever the order: differences between orders are exact.
    channels, readers = case
    order = torch.randperm(channels, generator=torch.Generator().manual_seed(seed))
    none = torch.arange(channels)
    slow = sum(slow_energy(channels, reader, order) - slow_energy(channels, reader, none) for reader in readers)
    fast = kept_energy(channels, readers, order) - kept_energy(channels, readers, none)
    np.testing.assert_allclose(fast, slow, atol=1e-9)


@given(tensors(menu=DARB_LEVELS), st.integers(0, 9))
def test_search_is_never_worse_than_spread_or_none(case, seed):
    channels, readers = case
    energy = {
        order: sum(
            slow_energy(channels, reader, channel_order(channels, readers, order, rounds=30, seed=seed))
            for reader in readers
        )
        for order in ("none", "spread", "search")
    }
    assert energy["search"] >= max(energy["none"], energy["spread"]) * (1 - 1e-12)


@pytest.mark.parametrize(("width", "level"), [(1, Level(1, 1)), (1, Level(2, 2)), (3, Level(2, 1)), (5, Level(3, 2))])
def test_search_comes_near_the_best_of_all_orders(width, level):
    # With width 3 and 5, blocks hold several repeats and nothing is separable.
    channels, shares = 6, []
    for seed in range(5):
        weight = torch.randn(6, width * channels, generator=torch.Generator().manual_seed(seed))
        reader = Reader(weight, (width * channels,), torch.tensor([[level.bits, level.kept]] * 6))
        every = [
            slow_energy(channels, reader, torch.tensor(trial)) for trial in itertools.permutations(range(channels))
        ]
        energy = slow_energy(channels, reader, channel_order(channels, [reader], "search"))
        shares.append((energy - np.mean(every)) / (max(every) - np.mean(every)))
    assert np.mean(shares) > 0.9


def test_search_beats_spread_where_it_must():
    # Two rows with the same norm in every column: spread sees nothing, the search pairs large with small.
    weight = torch.tensor([[3.0, 3, 1, 1], [1, 1, 3, 3]])
    reader = Reader(weight, (4,), torch.tensor([[1, 1], [1, 1]]))
    order = channel_order(4, [reader], "search")
    assert slow_energy(4, reader, order) == 36  # no block of two holds both threes of a row


def test_blocks_of_all_rows_are_like_levels_of_all_rows():
    weight = torch.randn(20, 48)
    of_levels, of_blocks = Reader(weight, (48,), torch.tensor([[3, 2]] * 20)), Reader(weight, (48,), blocks=(8, 2))
    assert torch.equal(channel_order(48, [of_levels], "search"), channel_order(48, [of_blocks], "search"))


def test_search_gains_in_blocks_of_any_size():
    reader = Reader(torch.randn(30, 65), (65,), blocks=(13, 2))
    found = {
        order: slow_energy(65, reader, channel_order(65, [reader], order)) for order in ("none", "spread", "search")
    }
    assert found["search"] > 1.02 * max(found["none"], found["spread"])


def test_search_is_deterministic():
    reader = Reader(torch.randn(20, 64), (64,), torch.tensor([[3, 1]] * 20))
    first, again, other = (channel_order(64, [reader], "search", seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_search_leaves_readers_without_levels_out():
    searched = Reader(torch.randn(20, 32), (32,), torch.tensor([[3, 1]] * 20))
    free = Reader(10 * torch.randn(20, 32), (32,))
    result = channel_order(32, [free, searched], "search")
    spread = channel_order(32, [free, searched], "spread")
    assert slow_energy(32, searched, result) > slow_energy(32, searched, spread)


def test_nothing_to_search():
    reader = Reader(torch.randn(3, 8), (8,), torch.tensor([[EMPTY.bits, EMPTY.kept], [0, 1], [3, 1]]))
    assert torch.equal(channel_order(8, [reader], "search"), channel_order(8, [reader], "spread"))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda w: channel_order(5, [Reader(w, (5,))], "zigzag"), "order 'zigzag': choose one of none, spread"),
        (lambda w: channel_order(5, [Reader(w, (5,))], "search"), "order 'search' needs the levels of a reader"),
        (lambda w: channel_order(4, [Reader(w, (5,))], "spread"), "reader of 5 columns .* does not fit 4 channels"),
        (lambda w: channel_order(5, [Reader(w, (4,))], "spread"), r"in segments \(4,\) does not fit"),
    ],
)
def test_mistakes(call, message):
    with pytest.raises(DarbError, match=message):
        call(torch.randn(2, 5))


def test_search_gains_on_a_matrix_of_real_size():
    reader = Reader(torch.randn(300, 784), (784,), torch.tensor([[3, 1], [4, 1], [5, 1]] * 100))
    result = channel_order(784, [reader], "search")
    assert kept_energy(784, [reader], result) > 1.04 * kept_energy(784, [reader], torch.arange(784))
