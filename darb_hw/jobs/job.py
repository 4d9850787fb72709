"""A job: a pure function from files to files, known by the digest of all that its result depends on."""

import abc
import functools
import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from darb_hw.store.entry import Entry
from darb_hw.store.store import Store

__all__ = ["FORMAT", "Job", "JobFailure", "finished"]

FORMAT = 1
"""Part of every key: raise it when the same inputs would give other results."""


class JobFailure(Exception):
    """A job that cannot be done, which is a fact of what it was given: it is a result, and kept like any other.

    Parameters
    ----------
    message : str
        One line; it names no path.
    files : mapping of str to bytes
        What it left, a log for example.
    """

    def __init__(self, message: str, files: Mapping[str, bytes] | None = None) -> None:
        super().__init__(message)
        self.message, self.files = message, dict(files or {})


class Job(abc.ABC):
    """What subclasses, frozen dataclasses that can be pickled, have to say.

    Attributes
    ----------
    kind : str
        One word for the kind of job, a part of its key.
    inputs : mapping of str to bytes
        Files that it reads.
    """

    kind: ClassVar[str]
    inputs: Mapping[str, bytes]

    @property
    @abc.abstractmethod
    def label(self) -> str:
        """A few words for progress and lists."""

    @abc.abstractmethod
    def settings(self) -> dict[str, Any]:
        """All besides the files that the result depends on, as plain values."""

    @abc.abstractmethod
    def run(self, folder: Path) -> Mapping[str, bytes]:
        """Do the job in a folder that has the inputs and nothing else; gives the files of the result.

        Raises
        ------
        JobFailure
            If it cannot be done, and never will be.
        DarbError
            If it was not done: a tool is missing, was killed, is of another version.
        """

    @functools.cached_property
    def key(self) -> str:
        """SHA-256, in hexadecimal, of kind, settings and inputs."""
        content = {
            "format": FORMAT,
            "kind": self.kind,
            "settings": self.settings(),
            "inputs": {name: hashlib.sha256(data).hexdigest() for name, data in self.inputs.items()},
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def done(self) -> Entry:
        """Do the job in a temporary folder."""
        with tempfile.TemporaryDirectory(prefix="darb-", ignore_cleanup_errors=True) as name:
            folder = Path(name)
            write_inputs(folder, self.inputs)
            try:
                return Entry(self.key, self.kind, self.label, self.run(folder))
            except JobFailure as failure:
                return Entry(self.key, self.kind, self.label, failure.files, failure.message)


def write_inputs(folder: Path, files: Mapping[str, bytes]) -> None:
    for name, data in files.items():
        path = folder / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        except OSError as error:
            raise OSError(error.errno, error.strerror, os.fspath(path)) from error


def finished(job: Job, store: Store) -> Entry:
    """The result of a job: from the store, or done now and put there."""
    entry = store.get(job.key)
    if entry is None:
        entry = job.done()
        store.put(entry)
    return entry
