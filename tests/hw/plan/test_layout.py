"""Addresses of feature maps, against a memory that is painted pixel by pixel."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from darb_hw.plan.layout import Layout, layouts
from darb_prune.encoded import Segment
from tests.hw.small import convolution, layer, network, tensor, window

sides = st.integers(1, 5)
shapes = st.tuples(sides, sides, st.integers(1, 4))
paddings = st.tuples(st.integers(0, 3), st.integers(0, 3))


def painted(shape, padding) -> list:
    """What stands at each address: ``(y, x, position)`` or ``None`` for a zero."""
    (height, width, channels), (above, left) = shape, padding
    line = [None] * (width + left) * channels
    memory = [None] * left * channels + line * above
    for y in range(height):
        memory += [(y, x, place) for x in range(width) for place in range(channels)] + [None] * left * channels
    return memory + line * above


@given(shapes, paddings, st.integers(0, 1000))
def test_elements_and_zeros(shape, padding, seed):
    layout, memory = Layout(shape, padding), painted(shape, padding)
    order = np.random.default_rng(seed).permutation(shape[2])
    height, width, channels = shape
    elements = layout.elements(tensor("t", *shape, order=order))
    assert layout.size == len(memory)
    expected = {
        (c * height + y) * width + x: memory.index((y, x, order.tolist().index(c)))
        for c in range(channels) for y in range(height) for x in range(width)
    }  # fmt: skip
    assert dict(enumerate(elements.tolist())) == expected
    assert layout.border.tolist() == [what is None for what in memory]


@given(shapes, paddings, st.data())
def test_a_window_anywhere_reads_the_image_or_zeros(shape, padding, data):
    layout, memory = Layout(shape, padding), painted(shape, padding)
    height, width, channels = shape
    y = data.draw(st.integers(-padding[0], height + padding[0] - 1))
    x = data.draw(st.integers(-padding[1], width + padding[1] - 1))
    inside = 0 <= y < height and 0 <= x < width
    for place in range(channels):
        expected = (y, x, place) if inside else None
        assert memory[layout.pixel(y, x) + place] == expected


def test_zeros_to_the_right_are_those_to_the_left_of_the_next_line():
    layout = Layout((3, 4, 2), (1, 2))
    assert layout.line == 12
    assert [layout.pixel(1, 4 + k) for k in range(2)] == [layout.pixel(2, -2 + k) for k in range(2)]
    assert layout.size == 5 * 12 + 2 * 2
    assert layout.pixel(-1, -2) == 0


def test_without_padding_a_map_is_as_it_is_stored():
    """What a segment that is the whole map relies on."""
    made = tensor("t", 3, 2, 4, order=np.array([2, 0, 3, 1]))
    layout = layouts(flat := small())["t"]
    assert layout == Layout((3, 2, 4))
    assert layout.elements(made).tolist() == made.position.tolist()
    assert layout.base(flat.layers[1], flat.layers[1].segments[0]) == 0
    assert not layout.border.any()


def small():
    x, t, y = tensor("x", 3, 2, 1), tensor("t", 3, 2, 4), tensor("y", 2)
    return network([x, t, y], [convolution("a", x, t), layer("b", "y", [("t", 0, 24)], 2)])


def test_the_reader_with_the_widest_padding_decides():
    x, one, two = tensor("x", 4, 5, 2), tensor("one", 4, 9, 3), tensor("two", 6, 5, 1)
    end = tensor("y", 3)
    made = network(
        [x, one, two, end],
        [
            convolution("a", x, one, (1, 1), (0, 2)),
            convolution("b", x, two, (1, 1), (1, 0)),
            layer("c", "y", [("one", 0, one.size), ("two", 0, two.size)], 3),
        ],
    )
    found = layouts(made)
    assert {name: layout.padding for name, layout in found.items()} == {
        "x": (1, 2), "one": (0, 0), "two": (0, 0), "y": (0, 0)
    }  # fmt: skip
    # Every layer begins at its own padding, whatever the layout has.
    first, second = (found["x"].base(one, one.segments[0]) for one in made.layers[:2])
    assert first == found["x"].pixel(0, -2)
    assert second == found["x"].pixel(-1, 0)


def test_sides_that_differ_are_stored_as_the_wider_one():
    x, y = tensor("x", 4, 6, 2), tensor("y", 2, 3, 1)
    made = network(
        [x, y], [layer("a", "y", window(x, (3, 3)), 1, positions=(2, 3), stride=(2, 2), padding=(0, 0, 1, 1))]
    )
    layout = layouts(made)["x"]
    assert layout.padding == (1, 1)
    assert layout.base(made.layers[0], made.layers[0].segments[0]) == layout.pixel(0, 0)


@pytest.mark.parametrize(("line", "start"), [(0, 0), (2, 0), (1, 3)])
def test_base_is_where_the_window_stands_first(line, start):
    x, y = tensor("x", 4, 5, 2), tensor("y", 4, 5, 1)
    made = layer("a", "y", [Segment("x", start, 2, line)], 1, positions=(4, 5), padding=(1, 1, 0, 0))
    memory = painted(x.shape, (2, 3))
    base = Layout(x.shape, (2, 3)).base(made, made.segments[0])
    y, x = line - 1, start // 2 - 1
    expected = (y, x, start % 2) if y >= 0 and x >= 0 else None
    assert memory[base] == expected
    assert Layout((4, 5, 2), (2, 3)).pixel(y, x) + start % 2 == base
