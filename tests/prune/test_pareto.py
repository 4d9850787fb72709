"""The Pareto front."""

from hypothesis import given
from hypothesis import strategies as st

from darb_prune.pareto import pareto


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8))))
def test_pareto(points):
    front = pareto(points)
    places = [points[n] for n in front]
    assert places == sorted(places)
    for cost, gain in points:
        # Each point is on the front, or something on the front beats it.
        assert any(c <= cost and g >= gain for c, g in places)
    for n, (cost, gain) in zip(front, places, strict=True):
        others = [place for place in places if place != points[n]]
        assert not any(c <= cost and g >= gain for c, g in others)
    assert len(set(places)) == len(places)


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 9)), max_size=12))
def test_a_frontier_has_what_nothing_as_cheap_beats(points):
    costs, values = [cost for cost, _ in points], [value for _, value in points]
    kept = pareto(points)
    assert [costs[index] for index in kept] == sorted({costs[index] for index in kept})
    assert [values[index] for index in kept] == sorted({values[index] for index in kept})
    for cost, value in points:
        assert any(costs[index] <= cost and values[index] >= value for index in kept)
