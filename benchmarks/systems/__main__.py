"""Systems against dense networks, small networks and DARB; finished runs are kept in build/systems."""

from collections.abc import Iterable, Sequence
from typing import Annotated

import typer
from rich.console import Console

from benchmarks.command import PageOnly, chosen, command
from benchmarks.goals import show
from benchmarks.systems import page, plots
from benchmarks.systems.goals import goals
from benchmarks.systems.measure import measure
from benchmarks.systems.results import FILE, Results, gather, recorded
from benchmarks.systems.subjects import SUBJECTS


def main(
    names: Annotated[list[str] | None, typer.Argument(metavar="NAME", help=f"Any of {', '.join(SUBJECTS)}.")] = None,
    seeds: Annotated[int, typer.Option(help="Number of seeds, from the first.")] = 3,
    first: Annotated[int, typer.Option(help="First seed.")] = 0,
    page_only: PageOnly = False,
) -> None:
    """Train and measure, seed after seed, and write docs/results/systems.md.

    What was measured before is not done again: figures stand in docs/results/systems.json, models in build/systems. All
    of it takes some eight hours of two cores.

    Examples:

    [bold]python -m benchmarks.systems fsdd --seeds 1[/bold]

    [bold]python -m benchmarks.systems --page[/bold]
    """
    console = Console()
    if not page_only:
        _run(chosen(names, SUBJECTS), range(first, first + seeds), console)
    results = gather()
    page.write(results, FILE.with_suffix(".md"))
    plots.bits(results, FILE.with_name("systems-bits.png"))
    show("what the systems have to show", goals(results), console)


def _run(names: Sequence[str], seeds: Iterable[int], console: Console) -> None:
    done = Results(recorded())
    for seed in seeds:
        for name in names:
            trial = SUBJECTS[name].trial(seed)
            for arm in SUBJECTS[name].arms:
                result = done.of(name, arm.name).get(str(seed)) or measure(trial, arm)
                weights = sum(result["weights"].values())
                console.print(
                    f"{name}, seed {seed}, {arm.name}: validation {result['integer']['validation']:.4f}, "
                    f"{weights:,} weights, {result['stored_bits']:,} bits, {result['cycles']:,} cycles",
                    highlight=False,
                    soft_wrap=True,
                )


app = command(main)

if __name__ == "__main__":
    app()
