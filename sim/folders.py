"""Where simulators are compiled and run: paths that compilers take, and runs that leave nothing behind."""

import contextlib
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from darb_hw.emit import Build
from darb_hw.locks import exclusive, is_in_use
from darb_prune.encoded import DarbError

__all__ = ["run_folder", "workshop"]

_PLAIN = re.compile(r"[\w.,+@/-]+", re.ASCII)
"""Paths that Make, and the shells that compilers start, take as they are."""


@contextlib.contextmanager
def workshop(folder: Path, sources: Sequence[Path]) -> Iterator[tuple[Path, list[Path]]]:
    """The folder to compile in, and the sources there; what was made is in ``folder`` at the end.

    Make cannot work in a folder with a blank in its path, and Icarus hands paths to a shell. Then all is compiled in a
    temporary folder.

    Raises
    ------
    DarbError
        If the path of the temporary folder is no better.
    """
    if all(_PLAIN.fullmatch(str(path)) for path in (folder, *sources)):
        yield folder, list(sources)
        return
    temporary = tempfile.gettempdir()
    if not _PLAIN.fullmatch(temporary):
        raise DarbError(
            f"{folder}: compilers take paths of letters, digits and ._,+@- only, and {temporary} is none either: set "
            "TMPDIR to a folder with such a path"
        )
    with tempfile.TemporaryDirectory(prefix="darb-") as name:
        yield Path(name), [Path(shutil.copy(source, name)) for source in sources]
        shutil.copytree(name, folder, dirs_exist_ok=True)


@contextlib.contextmanager
def run_folder(build: Build, folder: Path) -> Iterator[Path]:
    """A folder of its own in ``folder`` for a run, with the ROM images; removed at the end.

    What runs have left that were killed is removed first: no process has the lock of their folders.
    """
    for path in folder.glob("run-*"):
        if not is_in_use(path):
            shutil.rmtree(path, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix="run-") as name, exclusive(Path(name)):
        run = Path(name)
        (run / "rom").symlink_to(build.folder.resolve() / "rom")
        yield run
