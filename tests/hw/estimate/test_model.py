"""Models: files that are none, logic cells."""

import json

import pytest

from darb_hw.config import DEVICES
from darb_hw.estimate.fit import fit
from darb_hw.estimate.model import Between, Model, shipped
from darb_prune.encoded import DarbError
from tests.hw.estimate.made import made_samples


@pytest.fixture(scope="module")
def model():
    return fit(made_samples(noise=0.1)).model


def altered(values, path, value):
    """``values`` with something else where ``path`` leads; nothing there if it is ``None``."""
    values = json.loads(json.dumps(values))
    inner = values
    for key in path[:-1]:
        inner = inner[key]
    if value is None:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return values


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("format",), 9, "format 9, this package reads 1; make it again with darb refit"),
        (("format",), None, "no fitted model, or a damaged one; make it again with darb refit"),
        (("areas", "luts", "ecp5"), None, "damaged"),
        (("areas", "luts"), None, "damaged"),
        (("areas", "luts", "ecp5", "weights"), [], "damaged"),
        (("areas", "luts", "ecp5", "weights", "engine"), "much", "damaged"),
        (("areas", "luts", "ecp5", "low"), 1.5, "damaged"),
        (("areas", "luts", "ecp5", "high"), 10**400, "damaged"),
        (("areas", "luts", "ecp5", "samples"), "x", "damaged"),
        (("cells", "ecp5", "weights", "luts"), None, "damaged"),
        (("clocks",), {}, "damaged"),
        (("clocks", "ecp5-99k"), {}, "damaged"),
        (("areas", "ffs", "ice40"), None, "damaged"),
        (("clocks", "ice40-up5k", "median_error"), -1, "damaged"),
    ],
)
def test_files_that_are_none(path, value, message, model, tmp_path):
    file = tmp_path / "model.json"
    file.write_text(json.dumps(altered(model.as_dict(), path, value)))
    with pytest.raises(DarbError, match=message):
        Model.load(file)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"format": 1}', "[" * 100000])
def test_texts_that_are_none(text, tmp_path):
    (tmp_path / "model.json").write_text(text)
    with pytest.raises(DarbError, match="no fitted model, or a damaged one"):
        Model.load(tmp_path / "model.json")


def test_a_huge_clock_is_no_overflow(model, tmp_path):
    (tmp_path / "model.json").write_text(
        json.dumps(altered(model.as_dict(), ("clocks", "ecp5-25k", "weights", "engine"), 1e300))
    )
    assert Model.load(tmp_path / "model.json").clock("ecp5-25k", {}, 100.0).value < 1e5


def test_logic_cells(model):
    """On iCE40 those of the flip-flops and of half of the LUTs, as the samples have it; on ECP5 those of the LUTs."""
    luts, ffs = Between(900, 1000, 1100), Between(1900, 2000, 2100)
    cells = model.logic_cells("ice40", luts, ffs)
    assert cells.value == pytest.approx(2500, rel=0.01)
    assert cells.low <= 1900 + 450 + 1
    assert cells.high >= 2100 + 550 - 1
    assert model.logic_cells("ecp5", luts, ffs).value == pytest.approx(1000, rel=0.01)


UNKNOWN = {"ice40-lp1k", "ice40-lp8k", "gw1nr-9", "gw2a-18", "lifcl-40"}


def test_the_shipped_model_has_every_device_or_one_that_is_like_it():
    """But for LP, Gowin's and Nexus devices, which none of those of the fit is like."""
    model = shipped()
    assert {device for device in DEVICES if not model.knows(device)} == UNKNOWN
    assert not any(DEVICES[device].like for device in model.clocks)
    assert {(row["figure"], row["devices"]) for row in model.errors()} == {
        *((name, family) for name in ("luts", "ffs") for family in ("ice40", "ecp5")),
        *(("fmax_mhz", device) for device in model.clocks),
    }


def test_a_device_has_the_clock_of_the_one_it_is_like():
    """Same silicon, same speed: what place and route aims for is the same as well."""
    model = shipped()
    for device, target in DEVICES.items():
        if target.like:
            like = DEVICES[target.like]
            assert (like.family, like.target_mhz, like.like) == (target.family, target.target_mhz, "")
            assert model.clock(device, {}, 100.0) == model.clock(target.like, {}, 100.0)
    with pytest.raises(DarbError, match="the model has no ice40-lp8k: give darb refit placed builds for it"):
        model.clock("ice40-lp8k", {}, 100.0)
    assert not model.knows("ecp5-99k")
