"""The state of an interrupted training: a checked file, always replaced as a whole, never a pickle."""

import json
import time
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from darb_prune.encoded.container import digest
from darb_prune.errors import DarbError
from darb_prune.files import write_atomic

__all__ = ["Checkpoint"]

# Nested dictionaries of tensors, numbers, strings and lists of numbers.
_State = dict[str, Any]


class Checkpoint:
    """A file with the state of a training that is under way.

    Parameters
    ----------
    path : pathlib.Path
    identity : dict
        Settings of the training, ready for JSON. A file with another identity is refused.
    every : float
        Least seconds between two writings of the file.

    Attributes
    ----------
    state : dict
        Contents of the file and all that :meth:`update` added: nested dictionaries of tensors, numbers, strings and
        lists of numbers. Empty without a file.

    Raises
    ------
    DarbError
        If the file is damaged or belongs to another training.
    """

    def __init__(self, path: Path, identity: dict[str, Any], every: float = 20.0) -> None:
        self.path, self.every = Path(path), every
        self._identity = json.loads(json.dumps(identity, default=str))
        self._written = time.monotonic()
        self.state: _State = self._load() if self.path.exists() else {}

    def _load(self) -> _State:
        remedy = f"delete it to start afresh: {self.path}"
        try:
            with safetensors.safe_open(self.path, "pt") as file:
                tree = json.loads(file.metadata()["tree"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
                if file.metadata()["sha256"] != _seal(tree, tensors):
                    raise ValueError("its contents are not those it was written with")
            state, identity = _unpack(tree["state"], tensors), tree["identity"]
        except (safetensors.SafetensorError, AttributeError, KeyError, TypeError, ValueError, OSError) as error:
            raise DarbError(f"checkpoint: damaged ({error}); {remedy}") from error
        if identity != self._identity:
            raise DarbError(f"checkpoint: of a training with other settings; finish that one, or {remedy}")
        return state

    def update(self, force: bool = False, **entries: Any) -> None:
        """Replace entries of the state; write the file if a writing is :attr:`due` or ``force`` is set."""
        self.state |= entries
        if force or self.due:
            tensors: dict[str, Tensor] = {}
            tree = {"identity": self._identity, "state": _pack(self.state, "", tensors)}
            self.path.parent.mkdir(parents=True, exist_ok=True)
            marks = {"tree": json.dumps(tree), "sha256": _seal(tree, tensors)}
            write_atomic(self.path, safetensors.torch.save(tensors, marks))
            self._written = time.monotonic()

    @property
    def due(self) -> bool:
        """Whether :meth:`update` would write now; else a caller need not collect the state."""
        return time.monotonic() - self._written >= self.every

    def remove(self) -> None:
        """Forget the state and delete the file, after a training has ended."""
        self.state = {}
        self.path.unlink(missing_ok=True)


def _seal(tree: dict[str, Any], tensors: dict[str, Tensor]) -> str:
    return digest(tree, {name: tensor.numpy() for name, tensor in tensors.items()})


def _pack(value: Any, path: str, tensors: dict[str, Tensor]) -> dict[str, Any]:
    """The tree of ``value`` for JSON. Each tensor moves to ``tensors``; its name there replaces it."""
    if isinstance(value, Tensor):
        tensors[path] = value.detach().clone().contiguous()
        return {"tensor": path}
    if isinstance(value, dict):
        return {"dict": [[key, _pack(entry, f"{path}/{key}", tensors)] for key, entry in value.items()]}
    return {"plain": value}


def _unpack(tree: dict[str, Any], tensors: dict[str, Tensor]) -> Any:
    """The inverse of :func:`_pack`."""
    [(kind, value)] = tree.items()
    if kind == "dict":
        return {key: _unpack(entry, tensors) for key, entry in value}
    return tensors[value] if kind == "tensor" else value
