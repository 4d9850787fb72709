"""The ``train``, ``check``, ``prune``, ``compile`` and ``info`` commands."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from darb_prune.cli.app import app
from darb_prune.cli.options import (
    METHOD_OPTIONS,
    SCHEDULE,
    ActivationBits,
    DataDir,
    Effort,
    Epochs,
    MethodName,
    Quiet,
    Seed,
    TaskName,
    WeightBits,
    chosen_method,
    one_thread,
    partial,
    present,
    takes,
)
from darb_prune.errors import DarbError
from darb_prune.files import check_file, check_folder, write_files
from darb_prune.pruning.effort import effort_epochs, effort_schedule
from darb_prune.pruning.methods import Selection, methods_with, parse
from darb_prune.pruning.schedule import PruningSchedule
from darb_prune.text import say


@app.command()
def train(
    output: Annotated[Path, typer.Option("--output", "-o", help="Run folder to write.")],
    task: TaskName = "digits",
    seed: Seed = 0,
    epochs: Epochs = None,
    rate: Annotated[float | None, typer.Option(help="Learning rate, if not that of the task.")] = None,
    size: Annotated[float, typer.Option(help="Share of the units, or channels, of the hidden layers.")] = 1.0,
    teacher: Annotated[
        Path | None, typer.Option(help="Run folder of a model of the task that gives part of the labels.")
    ] = None,
    data_dir: DataDir = None,
    quiet: Quiet = False,
) -> None:
    """Train the dense model of a built-in task.

    A training that was stopped goes on when the same command is given again. A task with published weights (cifar10,
    mlperf-kws, mlperf-ic, mlperf-vww, mlperf-ad) trains 0 epochs: the run folder has these weights as they are.

    Examples:

    [bold]darb train --task digits -o runs/digits[/bold]

    [bold]darb train --task mlperf-kws -o runs/kws[/bold]

    [bold]darb train --task digits --size 0.25 --teacher runs/digits -o runs/digits-small[/bold]
    """
    from darb_prune import tasks
    from darb_prune.encoded import metrics
    from darb_prune.runs import pipeline
    from darb_prune.runs.folder import RunFolder, model_digest
    from darb_prune.runs.tables import accuracy_table
    from darb_prune.training.checkpoint import Checkpoint
    from darb_prune.training.loop import check_training

    check_folder(output, *present(teacher=teacher).values())
    check_training(seed=seed, **present(epochs=epochs, rate=rate))
    tasks.check_size(size)
    one_thread()
    data = tasks.DataSets(data_dir)
    chosen = tasks.get(task, data)
    taught, known = (None, {}) if teacher is None else pipeline.teacher_of(chosen, teacher, data)
    wanted: Any = {**chosen.training, **present(epochs=epochs, rate=rate)}
    options = {"train": {**wanted, **present(teacher=None if teacher is None else str(teacher))}}
    identity = {"task": task, "seed": seed, "size": size, "teacher": taught and model_digest(taught), **options}
    checkpoint = Checkpoint(partial(output), identity)
    model, losses = pipeline.train_model(chosen, seed, not quiet, checkpoint, size, taught, **wanted)
    accuracy = ({"teacher": known} if known else {}) | {"dense": pipeline.measure(chosen, model)}
    history = [{"train": losses}]
    RunFolder(task, seed, accuracy=accuracy, options=options, history=history, size=size).save(output, model)
    checkpoint.remove()
    Console().print(accuracy_table(accuracy, chosen.metric, metrics.get(chosen.metric).text))
    say(f"wrote {output}{'' if losses else ', not trained (0 epochs)'}")


@app.command()
def check(
    models: Annotated[
        list[str], typer.Argument(help="Run folder, ONNX or TFLite file, or FILE.py:NAME, a module or what makes one.")
    ],
    shape: Annotated[
        str | None, typer.Option(help='Shape of an input without the batch, "3,32,32", if it is not found.')
    ] = None,
    drop_softmax: Annotated[
        bool, typer.Option("--drop-softmax", help="Leave out a softmax, log-softmax or argmax at the end.")
    ] = False,
    data_dir: DataDir = None,
) -> None:
    """Say everything that stands in the way of models, before anything is trained.

    Each problem has the module path, the operator, the line of your code, and what to do about it. Exits with 1 if a
    model has problems.

    Examples:

    [bold]darb check net.py:Net --shape 3,32,32[/bold]

    [bold]darb check model.onnx runs/digits[/bold]
    """
    from darb_prune import tasks
    from darb_prune.integer.check import check as checked
    from darb_prune.runs.models import example_of_shape, load_model

    data, failed = tasks.DataSets(data_dir), False
    for name in models:
        model, example = load_model(name, data)
        report = checked(model, example if shape is None else example_of_shape(model, shape), drop_softmax)
        failed |= bool(report.problems)
        for line in f"{name}: {report}".splitlines():
            say(line)
    if failed:
        raise typer.Exit(1)


@app.command()
@takes(METHOD_OPTIONS, SCHEDULE)
def prune(
    run: Annotated[Path, typer.Argument(help="Run folder of a trained (or pruned) model.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Run folder to write.")],
    ratio: Annotated[
        float | None, typer.Option(help="Weights of the whole network per kept weight.", show_default="13")
    ] = None,
    within: Annotated[
        str | None,
        typer.Option(help='Instead of --ratio: the largest ratio within "0.5" (points) or "1%" of the dense model.'),
    ] = None,
    bits: Annotated[int | None, typer.Option(help="Instead of --ratio: bits that all codes may take.")] = None,
    method: MethodName = "darb",
    exclude: Annotated[list[str] | None, typer.Option(help="Layer to leave dense; can be given again.")] = None,
    per_subset: Annotated[
        bool,
        typer.Option(
            "--per-subset", help="Of merged tasks: the ratio is that of what subsets of them run, in the mean."
        ),
    ] = False,
    effort: Effort = "normal",
    seed: Annotated[int | None, typer.Option(help="Seed of fine-tuning; that of the run if absent.")] = None,
    data_dir: DataDir = None,
    quiet: Quiet = False,
    **options: Any,
) -> None:
    """Prune gradually, with fine-tuning in between; or (--method neurons, channels) take whole units out.

    A run that was stopped goes on when the same command is given again (not with --within).

    Examples:

    [bold]darb prune runs/digits --ratio 13 -o runs/digits-13x[/bold]

    [bold]darb prune runs/digits --ratio 8 --method bank -o runs/digits-bank[/bold]

    [bold]darb prune runs/digits --method mixed --levels "0,0 2,1 4,2 6,4" --budget bits -o runs/mixed[/bold]

    [bold]darb prune runs/digits --within 1% -o runs/digits-smallest[/bold]

    [bold]darb prune runs/digits --method neurons --ratio 2 -o runs/digits-small[/bold]

    [bold]darb prune runs/digits --ratio 16 --effort quick -o runs/digits-look[/bold]

    [bold]darb prune runs/both --ratio 8 --per-subset -o runs/both-8x[/bold] (made by darb merge)
    """
    from darb_prune import tasks
    from darb_prune.encoded import metrics
    from darb_prune.encoded.metrics import Limit
    from darb_prune.runs import pipeline
    from darb_prune.runs.folder import RunFolder, model_digest
    from darb_prune.runs.merging import subset_uses, subset_weights
    from darb_prune.runs.tables import accuracy_table, units_table
    from darb_prune.training.checkpoint import Checkpoint
    from darb_prune.training.loop import check_training

    check_folder(output, run)
    check_training(**present(seed=seed))
    if per_subset and bits is not None:
        raise DarbError("per-subset and bits exclude each other; give a ratio, with --budget bits if bits shall count")
    aims = list(present(within=within, bits=bits, ratio=ratio))
    if len(aims) > 1:
        raise DarbError(f"{aims[0]} and {aims[1]} exclude each other; give one of them")
    ratio = 13.0 if ratio is None else ratio
    limit = None if within is None else Limit.parse(within)
    one_thread()
    data = tasks.DataSets(data_dir)
    typed = present(**options)
    if bits is not None:
        if method not in (budgeted := methods_with("budget")):
            raise DarbError(f"bits: method {method} has no budget; use {' or '.join(budgeted)}, or give a ratio")
        typed["budget"] = "bits"
    own_schedule = PruningSchedule.take(typed)
    parse(method, typed)  # mistakes are found before the run is read
    old, model = RunFolder.load(run, data)
    chosen = tasks.get(old.task, data)
    seed = old.seed if seed is None else seed
    schedule = effort_schedule(chosen.pruning, effort).updated(own_schedule.explicit())
    pattern = chosen_method(method, typed, chosen)
    uses = subset_uses(model) if per_subset else None
    wanted = {"method": pattern, "schedule": schedule, "exclude": exclude or (), "uses": uses}
    record = {**schedule.explicit(), "method": method, **pattern.model_dump(mode="json", exclude_none=True)}
    if method in methods_with("levels"):
        record["levels"] = options["levels"]
    record |= present(exclude=exclude or None, per_subset=per_subset or None)
    if bits is not None:
        ratio = pipeline.ratio_of_bits(model, bits)
    if limit is None:
        identity = {"model": model_digest(model), "ratio": ratio, "seed": seed, "task": old.task, **record}
        checkpoint = Checkpoint(partial(output), identity)
        left, history = pipeline.prune_model(chosen, model, ratio, seed, not quiet, checkpoint, **wanted)
    else:
        checkpoint = None
        dense = metrics.reference_of(old.accuracy).get("validation")
        model, left, history, ratio = pipeline.prune_within(chosen, model, limit, seed, not quiet, dense, **wanted)
    accuracy = old.accuracy | {"pruned": pipeline.measure(chosen, model)}
    record = {"ratio": ratio, "within": within, "seed": seed, **record}
    ratio_of_all = pipeline.ratio_of_all(chosen, model, data, old.size) if old.structure else left.ratio
    selects = isinstance(pattern, Selection)
    options = old.options | {"select" if selects else "prune": record}
    new = RunFolder(old.task, old.seed, method, ratio_of_all, accuracy, options, size=old.size)
    new.structure = [*old.structure, history[-1]["record"]] if selects else old.structure
    new.history = [*old.history, {"prune": history}]
    new.save(output, model)
    if checkpoint:
        checkpoint.remove()
    Console().print(accuracy_table(accuracy, chosen.metric, metrics.get(chosen.metric).text))
    if selects:
        Console().print(units_table(history[-1]["units"]))
    whole = f" ({new.ratio:.2f} of the whole network)" if old.structure else ""
    say(
        f"{left.kept:,} of {left.weights:,} weights kept, ratio {left.ratio:.2f}{whole}, {left.bits / 8192:.1f} KiB "
        f"stored; wrote {output}"
    )
    is_task = not (old.structure or chosen.heads) and old.size == old.ratio == 1
    size = pipeline.size_of_bits(chosen, left.bits) if is_task else None
    if size is not None and size < 1:
        say(
            "as many bits have dense networks of fewer units, often as good ones (docs/results/pruning.md): "
            f"darb train --task {old.task} --size {size:g} --teacher {run} -o OUTPUT"
        )
    if per_subset:
        kept, weights = subset_weights(model)
        say(
            f"a subset of the tasks runs {kept:,.0f} of {weights:,.0f} weights in the mean, "
            f"ratio {weights / max(kept, 1):.2f}"
        )


@app.command(name="compile")
def compile_(
    run: Annotated[Path, typer.Argument(help="Run folder of a trained or pruned model.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Encoded network (.darb) to write.")],
    weight_bits: WeightBits = 8,
    activation_bits: ActivationBits = 8,
    mult_bits: Annotated[
        int | None,
        typer.Option(help="Bits of a row's multiplier, 4 to 16: 8 to 10 store less; else 16 and one shift a layer."),
    ] = None,
    cell_bits: Annotated[
        int | None, typer.Option(help="Bits of what cells of LSTM and GRU write; the best ones if absent.")
    ] = None,
    effort: Effort = "normal",
    epochs: Epochs = None,
    samples: Annotated[
        int | None,
        typer.Option("--vectors", help="Samples of the test vectors; up to 10,000 frames or 50 MB if absent."),
    ] = None,
    data_dir: DataDir = None,
    quiet: Quiet = False,
) -> None:
    """Quantise, encode and evaluate; test vectors go beside the result, as NAME.vectors.

    The same run folder gives the same bytes.

    Example: [bold]darb compile runs/digits-13x -o digits.darb[/bold]
    """
    from darb_prune import tasks
    from darb_prune.encoded import metrics
    from darb_prune.runs import pipeline
    from darb_prune.runs.folder import RunFolder
    from darb_prune.runs.tables import accuracy_table
    from darb_prune.training.loop import check_training

    check_file(output)
    if samples is not None and samples < 1:
        raise DarbError(f"vectors {samples} must be at least 1")
    vectors = output.with_suffix(".vectors")
    if output == vectors:
        raise DarbError(f"{output}: the ending .vectors is for the test vectors; use .darb")
    check_file(vectors)
    check_training(**present(epochs=epochs))
    one_thread()
    data = tasks.DataSets(data_dir)
    old, model = RunFolder.load(run, data)
    provenance = {
        "seed": old.seed, "method": old.method, "ratio": round(old.ratio, 4), "options": old.options,
        "accuracy": old.accuracy, "trained_with": old.versions,
    }  # fmt: skip
    chosen = tasks.get(old.task, data)
    if epochs is None:
        epochs = effort_epochs(chosen.quantization.get("epochs", 0), effort)
    made = pipeline.compile_model(
        chosen, model, old.seed, weight_bits, activation_bits, not quiet, provenance, samples, mult_bits, cell_bits,
        epochs=epochs,
    )  # fmt: skip
    write_files({vectors: made.vectors.pack(), output: made.encoded.pack()})
    accuracy = made.encoded.provenance["accuracy"]
    Console().print(accuracy_table(accuracy, chosen.metric, metrics.get(chosen.metric).text))
    if made.removed or made.emptied:
        say(f"dead channels: {made.removed:,} removed, {made.emptied:,} without weights")
    say(f"wrote {output} and {vectors} ({made.vectors.samples} samples)")


@app.command()
def info(network: Annotated[Path, typer.Argument(help="Encoded network (.darb).")]) -> None:
    """Show what an encoded network holds: summary, layers, levels.

    Example: [bold]darb info digits.darb[/bold]
    """
    from darb_prune.encoded import EncodedNetwork
    from darb_prune.encoded.metrics import METRICS
    from darb_prune.runs.tables import accuracy_table, is_accuracy, layer_table, level_table, network_table

    loaded = EncodedNetwork.load(network)
    console = Console()
    console.print(network_table(loaded))
    if is_accuracy(loaded.provenance.get("accuracy")):
        metric = loaded.provenance.get("metric", "accuracy")
        text = METRICS[metric].text if metric in METRICS else str
        console.print(accuracy_table(loaded.provenance["accuracy"], metric, text))
    console.print(layer_table(loaded))
    console.print(level_table(loaded))
