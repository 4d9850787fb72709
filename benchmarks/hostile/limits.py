"""Files read in a process of its own, with limits on time and memory."""

import contextlib
import multiprocessing
import os
import resource
import sys
import tempfile
import traceback
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from benchmarks.hostile.kinds import Kind, hostile_files
from darb_prune.encoded import DarbError

__all__ = ["BAD", "ENDS", "GIGABYTES", "SECONDS", "Outcome", "outcomes", "read"]

SECONDS, GIGABYTES = 10.0, 1.0
"""Most time and memory that a set of files may take."""
BAD = ("traceback", "hang", "excess", "crash")
ENDS = ("accepted", "refused", *BAD)
"""What reading can end in: a hang takes too long, an excess too much memory, a crash ends the process."""


@dataclass(frozen=True)
class Outcome:
    """What reading a set of files ended in: one of ``ENDS``, and the message."""

    file_number: int
    end: str
    message: str = ""


def read(kind: Kind, file_number: int) -> Outcome:
    """Write a set of files into a folder of its own, and read it."""
    with tempfile.TemporaryDirectory() as name:
        for file, contents in hostile_files(kind, file_number).items():
            path = Path(name) / file
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(contents)
        try:
            with warnings.catch_warnings(action="ignore"):
                kind.read(Path(name))
        except DarbError as error:
            return Outcome(file_number, "refused", str(error))
        except MemoryError:
            return Outcome(file_number, "excess", _where())
        except Exception as error:
            return Outcome(file_number, "traceback", f"{type(error).__name__}: {error} {_where()}")
    return Outcome(file_number, "accepted")


def _where() -> str:
    """File and line of the exception that is handled."""
    frame = traceback.extract_tb(sys.exc_info()[2])[-1]
    return f"({Path(frame.filename).name}, line {frame.lineno})"


def outcomes(kind: Kind, file_numbers: Iterable[int], seconds: float = SECONDS) -> Iterator[Outcome]:
    """Read sets of files one after another. A process that hangs or ends is replaced by another one."""
    kind.legal()  # made once, before there are processes
    worker = None
    try:
        for file_number in file_numbers:
            worker = worker or _Worker(kind)
            outcome = worker.read(file_number, seconds)
            if outcome.end in ("hang", "crash", "excess"):
                worker.end()
                worker = None
            yield outcome
    finally:
        if worker:
            worker.end()


class _Worker:
    """A copy of this process that reads what it is told to."""

    def __init__(self, kind: Kind) -> None:
        # A copy has all modules loaded; a new process would load them for seconds.
        context = multiprocessing.get_context("fork")
        self._connection, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(kind, other), daemon=True)
        self._process.start()
        other.close()

    def read(self, file_number: int, seconds: float) -> Outcome:
        self._connection.send(file_number)
        if not self._connection.poll(seconds):
            return Outcome(file_number, "hang", f"more than {seconds:g} s")
        try:
            return self._connection.recv()
        except EOFError:
            self._process.join()
            return Outcome(file_number, "crash", f"the process ended with {self._process.exitcode}")

    def end(self) -> None:
        self._process.kill()
        self._process.join()
        self._connection.close()


def _serve(kind: Kind, connection: Connection) -> None:
    os.setpgrp()  # Ctrl-C ends the parent, and that ends this process
    status = Path("/proc/self/status").read_text()
    present = int(status.partition("VmData:")[2].split()[0]) * 1024
    limit = present + int(GIGABYTES * 1e9)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    with contextlib.suppress(EOFError):
        while True:
            connection.send(read(kind, connection.recv()))
