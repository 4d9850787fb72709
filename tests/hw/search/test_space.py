"""What a search chooses from."""

from itertools import product

import pytest

from darb_hw.search.space import Candidate, Space
from darb_prune.encoded import DarbError


def test_size_counts_a_dense_network_once():
    space = Space(("ice40-up5k", "ecp5-25k"), ("darb", "bank"), (1.0, 4.0, 8.0), (4, 8), (8,), (2, 4, 8))
    sizes = [range(len(values)) for values in space.axes().values()]
    every = {space.candidate(dict(zip(space.axes(), steps, strict=True))) for steps in product(*sizes)}
    assert space.count == len(every) == (2 * 2 + 1) * 2 * 2 * 3


def test_a_candidate_is_a_point_of_a_sweep():
    point = Candidate("bank", 4.0, 4, 6, "ecp5-25k", 8).point((1, 2))
    assert point.network == "bank-4x-w4-a6"
    assert dict(point.choice) == {"method": "bank", "ratio": 4, "weight_bits": 4, "activation_bits": 6}
    assert (dict(point.engine), point.seeds) == ({"device": "ecp5-25k", "lanes": 8}, (1, 2))
    assert Candidate("darb", 1.0, 8, 8, "ecp5-25k", 8).network == "dense-w8"
    small = Candidate("darb", 1.0, 8, 8, "ecp5-25k", 8, 0.25)
    assert small.network == "size0.25-dense-w8"
    assert small.point().choice["size"] == 0.25


def test_the_nearest_candidate_that_is_not_known():
    space = Space(("ice40-up5k", "ecp5-25k"), ratios=(4.0, 8.0, 16.0), weight_bits=(4, 8), lanes=(2, 4))
    here = Candidate("darb", 8.0, 4, 8, "ice40-up5k", 4)
    one = space.nearest(here, {here})
    assert (one["method"], one["device"], one["activation_bits"]) == ("darb", "ice40-up5k", 0)
    known = {here}
    for left in range(space.count - 1, 0, -1):
        steps = space.nearest(here, known)
        steps |= {"method": 0, "device": space.devices.index(steps["device"])}
        known.add(space.candidate(steps))
        assert len(known) == space.count - left + 1
    with pytest.raises(ValueError, match="all candidates are known"):
        space.nearest(here, known)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"devices": ()}, "--device: give at least one value"),
        ({"devices": ("x",)}, "unknown device 'x'"),
        ({"lanes": (4, 200)}, "lanes = 200: choose a whole number"),
        ({"methods": ("irregular",)}, "--method irregular: choose from darb"),
        ({"ratios": (0.5,)}, "--ratio 0.5: give numbers from 1 up"),
        ({"sizes": (0.0,)}, "--size 0: give numbers above 0, up to 16"),
        ({"ratios": (float("nan"),)}, "--ratio nan: give numbers from 1 up"),
        ({"weight_bits": (9,)}, "--weight-bits 9: choose from 2 to 8"),
        ({"activation_bits": (1,)}, "--activation-bits 1: choose from 2 to 16"),
    ],
)
def test_mistakes(options, message):
    with pytest.raises(DarbError, match=message):
        Space(**{"devices": ("ecp5-25k",), **options})
