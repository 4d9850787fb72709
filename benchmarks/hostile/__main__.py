"""Thousands of damaged and forged files of every kind; ``python -m benchmarks.hostile --help``."""

from collections import Counter
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from benchmarks.command import bar, chosen, command
from benchmarks.hostile.kinds import KINDS
from benchmarks.hostile.limits import BAD, ENDS, GIGABYTES, SECONDS, Outcome, outcomes
from darb_prune.encoded import printable

FILES = 1000


def main(
    kinds: Annotated[
        list[str] | None, typer.Argument(metavar="KIND", help=f"Any of {', '.join(KINDS)}; all if none.")
    ] = None,
    files: Annotated[int, typer.Option(min=1, help="Files of each kind.")] = FILES,
    first: Annotated[int, typer.Option(min=0, help="Number of the first one; the same number is the same file.")] = 0,
) -> None:
    """Read damaged and forged files of every kind, forgeries with a fitting seal among them.

    Each has to be accepted or refused in one line. Exits with 1 if any gives a traceback, takes more than 10 s or 1 GB,
    or ends the process, and lists these. In the repository only; Linux only.

    Examples:

    [bold]python -m benchmarks.hostile --files 4000[/bold]

    [bold]python -m benchmarks.hostile darb vectors --files 100 --first 4000[/bold]
    """
    names, console = chosen(kinds, KINDS), Console()
    table = Table(title=f"{files:,} files a kind, {SECONDS:g} s and {GIGABYTES:g} GB each", title_justify="left")
    table.add_column("kind")
    for end in ENDS:
        table.add_column(end, justify="right")
    wrong: list[tuple[str, Outcome]] = []
    for name in names:
        ends: Counter[str] = Counter()
        with bar(Console(stderr=True), name, files) as advance:
            for outcome in outcomes(KINDS[name], range(first, first + files)):
                ends[outcome.end] += 1
                advance(ends.total())
                if outcome.end in BAD:
                    wrong.append((name, outcome))
        table.add_row(name, *(f"{ends[end]:,}" for end in ENDS))
    console.print(table)
    for name, outcome in wrong:
        console.print(Text(f"{name} {outcome.file_number}: {outcome.end}: {printable(outcome.message, 300)}"))
    raise typer.Exit(bool(wrong))


app = command(main)

if __name__ == "__main__":
    app()
