"""Systems against dense networks, small networks and DARB; finished runs are kept in build/systems."""

from dataclasses import replace
from functools import partial
from typing import Annotated

import typer
from rich.console import Console

from benchmarks.command import chosen, command
from benchmarks.systems.measure import Trial, darb, measure, selected, selected_darb, small, tuned
from darb_prune import tasks
from darb_prune.pruning.methods import Channels, Neurons
from darb_prune.tasks.chars import SYMBOLS
from darb_prune.tasks.language import LanguageModel


def _chars(seed: int) -> Trial:
    return Trial("chars-256", replace(tasks.get("chars"), build=partial(LanguageModel, SYMBOLS, 64, 256)), seed)


def _task(name: str, seed: int) -> Trial:
    return Trial(name, tasks.get(name), seed)


SUBJECTS = {
    "chars-256": (
        _chars,
        [
            tuned(),
            *(selected(Neurons(), ratio) for ratio in (2, 4, 8)),
            *(selected(Neurons(criterion="lasso"), ratio) for ratio in (4,)),
            *(small(selected(Neurons(), ratio)) for ratio in (4, 8)),
            darb(16), darb(32),
            *(selected_darb(Neurons(), ratio, whole) for ratio, whole in ((2, 16), (2, 32), (4, 32))),
        ],
    ),
    "fsdd": (
        partial(_task, "fsdd"),
        [
            tuned(),
            *(selected(Neurons(), ratio) for ratio in (4, 8, 16, 32)),
            *(selected(Neurons(criterion=name), ratio) for ratio in (8, 16) for name in ("lasso", "uniform")),
            *(small(selected(Neurons(), ratio)) for ratio in (8, 16)),
            darb(16), darb(32), darb(64),
            *(selected_darb(Neurons(), ratio, whole) for ratio, whole in ((4, 16), (4, 32), (8, 64))),
        ],
    ),
    "cifar10": (
        partial(_task, "cifar10"),
        [
            tuned(),
            selected(Channels(), 2), selected(Channels(criterion="slimming"), 2),
            selected(Channels(criterion="uniform"), 2), small(selected(Channels(), 2)),
        ],
    ),
}  # fmt: skip


def main(
    names: Annotated[list[str] | None, typer.Argument(metavar="NAME", help=f"Any of {', '.join(SUBJECTS)}.")] = None,
    seeds: Annotated[int, typer.Option(help="Number of seeds, from 0.")] = 3,
) -> None:
    """Train and measure, seed after seed; what was measured before is not done again.

    Example:

    [bold]python -m benchmarks.systems fsdd --seeds 1[/bold]
    """
    console = Console()
    for seed in range(seeds):
        for name in chosen(names, SUBJECTS):
            subject_of, arms = SUBJECTS[name]
            trial = subject_of(seed)
            for arm in arms:
                result = measure(trial, arm)
                weights = sum(result["weights"].values())
                console.print(
                    f"{name}, seed {seed}, {arm.name}: validation {result['integer']['validation']:.4f}, "
                    f"{weights:,} weights, {result['stored_bits']:,} bits, {result['cycles']:,} cycles",
                    highlight=False,
                )


app = command(main)

if __name__ == "__main__":
    app()
