"""What synthesis measured, as plain values."""

import json
from dataclasses import replace

import pytest

from darb_hw.synthesis.report import SynthReport
from darb_prune.encoded import DarbError
from tests.hw.samples import REPORT


def test_figures_that_follow():
    assert (REPORT.fmax_median, REPORT.fmax_min, REPORT.fmax_max) == (120.0, 100.0, 150.0)
    assert REPORT.inferences_per_second == pytest.approx(240_000)
    assert REPORT.latency_us == pytest.approx(5.0)
    assert REPORT.actual_gops == pytest.approx(0.48)
    assert REPORT.dense_equivalent_gops == pytest.approx(4.8)
    assert REPORT.pruning_ratio == 10


def test_weights_count_at_every_position():
    """2 operations x 64,000 or 640,000 multiply-accumulates x 240,000 inferences a second."""
    report = replace(REPORT, macs=64_000, dense_macs=640_000)
    assert report.actual_gops == pytest.approx(30.72)
    assert report.dense_equivalent_gops == pytest.approx(307.2)
    assert report.pruning_ratio == 10


def test_report_through_json(tmp_path):
    REPORT.save(tmp_path / "report.json")
    assert SynthReport.load(tmp_path / "report.json") == REPORT
    assert json.loads((tmp_path / "report.json").read_text())["derived"]["fmax_median"] == 120.0


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"network": 1}', "[" * 10**6], ids=range(5))
def test_damaged_report(text, tmp_path):
    path = tmp_path / "report.json"
    path.write_text(text)
    with pytest.raises(DarbError, match=r"report.json: damaged report; make it again with darb synth"):
        SynthReport.load(path)
