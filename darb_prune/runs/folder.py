"""Run folders: ``model.safetensors`` (a ``state_dict``) and ``run.json`` (everything known about it)."""

import hashlib
import importlib.metadata
import json
import math
import platform
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

import safetensors
import safetensors.torch
from torch import nn

from darb_prune import tasks
from darb_prune.errors import DarbError
from darb_prune.files import check_folder, write_files
from darb_prune.modules.masked import load_pruned
from darb_prune.runs.tables import is_accuracy
from darb_prune.structure.record import rebuild

__all__ = ["RunFolder", "model_digest", "packed", "versions"]

FORMAT = 1
MODEL, RECORD = "model.safetensors", "run.json"


def versions() -> dict[str, str]:
    """Versions of what decides the result."""
    known = {"python": platform.python_version()}
    for package in ("darb", "numpy", "scikit-learn", "torch"):
        try:
            known[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:  # run from a checkout that is not installed
            known[package] = "unknown"
    return known


def packed(model: nn.Module) -> bytes:
    """The ``state_dict`` of a model as a safetensors file."""
    # Buffers may be shared, as the levels of the two parts of a recurrent layer are; a file holds each by itself.
    tensors = {name: tensor.detach().clone().contiguous() for name, tensor in model.state_dict().items()}
    return safetensors.torch.save(tensors)


def model_digest(model: nn.Module) -> str:
    """SHA-256, in hexadecimal, of the ``state_dict`` of ``model``."""
    return hashlib.sha256(packed(model)).hexdigest()


@dataclass
class RunFolder:
    """What ``run.json`` holds.

    Parameters
    ----------
    task : str
    seed : int
    method : str
        ``dense`` after training, otherwise the method of pruning, or the last pass that changed the structure.
    ratio : float
        Ratio reached, of all passes together; behind a merge, that to the networks of the tasks alone.
    accuracy : dict
        ``{"dense": {split: value}, "pruned": {split: value}}``, in the metric of the task.
    options : dict
        What the commands were given.
    history : list
        Losses of training and steps of pruning.
    structure : list
        Records of the passes that made another model of what the task builds (:mod:`darb_prune.structure.record`).
    size : float
        Of what the task builds: the share of its units.
    """

    task: str
    seed: int
    method: str = "dense"
    ratio: float = 1.0
    accuracy: dict = field(default_factory=dict)
    options: dict = field(default_factory=dict)
    history: list = field(default_factory=list)
    structure: list = field(default_factory=list)
    size: float = 1.0
    versions: dict = field(default_factory=versions)

    def _check(self) -> None:
        """Raise TypeError or ValueError naming a field that is not what it should be."""
        for entry in fields(self):
            value = getattr(self, entry.name)
            assert isinstance(entry.type, type)  # annotations here are classes
            wanted = (int, float) if entry.type is float else entry.type
            if not isinstance(value, wanted) or isinstance(value, bool):
                raise TypeError(f"field {entry.name} is {value!r}")
        if not (0 <= self.seed < 1 << 32 and math.isfinite(self.ratio)):
            raise ValueError(f"seed {self.seed} or ratio {self.ratio} out of range")
        if not 0 < self.size <= tasks.SIZE_MAX:
            raise ValueError(f"field size is {self.size!r}")
        if not is_accuracy(self.accuracy):
            raise TypeError(f"field accuracy is {self.accuracy!r}")

    def save(self, folder: str | Path, model: nn.Module) -> None:
        """Write both files, or none; the record comes last and names the digest of the model it belongs to."""
        data = packed(model)
        record = {"format": FORMAT, "model_sha256": hashlib.sha256(data).hexdigest(), **asdict(self)}
        folder = Path(folder)
        check_folder(folder)
        write_files({folder / MODEL: data, folder / RECORD: (json.dumps(record, indent=2) + "\n").encode()})

    @classmethod
    def load(cls, folder: str | Path, data: tasks.DataSets | None = None) -> tuple["RunFolder", nn.Module]:
        """The record of a run folder and its model, masks included.

        Parameters
        ----------
        folder : str or pathlib.Path
        data : DataSets, optional
            Where the task of the run finds what its model depends on (see :func:`darb_prune.tasks.get`).

        Raises
        ------
        DarbError
            If the folder is no run folder, or its files are damaged or do not belong together.
        """
        folder = Path(folder)
        for name in (RECORD, MODEL):
            if not (folder / name).is_file():
                raise DarbError(f"{folder}: no {name} here; make a run folder with darb train")
        contents = (folder / MODEL).read_bytes()
        try:
            record = json.loads((folder / RECORD).read_text())
            form, seal = record.pop("format"), record.pop("model_sha256")
            if form != FORMAT:
                raise DarbError(f"{folder / RECORD}: format {form}, this package reads {FORMAT}; run again")
            run = cls(**record)
            run._check()
        except DarbError:
            raise
        except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
            raise DarbError(f"{folder / RECORD}: damaged ({error}); run the command again") from error
        if hashlib.sha256(contents).hexdigest() != seal:
            raise DarbError(
                f"{folder / MODEL}: not the model that {RECORD} describes (was saving it stopped?); run again"
            )
        model = tasks.get(run.task, data).build(run.size)
        try:
            state = safetensors.torch.load(contents)
            model = rebuild(model, run.structure, state)
            load_pruned(model, state)
        except DarbError as error:
            raise DarbError(f"{folder / MODEL}: {error}") from None
        except safetensors.SafetensorError as error:
            raise DarbError(f"{folder / MODEL}: damaged ({error}); run the command again") from error
        model.eval()
        return run, model
