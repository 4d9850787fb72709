"""What the engine has to show on MLPerf Tiny's networks, from the measurements of ``measure.py``."""

from collections.abc import Callable
from typing import Any

from benchmarks.goals import Goal
from benchmarks.mlperf.networks import NETWORKS

__all__ = ["activation_blocks", "goals", "inferences", "mhz"]

UTILISATIONS = {"ic-1x-32": 0.92, "ic-4x-32": 0.88, "kws-1x-16": 0.90, "kws-4x-16": 0.85, "vww-1x-16": 0.80}
FITTING = {
    "dense, 16 lanes, ecp5-85k": ("kws-1x-16", "ic-1x-16", "vww-1x-16", "ad-1x-16"),
    "8 lanes, ice40-up5k": ("kws_half-3x-8-ice40-up5k",),
    "2 lanes, ice40-up5k, ROMs in single-port RAMs": ("ad-8x-2-ice40-up5k",),
    "8 lanes, ecp5-25k": ("kws-1x-8-ecp5-25k", "ic-4x-8-ecp5-25k", "ad-8x-8-ecp5-25k"),
}
PLACED = tuple(f"{name}-{ratio}x-{lanes}" for name in ("ic", "kws") for ratio in (1, 4) for lanes in (16, 32))
RATES = {
    "ic-1x-32": 400, "ic-4x-32": 1400, "kws-1x-32": 1800, "kws-4x-32": 3500, "ad-8x-64": 60_000, "vww-1x-16": 250,
}  # fmt: skip


def mhz(result: dict[str, Any]) -> float:
    """Median clock of the seeds."""
    return result["synth"]["derived"]["fmax_median"]


def inferences(result: dict[str, Any]) -> float:
    """A second, back to back at the median clock, by the cycles of the plan, which simulation confirmed."""
    return mhz(result) * 1e6 / result["plan"]["interval"]


def activation_blocks(result: dict[str, Any]) -> float:
    """Block RAMs of the activation memory: all that were placed, less those that the plan has for other memories."""
    others = sum(count for memory, count in result["plan"]["block_rams"].items() if memory != "activation memory")
    return result["synth"]["block_rams"]["used"] - others


def _words(name: str) -> str:
    network, ratio, lanes = name.split("-")[:3]
    return f"{NETWORKS[network].short} {'dense' if ratio == '1x' else ratio}, {lanes} lanes"


def _fits(result: dict[str, Any]) -> bool:
    """Placed, or planned if it was not placed yet."""
    return "refused" not in result and "refused" not in (result["synth"] or {})


def goals(results: dict[str, dict[str, Any]]) -> list[Goal]:
    """All figures; ``results`` are the measurements by the name of their point."""

    def of(value: Callable[[dict[str, Any]], float], name: str) -> float | None:
        try:
            return value(results[name])
        except (KeyError, TypeError):  # a point that is not there, or not measured
            return None

    def fitting(names: tuple[str, ...]) -> float | None:
        return sum(map(_fits, (results[name] for name in names))) if results.keys() >= set(names) else None

    figures = [
        Goal(f"utilisation, {_words(name)}", of(lambda result: result["plan"]["utilisation"], name), limit)
        for name, limit in UTILISATIONS.items()
    ]
    figures += [
        Goal(f"networks that fit: {words}", fitting(names), len(names), form=".0f") for words, names in FITTING.items()
    ]
    figures += [Goal(f"MHz, {_words(name)}", of(mhz, name), 170, form=".1f") for name in PLACED]
    figures.append(Goal("MHz, KWS on ice40-up5k", of(mhz, "kws_half-3x-8-ice40-up5k"), 35, form=".1f"))
    figures += [
        Goal(
            f"LUT4 a lane, {_words(name)}",
            of(lambda result: result["synth"]["luts"]["used"] / 32, name), 95, False, ".1f",
        )
        for name in PLACED
        if name.endswith("-32")
    ]  # fmt: skip
    figures += [
        Goal(
            f"activation block RAMs a lane, {_words(name)}",
            of(lambda result: activation_blocks(result) / 32, name), 2, False, ".2f",
        )
        for name in ("ic-1x-32", "ic-4x-32")
    ]  # fmt: skip
    figures.append(Goal("codes stored, KWS 8x", of(lambda result: result["codes"], "kws-8x-16"), 5500, False, ",.0f"))
    figures += [
        Goal(f"inferences/s, {_words(name)}", of(inferences, name), limit, form=",.0f") for name, limit in RATES.items()
    ]
    return figures
