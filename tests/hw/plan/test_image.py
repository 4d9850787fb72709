import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from darb_hw.plan.image import Field, pack, signed_bits, unsigned_bits
from darb_prune.encoded import DarbError


@given(st.data())
def test_fields_come_back(data):
    """Unpacked with plain integer arithmetic, words hold what was packed."""
    copies = data.draw(st.integers(1, 5))
    depth = data.draw(st.integers(1, 6))
    fields = {}
    for number in range(data.draw(st.integers(1, 4))):
        field = Field(f"f{number}", data.draw(st.integers(1, 40)), data.draw(st.booleans()))
        low = -(1 << field.width - 1) if field.signed else 0
        values = st.integers(low, low + (1 << field.width) - 1)
        fields[field] = np.array(data.draw(st.lists(values, min_size=depth * copies, max_size=depth * copies)))
    image = pack("test", {f: v.reshape(depth, copies) for f, v in fields.items()}, copies)
    words = image.integers()
    assert [int(line, 16) for line in image.hex().splitlines()] == words
    assert image.bits == depth * copies * sum(field.width for field in fields)
    for row, word in enumerate(words):
        for copy in range(copies):
            for field, values in fields.items():
                value = word & ((1 << field.width) - 1)
                word >>= field.width
                if field.signed and value >> (field.width - 1):
                    value -= 1 << field.width
                assert value == values.reshape(depth, copies)[row, copy]
        assert word == 0


@pytest.mark.parametrize(("value", "signed"), [(16, False), (-1, False), (8, True), (-9, True)])
def test_a_value_too_wide_is_refused(value, signed):
    with pytest.raises(DarbError, match=r"ROM r: x .* does not fit 4 bits"):
        pack("r", {Field("x", 4, signed): np.array([0, value])})


@given(st.integers(-(1 << 45), 1 << 45), st.integers(-(1 << 45), 1 << 45))
def test_signed_bits_are_enough_and_not_too_many(a, b):
    low, high = min(a, b), max(a, b)
    bits = signed_bits(low, high)
    assert -(1 << bits - 1) <= low
    assert high < 1 << bits - 1
    assert bits == 1 or low < -(1 << bits - 2) or high >= 1 << bits - 2


def test_unsigned_bits():
    assert [unsigned_bits(n) for n in (0, 1, 2, 255, 256)] == [0, 1, 2, 8, 9]


def test_fields_of_width_0_take_no_place():
    image = pack("r", {Field("none", 0): np.zeros(3), Field("some", 2): np.array([1, 2, 3])})
    assert image.width == 2
    assert image.integers() == [1, 2, 3]
    with pytest.raises(DarbError, match="none"):
        pack("r", {Field("none", 0): np.array([1])})
