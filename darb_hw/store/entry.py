"""One result as bytes and back: a ZIP file of a few members, every one of them with its digest."""

import hashlib
import io
import json
import re
import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import BinaryIO

__all__ = ["Entry", "file_name"]

_RECORD = "entry.json"
_LARGEST = 1 << 30
"""Bytes of all files of an entry."""
_NAME = re.compile(r"[A-Za-z0-9_][\w.+-]{0,100}(/[A-Za-z0-9_][\w.+-]{0,100}){0,3}", re.ASCII)
_EARLY = (1980, 1, 1, 0, 0, 0)
"""The time stamp of every member: the same files are the same bytes."""


def file_name(name: object) -> bool:
    """Whether a file of an entry may have this name: relative, and nothing that leads out of a folder."""
    return isinstance(name, str) and _NAME.fullmatch(name) is not None and name != _RECORD


@dataclass(frozen=True)
class Entry:
    """What a job gave.

    Parameters
    ----------
    key : str
        SHA-256, in hexadecimal, of all that the result depends on.
    kind : str
        Which kind of job: ``"synthesis"``, ``"route"``, ...
    label : str
        For people who look into a store.
    files : mapping of str to bytes
    failure : str
        Why the job cannot be done, if that is a fact of what it was given; empty if it was done.
    """

    key: str
    kind: str
    label: str
    files: Mapping[str, bytes] = field(default_factory=dict)
    failure: str = ""

    def pack(self) -> bytes:
        """The entry as the bytes of a ZIP file, the same for the same entry."""
        record = {
            "key": self.key,
            "kind": self.kind,
            "label": self.label,
            "failure": self.failure,
            "files": {name: hashlib.sha256(data).hexdigest() for name, data in self.files.items()},
        }
        members = {_RECORD: (json.dumps(record, indent=2) + "\n").encode(), **self.files}
        target = io.BytesIO()
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in members.items():
                archive.writestr(zipfile.ZipInfo(name, _EARLY), data, zipfile.ZIP_DEFLATED)
        return target.getvalue()

    @classmethod
    def unpack(cls, data: bytes) -> "Entry | None":
        """The entry in the bytes of a file that anyone may have written; nothing if it is damaged."""
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                if sum(member.file_size for member in archive.infolist()) > _LARGEST:
                    return None
                record = _read_record(archive)
                digests = record.pop("files")
                files = {name: archive.read(name) for name in digests}
        except (
            ValueError, KeyError, TypeError, AttributeError, EOFError, OSError, RecursionError, NotImplementedError,
            RuntimeError, OverflowError, zipfile.BadZipFile, zlib.error, struct.error,
        ):  # fmt: skip
            return None
        if any(hashlib.sha256(files[name]).hexdigest() != digest for name, digest in digests.items()):
            return None
        return cls(files=files, **record)

    @classmethod
    def describe(cls, file: BinaryIO) -> "Entry | None":
        """The same without its files, which are not read: enough for a list."""
        try:
            with zipfile.ZipFile(file) as archive:
                record = _read_record(archive)
        except Exception:  # what a forged archive raises is up to who forged it; a list has no line for it
            return None
        del record["files"]
        return cls(**record)


def _read_record(archive: zipfile.ZipFile) -> dict:
    record = json.loads(archive.read(_RECORD))
    if record.keys() != {"key", "kind", "label", "failure", "files"}:
        raise ValueError("not the fields of an entry")
    if not all(isinstance(record[name], str) for name in ("key", "kind", "label", "failure")):
        raise TypeError("a field is no text")
    if not isinstance(record["files"], dict) or not all(map(file_name, record["files"])):
        raise ValueError("a name that no file of an entry has")
    return record
