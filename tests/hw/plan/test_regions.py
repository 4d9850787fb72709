"""Addresses for what lives for a while: nothing that lives together shares any, but a sum and its operand."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from darb_hw.plan.layout import Layout
from darb_hw.plan.regions import Region, depth_of, packed, placed


def region(name: str, size: int, first: int, last: int, **fields) -> Region:
    return Region(name, 0, Layout((1, 1, size)), first, last, **fields)


def starts(regions) -> dict[str, int]:
    return {region.tensor: region.start for region in regions}


@st.composite
def lives(draw) -> list[Region]:
    """Regions in the order of birth; some may be written over one that dies as they begin."""
    made: list[Region] = []
    for number in range(draw(st.integers(1, 9))):
        first = draw(st.integers(made[-1].first if made else -1, 9))
        fields = {"align": draw(st.sampled_from((1, 1, 4))), "rank": draw(st.integers(1, 2))}
        ended = [one for one in made if one.last == first and one.tensor not in {other.over for other in made}]
        size = draw(st.integers(1, 30))
        if ended and draw(st.booleans()):
            operand = draw(st.sampled_from(ended))
            size, fields["over"] = operand.size, operand.tensor
        made.append(region(f"t{number}", size, first, first + draw(st.integers(1, 4)), **fields))
    return sorted(made, key=lambda one: one.rank)


@given(lives())
def test_what_lives_together_is_apart_in_every_order(regions):
    plain = placed([replace(one, over=None) for one in regions])
    drafted = [replace(one, over=other.over) for one, other in zip(plain, regions, strict=True)]
    found = packed(drafted)
    assert sorted(starts(found)) == sorted(starts(regions))
    assert depth_of(found) == depth_of(drafted) or depth_of(found) <= depth_of(drafted) * 15 / 16
    for layer in range(-1, 15):
        holders: dict[int, list[Region]] = {}
        for one in found:
            assert one.start % one.align == 0
            if one.first <= layer <= one.last:
                for address in range(one.start, one.end):
                    holders.setdefault(address, []).append(one)
        for living in holders.values():
            if len(living) > 1:
                operand, output = sorted(living, key=lambda one: one.first)
                assert (output.over, output.first, output.start) == (operand.tensor, operand.last, operand.start)


def test_the_largest_first_leaves_no_gaps():
    """In the order of birth, b and c take the place of a and leave too little for d."""
    regions = placed([region("a", 20, 0, 1), region("b", 10, 1, 3), region("c", 5, 2, 4), region("d", 20, 3, 4)])
    assert (starts(regions), depth_of(regions)) == ({"a": 0, "b": 20, "c": 0, "d": 30}, 50)
    found = packed(regions)
    assert (starts(found)["d"], depth_of(found)) == (0, 35)


@pytest.mark.parametrize(("sizes", "moves"), [((20, 20), True), ((33, 1), False)])
def test_addresses_change_only_if_that_saves_a_share(sizes, moves):
    """``c`` may take the place of ``b``: that saves much, or hardly anything."""
    large, small = sizes
    regions = placed([region("a", large, 0, 3), region("b", small, 0, 2), region("c", small, 2, 3)])
    regions = [*regions[:2], replace(regions[2], over="b")]
    assert depth_of(regions) == large + 2 * small
    assert starts(packed(regions))["c"] == (large if moves else large + small)


def test_ranks_come_first():
    """Whatever the order, what has the lower rank is not behind what has the higher one."""
    regions = placed([region("a", 3, 0, 5, rank=1), region("b", 30, 0, 1, rank=2), region("c", 40, 1, 2, rank=2)])
    found = starts(packed([*regions, region("d", 40, 2, 3, rank=2)]))
    assert found["a"] == 0


def test_the_next_input_keeps_what_lives_from_then_on_away():
    input_, late = region("x", 8, -1, 0, again=2), region("late", 8, 1, 3)
    early = region("early", 8, 1, 1)
    assert starts(placed([input_, late])) == {"x": 0, "late": 8}
    assert starts(placed([input_, early])) == {"x": 0, "early": 0}
