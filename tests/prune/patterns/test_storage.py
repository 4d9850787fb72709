"""Stored bits against slow encoders that write every bit, and decoders that read the matrix back."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from darb_prune.errors import DarbError
from darb_prune.patterns import storage
from darb_prune.patterns.masks import blocks, level_mask, n_of_m, structured
from darb_prune.patterns.storage import METHODS, Storage, stored_bits


class Bits:
    """A list of bits, written and read in fields; widths are counted in the plainest way."""

    def __init__(self):
        self.bits = []

    def write(self, value, width):
        assert 0 <= value < 2**width
        self.bits += [value >> shift & 1 for shift in range(width)]

    def read(self, width):
        field, self.bits = self.bits[:width], self.bits[width:]
        assert len(field) == width
        return sum(bit << shift for shift, bit in enumerate(field))


def width(values):
    bits = 0
    while 2**bits < values:
        bits += 1
    return bits


weight_bits = st.integers(1, 8)


@st.composite
def matrices(draw):
    """Weights of up to 8 bits, none of them 0, and a mask of any density."""
    shape = draw(st.integers(1, 6)), draw(st.integers(1, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**31)))
    mask = rng.random(shape) < draw(st.sampled_from([0, 0.02, 0.1, 0.3, 0.7, 1]))
    return rng, mask


def cut(draw, columns):
    cuts = sorted({0, columns, *draw(st.lists(st.integers(0, columns), max_size=3))})
    return tuple(end - start for start, end in itertools.pairwise(cuts))


def values_of(rng, mask, bits):
    """A matrix to store: from 1 up where kept, else 0. With one weight bit, every weight is 1."""
    return np.where(mask, rng.integers(1, 2**bits, mask.shape), 0)


def bitmap_code(values, bits):
    stream = Bits()
    for row in values:
        for value in row:
            stream.write(int(value != 0), 1)
            if value:
                stream.write(int(value), bits)
    size = len(stream.bits)
    back = [[stream.read(bits) if stream.read(1) else 0 for _ in row] for row in values]
    return size, back


def coordinate_code(values, bits):
    rows, columns = values.shape
    stream, index = Bits(), width(columns)
    for row in values:
        stream.write(np.count_nonzero(row), width(columns + 1))
        for column in np.flatnonzero(row):
            stream.write(int(column), index)
            stream.write(int(row[column]), bits)
    size, back = len(stream.bits), np.zeros_like(values)
    for row in range(rows):
        for _ in range(stream.read(width(columns + 1))):
            column = stream.read(index)
            back[row, column] = stream.read(bits)
    return size, back


def run_length_code(values, bits, run_bits):
    rows, columns = values.shape
    stream, longest = Bits(), 2**run_bits - 1
    for row in values:
        entries, run = [], 0
        for position, value in enumerate(row):
            if value:
                entries.append((run, int(value)))
                run = 0
            elif run == longest and row[position:].any():
                entries.append((run, 0))  # padding: its zero is this very position
                run = 0
            else:
                run += 1
        stream.write(len(entries), width(columns + 1))
        for entry in entries:
            stream.write(entry[0], run_bits)
            stream.write(entry[1], bits)
    size, back = len(stream.bits), np.zeros_like(values)
    for row in range(rows):
        column = -1
        for _ in range(stream.read(width(columns + 1))):
            column += stream.read(run_bits) + 1
            back[row, column] = stream.read(bits)
    return size, back


def codes_of(values, row, start, end, kept):
    """Index and weight of the codes of one block, filled up; the fill adds 0 to its first column."""
    codes = [(column - start, int(values[row, column])) for column in range(start, end) if values[row, column]]
    assert len(codes) <= kept
    return codes + [(0, 0)] * (kept - len(codes))


def blocks_of(segments, block):
    first = 0
    for length in segments:
        for start in range(0, length, block):
            yield first + start, first + min(start + block, length)
        first += length


def level_code(values, bits, levels, segments):
    names = sorted({tuple(level) for level in levels.tolist()})
    stream, back = Bits(), np.zeros_like(values)
    for row, level in enumerate(levels.tolist()):
        stream.write(names.index(tuple(level)), width(len(names)))
        if level[1]:
            for start, end in blocks_of(segments, 2 ** level[0]):
                for index, value in codes_of(values, row, start, end, level[1]):
                    stream.write(index, level[0])
                    stream.write(value, bits)
    size = len(stream.bits)
    for row in range(len(values)):
        block_bits, kept = names[stream.read(width(len(names)))]
        for start, _ in blocks_of(segments, 2**block_bits) if kept else ():
            for _ in range(kept):
                index = stream.read(block_bits)
                back[row, start + index] += stream.read(bits)
    return size, back


def group_code(values, bits, n, m, segments, subsets):
    """N:M by indices, or by the rank of the set of kept columns among all sets of ``n`` of ``m``."""
    ranks = list(itertools.combinations(range(m), n))
    stream, back = Bits(), np.zeros_like(values)
    groups = [(row, *ends) for row in range(len(values)) for ends in blocks_of(segments, m)]
    for row, start, end in groups:
        codes = codes_of(values, row, start, end, n)
        if subsets:
            used = {index: value for index, value in codes if value}
            spare = [index for index in range(m) if index not in used]
            chosen = tuple(sorted([*used, *spare[: n - len(used)]]))
            stream.write(ranks.index(chosen), width(len(ranks)))
            codes = [(index, used.get(index, 0)) for index in chosen]
        for index, value in codes:
            if not subsets:
                stream.write(index, width(m))
            stream.write(value, bits)
    size = len(stream.bits)
    for row, start, _ in groups:
        chosen = ranks[stream.read(width(len(ranks)))] if subsets else [None] * n
        for place in chosen:
            index = place if subsets else stream.read(width(m))
            value = stream.read(bits)
            if value:
                back[row, start + index] = value
    return size, back


def block_code(values, bits, shape, flags):
    """Whole blocks: one bit a block, or their number in each block row and the block column of each."""
    (rows, columns), (height, wide) = values.shape, shape
    stream, back = Bits(), np.zeros_like(values)
    across = range(0, columns, wide)
    for top in range(0, rows, height):
        kept = [left for left in across if values[top, left]]
        if not flags:
            stream.write(len(kept), width(len(across) + 1))
        for left in across if flags else kept:
            if flags:
                stream.write(int(left in kept), 1)
            else:
                stream.write(left // wide, width(len(across)))
            if left in kept:
                for value in values[top : top + height, left : left + wide].flatten():
                    stream.write(int(value), bits)
    size = len(stream.bits)
    for top in range(0, rows, height):
        count = len(across) if flags else stream.read(width(len(across) + 1))
        for block in range(count):
            left = block * wide
            if flags:
                if not stream.read(1):
                    continue
            else:
                left = stream.read(width(len(across))) * wide
            part = back[top : top + height, left : left + wide]
            part[:] = np.reshape([stream.read(bits) for _ in range(part.size)], part.shape)
    return size, back


def structured_code(values, bits, rows, columns):
    stream, back = Bits(), np.zeros_like(values)
    for axis, removable in enumerate((rows, columns)):
        for line in np.moveaxis(values, axis, 0) if removable else ():
            stream.write(int(line.any()), 1)
    for value in values[values != 0]:
        stream.write(int(value), bits)
    size = len(stream.bits)
    kept = [
        [bool(stream.read(1)) for _ in range(length)] if removable else [bool(values.any())] * length
        for length, removable in zip(values.shape, (rows, columns), strict=True)
    ]
    for row, column in itertools.product(*(np.flatnonzero(flags) for flags in kept)):
        back[row, column] = stream.read(bits)
    return size, back


def agrees(counted, coded, values):
    size, back = coded
    assert np.array_equal(back, values)
    assert counted.bits == size
    assert type(counted.bits) is int


@given(matrices(), weight_bits)
def test_encodings_of_any_mask(case, bits):
    rng, mask = case
    values = values_of(rng, mask, bits)
    agrees(storage.bitmap(mask, bits), bitmap_code(values, bits), values)
    agrees(storage.coordinate(mask, bits), coordinate_code(values, bits), values)
    coded = {r: run_length_code(values, bits, r) for r in range(1, 17)}
    best = min(coded, key=lambda r: coded[r][0])
    counted = storage.run_length(mask, bits)
    agrees(counted, coded[best], values)
    assert counted.encoding == f"run-length {best}"
    assert storage.dense(mask, bits) == Storage(values.size * bits, "dense")
    least = min(values.size * bits, coded[best][0], bitmap_code(values, bits)[0], coordinate_code(values, bits)[0])
    assert storage.irregular(mask, bits).bits == least


def test_run_length_pads_a_gap_of_exactly_a_full_run():
    def mask(gap):
        return np.array([[False] * gap + [True]])

    # One row with its count of entries, and 8 weight bits: a second entry costs more than another run bit.
    for run_bits in range(1, 8):
        count = math.ceil(math.log2(2**run_bits + 1))
        assert storage.run_length(mask(2**run_bits - 1), 8).bits == count + 8 + run_bits
    assert storage.run_length(mask(4), 8) == Storage(3 + 8 + 3, "run-length 3")
    # With 1 weight bit, padding is the cheaper: two entries of 1 + 1 bits against one of 1 + 2.
    assert storage.run_length(np.array([[True] * 9 + [False, False, True]]), 1).encoding == "run-length 1"


@given(matrices(), weight_bits, st.data())
def test_levels(case, bits, data):
    rng, mask = case
    rows, columns = mask.shape
    pairs = st.integers(0, 5).flatmap(
        lambda b: st.integers(1 if b else 0, 1 << b).map(lambda kept: (b, kept)),
    )
    levels = torch.tensor(data.draw(st.lists(pairs, min_size=rows, max_size=rows)), dtype=torch.int16)
    segments = cut(data.draw, columns)
    thinned = rng.random(mask.shape) < 0.8  # blocks need not be full
    mask = level_mask(torch.from_numpy(rng.random(mask.shape)), levels, segments=segments).numpy() & thinned
    values = values_of(rng, mask, bits)
    counted = storage.by_level(mask, bits, levels, segments)
    agrees(counted, level_code(values, bits, levels, segments), values)


@given(matrices(), weight_bits, st.integers(1, 9), st.data())
def test_n_of_m(case, bits, m, data):
    rng, mask = case
    n, segments = data.draw(st.integers(1, m)), cut(data.draw, mask.shape[1])
    thinned = rng.random(mask.shape) < 0.8
    mask = n_of_m(torch.from_numpy(rng.random(mask.shape)), n, m, segments=segments).numpy() & thinned
    values = values_of(rng, mask, bits)
    coded = {subsets: group_code(values, bits, n, m, segments, subsets) for subsets in (False, True)}
    counted = storage.n_of_m(mask, bits, n, m, segments)
    for code in coded.values():
        assert np.array_equal(code[1], values)
    best = coded[True][0] < coded[False][0]
    agrees(counted, coded[best], values)
    assert counted.encoding == f"{n}:{m} {'subsets' if best else 'indices'}"


@given(matrices(), weight_bits, st.tuples(st.integers(1, 5), st.integers(1, 5)), st.floats(0, 1))
def test_blocks(case, bits, shape, part):
    rng, mask = case
    mask = blocks([torch.from_numpy(rng.random(mask.shape))], int(part * mask.size), shape)[0].numpy()
    values = values_of(rng, mask, bits)
    coded = [block_code(values, bits, shape, flags) for flags in (False, True)]
    for code in coded:
        assert np.array_equal(code[1], values)
    agrees(storage.blocks(mask, bits, shape), min(coded, key=lambda code: code[0]), values)


@given(matrices(), weight_bits, st.sampled_from(["structured", "rows", "columns"]), st.floats(0, 1))
def test_structured(case, bits, method, part):
    rng, mask = case
    sides = method != "columns", method != "rows"
    mask = structured([torch.from_numpy(rng.random(mask.shape))], int(part * mask.size), *sides)[0].numpy()
    values = values_of(rng, mask, bits)
    agrees(stored_bits(method, mask, bits), structured_code(values, bits, *sides), values)


def test_every_method_of_a_mask_of_its_kind():
    weight = torch.randn(6, 16)
    levels = torch.tensor([[2, 1]] * 6)
    uniform = level_mask(weight, levels)
    parameters = {"levels": levels, "shape": (2, 4), "group": (1, 4)}
    masks = dict.fromkeys(METHODS, uniform)
    masks["block"] = blocks([weight], 24, (2, 4))[0]
    masks["structured"] = structured([weight], 24)[0]
    masks["rows"] = structured([weight], 24, columns=False)[0]
    masks["columns"] = structured([weight], 24, rows=False)[0]
    counted = {method: stored_bits(method, mask, 8, **parameters) for method, mask in masks.items()}
    assert counted["dense"] == Storage(96 * 8, "dense")
    assert counted["darb"] == counted["mixed"] == counted["bmwm"] == counted["bank"] == Storage(24 * 10, "codes")
    assert counted["nm"] == Storage(24 * 10, "1:4 indices")
    assert counted["irregular"] == storage.irregular(uniform, 8)
    assert counted["block"] == storage.blocks(masks["block"], 8, (2, 4))
    assert counted["rows"].bits == 6 + int(masks["rows"].sum()) * 8
    assert counted["columns"].bits == 16 + int(masks["columns"].sum()) * 8


@given(matrices(), st.integers(1, 9), st.data())
def test_a_group_can_be_said_in_three_ways(case, m, data):
    rng, mask = case
    n, segments = data.draw(st.integers(1, m)), cut(data.draw, mask.shape[1])
    mask = n_of_m(torch.from_numpy(rng.random(mask.shape)), n, m, segments=segments).numpy()
    most = max(np.count_nonzero(row[start:end]) for row in mask for start, end in blocks_of(segments, m))
    expected = storage.n_of_m(mask, 8, most, m, segments)
    assert stored_bits("nm", mask, 8, segments=segments, group=m) == expected
    assert stored_bits("nm", mask, 8, segments=segments, group=(most, m)) == expected
    assert stored_bits("bank", mask, 8, segments=segments, group=m) == expected
    if m in (1, 2, 4, 8):
        levels = torch.tensor([[m.bit_length() - 1, most]] * len(mask))
        assert stored_bits("nm", mask, 8, levels, segments) == expected
        assert stored_bits("bank", mask, 8, levels, segments) == storage.by_level(mask, 8, levels, segments)


def test_order_says_where_columns_are_stored():
    weight, order, levels = torch.randn(4, 16), torch.randperm(16), torch.tensor([[3, 1]] * 4)
    mask = level_mask(weight, levels, order)
    assert stored_bits("darb", mask, 8, levels, order=order) == Storage(8 * 11, "codes")
    with pytest.raises(
        DarbError, match=r"keeps 2 weights in the block of 8 at column \d, its pattern 1; give the mask"
    ):
        stored_bits("darb", torch.tensor([[True] * 2 + [False] * 14] * 4), 8, levels)


ONES = np.ones((2, 8), bool)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: stored_bits("huffman", ONES, 8), "method 'huffman': choose one of dense, irregular"),
        (lambda: stored_bits("darb", ONES, 8), "method darb: its stored bits depend on levels"),
        (lambda: stored_bits("nm", ONES, 8), "method nm: its stored bits depend on group"),
        (lambda: stored_bits("bank", ONES, 8), "method bank: its stored bits depend on levels"),
        (lambda: stored_bits("nm", ONES, 8, np.array([[0, 1], [1, 1]])), "method nm: levels differ from row to row"),
        (lambda: stored_bits("nm", ONES, 8, np.array([[0, 0], [0, 0]])), "method nm: levels differ .* or are empty"),
        (lambda: stored_bits("nm", ONES, 8, group=0), "group 0: give the columns of a group"),
        (lambda: stored_bits("block", ONES, 8), "method block: its stored bits depend on shape"),
        (lambda: stored_bits("dense", ONES, 8, order=[0, 0, 1]), "order is no permutation of 8 columns"),
        (lambda: storage.dense(ONES, 0), "weight bits 0 must be at least 1"),
        (lambda: storage.dense(ONES[0], 8), r"mask of shape \(8,\) and type bool"),
        (lambda: storage.dense(ONES[:0], 8), r"mask of shape \(0, 8\)"),
        (lambda: storage.dense(1.0 * ONES, 8), "type float64: give a matrix of bool"),
        (lambda: storage.n_of_m(ONES, 8, 5, 4), "N:M 5:4"),
        (lambda: storage.n_of_m(ONES, 8, 1, 4), "mask: row 0 keeps 4 weights in the block of 4 at column 0"),
        (lambda: storage.n_of_m(ONES, 8, 2, 4, (3, 3)), r"segments \(3, 3\): give widths that sum to 8"),
        (lambda: storage.by_level(ONES, 8, np.array([[0, 1]])), r"levels of shape \(1, 2\) for a mask of 2 rows"),
        (lambda: storage.by_level(ONES, 8, np.array([[0, 1], [0, 0]])), "row 1 keeps 1 weights in the block of 1"),
        (lambda: storage.blocks(ONES, 8, (0, 1)), "block shape 0x1"),
        (lambda: storage.blocks(ONES[:, ::-1] & (np.arange(8) != 5), 8, (2, 3)), "2x3 block at row 0, column 3"),
        (lambda: storage.structured(np.eye(3, dtype=bool), 8), "row 0 lacks column 1; remove whole rows and columns"),
        (lambda: storage.structured(np.eye(3, dtype=bool), 8, columns=False), "row 0 lacks column 1"),
    ],
)
def test_mistakes(call, message):
    with pytest.raises(DarbError, match=message):
        call()
