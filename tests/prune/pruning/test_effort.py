"""Efforts: shares of the epochs of a schedule."""

import re
from pathlib import Path

import pytest

from darb_prune import tasks
from darb_prune.errors import DarbError
from darb_prune.pruning.effort import EFFORTS, effort_epochs, effort_schedule
from darb_prune.pruning.schedule import PruningSchedule
from darb_prune.tasks import TASKS


def _epochs(schedule):
    return sum(step.epochs for step in schedule.to(8))


@pytest.mark.parametrize(
    ("steps", "epochs", "final", "quick"), [(10, 4, 160, 50), (6, 1, 8, 5), (1, 3, 12, 3), (8, 4, 0, 8), (2, 1, 1, 2)]
)
def test_quick_is_a_quarter(steps, epochs, final, quick):
    schedule = PruningSchedule(steps=steps, epochs=epochs, final_epochs=final, rate=5e-3, rewind=False)
    short = effort_schedule(schedule, "quick")
    assert _epochs(short) == quick
    assert (short.rate, short.rewind) == (5e-3, False)


def test_thorough_is_three_times_as_much():
    schedule = PruningSchedule(steps=10, epochs=4, final_epochs=160, rate=5e-3)
    long = effort_schedule(schedule, "thorough")
    assert (long.steps, long.epochs, long.final_epochs, long.rate) == (17, 7, 480, 5e-3)
    assert _epochs(long) == pytest.approx(3 * _epochs(schedule), rel=0.02)


def test_normal_is_the_schedule_itself_and_none_is_one_step():
    schedule = PruningSchedule(steps=10, epochs=4, final_epochs=160)
    assert effort_schedule(schedule, "normal") is schedule
    (step,) = effort_schedule(schedule, "none").to(8)
    assert (step.ratio, step.epochs) == (8, 0)


@pytest.mark.parametrize("name", TASKS)
def test_every_task_has_shares(name):
    task = tasks.get(name)
    counts = [_epochs(effort_schedule(task.pruning, effort)) for effort in EFFORTS]
    assert counts == sorted(counts)
    assert counts[0] == 0
    assert [effort_epochs(task.quantization["epochs"], effort) for effort in ("none", "normal")] == [
        0,
        task.quantization["epochs"],
    ]


def test_unknown_effort():
    with pytest.raises(DarbError, match="effort 'much': choose one of none, quick, normal, thorough"):
        effort_schedule(PruningSchedule(), "much")


def test_the_docs_say_what_an_effort_costs():
    page = (Path(__file__).parents[3] / "docs" / "pruning.md").read_text()
    rows = re.findall(r"^\| (`.+`) \| (\d+) \| (\d+) \| (\d+) \| (\d+) \|$", page, re.M)
    said = {name: list(map(int, epochs)) for names, *epochs in rows for name in re.findall("`([^`]+)`", names)}
    assert said.keys() == set(TASKS)
    for name, epochs in said.items():
        task = tasks.get(name)
        schedules = (effort_schedule(task.pruning, effort) for effort in ("quick", "normal", "thorough"))
        assert epochs == [task.training.get("epochs", 60), *map(_epochs, schedules)]
