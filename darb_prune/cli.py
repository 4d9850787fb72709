"""The ``train``, ``prune``, ``compile``, ``info`` and ``evaluate`` commands.

Nothing heavy is imported before a command runs, so that help is quick. Mistakes of the user leave a command
as :class:`DarbError`; the program around it prints one line and exits with 2.
"""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from darb_prune.container import DarbError, check_file, check_folder, write_atomic, write_files

__all__ = ["app", "parse_levels"]

app = typer.Typer(
    help="Prune, quantise and encode PyTorch models.", no_args_is_help=True, rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)  # fmt: skip

Seed = Annotated[int, typer.Option(help="Seed of everything random.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bars.")]
Ratio = Annotated[float, typer.Option(help="Weights of the whole network per kept weight.")]
Method = Annotated[str, typer.Option(help="darb, mixed, bmwm, bank, nm, irregular (no encoding) or dense.")]
Allocation = Annotated[str, typer.Option(help="How rows get their level: budget or density.")]
Order = Annotated[str, typer.Option(help="Storage order of the columns: spread or none.")]
Budget = Annotated[str, typer.Option(help="What --ratio limits: codes or (stored) bits.")]
Levels = Annotated[str | None, typer.Option(help='Levels "b,m b,m ..." to choose from; "0,0" is the empty level.')]
Saliency = Annotated[
    str | None, typer.Option(help="Worth of a weight across layers: mean, frobenius or magnitude; else the task's.")
]
TaskName = Annotated[str, typer.Option("--task", help="Built-in task: digits.")]
WeightBits = Annotated[int, typer.Option(help="Bits of a weight, 2 to 8.")]
ActivationBits = Annotated[int, typer.Option(help="Bits of an activation, 2 to 16.")]
Epochs = Annotated[int | None, typer.Option(help="Epochs, if not those of the task.")]


def parse_levels(text: str | None):
    """``"0,1 1,1"`` -> tuple of Level; ``None`` stays ``None``."""
    from darb_prune.encoded import Level

    if text is None:
        return None
    levels = []
    for part in text.split():
        try:
            bits, kept = (int(number) for number in part.split(","))
        except ValueError:
            raise DarbError(f'levels {part!r}: write pairs "b,m", for example "0,1 1,1 2,1 0,0"') from None
        levels.append(Level(bits, kept))
    if not levels:
        raise DarbError('levels: no level given; write pairs "b,m", for example "0,1 1,1 2,1 0,0"')
    return tuple(levels)


def _one_thread() -> None:
    """Sums of floats depend on how they are split over threads; the same inputs shall give the same bytes."""
    import torch

    torch.set_num_threads(1)


def _say(text: str) -> None:
    """One line as it is: brackets in a path are no markup."""
    Console().print(text, soft_wrap=True, markup=False, highlight=False)


def _given(**options) -> dict:
    return {name: value for name, value in options.items() if value is not None}


@app.command()
def train(
    output: Annotated[Path, typer.Option("--output", "-o", help="Run folder to write.")],
    task: TaskName = "digits",
    seed: Seed = 0,
    epochs: Epochs = None,
    rate: Annotated[float | None, typer.Option(help="Learning rate, if not that of the task.")] = None,
    quiet: Quiet = False,
):
    """Train the dense model of a built-in task.

    Example: [bold]darb train --task digits -o runs/digits[/bold]
    """
    from darb_prune import flow, tasks
    from darb_prune.runs import Run
    from darb_prune.tables import accuracy_table
    from darb_prune.training import check_training

    check_folder(output)
    check_training(seed=seed, **_given(epochs=epochs, rate=rate))
    _one_thread()
    chosen = tasks.get(task)
    model, losses = flow.train_model(chosen, seed, not quiet, **_given(epochs=epochs, rate=rate))
    accuracy = {"dense": flow.accuracies(chosen, model)}
    options = {"train": {**chosen.training, **_given(epochs=epochs, rate=rate)}}
    Run(task, seed, accuracy=accuracy, options=options, history=[{"train": losses}]).save(output, model)
    Console().print(accuracy_table(accuracy))
    _say(f"wrote {output}")


@app.command()
def prune(
    run: Annotated[Path, typer.Argument(help="Run folder of a trained (or pruned) model.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Run folder to write.")],
    ratio: Ratio = 13,
    method: Method = "darb",
    allocation: Allocation = "budget",
    order: Order = "spread",
    budget: Budget = "codes",
    levels: Levels = None,
    saliency: Saliency = None,
    steps: Annotated[int | None, typer.Option(help="Pruning steps, if not those of the task.")] = None,
    epochs: Epochs = None,
    final_epochs: Annotated[int | None, typer.Option(help="Epochs after the last step.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of fine-tuning; that of the run if absent.")] = None,
    quiet: Quiet = False,
):
    """Prune gradually, with fine-tuning in between.

    Examples:

    [bold]darb prune runs/digits --ratio 13 -o runs/digits-13x[/bold]

    [bold]darb prune runs/digits --ratio 8 --method bank -o runs/digits-bank[/bold]

    [bold]darb prune runs/digits --method mixed --levels "0,0 2,1 4,2 6,4" --budget bits -o runs/mixed[/bold]
    """
    from darb_prune import flow, tasks
    from darb_prune.runs import Run
    from darb_prune.tables import accuracy_table
    from darb_prune.training import check_training

    check_folder(output)
    check_training(**_given(seed=seed, epochs=epochs))
    check_training(**_given(epochs=final_epochs))
    _one_thread()
    given = {
        "method": method,
        "allocation": allocation,
        "order": order,
        "budget": budget,
        "levels": parse_levels(levels),
    }
    old, model = Run.load(run)
    chosen = tasks.get(old.task)
    seed = old.seed if seed is None else seed
    schedule = _given(steps=steps, epochs=epochs, final_epochs=final_epochs, saliency=saliency)
    left, history = flow.prune_model(chosen, model, ratio, seed, not quiet, **given, **schedule)
    accuracy = old.accuracy | {"pruned": flow.accuracies(chosen, model)}
    record = {"ratio": ratio, **given, "levels": levels, "seed": seed, **chosen.pruning, **schedule}
    new = Run(old.task, old.seed, method, left.ratio, accuracy, old.options | {"prune": record})
    new.history = [*old.history, {"prune": history}]
    new.save(output, model)
    Console().print(accuracy_table(accuracy))
    _say(f"{left.kept:,} of {left.weights:,} weights kept, ratio {left.ratio:.2f}; wrote {output}")


@app.command(name="compile")
def compile_(
    run: Annotated[Path, typer.Argument(help="Run folder of a trained or pruned model.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Encoded network (.darb) to write.")],
    weight_bits: WeightBits = 8,
    activation_bits: ActivationBits = 8,
    epochs: Epochs = None,
    quiet: Quiet = False,
):
    """Quantise, encode and evaluate; test vectors go beside the result, as NAME.vectors.

    The same run folder gives the same bytes.

    Example: [bold]darb compile runs/digits-13x -o digits.darb[/bold]
    """
    from darb_prune import flow, tasks
    from darb_prune.runs import Run
    from darb_prune.tables import accuracy_table
    from darb_prune.training import check_training

    check_file(output)
    vectors = output.with_suffix(".vectors")
    if output == vectors:
        raise DarbError(f"{output}: the ending .vectors is for the test vectors; use .darb")
    check_file(vectors)
    check_training(**_given(epochs=epochs))
    _one_thread()
    old, model = Run.load(run)
    provenance = {
        "seed": old.seed, "method": old.method, "ratio": round(old.ratio, 4), "options": old.options,
        "accuracy": old.accuracy, "trained_with": old.versions,
    }  # fmt: skip
    made = flow.compile_model(
        tasks.get(old.task), model, old.seed, weight_bits, activation_bits, not quiet, provenance,
        **_given(epochs=epochs),
    )  # fmt: skip
    write_files({vectors: made.vectors.pack(), output: made.encoded.pack()})
    Console().print(accuracy_table(made.encoded.provenance["accuracy"]))
    _say(f"wrote {output} and {vectors} ({made.vectors.samples} samples)")


@app.command()
def info(network: Annotated[Path, typer.Argument(help="Encoded network (.darb).")]):
    """Show what an encoded network holds: summary, layers, levels.

    Example: [bold]darb info digits.darb[/bold]
    """
    from darb_prune.encoded import EncodedNetwork
    from darb_prune.tables import accuracy_table, is_accuracy, layer_table, level_table, network_table

    loaded = EncodedNetwork.load(network)
    console = Console()
    console.print(network_table(loaded))
    if is_accuracy(loaded.provenance.get("accuracy")):
        console.print(accuracy_table(loaded.provenance["accuracy"]))
    console.print(layer_table(loaded))
    console.print(level_table(loaded))


@app.command()
def evaluate(
    task: TaskName = "digits",
    seeds: Annotated[int, typer.Option(help="Number of seeds, from 0.")] = 5,
    ratio: Ratio = 13,
    method: Method = "darb",
    allocation: Allocation = "budget",
    order: Order = "spread",
    budget: Budget = "codes",
    levels: Levels = None,
    saliency: Saliency = None,
    weight_bits: WeightBits = 8,
    activation_bits: ActivationBits = 8,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="JSON file to write.")] = None,
    quiet: Quiet = False,
):
    """Train, prune and compile for several seeds; print mean and spread of the accuracies.

    Example: [bold]darb evaluate --task digits --seeds 5 --ratio 8 -o digits-8x.json[/bold]
    """
    from darb_prune import study

    if seeds < 1:
        raise DarbError(f"seeds {seeds} must be at least 1")
    if output:
        check_file(output)
    _one_thread()
    given = {"method": method, "allocation": allocation, "order": order, "budget": budget}
    given |= {"levels": parse_levels(levels), **_given(saliency=saliency)}
    result = study.run(task, range(seeds), ratio, given, weight_bits, activation_bits, not quiet)
    Console().print(study.table(result))
    if output:
        write_atomic(output, (json.dumps(result, indent=2) + "\n").encode())
        _say(f"wrote {output}")
