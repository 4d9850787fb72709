# amaranth: UnusedElaboratable=no
import pytest

from darb_hw.config import DEVICES
from darb_hw.plan.styles import limbs_of
from darb_hw.store.store import Store
from darb_hw.synthesis.probe import ProbeLane, limit_probe


@pytest.mark.synthesis
@pytest.mark.parametrize(
    ("device", "weight_bits"),
    [("ecp5-25k", 8), ("ice40-up5k", 8), ("gw1nr-9", 8), pytest.param("lifcl-40", 8, marks=pytest.mark.long)],
)
def test_the_limit_is_above_any_engine(device, weight_bits, tmp_path):
    """Faster than the clock that the engine aims for, and kept for the next call."""
    store = Store(tmp_path)
    fmax = limit_probe(device, seeds=(1,), weight_bits=weight_bits, store=store)
    assert set(fmax) == {1}
    assert DEVICES[device].target_mhz < fmax[1] < 500
    keys = list(store.keys())
    assert limit_probe(device, seeds=(1,), weight_bits=weight_bits, store=store) == fmax
    assert list(store.keys()) == keys
    assert [record.kind for record in store.records()].count("route") == 1


def test_codes_address_every_activation():
    lane = ProbeLane(limbs_of(4, False, 16), 4)
    index = lane.image.field("index")
    assert index.min() < 8
    assert index.max() > 1015
    assert lane.image.field("weight").min() == -8
