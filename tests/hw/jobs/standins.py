"""Jobs without tools, for tests and measurements of what does jobs. Workers import this file."""

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from darb_hw.errors import ToolError
from darb_hw.jobs.flow import Flow
from darb_hw.jobs.job import Job, JobFailure


@dataclass(frozen=True)
class Square(Job):
    """The square of a number, after a while; a line in a file, if there is one, each time it is begun.

    Parameters
    ----------
    number : int
    seconds : float
    log : str
        Path of a file; no part of the key.
    mood : str
        ``refuse``: that is a fact. ``fail``: it was not done. ``room``: there was no room. ``die``: with its process.
    """

    kind: ClassVar[str] = "square"
    number: int
    seconds: float = 0.0
    log: str = ""
    mood: str = ""
    inputs: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def label(self) -> str:
        return f"square of {self.number}"

    def settings(self) -> dict[str, Any]:
        return {"number": self.number, "mood": self.mood}

    def run(self, folder: Path) -> Mapping[str, bytes]:
        assert sorted(path.name for path in folder.iterdir()) == sorted(self.inputs)
        if self.log:
            with open(self.log, "a") as file:  # a short line is written whole
                file.write(f"{self.number}\n")
        time.sleep(self.seconds)
        if self.mood == "refuse":
            raise JobFailure(f"{self.number} has no square", {"log": b"ERROR"})
        if self.mood == "fail":
            raise ToolError(f"no tool for {self.number}")
        if self.mood == "room":
            raise OSError(28, "No space left on device", "/full")
        if self.mood == "die":
            os._exit(1)
        return {"square": str(self.number**2).encode()}


def squares(numbers: list[int], **options: Any) -> Flow[list[int]]:
    """Squares of numbers, and then the squares of those."""
    first = yield [Square(number, **options) for number in numbers]
    second = yield [Square(int(entry.files["square"]), **options) for entry in first]
    return [int(entry.files["square"]) for entry in second]
