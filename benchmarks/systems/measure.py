"""What every comparison of systems does: dense models, models made from them, small ones; figures of each as integers.

Every run is a file; what is there is not run again.
"""

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import nn

from benchmarks.builds import ROOT
from darb_hw.config import EngineConfig
from darb_hw.plan.metrics import stored_bits
from darb_hw.plan.plan import Plan
from darb_prune.encoded import write_atomic
from darb_prune.modules.layers import layers
from darb_prune.modules.sizes import fit
from darb_prune.pruning.methods import Darb, Selection, Unpruned, parse
from darb_prune.runs import pipeline
from darb_prune.runs.folder import packed
from darb_prune.tasks import Task
from darb_prune.training.loop import seeded, train

__all__ = ["LANES", "Arm", "Trial", "darb", "measure", "selected", "selected_darb", "small", "tuned"]

WORK = ROOT / "build" / "systems"
LANES = 16


@dataclass(frozen=True)
class Trial:
    """A task, perhaps with another model than its own, and one seed.

    Parameters
    ----------
    name : str
    task : Task
    seed : int
    """

    name: str
    task: Task
    seed: int

    @property
    def folder(self) -> Path:
        return WORK / self.name / f"seed-{self.seed}"

    @property
    def selecting(self) -> int:
        """Epochs in which units are selected."""
        return self.task.pruning.epochs * (self.task.pruning.steps - 1)

    @property
    def pruning(self) -> int:
        """Epochs of gradual pruning."""
        return self.selecting + self.task.pruning.final_epochs

    def dense(self) -> nn.Module:
        """The dense model, trained once."""
        path = self.folder / "dense.safetensors"
        if not path.exists():
            model, _ = pipeline.train_model(self.task, self.seed)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(path, packed(model))
        model = self.task.build()
        model.load_state_dict(safetensors.torch.load_file(path))
        return model.eval()


@dataclass(frozen=True)
class Arm:
    """A way to a network.

    Parameters
    ----------
    name : str
    make : callable (Trial) -> (torch.nn.Module, dict)
        The model, in floats, and what else is to be recorded.
    """

    name: str
    make: Callable[[Trial], tuple[nn.Module, dict[str, Any]]]


def selected(method: Selection, ratio: float) -> Arm:
    """Units selected, the rest fine-tuned."""

    def make(trial: Trial) -> tuple[nn.Module, dict[str, Any]]:
        model = trial.dense()
        _, history = pipeline.prune_model(trial.task, model, ratio, trial.seed, method=method)
        return model, {"units": history[-1]["units"]}

    return Arm(f"{method.name} {method.criterion} {ratio:g}x", make)


def tuned() -> Arm:
    """The dense model, fine-tuned for as many epochs."""

    def make(trial: Trial) -> tuple[nn.Module, dict[str, Any]]:
        model, own = trial.dense(), trial.task.pruning
        pipeline.prune_model(
            trial.task,
            model,
            1,
            trial.seed,
            method=Unpruned(),
            schedule=own.updated({"steps": 1, "final_epochs": trial.pruning}),
        )
        return model, {}

    return Arm("dense", make)


def darb(ratio: float) -> Arm:
    """DARB alone, fine-tuned for as many epochs more as the selection of units takes."""

    def make(trial: Trial) -> tuple[nn.Module, dict[str, Any]]:
        model, own = trial.dense(), trial.task.pruning
        longer = own.updated({"final_epochs": own.final_epochs + trial.selecting})
        method = parse(Darb.name, {"lanes": LANES}, trial.task.method_options)
        pipeline.prune_model(trial.task, model, ratio, trial.seed, method=method, schedule=longer)
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
        pattern = parse(Darb.name, {"lanes": LANES}, trial.task.method_options)
        pipeline.prune_model(trial.task, model, max(whole / left.ratio, 1), trial.seed, method=pattern)
        return model, {"units": history[-1]["units"]}

    return Arm(f"{method.name} {ratio:g}x, darb to {whole:g}x", make)


def small(of: Arm) -> Arm:
    """A dense model of the sizes that another arm ended with, trained from scratch for as many epochs as that one got
    in all, with the labels of the dense model."""

    def make(trial: Trial) -> tuple[nn.Module, dict[str, Any]]:
        measure(trial, of)
        with seeded(trial.seed):
            model = trial.task.build()
            state = safetensors.torch.load_file(_path(trial, of).with_suffix(".safetensors"))
            fit(model, {name: tensor.shape for name, tensor in state.items() if tensor.dim()})
            for module in model.modules():
                if callable(reset := getattr(module, "reset_parameters", None)):
                    reset()
        epochs = trial.task.training.get("epochs", 0) + trial.pruning
        loader = pipeline.loader_of(trial.task, trial.seed, trial.dense())
        options = {**trial.task.training, "epochs": epochs}
        train(model, loader, seed=trial.seed, label="small", **options)
        return model, {}

    return Arm(f"small as {of.name}", make)


def _path(trial: Trial, arm: Arm) -> Path:
    return trial.folder / f"{arm.name.replace(' ', '-').replace(',', '')}.json"


def measure(trial: Trial, arm: Arm) -> dict[str, Any]:
    """Figures of ``arm``: metric of floats and integers, weights, stored bits and cycles of an engine of 16 lanes."""
    path = _path(trial, arm)
    if path.exists():
        return json.loads(path.read_text())
    torch.set_num_threads(1)
    model, record = arm.make(trial)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path.with_suffix(".safetensors"), packed(model))
    values = pipeline.measure(trial.task, model)
    weights = {layer.name: int(layer.mask().sum()) for layer in layers(model)}
    made = pipeline.compile_model(trial.task, copy.deepcopy(model), trial.seed, vectors=1)
    plan = Plan.make(made.encoded, EngineConfig(lanes=LANES))
    record |= {
        "arm": arm.name, "values": values, "integer": made.encoded.provenance["accuracy"]["integer"],
        "weights": weights, "stored_bits": stored_bits(plan), "cycles": plan.timing.interval_of(1),
    }  # fmt: skip
    write_atomic(path, (json.dumps(record, indent=1) + "\n").encode())
    return record
