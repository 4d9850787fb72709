"""A ``darb`` command line as a job: training, pruning, compiling. Its process may load torch; this one never does."""

import functools
import hashlib
import importlib.util
import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, ClassVar

from darb_hw.errors import ToolError
from darb_hw.jobs.job import Job
from darb_hw.jobs.program import run_program
from darb_prune.encoded import DarbError

__all__ = ["OUTPUT", "Command", "check_versions", "sources_digest", "versions"]

OUTPUT = "output"
"""Folder that a command writes its results to."""
_PACKAGES = ("darb", "numpy", "scikit-learn", "torch")
_ERROR = "darb: error: "


def sources_digest(package: str) -> str:
    """SHA-256, in hexadecimal, of the source files of a package: a checkout changes without another version."""
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    root = Path(spec.origin).parent
    digests = [
        (path.relative_to(root).as_posix(), hashlib.sha256(path.read_bytes()).hexdigest())
        for path in sorted(root.rglob("*"))
        if path.suffix in (".py", ".v", ".cpp") and path.is_file()
    ]
    return hashlib.sha256(repr(digests).encode()).hexdigest()


@functools.cache
def versions() -> dict[str, str]:
    """Versions of what decides the results of commands."""
    known = {"python": platform.python_version(), "darb_prune": sources_digest("darb_prune")}
    for package in _PACKAGES:
        try:
            known[package] = version(package)
        except PackageNotFoundError:  # run from a checkout that is not installed
            known[package] = "unknown"
    return known


def check_versions(asked: Mapping[str, str], there: Mapping[str, str]) -> None:
    """Raise :class:`ToolError` unless what is there is what was asked for: other versions give other results."""
    for name, wanted in asked.items():
        if there.get(name) != wanted:
            raise ToolError(
                f"a worker has {name} {there.get(name, 'not')}, this sweep {wanted}: install the same on all machines"
            )


@dataclass(frozen=True)
class Command(Job):
    """Run ``darb`` in a folder with input files -> the files that it leaves in :data:`OUTPUT`.

    Parameters
    ----------
    inputs : mapping of str to bytes
    arguments : tuple of str
        The first one is the command, and the kind of the job. Names of files are relative to the folder.
    title : str
        For people.
    versions : mapping of str to str
        Those that the worker must have.
    """

    inputs: Mapping[str, bytes]
    arguments: tuple[str, ...]
    title: str = ""
    versions: Mapping[str, str] = field(default_factory=versions)
    kind: ClassVar[str] = "command"

    @property
    def label(self) -> str:
        return f"{self.arguments[0]} {self.title}"

    def settings(self) -> dict[str, Any]:
        return {"arguments": self.arguments, "versions": dict(self.versions)}

    def run(self, folder: Path) -> Mapping[str, bytes]:
        check_versions(self.versions, versions())
        log = folder / "log"
        code = run_program([sys.executable, "-P", "-m", "darb_hw.program", *self.arguments], folder, log)
        if code:
            lines = log.read_text(errors="replace").strip().splitlines() or ["no message"]
            message = f"darb {' '.join(self.arguments)}: "
            if code != 2 or not lines[-1].startswith(_ERROR):
                how = f"signal {-code}" if code < 0 else f"exit code {code}, {lines[-1].strip()}"
                raise ToolError(f"{message}ended by {how}")
            raise DarbError(message + lines[-1].removeprefix(_ERROR))
        output = folder / OUTPUT
        paths = sorted(path for path in output.rglob("*") if path.is_file())
        return {path.relative_to(output).as_posix(): path.read_bytes() for path in paths}
