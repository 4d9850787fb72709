"""Programs with a limit of processor time."""

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from darb_hw.jobs.program import error_line
from darb_prune.encoded import DarbError

__all__ = ["Stopped", "module", "run"]

_ROOT = str(Path(__file__).resolve().parents[2])
"""Where this package is imported from: programs run in folders of their own."""


class Stopped(DarbError):
    """A program was stopped at its limit."""


def run(
    command: Sequence[str], folder: Path, log: str, minutes: float, environment: dict[str, str] | None = None
) -> float:
    """Run a program in ``folder``, its output to ``log`` there; gives the seconds of processor time that it took.

    Parameters
    ----------
    minutes : float
        Limit of the processor time of every process: wall time depends on what else the machine does.

    Raises
    ------
    Stopped
        If the limit was reached.
    DarbError
        If the program failed.
    """
    seconds, before = max(int(60 * minutes), 1), _spent()
    path = os.pathsep.join(filter(None, [_ROOT, os.environ.get("PYTHONPATH")]))

    def limit() -> None:
        # The hard limit is a little higher: the signal of the soft limit tells this end from others.
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))

    with (folder / log).open("wb") as output:
        done = subprocess.run(
            command, cwd=folder, stdout=output, stderr=subprocess.STDOUT, preexec_fn=limit, check=False,
            env=os.environ | {"PYTHONPATH": path} | (environment or {}),
        )  # fmt: skip
    if done.returncode in (-signal.SIGXCPU, 128 + signal.SIGXCPU):
        raise Stopped(f"did not finish in {minutes:g} minutes of processor time")
    if done.returncode:
        text = (folder / log).read_text(errors="replace")
        raise DarbError(f"{Path(command[0]).name} failed: {error_line(text)} (see {folder / log})")
    return _spent() - before


def _spent() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def module(name: str, *arguments: object) -> list[str]:
    """The command that runs a module of this package."""
    return [sys.executable, "-m", f"{__package__}.{name}", *map(str, arguments)]
