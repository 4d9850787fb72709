"""The measurements in their file."""

from dataclasses import replace

import pytest

from benchmarks.peers import measure
from benchmarks.peers.results import PeerResults
from darb_prune.encoded import DarbError
from tests.benchmarks.peers.small_results import small_results


def test_results(subject, tmp_path):
    results = small_results()
    path = tmp_path / "new" / "peers.json"
    results.put(subject, measure.Contender("alkaid", "alkaid", {}), {"luts": 3})
    results.save(path)
    loaded = PeerResults.load(path)
    assert loaded == results
    assert loaded.row("tiny", "alkaid") == {"tool": "alkaid", "luts": 3}
    assert loaded.networks["tiny"]["shape"] == [12, 16]
    assert loaded.networks["tiny"]["weights"] == 192
    assert loaded.row("tiny", "nngen") is None
    assert not PeerResults.load(tmp_path / "absent.json").networks
    path.write_text("[]")
    with pytest.raises(DarbError, match=r"peers\.json: damaged"):
        PeerResults.load(path)


def test_what_is_too_large_ends_the_ladder(subject):
    results, contender = small_results(), measure.Contender("alkaid", "alkaid", {})
    assert results.obstacle(replace(subject, kept=1_224), contender) is None
    assert (
        results.obstacle(replace(subject, kept=1_225), contender)
        == "not tried: linear-99, no larger, does not fit: too many luts"
    )
    other = measure.Contender("darb", "darb, 4 lanes", {"lanes": 4})
    assert results.obstacle(replace(subject, kept=9_999), other) is None
