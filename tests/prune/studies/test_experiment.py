"""Experiments: the file, the runs, what a kill leaves behind, and the report."""

import csv
import io
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from darb_prune import tasks
from darb_prune.cli import app
from darb_prune.errors import DarbError
from darb_prune.studies.experiment import report, run
from darb_prune.studies.experiment import spec as spec_file
from darb_prune.studies.experiment.spec import DENSE, TUNED
from darb_prune.studies.experiment.statistics import Interval, Spread, best, interpolate, largest, quotient
from darb_prune.training.batches import Batches
from darb_prune.training.checkpoint import Checkpoint

ROOT = Path(__file__).resolve().parents[3]
QUICK = """
task = "digits"
seeds = 2
ratios = [4, 8]

[training]
epochs = 3

[pruning]
steps = 2
epochs = 1
final_epochs = 2

[methods.darb]

[methods.bank]
kept = 4

[methods.irregular]
"""


@pytest.fixture
def spec(tmp_path):
    def make(text: str = QUICK, **replaced) -> spec_file.Experiment:
        for old, new in replaced.items():
            text = text.replace(old, new)
        path = tmp_path / "quick.toml"
        path.write_text(text)
        return spec_file.load(path)

    return make


# --- the file


def test_file(spec):
    found = spec(QUICK + 'label = "free"\nratios = [13, 25]\n')
    assert (found.name, found.seeds, found.ratios) == ("quick", (0, 1), (4, 8))
    assert found.methods["bank"].options() == {"method": "bank", "kept": 4}
    assert found.label("irregular") == "free"
    assert found.label("darb") == "darb"
    assert spec_file.subject(found) == "darb"
    planned = spec_file.plan(found, tasks.get("digits"))
    assert [(one.method, one.seed) for one in planned[:3]] == [(DENSE, 0), (DENSE, 1), (TUNED, 0)]
    assert [one.ratio for one in planned if one.method == "irregular"] == [13, 25] * 2
    assert len({one.digest for one in planned}) == len({one.stem for one in planned}) == len(planned) == 16


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("kept = 4", "kept = 0", "methods.bank.kept: 0: input should be greater than or equal to 1"),
        ("kept = 4", "keep = 4", "methods.bank.keep: unknown"),
        ("kept = 4", "steps = 4", r"methods.bank.steps: the schedule is the same for all; set it in \[pruning\]"),
        ("kept = 4", "final_epochs = 4", "methods.bank.final_epochs: the schedule is the same"),
        ("[methods.darb]", '[methods.darb]\nlevels = ["2;1"]', 'methods.darb.levels.0: level .*: write "b,m"'),
        ("kept = 4", 'saliency = "mean"', "methods.bank: saliency: method bank has no such option; .*: darb, mixed"),
        ("kept = 4", "kept = 4\ngroup = 8", "methods.bank: group and kept exclude each other"),
        ("kept = 4", "admm = -1", "methods.bank.admm: -1.0 must be a number from 0 up"),
        ("kept = 4", 'order = "random"', "methods.bank.order: 'random': input should be 'none'"),
        ("methods.bank", "methods.mine", "methods.mine.method: missing; choose one of darb, mixed"),
        ("methods.bank", "methods.dense", "methods.dense: every experiment has this reference"),
        ('"digits"', '"digit"', "task: 'digit': input should be 'digits'"),
        ("seeds = 2", "seeds = []", "seeds: .* at least 1"),
        ("seeds = 2", "seeds = [1, 1]", "seeds: has a value twice"),
        ("seeds = 2", "seeds = -1", "seeds: -1"),
        ("[4, 8]", "[1, 8]", "ratios.0: 1: input should be greater than 1"),
        ("steps = 2", "steps = 0", "pruning.steps: 0"),
        ("epochs = 3", "epoch = 3", "training.epoch: unknown"),
        ("kept = 4", 'label = "darb"', "methods: two have the same label"),
        ("seeds = 2", 'seeds = 2\nsubject = "nm"', "subject: no method is called 'nm'"),
        ("seeds = 2", "seeds = 2\ndistillation = true", "distillation: True"),
        ("seeds = 2", "seeds 2", "no TOML"),
    ],
)
def test_mistakes_are_one_line_that_names_the_field(spec, old, new, message):
    with pytest.raises(DarbError, match=message) as error:
        spec(**{old: new})
    assert "\n" not in str(error.value)


def test_no_file(tmp_path):
    with pytest.raises(DarbError, match="no such file"):
        spec_file.load(tmp_path / "none.toml")


def test_every_method_is_trained_the_same(spec):
    planned = spec_file.plan(spec(), tasks.get("digits"))
    schedules = [one.settings["pruning"] for one in planned if one.method != DENSE]
    for name in ("steps", "epochs", "final_epochs", "rate", "final_rate"):
        assert len({schedule[name] for schedule in schedules}) == 1
    assert len({json.dumps(one.settings["training"]) for one in planned}) == 1


def test_settings_that_change_results_change_the_digest(spec):
    def digests(**replaced):
        return {one.stem: one.digest for one in spec_file.plan(spec(**replaced), tasks.get("digits"))}

    base = digests()
    assert not base.keys() & digests(**{"epochs = 3": "epochs = 4"}).keys()
    kept = base.keys() & digests(**{"final_epochs = 2": "final_epochs = 4"}).keys()
    assert {name.split("-")[0] for name in kept} == {"dense"}
    assert len(kept) == 2
    # More seeds, ratios and methods leave what there is.
    assert base.keys() < digests(**{"seeds = 2": "seeds = 3", "[4, 8]": "[4, 8, 13]"}).keys()


@pytest.mark.parametrize("path", sorted((ROOT / "examples" / "experiments").glob("*.toml")), ids=lambda path: path.stem)
def test_examples(path):
    found = spec_file.load(path)
    assert spec_file.subject(found) == "darb"
    assert found.task == path.stem
    assert {"bank", "nm", "irregular"} <= found.methods.keys()


# --- statistics


def test_largest():
    assert largest([4, 16], [0.0, 0.02]).low == pytest.approx(8)
    assert largest([16, 4], [0.02, 0.0]) == largest([4, 16], [0.0, 0.02])
    assert largest([4, 16], [0.0, 0.01]) == Interval(pytest.approx(16), math.inf)
    assert largest([4, 16], [0.02, 0.0]) == Interval(0.0, pytest.approx(4))
    # A curve that comes back is above from where it first was.
    assert largest([4, 16, 64], [0.0, 0.02, 0.0]).high == pytest.approx(8)
    # Two settings that reach the same ratio are one point.
    assert largest([4, 16, 16], [0.0, 0.01, 0.03]).low == pytest.approx(8)


@given(
    st.lists(st.integers(10, 60), min_size=2, max_size=6, unique=True),
    st.lists(st.integers(-20, 40).filter(lambda loss: loss != 10), min_size=6, max_size=6),
)
def test_largest_is_the_first_crossing_of_the_line(places, losses):
    """Against a walk along the curve in small steps; x is ``1.1 ** place``."""
    points = sorted(zip(places, losses, strict=False))
    found = largest([1.1**place for place, _ in points], [loss / 1000 for _, loss in points])
    walk = np.arange(points[0][0], points[-1][0] + 1e-9, 0.001)
    above = np.interp(walk, *zip(*points, strict=True)) > 10
    if not above.any():
        assert found == Interval(pytest.approx(1.1 ** points[-1][0]), math.inf)
    elif above[0]:
        assert found == Interval(0.0, pytest.approx(1.1 ** points[0][0]))
    else:
        assert found.low == found.high == pytest.approx(1.1 ** walk[np.argmax(above)], rel=2e-4)


def test_interpolate():
    assert interpolate(8, [4, 16], [1.0, 3.0]) == pytest.approx(2)
    assert interpolate(4, [16, 4], [3.0, 1.0]) == pytest.approx(1)
    assert interpolate(3.9, [4, 16], [1.0, 3.0]) is None
    assert interpolate(17, [4, 16], [1.0, 3.0]) is None


def test_intervals():
    exact, above, below = Interval(20, 20), Interval(50, math.inf), Interval(0, 8)
    assert [one.text() for one in (exact, above, below, Interval(2, 3), Interval(0, math.inf))] == [
        "20.0", "> 50.0", "< 8.0", "2.0 to 3.0", "–",
    ]  # fmt: skip
    assert quotient(exact, Interval(10, 10)).text() == "2.0"
    assert quotient(exact, below).text() == "> 2.5"
    assert quotient(exact, above).text() == "< 0.4"
    assert quotient(above, exact).text() == "> 2.5"
    assert quotient(above, above).text() == "–"
    assert quotient(below, below).text() == "–"
    assert quotient(below, exact).text() == "< 0.4"
    assert best({}) is None
    assert best({"a": Interval(5, 5), "b": exact, "c": below}) == ("b", exact)
    # One that was within everywhere may be better than any exact one.
    assert best({"a": exact, "b": Interval(13, math.inf)}) == ("a", Interval(20, math.inf))


def test_spread():
    assert Spread.of([1.0]).text() == "1.00"
    assert Spread.of([1.0, 2.0, 3.0]).text(1, 100, sign=True) == "+200.0 ± 100.0"


# --- runs


def stripped(records: list[dict]) -> list[dict]:
    """Without what a second run may have otherwise."""
    kept = [{key: value for key, value in record.items() if key != "seconds"} for record in records]
    return sorted(kept, key=lambda record: record["digest"])


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """The quick experiment with a method that cannot reach its ratio: experiment, work folder, records."""
    folder = tmp_path_factory.mktemp("experiment")
    path = folder / "quick.toml"
    path.write_text(QUICK + '[methods.none]\nmethod = "darb"\nexclude = ["fc1", "fc2", "fc3"]\nratios = [8]\n')
    found = spec_file.load(path)
    return found, folder / "work", run.run(found, folder / "work", progress=False)


def test_runs(done):
    _, work, records = done
    assert len(records) == 2 * (2 + 3 * 2 + 1) == len(list(work.glob("*.json")))
    assert not list(work.glob("*.checkpoint"))
    by_place = {(one["method"], one["asked"], one["seed"]): one for one in records}
    dense, tuned = by_place[DENSE, None, 0], by_place[TUNED, None, 0]
    assert dense["ratio"] == tuned["ratio"] == 1
    assert dense["bits"] == tuned["bits"] == 8 * dense["weights"] == 8 * 17024
    assert dense["values"] != tuned["values"]
    pruned = by_place["darb", 8, 1]
    assert pruned["ratio"] == pytest.approx(8, rel=0.01)
    assert pruned["ratio"] == pruned["weights"] / pruned["kept"]
    sizes = {"fc1": 8192, "fc2": 8192, "fc3": 640}
    assert sum(sizes[name] * share for name, share in pruned["layers"].items()) == pytest.approx(pruned["kept"], abs=1)
    assert pruned["values"].keys() == {"validation", "test"}
    assert 0.2 < pruned["values"]["test"] <= 1
    assert pruned["versions"]["torch"]
    failed = by_place["none", 8, 0]
    assert failed["state"] == "failed"
    assert "cannot be reached" in failed["reason"]


def test_finished_runs_are_not_done_again(done):
    found, work, records = done
    again = run.run(found, work, progress=False)
    assert {one["method"] for one in again} == {"none"}, "only what failed"
    one = next(record for record in records if record["method"] == "bank")
    path = next(work.glob(f"*{one['digest'][:12]}.json"))
    for text in ("", path.read_text()[:50], json.dumps(one | {"digest": "another"})):
        path.write_text(text)
        [redone] = [record for record in run.run(found, work, progress=False) if record["method"] != "none"]
        assert stripped([redone]) == stripped([one])


def test_a_lost_dense_model_is_trained_again(done):
    found, work, _ = done
    model = next(work.glob("dense-seed1-*/model.safetensors"))
    before = model.read_bytes()
    model.write_bytes(before[:-1])
    assert [one["method"] for one in run.run(found, work, progress=False)] == [DENSE, "none", "none"]
    assert model.read_bytes() == before


def test_any_number_of_jobs_gives_the_same(done, tmp_path):
    found, _, records = done
    assert stripped(run.run(found, tmp_path, jobs=2, progress=False)) == stripped(records)


def test_jobs(done, tmp_path):
    with pytest.raises(DarbError, match="jobs 0 must be at least 1"):
        run.run(done[0], tmp_path, jobs=0)


def start(tmp_path: Path, *arguments: str) -> subprocess.Popen:
    program = [sys.executable, "-c", "from darb_prune.cli import app; app()"]
    # Long enough to be interrupted, short enough for a test.
    path = tmp_path / "quick.toml"
    path.write_text(QUICK.replace("final_epochs = 2", "final_epochs = 15").replace("seeds = 2", "seeds = 1"))
    places = ["--work", str(tmp_path / "work"), "-o", str(tmp_path / "report"), "--quiet"]
    return subprocess.Popen(
        [*program, "experiment", str(path), *places, *arguments], cwd=ROOT, start_new_session=True, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def wait_for(condition, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.01)


def children(process: subprocess.Popen) -> list[int]:
    """Living descendants, on Linux."""
    found = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return [int(number) for number in found]


def is_gone(number: int) -> bool:
    try:
        return Path(f"/proc/{number}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_kill_loses_at_most_the_runs_in_progress(tmp_path, jobs):
    work = tmp_path / "work"
    killed = start(tmp_path, "--jobs", str(jobs))
    wait_for(lambda: len(list(work.glob("*.json"))) >= 3)
    workers = children(killed) if sys.platform == "linux" else []
    killed.kill()
    killed.wait()
    # Not communicate(): it would wait for workers that live on, which the next line is there to find.
    killed.stdout.close()
    killed.stderr.close()
    wait_for(lambda: all(map(is_gone, workers)), 20)
    before = {path.name: path.stat().st_mtime_ns for path in work.glob("*.json")}
    found = spec_file.load(tmp_path / "quick.toml")
    planned = spec_file.plan(found, tasks.get("digits"))
    assert 3 <= len(before) < len(planned) == 8
    again = run.run(found, work, progress=False)
    assert len(before) + len(again) == len(planned)
    assert all((work / name).stat().st_mtime_ns == stamp for name, stamp in before.items())
    # What was killed and done again is what it would have been.
    records = [run.finished(one, work) for one in planned]
    fresh = run.run(found, tmp_path / "fresh", progress=False)
    assert stripped(records) == stripped(fresh)


def test_an_interrupt_ends_everything_and_reports(tmp_path):
    process = start(tmp_path, "--jobs", "2")
    wait_for(lambda: list((tmp_path / "work").glob("*.json")))
    # As a terminal does: to all of them.
    os.killpg(process.pid, signal.SIGINT)
    out, error = process.communicate(timeout=60)
    assert process.returncode == 130, error
    assert "the same command goes on" in out
    assert "Traceback" not in error
    assert "unfinished" in (tmp_path / "report" / "README.md").read_text()


# --- the report


def made(found: spec_file.Experiment, losses, reached=lambda method, ratio: ratio) -> report.ExperimentResults:
    """Results with the given relative loss of each method at each ratio, and a little more for each seed."""
    task = tasks.get(found.task)
    planned = spec_file.plan(found, task)
    records = []
    for one in planned:
        ratio = 1 if one.ratio is None else reached(one.method, one.ratio)
        loss = (0 if one.ratio is None else losses(one.method, one.ratio)) + one.seed * 1e-3
        value = 0.98 * (1 - loss)
        records.append({
            "method": one.method, "asked": one.ratio, "seed": one.seed, "digest": one.digest, "state": "done",
            "settings": one.settings, "versions": {"torch": "2"}, "seconds": 1.0, "ratio": ratio, "weights": 1000,
            "kept": 1000 / ratio, "bits": 10000 / ratio, "values": {"validation": value, "test": value},
            "layers": {"fc1": 1 / ratio},
        })  # fmt: skip
    return report.ExperimentResults(found, task, planned, records)


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
    assert table(text, "Dense")["dense"] == ["97.95 ± 0.07"] * 2
    # 0.98 * (1 - 0.004 - {0, 0.001}): mean and deviation of two.
    assert table(text, "Test accuracy")["darb"] == ["97.56 ± 0.07", "97.17 ± 0.07"]
    # The dense model of seed 1 is 0.1 % worse itself.
    assert table(text, "Loss over dense, % relative")["bank"] == ["+0.80 ± 0.00", "+1.60 ± 0.00"]
    assert table(text, "Stored bits per dense weight")["bank"] == ["2.500 (3.2x)", "1.250 (6.4x)"]
    limits = table(text, "Largest ratio within 1% of dense")
    crossing = 4 * 2 ** (0.2 / 0.8)
    assert limits["bank"][:2] == [f"{crossing:.1f}", ""]
    assert limits["darb"][:2] == ["> 8.0", f"> {8 / crossing:.2f}"]
    assert limits["darb"][4] == "> 6.4"
    against = table(text, "Against irregular at equal ratio")
    assert against["darb"] == ["-0.20 ± 0.00", "-0.39 ± 0.00"]
    assert "irregular" not in against
    bits = table(text, "darb against the others at equal stored bits")
    assert bits["stored bits per dense weight"] == ["2.500", "1.250"]
    assert bits["bank"] == ["+0.39 ± 0.00", "+0.78 ± 0.00"]
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
    # 2500 bits of darb are more than the 1667 that bank needs at 4x.
    assert table(text, "darb against the others at equal stored bits")["bank"][0] == "–"


def test_report_of_a_part(spec, tmp_path):
    results = made(spec(), lambda *_: 0.001)
    for count in range(len(results.records) + 1):
        part = report.ExperimentResults(results.experiment, results.task, results.planned, results.records[:count])
        report.write(part, tmp_path, "x")
        assert ("unfinished" in (tmp_path / "README.md").read_text()) == (count < len(results.records))
    failed = [
        one | {"state": "failed", "reason": "a | b"} if one["method"] == "bank" else one for one in results.records
    ]
    whole = report.ExperimentResults(results.experiment, results.task, results.planned, failed)
    report.write(whole, tmp_path, "x")
    text = (tmp_path / "README.md").read_text()
    assert "4 failed" in text
    assert table(text, "Test accuracy")["bank"] == ["failed", "failed"]
    assert "a \\| b" in text


def test_report_is_of_these_settings_only(done, spec):
    found, work, _ = done
    assert len(report.collect(found, work).records) == 18
    other = found.model_copy(update={"weight_bits": 4})
    assert not report.collect(other, work).records


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


def test_names_that_would_share_a_file_are_refused(tmp_path):
    def load(*names):
        methods = "".join(f'[methods."{name}"]\nmethod = "darb"\n' for name in names)
        path = tmp_path / "one.toml"
        path.write_text(f'task = "digits"\nseeds = 1\nratios = [4]\n{methods}')
        return spec_file.load(path)

    with pytest.raises(DarbError, match="two names differ in punctuation only"):
        load("darb, x", "darb x")
    with pytest.raises(DarbError, match="longer than 100 letters"):
        load("x" * 101)
    assert list(load("darb, x", "darb y").methods) == ["darb, x", "darb y"]


def test_a_run_in_progress_goes_on_from_its_checkpoint(tmp_path, monkeypatch):
    path = tmp_path / "one.toml"
    path.write_text(
        'task = "digits"\nseeds = 1\nratios = [4]\n[training]\nepochs = 6\n'
        "[pruning]\nsteps = 2\nepochs = 1\nfinal_epochs = 6\n[methods.darb]\n"
    )
    spec = spec_file.load(path)
    planned = next(one for one in spec_file.plan(spec, tasks.get("digits")) if one.method == "darb")
    whole, again = tmp_path / "whole", tmp_path / "again"
    for work in (whole, again):
        run.execute(planned.of_dense, work)
    expected = run.execute(planned, whole)
    passes = []
    real = Batches.__iter__

    def counted(self):
        passes.append(None)
        if len(passes) == 5:
            raise KeyboardInterrupt
        return real(self)

    monkeypatch.setattr(Batches, "__iter__", counted)
    monkeypatch.setattr(Checkpoint, "due", True)
    with pytest.raises(KeyboardInterrupt):
        run.execute(planned, again)
    found = run.execute(planned, again)
    assert len(passes) == 5 + 3  # of 7 epochs 4 were done before the stop
    assert {key: value for key, value in found.items() if key != "seconds"} == {
        key: value for key, value in expected.items() if key != "seconds"
    }
