"""Run folders: ``model.safetensors`` (a ``state_dict``) and ``run.json`` (everything known about it)."""

import hashlib
import importlib.metadata
import json
import platform
from dataclasses import asdict, dataclass, field
from pathlib import Path

import safetensors.torch
from torch import nn

from darb_prune import tasks
from darb_prune.container import DarbError, write_atomic
from darb_prune.pruned import load_pruned

__all__ = ["Run", "versions"]

FORMAT = 1
MODEL, RECORD = "model.safetensors", "run.json"


def versions() -> dict[str, str]:
    """Versions of what decides the result."""
    found = {"python": platform.python_version()}
    for package in ("darb", "numpy", "scikit-learn", "torch"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:  # run from a checkout that is not installed
            found[package] = "unknown"
    return found


@dataclass
class Run:
    """What ``run.json`` holds.

    Parameters
    ----------
    task : str
    seed : int
    method : str
        ``dense`` after training, otherwise the method of pruning.
    ratio : float
        Ratio reached.
    accuracy : dict
        ``{"dense": {split: share}, "pruned": {split: share}}``.
    options : dict
        What the commands were given.
    history : list
        Losses of training and steps of pruning.
    """

    task: str
    seed: int
    method: str = "dense"
    ratio: float = 1.0
    accuracy: dict = field(default_factory=dict)
    options: dict = field(default_factory=dict)
    history: list = field(default_factory=list)
    versions: dict = field(default_factory=versions)

    def save(self, folder: str | Path, model: nn.Module) -> None:
        """Write both files; the record comes last and names the digest of the model it belongs to."""
        state = {name: tensor.detach().contiguous() for name, tensor in model.state_dict().items()}
        data = safetensors.torch.save(state)
        record = {"format": FORMAT, "model_sha256": hashlib.sha256(data).hexdigest(), **asdict(self)}
        folder = Path(folder)
        if folder.exists() and not folder.is_dir():
            raise DarbError(f"{folder}: exists and is no folder; choose another name")
        write_atomic(folder / MODEL, data)
        write_atomic(folder / RECORD, (json.dumps(record, indent=2) + "\n").encode())

    @classmethod
    def load(cls, folder: str | Path) -> tuple["Run", nn.Module]:
        """The record of a run folder and its model, masks included.

        Raises
        ------
        DarbError
            If the folder is no run folder, or its files are damaged or do not belong together.
        """
        folder = Path(folder)
        for name in (RECORD, MODEL):
            if not (folder / name).is_file():
                raise DarbError(f"{folder}: no {name} here; make a run folder with darb train")
        data = (folder / MODEL).read_bytes()
        try:
            record = json.loads((folder / RECORD).read_text())
            form, seal = record.pop("format"), record.pop("model_sha256")
            if form != FORMAT:
                raise DarbError(f"{folder / RECORD}: format {form}, this package reads {FORMAT}; run again")
            run = cls(**record)
        except (KeyError, TypeError, AttributeError, UnicodeDecodeError, json.JSONDecodeError) as error:
            raise DarbError(f"{folder / RECORD}: damaged ({error}); run the command again") from error
        if hashlib.sha256(data).hexdigest() != seal:
            raise DarbError(f"{folder / MODEL}: not the model that {RECORD} describes; run the command again")
        model = tasks.get(run.task).build()
        load_pruned(model, safetensors.torch.load(data))
        model.eval()
        return run, model
