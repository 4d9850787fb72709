"""Floors of the codes of a row: for which matrices a budget pays, and what an allocation makes of them."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from darb_prune.encoded import DENSE, EMPTY, Level
from darb_prune.errors import DarbError
from darb_prune.patterns.allocation import DARB_LEVELS, MIXED_LEVELS, by_budget, clip, level_cost
from darb_prune.patterns.floors import paid_floors

menus = st.sampled_from([DARB_LEVELS, MIXED_LEVELS, (EMPTY, Level(6, 4), Level(3, 1)), (EMPTY, DENSE)])


@st.composite
def networks(draw):
    """Matrices, segments of their rows, and a floor for each."""
    weights, segments, floors = [], [], []
    for _ in range(draw(st.integers(1, 4))):
        widths = (draw(st.integers(1, 24)),) * draw(st.integers(1, 3))
        random = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
        weights.append(torch.randn(draw(st.integers(1, 12)), sum(widths), generator=random))
        segments.append(widths)
        floors.append(draw(st.sampled_from([0, 5, 8, 16])))
    return weights, segments, floors


def clipped(levels, widths):
    return [clip(level, widths) for level in levels]


def costs_of(table, widths, cost="codes"):
    return [level_cost(Level(b, m), widths, cost) for b, m in table.tolist()]


@given(networks(), menus, st.floats(1, 30), st.sampled_from(["codes", "bits"]), st.data())
def test_a_matrix_that_is_used_twice_is_paid_as_one_of_twice_the_rows(network, menu, ratio, cost, data):
    weights, segments, floors = network
    uses = data.draw(st.lists(st.integers(1, 3), min_size=len(weights), max_size=len(weights)))
    rows = [len(weight) for weight in weights]
    more = [count * use for count, use in zip(rows, uses, strict=True)]
    budget = sum(count * sum(widths) for count, widths in zip(more, segments, strict=True)) / ratio
    paid = paid_floors(rows, segments, floors, budget, menu, cost, uses=uses)
    assert paid == paid_floors(more, segments, floors, budget, menu, cost)
    assert [paid_floors([4], [(64,)], [16], room, DARB_LEVELS, uses=[2]) for room in (127, 128)] == [[0], [16]]


@given(networks(), menus, st.floats(1, 30), st.sampled_from(["codes", "bits"]), st.sampled_from([None, 1, 2, 4]))
def test_paid_floors_hold_and_leave_the_others_their_part(network, menu, ratio, cost, streams):
    weights, segments, floors = network
    total = sum(weight.numel() for weight in weights)
    budget = total / ratio * (8 if cost == "bits" else 1)
    rows = [len(weight) for weight in weights]
    paid = paid_floors(rows, segments, floors, budget, menu, cost)
    assert all(least <= floor for least, floor in zip(paid, floors, strict=True))
    parts = [budget * weight.numel() / total for weight in weights]
    left = others = 0.0
    for part, widths, least, count in zip(parts, segments, paid, rows, strict=True):
        priced = [(level_cost(level, widths), level_cost(level, widths, cost)) for level in clipped(menu, widths)]
        cheapest = count * min(price for codes, price in priced if codes >= max(least, 1))
        left += part - cheapest if least else 0
        others += max(0, cheapest - part) if not least else 0
    assert left >= -1e-6
    tables = by_budget(weights, budget, menu, cost, segments=segments, streams=streams, floors=paid, drained=True)
    spent = [costs_of(table, widths, cost) for table, widths in zip(tables, segments, strict=True)]
    assert sum(map(sum, spent)) <= budget
    if not others:  # each of the others can keep some weights of every row
        for table, widths, least in zip(tables, segments, paid, strict=True):
            assert min(costs_of(table, widths)) >= least


@given(networks(), menus, st.floats(1, 30), st.integers(1, 4))
def test_cycles_of_short_rows_are_paid_for(network, menu, ratio, streams):
    weights, segments, floors = network
    groups = [-(-len(weight) // streams) for weight in weights]
    budget = sum(count * weight.shape[1] for count, weight in zip(groups, weights, strict=True)) / ratio
    options = {"segments": segments, "streams": streams, "floors": floors, "drained": True}
    least = sum(count * floor for count, floor in zip(groups, floors, strict=True))
    if least > budget:
        with pytest.raises(
            DarbError,
            match=r"^ratio: writing all results takes \d+ cycles, .*, and the budget is \d+; lower the ratio$",
        ):
            by_budget(weights, budget, menu, "cycles", **options)
        return
    spent = 0
    tables = by_budget(weights, budget, menu, "cycles", **options)
    for table, widths, floor in zip(tables, segments, floors, strict=True):
        pairs, counts = torch.unique(table, dim=0, return_counts=True)
        for codes, count in zip(costs_of(pairs, widths), counts.tolist(), strict=True):
            spent += -(-count // streams) * max(codes, floor)
    assert spent <= budget


@given(networks(), menus, st.floats(1, 30), st.sampled_from(["codes", "cycles"]))
def test_without_floors_nothing_changes(network, menu, ratio, cost):
    weights, segments, _ = network
    budget = sum(weight.numel() for weight in weights) / ratio
    before = by_budget(weights, budget, menu, cost, segments=segments, streams=2)
    after = by_budget(weights, budget, menu, cost, segments=segments, streams=2, drained=True)
    for table, other in zip(before, after, strict=True):
        assert torch.equal(table, other)


def test_neither_short_nor_empty_rows_above_a_floor():
    weight = torch.randn(8, 64, generator=torch.Generator().manual_seed(0)) * torch.tensor([[1e-3]] * 4 + [[1.0]] * 4)
    (free,) = by_budget([weight], 128, saliencies=[weight.square()], streams=2)
    (table,) = by_budget([weight], 128, saliencies=[weight.square()], streams=2, floors=[8], drained=True)
    assert min(costs_of(free, (64,))) < 8
    assert min(costs_of(table, (64,))) == 8


def test_floors_that_the_budget_does_not_pay_for_are_given_up():
    weight = torch.randn(8, 64, generator=torch.Generator().manual_seed(0))
    (free,) = by_budget([weight], 40, streams=2)
    (table,) = by_budget([weight], 40, streams=2, floors=[8], drained=True)
    assert torch.equal(free, table)


def test_first_come_matrices_that_need_only_their_part_then_the_cheapest():
    # The floors need 32 x 8, 16 x 9 and 32 x 8 codes. At ratio 4 the even parts are 512, 108 and 64.
    rows, segments, weights = [32, 16, 32], [(64,), (9, 9, 9), (8,)], 2048 + 432 + 256
    for ratio, paid in ((4, [8, 8, 8]), (5, [8, 8, 0]), (8, [8, 0, 0]), (16, [0, 0, 0])):
        assert paid_floors(rows, segments, [8, 8, 8], weights / ratio, DARB_LEVELS) == paid
    assert paid_floors([4], [(3,)], [8], 12, DARB_LEVELS) == [3]  # no level has more codes
    assert paid_floors([4], [(3,)], [8], 12, (EMPTY,)) == [0]
