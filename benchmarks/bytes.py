"""Digests of everything that is generated for random networks: shows whether a change of the code changes a byte.

The networks are those of ``make fuzz``, so this runs in the repository only.
"""

import hashlib
import json
import os
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from benchmarks.command import bar, command
from darb_hw.emit import generate
from darb_prune.encoded import DarbError, write_atomic
from tests.random_engines import draw_config, draw_network, draw_vectors, kind_of

__all__ = ["Digests", "differences", "digests_of", "title", "write"]

Digests = dict[str, dict[str, str]]
"""Network -> name of a file -> SHA-256."""
NETWORKS = 100


def title(network_number: int) -> str:
    """Name of a network in reports."""
    return f"{network_number}-{kind_of(network_number)}"


def write(network_number: int, folder: Path) -> None:
    """Write ``network.darb`` and the build folder of a network: Verilog, ROM images, vectors, manifest."""
    random, draw = draw_network("verilator", network_number)
    random, vectors = draw_vectors(random, draw)
    random.network.save(folder / "network.darb")
    generate(random.network, draw_config(draw), folder, vectors)


def digests_of(folder: Path) -> dict[str, str]:
    """SHA-256 of all files in a folder, by their path in it."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def differences(before: Digests, after: Digests) -> list[str]:
    """Network and name of each file that is not the same."""
    lines = []
    for network in dict.fromkeys([*before, *after]):
        old, new = before.get(network, {}), after.get(network, {})
        for name in sorted(old.keys() | new.keys()):
            if name not in new:
                lines.append(f"{network}: {name} is missing")
            elif name not in old:
                lines.append(f"{network}: {name} is new")
            elif old[name] != new[name]:
                lines.append(f"{network}: {name} differs")
    return lines


def _digests(network_number: int) -> tuple[str, dict[str, str]]:
    with tempfile.TemporaryDirectory() as name:
        write(network_number, Path(name))
        return title(network_number), digests_of(Path(name))


def _measured(networks: int, jobs: int) -> Digests:
    """Digests of the first ``networks`` networks."""
    digests: Digests = {}
    with bar(Console(stderr=True), "networks", networks) as advance, ProcessPoolExecutor(jobs) as pool:
        for name, of_files in pool.map(_digests, range(networks)):
            digests[name] = of_files
            advance(len(digests))
    return digests


def _read(path: Path) -> Digests:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise DarbError(f"{path}: not a file of digests ({error}); make one with -o") from None


def main(
    output: Annotated[Path | None, typer.Option("-o", "--output", help="JSON file of digests to write.")] = None,
    against: Annotated[Path | None, typer.Option(help="JSON file of digests to compare with.")] = None,
    networks: Annotated[
        int | None, typer.Option(min=1, help=f"Random networks; {NETWORKS}, or as many as there are in --against.")
    ] = None,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, help="Processes.")] = os.cpu_count() or 1,
) -> None:
    """Show that a change of the code changes no byte of what is generated.

    For random networks of every kind on random engines: the .darb file, Verilog, ROM images, vectors and manifest.
    Exits with 1 if any file differs, and names network and file.

    Examples:

    [bold]python -m benchmarks.bytes -o before.json[/bold]

    [bold]python -m benchmarks.bytes --against before.json[/bold]
    """
    if output is None and against is None:
        raise DarbError("give -o FILE to write digests, or --against FILE to compare with those of a file")
    before = {} if against is None else _read(against)
    count = networks or len(before) or NETWORKS
    if against is not None and count > len(before):
        raise DarbError(f"--networks {count}: {against} has {len(before)}")
    after = _measured(count, jobs)
    files = sum(len(names) for names in after.values())
    if output is not None:
        write_atomic(output, (json.dumps(after, indent=1) + "\n").encode())
        typer.echo(f"{output}: {count} networks, {files} files")
    if against is not None:
        titles = [title(network_number) for network_number in range(count)]
        lines = differences({name: before.get(name, {}) for name in titles}, after)
        for line in lines:
            typer.echo(line)
        typer.echo(f"{count} networks, {files} files: {len(lines)} differ")
        raise typer.Exit(bool(lines))


app = command(main)

if __name__ == "__main__":
    app()
