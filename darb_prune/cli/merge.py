"""The ``merge`` command."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from darb_prune.cli.app import app
from darb_prune.cli.options import DataDir, Epochs, Quiet, one_thread, partial, present
from darb_prune.errors import DarbError
from darb_prune.files import check_folder
from darb_prune.text import say


@app.command()
def merge(
    runs: Annotated[list[Path], typer.Argument(help="Run folders of trained models of one architecture, a task each.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Run folder to write.")],
    share: Annotated[
        float | None, typer.Option(help="Share of each layer that tasks have in common, 0 to 1, if not by relevance.")
    ] = None,
    epochs: Epochs = None,
    rate: Annotated[float | None, typer.Option(help="Learning rate, if not that of the task.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of fine-tuning; that of the first run if absent.")] = None,
    data_dir: DataDir = None,
    quiet: Quiet = False,
) -> None:
    """Merge models of one task each into one of all tasks, and train them together.

    Each layer gets neurons that all tasks share and neurons of one task. An engine of the result computes any subset of
    the tasks, and only what these need (docs/systems/merged-tasks.md). A training that was stopped goes on when the
    same command is given again.

    Example:

    [bold]darb merge runs/low runs/high -o runs/both[/bold] (tasks digits-low and digits-high)
    """
    from darb_prune import tasks
    from darb_prune.encoded import metrics
    from darb_prune.runs import pipeline
    from darb_prune.runs.folder import RunFolder, model_digest
    from darb_prune.runs.merging import accuracies_of, merge_models
    from darb_prune.runs.tables import accuracy_table
    from darb_prune.structure.merged import record_of
    from darb_prune.training.checkpoint import Checkpoint
    from darb_prune.training.loop import check_training

    check_folder(output, *runs)
    check_training(**present(epochs=epochs, rate=rate, seed=seed))
    if len(runs) < 2:
        raise DarbError("merge: give the run folders of two tasks or more")
    one_thread()
    data = tasks.DataSets(data_dir)
    loaded = [RunFolder.load(run, data) for run in runs]
    sizes = sorted({old.size for old, _ in loaded})
    if len(sizes) > 1:
        raise DarbError(
            f"merge: networks of sizes {' and '.join(f'{size:g}' for size in sizes)}; train them at one size"
        )
    chosen = tasks.joint([old.task for old, _ in loaded], data)
    models = dict(zip(chosen.heads, (model for _, model in loaded), strict=True))
    seed = loaded[0][0].seed if seed is None else seed
    options = {"share": share, "seed": seed, **present(epochs=epochs, rate=rate)}
    identity = {"models": [model_digest(model) for model in models.values()], "task": chosen.name, **options}
    checkpoint = Checkpoint(partial(output), identity)
    alone = {head: _alone(old.accuracy) for head, (old, _) in zip(models, loaded, strict=True)}
    merged, losses = merge_models(chosen, models, share, seed, epochs, rate, not quiet, checkpoint)
    accuracy = {"dense": pipeline.measure(chosen, merged)}
    record = {"runs": [str(run) for run in runs], **options}
    reached = pipeline.ratio_of_all(chosen, merged, data, *sizes)
    new = RunFolder(
        chosen.name, seed, "merge", reached, accuracy, {"merge": record}, [{"merge": losses}], size=sizes[0]
    )
    new.structure = [record_of(merged)]
    new.save(output, merged)
    checkpoint.remove()
    text = metrics.get("accuracy").text
    Console().print(accuracy_table(accuracy, chosen.metric, text))
    for head, value in accuracies_of(chosen, merged).items():
        say(f"{head}: {text(value)} on the test split{alone[head]}")
    say(f"wrote {output}")


def _alone(accuracy: dict) -> str:
    """What a run says of its model alone, if anything."""
    value = accuracy.get("dense", {}).get("test")
    return "" if value is None else f", {100 * value:.2f} % alone"
