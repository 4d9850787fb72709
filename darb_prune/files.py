"""Files that are written whole or not at all; paths that are files, and paths that can become files."""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from darb_prune.errors import DarbError

__all__ = ["check_file", "check_folder", "unreadable", "write_atomic", "write_files"]

_Name = TypeVar("_Name", bound=str | Path)


def write_atomic(path: str | Path, data: bytes) -> bool:
    """Write ``data`` to ``path`` through a temporary file in the same folder.

    Returns
    -------
    bool
        ``False`` if the file already held exactly these bytes and was left alone (its time stamp too).
    """
    return write_files({path: data})


def write_files(files: Mapping[_Name, bytes]) -> bool:
    """Write several files that belong together: none is moved into place before all are written.

    Returns
    -------
    bool
        Whether any file changed.

    Raises
    ------
    OSError
        Naming the file that could not be written.
    DarbError
        If one is a pipe or a device: a file in its place would do harm.
    """
    for path in files:
        _check_kind(Path(path))
    staged: list[tuple[str, Path]] = []
    target = Path()
    try:
        for path, data in files.items():
            target = Path(path)
            if target.is_file() and target.stat().st_size == len(data) and target.read_bytes() == data:
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            descriptor, temporary = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
            staged.append((temporary, target))
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
            os.chmod(temporary, 0o644)
        for temporary, target in staged:
            os.replace(temporary, target)
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(target)) from error
    finally:
        for temporary, _ in staged:
            Path(temporary).unlink(missing_ok=True)
    return bool(staged)


def check_file(path: Path) -> None:
    """Raise :class:`DarbError` unless ``path`` can become a file: said before the work, not after it."""
    if not path.name or path.is_dir():
        raise DarbError(f"{path}: is a folder; give the name of a file to write")
    _check_kind(path)
    _check_parents(path)


def check_folder(path: Path, *inputs: Path) -> None:
    """The same for a folder; ``inputs`` are folders that are read for it, which it may not overwrite."""
    if not path.name:
        raise DarbError(f"{path}: give the name of a folder to write")
    if path.exists() and not path.is_dir():
        raise DarbError(f"{path}: exists and is no folder; choose another name")
    if any(path.resolve() == folder.resolve() for folder in inputs):
        raise DarbError(f"{path}: -o is the input; name another folder")
    _check_parents(path)


def unreadable(path: Path) -> str | None:
    """Why there is no file to read at ``path``, as a part of a message; nothing if there is one.

    To be asked before a file is opened: opening a pipe waits for who writes into it.
    """
    if path.is_file():
        return None
    if path.is_dir():
        return "is a folder, not a file"
    return "is a pipe or a device; copy what it gives into a file" if path.exists() else "no such file"


def _check_kind(path: Path) -> None:
    if path.exists() and not path.is_file() and not path.is_dir():
        raise DarbError(f"{path}: is a pipe or a device; give the name of a file to write")


def _check_parents(path: Path) -> None:
    nearest = next(parent for parent in path.absolute().parents if parent.exists())
    if not nearest.is_dir():
        raise DarbError(f"{path}: {nearest} is no folder; choose another name")
