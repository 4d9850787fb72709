"""Ten million dense weights through pruning, quantisation, encoding and planning: seconds and memory of each.

    python -m benchmarks.scale [--weights 10e6] [--ratio 16] [--lanes 32] [-o FILE.json]

Exits with 1 if encoding and planning together take 20 s or more, or the process 4 GB or more.
"""

import json
import resource
import time
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.table import Table
from torch import nn

from darb_hw.config import EngineConfig
from darb_hw.plan.plan import Plan
from darb_prune import encode, prune, quantize
from darb_prune.encoded import EncodedNetwork, write_atomic

SECONDS_MAX = 20.0
GIGABYTES_MAX = 4.0


def model_of(weights: float) -> nn.Sequential:
    """Three Linear layers of about ``weights`` weights in all, rows of very different norms."""
    torch.manual_seed(0)
    unit = max(int((weights / 155) ** 0.5), 1)
    sizes = [8 * unit, 10 * unit, 6 * unit, 2 * unit + unit // 2]
    layers = []
    for columns, rows in pairwise(sizes):
        linear = nn.Linear(columns, rows)
        with torch.no_grad():
            linear.weight *= torch.exp(torch.randn(rows, 1))
        layers += [linear, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def main(
    weights: Annotated[float, typer.Option(help="Dense weights.")] = 10e6,
    ratio: Annotated[float, typer.Option(help="Pruning ratio.")] = 16,
    lanes: Annotated[int, typer.Option(help="Lanes of the engine.")] = 32,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="JSON file to write.")] = None,
):
    """Measure how generator code scales."""
    model = model_of(weights)
    calibration = torch.randn(64, model[0].in_features)
    made, rows = {}, []

    def measure(name, action):
        start = time.perf_counter()
        made[name] = action()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        rows.append({"step": name, "seconds": time.perf_counter() - start, "peak_gigabytes": peak})

    path = Path("build") / "scale.darb"
    measure("prune", lambda: prune(model, ratio))
    measure("quantise", lambda: quantize(model, calibration))
    measure("encode", lambda: encode(made["quantise"]))
    measure("save", lambda: made["encode"].save(path))
    measure("load", lambda: EncodedNetwork.load(path))
    measure("plan", lambda: Plan.make(made["load"], EngineConfig(lanes=lanes, device="ecp5-85k")))
    measure("ROM files", lambda: sum(len(image.hex()) for image in made["plan"].images.values()))
    path.unlink()
    network = made["encode"]
    table = Table(title=f"{network.weights:,} weights, {network.kept:,} kept, {lanes} lanes")
    table.add_column("step")
    table.add_column("seconds", justify="right")
    table.add_column("peak memory so far, GB", justify="right")
    for row in rows:
        table.add_row(row["step"], f"{row['seconds']:.2f}", f"{row['peak_gigabytes']:.2f}")
    Console().print(table)
    seconds = sum(row["seconds"] for row in rows if row["step"] in ("encode", "plan"))
    peak = rows[-1]["peak_gigabytes"]
    Console().print(f"encode and plan: {seconds:.2f} of {SECONDS_MAX:g} s; memory: {peak:.2f} of {GIGABYTES_MAX:g} GB")
    if output:
        result = {"weights": network.weights, "kept": network.kept, "lanes": lanes, "steps": rows}
        write_atomic(output, (json.dumps(result, indent=2) + "\n").encode())
    if seconds >= SECONDS_MAX or peak >= GIGABYTES_MAX:
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
