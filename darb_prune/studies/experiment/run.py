"""Run an experiment: one file a finished run, so that a kill loses no more than what is in progress."""

import json
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Generator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from darb_prune import tasks
from darb_prune.errors import DarbError
from darb_prune.files import write_atomic
from darb_prune.modules.layers import layers
from darb_prune.runs import pipeline
from darb_prune.runs.folder import RunFolder, versions
from darb_prune.studies.experiment.spec import DENSE, Experiment, PlannedRun, plan
from darb_prune.tasks import DataSets
from darb_prune.training.checkpoint import Checkpoint

__all__ = ["execute", "finished", "run"]

DONE, FAILED = "done", "failed"


def finished(planned: PlannedRun, work: Path) -> dict | None:
    """The record of a run that was done, or failed, with exactly these settings; ``None`` if there is none."""
    try:
        record = json.loads((work / f"{planned.stem}.json").read_text())
        return record if record["digest"] == planned.digest and record["state"] in (DONE, FAILED) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def execute(planned: PlannedRun, work: Path, data: DataSets | None = None) -> dict:
    """Do one run and write its record.

    A run that was stopped goes on from its checkpoint; one that cannot be done leaves a record that says why.

    Returns
    -------
    dict: the record, see docs/experiments.md.
    """
    start = time.monotonic()
    # Sums of floats depend on how they are split over threads.
    torch.set_num_threads(1)
    settings = planned.settings
    record = {
        "method": planned.method, "asked": planned.ratio, "seed": planned.seed, "digest": planned.digest,
        "settings": settings, "versions": versions(),
    }  # fmt: skip
    checkpoint = _checkpoint(work / f"{planned.stem}.checkpoint", planned.digest)
    try:
        act = _train if planned.method == DENSE else _prune
        record |= act(planned, work, checkpoint, data)
        record["state"] = DONE
    except DarbError as error:
        if planned.method == DENSE:
            raise
        record |= {"state": FAILED, "reason": str(error)}
    record["seconds"] = round(time.monotonic() - start, 2)
    write_atomic(work / f"{planned.stem}.json", (json.dumps(record, indent=2) + "\n").encode())
    checkpoint.remove()
    return record


def _checkpoint(path: Path, digest: str) -> Checkpoint:
    try:
        return Checkpoint(path, {"digest": digest})
    except DarbError:  # a damaged one is worth less than the run
        path.unlink()
        return Checkpoint(path, {"digest": digest})


def _train(planned: PlannedRun, work: Path, checkpoint: Checkpoint, data: DataSets | None) -> dict:
    task = tasks.get(planned.settings["task"], data)
    training = planned.settings["training"]
    model, losses = pipeline.train_model(task, planned.seed, False, checkpoint, **training)
    values = pipeline.measure(task, model)
    folder = work / planned.stem
    RunFolder(task.name, planned.seed, accuracy={"dense": values}, options={"train": training}, history=losses).save(
        folder, model
    )
    weights = _weights(model)
    total = sum(weights.values())
    return {"values": values, **_size(model, weights, total, total * planned.settings["weight_bits"])}


def _prune(planned: PlannedRun, work: Path, checkpoint: Checkpoint, data: DataSets | None) -> dict:
    task = tasks.get(planned.settings["task"], data)
    _, model = RunFolder.load(work / planned.of_dense.stem, data)
    weights = _weights(model)
    left, history = pipeline.prune_model(
        task, model, seed=planned.seed, progress=False, checkpoint=checkpoint, **planned.pruning()
    )
    return {"values": pipeline.measure(task, model), **_size(model, weights, left.kept, left.bits), "history": history}


def _weights(model: torch.nn.Module) -> dict[str, int]:
    """Weights of each layer."""
    return {layer.name: layer.weights for layer in layers(model)}


def _size(model: torch.nn.Module, weights: dict[str, int], kept: int, bits: int) -> dict:
    """What is left of a model that had ``weights`` in each layer."""
    shares = {layer.name: round(int(layer.mask().sum()) / weights[layer.name], 6) for layer in layers(model)}
    total = sum(weights.values())
    return {"weights": total, "kept": kept, "bits": bits, "ratio": total / max(kept, 1), "layers": shares}


def run(
    experiment: Experiment, work: Path, jobs: int = 1, progress: bool = True, data: DataSets | None = None
) -> list[dict]:
    """Do what is missing of ``experiment``. Failed runs are tried again.

    The results do not depend on the number of jobs.

    Parameters
    ----------
    experiment : Experiment
    work : pathlib.Path
        Folder of the records and of the dense models.
    jobs : int
        Worker processes, with one thread each; 1 works in this process.
    progress : bool
        Whether to draw one progress bar over all runs (on standard error).
    data : DataSets, optional
        Where the task finds its data set (see :func:`darb_prune.tasks.get`).

    Returns
    -------
    list of dict: the records of the runs done now, in the order in which they ended.

    Raises
    ------
    DarbError
        If ``jobs`` is below 1, the data set is missing, or a dense model cannot be trained.
    """
    if jobs < 1:
        raise DarbError(f"jobs {jobs} must be at least 1")
    task = tasks.get(experiment.task, data)
    runs = plan(experiment, task)
    missing = [planned for planned in runs if not _is_done(planned, work, data)]
    if not missing:
        return []
    task.load()  # missing data are the user's mistake, not a failure of every run
    # Everything starts from the dense models.
    stages = [[planned for planned in missing if (planned.method == DENSE) == first] for first in (True, False)]
    records = []
    with _bar(progress) as bar:
        shown = bar.add_task(experiment.name, total=len(missing))
        for stage in filter(None, stages):
            with closing(_records(stage, work, jobs, data)) as finishing:
                for record in finishing:
                    records.append(record)
                    bar.advance(shown)
    return records


def _is_done(planned: PlannedRun, work: Path, data: DataSets | None) -> bool:
    record = finished(planned, work)
    if not record or record["state"] != DONE:
        return False
    if planned.method != DENSE:
        return True
    try:
        RunFolder.load(work / planned.stem, data)
    except DarbError:
        return False
    return True


def _bar(progress: bool) -> Progress:
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        TimeRemainingColumn(), TextColumn("left"),
    )  # fmt: skip
    # Runs take minutes, and the speed of the last half an hour tells more than that of the last half a minute.
    return Progress(*columns, console=Console(stderr=True), disable=not progress, speed_estimate_period=1800)


def _records(runs: list[PlannedRun], work: Path, jobs: int, data: DataSets | None) -> Generator[dict]:
    if min(jobs, len(runs)) == 1:
        for planned in runs:
            yield execute(planned, work, data)
        return
    # Not fork: torch's threads do not survive it.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(jobs, len(runs)), context, _start_worker) as pool:
        try:
            for future in as_completed([pool.submit(execute, planned, work, data) for planned in runs]):
                yield future.result()
        except BrokenProcessPool:
            raise DarbError(
                f"jobs {jobs}: a worker process was killed (no memory left?); give the command again, with fewer jobs"
            ) from None
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for worker in multiprocessing.active_children():
                worker.terminate()
            raise


def _start_worker() -> None:
    # Ctrl-C reaches all processes of a terminal; the parent ends its workers itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    parent = multiprocessing.parent_process()
    assert parent is not None  # this is a worker

    def follow() -> None:
        # A killed parent cannot; without this its workers would go on alone and then wait forever.
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
