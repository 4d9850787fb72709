"""The designs that estimates are fitted on."""

import pytest

from benchmarks.estimates.measure import measure
from benchmarks.estimates.networks import NETWORKS, Variant
from benchmarks.estimates.points import cost, points
from darb_hw.config import EngineConfig
from darb_hw.estimate.model import shipped
from darb_prune.encoded import EncodedNetwork


def test_more_points_begin_with_the_same_ones():
    assert points(40)[:15] == points(15)
    assert len({point.label for point in points(40)}) == 40


def test_points_cover_networks_devices_and_placement():
    made = points(8 * len(NETWORKS))
    assert {point.variant.network for point in made} == set(NETWORKS)
    for device in shipped().clocks:
        own = [point for point in made if point.config.device == device]
        assert len({point.variant.network for point in own if point.placed}) >= 8
        assert len({point.config.lanes for point in own}) >= 6


def test_cheap_ones_first():
    few, many = (min(points(60), key=key) for key in (cost, lambda point: -cost(point)))
    assert few.config.lanes < many.config.lanes


@pytest.mark.parametrize("name", NETWORKS)
def test_networks(name, tmp_path):
    """Each can be pruned, quantised and read; its name is that of the group."""
    path = Variant(name, 8, 8, 8, 8).file(tmp_path)
    network = EncodedNetwork.load(path)
    assert network.name == name
    assert 5 < network.ratio < 14
    before = path.read_bytes()
    path.unlink()
    assert Variant(name, 8, 8, 8, 8).file(tmp_path).read_bytes() == before


def test_what_does_not_fit_is_noted_once(tmp_path, monkeypatch):
    monkeypatch.setattr("benchmarks.estimates.measure.BUILD", tmp_path)
    point = next(point for point in points(100) if point.variant.network == "lenet-300-100")
    point = point.__class__(7, point.variant, EngineConfig(lanes=1, device="ice40-up5k"), False)
    assert measure(point, ()).startswith("does not fit ice40-up5k")
    (note,) = (tmp_path / "refused").iterdir()
    note.write_text("as noted")
    assert measure(point, ()) == "as noted"
    assert not (tmp_path / "points").exists()
