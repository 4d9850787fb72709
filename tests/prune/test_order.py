"""Tensor orders."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from darb_prune.container import DarbError
from darb_prune.order import bit_reverse, column_order


@given(st.integers(1, 300))
def test_bit_reverse_is_its_definition(count):
    width = len(bin(count - 1)) - 2 if count > 1 else 0
    expected = [int(f"{j:0{width}b}"[::-1], 2) if width else 0 for j in range(count)]
    assert bit_reverse(count).tolist() == expected


@given(st.integers(1, 100), st.sampled_from(["none", "spread"]))
def test_orders_are_permutations(columns, order):
    found = column_order([torch.randn(3, columns), torch.randn(5, columns)], order)
    assert sorted(found.tolist()) == list(range(columns))


@given(st.integers(0, 6), st.integers(0, 2**31))
def test_spread_puts_the_strongest_columns_into_different_blocks(bits, seed):
    columns = 1 << bits
    weight = torch.randn(4, columns, generator=torch.Generator().manual_seed(seed))
    order = column_order([weight], "spread")
    strength = weight.square().sum(dim=0)
    ranked = torch.argsort(strength, descending=True).tolist()
    position = {column: place for place, column in enumerate(order.tolist())}
    for block_bits in range(bits + 1):
        blocks = columns >> block_bits
        assert {position[column] >> block_bits for column in ranked[:blocks]} == set(range(blocks))


def test_spread_without_holes():
    # Norms fall with the column, so ranks are columns: 0, 4, 2, 1, 5, 3 sorts ranks 0..5 by reversed bits.
    weight = torch.tensor([[6.0, 5, 4, 3, 2, 1]])
    assert column_order([weight], "spread").tolist() == [0, 4, 2, 1, 5, 3]


def test_spread_counts_every_reader():
    readers = [torch.tensor([[3.0, 0, 0, 0]]), torch.tensor([[0.0, 0, 9, 0]])]
    assert column_order(readers, "spread")[0] == 2


def test_none_is_the_identity():
    assert column_order([torch.randn(2, 5)], "none").tolist() == [0, 1, 2, 3, 4]


def test_unknown_order():
    with pytest.raises(DarbError, match="order 'zigzag': choose none or spread"):
        column_order([torch.randn(2, 5)], "zigzag")
