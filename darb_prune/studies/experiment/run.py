"""Run an experiment: one file a finished run, so that a kill loses no more than what is in progress."""

import json
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Generator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from darb_prune import tasks
from darb_prune.errors import DarbError
from darb_prune.files import write_atomic
from darb_prune.integer.dead import without_dead
from darb_prune.integer.encoder import encode
from darb_prune.modules.layers import layers
from darb_prune.pruning.one_shot import Pruned, bits_of
from darb_prune.runs import pipeline
from darb_prune.runs.folder import RunFolder, versions
from darb_prune.studies.experiment.spec import DENSE, WHOLE_BITS, Experiment, PlannedRun, plan
from darb_prune.tasks import DataSets
from darb_prune.training.checkpoint import Checkpoint

__all__ = ["execute", "finished", "run"]

DONE, FAILED = "done", "failed"


def finished(planned: PlannedRun, work: Path) -> dict | None:
    """The record of a run that was done, or failed, with exactly these settings; ``None`` if there is none."""
    try:
        record = json.loads((work / f"{planned.stem}.json").read_text())
        if record["digest"] != planned.digest or record["state"] not in (DONE, FAILED):
            return None
        return record | {"method": planned.method}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def execute(planned: PlannedRun, work: Path, data: DataSets | None = None) -> dict:
    """Do one run and write its record, and the run folder of its model.

    A run that was stopped goes on from its checkpoint; one that cannot be done leaves a record that says why.

    Returns
    -------
    dict: the record, see docs/experiments.md.
    """
    start = time.monotonic()
    # Sums of floats depend on how they are split over threads.
    torch.set_num_threads(1)
    variant = planned.variant
    record = {
        "method": planned.method, "asked": planned.ratio, "size": variant.size, "weight_bits": variant.bits,
        "seed": planned.seed, "digest": planned.digest, "settings": planned.settings, "versions": versions(),
    }  # fmt: skip
    checkpoint = _checkpoint(work / f"{planned.stem}.checkpoint", planned.digest)
    try:
        record |= _act(planned)(planned, work, checkpoint, data)
        record["state"] = DONE
    except DarbError as error:
        if planned.method == DENSE:
            raise
        record |= {"state": FAILED, "reason": str(error)}
    record["seconds"] = round(time.monotonic() - start, 2)
    write_atomic(work / f"{planned.stem}.json", (json.dumps(record, indent=2) + "\n").encode())
    checkpoint.remove()
    return record


def _act(planned: PlannedRun) -> Callable[[PlannedRun, Path, Checkpoint, DataSets | None], dict]:
    if planned.method == DENSE:
        return _train
    return _quantize if planned.variant.bits else _prune


def _checkpoint(path: Path, digest: str) -> Checkpoint:
    try:
        return Checkpoint(path, {"digest": digest})
    except DarbError:  # a damaged one is worth less than the run
        path.unlink()
        return Checkpoint(path, {"digest": digest})


def _train(planned: PlannedRun, work: Path, checkpoint: Checkpoint, data: DataSets | None) -> dict:
    task, settings = tasks.get(planned.settings["task"], data), planned.settings
    teacher = None if planned.of_teacher is None else _model(planned.of_teacher, work, data)[1]
    model, losses = pipeline.train_model(
        task, planned.seed, False, checkpoint, settings["size"], teacher, settings.get("distillation"),
        **settings["training"],
    )  # fmt: skip
    values = pipeline.measure(task, model)
    options = {"train": settings["training"]}
    folder = RunFolder(
        task.name, planned.seed, accuracy={"dense": values}, options=options, history=losses, size=settings["size"]
    )
    folder.save(work / planned.stem, model)
    weights = _weights(model)
    total = sum(weights.values())
    return {"values": values, **_size(model, weights, Pruned(total, total, total * settings["weight_bits"]))}


def _prune(planned: PlannedRun, work: Path, checkpoint: Checkpoint, data: DataSets | None) -> dict:
    task = tasks.get(planned.settings["task"], data)
    assert planned.of_model is not None
    old, model = _model(planned.of_model, work, data)
    teacher = None if planned.of_teacher is None else _model(planned.of_teacher, work, data)[1]
    weights, pruning = _weights(model), planned.pruning()
    left, history = pipeline.prune_model(
        task, model, seed=planned.seed, progress=False, checkpoint=checkpoint, teacher=teacher, **pruning
    )
    values = pipeline.measure(task, model)
    new = replace(old, method=pruning["method"].name, ratio=left.ratio, accuracy=old.accuracy | {"pruned": values})
    new.structure = [*old.structure, *(step["record"] for step in history if "record" in step)]
    new.save(work / planned.stem, model)
    return {"values": values, **_size(model, weights, left), "history": history}


def _quantize(planned: PlannedRun, work: Path, checkpoint: Checkpoint, data: DataSets | None) -> dict:
    task = tasks.get(planned.settings["task"], data)
    assert planned.of_model is not None
    before = finished(planned.of_model, work)
    assert before is not None  # it comes first
    if before["state"] == FAILED:
        raise DarbError(before["reason"])
    _, model = _model(planned.of_model, work, data)
    integer = pipeline.integer_model(
        task, model, planned.seed, planned.variant.bits, progress=False, checkpoint=checkpoint,
        **planned.settings["quantization"],
    )  # fmt: skip
    method = planned.pruning()["method"]
    if method.encodable and before["group"] is None:  # blocks of other sizes than powers of two have no code
        integer = without_dead(integer).network
        encode(integer).save(work / f"{planned.stem}.darb")
    size = {name: before[name] for name in ("weights", "kept", "ratio", "layers", "group")}
    bits = _embedded_bits(model) + bits_of(layers(model), method, planned.variant.bits, before["group"])
    return {"values": pipeline.measure(task, pipeline.Real(integer)), **size, "bits": bits}


def _model(planned: PlannedRun, work: Path, data: DataSets | None) -> tuple[RunFolder, torch.nn.Module]:
    return RunFolder.load(work / planned.stem, data)


def _weights(model: torch.nn.Module) -> dict[str, int]:
    """Weights of each layer."""
    return {layer.name: layer.weights for layer in layers(model)}


def _size(model: torch.nn.Module, weights: dict[str, int], left: Pruned) -> dict:
    """What is left of a model that had ``weights`` in each layer."""
    shares = {layer.name: round(int(layer.mask().sum()) / weights[layer.name], 6) for layer in layers(model)}
    return {
        "weights": left.weights, "kept": left.kept, "bits": left.bits + _embedded_bits(model),
        "group": left.group, "ratio": left.ratio, "layers": shares,
    }  # fmt: skip


def _embedded_bits(model: torch.nn.Module) -> int:
    """Bits of the vectors of all symbols, which are never pruned."""
    tables = (module for module in model.modules() if isinstance(module, torch.nn.Embedding))
    return sum(table.weight.numel() for table in tables) * WHOLE_BITS


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
    missing = _missing(plan(experiment, task), work, data)
    if not missing:
        return []
    task.load()  # missing data are the user's mistake, not a failure of every run
    records = []
    with _bar(progress) as bar:
        shown = bar.add_task(experiment.name, total=len(missing))
        with closing(_records(missing, work, jobs, data)) as finishing:
            for record in finishing:
                records.append(record)
                bar.advance(shown)
    return records


def _missing(runs: list[PlannedRun], work: Path, data: DataSets | None) -> list[PlannedRun]:
    """The runs that are not done, and those whose models these need and that cannot be read."""
    missing: set[str] = set()
    for planned in reversed(runs):  # each is behind those that it needs
        record = finished(planned, work)
        if not record or record["state"] != DONE:
            missing.add(planned.digest)
        if planned.digest in missing:
            missing |= {source.digest for source in planned.sources if not _is_there(source, work, data)}
    return list({planned.digest: planned for planned in runs if planned.digest in missing}.values())


def _is_there(planned: PlannedRun, work: Path, data: DataSets | None) -> bool:
    try:
        _model(planned, work, data)
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
    waiting, running = list(runs), {}
    with ProcessPoolExecutor(min(jobs, len(runs)), context, _start_worker) as pool:
        try:
            while waiting or running:
                unfinished = {run.digest for run in [*waiting, *running.values()]}
                ready = [run for run in waiting if not unfinished & {source.digest for source in run.sources}]
                for planned in ready[: jobs - len(running)]:
                    waiting.remove(planned)
                    running[pool.submit(execute, planned, work, data)] = planned
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    del running[future]
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
