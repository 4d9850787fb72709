"""The application that the commands join, and what they share."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from darb_prune.encoded import DarbError, printable
from darb_prune.text import say

if TYPE_CHECKING:
    from darb_hw.jobs.flow import Pool
    from darb_hw.store.store import Store

__all__ = ["Capacity", "Jobs", "Scheduler", "Seeds", "StoreFolder", "app", "axis_values", "bar", "pool_of"]

_REALS = ("ratio", "size")
_NUMBERS = ("lanes", "weight_bits", "activation_bits", "positions", "seed", *_REALS)

app = typer.Typer(
    help="Generate, synthesise and compare FPGA engines.", no_args_is_help=True, rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)  # fmt: skip

Capacity = Annotated[
    str | None,
    typer.Option(help="Room for other networks of the same layers, whose weights darb patch exchanges: 20% on top."),
]
Jobs = Annotated[int | None, typer.Option(min=1, help="Jobs at a time; one a processor by default.")]
Scheduler = Annotated[
    str | None, typer.Option(envvar="DARB_SCHEDULER", help="Address of a Dask scheduler whose workers do the work.")
]
Seeds = Annotated[int, typer.Option(min=1, help="Place-and-route runs, with seeds 1, 2 ...")]
StoreFolder = Annotated[
    Path | None,
    typer.Option(
        "--store", help="Folder of results that are used again, if not $DARB_STORE or that of the user cache."
    ),
]


@contextmanager
def bar(title: str, total: int, quiet: bool = False) -> Iterator[Callable[..., None]]:
    """A progress bar on stderr; gives a function to call with what was just finished, and how much of it."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    # Into a file or a pipe go only messages.
    with Progress(*columns, console=console, transient=True, disable=quiet or not console.is_terminal) as bar:
        task = bar.add_task(printable(title), total=total)

        def advance(what: str, count: int = 1) -> None:
            bar.update(task, advance=count, description=printable(f"{title}: {what}"))

        yield advance


def axis_values(name: str, text: str) -> list[Any]:
    """``"4,8"`` -> ``[4, 8]``, without repetitions."""
    words = list(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))
    if name not in _NUMBERS:
        return words
    try:
        return [float(word) if name in _REALS else int(word) for word in words] if words else [int(text)]
    except ValueError:
        raise DarbError(
            f'--{name.replace("_", "-")} "{text}": write numbers with commas between, for example 4,8'
        ) from None


@contextmanager
def pool_of(store: "Store", scheduler: str | None, jobs: int | None) -> "Iterator[Pool]":
    """Workers of this machine or of a cluster, for as long as they are needed; for one job at a time there are none."""
    from darb_hw.jobs.cluster import ClusterPool
    from darb_hw.jobs.threads import ThreadPool

    if scheduler is None and (jobs or os.cpu_count() or 1) == 1:
        with ThreadPool(1, store) as pool:
            yield pool
        return
    with ClusterPool(store, scheduler, jobs) as pool:
        if pool.dashboard:
            say(f"dashboard: {pool.dashboard}")
        yield pool
