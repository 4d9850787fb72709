"""The ``block-term`` command."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from darb_prune.cli.app import app
from darb_prune.cli.options import DataDir, Epochs, Quiet, one_thread, partial, present
from darb_prune.errors import DarbError
from darb_prune.files import check_folder
from darb_prune.text import say

if TYPE_CHECKING:
    from darb_prune.modules.block_term import Modes


def _named(text: str, terms: int) -> tuple[str, "Modes"]:
    """A layer and its shape, from ``NAME=inputs/outputs/ranks`` or ``NAME=inputs/outputs/ranks/kernel``."""
    from darb_prune.modules.block_term import Modes

    name, _, shape = text.partition("=")
    try:
        inputs, outputs, ranks, *rest = (tuple(int(size) for size in part.split(",")) for part in shape.split("/"))
        kernel = tuple(rest[0]) if rest else None
        if len(rest) > 1 or (kernel and len(kernel) != 2):
            raise ValueError
    except ValueError:
        raise DarbError(
            f'layer {text!r}: write NAME=inputs/outputs/ranks, as in "fc1=5,8,10/6,5,4/4,4,4"; behind it /5,5 for the '
            "kernel of a convolution"
        ) from None
    return name, Modes(inputs, outputs, ranks, terms, (kernel[0], kernel[1]) if kernel else None)


@app.command(name="block-term")
def block_term(
    run: Annotated[Path, typer.Argument(help="Run folder of a trained model that is not pruned.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Run folder to write.")],
    ratio: Annotated[
        float | None,
        typer.Option(help="Weights of the whole network per parameter that is left.", show_default="10"),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(
            help='What the ratio is that of: "parameters", or "multiplications" of replaced layers.',
            show_default="parameters",
        ),
    ] = None,
    layer: Annotated[
        list[str] | None,
        typer.Option(
            help='Instead of --ratio, --budget and --modes: "NAME=inputs/outputs/ranks" of a layer (of a convolution '
            '"/kernel" behind it); can be given again.'
        ),
    ] = None,
    terms: Annotated[int, typer.Option(help="Terms of each layer.")] = 2,
    modes: Annotated[int | None, typer.Option(help="Modes of each matrix, 2 to 4.", show_default="3")] = None,
    scratch: Annotated[bool, typer.Option("--scratch", help="Do not fit the terms to the trained weights.")] = False,
    exclude: Annotated[list[str] | None, typer.Option(help="Layer to leave as it is; can be given again.")] = None,
    epochs: Epochs = None,
    rate: Annotated[float | None, typer.Option(help="Learning rate, if not that of the task.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of fine-tuning; that of the run if absent.")] = None,
    data_dir: DataDir = None,
    quiet: Quiet = False,
) -> None:
    """Put block-term layers, whose weights are sums of Tucker terms, in the place of layers, and fine-tune.

    By ratio: Linear layers, and the input matrices of LSTM and GRU. Convolutions only if they are named: their ranks
    have two numbers more, for the lines and the columns of the kernel. A fine-tuning that was stopped goes on when the
    same command is given again.

    Examples:

    [bold]darb block-term runs/digits --ratio 10 -o runs/digits-terms[/bold]

    [bold]darb block-term runs/lenet5 --ratio 2 --budget multiplications -o runs/lenet5-fast[/bold]

    [bold]darb block-term runs/lenet5 --layer "fc1=5,8,10/6,5,4/4,4,4" -o runs/lenet5-fc1[/bold]

    [bold]darb block-term runs/lenet5 --layer "conv2=2,3/4,4/3,3,2,2/5,5" -o runs/lenet5-conv2[/bold]
    """
    from darb_prune import tasks
    from darb_prune.encoded import metrics
    from darb_prune.modules.masked import refresh
    from darb_prune.runs import pipeline
    from darb_prune.runs.folder import RunFolder, model_digest
    from darb_prune.runs.tables import accuracy_table, terms_table
    from darb_prune.training.checkpoint import Checkpoint
    from darb_prune.training.loop import check_training

    check_folder(output, run)
    check_training(**present(seed=seed, epochs=epochs, rate=rate))
    named = dict(_named(text, terms) for text in layer) if layer else None
    if named and len(named) < len(layer or ()):
        raise DarbError("layer: one is named twice; give each once")
    typed = present(ratio=ratio, budget=budget, modes=modes)
    if named and typed:
        raise DarbError(f"layer and {next(iter(typed))} exclude each other; give one of them")
    by_ratio = {"ratio": 10.0, "budget": "parameters", "modes": 3} | typed
    one_thread()
    data = tasks.DataSets(data_dir)
    old, model = RunFolder.load(run, data)
    chosen = tasks.get(old.task, data)
    seed = old.seed if seed is None else seed
    replacing = {
        "budget": by_ratio["budget"],
        "named": named,
        "exclude": exclude or (),
        "terms": terms,
        "modes": by_ratio["modes"],
        "fit": not scratch,
    }
    training = {**chosen.training, **present(epochs=epochs, rate=rate)}
    record = {"layer": layer, "terms": terms, "scratch": scratch, "seed": seed, "exclude": exclude or None}
    record = {**({} if named else by_ratio), **present(**record), "training": training}
    checkpoint = Checkpoint(partial(output), {"model": model_digest(model), "task": old.task, "block-term": record})
    made, losses = pipeline.block_term_model(
        chosen, model, by_ratio["ratio"], seed, not quiet, checkpoint, replacing, **present(epochs=epochs, rate=rate)
    )
    refresh(model)
    accuracy = old.accuracy | {"block-term": pipeline.measure(chosen, model)}
    options = old.options | {"block-term": record}
    reached = pipeline.ratio_of_all(chosen, model, data, old.size)
    new = RunFolder(old.task, old.seed, "block-term", reached, accuracy, options, size=old.size)
    new.structure = [*old.structure, made.record]
    new.history = [*old.history, {"block-term": {"losses": losses, "errors": made.errors}}]
    new.save(output, model)
    checkpoint.remove()
    Console().print(accuracy_table(accuracy, chosen.metric, metrics.get(chosen.metric).text))
    Console().print(terms_table(made.modes, made.errors))
    say(f"{made.after:,} of {made.before:,} parameters left, ratio {made.before / made.after:.2f}; wrote {output}")
