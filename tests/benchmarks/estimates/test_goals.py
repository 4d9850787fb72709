"""What estimates have to show."""

import statistics
from dataclasses import replace

import pytest

from benchmarks.estimates.__main__ import goals
from darb_hw.estimate.fit import fit
from tests.hw.estimate.made import made_samples


def test_goals_are_of_all_devices_together():
    samples = [replace(one, block_rams=4) if one.network == "network 1" else one for one in made_samples()]
    fitted = fit(samples)
    by_name = {goal.name: goal for goal in goals(fitted)}
    assert by_name["synthesised designs"].value == 48
    assert not by_name["synthesised designs"].holds
    assert by_name["networks"].value == 6
    assert abs(by_name["block RAMs exact, % of designs"].value - 100 * 5 / 6) < 1e-9
    errors = [abs(one.estimated / one.measured - 1) for one in fitted.held_out["luts"]]
    assert by_name["LUT4, median error, %"].value == pytest.approx(100 * statistics.median(errors))
