"""The data behind the page."""

import json

import pytest

from darb_hw.sweep.page.contents import bits_by_part, page_contents
from darb_hw.sweep.page.saved import load
from darb_hw.sweep.points import PointResult, SweepPoint
from darb_hw.sweep.table import json_bytes
from tests.hw.sweep.page.sample_sweep import REASON


def test_figures(folder, manifest):
    contents = page_contents(load(folder))
    assert contents["axes"] == ["ratio", "weight_bits", "device", "lanes"]
    first, failed = contents["points"][0], contents["points"][2]
    assert first["figures"] == {
        "accuracy": pytest.approx(97.6), "stored_bits": manifest["metrics"]["stored_bits"], "rate": 48_000,
        "latency": 5.0, "luts": 1000, "block_rams": 6, "dsps": 5, "fmax": 120.0, "utilisation": 50.0,
    }  # fmt: skip
    assert (first["status"], failed["status"], failed["reason"]) == ("ok", "failed", REASON)
    assert set(failed["figures"]) == {figure["name"] for figure in contents["figures"]} == set(first["figures"])
    assert [name for name, value in failed["figures"].items() if value is not None] == ["accuracy"]
    assert first["report"]["fmax"] == [{"seed": 1, "mhz": 120}, {"seed": 2, "mhz": 100}, {"seed": 3, "mhz": 150}]


def test_plan(folder, manifest):
    plan = page_contents(load(folder))["points"][0]["plan"]
    assert sum(part["bits"] for part in plan["bits"]) == manifest["metrics"]["stored_bits"]
    assert {"weights", "indices", "row parameters", "program"} <= {part["part"] for part in plan["bits"]}
    assert [layer["cycles"] for layer in plan["layers"]] == [layer["cycles"] for layer in manifest["layers"]]
    assert [region["start"] for region in plan["memory"]["map"]] == [row["start"] for row in manifest["memory"]["map"]]


def test_bits():
    roms = [("index_0", 10, 2), ("weights", 10, 8), ("index_1", 5, 1), ("input_lines", 1, 1), ("new", 2, 1)]
    assert bits_by_part(roms) == [
        {"part": "weights", "bits": 80, "roms": ["weights: 10 x 8"]},
        {"part": "indices", "bits": 25, "roms": ["index_0: 10 x 2", "index_1: 5 x 1"]},
        {"part": "new", "bits": 2, "roms": ["new: 2 x 1"]},
        {"part": "addresses", "bits": 1, "roms": ["input_lines: 1 x 1"]},
    ]


def _contents(folder, accuracies, name="a"):
    results = [PointResult(SweepPoint(name, None, {}, {"lanes": 4}, (1,)), 8, accuracies, reason="no")]
    (folder / "sweep.json").write_bytes(json_bytes(results, {"lanes": (4,)}, "s"))
    return page_contents(load(folder))


def test_networks_of_files_are_an_axis(tmp_path):
    contents = _contents(tmp_path, {})
    assert contents["axes"][0] == "network"
    assert contents["points"][0]["axes"]["network"] == "a"


@pytest.mark.parametrize(
    "accuracies", [{}, {"integer": 3}, {"integer": {"test": float("nan")}}, {"integer": {"test": 2.9}}]
)
def test_no_accuracy(accuracies, tmp_path):
    """A perplexity is none either."""
    assert _contents(tmp_path, accuracies)["points"][0]["figures"]["accuracy"] is None


def test_texts_are_fit_to_be_shown(tmp_path):
    contents = _contents(tmp_path, {}, "a\u202eb\x1b" + 300 * "c")
    network = contents["points"][0]["network"]
    assert network.startswith("a\\u202eb\\x1bc")
    assert len(network) <= 100
    json.dumps(contents, allow_nan=False)
