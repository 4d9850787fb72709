"""What the engine has to show: every figure with its limit, from the measurements of ``measure.py``."""

from collections.abc import Callable

from benchmarks.goals import Goal

__all__ = ["dense_equivalent_gops", "goals", "gops_a_dsp", "memory_blocks_a_lane", "probe_mhz"]


CLOCKS = {
    "lanes-32": ("32 lanes, ecp5-85k", 200),
    "lanes-64": ("64 lanes, ecp5-85k", 180),
    "25x-128": ("128 lanes, ecp5-85k", 150),
    "hx8k": ("8 lanes, 4-bit weights, ice40-hx8k", 90),
    "up5k": ("8 lanes, ice40-up5k", 45),
}


def probe_mhz(results: dict[str, dict], device: str) -> float | None:
    """Median clock of the limit probe of a device."""
    clocks = sorted(results.get("probe", {}).get(device, {}).values())
    return clocks[len(clocks) // 2] if clocks else None


def memory_blocks_a_lane(result: dict) -> float:
    """Block RAMs of the activation memory for each lane: all that were placed, less those of other memories."""
    planned = result["plan"]["block_rams"]
    others = sum(count for name, count in planned.items() if name != "activation memory")
    return (result["synth"]["block_rams"]["used"] - others) / result["point"]["lanes"]


def dense_equivalent_gops(result: dict) -> float:
    """2 x dense weights / time, in 10**9 operations a second, back to back at the median clock."""
    return result["synth"]["derived"]["dense_equivalent_gops"]


def gops_a_dsp(result: dict) -> float:
    return dense_equivalent_gops(result) / result["synth"]["dsps"]["used"]


def _mhz(result: dict) -> float:
    return result["synth"]["derived"]["fmax_median"]


def _of_probe(results: dict[str, dict], name: str) -> float | None:
    probe = probe_mhz(results, results[name]["point"]["device"])
    return _mhz(results[name]) / probe if probe else None


def _confirmed(result: dict) -> dict:
    """What the plan says of a point that was simulated.

    The simulation has compared the first and last cycle of every frame with the plan; figures of cycles count only
    then. Intervals may alternate by a cycle: the plan's is their mean, the simulation's is the last one.

    Raises
    ------
    KeyError
        If the intervals differ by more.
    """
    if abs(result["sim"]["interval"] - result["plan"]["cycles"]["interval"]) > 2:
        raise KeyError("interval")
    return result["plan"]


def _speed_up(result: dict) -> float:
    """Cycles of the engine with dense rows over those with pruned rows, over the pruning ratio."""
    plan = _confirmed(result)
    return result["dense"]["interval"] / plan["cycles"]["interval"] / (plan["weights"] / plan["kept"])


def goals(results: dict[str, dict]) -> list[Goal]:
    """All figures; ``results`` are the measurements by the name of their point, and ``probe``."""

    def of(value: Callable[[dict], float | None]) -> float | None:
        try:
            return value(results)
        except (KeyError, TypeError):  # a point that is not there, or not measured
            return None

    figures = []
    for name, (words, limit) in CLOCKS.items():
        figures += [
            Goal(f"MHz, {words}", of(lambda r, name=name: _mhz(r[name])), limit, form=".1f"),
            Goal(f"    of the limit probe, {words}", of(lambda r, name=name: _of_probe(r, name))),
        ]
    figures += [
        Goal("LUT4 a lane, 64 lanes", of(lambda r: r["lanes-64"]["synth"]["luts"]["used"] / 64), 65, False, ".1f"),
        Goal(
            "DSP a lane, 64 lanes, without the requantiser's",
            of(lambda r: (r["lanes-64"]["synth"]["dsps"]["used"] - r["lanes-64"]["plan"]["requantiser_dsps"]) / 64),
            1,
            False,
        ),
        Goal(
            "activation block RAM a lane, 64 lanes, shared memory",
            of(lambda r: memory_blocks_a_lane(r["shared-64"])),
            0.5,
            False,
        ),
        Goal(
            "index overhead, four levels, LeNet-300-100 at 13x",
            of(lambda r: r["lenet-300-100"]["plan"]["index_overhead"]),
            1.02,
            False,
        ),
        Goal(
            "stored bits / (w + mean b), LeNet-300-100 at 13x",
            of(lambda r: r["lenet-300-100"]["plan"]["stored_bits"] / r["lenet-300-100"]["plan"]["ideal_bits"]),
            1.10,
            False,
        ),
        Goal(
            "utilisation, LeNet-300-100 at 13x, 16 lanes",
            of(lambda r: _confirmed(r["lenet-300-100"])["utilisation"]),
            0.95,
        ),
        Goal(
            "utilisation, 1024x1024 at 16x in blocks of 16, 64 lanes",
            of(lambda r: _confirmed(r["one-64"])["utilisation"]),
            0.97,
        ),
        Goal(
            "    the same, block sizes 8 to 64 mixed",
            of(lambda r: _confirmed(r["lanes-64"])["utilisation"]),
            0.97,
        ),
        Goal("    the same, levels of equal codes mixed", of(lambda r: _confirmed(r["even-64"])["utilisation"]), 0.97),
        Goal(
            "speed-up over dense / pruning ratio, the same layer in blocks of 16",
            of(lambda r: _speed_up(r["one-64"])),
            0.95,
        ),
        Goal("    the same, block sizes 8 to 64 mixed", of(lambda r: _speed_up(r["lanes-64"])), 0.95),
        Goal("    the same, levels of equal codes mixed", of(lambda r: _speed_up(r["even-64"])), 0.95),
    ]
    for name, lanes in (("25x-64", 64), ("25x-128", 128)):
        layer = f"1024x1024 at 25x, {lanes} lanes"
        figures += [
            Goal(
                f"dense-equivalent GOP/s, {layer}", of(lambda r, name=name: dense_equivalent_gops(r[name])), form=".1f"
            ),
            Goal(f"    a DSP, {layer}", of(lambda r, name=name: gops_a_dsp(r[name])), form=".2f"),
        ]
    return figures
