"""Where an interrupted training goes on: one checked file, replaced whole, never a pickle."""

import json
import time
from pathlib import Path

import safetensors
import safetensors.torch
from torch import Tensor

from darb_prune.encoded.container import digest
from darb_prune.errors import DarbError
from darb_prune.files import write_atomic

__all__ = ["Checkpoint"]


class Checkpoint:
    """A file with the state of a training that is under way.

    Parameters
    ----------
    path : pathlib.Path
    identity : dict
        What the training was asked for, ready for JSON. A file of another identity is refused.
    every : float
        Seconds between two writings of the file.

    Attributes
    ----------
    state : dict
        What the file held, and what :meth:`update` added: nested dictionaries of tensors, numbers, strings and
        lists of numbers; empty if there is no file.

    Raises
    ------
    DarbError
        If the file is damaged or belongs to another training.
    """

    def __init__(self, path: Path, identity: dict, every: float = 20.0):
        self.path, self.every = Path(path), every
        self._identity = json.loads(json.dumps(identity, default=str))
        self._written = time.monotonic()
        self.state = self._load() if self.path.exists() else {}

    def _load(self) -> dict:
        remedy = f"delete it to start afresh: {self.path}"
        try:
            with safetensors.safe_open(self.path, "pt") as file:
                tree = json.loads(file.metadata()["tree"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
                if file.metadata()["sha256"] != _seal(tree, tensors):
                    raise ValueError("its contents are not those it was written with")
            state, identity = _graft(tree["state"], tensors), tree["identity"]
        except (
            safetensors.SafetensorError, AttributeError, KeyError, TypeError, ValueError, OSError
        ) as error:  # fmt: skip
            raise DarbError(f"checkpoint: damaged ({error}); {remedy}") from error
        if identity != self._identity:
            raise DarbError(f"checkpoint: of a training with other settings; finish that one, or {remedy}")
        return state

    def update(self, force: bool = False, **entries) -> None:
        """Replace entries of the state; write the file if the last writing is long ago (or ``force``)."""
        self.state |= entries
        if force or self.due:
            tensors: dict[str, Tensor] = {}
            tree = {"identity": self._identity, "state": _prune_tensors(self.state, "", tensors)}
            self.path.parent.mkdir(parents=True, exist_ok=True)
            marks = {"tree": json.dumps(tree), "sha256": _seal(tree, tensors)}
            write_atomic(self.path, safetensors.torch.save(tensors, marks))
            self._written = time.monotonic()

    @property
    def due(self) -> bool:
        """Whether :meth:`update` would write now: spares callers the collection of a state nobody reads."""
        return time.monotonic() - self._written >= self.every

    def remove(self) -> None:
        """Forget everything: the training is done."""
        self.state = {}
        self.path.unlink(missing_ok=True)


def _seal(tree: dict, tensors: dict[str, Tensor]) -> str:
    return digest(tree, {name: tensor.numpy() for name, tensor in tensors.items()})


def _prune_tensors(value, path: str, tensors: dict[str, Tensor]):
    """``value`` with each tensor moved to ``tensors`` and replaced by its name there."""
    if isinstance(value, Tensor):
        tensors[path] = value.detach().clone().contiguous()
        return {"tensor": path}
    if isinstance(value, dict):
        return {"dict": [[key, _prune_tensors(one, f"{path}/{key}", tensors)] for key, one in value.items()]}
    return {"plain": value}


def _graft(tree, tensors: dict[str, Tensor]):
    """The inverse of :func:`_prune_tensors`."""
    [(kind, value)] = tree.items()
    if kind == "dict":
        return {key: _graft(one, tensors) for key, one in value}
    return tensors[value] if kind == "tensor" else value
