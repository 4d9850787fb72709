"""The ``train``, ``prune``, ``compile``, ``info`` and ``evaluate`` commands.

Nothing heavy is imported before a command runs, so that help is quick. Mistakes of the user leave a command
as :class:`DarbError`; the program around it prints one line and exits with 2.
"""

import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import typer
from pydantic.fields import FieldInfo
from rich.console import Console

from darb_prune.errors import DarbError
from darb_prune.files import check_file, check_folder, write_atomic, write_files
from darb_prune.pruning.methods import METHODS, Method, encodable, methods_with, parse
from darb_prune.pruning.options import Options
from darb_prune.pruning.schedule import PruningSchedule
from darb_prune.text import say

__all__ = ["app"]

app = typer.Typer(
    help="Prune, quantise and encode PyTorch models.", no_args_is_help=True, rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)  # fmt: skip

Seed = Annotated[int, typer.Option(help="Seed of everything random.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bars.")]
Ratio = Annotated[float, typer.Option(help="Weights of the whole network per kept weight.")]
MethodName = Annotated[
    str,
    typer.Option(
        "--method",
        help=f"{', '.join(encodable())}; to compare: {', '.join(name for name in METHODS if name not in encodable())}.",
    ),
]
TaskName = Annotated[
    str, typer.Option("--task", help="Built-in task: digits, mnist, chars, fsdd, ... (docs/tasks.md).")
]
DataDir = Annotated[
    Path | None, typer.Option("--data-dir", help="Folder of data sets, if not $DARB_DATA or the user cache.")
]
WeightBits = Annotated[int, typer.Option(help="Bits of a weight, 2 to 8.")]
ActivationBits = Annotated[int, typer.Option(help="Bits of an activation, 2 to 16.")]
Epochs = Annotated[int | None, typer.Option(help="Epochs, if not those of the task.")]


SCHEDULE = ("Schedule, if not that of the task", (PruningSchedule,))
METHOD_OPTIONS = ("Options of methods", tuple(METHODS.values()))


def _takes(*panels: tuple[str, tuple[type[Options], ...]]) -> Callable[[Callable], Callable]:
    """Give a command the fields of classes as options, a panel of its help for each group of classes.

    The command gets them as ``**options``, ``None`` where nothing was typed: the classes have the defaults.
    """
    fields = {
        name: (panel, field)
        for panel, classes in panels
        for options in classes
        for name, field in options.model_fields.items()
    }

    def option(name: str, panel: str, field: FieldInfo) -> inspect.Parameter:
        text = field.description or ""
        if choices := _choices(field.annotation):
            text += f" One of {', '.join(choices)}."
        if methods := methods_with(name):
            text += f" [dim]({', '.join(methods)})[/dim]"
        default = field.default if isinstance(field.default, str) else False
        shown = typer.Option(help=text, show_default=default, rich_help_panel=panel)
        annotation = Annotated[_flag_type(field.annotation) | None, shown]
        return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)

    def decorate(command: Callable) -> Callable:
        signature = inspect.signature(command)
        own = [parameter for parameter in signature.parameters.values() if parameter.kind is not parameter.VAR_KEYWORD]
        made = [option(name, *entry) for name, entry in fields.items()]
        vars(command)["__signature__"] = signature.replace(parameters=[*own, *made])
        return command

    return decorate


def _choices(annotation: Any) -> tuple[str, ...]:
    return get_args(annotation) if get_origin(annotation) is Literal else ()


def _flag_type(annotation: Any) -> type:
    """What the command line itself turns a value into; the class parses all else from text."""
    kinds = {annotation, *get_args(annotation)}
    return next((kind for kind in (bool, int, float) if kind in kinds), str)


def _method(name: str, typed: dict[str, Any], task: Any) -> Method:
    """The method that was typed. If absent, the saliency is the task's; the other options have their own defaults."""
    return parse(name, typed, {key: value for key, value in task.method_options.items() if key == "saliency"})


def _partial(output: Path) -> Path:
    """Checkpoint of a command that was stopped; the same command goes on there."""
    return output.with_name(f"{output.name}.partial")


def _one_thread() -> None:
    """Sums of floats depend on how they are split over threads; the same inputs shall give the same bytes."""
    import torch

    torch.set_num_threads(1)


def _present(**options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


@app.command()
def train(
    output: Annotated[Path, typer.Option("--output", "-o", help="Run folder to write.")],
    task: TaskName = "digits",
    seed: Seed = 0,
    epochs: Epochs = None,
    rate: Annotated[float | None, typer.Option(help="Learning rate, if not that of the task.")] = None,
    data_dir: DataDir = None,
    quiet: Quiet = False,
) -> None:
    """Train the dense model of a built-in task.

    A training that was stopped goes on when the same command is given again. A task with published weights (cifar10,
    mlperf-kws, mlperf-ic, mlperf-vww, mlperf-ad) trains 0 epochs: the run folder has these weights as they are.

    Examples:

    [bold]darb train --task digits -o runs/digits[/bold]

    [bold]darb train --task mlperf-kws -o runs/kws[/bold]
    """
    from darb_prune import tasks
    from darb_prune.runs import pipeline
    from darb_prune.runs.folder import RunFolder
    from darb_prune.runs.tables import accuracy_table
    from darb_prune.training import metrics
    from darb_prune.training.checkpoint import Checkpoint
    from darb_prune.training.loop import check_training

    check_folder(output)
    check_training(seed=seed, **_present(epochs=epochs, rate=rate))
    _one_thread()
    data = tasks.DataSets(data_dir)
    chosen = tasks.get(task, data)
    options = {"train": {**chosen.training, **_present(epochs=epochs, rate=rate)}}
    checkpoint = Checkpoint(_partial(output), {"task": task, "seed": seed, **options})
    model, losses = pipeline.train_model(chosen, seed, not quiet, checkpoint, **options["train"])
    accuracy = {"dense": pipeline.measure(chosen, model)}
    RunFolder(task, seed, accuracy=accuracy, options=options, history=[{"train": losses}]).save(output, model)
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
@_takes(METHOD_OPTIONS, SCHEDULE)
def prune(
    run: Annotated[Path, typer.Argument(help="Run folder of a trained (or pruned) model.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Run folder to write.")],
    ratio: Ratio = 13,
    within: Annotated[
        str | None,
        typer.Option(help='Instead of --ratio: the largest ratio within "0.5" (points) or "1%" of the dense model.'),
    ] = None,
    bits: Annotated[int | None, typer.Option(help="Instead of --ratio: bits that all codes may take.")] = None,
    method: MethodName = "darb",
    exclude: Annotated[list[str] | None, typer.Option(help="Layer to leave dense; can be given again.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of fine-tuning; that of the run if absent.")] = None,
    data_dir: DataDir = None,
    quiet: Quiet = False,
    **options: Any,
) -> None:
    """Prune gradually, with fine-tuning in between.

    A run that was stopped goes on when the same command is given again (not with --within).

    Examples:

    [bold]darb prune runs/digits --ratio 13 -o runs/digits-13x[/bold]

    [bold]darb prune runs/digits --ratio 8 --method bank -o runs/digits-bank[/bold]

    [bold]darb prune runs/digits --method mixed --levels "0,0 2,1 4,2 6,4" --budget bits -o runs/mixed[/bold]

    [bold]darb prune runs/digits --within 1% -o runs/digits-smallest[/bold]
    """
    from darb_prune import tasks
    from darb_prune.pruning.search import Limit
    from darb_prune.runs import pipeline
    from darb_prune.runs.folder import RunFolder, model_digest
    from darb_prune.runs.tables import accuracy_table
    from darb_prune.training import metrics
    from darb_prune.training.checkpoint import Checkpoint
    from darb_prune.training.loop import check_training

    check_folder(output)
    check_training(**_present(seed=seed))
    if within is not None and bits is not None:
        raise DarbError("within and bits exclude each other; give one of them, or a ratio")
    limit = None if within is None else Limit.parse(within)
    _one_thread()
    data = tasks.DataSets(data_dir)
    typed = _present(**options)
    if bits is not None:
        if method not in (budgeted := methods_with("budget")):
            raise DarbError(f"bits: method {method} has no budget; use {' or '.join(budgeted)}, or give a ratio")
        typed["budget"] = "bits"
    own_schedule = PruningSchedule.take(typed)
    parse(method, typed)  # mistakes are found before the run is read
    old, model = RunFolder.load(run, data)
    chosen = tasks.get(old.task, data)
    seed = old.seed if seed is None else seed
    schedule = chosen.pruning.updated(own_schedule.explicit())
    pattern = _method(method, typed, chosen)
    wanted = {"method": pattern, "schedule": schedule, "exclude": exclude or ()}
    record = {**schedule.explicit(), "method": method, **pattern.model_dump(mode="json", exclude_none=True)}
    if method in methods_with("levels"):
        record["levels"] = options["levels"]
    record |= _present(exclude=exclude or None)
    if bits is not None:
        ratio = pipeline.ratio_of_bits(model, bits)
    if limit is None:
        identity = {"model": model_digest(model), "ratio": ratio, "seed": seed, "task": old.task, **record}
        checkpoint = Checkpoint(_partial(output), identity)
        left, history = pipeline.prune_model(chosen, model, ratio, seed, not quiet, checkpoint, **wanted)
    else:
        checkpoint = None
        dense = old.accuracy.get("dense", {}).get("validation")
        model, left, history, ratio = pipeline.prune_within(chosen, model, limit, seed, not quiet, dense, **wanted)
    accuracy = old.accuracy | {"pruned": pipeline.measure(chosen, model)}
    record = {"ratio": ratio, "within": within, "seed": seed, **record}
    new = RunFolder(old.task, old.seed, method, left.ratio, accuracy, old.options | {"prune": record})
    new.history = [*old.history, {"prune": history}]
    new.save(output, model)
    if checkpoint:
        checkpoint.remove()
    Console().print(accuracy_table(accuracy, chosen.metric, metrics.get(chosen.metric).text))
    say(
        f"{left.kept:,} of {left.weights:,} weights kept, ratio {left.ratio:.2f}, {left.bits / 8192:.1f} KiB stored; "
        f"wrote {output}"
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
    from darb_prune.runs import pipeline
    from darb_prune.runs.folder import RunFolder
    from darb_prune.runs.tables import accuracy_table
    from darb_prune.training import metrics
    from darb_prune.training.loop import check_training

    check_file(output)
    if samples is not None and samples < 1:
        raise DarbError(f"vectors {samples} must be at least 1")
    vectors = output.with_suffix(".vectors")
    if output == vectors:
        raise DarbError(f"{output}: the ending .vectors is for the test vectors; use .darb")
    check_file(vectors)
    check_training(**_present(epochs=epochs))
    _one_thread()
    data = tasks.DataSets(data_dir)
    old, model = RunFolder.load(run, data)
    provenance = {
        "seed": old.seed, "method": old.method, "ratio": round(old.ratio, 4), "options": old.options,
        "accuracy": old.accuracy, "trained_with": old.versions,
    }  # fmt: skip
    chosen = tasks.get(old.task, data)
    made = pipeline.compile_model(
        chosen, model, old.seed, weight_bits, activation_bits, not quiet, provenance, samples, mult_bits,
        **_present(epochs=epochs),
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
    from darb_prune.runs.tables import accuracy_table, is_accuracy, layer_table, level_table, network_table
    from darb_prune.training.metrics import METRICS

    loaded = EncodedNetwork.load(network)
    console = Console()
    console.print(network_table(loaded))
    if is_accuracy(loaded.provenance.get("accuracy")):
        metric = loaded.provenance.get("metric", "accuracy")
        text = METRICS[metric].text if metric in METRICS else str
        console.print(accuracy_table(loaded.provenance["accuracy"], metric, text))
    console.print(layer_table(loaded))
    console.print(level_table(loaded))


@app.command()
def analyze(
    run: Annotated[Path, typer.Argument(help="Run folder of a trained (or pruned) model.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write.")],
    ratio: Ratio = 13,
    scope: Annotated[str, typer.Option(help="Threshold of irregular pruning: global or layer.")] = "global",
    measurements: Annotated[
        int, typer.Option(help="How often to measure at most; all layers at once first, then the largest layers.")
    ] = 120,
    data_dir: DataDir = None,
    quiet: Quiet = False,
) -> None:
    """Show what DARB rests on: row densities, sensitivity of rows, positions of the weights that stay.

    Writes analysis.json, densities.png, sensitivity.png and positions.png (docs/analysis.md). Only the validation
    split is read. Of a pruned model the dense weights behind the masks are analysed.

    Example: [bold]darb analyze runs/digits --ratio 13 -o analysis/digits[/bold]
    """
    from darb_prune import tasks
    from darb_prune.runs.folder import RunFolder, versions
    from darb_prune.studies.analysis import analyze as measured
    from darb_prune.studies.analysis import summary_table
    from darb_prune.studies.analysis_plot import plots
    from darb_prune.training import metrics

    check_folder(output)
    _one_thread()
    data = tasks.DataSets(data_dir)
    old, model = RunFolder.load(run, data)
    chosen = tasks.get(old.task, data)
    validation = chosen.load()["validation"]
    if old.method != "dense":
        say(f"{run} is pruned ({old.method}): the dense weights behind its masks are analysed")
    result = measured(
        model, ratio, lambda trial: metrics.measure(chosen.metric, trial, validation), chosen.metric, scope,
        measurements=measurements, progress=not quiet,
    )  # fmt: skip
    record = {"task": old.task, "seed": old.seed, "method": old.method, "versions": versions(), **result}
    files = plots(result)
    files["analysis.json"] = (json.dumps(record, indent=1, allow_nan=False) + "\n").encode()
    write_files({output / name: contents for name, contents in files.items()})
    Console().print(summary_table(result))
    say(f"wrote {output}: {', '.join(files)}")


@app.command()
@_takes(METHOD_OPTIONS)
def evaluate(
    task: TaskName = "digits",
    seeds: Annotated[int, typer.Option(help="Number of seeds, from 0.")] = 5,
    ratio: Ratio = 13,
    method: MethodName = "darb",
    weight_bits: WeightBits = 8,
    activation_bits: ActivationBits = 8,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="JSON file to write.")] = None,
    data_dir: DataDir = None,
    quiet: Quiet = False,
    **options: Any,
) -> None:
    """Train, prune and compile for several seeds; print mean and spread of the metric.

    Example: [bold]darb evaluate --task digits --seeds 5 --ratio 8 -o digits-8x.json[/bold]
    """
    from darb_prune import tasks
    from darb_prune.studies.seeds import run, table

    if seeds < 1:
        raise DarbError(f"seeds {seeds} must be at least 1")
    if output:
        check_file(output)
    _one_thread()
    data = tasks.DataSets(data_dir)
    pattern = _method(method, _present(**options), tasks.get(task, data))
    result = run(task, range(seeds), ratio, pattern, weight_bits, activation_bits, not quiet, data)
    Console().print(table(result))
    if output:
        write_atomic(output, (json.dumps(result, indent=2) + "\n").encode())
        say(f"wrote {output}")


@app.command()
def experiment(
    file: Annotated[Path, typer.Argument(help="What to run: methods, ratios and seeds (TOML).")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder of the report; docs/results/NAME if absent.")
    ] = None,
    work: Annotated[
        Path | None, typer.Option(help="Folder of the finished runs; build/experiments/NAME if absent.")
    ] = None,
    jobs: Annotated[int, typer.Option("--jobs", "-j", help="Runs at the same time, one core each.")] = 1,
    report_only: Annotated[bool, typer.Option("--report-only", help="Run nothing; report what is there.")] = False,
    data_dir: DataDir = None,
    quiet: Quiet = False,
) -> None:
    """Compare methods of pruning over ratios and seeds; write tables, CSV and plots.

    Finished runs are kept: what was stopped goes on when the same command is given again.

    Example: [bold]darb experiment examples/experiments/digits.toml --jobs 2[/bold]
    """
    from darb_prune.studies.experiment import report, spec
    from darb_prune.studies.experiment import run as runner
    from darb_prune.tasks import DataSets

    experiment = spec.load(file)
    output = output or Path("docs/results") / experiment.name
    work = work or Path("build/experiments") / experiment.name
    check_folder(output)
    check_folder(work)
    stopped = False
    if not report_only:
        try:
            runner.run(experiment, work, jobs, not quiet, DataSets(data_dir))
        except KeyboardInterrupt:
            stopped = True
    results = report.collect(experiment, work)
    report.write(results, output, f"darb experiment {file}")
    missing = len(results.planned) - len(results.done) - len(results.failed)
    say(f"{len(results.done)} runs done, {len(results.failed)} failed, {missing} missing; wrote {output}")
    if stopped:
        say("stopped; the same command goes on")
        raise typer.Exit(130)
