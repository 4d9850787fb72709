"""Cycles and memory of partitioned multilayer perceptrons: of random weights, so that nothing has to be trained."""

import copy
from itertools import pairwise
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.table import Table
from torch import nn

from benchmarks.command import chosen, command
from darb_hw.config import EngineConfig
from darb_hw.plan.metrics import code_bits, utilisation
from darb_hw.plan.plan import Plan
from darb_prune import encode, partition, prune, quantize
from darb_prune.encoded import EncodedNetwork

SHAPES = {"lenet-300-100": (784, 300, 100, 10), "head-1024": (1024, 1024, 1024, 10)}


def mlp(sizes: tuple[int, ...]) -> nn.Sequential:
    """Linear layers with ReLU in between, always of the same random weights."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for columns, rows in pairwise(sizes):
        layers += [nn.Linear(columns, rows), nn.ReLU()]
    return nn.Sequential(*layers[:-1]).eval()


def networks(sizes: tuple[int, ...], parts: int, ratio: float) -> dict[str, EncodedNetwork]:
    """The dense network; in parts; in parts, with DARB inside. By a name of each."""
    dense, x = mlp(sizes), torch.rand(64, sizes[0])
    in_parts = copy.deepcopy(dense)
    partition(in_parts, parts)
    pruned = copy.deepcopy(in_parts)
    prune(pruned, ratio)
    models = {"dense": dense, f"{parts} parts": in_parts, f"{parts} parts, DARB {ratio:g}x inside": pruned}
    return {name: encode(quantize(model, x)) for name, model in models.items()}


def main(
    shapes: Annotated[list[str] | None, typer.Argument(help=f"{', '.join(SHAPES)}; all if none is named.")] = None,
    parts: Annotated[int, typer.Option(help="Parts of each layer.")] = 4,
    lanes: Annotated[int, typer.Option(help="Lanes of the engine, or of each cluster.")] = 16,
    ratio: Annotated[float, typer.Option(help="Pruning ratio inside of the parts.")] = 4,
) -> None:
    """Compare a dense network, the same in parts, and pruned inside of the parts, by the cycles of their plans.

    Examples:

    [bold]python -m benchmarks.partitions[/bold]

    [bold]python -m benchmarks.partitions head-1024 --parts 8 --lanes 16[/bold]
    """
    columns = (
        "network",
        "clusters x lanes",
        "codes",
        "bits of codes",
        "cycles",
        "speed-up",
        "lanes used",
        "memory of a lane",
    )
    table = Table(*columns, title="back to back, random weights", title_justify="left")
    for shape in chosen(shapes, SHAPES):
        dense = 0
        for name, network in networks(SHAPES[shape], parts, ratio).items():
            for clusters in (1, parts) if dense else (1,):
                plan = Plan.make(network, EngineConfig(lanes=lanes * clusters, positions=1, clusters=clusters))
                cycles = plan.timing.interval_of(1)
                dense = dense or cycles
                codes = sum(len(layer.index) for layer in plan.network.layers)
                table.add_row(
                    f"{shape}, {name}", f"{clusters} x {lanes}", f"{codes:,}", f"{code_bits(plan):,}", f"{cycles:,}",
                    f"{dense / cycles:.2f}", f"{100 * utilisation(plan):.1f} %", f"{plan.memory_depth:,}",
                )  # fmt: skip
    Console(width=150).print(table)


app = command(main)

if __name__ == "__main__":
    app()
