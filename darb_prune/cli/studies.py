"""The ``analyze``, ``evaluate`` and ``experiment`` commands."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from darb_prune.cli.app import app
from darb_prune.cli.options import (
    METHOD_OPTIONS,
    ActivationBits,
    DataDir,
    MethodName,
    Quiet,
    Ratio,
    TaskName,
    WeightBits,
    chosen_method,
    one_thread,
    present,
    takes,
)
from darb_prune.errors import DarbError
from darb_prune.files import check_file, check_folder, write_atomic, write_files
from darb_prune.text import say


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
    from darb_prune.modules.layers import layers
    from darb_prune.runs.folder import RunFolder, versions
    from darb_prune.studies.analysis import analyze as measured
    from darb_prune.studies.analysis import summary_table
    from darb_prune.studies.analysis_plot import plots
    from darb_prune.training import metrics

    check_folder(output)
    one_thread()
    data = tasks.DataSets(data_dir)
    old, model = RunFolder.load(run, data)
    chosen = tasks.get(old.task, data)
    validation = chosen.load()["validation"]
    if any(part.masked for layer in layers(model) for part in layer.parts):
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
@takes(METHOD_OPTIONS)
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
    one_thread()
    data = tasks.DataSets(data_dir)
    pattern = chosen_method(method, present(**options), tasks.get(task, data))
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
    from darb_prune.studies.experiment import report, results, spec
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
    found = results.collect(experiment, work)
    report.write(found, output, f"darb experiment {file}")
    missing = len(found.planned) - len(found.done) - len(found.failed)
    say(f"{len(found.done)} runs done, {len(found.failed)} failed, {missing} missing; wrote {output}")
    if stopped:
        say("stopped; the same command goes on")
        raise typer.Exit(130)
