"""How long to fine-tune, in one word: nothing, enough to tell good choices from bad ones, what a task has, more."""

import math
from typing import Any

from darb_prune.errors import DarbError
from darb_prune.pruning.schedule import PruningSchedule

__all__ = ["EFFORTS", "effort_epochs", "effort_schedule"]

EFFORTS = {"none": 0.0, "quick": 0.25, "normal": 1.0, "thorough": 3.0}
"""Effort -> its share of the epochs of a task."""


def effort_epochs(epochs: int, effort: str) -> int:
    """The share of ``epochs`` that an effort has, rounded up."""
    if effort not in EFFORTS:
        raise DarbError(f"effort {effort!r}: choose one of {', '.join(EFFORTS)}")
    return math.ceil(epochs * EFFORTS[effort])


def effort_schedule(schedule: PruningSchedule, effort: str) -> PruningSchedule:
    """``schedule`` with the share of its epochs that an effort has.

    Without any there is one step. A quarter of them is half of the epochs of half of the steps, and a quarter of the
    epochs after the last one; three times as many are 1.7 times the epochs of 1.7 times the steps.

    Raises
    ------
    DarbError
        If there is no such effort.
    """
    final = effort_epochs(schedule.final_epochs, effort)
    if effort == "normal":
        return schedule
    root = math.sqrt(EFFORTS[effort])
    steps = 1 + math.ceil((schedule.steps - 1) * root)
    changed: dict[str, Any] = {"steps": steps, "epochs": math.ceil(schedule.epochs * root), "final_epochs": final}
    return schedule.updated(changed)
