"""The command line that all measurements have in common."""

import functools
import subprocess
from collections.abc import Callable

import typer

from darb_prune.encoded import DarbError

__all__ = ["command"]


def command(main: Callable[..., None]) -> typer.Typer:
    """A program from a function with typer's annotations; its docstring is the help.

    An error of the user becomes one line on stderr and exit code 2. A command that was run and failed has said why:
    its exit code is passed on.
    """

    @functools.wraps(main)
    def guarded(*arguments: object, **options: object) -> None:
        try:
            main(*arguments, **options)
        except DarbError as error:
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(2) from None
        except subprocess.CalledProcessError as error:
            raise typer.Exit(error.returncode) from None

    app = typer.Typer(add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False)
    app.command()(guarded)
    return app
