"""Limits and bisection."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from darb_prune.errors import DarbError
from darb_prune.pruning.search import largest_ratio


@given(st.floats(1.5, 300), st.floats(1.01, 2))
def test_bisection_finds_the_limit(limit, precision):
    asked = []

    def probe(ratio):
        asked.append(ratio)
        return ratio <= limit

    found = largest_ratio(probe, precision=precision)
    if limit < 2:
        assert found is None
        assert asked == [2]
    elif limit >= 128:
        assert found == 128
    else:
        assert found <= limit <= found * precision * (1 + 1e-9)
        assert len(asked) == len(set(asked))


def test_mistakes():
    for options in ({"low": 0.5}, {"low": 9, "high": 8}, {"precision": 1.0}):
        with pytest.raises(DarbError, match="give 1 <= low < high"):
            largest_ratio(lambda ratio: True, **options)
