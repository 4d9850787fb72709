"""The commands of ``darb`` from an encoded network to an engine that is placed, and all commands together.

Nothing heavy is imported before a command runs, so that help is quick.
"""

from darb_hw.cli import (  # their commands join the application, in the order of help
    board,
    engine,
    estimate,
    host,
    report,
    search,
    store,
    sweep,
)
from darb_hw.cli.app import app
from darb_hw.cli.assembly import INTERRUPTED, build_app, main

__all__ = [
    "INTERRUPTED", "app", "board", "build_app", "engine", "estimate", "host", "main", "report", "search", "store",
    "sweep",
]  # fmt: skip
