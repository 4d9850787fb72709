"""The runs of an experiment, and what a kill leaves behind."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from darb_prune import tasks
from darb_prune.encoded import EncodedNetwork
from darb_prune.errors import DarbError
from darb_prune.runs import pipeline
from darb_prune.runs.folder import RunFolder
from darb_prune.studies.experiment import run
from darb_prune.studies.experiment import spec as spec_file
from darb_prune.studies.experiment.spec import DENSE, TUNED
from darb_prune.training.batches import Batches
from darb_prune.training.checkpoint import Checkpoint
from tests.prune.studies.experiment.quick import AXES, QUICK

ROOT = Path(__file__).resolve().parents[4]


def stripped(records: list[dict]) -> list[dict]:
    """Without what a second run may have otherwise."""
    kept = [{key: value for key, value in record.items() if key != "seconds"} for record in records]
    return sorted(kept, key=lambda record: record["digest"])


def test_runs(done):
    _, work, records = done
    assert len(records) == 2 * (2 + 3 * 2 + 1) == len(list(work.glob("*.json")))
    assert not list(work.glob("*.checkpoint"))
    by_run = {(record["method"], record["asked"], record["seed"]): record for record in records}
    dense, tuned = by_run[DENSE, None, 0], by_run[TUNED, None, 0]
    assert dense["ratio"] == tuned["ratio"] == 1
    assert dense["bits"] == tuned["bits"] == 8 * dense["weights"] == 8 * 17024
    assert dense["values"] != tuned["values"]
    pruned = by_run["darb", 8, 1]
    assert pruned["ratio"] == pytest.approx(8, rel=0.01)
    assert pruned["ratio"] == pruned["weights"] / pruned["kept"]
    sizes = {"fc1": 8192, "fc2": 8192, "fc3": 640}
    assert sum(sizes[name] * share for name, share in pruned["layers"].items()) == pytest.approx(pruned["kept"], abs=1)
    assert pruned["values"].keys() == {"validation", "test"}
    assert 0.2 < pruned["values"]["test"] <= 1
    assert pruned["versions"]["torch"]
    failed = by_run["none", 8, 0]
    assert failed["state"] == "failed"
    assert "cannot be reached" in failed["reason"]


def test_finished_runs_are_not_done_again(done):
    experiment, work, records = done
    again = run.run(experiment, work, progress=False)
    assert {record["method"] for record in again} == {"none"}, "only what failed"
    bank = next(record for record in records if record["method"] == "bank")
    path = next(work.glob(f"*{bank['digest'][:12]}.json"))
    for text in ("", path.read_text()[:50], json.dumps(bank | {"digest": "another"})):
        path.write_text(text)
        [redone] = [record for record in run.run(experiment, work, progress=False) if record["method"] != "none"]
        assert stripped([redone]) == stripped([bank])


def test_a_lost_dense_model_is_trained_again(done):
    experiment, work, _ = done
    model = next(work.glob("dense-seed1-*/model.safetensors"))
    before = model.read_bytes()
    model.write_bytes(before[:-1])
    assert sorted(record["method"] for record in run.run(experiment, work, progress=False)) == [DENSE, "none", "none"]
    assert model.read_bytes() == before


def test_any_number_of_jobs_gives_the_same(done, tmp_path):
    experiment, _, records = done
    assert stripped(run.run(experiment, tmp_path, jobs=2, progress=False)) == stripped(records)


def test_jobs(done, tmp_path):
    with pytest.raises(DarbError, match="jobs 0 must be at least 1"):
        run.run(done[0], tmp_path, jobs=0)


def start(tmp_path: Path, *arguments: str) -> subprocess.Popen:
    # Interrupts reach it, whatever the tests themselves were started with.
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\nfrom darb_prune.cli import app; app()"
    )
    program = [sys.executable, "-c", code]
    # Long enough to be interrupted, short enough for a test.
    path = tmp_path / "quick.toml"
    path.write_text(QUICK.replace("final_epochs = 2", "final_epochs = 15").replace("seeds = 2", "seeds = 1"))
    folders = ["--work", str(tmp_path / "work"), "-o", str(tmp_path / "report"), "--quiet"]
    return subprocess.Popen(
        [*program, "experiment", str(path), *folders, *arguments], cwd=ROOT, start_new_session=True, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def wait_for(condition, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.01)


def children(process: subprocess.Popen) -> list[int]:
    """Living descendants, on Linux."""
    process_ids = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return [int(process_id) for process_id in process_ids]


def is_gone(process_id: int) -> bool:
    try:
        return Path(f"/proc/{process_id}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


@pytest.mark.parametrize("jobs", [pytest.param(1, marks=pytest.mark.long), 2])
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
    experiment = spec_file.load(tmp_path / "quick.toml")
    planned = spec_file.plan(experiment, tasks.get("digits"))
    assert 3 <= len(before) < len(planned) == 8
    again = run.run(experiment, work, progress=False)
    assert len(before) + len(again) == len(planned)
    assert all((work / name).stat().st_mtime_ns == stamp for name, stamp in before.items())
    # What was killed and done again is what it would have been.
    records = [run.finished(planned_run, work) for planned_run in planned]
    fresh = run.run(experiment, tmp_path / "fresh", progress=False)
    assert stripped(records) == stripped(fresh)


def test_an_interrupt_ends_everything_and_reports(tmp_path):
    # As in a job of a shell without job control: what ignores interrupts hands that on to what it starts.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        process = start(tmp_path, "--jobs", "2")
    finally:
        signal.signal(signal.SIGINT, before)
    wait_for(lambda: list((tmp_path / "work").glob("*.json")))
    # As a terminal does: to all of them.
    os.killpg(process.pid, signal.SIGINT)
    out, error = process.communicate(timeout=60)
    assert process.returncode == 130, error
    assert "the same command goes on" in out
    assert "Traceback" not in error
    assert "unfinished" in (tmp_path / "report" / "README.md").read_text()


def test_a_run_in_progress_goes_on_from_its_checkpoint(tmp_path, monkeypatch):
    path = tmp_path / "one.toml"
    path.write_text(
        'task = "digits"\nseeds = 1\nratios = [4]\n[training]\nepochs = 6\n'
        "[pruning]\nsteps = 2\nepochs = 1\nfinal_epochs = 6\n[methods.darb]\n"
    )
    spec = spec_file.load(path)
    planned = next(
        planned_run for planned_run in spec_file.plan(spec, tasks.get("digits")) if planned_run.method == "darb"
    )
    whole, again = tmp_path / "whole", tmp_path / "again"
    for work in (whole, again):
        run.execute(planned.of_model, work)
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
    resumed = run.execute(planned, again)
    assert len(passes) == 5 + 3  # of 7 epochs 4 were done before the stop
    assert {key: value for key, value in resumed.items() if key != "seconds"} == {
        key: value for key, value in expected.items() if key != "seconds"
    }


def test_sizes_teachers_and_rounded_weights(tmp_path):
    path = tmp_path / "axes.toml"
    path.write_text(AXES)
    experiment, work = spec_file.load(path), tmp_path / "work"
    records = run.run(experiment, work, progress=False)
    by = {(record["method"], record["size"], record["weight_bits"]): record for record in records}
    assert {record["state"] for record in records} == {"done"}
    assert by["darb", 2, 0]["weights"] == 64 * 256 + 256 * 128 + 128 * 10
    whole, narrow = by["darb", 1, 8], by["darb", 1, 4]
    assert whole["bits"] == by["darb", 1, 0]["bits"]
    assert whole["bits"] - narrow["bits"] == 4 * whole["kept"]
    assert by[TUNED, 1, 4]["bits"] == 4 * 17024
    for record in (whole, narrow):
        [file] = work.glob(f"*{record['digest'][:12]}.darb")
        assert {layer.weight_bits for layer in EncodedNetwork.load(file).layers} == {record["weight_bits"]}
    small = next(planned for planned in spec_file.plan(experiment, tasks.get("digits")) if planned.method == "small")
    start = small.of_model.of_model if small.variant.bits else small.of_model
    folder, model = RunFolder.load(work / start.stem)
    assert (folder.size, model.fc1.out_features) == (0.25, 32)
    alone, _ = pipeline.train_model(tasks.get("digits"), 0, False, size=0.25, **start.settings["training"])
    assert not torch.equal(alone.fc1.weight, model.fc1.weight), "the teacher has said something"
    taught, _ = pipeline.train_model(
        tasks.get("digits"), 0, False, size=0.25, teacher=RunFolder.load(work / start.of_teacher.stem)[1],
        distillation=start.settings["distillation"], **start.settings["training"],
    )  # fmt: skip
    assert torch.equal(taught.fc1.weight, model.fc1.weight)


def test_groups_that_have_no_code_are_measured_all_the_same(tmp_path):
    path = tmp_path / "axes.toml"
    path.write_text(AXES.replace("[methods.nm]", "[methods.nm]\nratios = [6]\nkept = 1"))
    records = run.run(spec_file.load(path), tmp_path / "work", progress=False)
    groups = [record for record in records if record["method"] == "nm"]
    assert [(record["state"], record["group"], record["weight_bits"]) for record in groups] == [
        ("done", 7, 0), ("done", 7, 4), ("done", 7, 8),
    ]  # fmt: skip
    assert not list((tmp_path / "work").glob("nm*.darb"))


def test_what_is_rounded_fails_with_what_it_starts_from(tmp_path):
    path = tmp_path / "axes.toml"
    path.write_text(AXES.replace("[methods.nm]", '[methods.nm]\nexclude = ["fc1", "fc2", "fc3"]'))
    records = run.run(spec_file.load(path), tmp_path / "work", progress=False)
    failed = [record for record in records if record["method"] == "nm"]
    assert [record["weight_bits"] for record in failed] == [0, 4, 8]
    assert {record["state"] for record in failed} == {"failed"}
    assert all("cannot be reached" in record["reason"] for record in failed)
