"""Fits of samples whose law is known, and of those that the package brings."""

from dataclasses import replace

import numpy as np
import pytest

from darb_hw.config import DEVICES
from darb_hw.estimate.features import PRIOR
from darb_hw.estimate.fit import _interval, fit
from darb_hw.estimate.model import Model, shipped
from darb_hw.estimate.sample import joined, shipped_samples
from darb_prune.encoded import DarbError
from tests.hw.estimate import made
from tests.hw.estimate.made import law, made_samples


@pytest.fixture(scope="module")
def shipped_fit():
    return fit(shipped_samples())


def test_a_law_is_found():
    """Also for engines that are larger than all samples, and for each family on its own."""
    model = fit(made_samples(40)).model
    for device, family in (("ice40-hx8k", "ice40"), ("ecp5-85k", "ecp5")):
        features = {
            "engine": 1.0,
            "requantisers": 1.0,
            "requantiser sums": 25.0,
            "address": 12.0,
            "memory outputs": 200.0,
        }
        features |= {"lane": 35.0, "lane sums": 700.0}
        luts, ffs = law(features, family)
        assert model.area("luts", family, features).value == pytest.approx(luts, rel=0.04)
        assert model.area("ffs", family, features).value == pytest.approx(ffs, rel=0.04)
        mhz = model.clock(device, features, luts)
        assert mhz.value == pytest.approx((150 if family == "ice40" else 240) * 35**-0.05, rel=0.1)


def test_errors_are_those_of_networks_left_out():
    """A network that follows another law is estimated wrong, and the errors say so."""
    samples = made_samples(8)
    odd = [replace(one, luts=2 * one.luts) if one.network == "network 3" else one for one in samples]
    result = fit(odd)
    off = {one.sample.network: one.ratio for one in result.held_out["luts"]}
    assert off["network 3"] == pytest.approx(2, rel=0.15)
    assert result.model.areas["luts"]["ecp5"].high > 1.8
    assert fit(samples).model.areas["luts"]["ecp5"].high < 1.1


def test_intervals_hold_for_other_networks():
    """Nine of ten, of samples with noise that no fit can know."""
    model = fit(made_samples(12, 0.1)).model
    inside = [
        bounds.low <= one.luts <= bounds.high
        for one in made_samples(40, 0.1, seed=1)
        for bounds in [model.area("luts", one.family, one.features)]
    ]
    assert 0.8 < np.mean(inside) < 0.97


def test_features_that_no_sample_has_keep_their_start():
    """As many LUTs and flip-flops as components are written to take."""
    samples = [replace(one, features={**one.features, "gru": 0.0}) for one in made_samples()]
    areas = fit(samples).model.areas
    for name, start in zip(("luts", "ffs"), PRIOR["gru"], strict=True):
        assert areas[name]["ecp5"].weights["gru"] == pytest.approx(start, rel=1e-3)


def test_families_differ_where_samples_say_so():
    """Half of the way, if all that is known before says otherwise."""
    areas = fit(made_samples(40)).model.areas["luts"]
    assert 1.05 < areas["ice40"].weights["lane sums"] < 1.25
    assert 0.85 < areas["ecp5"].weights["lane sums"] < 0.98


def test_interval():
    ratios = np.arange(1, 100) / 50
    assert _interval(ratios) == (ratios[4], ratios[94])
    assert _interval(ratios[:5]) == (ratios[0], ratios[4])


def test_the_same_again_in_any_order():
    samples = made_samples(noise=0.1)
    assert fit(joined(samples)).model == fit(joined(samples[::-1])).model


def test_devices_of_one_speed_have_one_clock():
    clocks = fit(made_samples()).model.clocks
    assert set(clocks) == set(made.DEVICES)
    assert clocks["ecp5-25k"] == clocks["ecp5-85k"] != clocks["ice40-hx8k"]


@pytest.mark.parametrize(
    ("left", "message"),
    [
        (lambda one: one.network < "network 1", "ecp5 designs of 1 networks: at least 2 are needed to tell an error"),
        (
            lambda one: not one.fmax_mhz,
            "placed designs of 0 networks: at least 2 are needed to tell an error; give more",
        ),
    ],
)
def test_too_few(left, message):
    with pytest.raises(DarbError, match=message):
        fit([one for one in made_samples() if left(one)])


def test_devices_without_samples_are_left_out():
    model = fit([one for one in made_samples() if one.device != "ice40-up5k" or not one.fmax_mhz]).model
    assert set(model.clocks) == {"ice40-hx8k", "ecp5-25k", "ecp5-85k"}
    model = fit([one for one in made_samples() if one.family == "ecp5"]).model
    assert set(model.clocks) == {"ecp5-25k", "ecp5-85k"}
    assert set(model.areas["luts"]) == {"ecp5"}


def test_the_shipped_model_is_the_fit_of_the_shipped_samples(shipped_fit):
    for name in ("areas", "cells", "clocks"):
        made, kept = getattr(shipped_fit.model, name), getattr(shipped(), name)
        assert figures(made) == pytest.approx(figures(kept), rel=1e-3), name


def figures(tree) -> dict:
    """The numbers of a part of a model, by where they stand."""
    flat = {}
    for key, value in tree.items():
        if isinstance(value, float | int):
            flat[key] = value
            continue
        inner = value if isinstance(value, dict) else {**vars(value), **value.weights}
        inner = {name: part for name, part in inner.items() if name != "weights"}
        flat |= {f"{key} {name}": number for name, number in figures(inner).items()}
    return flat


def test_errors_of_the_shipped_model_are_what_it_states(shipped_fit):
    """Counted again from what each network left out gives."""
    for row in shipped().errors():
        keys = {"ice40", "ecp5"} & {row["devices"]} or {row["devices"]}
        speed = DEVICES[row["devices"]].target_mhz if row["devices"] in DEVICES else None
        errors = [
            abs(one.estimated / one.measured - 1)
            for one in shipped_fit.held_out[row["figure"]]
            if one.sample.family in keys or DEVICES[one.sample.device].target_mhz == speed
        ]
        assert len(errors) == row["samples"]
        assert np.median(errors) <= row["median_error"] * 1.01
        assert np.mean(np.array(errors) <= row["large_error"] * 1.01) >= 0.9


def test_a_model_and_back(tmp_path):
    model = fit(made_samples()).model
    model.save(tmp_path / "model.json")
    assert Model.load(tmp_path / "model.json") == model
