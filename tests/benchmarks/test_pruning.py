"""DARB against its rivals: costs, gains, verdicts, the page."""

import math

import pytest

from benchmarks.pruning.__main__ import EXPERIMENTS
from benchmarks.pruning.comparison import FOLDER, ComparedMethods, Gain
from benchmarks.pruning.page import goals, page
from darb_prune import tasks
from darb_prune.studies.experiment import spec
from darb_prune.studies.experiment.results import ExperimentResults
from darb_prune.studies.experiment.statistics import Spread

FILE = """
task = "digits"
seeds = 2
ratios = [8, 13]
sizes = [1, 2]
[methods.darb]
[methods.nm]
sizes = [1]
[methods.irregular]
sizes = [1]
[methods.small]
method = "dense"
sizes = [0.1, 0.2]
teacher = 1
"""


@pytest.fixture
def comparison(tmp_path):
    """Of size 1: 10,000 bits over the ratio; accuracies as below, and 0.01 more for seed 1."""
    (tmp_path / "digits.toml").write_text(FILE)
    experiment = spec.load(tmp_path / "digits.toml")
    task = tasks.get("digits")
    planned = spec.plan(experiment, task)
    accuracy = {("darb", 8): 0.95, ("darb", 13): 0.94, ("nm", 8): 0.96, ("nm", 13): 0.9, ("irregular", 13): 0.99}
    records = []
    for run in planned:
        size, ratio = run.variant.size, run.ratio or 1
        value = accuracy.get((run.method, run.ratio), 0.97 if run.method == spec.DENSE else 0.8) + 0.01 * run.seed
        records.append({
            "method": run.method, "size": size, "weight_bits": 0, "asked": run.ratio, "seed": run.seed, "state": "done",
            "ratio": ratio, "weights": 1000, "kept": 1000, "bits": 10_000 * size / ratio, "seconds": 1.0,
            "values": {"validation": value, "test": value},
            "cycles": math.inf if run.method == "irregular" else 100 / ratio,
        })  # fmt: skip
    return ComparedMethods("digits", ExperimentResults(experiment, task, planned, records))


def test_gains_are_at_the_cost_of_darb_at_13x(comparison):
    assert {record["bits"] for record in comparison.at} == {10_000 / 13}
    assert comparison.ours("stored bits").mean == pytest.approx(0.945)
    gains = {gain.rival: gain for gain in comparison.gains("stored bits")}
    assert list(gains) == ["irregular", "nm"]  # the strongest first; the small one has 1,000 bits at least
    assert gains["nm"].gain.mean == pytest.approx(4)
    assert gains["nm"].gain.deviation == pytest.approx(0)
    assert [gain.rival for gain in comparison.gains("cycles")] == ["nm"]


@pytest.mark.parametrize(
    ("mean", "deviation", "verdict"),
    [(0.5, 0.2, "ahead"), (0.5, 0.6, "level"), (-0.1, 0.2, "level"), (-0.5, 0.2, "behind"), (0.5, None, "ahead")],
)
def test_a_difference_within_its_spread_is_none(mean, deviation, verdict):
    assert Gain("x", Spread(1, None, 2), Spread(mean, deviation, 2)).verdict == verdict


def test_losses_are_over_the_dense_model_of_the_same_size(comparison):
    assert comparison.lost(13.0).mean == pytest.approx(1 - (0.94 / 0.97 + 0.95 / 0.98) / 2)
    assert comparison.lost(50.0) is None


@pytest.mark.parametrize(("ratios", "expected"), [("[8, 13]", 13), ("[8]", 8), ("[4, 8, 20]", 8)])
def test_methods_are_compared_at_13x_or_below(ratios, expected, comparison, tmp_path):
    (tmp_path / "digits.toml").write_text(FILE.replace("[8, 13]", ratios))
    experiment, task = spec.load(tmp_path / "digits.toml"), comparison.results.task
    assert ComparedMethods("x", ExperimentResults(experiment, task, spec.plan(experiment, task), [])).ratio == expected


def test_goals_leave_irregular_pruning_out(comparison):
    comparison = ComparedMethods("mnist", comparison.results)
    figures = {goal.name: goal for goal in goals([comparison])}
    assert figures["mnist: DARB over the best rival at equal stored bits (nm)"].value == pytest.approx(4)
    assert not figures["chars: lost at 13x, % of dense"].measured


def test_the_page_is_that_of_the_results_beside_it():
    assert page([ComparedMethods.load(name) for name in EXPERIMENTS]) == (FOLDER / "pruning.md").read_text()
