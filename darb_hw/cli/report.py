"""The ``report`` command."""

from pathlib import Path
from typing import Annotated

import typer

from darb_hw.cli.app import app
from darb_prune.text import say

__all__ = ["report"]


@app.command()
def report(
    sweep: Annotated[Path, typer.Argument(help="Folder that darb sweep has written.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The HTML file; report.html in the folder if absent.")
    ] = None,
) -> None:
    """Write the page of a sweep: plots with Pareto fronts, filters, a table, and every point in detail.

    It is one file that a browser opens without a network.

    Examples:

    [bold]darb report build/sweep-digits[/bold]

    [bold]darb report build/sweep-digits -o report.html[/bold]
    """
    from darb_hw.sweep.page.contents import page_contents
    from darb_hw.sweep.page.page import page_bytes
    from darb_hw.sweep.page.saved import load
    from darb_prune.encoded import write_atomic
    from darb_prune.files import check_file

    saved = load(sweep)
    output = output or (sweep if sweep.is_dir() else sweep.parent) / "report.html"
    check_file(output)
    write_atomic(output, page_bytes(page_contents(saved)))
    say(f"wrote {output}: {len(saved.points):,} points")
