"""One command at a time in a folder: a lock on the folder itself, which ends with its process and leaves no file."""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from filelock import lock_descriptor, unlock_descriptor

__all__ = ["exclusive", "is_in_use"]


@contextlib.contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Keep other processes out of a folder. If one is there, say so on stderr and wait until it ends.

    A folder that is not there has nothing to lock. The lock does not count how often a process takes it: whoever has
    it must not ask for it again.
    """
    if not folder.is_dir():
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        if not _lock(descriptor, wait=False):
            print(f"{folder}: another darb command works there; waiting until it ends", file=sys.stderr, flush=True)
            _lock(descriptor, wait=True)
        try:
            yield
        finally:
            # Not only closed: a process forked meanwhile has a copy of the descriptor.
            with contextlib.suppress(OSError):
                unlock_descriptor(descriptor)
    finally:
        os.close(descriptor)


def is_in_use(folder: Path) -> bool:
    """Whether a process has the lock of a folder."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        return not _lock(descriptor, wait=False)
    finally:
        os.close(descriptor)


def _lock(descriptor: int, wait: bool) -> bool:
    try:
        return lock_descriptor(descriptor, blocking=wait)
    except OSError:
        return True  # a file system without locks
