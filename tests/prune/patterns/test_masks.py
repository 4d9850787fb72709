"""Sparsity patterns against a slow definition, row by row and block by block."""

import itertools
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from darb_prune.encoded import Level
from darb_prune.errors import DarbError
from darb_prune.patterns.masks import blocks, irregular, level_mask, level_rows, n_of_m, structured

level_pairs = st.integers(0, 5).flatmap(
    lambda bits: st.integers(0 if bits == 0 else 1, 1 << bits).map(lambda kept: (bits, kept))
)


@st.composite
def matrices(draw):
    """Weights (with many equal magnitudes), a level for each row, an order, segments."""
    rows, columns = draw(st.integers(1, 6)), draw(st.integers(1, 40))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    weight = torch.randint(-4, 5, (rows, columns), generator=generator).float()
    levels = torch.tensor(draw(st.lists(level_pairs, min_size=rows, max_size=rows)), dtype=torch.int16)
    cuts = sorted({0, columns, *draw(st.lists(st.integers(0, columns), max_size=3))})
    segments = tuple(end - start for start, end in itertools.pairwise(cuts))
    return weight, levels, torch.randperm(columns, generator=generator), segments


def slow_row(row, block, kept, order, segments):
    """Mask of one row, a list: the definition of blocks, segment by segment."""
    mask, start = [False] * len(row), 0
    for width in segments:
        stored = order[start : start + width]
        start += width
        for first in range(0, width, block):
            # sorted() is stable: the first of equals stays in front.
            for column in sorted(stored[first : first + block], key=lambda j: -abs(row[j]))[:kept]:
                mask[column] = True
    return mask


def slow_mask(weight, levels, order, segments):
    pairs = zip(weight.tolist(), levels.tolist(), strict=True)
    return torch.tensor([slow_row(row, 1 << bits, kept, order.tolist(), segments) for row, (bits, kept) in pairs])


@given(matrices())
def test_level_mask_is_its_definition(case):
    weight, levels, order, segments = case
    mask = level_mask(weight, levels, order, segments)
    assert mask.dtype == torch.bool
    assert torch.equal(mask, slow_mask(weight, levels, order, segments))


@given(matrices())
def test_level_mask_keeps_what_the_level_says(case):
    weight, levels, order, segments = case
    counts = level_mask(weight, levels, order, segments).sum(dim=1).tolist()
    assert counts == [sum(Level(b, m).weights(width) for width in segments) for b, m in levels.tolist()]
    # No segments is one segment, no order is the order of the columns.
    columns = weight.shape[1]
    expected = level_mask(weight, levels, torch.arange(columns), (columns,))
    assert torch.equal(level_mask(weight, levels), expected)


@given(matrices())
def test_masks_do_not_depend_on_scale_or_sign(case):
    weight, levels, order, segments = case
    mask = level_mask(weight, levels, order, segments)
    assert torch.equal(mask, level_mask(-4 * weight, levels, order, segments))


def bmwm(weight, block, order=None, segments=None):
    """One weight kept in each block of ``block`` columns, the same for all rows."""
    return level_mask(weight, level_rows(Level(block.bit_length() - 1, 1), len(weight)), order, segments)


def test_one_level_for_all_rows_keeps_the_largest_of_each_block():
    weight = torch.tensor([[1.0, -3, 2, 0, 5, 4]])
    assert bmwm(weight, 4).tolist() == [[False, True, False, False, True, False]]
    assert bmwm(weight, 4, segments=(3, 3)).tolist() == [[False, True, False, False, True, False]]
    assert bmwm(weight, 4, segments=(5, 1)).tolist() == [[False, True, False, False, True, True]]
    assert bmwm(weight, 1).all()


@given(matrices(), st.integers(1, 12), st.data())
def test_n_of_m_is_its_definition(case, m, data):
    weight, _, order, segments = case
    n = data.draw(st.integers(1, m))
    mask = n_of_m(weight, n, m, order, segments)
    expected = [slow_row(row, m, n, order.tolist(), segments) for row in weight.tolist()]
    assert torch.equal(mask, torch.tensor(expected))


@given(matrices())
def test_banks_and_powers_of_two_of_n_of_m_are_levels(case):
    weight, _, order, segments = case
    expected = slow_mask(weight, torch.tensor([[3, 2]] * len(weight)), order, segments)
    assert torch.equal(level_mask(weight, level_rows(Level(3, 2), len(weight)), order, segments), expected)
    assert torch.equal(n_of_m(weight, 2, 8, order, segments), expected)


def test_a_group_wider_than_the_matrix_takes_no_memory():
    assert n_of_m(torch.tensor([[1.0, 3, 2]]), 2, 1 << 50).tolist() == [[False, True, True]]


@given(st.integers(1, 30), st.integers(1, 30), st.floats(1, 50), st.sampled_from(["global", "layer"]))
def test_irregular_keeps_the_largest_and_never_too_many(rows, columns, ratio, scope):
    weights = [torch.randn(rows, columns), 3 * torch.randn(columns, 4)]
    masks = irregular(weights, ratio, scope)
    groups = [(weights, masks)] if scope == "global" else [([w], [m]) for w, m in zip(weights, masks, strict=True)]
    for some_weights, some_masks in groups:
        flat = torch.cat([weight.abs().flatten() for weight in some_weights])
        mask = torch.cat([mask.flatten() for mask in some_masks])
        assert int(mask.sum()) == int(len(flat) / ratio)
        if mask.any() and not mask.all():
            assert flat[mask].min() >= flat[~mask].max()


@st.composite
def networks(draw, side=12):
    """A few integer matrices (many equal weights), and a budget."""
    shapes = draw(st.lists(st.tuples(st.integers(1, side), st.integers(1, side)), min_size=1, max_size=3))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    weights = [torch.randint(-3, 4, shape, generator=generator).float() for shape in shapes]
    return weights, draw(st.integers(0, sum(weight.numel() for weight in weights)))


def total(masks):
    return sum(int(mask.sum()) for mask in masks)


def shares(weights, kept):
    return [kept * weight.numel() // sum(matrix.numel() for matrix in weights) for weight in weights]


@given(networks())
def test_irregular_keeps_the_first_of_equals(case):
    weights, kept = case
    count = sum(weight.numel() for weight in weights)
    ratio = count / max(kept, 0.5)
    flat = [abs(value) for weight in weights for value in weight.flatten().tolist()]
    best = sorted(range(count), key=lambda i: -flat[i])[: int(count / ratio)]
    mask = torch.cat([mask.flatten() for mask in irregular(weights, ratio)])
    assert mask.nonzero()[:, 0].tolist() == sorted(best)


def test_irregular_by_saliency():
    weights = [torch.tensor([[9.0, 1.0]]), torch.tensor([[1.0, 2.0]])]
    worth = [torch.tensor([[0.0, 3.0]]), torch.tensor([[2.0, 1.0]])]
    assert [mask.tolist() for mask in irregular(weights, 2, saliency=worth)] == [[[False, True]], [[True, False]]]
    layers = irregular(weights, 2, "layer", worth)
    assert [mask.tolist() for mask in layers] == [[[False, True]], [[True, False]]]
    assert irregular(weights[0], 2, saliency=worth[0]).tolist() == [[False, True]]


def slow_blocks(weights, kept, shape):
    masks, means = [torch.zeros_like(weight, dtype=torch.bool) for weight in weights], []
    for matrix, weight in enumerate(weights):
        for row in range(0, len(weight), shape[0]):
            for column in range(0, weight.shape[1], shape[1]):
                block = slice(row, row + shape[0]), slice(column, column + shape[1])
                values = [Fraction(value) ** 2 for value in weight[block].flatten().tolist()]
                means.append((sum(values) / len(values), matrix, block, len(values)))
    for _, matrix, block, size in sorted(means, key=lambda mean: -mean[0]):
        if size <= kept:
            masks[matrix][block] = True
            kept -= size
    return masks


@given(networks(), st.tuples(st.integers(1, 5), st.integers(1, 5)))
def test_blocks_is_its_definition_and_fills_the_budget(case, shape):
    weights, kept = case
    masks = blocks(weights, kept, shape)
    assert all(torch.equal(*pair) for pair in zip(masks, slow_blocks(weights, kept, shape), strict=True))
    full = sum(weight.numel() for weight in weights)
    assert total(masks) <= kept
    assert total(masks) == full or total(masks) > kept - shape[0] * shape[1]
    by_layer = [slow_blocks([w], share, shape)[0] for w, share in zip(weights, shares(weights, kept), strict=True)]
    assert all(torch.equal(*pair) for pair in zip(blocks(weights, kept, shape, "layer"), by_layer, strict=True))


def test_blocks_by_saliency():
    weights = [torch.ones(2, 4), 9 * torch.ones(2, 2)]
    worth = [torch.tensor([[1.0, 1, 2, 0], [1, 1, 2, 1]]), torch.ones(2, 2)]
    masks = blocks(weights, 4, (2, 2), saliency=worth)
    assert masks[0].tolist() == [[False, False, True, True]] * 2
    assert not masks[1].any()


def slow_structured(weights, kept, axes):
    left = [[list(range(length)) for length in weight.shape] for weight in weights]
    squares = [[[int(value) ** 2 for value in row] for row in weight.tolist()] for weight in weights]

    def mean(matrix, rows, columns):
        values = [squares[matrix][i][j] for i in rows for j in columns]
        return Fraction(sum(values), max(len(values), 1))

    def size():
        return sum(len(rows) * len(columns) for rows, columns in left)

    while size() > kept:
        lines_left = []
        for matrix, (rows, columns) in enumerate(left):
            for axis in axes:
                if len(left[matrix][axis]) > 1:
                    lines = [([i], columns) for i in rows] if axis == 0 else [(rows, [j]) for j in columns]
                    lines_left += [(mean(matrix, *line), axis, line[axis][0], matrix) for line in lines]
        if not lines_left:
            break
        least = min(line[0] for line in lines_left)
        matrix = min(line[3] for line in lines_left if line[0] == least)
        _, axis, index, _ = min(line for line in lines_left if line[0] == least and line[3] == matrix)
        left[matrix][axis].remove(index)
    for matrix in sorted(range(len(left)), key=lambda matrix: mean(matrix, *left[matrix])):
        if size() > kept:
            left[matrix] = [[], []]
    masks = [torch.zeros_like(weight, dtype=torch.bool) for weight in weights]
    for mask, (rows, columns) in zip(masks, left, strict=True):
        for row in rows:
            mask[row, columns] = True
    return masks


@given(networks(side=7), st.sampled_from([(True, True), (True, False), (False, True)]))
def test_structured_is_its_definition(case, allowed):
    weights, kept = case
    axes = [axis for axis in (0, 1) if allowed[axis]]
    masks = structured(weights, kept, *allowed)
    assert total(masks) <= kept
    assert all(torch.equal(*pair) for pair in zip(masks, slow_structured(weights, kept, axes), strict=True))
    parts = zip(weights, shares(weights, kept), strict=True)
    by_layer = [slow_structured([weight], share, axes)[0] for weight, share in parts]
    pairs = zip(structured(weights, kept, *allowed, scope="layer"), by_layer, strict=True)
    assert all(torch.equal(*pair) for pair in pairs)


@given(st.integers(2, 40), st.integers(2, 40), st.floats(0.2, 1))
def test_structured_on_real_numbers(rows, columns, part):
    weights = [torch.randn(rows, columns), torch.randn(columns, rows)]
    kept = max(2, int(part * 2 * rows * columns))
    masks = structured(weights, kept)
    assert kept - max(rows, columns) < total(masks) <= kept
    for mask in masks:
        assert mask.any()
        assert torch.equal(mask, torch.outer(mask.any(dim=1), mask.any(dim=0)))


def test_structured_by_saliency_and_when_the_budget_takes_whole_matrices():
    weights = [torch.ones(2, 2), 9 * torch.ones(2, 2)]
    worth = [torch.tensor([[4.0, 3], [2, 2]]), torch.ones(2, 2)]
    masks = structured(weights, 3, columns=False, saliency=worth)
    assert [mask.tolist() for mask in masks] == [[[True, True], [False, False]], [[False, False]] * 2]
    assert total(structured(weights, 0)) == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda w: n_of_m(w, 9, 8), "N:M 9:8: a group of 8 keeps 1 to 8"),
        (lambda w: n_of_m(w, 0, 8), "N:M 0:8: a group of 8 keeps 1 to 8"),
        (lambda w: bmwm(w, 2, segments=(4, 3)), r"segments \(4, 3\): give widths that sum to 8"),
        (lambda w: bmwm(w, 2, segments=(9, -1)), r"segments \(9, -1\): give widths that sum to 8"),
        (lambda w: level_mask(w, torch.zeros(3, 2)), r"levels of shape \(3, 2\) for a matrix of 2 rows"),
        (lambda w: irregular(w, 0.5), "ratio 0.5 must be at least 1"),
        (lambda w: irregular(w, float("nan")), "ratio nan must be at least 1"),
        (lambda w: irregular([w], 2, "row"), "scope 'row'"),
        (lambda w: irregular([w], 2, saliency=[w[:1]]), r"saliency 0 has shape \(1, 8\), its weights \(2, 8\)"),
        (lambda w: irregular([w], 2, saliency=[]), "saliency: 0 tensors for 1 matrices"),
        (lambda w: irregular(w, 2, saliency=-w.abs()), "saliency 0: values must be numbers from 0 up"),
        (lambda w: blocks([w], 3, saliency=[w * torch.nan]), "saliency 0: values must be numbers from 0 up"),
        (lambda w: blocks([w], 3, (0, 4)), "block shape 0x4"),
        (lambda w: blocks([w], -1), "kept -1"),
        (lambda w: blocks([w], 3, scope="row"), "scope 'row'"),
        (lambda w: structured([w], -1), "kept -1"),
        (lambda w: structured([w], 1, scope="row"), "scope 'row'"),
        (lambda w: structured([w], 1, rows=False, columns=False), "allow rows, columns or both"),
    ],
)
def test_mistakes(call, message):
    with pytest.raises(DarbError, match=message):
        call(torch.randn(2, 8))


def test_an_order_that_is_no_permutation():
    with pytest.raises(DarbError, match="order is no permutation of 4 columns"):
        bmwm(torch.ones(2, 4), 2, torch.tensor([0, 1, 1, 3]))
