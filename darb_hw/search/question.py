"""The question of a search: a source of networks, what to choose from, and what is wanted."""

import functools
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from darb_hw.search.space import Space
from darb_hw.search.wanted import Wanted
from darb_hw.sweep.networks import Networks, read_run
from darb_hw.sweep.spec import sweep_of

__all__ = ["Question"]

_UNTRAINED = {"neurons": {"criterion": "uniform"}, "channels": {"criterion": "uniform"}}
"""Options of methods that need a training to choose: how they choose without one."""


@dataclass(frozen=True)
class Question:
    """What is searched for.

    Parameters
    ----------
    task : str, optional
        A built-in task, whose dense model is trained.
    run : Path, optional
        Or a run folder of a dense model.
    space : Space
    wanted : Wanted
    seeds : tuple of int
        Of place and route.
    """

    task: str | None
    run: Path | None
    space: Space
    wanted: Wanted
    seeds: tuple[int, ...]

    def networks(self, effort: str, method: str = "") -> Networks:
        """Where networks come from, fine-tuned with an effort of ``darb prune``; without any, ``method`` may need
        options of its own."""
        return _networks(self, effort, method if effort == "none" else "")

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256, in hexadecimal, of all that decides which candidates are good."""
        files = {} if self.run is None else read_run(self.run)
        content = {
            "task": self.task,
            "run": {name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
            "axes": self.space.axes(),
            "wanted": self.wanted.as_dict(),
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "task": self.task, "run": None if self.run is None else self.run.name, "axes": self.space.axes(),
            "wanted": self.wanted.as_dict(), "seeds": self.seeds,
        }  # fmt: skip


@functools.cache
def _networks(question: Question, effort: str, untrained: str) -> Networks:
    """``untrained`` is the method, if nothing is trained."""
    source = {"task": question.task} if question.task else {"run": question.run}
    prune = {"effort": effort, **_UNTRAINED.get(untrained, {})}
    made = {"prune": prune, "compile": {"effort": effort}, "axes": {"ratio": list(question.space.ratios)}}
    return Networks(sweep_of({**source, **made}, "options"))
