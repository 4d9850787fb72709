"""What the tools leave in a folder: reports that are used again, and logs with errors."""

import json
import shutil
from pathlib import Path
from typing import Any

from darb_prune.encoded import write_atomic

__all__ = ["error_line", "prepare", "read_results"]


def prepare(folder: Path, state: dict[str, Any]) -> None:
    """Empty ``folder`` unless its results came from ``state``.

    Parameters
    ----------
    folder : Path
        Made if it is not there.
    state : dict
        All that the results depend on, as plain values.
    """
    mark = folder / "state.json"
    text = (json.dumps(state, indent=2) + "\n").encode()
    if mark.is_file() and mark.read_bytes() == text:
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    write_atomic(mark, text)


def read_results(path: Path) -> dict[str, Any] | None:
    """A report of a tool. None if it is not there or damaged, so that the tool runs again."""
    try:
        results = json.loads(path.read_bytes())
    # Values in values without end are a RecursionError.
    except (OSError, ValueError, RecursionError):
        return None
    return results if isinstance(results, dict) else None


def error_line(log: Path) -> str:
    """The first line with an error, to pass on; the errors after it only follow from it."""
    lines = log.read_text(errors="replace").splitlines()
    errors = [line for line in lines if "ERROR" in line]
    return (errors or lines[-1:] or ["no message"])[0].strip().removeprefix("ERROR: ")
