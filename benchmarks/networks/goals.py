"""What the engine has to show on networks people use, from the measurements of ``measure.py``."""

from collections.abc import Callable
from typing import Any

from benchmarks.goals import Goal
from darb_hw.config import DEVICES

__all__ = ["goals"]


def goals(results: dict[str, dict[str, Any]]) -> list[Goal]:
    """All figures; ``results`` are the measurements by the name of their network."""

    def of(value: Callable[[dict[str, Any]], float], name: str) -> float | None:
        return value(results[name]) if name in results else None

    def interval(result: dict[str, Any]) -> float:
        return result["cycles"]["interval"]

    figures, block_rams = [], DEVICES["ecp5-85k"].block_rams
    for name, lanes, limit in (("cifar10", 16, 700_000), ("cifar10-lanes32", 32, 360_000)):
        words = f"ResNet-20 4x, {lanes} lanes"
        figures += [
            Goal(f"{words}: cycles an image", of(interval, name), limit, False, ",.0f"),
            Goal(f"{words}: block RAMs", of(lambda r: r["block_rams"], name), block_rams, False, ",.0f"),
            Goal(f"{words}: images on Verilator", of(lambda r: r["verilator"]["samples"], name), 200, form=",.0f"),
        ]
    figures += [
        Goal(
            "ResNet-20 4x, 16 lanes: images on Icarus",
            of(lambda r: r["icarus"]["samples"] if r["icarus"] else 0, "cifar10"), 1, form=",.0f",
        ),
        Goal("LeNet-5 13x, fewer cycles, 8 lanes: cycles an image", of(interval, "lenet5-fast"), 9_694, False, ",.0f"),
        Goal(
            "LeNet-5 13x, fewer cycles, 8 lanes: least utilisation of a convolution",
            of(lambda r: min(layer["utilisation"] for layer in r["layers"] if layer["positions"] > 1), "lenet5-fast"),
            0.80,
        ),
        Goal("2x200 LSTM 13x, 16 lanes: utilisation", of(lambda r: r["utilisation"]["whole"], "lstm-200"), 0.85),
    ]  # fmt: skip
    return figures
