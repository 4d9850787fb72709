"""This project beside other generators of hardware; writes docs/results/peers.json, peers.md and plots."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.command import command
from benchmarks.peers import ladder, page
from benchmarks.peers.measure import CUTOFF, TOOLS, Subject, contenders, measure
from benchmarks.peers.results import PeerResults
from darb_prune.encoded import DarbError

ROOT = Path(__file__).resolve().parents[2]


def main(
    networks: Annotated[
        list[str] | None, typer.Argument(help="linear-N, ladder (all of its sizes) or .darb files; ladder if none.")
    ] = None,
    tools: Annotated[str, typer.Option(help="Generators to measure, with commas.")] = ",".join(TOOLS),
    seeds: Annotated[int, typer.Option(min=1, help="Runs of place and route, seeds 1 to this.")] = 5,
    minutes: Annotated[float, typer.Option(min=0.1, help="Limit of processor time of every step of a peer.")] = 60,
    cutoff: Annotated[float, typer.Option(min=0.1, help="Delay between registers for alkaid, in its units.")] = CUTOFF,
    output: Annotated[Path, typer.Option("-o", "--output", help="JSON file; what it holds is kept.")] = (
        ROOT / "docs" / "results" / "peers.json"
    ),
    build: Annotated[Path, typer.Option(help="Folder to build in.")] = Path("build") / "peers",
) -> None:
    """Measure darb, alkaid and nngen on the same pruned networks, and write the page.

    A row is saved when it is done. Rows of peers that the JSON file has are not measured again. Rows of the engine are,
    unless its Verilog is the same as in the build folder.

    Examples:

    [bold]python -m benchmarks.peers[/bold]: the ladder, hours

    [bold]python -m benchmarks.peers --tools darb[/bold]: the engine again, the peers as they were

    [bold]python -m benchmarks.peers linear-32 build/my.darb --seeds 1[/bold]: some networks
    """
    console = Console()
    sizes = [f"linear-{size}" for size in ladder.SIZES]
    names = [name for asked in networks or ["ladder"] for name in (sizes if asked == "ladder" else [asked])]
    chosen = tools.split(",")
    unknown = [tool for tool in chosen if tool not in TOOLS]
    if unknown:
        raise DarbError(f'--tools "{tools}": choose from {", ".join(TOOLS)}')
    results = PeerResults.load(output)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("networks", total=None)
        subjects = [Subject.of(ladder.named(name, build / "networks")) for name in names]
        subjects.sort(key=lambda subject: subject.kept)  # what is too large ends the ladder of a peer
        rows = [
            (subject, contender)
            for subject in subjects
            for contender in contenders(subject, cutoff)
            if contender.tool in chosen
        ]
        bar.update(task, total=len(rows))
        for subject, contender in rows:
            label = f"{subject.name}: {contender.name}"

            def progress(step: str, label: str = label) -> None:
                bar.update(task, description=f"{label}: {step}")

            progress("")
            folder = build / subject.name / contender.name.replace(", ", "-").replace(" ", "-")
            before, obstacle = results.row(subject.name, contender.name), results.obstacle(subject, contender)
            row = measure(subject, contender, range(1, seeds + 1), minutes, folder, before, obstacle, progress)
            results.put(subject, contender, row)
            results.save(output)
            bar.advance(task)
            console.print(f"{label}: {page.one_line(row)}", highlight=False, soft_wrap=True)
    page.write(results, output)
    console.print(f"wrote {output.with_suffix('.md')}", highlight=False, soft_wrap=True)


app = command(main)

if __name__ == "__main__":
    app()
