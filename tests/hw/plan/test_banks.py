"""Maps in banks: every element has a place of its own, and neighbouring positions read neighbouring banks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from darb_hw.errors import PlanError
from darb_hw.plan.banks import BankedLayout, banked_layouts
from tests.hw.small import convolution, layer, network, tensor

sides = st.integers(1, 7)
BANKS = st.sampled_from([2, 4, 8, 16])


@st.composite
def layouts(draw) -> BankedLayout:
    shape = draw(sides), draw(sides), draw(st.integers(1, 4))
    phases = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    pitch = -(-shape[1] // phases[1]) + draw(st.integers(0, 2))
    return BankedLayout(shape, draw(BANKS), phases, pitch, draw(st.integers(0, 3)))


def place_of(layout: BankedLayout, y: int, x: int) -> tuple[int, int]:
    bank, address = layout.pixel(np.array(y), np.array(x))
    return int(bank), int(address)


@given(layouts(), st.integers(0, 1000))
def test_every_element_has_a_bank_and_an_address_of_its_own(layout, seed):
    height, width, channels = layout.shape
    order = np.random.default_rng(seed).permutation(channels)
    bank, address = layout.elements(tensor("t", *layout.shape, order=order))
    places = list(zip(bank.tolist(), address.tolist(), strict=True))
    assert len(set(places)) == height * width * channels
    assert set(bank.tolist()) <= set(range(layout.banks))
    assert min(address.tolist()) >= 0
    assert max(address.tolist()) < layout.size
    for number, (where, at) in enumerate(places):
        channel, pixel = divmod(number, height * width)
        first = place_of(layout, *divmod(pixel, width))
        assert (where, at) == (first[0], first[1] + order.tolist().index(channel))


def test_a_transposed_layer_has_no_banks():
    net = network(
        [tensor("x", 1, 4, 3), tensor("m", 1, 3, 4), tensor("y", 1, 1, 2)],
        [
            layer("across", "m", [("x", 0, 3)], 3, positions=(1, 4), transposed=True),
            layer("y", "y", [("m", 0, 12)], 2),
        ],
    )
    assert banked_layouts(net, 1, 1) == {}
    with pytest.raises(PlanError, match=r"layer 'across' is transposed: .*; choose positions 1"):
        banked_layouts(net, 4, 1)


@given(layouts(), st.data())
def test_neighbouring_positions_read_neighbouring_banks(layout, data):
    """Positions are a stride of the layout apart, line behind line. What is at a fixed distance from them stands in one
    bank after another, at the same address up to the last bank and a tile further behind it."""
    (height, width, channels), (down, across) = layout.shape, layout.phases
    far_y, far_x = data.draw(st.integers(-3, 6)), data.draw(st.integers(-3, 6))
    phase, distance = layout.turn(far_y, far_x)
    assert 0 <= phase < down * across
    for position in range(4 * layout.pitch):
        row, column = divmod(position, layout.pitch)
        y, x = row * down + far_y, column * across + far_x
        if 0 <= y < height and 0 <= x < width:
            tile, bank = divmod(position + distance, layout.banks)
            assert place_of(layout, y, x) == (bank, (phase * layout.tiles + tile) * channels)


def test_a_map_of_one_stride_is_dealt_line_by_line():
    layout = BankedLayout((2, 3, 5), 4, pitch=3)
    assert (layout.tiles, layout.size, layout.padding) == (2, 10, (0, 0))
    places = [place_of(layout, y, x) for y in range(2) for x in range(3)]
    assert places == [(0, 0), (1, 0), (2, 0), (3, 0), (0, 5), (1, 5)]


def test_phases_are_maps_of_their_own():
    """Every other column and row: four phases, of which each begins behind the one before."""
    layout = BankedLayout((4, 4, 1), 2, (2, 2), pitch=2)
    assert (layout.tiles, layout.size) == (2, 8)
    assert [place_of(layout, 0, x) for x in range(4)] == [(0, 0), (0, 2), (1, 0), (1, 2)]
    assert [place_of(layout, 1, x) for x in range(4)] == [(0, 4), (0, 6), (1, 4), (1, 6)]


@pytest.mark.parametrize(("ways", "stride"), [(2, 2), (4, 2), (8, 2), (4, 4), (8, 4), (2, 1), (8, 1)])
def test_results_that_are_written_at_once_go_to_different_ports(ways, stride):
    """Neighbouring columns, from a multiple of the ways on, whatever stride the next layer has."""
    x, a, y = tensor("x", 1, 16, 1), tensor("a", 1, 16, 2), tensor("y", 1, 16 // stride, 1)
    layers = [convolution("a", x, a, (1, 1), (0, 0)), convolution("y", a, y, (1, 1), (0, 0), (1, stride))]
    layout = banked_layouts(network([x, a, y], layers), 8, ways)["a"]
    assert layout.phases == (1, stride)
    for first in range(0, 16, ways):
        assert len({place_of(layout, 0, first + way)[0] % ways for way in range(ways)}) == ways


def strided(**fields) -> dict[str, BankedLayout]:
    """x -> a, with a stride and pooling of it -> y."""
    x, a, y = tensor("x", 7, 9, 2), tensor("a", 2, 3, 4), tensor("y", 3)
    first = convolution("a", x, a, (2, 2), (0, 0), **fields)
    return banked_layouts(network([x, a, y], [first, layer("y", "y", [("a", 0, 24)], 3)]), 4, 2)


def test_phases_are_the_stride_times_the_pool():
    assert strided(stride=(3, 2))["x"].phases == (3, 2)
    assert strided(stride=(1, 1), pool=(2, 3))["x"].phases == (2, 3)
    # A layer of one position reads whatever is there.
    assert strided(stride=(3, 2))["a"].phases == (1, 1)


def test_a_line_has_room_for_all_positions_of_its_readers():
    """Zeros around a map: there are more positions than columns."""
    x, y = tensor("x", 3, 3, 1), tensor("y", 5, 5, 1)
    assert banked_layouts(network([x, y], [convolution("y", x, y, (1, 1), (1, 1))]), 4, 1)["x"].pitch == 5
    assert strided(stride=(3, 2))["x"].pitch == 5
    assert strided(stride=(3, 2))["a"].pitch == 3


@pytest.mark.parametrize("axis", [0, 1])
def test_two_strides_are_refused(axis):
    x, a, y = tensor("x", 4, 4, 1), tensor("a", 4, 4, 2), tensor("y", 5)
    small = tensor("b", *((2, 4, 2) if axis == 0 else (4, 2, 2)))
    stride = (2, 1) if axis == 0 else (1, 2)
    layers = [
        convolution("a", x, a, (1, 1), (0, 0)),
        convolution("b", x, small, (1, 1), (0, 0), stride),
        layer("y", "y", [("a", 0, 32), ("b", 0, 16)], y.size),
    ]
    made = network([x, a, small, y], layers)
    with pytest.raises(PlanError, match=r"tensor 'x' is read with the strides \[1, 2\].*choose positions 1"):
        banked_layouts(made, 4, 1)
    # One of them may have no second position.
    last = layer("b", "b", [("x", 0, 2)], 2)
    layers = [layers[0], last, layer("y", "y", [("a", 0, 32), ("b", 0, 2)], y.size)]
    assert banked_layouts(network([x, a, tensor("b", 2), y], layers), 4, 1)["x"].phases == (1, 1)
