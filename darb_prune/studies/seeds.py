"""The same settings over several seeds: mean and spread of what they reach."""

import copy
import statistics
from collections.abc import Iterable

from rich.table import Table

from darb_prune import tasks
from darb_prune.encoded import metrics
from darb_prune.pruning.methods import Method, Unpruned
from darb_prune.runs import pipeline
from darb_prune.runs.folder import versions

__all__ = ["run", "table"]

TUNED = "dense, same fine-tuning"
MODELS = ("dense", TUNED, "pruned", "integer")


def run(
    task: str,
    seeds: Iterable[int],
    ratio: float,
    method: Method,
    weight_bits: int,
    activation_bits: int,
    progress: bool,
    data: tasks.DataSets | None = None,
) -> dict:
    """Train, prune and compile once a seed, with the schedule of the task.

    Returns
    -------
    dict, ready for JSON
        ``settings``, ``versions``, ``seeds`` (one entry a seed: ratio, and metric of the dense float, the
        pruned float and the integer model on both splits) and ``summary`` (mean and standard deviation of
        the metric on the test split, and of integer minus dense; accuracies in percent and percentage points).
        ``dense, same fine-tuning`` is the dense model after the steps, epochs and distillation that pruning took.
    """
    chosen = tasks.get(task, data)
    pipeline.check(chosen, ratio, method, weight_bits, activation_bits)
    entries = []
    for seed in seeds:
        model, _ = pipeline.train_model(chosen, seed, progress)
        dense = pipeline.measure(chosen, model)
        tuned = copy.deepcopy(model)
        pipeline.prune_model(chosen, tuned, ratio, seed, progress, method=Unpruned())
        left, _ = pipeline.prune_model(chosen, model, ratio, seed, progress, method=method)
        pruned = pipeline.measure(chosen, model)
        made = pipeline.compile_model(chosen, model, seed, weight_bits, activation_bits, progress)
        integer = made.encoded.provenance["accuracy"]["integer"]
        values = dict(zip(MODELS, (dense, pipeline.measure(chosen, tuned), pruned, integer), strict=True))
        entries.append({"seed": seed, "ratio": left.ratio, "kept": left.kept, **values})
    settings = {
        "task": task,
        "metric": chosen.metric,
        "ratio": ratio,
        "method": method.name,
        **method.model_dump(mode="json"),
        "weight_bits": weight_bits,
        "activation_bits": activation_bits,
    }
    gradual = chosen.pruning.explicit()
    gradual |= {name: getattr(method, name, value) for name, value in chosen.method_options.items()}
    settings |= {"training": chosen.training, "gradual": gradual, "quantization": chosen.quantization}
    settings["distillation"] = chosen.distillation
    return {"settings": settings, "versions": versions(), "seeds": entries, "summary": _summary(entries, chosen.metric)}


def _summary(entries: list[dict], metric: str) -> dict:
    scale = metrics.get(metric).scale
    values = {model: [scale * entry[model]["test"] for entry in entries] for model in MODELS}
    for model in ("dense", TUNED):
        values[f"integer - {model}"] = [a - b for a, b in zip(values["integer"], values[model], strict=True)]
    values["ratio"] = [entry["ratio"] for entry in entries]
    return {
        name: {
            "mean": round(statistics.fmean(series), 4),
            "deviation": round(statistics.stdev(series), 4) if len(series) > 1 else 0.0,
            "least": round(min(series), 4),
            "greatest": round(max(series), 4),
        }
        for name, series in values.items()
    }


def table(result: dict) -> Table:
    """Mean and spread for the terminal."""
    settings = result["settings"]
    metric = metrics.get(settings["metric"])
    what = metric.name if metric.unit in metric.name else f"{metric.name}, {metric.unit}"
    title = f"{settings['task']}, {settings['method']}, {len(result['seeds'])} seeds: test {what}"
    made = Table("", "mean", "deviation", "least", "greatest", title=title, title_justify="left")
    for name, row in result["summary"].items():
        made.add_row(name, *(f"{row[key]:.{metric.places}f}" for key in ("mean", "deviation", "least", "greatest")))
    return made
