"""The networks that are compared."""

import pytest

from benchmarks.peers import dense, ladder
from darb_prune.encoded import DarbError


def test_ladder_is_the_same_every_time(tmp_path):
    path = ladder.named("linear-24", tmp_path / "new")
    made = ladder.make(24)
    assert dense.digest(dense.layers_of(made)) == dense.digest(dense.layers_of(type(made).load(path)))
    assert made.weights / made.kept == pytest.approx(ladder.RATIO, rel=0.05)
    assert ladder.named(str(path), tmp_path) == path
    for wrong in ("linear-1", "linear-x", "nothing.darb"):
        with pytest.raises(DarbError, match=f"{wrong}: neither"):
            ladder.named(wrong, tmp_path)
