"""The report of an experiment."""

import csv
import io

import pytest
from typer.testing import CliRunner

from darb_prune import tasks
from darb_prune.cli import app
from darb_prune.studies.experiment import report
from darb_prune.studies.experiment import spec as spec_file
from darb_prune.studies.experiment.results import ExperimentResults, collect


def made(experiment: spec_file.Experiment, losses, reached=lambda method, ratio: ratio) -> ExperimentResults:
    """Results with the given relative loss of each method at each ratio, and a little more for each seed."""
    task = tasks.get(experiment.task)
    planned = spec_file.plan(experiment, task)
    records = []
    for run in planned:
        ratio = 1 if run.ratio is None else reached(run.method, run.ratio)
        loss = (0 if run.ratio is None else losses(run.method, run.ratio)) + run.seed * 1e-3
        value = 0.98 * (1 - loss)
        records.append({
            "method": run.method, "asked": run.ratio, "size": run.variant.size, "weight_bits": run.variant.bits,
            "seed": run.seed, "digest": run.digest, "state": "done",
            "settings": run.settings, "versions": {"torch": "2"}, "seconds": 1.0, "ratio": ratio, "weights": 1000,
            "kept": 1000 / ratio, "bits": 10000 / ratio, "values": {"validation": value, "test": value},
            "layers": {"fc1": 1 / ratio},
        })  # fmt: skip
    return ExperimentResults(experiment, task, planned, records)


def table(text: str, heading: str) -> dict[str, list[str]]:
    """The first table after a heading: cells by first cell."""
    lines = text.split(f"## {heading}\n")[1].split("\n## ")[0].splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]
    return {row[0]: row[1:] for row in rows}


def test_report(spec, tmp_path):
    slopes = {"darb": 0.001, "bank": 0.002, "irregular": 0.0005}
    results = made(spec(), lambda method, ratio: slopes[method] * ratio, lambda _, ratio: ratio)
    report.write(results, tmp_path, "darb experiment quick.toml")
    text = (tmp_path / "README.md").read_text()
    assert "`darb experiment quick.toml`" in text
    assert "16 of 16 runs done" in text
    assert "3 epochs, the same for every method" in text
    assert table(text, "Dense")["dense"] == ["10,000", *["97.95 ± 0.07"] * 2]
    # 0.98 * (1 - 0.004 - {0, 0.001}): mean and deviation of two.
    assert table(text, "Test accuracy")["darb"] == ["97.56 ± 0.07", "97.17 ± 0.07"]
    # The dense model of seed 1 is 0.1 % worse itself.
    assert table(text, "Loss over dense, % relative")["bank"] == ["+0.80 ± 0.00", "+1.60 ± 0.00"]
    assert table(text, "Stored bits")["bank"] == ["2,500 (4.0x)", "1,250 (8.0x)"]
    limits = table(text, "Largest ratio within 1% of dense")
    crossing = 4 * 2 ** (0.2 / 0.8)
    assert limits["bank"][:2] == [f"{crossing:.1f}", ""]
    assert limits["darb"][:2] == ["> 8.0", f"> {8 / crossing:.2f}"]
    assert limits["darb"][4] == "> 8.0"
    against = table(text, "Against irregular at equal ratio")
    assert against["darb"] == ["-0.20 ± 0.00", "-0.39 ± 0.00"]
    assert "irregular" not in against
    assert "\nDifference of the test metric in points" in text
    assert "not at equal ratio. Both sides have the saliency magnitude.\n" in text
    bits = table(text, "darb against the others at equal stored bits")
    assert bits["darb at"] == ["8x 1,250", "4x 2,500"]
    assert bits["bank"] == ["+0.78 ± 0.00", "+0.39 ± 0.00"]
    for name in ("ratio.png", "bits.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "results.csv").read_text())))
    assert len(rows) == 16
    assert rows[-1]["method"] == "irregular"
    assert float(rows[-1]["loss_over_dense"]) == pytest.approx(0.004, abs=1e-5)


def test_a_ratio_that_was_missed_is_shown(spec, tmp_path):
    results = made(spec(), lambda *_: 0.001, lambda method, ratio: ratio * (1.5 if method == "bank" else 1))
    report.write(results, tmp_path, "x")
    text = (tmp_path / "README.md").read_text()
    assert [cell.split()[-1] for cell in table(text, "Test accuracy")["bank"]] == ["(6.0x)", "(12.0x)"]
    assert table(text, "Against irregular at equal ratio")["bank"][0].endswith("(6.0x)")
    # 2,500 bits of darb are more than the 1,667 that bank needs at 4x: its value there holds.
    assert table(text, "darb against the others at equal stored bits")["bank"] == ["+0.00 ± 0.00"]


def test_what_needs_more_bits_has_no_value(spec, tmp_path):
    results = made(spec(), lambda *_: 0.001, lambda method, ratio: ratio * (0.6 if method == "bank" else 1))
    report.write(results, tmp_path, "x")
    text = (tmp_path / "README.md").read_text()
    assert table(text, "darb against the others at equal stored bits")["bank"][0] == "–"


def test_methods_of_another_saliency_than_irregular_are_named(spec, tmp_path):
    tables = """[methods.taylor]
method = "darb"
saliency = "taylor"
label = "darb, gradients"

[methods.mixed]
saliency = "mean"

[methods.density]
method = "darb"
allocation = "density"
saliency = "row"

[methods.irregular]"""
    results = made(spec(**{"[methods.irregular]": tables}), lambda *_: 0.001)
    report.write(results, tmp_path, "x")
    section = (tmp_path / "README.md").read_text().split("## Against irregular at equal ratio\n")[1].split("\n## ")[0]
    assert section.strip().endswith(
        "Both sides have the saliency magnitude, except for these, whose difference is also one of saliencies: "
        "darb, gradients (taylor); mixed (mean)."
    )


def test_report_of_a_part(spec, tmp_path):
    results = made(spec(), lambda *_: 0.001)
    most = len(results.records)
    for count in (0, 1, most // 2, most - 1, most):
        part = ExperimentResults(results.experiment, results.task, results.planned, results.records[:count])
        report.write(part, tmp_path, "x")
        assert ("unfinished" in (tmp_path / "README.md").read_text()) == (count < len(results.records))
    failed = [
        record | {"state": "failed", "reason": "a | b"} if record["method"] == "bank" else record
        for record in results.records
    ]
    whole = ExperimentResults(results.experiment, results.task, results.planned, failed)
    report.write(whole, tmp_path, "x")
    text = (tmp_path / "README.md").read_text()
    assert "4 failed" in text
    assert table(text, "Test accuracy")["bank"] == ["failed", "failed"]
    assert "a \\| b" in text


def test_report_is_of_these_settings_only(done, spec):
    experiment, work, _ = done
    assert len(collect(experiment, work).records) == 18
    other = experiment.model_copy(update={"training": spec_file.Training(epochs=4)})
    assert not collect(other, work).records


def test_command(done, tmp_path):
    _, work, _ = done
    arguments = ["--work", str(work), "-o", str(tmp_path), "--report-only"]
    result = CliRunner().invoke(app, ["experiment", str(work.parent / "quick.toml"), *arguments])
    assert result.exit_code == 0, result.output
    assert "16 runs done, 2 failed, 0 missing" in result.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["README.md", "bits.png", "ratio.png", "results.csv"]
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    CliRunner().invoke(app, ["experiment", str(work.parent / "quick.toml"), *arguments])
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
