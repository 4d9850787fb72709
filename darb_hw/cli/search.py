"""The ``search`` command."""

from pathlib import Path
from typing import Annotated, Any

import typer

from darb_hw.cli.app import Jobs, Scheduler, StoreFolder, app, axis_values, pool_of
from darb_hw.cli.estimate import Models
from darb_prune.encoded import DarbError, write_files
from darb_prune.text import say

__all__ = ["search"]

_BOUNDS, _CHOICES = "Bounds", "What to choose from, with commas between values"


def _bound(text: str) -> Any:
    return typer.Option(help=text, rich_help_panel=_BOUNDS)


def _choice(text: str) -> Any:
    return typer.Option(help=text, rich_help_panel=_CHOICES)


@app.command()
def search(
    run: Annotated[Path | None, typer.Argument(help="Run folder of a trained model; or give --task.")] = None,
    task: Annotated[str | None, typer.Option(help="A built-in task: its model is trained first.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder of the results; build/search-NAME if absent.")
    ] = None,
    aim: Annotated[str, typer.Option(help="What shall be best: accuracy, rate, luts.")] = "accuracy",
    min_rate: Annotated[float | None, _bound("Inferences a second.")] = None,
    max_latency: Annotated[float | None, _bound("Of one inference, in microseconds.")] = None,
    max_loss: Annotated[
        str | None,
        _bound('Of the metric on validation data: points ("0.5"), or percent of the dense model ("1%").'),
    ] = None,
    max_luts: Annotated[int | None, _bound("4-input LUTs.")] = None,
    max_block_rams: Annotated[int | None, _bound("Block RAMs.")] = None,
    device: Annotated[str, _choice("Devices.")] = "ecp5-25k",
    size: Annotated[
        str | None,
        _choice(
            "Of the dense model of --task: shares of its units. Others than 1 are taught by that of size 1. 0.125 to 1 "
            "if absent."
        ),
    ] = None,
    method: Annotated[str, _choice("Methods of pruning.")] = "darb",
    ratio: Annotated[str | None, _choice("Pruning ratios; 1 is the dense network. 1 to 32 if absent.")] = None,
    weight_bits: Annotated[str | None, _choice("2 to 8 if absent.")] = None,
    activation_bits: Annotated[str | None, _choice("8 if absent.")] = None,
    lanes: Annotated[str | None, _choice("1 to 64 if absent.")] = None,
    trials: Annotated[int, typer.Option(min=1, help="Candidates to try.")] = 64,
    finalists: Annotated[int, typer.Option(min=1, help="Candidates to fine-tune fully.")] = 20,
    seeds: Annotated[int, typer.Option(min=1, help="Place-and-route runs of an engine.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Of the proposals.")] = 0,
    storage: Annotated[
        str | None,
        typer.Option(
            help="Where the study (Optuna) is kept, a file or the URL of a database; several machines may share it."
        ),
    ] = None,
    model: Models = None,
    jobs: Jobs = None,
    scheduler: Scheduler = None,
    store: StoreFolder = None,
) -> None:
    """Find the network and the engine that keep all bounds, and are best in one thing.

    Candidates are proposed by Optuna. The engine of each is estimated; if it may keep the bounds, its network is
    fine-tuned for a while. The most promising are fine-tuned fully. Engines of the best of these are synthesised,
    placed, routed and simulated, until one keeps all bounds. A search that was stopped goes on (docs/search.md).

    Examples:

    [bold]darb search --task digits --device ice40-up5k --min-rate 150000 --max-loss 1%[/bold]

    [bold]darb search runs/mine --device ecp5-25k,ecp5-85k --max-loss 0.5 --aim rate -o build/fastest[/bold]

    [bold]darb search runs/mine --device ice40-hx8k --min-rate 1000 --max-loss 2% --aim luts[/bold]

    [bold]darb search --task digits --size 0.25,0.5 --method darb,bank --device ice40-up5k --max-loss 1%[/bold]
    """
    from dataclasses import replace

    from rich.console import Console

    from darb_hw.config import DEVICES
    from darb_hw.estimate.model import Model, shipped
    from darb_hw.jobs.flow import outcome
    from darb_hw.jobs.progress import JobProgress
    from darb_hw.locks import exclusive
    from darb_hw.search.answer import unanswered, write_answer
    from darb_hw.search.plot import plot
    from darb_hw.search.question import Question
    from darb_hw.search.run import run_search
    from darb_hw.search.space import LANES, RATIOS, SIZES, WEIGHT_BITS, Space
    from darb_hw.search.study import Study, check_storage
    from darb_hw.search.table import files_of, reasons, search_table, tally
    from darb_hw.search.wanted import Wanted
    from darb_hw.store.store import Store
    from darb_hw.synthesis import tools
    from darb_prune.encoded.metrics import Limit
    from darb_prune.files import check_folder

    if (run is None) == (task is None):
        raise DarbError("give a run folder, or --task NAME" + ("; not both" if run else ""))
    limit = None if max_loss is None else Limit.parse(max_loss, "max-loss")
    wanted = Wanted(aim, min_rate, max_latency, limit, max_luts, max_block_rams)
    if aim != "accuracy" and limit is None:
        raise DarbError(f"--aim {aim} alone would take the worst network: give --max-loss too, for example 1%")

    def values(name: str, text: str | None, absent: tuple) -> tuple:
        return absent if text is None else tuple(sorted(axis_values(name, text)))

    space = Space(
        tuple(axis_values("device", device)), tuple(axis_values("method", method)), values("ratio", ratio, RATIOS),
        values("weight_bits", weight_bits, WEIGHT_BITS), values("activation_bits", activation_bits, (8,)),
        values("lanes", lanes, LANES), values("size", size, (1.0,)),
    )  # fmt: skip
    if run is not None and space.sizes != (1.0,):
        raise DarbError("--size: the run folder has one size; give --task instead")
    question = Question(task, run, space, wanted, tuple(range(1, seeds + 1)))
    output = output or Path("build") / f"search-{run.resolve().name if run else task}"
    check_folder(output)
    # Checked before the first network is trained: a missing file or tool shall not cost minutes.
    fitted, results = Model.load(model) if model else shipped(), Store(store)
    question.networks("none")
    tools.yosys()
    for name in space.devices:
        fitted.check(name)
        tools.nextpnr(DEVICES[name].family)
    if storage:
        check_storage(storage)
    with pool_of(results, scheduler, jobs) as pool:
        if size is None and outcome(question.networks("none").resizable(), pool, results):
            question = replace(question, space=replace(space, sizes=SIZES))
        output.mkdir(parents=True, exist_ok=True)
        with exclusive(output):
            study = Study(question, storage or str(output / "study.log"), seed)
            with JobProgress(trials + finalists) as progress:
                found = run_search(
                    question, study, trials, finalists, fitted, pool, results, progress, lambda one: progress.point()
                )
                answered = write_answer(found, output / "answer", pool, results)
        write_files({output / name: data for name, data in files_of(found, output.name).items()})
        plot(found, output / "search.png")
    say(tally(found))
    Console().print(search_table(found))
    for line in reasons(found):
        say(line)
    say(f"wrote {output}: search.csv, search.json, search.png; sweep.json for darb report")
    if not answered:
        raise DarbError(unanswered(found))
    say(f"the answer: {output / 'answer'}, network.darb and build")
