"""Cycles of the networks of an experiment on an engine of 16 lanes."""

import csv
import io
from pathlib import Path

from rich.console import Console

from benchmarks.command import bar
from darb_hw.config import EngineConfig
from darb_hw.errors import PlanError
from darb_hw.plan.plan import Plan
from darb_prune.encoded import EncodedNetwork, write_atomic
from darb_prune.runs import pipeline
from darb_prune.studies.experiment.results import ExperimentResults
from darb_prune.tasks import Task

__all__ = ["ENGINE", "key_of", "read", "write"]

ENGINE = EngineConfig(lanes=16, device="ecp5-85k")
_KEY = ("method", "size", "weight_bits", "asked", "seed")


def key_of(record: dict) -> tuple[str, ...]:
    """What a run is known by in the table."""
    return tuple("" if record[name] is None else f"{record[name]}" for name in _KEY)


def write(results: ExperimentResults, work: Path, path: Path, console: Console) -> None:
    """Write cycles of each network in the folder of finished runs; of a whole sequence, if it answers at its end."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow([*_KEY, "cycles"])
    planned = {run.digest: run for run in results.planned}
    with bar(console, f"{path.parent.name}: cycles", len(results.records)) as done:
        for number, record in enumerate(results.records, 1):
            file = work / f"{planned[record['digest']].stem}.darb"
            if record["state"] == "done" and file.exists():
                rows.writerow([*key_of(record), _cycles(file, results.task)])
            done(number)
    write_atomic(path, text.getvalue().encode())


def _cycles(file: Path, task: Task) -> int | str:
    network = EncodedNetwork.load(file)
    try:
        plan = Plan.make(network, ENGINE)
    except PlanError:
        return ""
    last = network.recurrent and network.emit == "last"
    return plan.timing.interval_of(pipeline.example_of_task(task).shape[1] if last else 1)


def read(path: Path) -> dict[tuple[str, ...], int]:
    """Cycles by key; those that are not known are left out."""
    if not path.exists():
        return {}
    with path.open(newline="") as file:
        _, *rows = csv.reader(file)
    return {tuple(row[:-1]): int(row[-1]) for row in rows if row[-1]}
