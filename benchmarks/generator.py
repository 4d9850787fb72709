"""Seconds of user time of the generator, stage by stage."""

import contextlib
import json
import resource
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.command import bar, command
from darb_hw.config import LANES_MAX, EngineConfig
from darb_hw.emit import generate, verilog_texts
from darb_hw.errors import PlanError
from darb_hw.plan.resources import fitting_plan
from darb_hw.report import layer_table, memory_table, plan_table
from darb_prune.encoded import EncodedNetwork, write_atomic

Made = TypeVar("Made")
SECONDS_MAX = 10.0
PLANS_SECONDS_MAX = 60.0


def _user_seconds() -> float:
    """User time of this process and those that it started and that have ended: Yosys is one."""
    usage = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return sum(part.ru_utime for part in usage)


def _plan_all(network: EncodedNetwork, device: str) -> None:
    """Plans with 1, 2, 4 ... lanes; those that do not fit are refused."""
    for lanes in (1 << bit for bit in range(LANES_MAX.bit_length())):
        with contextlib.suppress(PlanError):
            fitting_plan(network, EngineConfig(lanes=lanes, device=device))


def seconds_of(path: Path, lanes: int, device: str) -> dict[str, float]:
    """User seconds of each stage of ``darb verilog``, of the whole, and of plans with all numbers of lanes."""
    seconds: dict[str, float] = {}

    def measure(stage: str, action: Callable[[], Made]) -> Made:
        start = _user_seconds()
        made = action()
        seconds[stage] = _user_seconds() - start
        return made

    config = EngineConfig(lanes=lanes, device=device)
    network = measure("load", lambda: EncodedNetwork.load(path))
    plan = measure("plan", lambda: fitting_plan(network, config))
    measure("Verilog", lambda: verilog_texts(plan))
    with tempfile.TemporaryDirectory() as folder:
        build = measure("build folder", lambda: generate(path, config, folder))
    measure("tables", lambda: [table(build.plan) for table in (memory_table, layer_table, plan_table)])
    measure("plans", lambda: _plan_all(network, device))
    return seconds


def main(
    networks: Annotated[list[Path], typer.Argument(help="Encoded networks (.darb).")],
    lanes: Annotated[int, typer.Option(help="Lanes of the engine.")] = 16,
    device: Annotated[str, typer.Option(help="Device of the engine.")] = "ecp5-85k",
    output: Annotated[Path | None, typer.Option("-o", "--output", help="JSON file to write.")] = None,
) -> None:
    """Measure how long the generator takes: user time, which depends little on what else runs.

    "build folder" is all that darb verilog writes, the stages before it included; "plans" are those of 1, 2, 4 ... 128
    lanes. Exits with 1 if a build folder takes 10 s or more, or such plans 60 s.

    Examples:

    [bold]python -m benchmarks.generator build/mlperf/*.darb[/bold]

    [bold]python -m benchmarks.generator digits.darb --lanes 8 --device ice40-hx8k -o generator.json[/bold]
    """
    results: dict[str, dict[str, float]] = {}
    with bar(Console(stderr=True), "networks", len(networks)) as advance:
        for path in networks:
            results[str(path)] = seconds_of(path, lanes, device)
            advance(len(results))
    stages = next(iter(results.values()))
    table = Table("network", *stages, title=f"user seconds, {lanes} lanes, {device}", title_justify="left")
    for name, seconds in results.items():
        table.add_row(Path(name).stem, *(f"{seconds[stage]:.2f}" for stage in stages))
    Console().print(table)
    if output:
        write_atomic(output, (json.dumps(results, indent=2) + "\n").encode())
    slow = any(row["build folder"] >= SECONDS_MAX or row["plans"] >= PLANS_SECONDS_MAX for row in results.values())
    raise typer.Exit(slow)


app = command(main)

if __name__ == "__main__":
    app()
