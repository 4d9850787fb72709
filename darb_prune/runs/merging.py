"""The steps of ``darb merge``: networks of one task each become one of all, and are trained together."""

from collections.abc import Mapping

from torch import nn

from darb_prune.errors import ModelError
from darb_prune.modules.layers import layers
from darb_prune.structure.merged import InParts, Merged, MergedSpeech
from darb_prune.structure.merging import merge
from darb_prune.tasks import Task
from darb_prune.training.checkpoint import Checkpoint
from darb_prune.training.heads import HeadSplit, accuracies
from darb_prune.training.loop import TrainingOptions, train

__all__ = ["accuracies_of", "merge_models", "subset_uses", "subset_weights"]

SAMPLES = 2000
"""Samples of the training split that say which neurons are shared."""


def merge_models(
    task: Task, models: Mapping[str, nn.Module], share: float | None, seed: int, epochs: int | None = None,
    rate: float | None = None, progress: bool = True, checkpoint: Checkpoint | None = None,
) -> tuple[Merged | MergedSpeech, list[float]]:  # fmt: skip
    """Merge trained networks, by the names of the heads of ``task``, and fine-tune them together.

    Epochs and learning rate are those of the training of the task if absent. Returns the network and its losses.
    """
    split = task.load()["train"]
    step = max(len(split) // SAMPLES, 1)
    merged = merge(models, split.inputs[::step], split.labels[::step], share)
    options: TrainingOptions = {**task.training}
    if epochs is not None:
        options["epochs"] = epochs
    if rate is not None:
        options["rate"] = rate
    losses = train(
        merged, task.batches(split, seed), loss=task.loss, seed=seed, progress=progress, label="merge",
        checkpoint=checkpoint, **options,
    )  # fmt: skip
    return merged, losses


def subset_uses(model: nn.Module) -> dict[str, int]:
    """In how many subsets of its tasks each layer of a merged network is run, for ``prune_model``.

    Raises
    ------
    ModelError
        If the network has no parts of tasks.
    """
    return _in_parts(model).uses()


def subset_weights(model: nn.Module) -> tuple[float, float]:
    """Weights that a subset of the tasks of a merged network runs, in the mean over all subsets: kept ones, and all."""
    parted = _in_parts(model)
    uses, prunable = parted.uses(), layers(parted)
    kept = sum(uses[layer.name] * int(layer.mask().count_nonzero()) for layer in prunable)
    return kept / parted.subsets, sum(uses[layer.name] * layer.weights for layer in prunable) / parted.subsets


def _in_parts(model: nn.Module) -> InParts:
    if not isinstance(model, InParts):
        raise ModelError("per-subset: the model has no parts of tasks; make one that has with darb merge")
    return model


def accuracies_of(task: Task, model: nn.Module, part: str = "test") -> dict[str, float]:
    """Of each head of ``task`` the accuracy of ``model`` on a split."""
    split = task.load()[part]
    assert isinstance(split, HeadSplit)
    return dict(zip(task.heads, accuracies(model.eval(), split), strict=True))
