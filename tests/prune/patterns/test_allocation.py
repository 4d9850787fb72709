"""Levels of rows: costs stay within the budget, and the choice is the best or the nearest one."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from darb_prune.encoded import DENSE, EMPTY, Level
from darb_prune.errors import DarbError
from darb_prune.patterns.allocation import DARB_LEVELS, MIXED_LEVELS, by_budget, by_density, clip, level_cost, retained
from darb_prune.patterns.masks import level_mask
from darb_prune.patterns.saliency import saliencies


def cost_of(weights, tables, cost="codes", weight_bits=8):
    return sum(
        level_cost(Level(b, m), weight.shape[1], cost, weight_bits)
        for weight, table in zip(weights, tables, strict=True)
        for b, m in table.tolist()
    )


def kept_saliency(weight, table):
    return float((weight.double() ** 2)[level_mask(weight, table)].sum())


networks = st.tuples(
    st.lists(st.tuples(st.integers(1, 12), st.integers(1, 70)), min_size=1, max_size=3), st.integers(0, 2**31)
).map(
    lambda case: [
        torch.randn(*shape, generator=torch.Generator().manual_seed(case[1] + index))
        for index, shape in enumerate(case[0])
    ]
)
menus = st.sampled_from([DARB_LEVELS, MIXED_LEVELS, (EMPTY, Level(6, 4), Level(3, 1)), (EMPTY, DENSE)])


@given(networks, menus, st.floats(1, 40), st.sampled_from(["codes", "bits"]), st.sampled_from([by_budget, by_density]))
def test_cost_never_exceeds_the_budget(weights, menu, ratio, cost, allocate):
    budget = sum(weight.numel() for weight in weights) / ratio * (1 if cost == "codes" else 8)
    tables = allocate(weights, budget, menu, cost)
    assert cost_of(weights, tables, cost) <= budget
    for weight, table in zip(weights, tables, strict=True):
        assert table.dtype == torch.int16
        assert table.shape == (len(weight), 2)
        legal = {clip(level, weight.shape[1]) for level in menu}
        assert {Level(b, m) for b, m in table.tolist()} <= legal


@given(networks, menus, st.floats(1.5, 40))
def test_budget_leaves_no_affordable_upgrade(weights, menu, ratio):
    budget = sum(weight.numel() for weight in weights) / ratio
    tables = by_budget(weights, budget, menu)
    left = budget - cost_of(weights, tables)
    for weight, table in zip(weights, tables, strict=True):
        columns = weight.shape[1]
        legal = [clip(level, columns) for level in menu]
        gain = retained(weight, legal)
        for row, (b, m) in enumerate(table.tolist()):
            now = legal.index(Level(b, m))
            for level, other in zip(legal, gain[row], strict=True):
                more = level.codes(columns) - Level(b, m).codes(columns)
                assert not (0 < more <= left and other > gain[row, now] * (1 + 1e-6) + 1e-9)


@given(st.integers(0, 2**31), st.integers(0, 24))
def test_budget_is_close_to_the_best_of_all_choices(seed, budget):
    weight = torch.randn(3, 8, generator=torch.Generator().manual_seed(seed))
    menu = (EMPTY, Level(3, 1), Level(2, 1), Level(1, 1), DENSE)
    gain = retained(weight, menu)
    best = max(
        sum(gain[row, pick] for row, pick in enumerate(picks))
        for picks in itertools.product(range(5), repeat=3)
        if sum(menu[pick].codes(8) for pick in picks) <= budget
    )
    kept = kept_saliency(weight, by_budget([weight], budget, menu)[0])
    # A Lagrangian choice plus greedy upgrades can miss the best by less than one upgrade of one row.
    upgrade = max(gain[row, i + 1] - gain[row, i] for row in range(3) for i in range(4))
    assert best - upgrade - 1e-6 <= kept <= best + 1e-6


@given(st.integers(0, 2**31), st.integers(0, 48))
def test_what_is_used_more_often_costs_more(seed, budget):
    """Close to the best of all choices, of which each row is paid as often as its matrix is used."""
    weights = list(torch.randn(4, 8, generator=torch.Generator().manual_seed(seed)).split([1, 3]))
    menu, paid = (EMPTY, Level(3, 1), Level(2, 1), Level(1, 1), DENSE), (3, 1, 1, 1)
    gain = retained(torch.cat(weights), menu)
    picks = [
        each
        for each in itertools.product(range(5), repeat=4)
        if sum(use * menu[pick].codes(8) for use, pick in zip(paid, each, strict=True)) <= budget
    ]
    best = max(sum(gain[row, pick] for row, pick in enumerate(each)) for each in picks)
    squares = [weight.double().square() for weight in weights]
    tables = by_budget(weights, budget, menu, saliencies=squares, uses=[3, 1])
    assert (
        sum(use * cost_of([weight], [table]) for use, weight, table in zip((3, 1), weights, tables, strict=True))
        <= budget
    )
    kept = sum(kept_saliency(*each) for each in zip(weights, tables, strict=True))
    emptied = any(not table.any() for table in tables)  # no matrix loses all its weights if the budget allows that
    assert emptied or kept >= best - max(gain.max(axis=1)) - 1e-6


@given(networks, menus, st.floats(1, 40), st.sampled_from(["codes", "bits", "cycles"]), st.data())
def test_the_budget_holds_for_what_is_used_more_often(weights, menu, ratio, cost, data):
    uses = data.draw(st.lists(st.integers(1, 7), min_size=len(weights), max_size=len(weights)))

    def spent(tables):
        of = (lambda w, t: cycles(w, t, 4)) if cost == "cycles" else (lambda w, t: cost_of(w, t, cost))
        return sum(use * of([weight], [table]) for use, weight, table in zip(uses, weights, tables, strict=True))

    budget = spent([torch.tensor([[0, 1]] * len(weight)) for weight in weights]) / ratio
    assert spent(by_budget(weights, budget, menu, cost, streams=4 if cost == "cycles" else None, uses=uses)) <= budget


def test_budget_meets_the_ratio_closely():
    weights = [torch.randn(300, 784), torch.randn(100, 300), torch.randn(10, 100)]
    total = sum(weight.numel() for weight in weights)
    for ratio in (2, 8, 13, 25):
        for menu in (DARB_LEVELS, MIXED_LEVELS):
            cost = cost_of(weights, by_budget(weights, total / ratio, menu))
            assert total / ratio * 0.999 < cost <= total / ratio
        cost = cost_of(weights, by_density(weights, total / ratio))
        assert total / ratio * 0.97 < cost <= total / ratio


def test_equal_rows_share_the_budget():
    # All rows change level at the same multiplier; the leftover must still be spent.
    weight = torch.ones(100, 64)
    assert cost_of([weight], by_budget([weight], 640)) == 640


def test_dense_rows_get_small_blocks():
    weight = torch.full((3, 64), 1e-3)
    weight[0, ::2] = 1.0
    weight[1, ::16] = 1.0
    table = by_density([weight], 32 + 4 + 1)[0]
    assert table.tolist() == [[1, 1], [4, 1], [0, 0]]


@pytest.mark.parametrize(("kept", "bits"), [(64, 0), (46, 0), (45, 1), (23, 1), (22, 2), (3, 4), (1, 6)])
def test_density_rounds_in_log_scale(kept, bits):
    # 64 / sqrt(2) = 45.25 is the middle between blocks of 1 and 2.
    weight = torch.zeros(1, 64)
    weight[0, :kept] = 1.0
    assert by_density([weight], 64)[0].tolist() == [[bits, 1]]


def test_saliency_units():
    weights = [torch.randn(64, 64), 100 * torch.randn(4, 64)]
    share = {}
    for saliency in ("mean", "frobenius", "magnitude"):
        tables = by_budget(weights, 400, saliencies=saliencies(weights, saliency))
        share[saliency] = cost_of(weights[1:], tables[1:])
    assert share["magnitude"] == 256  # the large layer stays dense
    assert share["mean"] < share["frobenius"] <= share["magnitude"]
    scaled = by_budget([weights[0], weights[1] / 7], 400)
    for table, other in zip(scaled, by_budget(weights, 400), strict=True):
        assert torch.equal(table, other)


@given(st.integers(1, 9), st.lists(st.integers(1, 40), min_size=1, max_size=3), st.integers(0, 2**31))
def test_retained_is_what_the_mask_keeps(rows, segments, seed):
    random = torch.Generator().manual_seed(seed)
    # Few different magnitudes: which of equal ones is kept shows in their saliency.
    weight = torch.randint(-3, 4, (rows, sum(segments)), generator=random) / 2
    saliency = torch.rand(weight.shape, generator=random)
    menu = [*MIXED_LEVELS, Level(4, 16), Level(2, 3)]
    squares, other = retained(weight, menu, segments), retained(weight, menu, segments, saliency)
    for index, level in enumerate(menu):
        mask = level_mask(weight, torch.tensor([[level.bits, level.kept]] * rows), segments=segments)
        np.testing.assert_allclose(squares[:, index], (weight.double() ** 2 * mask).sum(dim=1), rtol=1e-9)
        np.testing.assert_allclose(other[:, index], (saliency.double() * mask).sum(dim=1), rtol=1e-9)


def test_retained_in_chunks():
    weight = torch.randn(700, 3000)  # more than one chunk
    gain = retained(weight, DARB_LEVELS)
    np.testing.assert_allclose(gain[[0, 348, 349, 350, 699]], retained(weight[[0, 348, 349, 350, 699]], DARB_LEVELS))


@given(networks, st.floats(2, 20), st.sampled_from([by_budget, by_density]))
def test_blocks_of_segments_are_paid_for(weights, ratio, allocate):
    budget = sum(weight.numel() for weight in weights) / ratio
    segments = [(1,) * (weight.shape[1] > 1) + (weight.shape[1] - (weight.shape[1] > 1),) for weight in weights]
    tables = allocate(weights, budget, MIXED_LEVELS, segments=segments)
    spent = sum(
        Level(b, m).codes(width)
        for widths, table in zip(segments, tables, strict=True)
        for b, m in table.tolist()
        for width in widths
    )
    assert spent <= budget


def cycles(weights, tables, streams):
    total = 0
    for weight, table in zip(weights, tables, strict=True):
        for (b, m), rows in zip(
            *(part.tolist() for part in torch.unique(table, dim=0, return_counts=True)), strict=True
        ):
            total += -(-rows // streams) * Level(b, m).codes(weight.shape[1])
    return total


@given(networks, menus, st.floats(1, 40), st.sampled_from(["codes", "bits", "cycles"]), st.integers(1, 9))
def test_streams_get_whole_groups(weights, menu, ratio, cost, streams):
    dense = [torch.tensor([[0, 1]] * len(weight)) for weight in weights]
    spent = {"cycles": lambda tables: cycles(weights, tables, streams)}.get(
        cost, lambda tables: cost_of(weights, tables, cost)
    )
    budget = spent(dense) / ratio
    tables = by_budget(weights, budget, menu, cost, streams=streams)
    assert spent(tables) <= budget
    for weight, table in zip(weights, tables, strict=True):
        assert table.shape == (len(weight), 2)
        rest = torch.unique(table, dim=0, return_counts=True)[1] % streams
        assert int((rest > 0).sum()) == (len(weight) % streams > 0)


def test_groups_come_near_the_best_of_all_groupings():
    menu = (EMPTY, Level(3, 1), Level(2, 1), Level(1, 1), DENSE)
    shares = []
    for seed in range(40):
        random = torch.Generator().manual_seed(seed)
        weight = torch.randn(5, 8, generator=random) * torch.rand(5, 1, generator=random)
        gain, best = retained(weight, menu), 0.0
        for picks in itertools.product(range(5), repeat=5):
            counts = [picks.count(pick) for pick in range(5)]
            steps = sum(-(-count // 2) * menu[pick].codes(8) for pick, count in enumerate(counts))
            if steps <= 8:
                best = max(best, sum(gain[row, pick] for row, pick in enumerate(picks)))
        table = by_budget([weight], 8, menu, "cycles", saliencies=[weight.square()], streams=2)[0]
        shares.append(kept_saliency(weight, table) / best)
    assert max(shares) <= 1 + 1e-6
    assert np.mean(shares) > 0.95
    assert min(shares) > 0.75


def test_groups_cost_little():
    weights = [torch.randn(300, 784) * torch.rand(300, 1), torch.randn(100, 300), torch.randn(10, 100)]
    worth = saliencies(weights, "mean")
    budget = sum(weight.numel() for weight in weights) / 13

    def kept(tables):
        return sum(
            float((value * level_mask(weight, table)).sum())
            for value, weight, table in zip(worth, weights, tables, strict=True)
        )

    free = kept(by_budget(weights, budget))
    assert kept(by_budget(weights, budget, streams=8)) > 0.99 * free
    steps = by_budget(weights, budget / 8, cost="cycles", streams=8)
    assert budget / 8 * 0.99 < cycles(weights, steps, 8) <= budget / 8
    assert kept(steps) > 0.97 * free


@given(st.integers(0, 9), st.integers(1, 200))
def test_clip_keeps_the_same_weights(bits, columns):
    for kept in {1, 1 << bits}:
        small = clip(Level(bits, kept), columns)
        assert small.bits <= bits
        assert small.block < 2 * columns
        assert small.weights(columns) == Level(bits, kept).weights(columns)


def test_clip_goes_by_the_widest_segment():
    assert clip(Level(7, 1), (3, 9)) == Level(4, 1)
    assert clip(Level(6, 64), (9, 2)) == Level(4, 16)
    assert level_cost(Level(2, 1), (3, 9)) == 1 + 3


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda w: by_budget([w], 3, (Level(2, 1),)), "sparsest choice costs 8, the budget is 3; add the empty level"),
        (lambda w: by_density([w], 3, (Level(2, 1),)), "sparsest choice costs 8, the budget is 3; add the empty level"),
        (lambda w: by_budget([w], 9, ()), "levels: give at least one level"),
        (lambda w: by_budget([w], 9, cost="watts"), "budget 'watts': choose one of codes, bits, cycles"),
        (lambda w: by_budget([w], 9, cost="cycles"), "budget cycles: give the rows that the engine computes at once"),
        (lambda w: by_budget([w], 9, streams=0), "streams 0: an engine has at least 1"),
        (lambda w: by_budget([w], 1, (Level(2, 1),), "cycles", streams=3), "costs 4, the budget is 1; add the empty"),
        (lambda w: by_budget([w], 9, segments=[(4, 3)]), r"segments \(4, 3\) do not add up to 8 columns"),
        (lambda w: by_budget([w], 9, segments=[]), "segments of 0 matrices for 1 matrices"),
        (lambda w: by_budget([w], 9, saliencies=[]), "saliencies of 0 matrices for 1 matrices"),
        (lambda w: by_budget([w], 9, saliencies=[w[:, :3]]), r"saliency of shape \(4, 3\) for weights of shape"),
        (lambda w: retained(w, DARB_LEVELS, (9,)), "do not add up to 8 columns"),
        (lambda w: by_density([w], 9, cost="cycles"), "allocation by density knows no lanes"),
        (lambda w: by_density([w], 9, scope="row"), "scope 'row'"),
    ],
)
def test_mistakes(call, message):
    with pytest.raises(DarbError, match=message):
        call(torch.randn(4, 8))


def test_ten_million_weights():
    weights = [torch.randn(2500, 4000)]
    tables = by_budget(weights, 10_000_000 / 16)
    assert 0.999 < cost_of(weights, tables) / (10_000_000 / 16) <= 1


def test_rows_below_the_floor_are_not_offered():
    weight = torch.randn(8, 25, generator=torch.Generator().manual_seed(0))
    (free,) = by_budget([weight], 48, segments=[(5,) * 5], streams=8)
    (table,) = by_budget([weight], 80, segments=[(5,) * 5], streams=8, floors=[8])
    codes = {tuple(pair): Level(*pair).codes(5) * 5 for pair in table.tolist()}
    assert set(codes.values()) == {10}
    assert {Level(*pair).codes(5) * 5 for pair in free.tolist()} == {5}


def test_a_floor_above_every_level_is_ignored():
    weight = torch.randn(8, 16, generator=torch.Generator().manual_seed(0))
    (free,) = by_budget([weight], 32, levels=(Level(2, 1), EMPTY))
    (table,) = by_budget([weight], 32, levels=(Level(2, 1), EMPTY), floors=[100])
    assert torch.equal(free, table)


@pytest.mark.parametrize("streams", [None, 8])
def test_no_matrix_loses_all_its_weights(streams):
    weights = [torch.randn(16, 25, generator=torch.Generator().manual_seed(0)) * 1e-3, torch.randn(16, 64)]
    worth = [weight.square() for weight in weights]
    small, _ = by_budget(weights, 300, saliencies=worth, streams=streams)
    assert small.any()
    assert not by_budget(weights[:1], 0, saliencies=worth[:1], streams=streams)[0].any()  # the budget leaves no choice
