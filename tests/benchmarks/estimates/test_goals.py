"""What estimates have to show."""

from dataclasses import replace

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
    errors = [row["median_error"] for row in fitted.model.errors() if row["figure"] == "luts"]
    assert 100 * min(errors) <= by_name["LUT4, median error, %"].value <= 100 * max(errors)
