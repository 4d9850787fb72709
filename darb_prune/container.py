"""Checked files: named NumPy arrays and one JSON header in a safetensors file, sealed by a digest.

The digest covers the header and every array (name, dtype, shape, bytes), so that a truncated file and a
single altered byte are both found on loading. Files are written to a temporary name and moved into place.
"""

import hashlib
import json
import os
import tempfile
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy

__all__ = [
    "DarbError",
    "check_file",
    "check_folder",
    "digest",
    "pack_container",
    "read_container",
    "write_atomic",
    "write_files",
]

_KEY = "darb"


class DarbError(ValueError):
    """A mistake in what the user gave us; the message is one line that names the thing and the remedy."""


def write_atomic(path: str | Path, data: bytes) -> bool:
    """Write ``data`` to ``path`` through a temporary file in the same folder.

    Returns
    -------
    bool
        ``False`` if the file already held exactly these bytes and was left alone (its time stamp too).
    """
    return write_files({path: data})


def write_files(files: dict[str | Path, bytes]) -> bool:
    """Write several files that belong together: none is moved into place before all are written.

    Returns
    -------
    bool
        Whether any file changed.

    Raises
    ------
    OSError
        Naming the file that could not be written.
    """
    staged = []
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
    _check_parents(path)


def check_folder(path: Path) -> None:
    """The same for a folder."""
    if not path.name:
        raise DarbError(f"{path}: give the name of a folder to write")
    if path.exists() and not path.is_dir():
        raise DarbError(f"{path}: exists and is no folder; choose another name")
    _check_parents(path)


def _check_parents(path: Path) -> None:
    there = next(parent for parent in path.absolute().parents if parent.exists())
    if not there.is_dir():
        raise DarbError(f"{path}: {there} is no folder; choose another name")


def digest(header: dict, arrays: dict[str, np.ndarray]) -> str:
    """SHA-256, in hexadecimal, of a JSON header and named arrays."""
    sha = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        sha.update(f"\0{name}\0{array.dtype.str}\0{array.shape}\0".encode())
        sha.update(array.data)
    return sha.hexdigest()


def pack_container(kind: str, version: int, header: dict, arrays: dict) -> bytes:
    """``arrays`` and the JSON ``header`` as the bytes of a checked file."""
    header = {"kind": kind, "version": version, **header}
    text = json.dumps({"digest": digest(header, arrays), "header": header}, sort_keys=True)
    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    return safetensors.numpy.save(contiguous, metadata={_KEY: text})


def read_container(path: str | Path, kind: str, version: int) -> tuple[dict, dict[str, np.ndarray]]:
    """Load what :func:`pack_container` made.

    Raises
    ------
    DarbError
        If the file is missing, truncated, altered, of another kind or of a version this package cannot read.
    """
    path = Path(path)
    if not path.is_file():
        raise DarbError(f"{path}: no such file")
    try:
        with safetensors.safe_open(path, framework="np") as file:
            text = (file.metadata() or {}).get(_KEY)
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    # safetensors reports a damaged header with several exception types, KeyError and TypeError among them.
    except Exception as error:
        raise DarbError(f"{path}: truncated or damaged file ({error}); make it again") from error
    try:
        outer = json.loads(text)
        seal, header = outer["digest"], outer["header"]
        found = header["kind"], header["version"]
    except (KeyError, TypeError, ValueError):
        raise DarbError(f"{path}: no darb header; a file of kind {kind!r} is needed") from None
    if found[0] != kind:
        raise DarbError(f"{path}: is of kind {found[0]!r}, a file of kind {kind!r} is needed")
    if found[1] != version:
        raise DarbError(f"{path}: format version {found[1]}, this package reads version {version}; make the file again")
    if digest(header, arrays) != seal:
        raise DarbError(f"{path}: altered file (its contents do not match its digest); make it again")
    return header, arrays
