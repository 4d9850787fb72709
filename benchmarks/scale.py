"""Ten million dense weights through pruning, quantisation, encoding and planning: seconds and memory of each."""

import json
import resource
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, TypeVar

import torch
import typer
from rich.console import Console
from rich.table import Table
from torch import nn

from benchmarks.command import command
from darb_hw.config import EngineConfig
from darb_hw.plan.plan import Plan
from darb_prune import encode, prune, quantize
from darb_prune.encoded import EncodedNetwork, write_atomic

Made = TypeVar("Made")
SECONDS_MAX = 20.0
GIGABYTES_MAX = 4.0


def model_of(weights: float) -> nn.Sequential:
    """Three Linear layers of about ``weights`` weights in all, rows of very different norms."""
    torch.manual_seed(0)
    unit = max(int((weights / 155) ** 0.5), 1)
    sizes = [8 * unit, 10 * unit, 6 * unit, 2 * unit + unit // 2]
    layers: list[nn.Module] = []
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
) -> None:
    """Measure how the generator scales with the size of a network.

    Exits with 1 if encoding and planning together take 20 s or more, or the process 4 GB or more.

    Examples:

    [bold]python -m benchmarks.scale -o docs/results/scale.json[/bold]

    [bold]python -m benchmarks.scale --weights 1e6 --ratio 16 --lanes 32[/bold]
    """
    model = model_of(weights)
    first = model[0]
    assert isinstance(first, nn.Linear)
    calibration = torch.randn(64, first.in_features)
    rows: list[dict[str, Any]] = []

    def measure(name: str, action: Callable[[], Made]) -> Made:
        start = time.perf_counter()
        made = action()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        rows.append({"step": name, "seconds": time.perf_counter() - start, "peak_gigabytes": peak})
        return made

    path = Path("build") / "scale.darb"
    measure("prune", lambda: prune(model, ratio))
    integer = measure("quantise", lambda: quantize(model, calibration))
    network = measure("encode", lambda: encode(integer))
    measure("save", lambda: network.save(path))
    loaded = measure("load", lambda: EncodedNetwork.load(path))
    plan = measure("plan", lambda: Plan.make(loaded, EngineConfig(lanes=lanes, device="ecp5-85k")))
    measure("ROM files", lambda: sum(len(image.hex()) for image in plan.images.values()))
    path.unlink()
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


app = command(main)

if __name__ == "__main__":
    app()
