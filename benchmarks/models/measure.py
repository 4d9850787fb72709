"""What becomes of a model that somebody brings."""

import os
import tempfile
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from benchmarks.models.brought import BroughtModel
from benchmarks.models.files import FILES
from benchmarks.models.images import IMAGES
from benchmarks.models.sequences import SEQUENCES
from benchmarks.models.vectors import VECTORS
from darb_hw.config import EngineConfig
from darb_hw.emit import generate
from darb_prune import check, encode, prune, quantize
from darb_prune.errors import DarbError
from darb_prune.frontend.capture import capture
from sim.batch import batch
from sim.launch import QUICK_COMPILE

__all__ = ["CANDIDATES", "measure"]

CANDIDATES = {**VECTORS, **IMAGES, **SEQUENCES, **FILES}
RATIO, LANES, SAMPLES = 2, 4, 8


def measure(brought: BroughtModel, seed: int = 0) -> dict:
    """Check, prune, quantise, encode, generate and simulate a model; the mended one if it is refused.

    Returns
    -------
    dict
        ``kind``; ``problems``, one line each; ``engine`` of the model, or of the mended one: ``weights``, ``kept``,
        ``cycles`` of an inference, ``distance`` of the integer outputs from the pruned model's (share of its root mean
        square) and ``mismatch``, the first thing that a simulation did not give as the oracle has it; ``wrong``, why
        there is none.
    """
    result: dict = {"kind": brought.kind, "problems": [], "mended": False}
    for mended, make in ((False, brought.make), (True, brought.mended)):
        if make is None:
            return result | {"wrong": "refused, and nothing is known that helps"}
        torch.manual_seed(seed)
        model, inputs = _lively(make()), brought.inputs(64)
        report = check(model, inputs)
        if mended and report.problems:
            return result | {"wrong": f"refused when mended: {report.problems[0]}"}
        if not report.problems:
            try:
                return result | {"mended": mended, "engine": _engine(model, inputs)}
            except DarbError as error:  # check has promised that it works
                return result | {"wrong": f"accepted, and refused later: {error}"}
        result["problems"] = [str(problem) for problem in report.problems]
    raise AssertionError


def _lively(model: nn.Module) -> nn.Module:
    """Norms with statistics of their own, as after training."""
    for module in model.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)) and module.affine:
            values = module.state_dict()
            for name in ("weight", "running_var"):
                nn.init.uniform_(values[name], 0.5, 1.5)
            for name in ("bias", "running_mean"):
                nn.init.normal_(values[name], 0, 0.2)
    return model.eval()


@torch.no_grad()
def _engine(model: nn.Module, inputs: Tensor) -> dict:
    """Figures of the engine of a model, all of whose outputs were simulated."""
    prune(model, RATIO, example=inputs[:1])
    integer = quantize(model, inputs)
    network = encode(integer)
    vectors = integer.vectors(network, inputs[:SAMPLES])
    outputs = integer(integer.quantize_input(inputs[:SAMPLES])) * integer.tensors[integer.output].scale
    if not integer.recurrent:
        shape = integer.tensors[integer.output].shape
        outputs = capture(model, inputs[:2]).as_given(outputs.view(-1, *shape))
    os.environ.setdefault("MAKEFLAGS", QUICK_COMPILE)
    with tempfile.TemporaryDirectory() as folder:
        build = generate(network, EngineConfig(lanes=LANES), Path(folder) / "build", vectors)
        report = batch(build)
        interval = build.plan.timing.interval_of(1)
    return {
        "weights": network.weights,
        "kept": network.kept,
        "cycles": interval,
        "distance": _distance(model(inputs[:SAMPLES]), outputs),
        "mismatch": report.mismatch,
    }


def _distance(results: object, outputs: Tensor) -> float:
    """Root mean square of what integers are off, over that of what the model gives: all its results, or the first."""
    every = torch.cat([result.flatten(1) for result in tree_leaves(results) if isinstance(result, Tensor)], 1)
    outputs = outputs.flatten(1)
    wanted = every[:, : outputs.shape[1]]
    return float((outputs - wanted).norm() / wanted.norm())
