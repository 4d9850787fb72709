"""Figures of a network as integers. Every run is a file; what is there is not run again."""

import copy
import json
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import nn

from benchmarks.systems.arms import LANES, Arm
from benchmarks.systems.trial import Trial
from darb_hw.config import EngineConfig
from darb_hw.plan.metrics import stored_bits, subset_table
from darb_hw.plan.plan import Plan
from darb_prune.encoded import write_atomic
from darb_prune.modules.layers import layers
from darb_prune.modules.sizes import fit
from darb_prune.runs import pipeline
from darb_prune.runs.folder import packed
from darb_prune.runs.merging import accuracies_of
from darb_prune.training.loop import seeded, train

__all__ = ["measure", "path_of", "small"]


def path_of(trial: Trial, arm: Arm) -> Path:
    """The file of a run."""
    return trial.folder / f"{arm.name.replace(' ', '-').replace(',', '')}.json"


def _model_of(trial: Trial, arm: Arm) -> Path:
    """The weights of a run, which is done if they are not there."""
    path = path_of(trial, arm)
    if not path.with_suffix(".safetensors").exists():
        path.unlink(missing_ok=True)
        measure(trial, arm)
    return path.with_suffix(".safetensors")


def small(of: Arm) -> Arm:
    """A dense model of the sizes that another arm ended with, trained from scratch for as many epochs as that one got
    in all, with the labels of the dense model."""

    def make(trial: Trial) -> tuple[nn.Module, dict[str, Any]]:
        state = safetensors.torch.load_file(_model_of(trial, of))
        with seeded(trial.seed):
            model = trial.task.build()
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


def measure(trial: Trial, arm: Arm) -> dict[str, Any]:
    """Figures of ``arm``: metric of floats and integers, weights, stored bits, cycles and memory of a lane of an engine
    of 16 lanes a cluster; of several tasks those of each, and the cycles of each subset.

    Cycles are those of a whole sequence if the network answers at its end.
    """
    path = path_of(trial, arm)
    if path.exists():
        return json.loads(path.read_text())
    torch.set_num_threads(1)
    model, record = arm.make(trial)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path.with_suffix(".safetensors"), packed(model))
    values = pipeline.measure(trial.task, model)
    weights = {layer.name: int(layer.mask().sum()) for layer in layers(model)}
    made = pipeline.compile_model(trial.task, copy.deepcopy(model), trial.seed, vectors=1)
    plan = Plan.make(made.encoded, EngineConfig(lanes=LANES * arm.clusters, clusters=arm.clusters))
    last = made.encoded.recurrent and made.encoded.emit == "last"
    steps = pipeline.example_of_task(trial.task).shape[1] if last else 1
    record |= {
        "arm": arm.name, "values": values, "integer": made.encoded.provenance["accuracy"]["integer"],
        "weights": weights, "stored_bits": stored_bits(plan), "cycles": plan.timing.interval_of(steps),
        "clusters": arm.clusters, "memory": plan.memory_depth,
    }  # fmt: skip
    if trial.task.heads:
        real = pipeline.Real(made.integer)
        record |= {
            "tasks": {part: accuracies_of(trial.task, real, part) for part in ("validation", "test")},
            "subsets": [
                row | {"interval": plan.timings[row["subset"]].interval_of(steps)} for row in subset_table(plan)
            ],
        }
    write_atomic(path, (json.dumps(record, indent=1) + "\n").encode())
    return record
