"""The steps behind the commands: train, prune and compile the model of a task."""

from dataclasses import dataclass

import torch
from torch import nn

from darb_prune.container import DarbError
from darb_prune.encoded import EncodedNetwork, TestVectors
from darb_prune.encoder import encode
from darb_prune.pruning import ENCODABLE, Pruned, prune
from darb_prune.qat import check_bits
from darb_prune.quantization import IntegerNetwork, quantize
from darb_prune.runs import versions
from darb_prune.tasks import Split, Task
from darb_prune.training import Batches, evaluate, finetune, gradual, seeded, soften, train

__all__ = ["Compiled", "accuracies", "check", "compile_model", "prune_model", "train_model"]

BATCH = 64


def _loader(task: Task, seed: int, teacher: nn.Module | None = None) -> Batches:
    split = task.load()["train"]
    labels = split.labels
    if teacher is not None and task.distillation:
        labels = soften(teacher, split.inputs, labels, **task.distillation)
    return Batches(split.inputs, labels, BATCH, seed)


def accuracies(task: Task, model: nn.Module) -> dict[str, float]:
    """Share of right answers on the validation and the test split."""
    splits = task.load()
    return {name: evaluate(model, splits[name].inputs, splits[name].labels) for name in ("validation", "test")}


def train_model(task: Task, seed: int, progress: bool = True, **options) -> tuple[nn.Module, list[float]]:
    """A dense model of ``task``, and its losses; ``options`` replace those of the task."""
    with seeded(seed):
        model = task.build()
    history = train(model, _loader(task, seed), seed=seed, progress=progress, **task.training | options)
    return model, history


def prune_model(
    task: Task, model: nn.Module, ratio: float, seed: int, progress: bool = True, **options
) -> tuple[Pruned, list[dict]]:
    """Prune a trained model in place; ``options`` replace those of the task."""
    # The model itself, as it is before pruning, teaches what comes out of it.
    loader = _loader(task, seed + 1, teacher=model)
    return gradual(model, loader, ratio, seed=seed, progress=progress, **task.pruning | options)


def check(task: Task, ratio: float, weight_bits: int, activation_bits: int, **options) -> None:
    """Raise what pruning and compiling a model of ``task`` would raise, without the work."""
    check_bits(weight_bits, activation_bits)
    with seeded(0):
        model = task.build()
    prune(model, ratio, **options)
    _check_encodable(model)


def _check_encodable(model: nn.Module) -> None:
    for path, module in model.named_modules():
        if hasattr(module, "weight_mask") and not hasattr(module, "weight_level"):
            raise DarbError(
                f"layer {path!r}: pruned without levels (irregular), which has no encoding; "
                f"prune with method {', '.join(ENCODABLE)}"
            )


@dataclass(frozen=True, eq=False)
class Compiled:
    """What compiling gives: the oracle, the encoded network, vectors of all test inputs, test accuracy."""

    integer: IntegerNetwork
    encoded: EncodedNetwork
    vectors: TestVectors
    accuracy: float


def compile_model(
    task: Task,
    model: nn.Module,
    seed: int,
    weight_bits: int = 8,
    activation_bits: int = 8,
    progress: bool = True,
    provenance: dict | None = None,
    **options,
) -> Compiled:
    """Quantise ``model`` (quantisation-aware fine-tuning in place), encode it and run the oracle on the test split.

    The same arguments give the same bytes.
    """
    _check_encodable(model)
    splits = task.load()
    options = task.quantization | options
    calibration, percentile = splits["train"].inputs, options.get("percentile", 100.0)
    finetune(
        model,
        _loader(task, seed + 2, teacher=model),
        weight_bits=weight_bits,
        activation_bits=activation_bits,
        calibration=calibration,
        seed=seed,
        progress=progress,
        label="quantise",
        **options,
    )
    integer = quantize(model, calibration, weight_bits, activation_bits, percentile, task.name)
    accuracy = {split: _integer_accuracy(integer, splits[split]) for split in ("validation", "test")}
    record = {"task": task.name, "versions": versions()} | (provenance or {})
    record["accuracy"] = record.get("accuracy", {}) | {"integer": accuracy}
    encoded = encode(integer, provenance=record)
    test = splits["test"]
    traced = {name: values.numpy() for name, values in integer.trace(integer.quantize_input(test.inputs)).items()}
    vectors = TestVectors(encoded.digest, traced, test.labels.numpy())
    vectors.check(encoded)
    return Compiled(integer, encoded, vectors, accuracy["test"])


@torch.no_grad()
def _integer_accuracy(integer: IntegerNetwork, split: Split) -> float:
    answer = integer(integer.quantize_input(split.inputs)).argmax(dim=1)
    return float((answer == split.labels).double().mean())
