"""Programs that jobs run: each ends with the process that started it, however that ends."""

import errno
import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from darb_hw.errors import ToolError
from darb_hw.jobs.job import JobFailure

__all__ = ["error_line", "raise_failure", "run_program"]

# Asks the kernel for the end of this process when its parent ends, makes sure that it has not ended yet, and becomes
# the program.
_BOUND = (
    "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 9); "
    "sys.exit(1) if os.getppid() != int(sys.argv[1]) else os.execvp(sys.argv[2], sys.argv[2:])"
)
_NO_SPACE = re.compile(r"No space left|Disk quota exceeded")


def run_program(
    command: Sequence[str],
    folder: Path,
    log: Path,
    seconds: float | None = None,
    hopeless: Callable[[], bool] = lambda: False,
) -> int | None:
    """Run a program in a folder, with what it says in a file.

    Parameters
    ----------
    command : sequence of str
    folder, log : Path
    seconds : float, optional
        How often ``hopeless`` is asked.
    hopeless : callable
        Whether to stop it.

    Returns
    -------
    int or None
        Its exit code, negative if a signal ended it; nothing if it was stopped.
    """
    if sys.platform == "linux":
        command = [sys.executable, "-I", "-S", "-c", _BOUND, str(os.getpid()), *command]
    with (
        log.open("wb") as stream,
        subprocess.Popen(
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=stream, stderr=subprocess.STDOUT
        ) as process,
    ):
        try:
            while True:
                try:
                    return process.wait(seconds)
                except subprocess.TimeoutExpired:
                    if hopeless():
                        return None
        finally:
            process.kill()


def error_line(log: str) -> str:
    """The first line with an error, to pass on; the errors after it only follow from it."""
    lines = log.splitlines()
    errors = [line for line in lines if "ERROR" in line]
    return (errors or lines[-1:] or ["no message"])[0].strip().removeprefix("ERROR: ")


def raise_failure(name: str, code: int, log: str, files: dict[str, bytes]) -> None:
    """Say what came of a program that failed.

    Raises
    ------
    JobFailure
        If the program itself has refused its input: it would do so again.
    OSError
        If there was no space left for what it writes.
    ToolError
        If it was killed, or ended in disorder.
    """
    if _NO_SPACE.search(log):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "the folder of temporary files ($TMPDIR)")
    if code > 0 and "ERROR" in log:
        raise JobFailure(f"{name} failed: {error_line(log)}", files)
    if code < 0:
        raise ToolError(f"{name} was ended by signal {-code}: give it more memory, or run fewer --jobs at a time")
    raise ToolError(f"{name} crashed with exit code {code} ({error_line(log)}): install it again, or another version")
