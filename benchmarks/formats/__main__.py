"""The format shoot-out; writes docs/results/formats.json, formats.md and plots."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.command import command
from benchmarks.formats import measure, page
from benchmarks.formats.layers import LAYERS
from darb_hw.synthesis import tools
from darb_prune.encoded import DarbError, write_atomic

ROOT = Path(__file__).resolve().parents[2]


def main(
    layer: Annotated[str | None, typer.Option(help=f"One of {', '.join(LAYERS)}; all if absent.")] = None,
    lanes: Annotated[int | None, typer.Option(help="16 or 64; both if absent.")] = None,
    seeds: Annotated[int, typer.Option(min=0, help="Runs of place and route; 0 leaves it out.")] = 5,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder of the results.")] = ROOT / "docs" / "results",
) -> None:
    """Measure sparsity formats on one skeleton of an engine. The page is written when nothing is left out.

    Results are kept in build/formats and not measured again for the same design: stopped, it goes on where it was.

    Examples:

    [bold]python -m benchmarks.formats[/bold]

    [bold]python -m benchmarks.formats --layer lenet --lanes 16 --seeds 1[/bold]
    """
    for asked, choices in ((layer, tuple(LAYERS)), (lanes, measure.LANES)):
        if asked is not None and asked not in choices:
            raise DarbError(f"{asked}: choose one of {', '.join(map(str, choices))}")
    wanted = [
        point for point in measure.points() if point[0] == (layer or point[0]) and point[3] == (lanes or point[3])
    ]
    console = Console()
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    results, pruned = [], {}
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=len(wanted))
        for workload, ratio, name, count in wanted:
            title = f"{workload} {ratio}x {name}, {count} lanes"
            if (workload, ratio) not in pruned:
                pruned = {(workload, ratio): measure.pruned_layers(workload, ratio)}

            def progress(what: str, title: str = title) -> None:
                bar.update(task, description=f"{title}: {what}")

            by_format, all_seeds = pruned[workload, ratio], tuple(range(1, seeds + 1))
            point = measure.measure(by_format, workload, ratio, name, count, all_seeds, progress)
            results.append(point)
            bar.advance(task)
            console.print(page.line(point), highlight=False)
    if layer or lanes:
        return
    equal = [
        row
        for workload, about in LAYERS.items()
        for ratio in about.ratios
        for row in measure.at_equal_norm(workload, ratio, 16)
    ]
    versions = {tool.name: tool.version for tool in (tools.yosys(), tools.nextpnr("ecp5"))}
    measured = {"tools": versions, "points": results, "equal_norm": equal}
    write_atomic(output / "formats.json", (json.dumps(measured, indent=1) + "\n").encode())
    # Keys are text there: the page is made from what can be read back.
    page.write(json.loads((output / "formats.json").read_text()), output)


app = command(main)

if __name__ == "__main__":
    app()
