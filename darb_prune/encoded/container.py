"""Checked files: named NumPy arrays and one JSON header in a safetensors file, sealed by a digest.

The digest covers the header and every array (name, dtype, shape, bytes), so that a truncated file and a
single altered byte are both found on loading.
"""

import hashlib
import json
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy

from darb_prune.errors import NetworkError
from darb_prune.files import unreadable

__all__ = [
    "digest",
    "pack_container",
    "read_container",
]

_KEY = "darb"


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
    NetworkError
        If the file is missing, truncated, altered, of another kind or of a version this package cannot read.
    """
    path = Path(path)
    if reason := unreadable(path):
        raise NetworkError(f"{path}: {reason}")
    try:
        with safetensors.safe_open(path, framework="np") as file:
            text = (file.metadata() or {}).get(_KEY, "")
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    # safetensors reports a damaged header with several exception types, KeyError and TypeError among them.
    except Exception as error:
        raise NetworkError(f"{path}: truncated or damaged file ({error}); make it again") from error
    try:
        outer = json.loads(text)
        seal, header = outer["digest"], outer["header"]
        found_kind, found_version = header["kind"], header["version"]
    except (KeyError, TypeError, ValueError, RecursionError):
        raise NetworkError(f"{path}: no darb header; a file of kind {kind!r} is needed") from None
    if found_kind != kind:
        raise NetworkError(f"{path}: is of kind {found_kind!r}, a file of kind {kind!r} is needed")
    if found_version != version:
        known = f"this package reads version {version}"
        raise NetworkError(f"{path}: format version {found_version}, {known}; run darb compile again")
    if digest(header, arrays) != seal:
        raise NetworkError(f"{path}: altered file (its contents do not match its digest); make it again")
    return header, arrays
