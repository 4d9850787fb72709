"""TOML files that people write: read, and what is wrong with a field in one line."""

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from darb_prune.errors import DarbError
from darb_prune.files import unreadable

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

__all__ = ["field_fault", "read_toml"]


def read_toml(path: Path, what: str) -> dict[str, Any]:
    """The tables of a TOML file.

    Parameters
    ----------
    path : Path
    what : str
        What the file is to declare, and where examples are: for the message.

    Raises
    ------
    DarbError
        If there is no such file, or it is no TOML.
    """
    if reason := unreadable(path):
        raise DarbError(f"{path}: {reason}; give the TOML file of {what}")
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DarbError(f"{path}: no TOML ({error}); mend that line") from None
    except (RecursionError, ValueError) as error:  # brackets within brackets; dates and integers that Python has not
        raise DarbError(f"{path}: no TOML that can be read ({error}); write it plainly") from None


def field_fault(fault: "ErrorDetails", where: str, known: str) -> str:
    """What is wrong with a field, in one line.

    Parameters
    ----------
    fault : dict
        One of ``errors()`` of a ``pydantic.ValidationError``.
    where : str
        Path of the field, as in ``axes.lanes``; empty for the whole file.
    known : str
        Where all fields are described.
    """
    what = {"extra_forbidden": f"unknown; remove it ({known})", "missing": "missing; add it"}.get(fault["type"])
    if what is None:
        what = fault["msg"].removeprefix("Value error, ").replace("\n", " ")
        if fault["type"] != "value_error":
            what = f"{fault['input']!r}: {what[:1].lower()}{what[1:]}"
    return f"{where}: {what}" if where else what
