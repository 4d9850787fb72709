"""The command line, its options, the progress bar and the file of results that measurements have in common."""

import contextlib
import functools
import json
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from darb_prune.encoded import DarbError, printable, write_atomic
from darb_prune.text import MESSAGE_LENGTH

__all__ = ["JOBS", "Again", "Jobs", "PageOnly", "Seeds", "Synthesis", "bar", "chosen", "command", "measured"]

JOBS = os.cpu_count() or 1
Seeds = Annotated[int, typer.Option(help="Place-and-route runs of each point.")]
Jobs = Annotated[int, typer.Option("--jobs", "-j", help="Such runs at the same time.")]
Synthesis = Annotated[bool, typer.Option(help="Whether to run Yosys and nextpnr.")]
Again = Annotated[bool, typer.Option("--again", help="Simulate and place again what was measured before.")]
PageOnly = Annotated[bool, typer.Option("--page", help="Run nothing; write the page from what is there.")]


def chosen(names: Sequence[str] | None, points: Mapping[str, object], seeds: int = 1) -> list[str]:
    """The points to measure, all if none is named; ``seeds`` are the runs of place and route of each.

    Raises
    ------
    DarbError
        If there is no point of a name, or no seed.
    """
    unknown = [name for name in names or () if name not in points]
    if unknown:
        raise DarbError(f"{unknown[0]}: choose from {', '.join(points)}")
    if seeds < 1:
        raise DarbError(f"seeds {seeds}: at least one run of place and route is needed")
    return list(names or points)


def measured(
    file: Path, names: Sequence[str], measure: Callable[[str], Any], words: str | None = None
) -> dict[str, Any]:
    """What a file of results has, with what ``measure`` gives for each of ``names``; it is saved after each. A progress
    bar shows how many of these ``words`` are done; there is none if ``measure`` draws its own."""
    results = json.loads(file.read_text()) if file.exists() else {}
    with bar(Console(stderr=True), words, len(names)) if words else contextlib.nullcontext(lambda done: None) as done:
        for count, name in enumerate(names, 1):
            results[name] = measure(name)
            write_atomic(file, (json.dumps(results, indent=1) + "\n").encode())
            done(count)
    return results


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
            typer.echo(f"error: {printable(error, MESSAGE_LENGTH)}", err=True)
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
