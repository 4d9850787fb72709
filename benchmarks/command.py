"""The command line and the progress bar that measurements have in common."""

import contextlib
import functools
import subprocess
from collections.abc import Callable, Iterator

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from darb_prune.encoded import DarbError

__all__ = ["bar", "command"]


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


@contextlib.contextmanager
def bar(console: Console, words: str, total: int) -> Iterator[Callable[[int], None]]:
    """A progress bar; gives a function to be called with the number that is done."""
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(words, total=total)
        yield lambda done: bar.update(task, completed=done)
