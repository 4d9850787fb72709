"""A folder of results, each under its key. Many processes may read and write it at once."""

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from darb_hw.store.entry import Entry
from darb_prune.encoded import DarbError, write_atomic

__all__ = ["VERSION", "Record", "Store"]

VERSION = "1"
"""Of the layout of the folder and of its entries."""
_VERSION_FILE = "version"
_KEY = re.compile(r"[0-9a-f]{64}")
_ENTRY = re.compile(r"([0-9a-f]{64})\.zip")
_UNFINISHED = re.compile(r"\.[0-9a-f]{64}\.zip\..+")
_OLD_SECONDS = 3600.0
"""So long after its last change an unfinished file is one whose writer has died."""


@dataclass(frozen=True)
class Record:
    """What a list of a store says of an entry.

    Parameters
    ----------
    key, kind, label, failure : str
        See :class:`Entry`. Without a kind, the entry is damaged.
    size : int
        Bytes on the disk.
    used : float
        When it was last read or written, in seconds since 1970.
    """

    key: str
    kind: str
    label: str
    failure: str
    size: int
    used: float


class Store:
    """Results by key: ``DIR/ab/abcdef....zip``.

    An entry is written beside its place and then moved there, so of several writers of one key each leaves a whole one.
    A damaged entry is as good as none: it is made again.

    Parameters
    ----------
    folder : path, optional
        ``$DARB_STORE`` if absent; without that ``store`` in the user's cache, ``~/.cache/darb/store`` on Linux. It is
        made when something is written.

    Raises
    ------
    DarbError
        If the folder is a file, or a store of another version.
    """

    def __init__(self, folder: str | Path | None = None) -> None:
        named = folder or os.environ.get("DARB_STORE") or platformdirs.user_cache_path("darb") / "store"
        self.folder = Path(named).expanduser().absolute()
        if self.folder.exists() and not self.folder.is_dir():
            raise DarbError(f"{self.folder}: is no folder; name another with --store or $DARB_STORE")
        self._version = self.folder / _VERSION_FILE
        if self._version.is_file():
            with self._version.open("rb") as file:
                version = file.read(100).decode(errors="replace").strip()
            if version != VERSION:
                raise DarbError(
                    f"{self.folder}: a store of version {version or 'none'}, this package has version {VERSION}; name "
                    "another folder with --store or $DARB_STORE"
                )

    def _path(self, key: str) -> Path:
        assert _KEY.fullmatch(key), key
        return self.folder / key[:2] / f"{key}.zip"

    def get(self, key: str) -> Entry | None:
        """The entry of a key; nothing if there is none, or it is damaged."""
        path = self._path(key)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        entry = Entry.unpack(data)
        if entry is None or entry.key != key:
            return None
        with suppress(OSError):  # a store that only may be read
            os.utime(path)
        return entry

    def put(self, entry: Entry) -> None:
        """Keep an entry. One that is whole already stays as it is: all who read a key get the same.

        Raises
        ------
        OSError
            Naming the file that could not be written.
        """
        path = self._path(entry.key)
        if path.exists() and self.get(entry.key) is not None:
            return
        if not self._version.is_file():
            write_atomic(self._version, f"{VERSION}\n".encode())
        write_atomic(path, entry.pack())

    def _paths(self) -> Iterator[tuple[str, Path]]:
        for folder in sorted(self.folder.glob("[0-9a-f][0-9a-f]")):
            for path in sorted(folder.iterdir()):
                match = _ENTRY.fullmatch(path.name)
                if match and match[1].startswith(folder.name):
                    yield match[1], path

    def keys(self) -> Iterator[str]:
        """The keys of all entries, damaged ones too, in order."""
        return (key for key, _ in self._paths())

    def entries(self, kind: str) -> Iterator[Entry]:
        """All whole entries of a kind, by key."""
        for record in self.records():
            entry = self.get(record.key) if record.kind == kind else None
            if entry is not None:
                yield entry

    def records(self) -> Iterator[Record]:
        """What there is, by key, without reading all of it."""
        for key, path in self._paths():
            try:
                with path.open("rb") as file:
                    entry, state = Entry.describe(file), os.fstat(file.fileno())
            except FileNotFoundError:  # another process removes entries
                continue
            if entry is None or entry.key != key:
                entry = Entry(key, "", "damaged")
            yield Record(key, entry.kind, entry.label, entry.failure, state.st_size, state.st_mtime)

    def remove(self, keys: Iterable[str]) -> None:
        """Remove entries; those that are not there are no mistake."""
        for key in keys:
            self._path(key).unlink(missing_ok=True)

    def damaged(self) -> list[str]:
        """Keys of entries that cannot be read."""
        return [key for key, path in self._paths() if not _whole(key, path)]

    def tidy(self, now: float) -> int:
        """Remove what writers left behind that were killed; gives how many files that were."""
        paths = [path for path in self.folder.glob("[0-9a-f][0-9a-f]/.*") if _UNFINISHED.fullmatch(path.name)]
        old = [path for path in paths if now - path.stat().st_mtime > _OLD_SECONDS]
        for path in old:
            path.unlink(missing_ok=True)
        return len(old)


def _whole(key: str, path: Path) -> bool:
    entry = Entry.unpack(path.read_bytes())
    return entry is not None and entry.key == key
