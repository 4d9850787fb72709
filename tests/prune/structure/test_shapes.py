from math import prod

from hypothesis import given
from hypothesis import strategies as st

from darb_prune.structure.shapes import factorisations, modes_of, ranks_of


def test_factorisations():
    assert list(factorisations(12, 2)) == [(1, 12), (2, 6), (3, 4)]
    assert list(factorisations(8, 3)) == [(1, 1, 8), (1, 2, 4), (2, 2, 2)]
    assert list(factorisations(7, 2)) == [(1, 7)]


@given(st.integers(1, 500), st.integers(1, 300), st.integers(2, 4), st.sampled_from([1, 3, 4]))
def test_modes_of_any_matrix(inputs, outputs, modes, gates):
    i, j = modes_of(inputs, gates * outputs, modes, gates)
    assert (prod(i), prod(j), len(i), len(j)) == (inputs, gates * outputs, modes, modes)
    assert j[0] % gates == 0
    sizes = [own * other for own, other in zip(i, j, strict=True)]
    assert sizes[1] == min(sizes[1:])


def test_modes_are_even():
    assert modes_of(400, 120, 3) == ((5, 8, 10), (6, 5, 4))
    assert modes_of(401, 7, 3) == ((1, 1, 401), (7, 1, 1))


def test_ranks_fit_their_modes():
    assert ranks_of((3, 7), (1, 2), 4, 2).ranks == (3, 4)
