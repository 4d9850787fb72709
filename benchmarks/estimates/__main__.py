"""Synthesises the designs that ``darb estimate`` is fitted on; writes its data and docs/results/estimates.md."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console

from benchmarks.command import Seeds, bar, command
from benchmarks.estimates.measure import BUILD, measure
from benchmarks.estimates.points import cost, points
from benchmarks.goals import Goal, show
from darb_hw.estimate import fit as fits
from darb_hw.estimate.page import write_fit, write_page
from darb_hw.estimate.sample import Sample, joined, sample_of_build, samples_of_store, shipped_samples
from darb_hw.store.store import Store
from darb_prune.encoded import DarbError

PACKAGE, RESULTS = Path(fits.__file__).parent, Path("docs") / "results"


def goals(fitted: fits.Fit) -> list[Goal]:
    """What estimates have to show: of networks that the fit has not seen."""
    samples = fitted.samples
    exact = sum(sample.block_rams == sample.planned_block_rams for sample in samples) / len(samples)

    def error(figure: str, share: float) -> float:
        """In percent, of all families and devices together."""
        return 100 * float(np.quantile([abs(1 / one.ratio - 1) for one in fitted.held_out[figure]], share))

    return [
        Goal("synthesised designs", len(samples), 120, form=".0f"),
        Goal("networks", len({sample.network for sample in samples}), 8, form=".0f"),
        Goal("LUT4, median error, %", error("luts", 0.5), 4, least=False, form=".1f"),
        Goal("LUT4, 90 % of errors up to, %", error("luts", 0.9), 10, least=False, form=".1f"),
        Goal("block RAMs exact, % of designs", 100 * exact, 95, form=".1f"),
        Goal("Fmax, median error, %", error("fmax_mhz", 0.5), 8, least=False, form=".1f"),
    ]


_ALIASES = {"fashion-mnist-lenet5": "lenet-5", "mnist-lenet5": "lenet-5", "mnist": "lenet-300-100"}
"""Tasks whose networks have the layers of one of random weights: they are left out together."""


def _samples(stores: Sequence[Path]) -> list[Sample]:
    """The designs of the package, all that are there, and those that were placed in stores."""
    folders = sorted((BUILD / "points").glob("*/synth/netlist.v"))
    placed = [sample for folder in stores for sample in samples_of_store(Store(folder))[0]]
    placed = [replace(sample, network=_ALIASES.get(sample.network, sample.network)) for sample in placed]
    return joined(shipped_samples(), (sample_of_build(path.parent.parent) for path in folders), placed)


def main(
    designs: Annotated[int, typer.Option("--points", min=0, help="Designs to try; many of them fit no device.")] = 150,
    seeds: Seeds = 1,
    store: Annotated[
        list[Path] | None, typer.Option(help="Store whose placed designs count too; can be given again.")
    ] = None,
) -> None:
    """Synthesise designs of random weights, place and route a third of them, and fit darb estimate on all.

    Builds are kept in build/estimates, and what was synthesised or placed before is not done again. Cheap designs come
    first. The designs of the package stay in the fit; with --points 0 only the fit is made again. Exits with 1 if
    errors are beyond their limits.

    Examples:

    [bold]python -m benchmarks.estimates[/bold]

    [bold]python -m benchmarks.estimates --points 400 --seeds 3[/bold]

    [bold]python -m benchmarks.estimates --points 0 --store build/store[/bold]
    """
    if seeds < 1:
        raise DarbError(f"seeds {seeds}: at least one run of place and route is needed")
    order = sorted(points(designs), key=cost)
    with bar(Console(stderr=True), "designs", len(order)) as advance:
        for done, point in enumerate(order, 1):
            measure(point, range(1, seeds + 1))
            advance(done)
    fitted = fits.fit(_samples(store or ()))
    write_fit(fitted, PACKAGE)
    words = ["python -m benchmarks.estimates", *(f"--store {folder}" for folder in store or ())]
    write_page(fitted, RESULTS, " ".join(words))
    holds = show("what estimates have to show", goals(fitted), Console())
    raise typer.Exit(not holds)


app = command(main)

if __name__ == "__main__":
    app()
