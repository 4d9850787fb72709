"""The analysis, on matrices whose answer is known by construction."""

import copy
import itertools
import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from typer.testing import CliRunner

from darb_prune.cli import app
from darb_prune.errors import DarbError
from darb_prune.modules.layers import layers
from darb_prune.patterns.masks import irregular
from darb_prune.pruning.methods import Darb
from darb_prune.pruning.one_shot import prune
from darb_prune.runs.folder import RunFolder
from darb_prune.studies.analysis import analyze, nearest, patterns, positions, row_densities, summary_table
from darb_prune.studies.analysis_plot import plots
from darb_prune.studies.sensitivity import sensitivity
from darb_prune.tasks import digits

PNG = b"\x89PNG"


def network():
    return nn.Sequential(nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 6))


def blocks_of(found: dict) -> dict:
    return {entry["block"]: entry["rows"] for entry in found["blocks"] if entry["rows"]}


def test_densities_of_known_rows():
    mask = torch.zeros(4, 16, dtype=torch.bool)
    for row, kept in enumerate((0, 1, 4, 16)):
        mask[row, :kept] = True
    found = row_densities(mask)
    assert found["mean"] == 21 / 64
    assert (found["least"], found["greatest"], found["empty"]) == (0.0, 1.0, 0.25)
    assert found["quantiles"]["0.5"] == pytest.approx((1 + 4) / 2 / 16)
    assert found["deviation"] == pytest.approx(np.std([0, 1 / 16, 4 / 16, 1]))
    assert found["variation_chance"] == pytest.approx(np.sqrt((43 / 64) / (21 / 64 * 16)))
    assert found["empty_chance"] == pytest.approx((43 / 64) ** 16)
    assert blocks_of(found) == {0: 0.25, 16: 0.25, 4: 0.25, 1: 0.25}
    assert sum(found["histogram"]["rows"]) == pytest.approx(1)
    assert sum(entry["chance"] for entry in found["blocks"]) == pytest.approx(1)


def test_wanted_block_is_the_nearest_in_log_scale():
    mask = torch.zeros(2, 64, dtype=torch.bool)
    mask[0, :11] = True  # 64 / 11 = 5.82, over 4 * sqrt 2
    mask[1, :12] = True  # 64 / 12 = 5.33
    assert blocks_of(row_densities(mask)) == {8: 0.5, 4: 0.5}


def test_rows_by_chance_spread_like_chance():
    mask = torch.rand(4000, 256) < 0.1
    assert row_densities(mask)["variation_ratio"] == pytest.approx(1, abs=0.05)
    assert all(entry["variance_ratio"] == pytest.approx(1, abs=0.05) for entry in positions(mask, (256,)))


@pytest.mark.parametrize("full", [False, True])
def test_no_spread_where_there_is_no_choice(full):
    mask = torch.full((3, 8), full)
    assert row_densities(mask)["variation_ratio"] is None
    assert all(entry["variance_ratio"] is None for entry in positions(mask, (8,)))


def test_regular_rows_have_no_variance_and_clustered_ones_much():
    regular = torch.zeros(5, 32, dtype=torch.bool)
    regular[:, ::4] = True
    clustered = torch.zeros(5, 32, dtype=torch.bool)
    clustered[:, :8] = True
    by_size = {entry["block"]: entry for entry in positions(regular, (32,))}
    assert by_size[4]["held"] == [0, 1, 0, 0, 0]
    assert by_size[4]["variance_ratio"] == by_size[8]["variance_ratio"] == 0
    by_size = {entry["block"]: entry for entry in positions(clustered, (32,))}
    assert by_size[4]["held"] == [0.75, 0, 0, 0, 0.25]
    # Deviations of 3 twice and of 1 six times, over 8 blocks of variance 4 * 1/4 * 3/4 * 28/31.
    assert by_size[4]["variance_ratio"] == pytest.approx((2 * 9 + 6 * 1) / (8 * 0.75 * 28 / 31))


def test_blocks_stay_inside_segments_and_partial_ones_are_left_out():
    mask = torch.zeros(1, 12, dtype=torch.bool)
    mask[0, [0, 1, 4, 5, 6, 11]] = True  # 11001 and 1100001: blocks 11 00 and 11 00 00
    found = {entry["block"]: entry for entry in positions(mask, (5, 7))}
    assert set(found) == {2, 4}
    assert found[2]["blocks"] == 5
    assert found[2]["held"] == [3 / 5, 0, 2 / 5]
    assert found[4]["held"] == [0, 0, 1, 0, 0]


@given(st.lists(st.integers(0, 6), min_size=1, max_size=3), st.sampled_from([(6,), (2, 4), (3, 3)]))
def test_chance_is_the_mean_over_all_placements(kept, segments):
    mask = torch.zeros(len(kept), 6, dtype=torch.bool)
    for row, count in enumerate(kept):
        mask[row, :count] = True
    for entry in positions(mask, segments):
        block, wanted = entry["block"], np.zeros(entry["block"] + 1)
        for count in kept:
            placements = list(itertools.combinations(range(6), count))
            for places in placements:
                wanted[sum(place < block for place in places)] += 1 / len(placements) / len(kept)
        np.testing.assert_allclose(entry["chance"], wanted, atol=1e-12)


def test_patterns_find_what_fits_them():
    weight = torch.full((4, 32), 0.01) * torch.rand(4, 32)
    weight[:2, ::4] = 1.0
    weight[2:, ::16] = 1.0
    order = torch.arange(32)
    found = {entry["method"]: entry for entry in patterns(weight, 20, order, (32,))}
    for method in ("darb by density", "darb by budget"):
        assert found[method]["kept"] == 20
        assert found[method]["shared"] == found[method]["energy"] == 1
        assert found[method]["shared_chance"] == 20 / 128
    assert found["bmwm"]["kept"] == 4 * 32 / 8  # 128 / 20 = 6.4, nearest to 8
    assert found["bmwm"]["shared"] == 8 / 16  # of equals irregular pruning keeps the first: all of rows 0 and 1
    shuffled = torch.cat([order[::4], order[order % 4 > 0]])  # all strong columns side by side
    assert patterns(weight, 20, shuffled, (32,))[2]["energy"] < 0.7
    assert patterns(weight, 0, order, (32,)) == []


def test_an_order_is_the_same_as_moving_the_columns():
    weight, order = torch.randn(8, 64) * torch.linspace(0.1, 2, 64), torch.randperm(64)
    moved = patterns(weight[:, order], 60, torch.arange(64), (64,))
    assert patterns(weight, 60, order, (64,)) == [
        {**entry, "energy": pytest.approx(entry["energy"])} for entry in moved
    ]


def test_positions_are_counted_in_storage_order():
    model = nn.Sequential(nn.Linear(16, 12))
    model[0].weight.data *= torch.linspace(0.1, 2, 16)
    result = analyze(model, 4)["layers"][0]["positions"]
    mask = irregular(model[0].weight.detach(), 4)
    prune(model, 2, Darb(order="spread"))
    assert result["none"] == positions(mask, (16,))
    assert result["spread"] == positions(mask[:, model[0].weight_order], (16,)) != result["none"]


@pytest.fixture
def rows_model():
    """One Linear whose sum of weights, taken as the metric, is known whatever is pruned."""
    model = nn.Sequential(nn.Linear(4, 6, bias=False))
    model[0].weight.data = torch.tensor([4.0, 1, 2, 4, 1, 2])[:, None] * torch.tensor([1.5, 0.5, 0.5, 1.5])
    return model


def total(model):
    return float(model[0].weight.sum())


def test_sensitivity_prunes_one_group_at_a_time(rows_model):
    counts = [np.array([4, 1, 2, 4, 1, 2])]
    before = rows_model[0].weight.detach().clone()
    found = sensitivity(rows_model, layers(rows_model), counts, total, shares=(0.5, 1.0))
    assert torch.equal(rows_model[0].weight, before)
    (scope,) = found["scopes"]
    assert (found["dense"], scope["name"], found["left_out"]) == (56, "0", [])
    sparse, middle, dense = scope["groups"]
    assert [group["name"] for group in scope["groups"]] == ["sparsest", "middle", "densest"]
    assert sparse["removed"] == dense["removed"] == [4, 8]
    assert sparse["values"] == [54, 48]
    assert middle["values"] == [52, 40]
    assert dense["values"] == [48, 24]
    assert dense["loss"] == pytest.approx([8 / 56, 32 / 56])
    assert dense["mean_loss"] == dense["mean_loss_at_count"] == pytest.approx(20 / 56)
    assert (sparse["density"], dense["density"]) == (0.25, 1.0)
    assert sparse["tolerates"] == pytest.approx(0.5 * 0.01 / (2 / 56))


def test_lower_is_better_where_the_metric_says_so(rows_model):
    counts = [np.arange(6)]
    found = sensitivity(rows_model, layers(rows_model), counts, total, "bits per character", shares=(1.0,))
    assert all(group["loss"][0] < 0 and group["tolerates"] == 1.0 for group in found["scopes"][0]["groups"])


def test_groups_of_unequal_size_are_compared_at_equal_count():
    model = nn.Sequential(nn.Linear(4, 3, bias=False))
    model[0].weight.data = torch.ones(3, 4)
    found = sensitivity(model, layers(model), [np.arange(3)], total, shares=(1.0,), groups=2)
    sparse, dense = found["scopes"][0]["groups"]
    assert (sparse["weights"], dense["weights"]) == (8, 4)
    assert sparse["mean_loss"] == pytest.approx(2 / 3)
    assert sparse["mean_loss_at_count"] == dense["mean_loss"] == pytest.approx(1 / 3)


def test_measurements_are_limited_to_the_largest_layers():
    model, calls = network(), []

    def measure(trial):
        calls.append(trial)
        return 1.0

    result = analyze(model, 2, measure, shares=(0.5, 1.0), measurements=12)["sensitivity"]
    assert [scope["name"] for scope in result["scopes"]] == ["all layers", "0"]
    assert result["left_out"] == ["2"]
    assert len(calls) == 1 + 12
    assert all(trial is not model for trial in calls)


def test_a_model_is_left_as_it_was():
    dense = network()
    model = copy.deepcopy(dense)
    prune(model, 3)
    inputs = torch.rand(5, 16)
    before, output = copy.deepcopy(model.state_dict()), model(inputs)
    pruned, plain = (analyze(one, 4, lambda trial: float(trial(inputs).abs().sum())) for one in (model, dense))
    assert pruned == plain
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert torch.equal(model(inputs), output)


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.gru, self.out = nn.GRU(8, 8), nn.Linear(8, 4)

    def forward(self, inputs):
        return self.out(self.gru(inputs)[0])


def test_convolutions_and_recurrent_layers():
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.Flatten(), nn.Linear(16, 5))
    conv = analyze(model, 2)["layers"][0]
    assert conv["segments"] == [6, 6, 6]
    assert [entry["block"] for entry in conv["positions"]["none"]] == [2, 4]
    gru, _ = analyze(Recurrent(), 2)["layers"]
    assert gru["segments"] == [8, 8]
    assert set(gru["gates"]) == {"reset", "update", "new"}
    assert np.mean(list(gru["gates"].values())) == pytest.approx(gru["densities"]["mean"])


class Untraceable(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Linear(8, 8)

    def forward(self, inputs):
        return self.body(inputs) if inputs.sum() > 0 else inputs


def test_an_untraceable_model_has_no_spread():
    assert analyze(Untraceable(), 4)["orders"] == ["none"]


def test_results_are_json_and_repeat():
    measure = lambda trial: float(trial(torch.ones(1, 16)).abs().sum())  # noqa: E731
    model = network()
    result = analyze(model, 4, measure)
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert result == analyze(model, 4, measure)
    assert result["kept"] == sum(layer["kept"] for layer in result["layers"]) == (16 * 12 + 12 * 6) // 4
    assert analyze(model, 4)["sensitivity"] is None
    assert nearest(result["layers"][0], "none") >= 0


@pytest.mark.parametrize("measured", [False, True])
def test_plots_are_pictures(measured):
    result = analyze(network(), 4, (lambda trial: 1.0) if measured else None)
    made = plots(result)
    assert set(made) == {"densities.png", "positions.png"} | ({"sensitivity.png"} if measured else set())
    assert all(data.startswith(PNG) for data in made.values())
    assert made == plots(result)
    assert summary_table(result).row_count == 2 + measured


def test_plots_of_layers_without_blocks_or_weights():
    thin = nn.Sequential(nn.Linear(1, 4, bias=False), nn.Linear(4, 4, bias=False))
    thin[0].weight.data *= 1e-6
    result = analyze(thin, 4)
    assert result["layers"][0]["kept"] == 0
    assert all(data.startswith(PNG) for data in plots(result).values())
    assert plots(analyze(nn.Linear(1, 4), 2))["positions.png"].startswith(PNG)
    assert summary_table(result).row_count == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ratio": 0.5}, "ratio 0.5 must be at least 1"),
        ({"ratio": 1e6}, "no weight is left"),
        ({"scope": "row"}, "scope 'row'"),
        ({"groups": 1}, "groups 1"),
        ({"groups": 50}, "groups 50: no layer has as many rows"),
        ({"shares": (0.5, 0.2)}, "shares"),
        ({"measurements": 0}, "measurements 0"),
        ({"metric": "beauty"}, "metric 'beauty'"),
        ({"measure": lambda trial: 0.0}, "of the dense model is 0"),
    ],
)
def test_mistakes_are_named(options, message):
    with pytest.raises(DarbError, match=message):
        analyze(network(), **{"ratio": 2, "measure": lambda trial: 1.0, **options})


def test_weights_that_are_not_finite_are_named():
    model = network()
    model[2].weight.data[3, 0] = float("nan")
    with pytest.raises(DarbError, match="layer '2', row 3"):
        analyze(model, 2)


def test_command(tmp_path):
    model = digits.build()
    prune(model, 4)
    RunFolder("digits", 0, method="darb", ratio=4.0).save(tmp_path / "run", model)
    arguments = ["analyze", tmp_path / "run", "-o", tmp_path / "out", "--ratio", "8", "--measurements", "18", "-q"]
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "120"})
    assert result.exit_code == 0, result.output
    assert "is pruned (darb)" in result.output
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "analysis.json", "densities.png", "positions.png", "sensitivity.png",
    }  # fmt: skip
    record = json.loads((tmp_path / "out" / "analysis.json").read_text())
    assert (record["task"], record["ratio"], record["sensitivity"]["metric"]) == ("digits", 8.0, "accuracy")
