"""What is measured of each real network: figures of its engine, and what simulations of it gave."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import Tensor, nn

from benchmarks.builds import ROOT, check, darb, identity, one_shot
from benchmarks.command import bar
from benchmarks.networks import keywords
from darb_hw.config import EngineConfig
from darb_hw.emit import Build, generate
from darb_hw.plan.metrics import layer_table, utilisation
from darb_hw.plan.resources import estimated_block_rams
from darb_prune.encoded import EncodedNetwork, TestVectors, metrics, write_atomic
from darb_prune.pruning.methods import Darb
from darb_prune.tasks import Split
from darb_prune.training.metrics import loss as cross_entropy
from darb_prune.training.metrics import measure as evaluated
from sim.batch import batch
from sim.launch import simulate
from sim.scenario import Scenario

RUNS, BUILD = Path("runs") / "networks", Path("build") / "networks"
FOLDER = ROOT / "docs" / "results" / "networks"
RATIO = 13  # of what is pruned in one shot


@dataclass(frozen=True)
class Network:
    """A network to measure.

    Parameters
    ----------
    make : callable (path) -> list of str
        Writes the ``.darb`` file and test vectors beside it, unless they exist; gives the commands.
    lanes : int
        Of the engine.
    icarus : sequence of int
        Samples that Icarus simulates as well. There every result inside the engine is compared.
    """

    make: Callable[[Path], list[str]]
    lanes: int
    icarus: Sequence[int]


def trained(path: Path, task: str, ratio: float, lanes: int, vectors: int, options: Sequence[object] = ()) -> list[str]:
    """A built-in task: train, prune for an engine of ``lanes`` lanes, compile. Gives the commands."""
    stem = path.stem.split("-lanes")[0]  # engines of several sizes run one network
    dense, pruned = RUNS / stem.split("-")[0], RUNS / f"{stem}-{ratio}x"
    return [
        darb("train", "--task", task, "-o", dense, done=dense / "run.json"),
        darb("prune", dense, "--ratio", ratio, "--lanes", lanes, *options, "-o", pruned, done=pruned / "run.json"),
        darb("compile", pruned, "--vectors", vectors, "-o", path, done=path),
    ]


def untrained(path: Path, made: Callable[[], tuple[nn.Module, Tensor, dict]]) -> list[str]:
    """A model pruned in one shot for 16 lanes; no command makes it."""
    one_shot(path, made, RATIO, method=Darb(lanes=16))
    return []


def keyword_weights(name: str, model_of: Callable[[dict[str, Tensor]], nn.Module]) -> tuple[nn.Module, Tensor, dict]:
    """20 sequences of random int8 values, 20 clips; calibrated with 200 clips."""
    random = torch.randint(-128, 128, (20, keywords.STEPS, keywords.FEATURES)).float()
    return model_of(keywords.weights(name)), keywords.clips(200), {"random": random, "clips": keywords.clips(20)}


def lstm_200() -> tuple[nn.Module, Tensor, dict]:
    """Two layers of 200 units with random weights, and nothing else; 20 sequences of 50 steps."""
    return nn.LSTM(200, 200, 2, batch_first=True), torch.randn(20, 50, 200), {"random": torch.randn(20, 50, 200)}


_lenet = partial(trained, task="fashion-mnist-lenet5", ratio=13, lanes=8, vectors=10000)
_resnet = partial(
    trained, task="cifar10", ratio=4, lanes=16, vectors=200,
    options=("--positions", 16, "--results", 2, "--saliency", "mean"),
)  # fmt: skip

NETWORKS = {
    # All test images and clips; 200 images of ResNet-20.
    "lenet5": Network(_lenet, 8, range(5)),
    # Gradients say that convolutions are worth most, which run 784 and 100 times; this does not.
    "lenet5-fast": Network(partial(_lenet, options=("--saliency", "mean")), 8, range(5)),
    # Lanes over output positions; every result of an image on Icarus as well. One pruning serves both.
    "cifar10": Network(_resnet, 16, (0,)),
    "cifar10-lanes32": Network(_resnet, 32, ()),
    "chars": Network(partial(trained, task="chars", ratio=13, lanes=16, vectors=200), 16, (0,)),
    "fsdd": Network(partial(trained, task="fsdd", ratio=13, lanes=16, vectors=300), 16, range(5)),
    # One sequence of each kind.
    "gru-kws": Network(partial(untrained, made=partial(keyword_weights, "GRU_L", keywords.gru)), 16, (0, 20)),
    "lstm-kws": Network(partial(untrained, made=partial(keyword_weights, "LSTM_L", keywords.lstm)), 16, (0, 20)),
    "lstm-200": Network(partial(untrained, made=lstm_200), 16, (0,)),
}


def score(network: EncodedNetwork, vectors: TestVectors, outputs: np.ndarray) -> float | None:
    """The metric of the network's task on outputs, one a label; ``None`` without labels."""
    if vectors.labels is None:
        return None
    metric = metrics.get(network.provenance["metric"])
    real = torch.from_numpy(outputs.astype(np.float64)) * network.tensor(network.output).scale
    labels = torch.from_numpy(vectors.labels.astype(np.int64))
    if metric.name == "accuracy":
        return evaluated(metric.name, nn.Identity(), Split(real, labels))
    return float(cross_entropy(real, labels)) / np.log(2)


def measure(name: str, network: Network, console: Console) -> dict:
    """Generate the engine and simulate it; gives figures and results as plain values."""
    path, folder, saved = BUILD / f"{name}.darb", BUILD / name, FOLDER / f"{name}.json"
    commands = network.make(path)
    console.print(f"{name}: generating {network.lanes} lanes", highlight=False)
    build = generate(path, EngineConfig(lanes=network.lanes), folder)
    plan, encoded, vectors = build.plan, build.plan.network, TestVectors.load(build.vectors)
    result: dict[str, Any] = {
        "simulated": identity(build),
        "commands": [*commands, f"darb verilog {path} --lanes {network.lanes} -o {folder}"] if commands else [],
        "lanes": network.lanes,
        "weights": encoded.weights,
        "kept": encoded.kept,
        "block_rams": estimated_block_rams(plan),
        "provenance": {key: encoded.provenance.get(key) for key in ("ratio", "accuracy", "metric", "distances")},
        "cycles": {"load": plan.timing.load, "compute": plan.timing.compute, "interval": plan.timing.interval_of(1)},
        "utilisation": {
            "whole": utilisation(plan),
            "computing": encoded.macs / (network.lanes * plan.timing.compute),
        },
        "layers": layer_table(plan),
    }
    before = json.loads(saved.read_text()) if saved.is_file() else {}
    if before.get("simulated") == result["simulated"]:
        result |= {simulator: before[simulator] for simulator in ("verilator", "icarus")}
    else:
        result["verilator"] = _verilator(name, build, vectors, console)
        result["icarus"] = _icarus(name, build, vectors, network.icarus, console) if network.icarus else None
    write_atomic(saved, (json.dumps(result, indent=2) + "\n").encode())
    return result


def _verilator(name: str, build: Build, vectors: TestVectors, console: Console) -> dict:
    """All test vectors; every element of the output is compared."""
    network = build.plan.network
    with bar(console, f"{name}: Verilator", vectors.samples) as advance:
        report = batch(build, progress=advance)
    check(name, report)
    assert report.outputs is not None
    expected = vectors.tensors[network.output]
    if network.emit == "last" and network.recurrent:
        expected = expected[vectors.starts[1:] - 1]
    return {
        "samples": report.frames,
        "steps": vectors.frames,
        "elements": report.elements,
        "cycles": report.cycles,
        "interval": report.interval,
        "rtl": score(network, vectors, report.outputs),
        "oracle": score(network, vectors, expected),
    }


def _icarus(name: str, build: Build, vectors: TestVectors, samples: Sequence[int], console: Console) -> dict:
    """Some samples; every result inside the engine and the end of each layer are compared."""
    with bar(console, f"{name}: Icarus", len(samples)) as advance:
        (report,) = simulate(build, "icarus", [Scenario(tuple(samples))], progress=advance)
    check(name, report)
    lengths = np.diff(vectors.starts)[list(samples)]
    return {
        "samples": report.frames,
        "steps": int(lengths.sum()),
        "results": report.rows,
        "cycles": report.cycles,
        "layer_ends": report.layers,
    }
