"""Ways to a network. All of a trial get as many epochs, the same data and the labels of the same dense model."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from benchmarks.systems.trial import Trial
from darb_prune.pruning.methods import Darb, Method, Selection, Unpruned, parse
from darb_prune.runs import pipeline
from darb_prune.runs.merging import merge_models

__all__ = ["LANES", "Arm", "block_terms", "darb", "merged", "parts", "selected", "selected_darb", "tuned"]

LANES = 16
"""Of the engine, or of each of its clusters."""


@dataclass(frozen=True)
class Arm:
    """A way to a network.

    Parameters
    ----------
    name : str
    make : callable (Trial) -> (torch.nn.Module, dict)
        The model, in floats, and what else is to be recorded.
    clusters : int
        Of lanes.
    """

    name: str
    make: Callable[[Trial], tuple[nn.Module, dict[str, Any]]]
    clusters: int = 1


def _darb(trial: Trial) -> Method:
    return parse(Darb.name, {"lanes": LANES}, trial.task.method_options)


def tuned() -> Arm:
    """The dense model, fine-tuned for as many epochs."""

    def make(trial: Trial) -> tuple[nn.Module, dict[str, Any]]:
        model, own = trial.dense(), trial.task.pruning
        schedule = own.updated({"steps": 1, "final_epochs": trial.pruning})
        pipeline.prune_model(trial.task, model, 1, trial.seed, method=Unpruned(), schedule=schedule)
        return model, {}

    return Arm("dense", make)


def selected(method: Selection, ratio: float) -> Arm:
    """Units selected, the rest fine-tuned."""

    def make(trial: Trial) -> tuple[nn.Module, dict[str, Any]]:
        model = trial.dense()
        _, history = pipeline.prune_model(trial.task, model, ratio, trial.seed, method=method)
        return model, {"units": history[-1]["units"]}

    return Arm(f"{method.name} {method.criterion} {ratio:g}x", make)


def darb(ratio: float) -> Arm:
    """DARB alone, fine-tuned for as many epochs more as the selection of units takes."""

    def make(trial: Trial) -> tuple[nn.Module, dict[str, Any]]:
        model, own = trial.dense(), trial.task.pruning
        longer = own.updated({"final_epochs": own.final_epochs + trial.selecting})
        pipeline.prune_model(trial.task, model, ratio, trial.seed, method=_darb(trial), schedule=longer)
        return model, {}

    return Arm(f"darb {ratio:g}x", make)


def selected_darb(method: Selection, ratio: float, whole: float) -> Arm:
    """Units selected, DARB on what is left, until ``whole`` is reached."""

    def make(trial: Trial) -> tuple[nn.Module, dict[str, Any]]:
        model, own = trial.dense(), trial.task.pruning
        short = own.updated({"final_epochs": 0})
        left, history = pipeline.prune_model(
            trial.task, model, ratio, trial.seed, method=method, schedule=short, distillation=None
        )
        pipeline.prune_model(trial.task, model, max(whole / left.ratio, 1), trial.seed, method=_darb(trial))
        return model, {"units": history[-1]["units"]}

    return Arm(f"{method.name} {ratio:g}x, darb to {whole:g}x", make)


def parts(count: int, ratio: float = 1) -> Arm:
    """Cut into parts, on as many clusters; then DARB inside of the parts, of ``ratio`` more."""

    def make(trial: Trial) -> tuple[nn.Module, dict[str, Any]]:
        model = trial.dense()
        epochs = trial.pruning if ratio == 1 else trial.selecting
        made, _ = pipeline.partition_model(trial.task, model, count, trial.seed, epochs=epochs)
        if ratio > 1:
            pipeline.prune_model(trial.task, model, ratio, trial.seed, method=_darb(trial))
        return model, {"kept": made.kept, "saliency": made.saliency}

    return Arm(f"{count} parts" + (f", darb {ratio:g}x inside" if ratio > 1 else ""), make, count)


def block_terms(ratio: float, budget: str = "parameters") -> Arm:
    """Block-term layers fitted to the dense weights, then fine-tuned."""

    def make(trial: Trial) -> tuple[nn.Module, dict[str, Any]]:
        model = trial.dense()
        rate = trial.task.pruning.final_rate
        made, _ = pipeline.block_term_model(
            trial.task, model, ratio, trial.seed, replacing={"budget": budget}, epochs=trial.pruning, rate=rate
        )
        return model, {"parameters": made.after, "parameters before": made.before}

    return Arm(f"block terms {ratio:g}x {budget}", make)


def merged(share: float | None, ratio: float) -> Arm:
    """The networks of all parts merged, trained together, then pruned by DARB."""

    def make(trial: Trial) -> tuple[nn.Module, dict[str, Any]]:
        models = {head: part.dense() for head, part in zip(trial.task.heads, trial.parts, strict=True)}
        model, _ = merge_models(trial.task, models, share, trial.seed, epochs=trial.selecting)
        pipeline.prune_model(trial.task, model, ratio, trial.seed, method=_darb(trial))
        return model, {}

    return Arm(f"merged, share {'by relevance' if share is None else f'{share:g}'}, darb {ratio:g}x", make)
