"""The steps behind the commands: train, prune and compile the model of a task."""

import copy
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, Unpack

import torch
from torch import Tensor, nn

from darb_prune.encoded import EncodedNetwork, TestVectors
from darb_prune.encoded.metrics import Limit
from darb_prune.errors import DarbError
from darb_prune.frontend.capture import capture
from darb_prune.integer.dead import without_dead
from darb_prune.integer.encoder import encode
from darb_prune.integer.network import IntegerNetwork
from darb_prune.integer.quantization import check_mult_bits, quantize
from darb_prune.integer.ranges import check_bits
from darb_prune.modules.layers import layers
from darb_prune.pruning.gradual import gradual
from darb_prune.pruning.methods import Darb, Method, Selection, encodable, parse
from darb_prune.pruning.one_shot import Pruned, check_uses, prune
from darb_prune.pruning.schedule import PruningSchedule
from darb_prune.pruning.search import largest_ratio
from darb_prune.runs.folder import RunFolder, versions
from darb_prune.structure.block_term import Replacement, block_term, term_parameters
from darb_prune.structure.partition import Partitioned, partition
from darb_prune.structure.selection import UnitSelection
from darb_prune.tasks import DataSets, Split, Task, check_size, get
from darb_prune.training import metrics
from darb_prune.training.batches import ResumableLoader
from darb_prune.training.checkpoint import Checkpoint
from darb_prune.training.distillation import DistillationOptions, distilled
from darb_prune.training.loop import QuantizationOptions, TrainingOptions, finetune, seeded, train

__all__ = [
    "Compiled", "Real", "block_term_model", "calibration_of", "check", "compile_model", "example_of_task",
    "integer_model", "loader_of", "measure", "partition_model", "prune_model", "ratio_of_all", "size_of_bits",
    "teacher_of", "train_model", "tried",
]  # fmt: skip

_Made = TypeVar("_Made")


def loader_of(
    task: Task, seed: int, teacher: nn.Module | None = None, distillation: DistillationOptions | None = None
) -> ResumableLoader:
    """Batches of the training split; a teacher gives part of the labels, as ``distillation`` or the task says."""
    loader = task.batches(task.load()["train"], seed)
    options = task.distillation if distillation is None else distillation
    return distilled(loader, teacher, **options) if teacher is not None and options else loader


def measure(task: Task, model: nn.Module, splits: tuple[str, ...] = ("validation", "test")) -> dict[str, float]:
    """The metric of ``task`` on each of ``splits``."""
    loaded = task.load()
    return {name: metrics.measure(task.metric, model, loaded[name]) for name in splits}


def train_model(
    task: Task,
    seed: int,
    progress: bool = True,
    checkpoint: Checkpoint | None = None,
    size: float = 1.0,
    teacher: nn.Module | None = None,
    distillation: DistillationOptions | None = None,
    **options: Unpack[TrainingOptions],
) -> tuple[nn.Module, list[float]]:
    """A dense model of ``task``, and its losses; ``options`` replace those of the task.

    ``size`` is the share of the task's units. A teacher gives part of the labels, as ``distillation`` or the task says.
    """
    check_size(size)
    with seeded(seed):
        model = task.build(size)
    wanted: TrainingOptions = {**task.training, **options}
    loader = loader_of(task, seed)
    if teacher is not None:
        loader = distilled(loader, teacher, **(distillation or task.distillation))
    return model, train(model, loader, seed=seed, progress=progress, checkpoint=checkpoint, loss=task.loss, **wanted)


def teacher_of(task: Task, run: Path, data: DataSets | None = None) -> tuple[nn.Module, dict[str, float]]:
    """The model of a run folder, to teach another one of ``task``, and what it reaches on each split.

    Raises
    ------
    DarbError
        If the run folder is of another task, or the task has labels that no model can give.
    """
    taught, model = RunFolder.load(run, data)
    if taught.task != task.name:
        raise DarbError(f"teacher {run}: a model of task {taught.task}; give one of {task.name}")
    if task.heads:
        raise DarbError(f"teacher {run}: task {task.name} is several tasks, which have no teacher; leave it out")
    return model, measure(task, model)


def prune_model(
    task: Task,
    model: nn.Module,
    ratio: float,
    seed: int,
    progress: bool = True,
    checkpoint: Checkpoint | None = None,
    distillation: DistillationOptions | None = None,
    *,
    method: Method | None = None,
    schedule: PruningSchedule | None = None,
    exclude: Sequence[str] = (),
    weight_bits: int = 8,
    uses: Mapping[str, int] | None = None,
    teacher: nn.Module | None = None,
) -> tuple[Pruned, list[dict]]:
    """Prune a trained model in place.

    Schedule and distillation are those of the task if absent; the method is DARB then, with the task's options. The
    teacher is the model itself, as it is before pruning, if absent.
    """
    loader = loader_of(task, seed + 1, teacher or copy.deepcopy(model), distillation)
    method, schedule = method or parse(Darb.name, defaults=task.method_options), schedule or task.pruning
    options: dict[str, Any] = {
        "exclude": exclude, "weight_bits": weight_bits, "example": example_of_task(task), "seed": seed,
        "progress": progress, "checkpoint": checkpoint, "training": {"loss": task.loss},
    }  # fmt: skip
    if isinstance(method, Selection):
        check_uses(uses or {}, method)
        return UnitSelection(model, loader, ratio, method, schedule, **options).run()
    return gradual(model, loader, ratio, method, schedule, uses=uses, **options)


def tried(
    task: Task, model: nn.Module, ratio: float, method: Method, exclude: Sequence[str] = (), seed: int = 0,
    uses: Mapping[str, int] | None = None,
) -> nn.Module:  # fmt: skip
    """Raise what :func:`prune_model` would raise before it trains. Gives a copy of ``model`` with the masks, if any."""
    model, loader, example = copy.deepcopy(model), loader_of(task, seed), example_of_task(task)
    if isinstance(method, Selection):
        check_uses(uses or {}, method)
        UnitSelection(model, loader, ratio, method, exclude=exclude, example=example)
    else:
        prune(model, ratio, method, exclude=exclude, samples=loader, example=example, loss=task.loss, uses=uses)
    return model


def block_term_model(
    task: Task,
    model: nn.Module,
    ratio: float,
    seed: int,
    progress: bool = True,
    checkpoint: Checkpoint | None = None,
    replacing: dict[str, Any] | None = None,
    **options: Unpack[TrainingOptions],
) -> tuple[Replacement, list[float]]:
    """Replace layers of a trained model by block-term layers, in place, and train what comes out of that.

    Parameters
    ----------
    replacing : dict, optional
        Options of :func:`darb_prune.structure.block_term.block_term`.
    **options
        Replace those of the task's training.

    Returns
    -------
    What was replaced, and the losses.
    """
    return _changed(
        task, model, seed, progress, checkpoint, {**task.training, **options},
        lambda example: block_term(model, ratio, example=example, seed=seed, **(replacing or {})),
    )  # fmt: skip


def partition_model(
    task: Task,
    model: nn.Module,
    parts: int,
    seed: int,
    progress: bool = True,
    checkpoint: Checkpoint | None = None,
    exclude: Sequence[str] = (),
    **options: Unpack[TrainingOptions],
) -> tuple[Partitioned, list[float]]:
    """Partition a trained model in place, and train it like a model behind the last step of pruning; ``options``
    replace those of the task. Gives what partitioning did, and the losses."""
    training: TrainingOptions = {"epochs": task.pruning.final_epochs, "rate": task.pruning.final_rate, **options}
    return _changed(
        task, model, seed, progress, checkpoint, training,
        lambda example: partition(model, parts, exclude, example, seed),
    )  # fmt: skip


def _changed(
    task: Task,
    model: nn.Module,
    seed: int,
    progress: bool,
    checkpoint: Checkpoint | None,
    training: TrainingOptions,
    change: Callable[[Tensor], _Made],
) -> tuple[_Made, list[float]]:
    """Change the structure of a model in place, by an example of an input, and fine-tune it, taught by what it was."""
    loader = loader_of(task, seed + 1, copy.deepcopy(model))
    made = change(example_of_task(task))
    return made, finetune(
        model, loader, seed=seed, progress=progress, checkpoint=checkpoint, loss=task.loss, **training
    )


def ratio_of_all(task: Task, model: nn.Module, data: DataSets | None = None, size: float = 1.0) -> float:
    """Weights of what ``task`` builds at ``size`` per weight, or parameter of block terms, that ``model`` has left; of
    a task that is several, weights of the networks of each alone."""
    alone = [get(part, data) for part in task.parts] or [task]
    whole = sum(layer.weights for each in alone for layer in layers(each.build(size)))
    return whole / (sum(int(layer.mask().sum()) for layer in layers(model)) + term_parameters(model))


def size_of_bits(task: Task, bits: int, weight_bits: int = 8) -> float | None:
    """The size, in hundredths, whose dense network takes at most ``bits``, nearest from below; ``None`` if the model
    of ``task`` has one size."""
    sizes = range(1, 101)
    try:
        with torch.device("meta"):
            index = bisect_right(sizes, bits, key=lambda size: _dense_bits(task.build(size / 100), weight_bits))
    except DarbError:
        return None
    return index / 100 or None


def _dense_bits(model: nn.Module, weight_bits: int) -> int:
    return sum(layer.weights for layer in layers(model)) * weight_bits


def ratio_of_bits(model: nn.Module, bits: int, weight_bits: int = 8) -> float:
    """What ``ratio`` means ``bits`` for all codes of ``model``, with ``budget="bits"``."""
    dense = _dense_bits(model, weight_bits)
    if not 0 < bits <= dense:
        raise DarbError(f"bits {bits} must be 1 to {dense}, the bits of the dense weights")
    return dense / bits


def prune_within(
    task: Task,
    model: nn.Module,
    limit: Limit,
    seed: int,
    progress: bool = True,
    dense: float | None = None,
    *,
    method: Method,
    schedule: PruningSchedule,
    exclude: Sequence[str] = (),
    uses: Mapping[str, int] | None = None,
) -> tuple[nn.Module, Pruned, list[dict], float]:
    """The model with the largest ratio, up to 128, whose validation metric is within ``limit`` of ``dense``.

    ``dense`` is that of ``model`` if absent. A ratio that the method cannot reach is not within.

    Returns
    -------
    The pruned copy, what pruning left, the history of its pruning, and the ratio it was asked for.
    """
    dense = measure(task, model, ("validation",))["validation"] if dense is None else dense
    held = {}

    def probe(ratio: float) -> bool:
        copied = copy.deepcopy(model)
        try:
            tried(task, model, ratio, method, exclude, seed, uses)
        except DarbError:
            if ratio == LEAST:
                raise
            return False
        left, history = prune_model(
            task, copied, ratio, seed, progress, method=method, schedule=schedule, exclude=exclude, uses=uses
        )
        reached = measure(task, copied, ("validation",))["validation"]
        if limit.holds(task.metric, reached, dense):
            held[ratio] = copied, left, history
            return True
        return False

    best = largest_ratio(probe, LEAST)
    if best is None:
        raise DarbError("within: not even a ratio of 2 is good enough; allow more loss, or more epochs")
    return *held[best], best


def check(task: Task, ratio: float, method: Method, weight_bits: int, activation_bits: int) -> None:
    """Raise what pruning and compiling a model of ``task`` would raise, without the work."""
    check_bits(weight_bits, activation_bits)
    with seeded(0):
        model = task.build()
    capture(model, example_of_task(task))
    _check_encodable(tried(task, model, ratio, method))


def _check_encodable(model: nn.Module) -> None:
    for layer in layers(model):
        if layer.levels() is None and not layer.mask().all():
            raise DarbError(
                f"layer {layer.name!r}: pruned without levels (irregular), which has no encoding; "
                f"prune with method {', '.join(encodable())}"
            )


LEAST = 2.0
"""Where the search for the largest ratio begins."""


CALIBRATION = 2000  # samples that activation ranges are taken from, or so many sequences of a text
STEPS = 50  # of a sequence of a text in calibration and test vectors
FRAMES, BYTES = 10_000, 50_000_000  # of test vectors, unless asked for more


@dataclass(frozen=True, eq=False)
class Compiled:
    """What compiling gives: the oracle, the encoded network, vectors of test inputs, the metric on the test split; dead
    channels that were removed, and those that were only emptied."""

    integer: IntegerNetwork
    encoded: EncodedNetwork
    vectors: TestVectors
    value: float
    removed: int
    emptied: int


def integer_model(
    task: Task,
    model: nn.Module,
    seed: int,
    weight_bits: int = 8,
    activation_bits: int = 8,
    progress: bool = True,
    checkpoint: Checkpoint | None = None,
    mult_bits: int | None = None,
    cell_bits: int | None = None,
    **options: Unpack[QuantizationOptions],
) -> IntegerNetwork:
    """Quantise ``model`` after quantisation-aware fine-tuning, in place; ``options`` replace those of the task. Masks
    may have no levels."""
    check_mult_bits(mult_bits)
    wanted: QuantizationOptions = {**task.quantization, **options}
    calibration, percentile = calibration_of(task), wanted.get("percentile", 100.0)
    finetune(
        model,
        loader_of(task, seed + 2, teacher=copy.deepcopy(model)),
        weight_bits=weight_bits,
        activation_bits=activation_bits,
        calibration=calibration,
        seed=seed,
        progress=progress,
        label="quantise",
        loss=task.loss,
        checkpoint=checkpoint,
        cell_bits=cell_bits,
        **wanted,
    )
    return quantize(
        model, calibration, weight_bits, activation_bits, percentile, task.name, mult_bits, cell_bits=cell_bits
    )


def compile_model(
    task: Task,
    model: nn.Module,
    seed: int,
    weight_bits: int = 8,
    activation_bits: int = 8,
    progress: bool = True,
    provenance: dict | None = None,
    vectors: int | None = None,
    mult_bits: int | None = None,
    cell_bits: int | None = None,
    **options: Unpack[QuantizationOptions],
) -> Compiled:
    """Quantise ``model`` (quantisation-aware fine-tuning in place), take out its dead channels, encode it and run the
    oracle on the test split.

    The same arguments give the same bytes. ``vectors`` is the number of samples (for a text: sequences) of the test
    vectors; as many as fit into 10,000 frames and 50 MB if absent. ``options`` replace those of the task.
    """
    _check_encodable(model)
    integer = integer_model(
        task, model, seed, weight_bits, activation_bits, progress, None, mult_bits, cell_bits, **options
    )
    living = without_dead(integer)
    weights = sum(
        weight.numel() for matrix in integer.matrices if matrix.levels is not None for weight in matrix.weights
    )
    integer = living.network
    values = measure(task, Real(integer))
    record = {"task": task.name, "metric": task.metric, "versions": versions()} | (provenance or {})
    record["accuracy"] = record.get("accuracy", {}) | {"integer": values}
    if living.removed or living.emptied:
        # What the network has left is no measure of what was pruned.
        record["dead channels"] = {"removed": living.removed, "emptied": living.emptied, "weights before": weights}
    encoded = encode(integer, provenance=record, tasks=task.heads)
    made = _vectors(integer, encoded, task.load()["test"], vectors)
    return Compiled(integer, encoded, made, values["test"], living.removed, living.emptied)


def calibration_of(task: Task) -> Tensor:
    """Inputs of the training split that activation ranges are taken from."""
    return _samples(task.load()["train"], CALIBRATION).inputs


def example_of_task(task: Task) -> Tensor:
    """An input of the training split, of shape (1, ...)."""
    return _samples(task.load()["train"], 1).inputs


def _samples(split: Split, most: int) -> Split:
    """Up to ``most`` samples at equal distances; of a text, sequences of ``STEPS`` symbols, (sequences, steps)."""
    inputs, labels = split.inputs, split.labels
    if inputs.dim() == 1:
        steps = min(STEPS, len(inputs))
        whole = len(inputs) // steps * steps
        inputs, labels = (values[:whole].view(-1, steps) for values in (inputs, labels))
    count = min(len(inputs), most)
    pick = torch.arange(count) * len(inputs) // count
    return Split(inputs[pick], labels[pick])


def _vectors(integer: IntegerNetwork, encoded: EncodedNetwork, split: Split, samples: int | None) -> TestVectors:
    sequences = _samples(split, len(split))
    if samples is None:
        frame = 4 * sum(tensor.size for tensor in encoded.tensors)
        steps = sequences.inputs.shape[1] if integer.recurrent else 1
        samples = max(min(FRAMES, BYTES // frame) // steps, 1)
    # Of several tasks no sample has one label. Those of a text have a label a symbol.
    single = sequences.labels.dim() == 1 or sequences.labels.shape == sequences.inputs.shape
    labels = sequences.labels[:samples] if single and not sequences.labels.is_floating_point() else None
    return integer.vectors(encoded, sequences.inputs[:samples], labels)


class Real(nn.Module):
    """The oracle as a model that metrics can measure: real inputs (or symbols) -> real outputs."""

    def __init__(self, integer: IntegerNetwork) -> None:
        super().__init__()
        self.integer = integer
        self.scale = integer.tensors[integer.output].scale

    def forward(self, x: Tensor, state: dict | None = None) -> Tensor | tuple[Tensor, dict | None]:
        """(samples, size); if the network emits at every step, (samples, steps, size) and the state behind it."""
        x = self.integer.quantize_input(x)
        if self.integer.recurrent and self.integer.emit == "step":
            outputs, state = self.integer.run(x, state)
            return outputs * self.scale, state
        return self.integer(x) * self.scale
