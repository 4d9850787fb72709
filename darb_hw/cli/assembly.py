"""All commands together as the program ``darb``, and what it says when one of them fails."""

import errno
import io
import os
import sys
from contextlib import suppress
from importlib.metadata import EntryPoint, entry_points, version
from typing import Annotated

import typer
from typer.models import CommandInfo

from darb_prune.encoded import DarbError, printable
from darb_prune.text import MESSAGE_LENGTH

__all__ = ["INTERRUPTED", "build_app", "main"]

INTERRUPTED = 130
"""Exit code after Ctrl-C: 128 and the number of SIGINT, as shells have it."""
_REMEDIES = {
    errno.ENOSPC: "make room on that disk, or choose another",
    errno.EDQUOT: "make room there, or choose another disk",
    errno.EFBIG: "raise the limit on the size of files (ulimit -f)",
    errno.EMFILE: "raise the limit on open files (ulimit -n)",
    errno.ENFILE: "close other programs",
    errno.EROFS: "choose a folder that can be written",
    errno.EIO: "check that disk",
    errno.ENAMETOOLONG: "choose a shorter name",
}
"""What helps against errors of the operating system that have nothing to do with permissions."""

_ORDER = (
    "train", "check", "partition", "merge", "block-term", "prune", "compile", "info", "analyze", "evaluate",
    "experiment", "estimate", "verilog", "sim", "synth", "boards", "board", "patch", "load", "virtual", "host", "sweep",
    "search", "report", "refit", "store",
)  # fmt: skip


def _error(message: str) -> None:
    """One line on stderr, whatever the message. A caller may parse what stands on stdout."""
    with suppress(OSError):  # stderr may be on a full disk; the exit code says it as well
        print(f"darb: error: {printable(' '.join(message.split()), MESSAGE_LENGTH)}", file=sys.stderr, flush=True)


def _command_name(info: CommandInfo) -> str:
    if info.name:
        return info.name
    assert info.callback is not None
    return info.callback.__name__.replace("_", "-")


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"darb {version('darb')}")
        raise typer.Exit


def build_app(entries: list[EntryPoint] | None = None) -> typer.Typer:
    """The program: the commands of all entry points of the group ``darb.commands``, side by side.

    Parameters
    ----------
    entries : list of EntryPoint, optional
        Each names a :class:`typer.Typer`. One that cannot be imported is reported on stderr; its commands are
        missing, the others work.
    """
    entries = list(entry_points(group="darb.commands")) if entries is None else entries
    commands, groups = [], []
    for entry in entries:
        try:
            loaded = entry.load()
            commands += loaded.registered_commands
            groups += loaded.registered_groups
        except Exception as error:
            _error(f"the commands of {entry.name!r} ({entry.value}) cannot be loaded: {error}")
    rank = {name: position for position, name in enumerate(_ORDER)}
    commands.sort(key=lambda info: rank.get(_command_name(info), len(rank)))

    program = typer.Typer(no_args_is_help=True, rich_markup_mode="rich", pretty_exceptions_enable=False)

    @program.callback()
    def darb(
        _: Annotated[
            bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
        ] = False,
    ) -> None:
        """From a PyTorch model to a small, exact FPGA inference engine.

        [bold]darb train[/bold] a model, [bold]prune[/bold] it, [bold]compile[/bold] it to integers; generate its
        engine with [bold]verilog[/bold], check it with [bold]sim[/bold], measure it with [bold]synth[/bold], put it on
        a [bold]board[/bold].
        """

    program.registered_commands = commands
    program.registered_groups = groups
    return program


def main(arguments: list[str] | None = None) -> None:
    """All of the program ``darb`` but its first imports.

    Exit code 2 and one line on stderr for every mistake of the user, and for a disk that is full; 130 and one line
    after Ctrl-C.
    """
    for stream in (sys.stdout, sys.stderr):
        # A terminal without these letters shows their numbers. (A closed stream is none, and others have no encoding.)
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        try:
            typer.main.get_command(build_app())(args=arguments, prog_name="darb")
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()  # here its errors can be told
    except DarbError as error:
        _error(str(error))
    except OSError as error:
        if _output_lost():
            if error.errno == errno.EPIPE:  # whoever read it has gone, and knows
                sys.exit(1)
            _error(f"the output: {_reason(error)}")
        # Paths come from the user; an OSError without one is a fault of ours, or something has run out.
        elif error.filename is None and error.errno not in _REMEDIES:
            raise
        else:
            # Of the two names of a move the second is the one the user knows.
            path = error.filename2 or error.filename or "the output or a temporary file"
            _error(f"{os.fsdecode(path) if isinstance(path, (str, bytes)) else path}: {_reason(error)}")
    except KeyboardInterrupt:  # while commands are gathered
        _error("interrupted")
        sys.exit(INTERRUPTED)
    except SystemExit as end:
        # typer has turned Ctrl-C into this code.
        if end.code == INTERRUPTED and isinstance(getattr(end.__context__, "__cause__", None), KeyboardInterrupt):
            _error("interrupted")
        raise
    sys.exit(2)


def _reason(error: OSError) -> str:
    remedy = _REMEDIES.get(error.errno or 0, "check the path and its permissions")
    return f"{(error.strerror or str(error)).lower()}; {remedy}"


def _output_lost() -> bool:
    """Whether what is left of stdout cannot be written; it is dropped then, or Python would report it at its end."""
    if sys.stdout is None:
        return False
    try:
        sys.stdout.flush()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
        return True
    return False
