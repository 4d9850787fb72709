"""The ``store`` commands: what results are kept, and which of them to remove."""

import re
from pathlib import Path
from typing import Annotated

import typer

from darb_hw.cli.app import StoreFolder, app
from darb_prune.encoded import DarbError, printable
from darb_prune.text import say

__all__ = ["store_app"]

store_app = typer.Typer(no_args_is_help=True, rich_markup_mode="rich")
app.add_typer(store_app, name="store", help="Results that are used again: list, remove, copy them.")

Kind = Annotated[str | None, typer.Option(help="Only those of a kind: synthesis, route, measurement, ...")]
_UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_DAY = 86400.0


@store_app.command(name="list")
def list_(
    store: StoreFolder = None,
    kind: Kind = None,
    entries: Annotated[bool, typer.Option("--entries", help="A line for each entry, not for each kind.")] = False,
) -> None:
    """Show which results are kept, and what room they take.

    Examples:

    [bold]darb store list[/bold]

    [bold]darb store list --kind route --entries[/bold]
    """
    from rich.console import Console

    from darb_hw.report import entry_table, kind_table
    from darb_hw.store.store import Store

    opened = Store(store)
    records = [record for record in opened.records() if kind in (None, record.kind)]
    Console().print(entry_table(records) if entries else kind_table(records))
    say(f"{len(records):,} results, {sum(record.size for record in records) / 1e6:,.1f} MB in {opened.folder}")


@store_app.command()
def prune(
    store: StoreFolder = None,
    kind: Kind = None,
    older: Annotated[float | None, typer.Option(min=0, help="Remove what was not used for so many days.")] = None,
    keep: Annotated[
        str | None, typer.Option(help='Remove what was not used for longest, until the rest takes at most "2G".')
    ] = None,
) -> None:
    """Remove results: damaged ones always, and what options ask for. They are made again when they are needed.

    Examples:

    [bold]darb store prune --older 90[/bold]

    [bold]darb store prune --keep 2G[/bold]
    """
    import time

    from darb_hw.store.pruning import expendable
    from darb_hw.store.store import Store

    opened, now = Store(store), time.time()
    most = None if keep is None else _bytes(keep)
    keys = opened.damaged()
    records = [record for record in opened.records() if record.key not in keys and kind in (None, record.kind)]
    if older is not None or most is not None or kind is not None:
        seconds = None if older is None else older * _DAY
        keys += [record.key for record in expendable(records, now, seconds, most)]
    opened.remove(keys)
    unfinished = opened.tidy(now)
    say(f"removed {len(keys):,} results and {unfinished:,} unfinished files from {opened.folder}")


@store_app.command()
def export(
    target: Annotated[Path, typer.Argument(help="Folder of another store; made if it is not there.")],
    store: StoreFolder = None,
    kind: Kind = None,
) -> None:
    """Copy results into another store, which keeps what it has: to take them along, or to join two stores.

    Examples:

    [bold]darb store export /media/stick/darb[/bold]

    [bold]darb store export ~/.cache/darb/store --store /media/stick/darb[/bold]
    """
    from darb_hw.store.store import Store

    opened, other = Store(store), Store(target)
    if opened.folder.resolve() == other.folder.resolve():
        raise DarbError(f"{target}: is the store itself; name the folder of another one")
    copied = 0
    for record in opened.records():
        entry = opened.get(record.key) if record.kind and kind in (None, record.kind) else None
        if entry is not None:
            other.put(entry)
            copied += 1
    say(f"{copied:,} results are in {printable(str(other.folder), 200)}")


def _bytes(text: str) -> int:
    match = re.fullmatch(r"(\d{1,15})([kMGT]?)B?", text)
    if match is None:
        raise DarbError(f'--keep "{text}": write bytes as a whole number, with k, M, G or T behind it if you like')
    return int(match[1]) * _UNITS[match[2]]
