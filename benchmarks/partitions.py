"""Cycles and memory of partitioned networks: of random weights, so that nothing has to be trained."""

import copy
from collections.abc import Callable
from functools import partial
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
from darb_prune.tasks.lenet import lenet5
from darb_prune.tasks.mlperf_networks import DsCnn


def mlp(sizes: tuple[int, ...]) -> nn.Sequential:
    """Linear layers with ReLU in between."""
    layers: list[nn.Module] = []
    for columns, rows in pairwise(sizes):
        layers += [nn.Linear(columns, rows), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "lenet-300-100": (partial(mlp, (784, 300, 100, 10)), (784,)),
    "head-1024": (partial(mlp, (1024, 1024, 1024, 10)), (1024,)),
    "lenet5": (lenet5, (1, 28, 28)),
    "ds-cnn": (DsCnn, (1, 49, 10)),
}
"""How each network is built, and the shape of its input."""


def networks(name: str, parts: int, ratio: float) -> dict[str, EncodedNetwork]:
    """The dense network; in parts; in parts, with DARB inside. By a name of each, always of the same random weights."""
    build, shape = MODELS[name]
    torch.manual_seed(0)
    dense, x = build().eval(), torch.rand(64, *shape)
    in_parts = copy.deepcopy(dense)
    partition(in_parts, parts, example=x)
    pruned = copy.deepcopy(in_parts)
    prune(pruned, ratio, example=x)
    models = {"dense": dense, f"{parts} parts": in_parts, f"{parts} parts, DARB {ratio:g}x inside": pruned}
    return {name: encode(quantize(model, x)) for name, model in models.items()}


def _begins_in_parts(network: EncodedNetwork) -> bool:
    """Whether the input is a vector: behind maps only the last layers could run in clusters."""
    return network.tensor(network.input).shape[:2] == (1, 1)


def main(
    models: Annotated[list[str] | None, typer.Argument(help=f"{', '.join(MODELS)}; all if none is named.")] = None,
    parts: Annotated[int, typer.Option(help="Parts of each layer.")] = 4,
    lanes: Annotated[int, typer.Option(help="Lanes of the engine, or of each cluster.")] = 16,
    ratio: Annotated[float, typer.Option(help="Pruning ratio inside of the parts.")] = 4,
    positions: Annotated[int, typer.Option(help="Neighbouring pixels that lanes compute, without clusters.")] = 1,
    results: Annotated[int, typer.Option(help="Results that leave in a cycle, where there are positions.")] = 1,
) -> None:
    """Compare a dense network, the same in parts, and pruned inside of the parts, by the cycles of their plans.

    Examples:

    [bold]python -m benchmarks.partitions[/bold]

    [bold]python -m benchmarks.partitions head-1024 --parts 8 --lanes 16[/bold]

    [bold]python -m benchmarks.partitions ds-cnn --positions 4 --results 4[/bold]
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
    for chosen_model in chosen(models, MODELS):
        dense = 0
        for name, network in networks(chosen_model, parts, ratio).items():
            for clusters in (1, parts) if dense and positions == 1 and _begins_in_parts(network) else (1,):
                config = EngineConfig(lanes * clusters, positions=positions, results=results, clusters=clusters)
                plan = Plan.make(network, config)
                cycles = plan.timing.interval_of(1)
                dense = dense or cycles
                codes = sum(len(layer.index) for layer in plan.network.layers)
                table.add_row(
                    f"{chosen_model}, {name}", f"{clusters} x {lanes}", f"{codes:,}", f"{code_bits(plan):,}",
                    f"{cycles:,}", f"{dense / cycles:.2f}", f"{100 * utilisation(plan):.1f} %",
                    f"{plan.memory_depth:,}",
                )  # fmt: skip
    Console(width=150).print(table)


app = command(main)

if __name__ == "__main__":
    app()
