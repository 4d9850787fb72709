"""The ``partition`` command."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from darb_prune.cli.app import app
from darb_prune.cli.options import DataDir, Epochs, Quiet, one_thread, partial, present
from darb_prune.files import check_folder
from darb_prune.text import say


@app.command()
def partition(
    run: Annotated[Path, typer.Argument(help="Run folder of a trained model, not pruned yet.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Run folder to write.")],
    parts: Annotated[int, typer.Option(help="Parts of each layer, 2 to 64.")] = 4,
    exclude: Annotated[list[str] | None, typer.Option(help="Layer to leave whole; can be given again.")] = None,
    epochs: Epochs = None,
    seed: Annotated[int | None, typer.Option(help="Seed of search and fine-tuning; that of the run if absent.")] = None,
    data_dir: DataDir = None,
    quiet: Quiet = False,
) -> None:
    """Cut chains of Linear layers and convolutions into parts that exchange nothing until the last layer, and
    fine-tune.

    The result can be pruned and compiled as any other run. A run that was stopped goes on when the same command is
    given again.

    Examples:

    [bold]darb partition runs/digits --parts 4 -o runs/digits-4p[/bold]

    [bold]darb prune runs/digits-4p --ratio 2 -o runs/digits-4p-2x[/bold]
    """
    from darb_prune import tasks
    from darb_prune.encoded import metrics
    from darb_prune.runs import pipeline
    from darb_prune.runs.folder import RunFolder, model_digest
    from darb_prune.runs.tables import accuracy_table
    from darb_prune.structure.partition import check_parts
    from darb_prune.training.checkpoint import Checkpoint
    from darb_prune.training.loop import check_training

    check_folder(output, run)
    check_parts(parts)
    check_training(**present(seed=seed, epochs=epochs))
    one_thread()
    data = tasks.DataSets(data_dir)
    old, model = RunFolder.load(run, data)
    chosen = tasks.get(old.task, data)
    seed = old.seed if seed is None else seed
    options = present(parts=parts, exclude=exclude or None, epochs=epochs, seed=seed)
    checkpoint = Checkpoint(partial(output), {"model": model_digest(model), "task": old.task, "partition": options})
    made, losses = pipeline.partition_model(
        chosen, model, parts, seed, not quiet, checkpoint, exclude or (), **present(epochs=epochs)
    )
    accuracy = old.accuracy | {"partitioned": pipeline.measure(chosen, model)}
    reached = pipeline.ratio_of_all(chosen, model, data, old.size)
    new = RunFolder(
        old.task, old.seed, "partition", reached, accuracy, old.options | {"partition": options}, size=old.size
    )
    new.structure = [*old.structure, made.record]
    new.history = [*old.history, {"partition": losses}]
    new.save(output, model)
    checkpoint.remove()
    Console().print(accuracy_table(accuracy, chosen.metric, metrics.get(chosen.metric).text))
    say(
        f"{', '.join(made.layers)}: {parts} parts, {made.kept:,} of {made.weights:,} weights and "
        f"{100 * made.saliency:.1f} % of their magnitudes kept; wrote {output}"
    )
