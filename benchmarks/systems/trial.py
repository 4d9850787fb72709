"""A task, perhaps with another model than its own, and one seed: what a comparison repeats."""

from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
from torch import nn

from benchmarks.builds import ROOT
from darb_prune.encoded import write_atomic
from darb_prune.runs import pipeline
from darb_prune.runs.folder import packed
from darb_prune.tasks import Task

__all__ = ["WORK", "Trial"]

WORK = ROOT / "build" / "systems"


@dataclass(frozen=True)
class Trial:
    """A task, perhaps with another model than its own, and one seed.

    Parameters
    ----------
    name : str
    task : Task
    seed : int
    parts : tuple of Trial
        Of a task that is several: one of each alone.
    """

    name: str
    task: Task
    seed: int
    parts: tuple["Trial", ...] = ()

    @property
    def folder(self) -> Path:
        return WORK / self.name / f"seed-{self.seed}"

    @property
    def selecting(self) -> int:
        """Epochs in which units are selected, or networks merged."""
        return self.task.pruning.epochs * (self.task.pruning.steps - 1)

    @property
    def pruning(self) -> int:
        """Epochs of gradual pruning."""
        return self.task.pruning.all_epochs

    def dense(self) -> nn.Module:
        """The dense model, trained once."""
        path = self.folder / "dense.safetensors"
        if not path.exists():
            model, _ = pipeline.train_model(self.task, self.seed)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(path, packed(model))
        model = self.task.build()
        model.load_state_dict(safetensors.torch.load_file(path))
        return model.eval()
