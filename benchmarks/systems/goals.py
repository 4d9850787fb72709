"""What the comparisons have to show."""

from collections.abc import Callable

from benchmarks.goals import Goal
from benchmarks.systems.results import Record, Results
from benchmarks.systems.subjects import SUBJECTS

__all__ = ["LIMIT", "at_equal_metric", "cheapest", "goals", "pair", "ratios_of_pair"]

LIMIT = 0.01
"""Share of the metric of the dense model that may be lost, on the validation split."""

PAIRS = {
    "fsdd-both": ("fsdd", "fsdd-speaker"),
    "fashion-mnist-both": ("fashion-mnist-low", "fashion-mnist-high"),
}
"""Subjects of merged tasks, and those of each task alone."""
ALONE = "darb 8x"


def cheapest(results: Results, subject: str, family: str, cost: str) -> str | None:
    """The arm of a family of least mean ``cost`` whose mean metric on the validation split is within :data:`LIMIT` of
    that of the dense model; None if there is none.

    Parameters
    ----------
    family : str
        How the names of its arms begin.
    cost : str
        ``"stored_bits"`` or ``"cycles"``.
    """
    dense = results.mean(subject, "dense", validation)
    if dense is None:
        return None
    found, metric = {}, SUBJECTS[subject].metric
    for arm in results.runs.get(subject, {}):
        value = results.mean(subject, arm, validation)
        if not arm.startswith(family) or value is None:
            continue
        if metric.lost(value, dense) <= LIMIT * abs(dense):
            found[arm] = results.mean(subject, arm, lambda record: record[cost])
    return min(found, key=lambda arm: found[arm]) if found else None


def at_equal_metric(results: Results, subject: str) -> tuple[str | None, str | None]:
    """The arm of DARB alone with the best mean metric on the validation split, and the one of least stored bits, of
    units and DARB behind them, that is no worse there; None where there is none."""
    sign = 1 if SUBJECTS[subject].metric.higher else -1
    values = {arm: sign * (results.mean(subject, arm, validation) or 0) for arm in results.runs.get(subject, {})}
    alone = max((arm for arm in values if arm.startswith("darb")), key=lambda arm: values[arm], default=None)
    both = [arm for arm in values if ", darb to" in arm and alone and values[arm] >= values[alone]]
    bits = {arm: results.mean(subject, arm, lambda record: record["stored_bits"]) or 0 for arm in both}
    return alone, min(bits, key=lambda arm: bits[arm], default=None)


def validation(record: Record) -> float:
    """The metric of the integers on the validation split."""
    return record["integer"]["validation"]


def ratios_of_pair(results: Results, subject: str, arm: str) -> dict[str, float] | None:
    """Cycles of merged tasks over those of the networks of each task: ``both`` and ``single``, the larger one of the
    two; means over the seeds. And ``loss``: the most that a task loses on the test split."""
    alone = [results.of(part, ALONE) for part in PAIRS[subject]]
    ratios: list[tuple[float, float]] = []
    losses: list[list[float]] = []
    for seed, record in results.of(subject, arm).items():
        if not all(seed in part for part in alone):
            continue
        cycles = [part[seed]["cycles"] for part in alone]
        subsets = {len(row["tasks"]): row["interval"] for row in record["subsets"]}
        single = [row["interval"] for row in record["subsets"] if len(row["tasks"]) == 1]
        ratios.append((sum(cycles) / subsets[2], max(own / other for own, other in zip(single, cycles, strict=True))))
        merged = list(record["tasks"]["test"].values())
        losses.append([part[seed]["integer"]["test"] - value for part, value in zip(alone, merged, strict=True)])
    if not ratios:
        return None
    count = len(ratios)
    return {
        "both": sum(both for both, _ in ratios) / count,
        "single": sum(single for _, single in ratios) / count,
        "loss": max(sum(task) / count for task in zip(*losses, strict=True)),
    }


def pair(results: Results, subject: str) -> str | None:
    """The arm of merged tasks that counts: the best mean accuracy on the validation split among those that keep both
    limits on cycles; else the fastest."""
    found = {arm: ratios for arm in results.runs.get(subject, {}) if (ratios := ratios_of_pair(results, subject, arm))}
    fast = [arm for arm, ratios in found.items() if ratios["both"] >= 1.5 and ratios["single"] <= 1.1]
    if fast:
        return max(fast, key=lambda arm: results.mean(subject, arm, validation) or 0)
    return max(found, key=lambda arm: found[arm]["both"], default=None)


def goals(results: Results) -> list[Goal]:
    """Figures beside their limits."""

    def loss(subject: str, arm: str) -> float | None:
        losses = results.losses(subject, arm)
        return 100 * sum(losses) / len(losses) if losses else None

    def over(subject: str, arm: str, other: str | None, value: Callable[[Record], float]) -> float | None:
        first = results.mean(subject, other, value) if other else None
        second = results.mean(subject, arm, value)
        return first / second if first and second else None

    found: list[Goal] = []
    for subject in ("fsdd", "chars-256"):
        arm = cheapest(results, subject, "neurons gates", "cycles")
        value = over(subject, arm, "dense", lambda record: record["cycles"]) if arm else None
        found.append(Goal(f"{subject}: dense cycles / cycles of units within 1 % ({arm or 'none'})", value, form=".2f"))
        alone, both = at_equal_metric(results, subject)
        value = over(subject, both, alone, lambda record: record["stored_bits"]) if both else None
        name = f"{subject}: stored bits of the best DARB alone / of units, then DARB, no worse ({alone} / {both})"
        found.append(Goal(name, value, 1.0, form=".2f"))
    for subject, most in (("cifar10", 1.0), ("fashion-mnist-residual", 0.2)):
        found.append(
            Goal(
                f"{subject}: points lost with half of the weights",
                loss(subject, "channels gates 2x"),
                most,
                False,
                ".2f",
            )
        )
    for subject in ("mnist", "mnist-head"):
        for count in (4, 8):
            found.append(
                Goal(f"{subject}: points lost in {count} parts", loss(subject, f"{count} parts"), 1.0, False, ".2f")
            )
            value = over(subject, f"{count} parts", "dense", lambda record: record["cycles"])
            found.append(Goal(f"{subject}: times faster in {count} parts on as many clusters", value, 7.72, form=".2f"))
    for subject in PAIRS:
        arm = pair(results, subject)
        ratios = ratios_of_pair(results, subject, arm) if arm else None
        for key, words, limit, least in (
            ("both", "cycles of two networks / merged, both tasks", 1.5, True),
            ("single", "cycles merged / alone, the worse of the tasks", 1.1, False),
            ("loss", "points lost to the network alone, the worse of the tasks", 0.5, False),
        ):
            scale = 100 if key == "loss" else 1
            value = None if ratios is None else scale * ratios[key]
            found.append(Goal(f"{subject}: {words} ({arm or 'none'})", value, limit, least, ".2f"))
    terms = "block terms 10x parameters"
    value = results.mean("mnist-lenet5", terms, lambda record: record["parameters before"] / record["parameters"])
    found.append(Goal("mnist-lenet5: times fewer parameters with block terms", value, 10.0, form=".1f"))
    found.append(Goal("mnist-lenet5: points lost with these", loss("mnist-lenet5", terms), 1.0, False, ".2f"))
    return found
