"""What benchmarks do with networks: make them unless their files exist, build them, simulate them."""

import hashlib
import json
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from darb_hw.emit import Build
from darb_prune import IntegerNetwork, encode, prune, quantize
from darb_prune.encoded import write_files
from darb_prune.pruning.methods import Darb, Method
from sim.batch import BatchReport
from sim.scenario import Report

__all__ = ["check", "darb", "identity", "one_shot"]

ROOT = Path(__file__).resolve().parent.parent


def darb(*arguments: object, done: Path) -> str:
    """Run the command ``darb`` unless the file ``done`` exists; gives the command as text."""
    words = [str(argument) for argument in arguments]
    if not done.exists():
        subprocess.run([Path(sys.executable).with_name("darb"), *words], check=True, cwd=ROOT)
    return shlex.join(["darb", *words])


def one_shot(
    path: Path,
    made: Callable[[], tuple[nn.Module, Tensor, dict]],
    ratio: float,
    mult_bits: int | None = None,
    method: Method = Darb(),
) -> None:
    """Write a model pruned without any training, with test vectors, unless its file exists.

    Parameters
    ----------
    path : Path
        The ``.darb`` file.
    made : callable
        Gives the model, inputs to calibrate with, and inputs to simulate: a name of their kind -> inputs.
    ratio : float
        1 for a dense network.
    mult_bits : int, optional
        See :func:`darb_prune.quantize`.
    method : Method
        See :func:`darb_prune.prune`.
    """
    if path.exists():
        return
    torch.set_num_threads(1)  # the same bytes on every machine
    torch.manual_seed(0)
    model, calibration, inputs = made()
    pruned = prune(model, ratio, method)
    integer = quantize(model, calibration, name=path.stem, mult_bits=mult_bits)
    distances = {name: _distance(model, integer, values) for name, values in inputs.items()}
    network = encode(integer, provenance={"ratio": round(pruned.ratio, 4), "distances": distances})
    vectors = integer.vectors(network, torch.cat(list(inputs.values())))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_files({path.with_suffix(".vectors"): vectors.pack(), path: network.pack()})


@torch.no_grad()
def _distance(model: nn.Module, integer: IntegerNetwork, inputs: Tensor) -> dict:
    """How far the oracle is from the pruned float model."""
    result = model(inputs)
    real = result[0] if isinstance(result, tuple) else result
    integers = integer(integer.quantize_input(inputs)) * integer.tensors[integer.output].scale
    return {"samples": len(inputs), "output": float(real.abs().mean()), "off": float((real - integers).abs().mean())}


def identity(build: Build) -> str:
    """Digest of the Verilog, the ROM contents, the inputs and the expected outputs."""
    files = {name: digest for name, digest in build.manifest["files"].items() if Path(name).suffix in (".v", ".hex")}
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()


def check(name: str, report: Report | BatchReport) -> None:
    """Leave the program if a simulation saw anything that differs from the oracle or the plan."""
    if report.mismatch:
        raise SystemExit(f"{name}: {report.mismatch}")
