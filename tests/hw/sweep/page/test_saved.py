"""``sweep.json`` read again; files that nobody has written."""

import json
import shutil

import pytest

from darb_hw.sweep.page.saved import load
from darb_hw.synthesis.report import SynthReport
from darb_prune.encoded import DarbError
from tests.hw.sweep.page.sample_sweep import AXES, sample_results


def test_what_was_written(folder, manifest):
    sweep, results = load(folder), sample_results(manifest)
    assert sweep.axes == AXES
    assert [point.report for point in sweep.points] == [result.report for result in results]
    assert [point.reason for point in sweep.points] == [result.reason for result in results]
    assert sweep.points[0].plan.metrics.stored_bits == manifest["metrics"]["stored_bits"]
    assert len(sweep.points[0].plan.layers) == len(manifest["layers"])
    assert load(folder / "sweep.json") == sweep


def _report(name, value):
    def change(content):
        content["points"][0]["report"][name] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content.update(format=2), "format 2, this package reads 1; run darb sweep again"),
        (lambda content: content.pop("format"), "damaged, its format is missing"),
        (lambda content: content.pop("axes"), "damaged, axes: Field required"),
        (lambda content: content.update(points=7), "damaged, points: "),
        (lambda content: content.update(points=[]), "no point is finished yet"),
        (lambda content: content["points"][0].update(network=["x"]), "damaged, points.0.network: "),
        (lambda content: content["points"][0]["plan"]["layers"][0].pop("steps"), "points.0.plan.layers.0.steps: "),
        (lambda content: content["points"][0]["axes"].update(lanes={}), "damaged, points.0.axes.lanes"),
        (
            lambda content: content["points"][0].update(status="failed"),
            "points.0: its status is failed, which does not",
        ),
        (lambda content: content["points"][0].update(status="fine"), "damaged, points.0.status: Input should be 'ok'"),
        (_report("luts", 3), "damaged, points.0.report.luts"),
        (_report("fmax_mhz", {}), "points.0.report: its figures have no values"),
        (_report("fmax_mhz", {"1": float("nan")}), "damaged, points.0.report"),
        (_report("interval_cycles", 0), "points.0.report: its figures have no values"),
        (_report("interval_cycles", 10**400), "points.0.report: its figures have no values"),
    ],
)
def test_damaged(change, message, folder, tmp_path):
    content = json.loads((folder / "sweep.json").read_bytes())
    change(content)
    (tmp_path / "sweep.json").write_text(json.dumps(content))
    with pytest.raises(DarbError) as refused:
        load(tmp_path)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("data", [b"", b"[" * 100_000, b"\xff", b"7", b'{"format": 1', b'{"format": NaN}'])
def test_no_json(data, tmp_path):
    (tmp_path / "sweep.json").write_bytes(data)
    with pytest.raises(DarbError, match=r"sweep\.json: (damaged|format nan)"):
        load(tmp_path)


def test_command(darb, folder, tmp_path):
    shutil.copy(folder / "sweep.json", tmp_path)
    code, out, err = darb("report", tmp_path)
    assert (code, err) == (0, "")
    assert "report.html: 12 points" in out
    assert (tmp_path / "report.html").read_bytes().startswith(b"<!DOCTYPE html>")
    for arguments, message in (
        ([tmp_path / "no"], "no: no such file; give the folder of a sweep"),
        ([tmp_path, "-o", tmp_path], "is a folder; give the name of a file to write"),
    ):
        code, _, err = darb("report", *arguments)
        assert code == 2
        (line,) = err.splitlines()
        assert message in line


def test_report_survives(folder):
    """The page reads all of a report, as the class itself does."""
    for point, saved in zip(
        json.loads((folder / "sweep.json").read_bytes())["points"], load(folder).points, strict=True
    ):
        assert saved.report == (SynthReport.from_dict(point["report"]) if point["report"] else None)
