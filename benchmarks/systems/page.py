"""Writes docs/results/systems.md from the figures of all runs."""

from pathlib import Path

from benchmarks.goals import markdown_table
from benchmarks.systems.arms import LANES
from benchmarks.systems.goals import ALONE, PAIRS, cheapest, goals
from benchmarks.systems.results import Record, Results, mean_of, spread_text
from benchmarks.systems.subjects import SUBJECTS
from darb_prune import tasks
from darb_prune.encoded import write_atomic
from darb_prune.studies.markdown import table

__all__ = ["write"]

SEEDS = 3
"""Of a comparison."""


def _count(value: float) -> str:
    return f"{value:,.0f}"


def _weights(record: Record) -> float:
    """Weights that are left; of block terms the numbers in cores and factors as well."""
    return record.get("parameters", sum(record["weights"].values()))


def _arms(results: Results, name: str) -> str:
    """Metric, bits and cycles of each arm."""
    metric = SUBJECTS[name].metric
    dense, rows = results.of(name, "dense"), []
    for arm in SUBJECTS[name].arms:
        records = results.of(name, arm.name)
        if not records:
            continue
        shown = [
            spread_text([metric.scale * record["integer"][part] for record in records.values()], metric.places)
            for part in ("validation", "test")
        ]
        lost = [metric.scale * loss for loss in results.losses(name, arm.name)]
        bits, cycles = (mean_of(records, lambda record, key=key: record[key]) for key in ("stored_bits", "cycles"))
        shared = {seed: dense[seed] for seed in records if seed in dense}
        faster = f"{mean_of(shared, lambda record: record['cycles']) / cycles:.2f}" if shared else "-"
        clusters = arm.clusters
        rows.append(
            [
                arm.name, len(records), *shown, spread_text(lost, metric.places, sign=True),
                _count(mean_of(records, _weights)), _count(bits), _count(cycles),
                faster, f"{clusters} x {LANES}",
            ]
        )  # fmt: skip
    unit = f", {metric.unit}" if metric.unit else ""
    head = [
        "network", "seeds", f"validation{unit}", f"test{unit}", "lost to dense, test", "weights", "stored bits",
        "cycles", "dense cycles / cycles", "lanes",
    ]  # fmt: skip
    return table(head, rows, left=1)


def _within(results: Results, name: str) -> str:
    """The cheapest of each way within 1 % of the dense network."""
    rows = []
    families = {
        "units or channels by gates": ("neurons gates", "channels gates"), "DARB": ("darb",),
        "units or channels, then DARB": ("neurons 4x, darb", "neurons 8x, darb", "channels 2x, darb"),
        "small dense network": ("small",),
    }  # fmt: skip
    for words, starts in families.items():
        for cost in ("stored_bits", "cycles"):
            arms = [arm for start in starts if (arm := cheapest(results, name, start, cost))]
            if not arms:
                rows.append([words, cost.replace("_", " "), "none", "-"])
                continue
            values = {arm: mean_of(results.of(name, arm), lambda record, cost=cost: record[cost]) for arm in arms}
            best = min(values, key=lambda arm: values[arm])
            rows.append([words, cost.replace("_", " "), best, _count(values[best])])
    return table(["way", "least", "network", "how many"], rows, left=3)


def _proportions(results: Results, name: str) -> str:
    """Units that gates leave in each layer, of the first seed."""
    lines = []
    for arm in SUBJECTS[name].arms:
        records = results.of(name, arm.name)
        units = records[min(records)].get("units") if records else None
        if units and ("gates" in arm.name or "uniform" in arm.name) and "darb" not in arm.name:
            left = ", ".join(f"`{layer}` {kept} of {of}" for layer, (kept, of) in units.items())
            lines.append(f"- {arm.name}: {left}\n")
    return "".join(lines)


def _pair(results: Results, name: str) -> str:
    """Accuracy and cycles of the tasks alone, and of merged networks."""
    rows, parts = [], PAIRS[name]
    merged = {seed for arm in SUBJECTS[name].arms for seed in results.of(name, arm.name)}
    alone = [{seed: r for seed, r in results.of(part, ALONE).items() if seed in merged} for part in parts]
    if not all(alone):
        return ""
    cycles = [mean_of(records, lambda record: record["cycles"]) for records in alone]
    bits = sum(mean_of(records, lambda record: record["stored_bits"]) for records in alone)
    shown = [spread_text([100 * r["integer"]["test"] for r in records.values()], 2) for records in alone]
    seeds = min(map(len, alone))
    rows.append(
        [f"each alone, {ALONE}", seeds, *shown, *map(_count, cycles), _count(sum(cycles)), "1.00", _count(bits)]
    )
    for arm in SUBJECTS[name].arms:
        records = results.of(name, arm.name)
        if not records:
            continue
        heads = list(next(iter(records.values()))["tasks"]["test"])
        shown = [spread_text([100 * r["tasks"]["test"][head] for r in records.values()], 2) for head in heads]
        intervals = [
            mean_of(records, lambda record, number=number: record["subsets"][number]["interval"]) for number in range(3)
        ]
        whole = mean_of(records, lambda record: record["stored_bits"])
        faster = f"{sum(cycles) / intervals[2]:.2f}"
        rows.append([arm.name, len(records), *shown, *map(_count, intervals), faster, _count(whole)])
    head = [
        "network", "seeds", f"test, {parts[0]}, %", f"test, {parts[1]}, %", f"cycles, {parts[0]}",
        f"cycles, {parts[1]}", "cycles, both", "times fewer", "stored bits",
    ]  # fmt: skip
    return table(head, rows, left=1)


PAGE = """# Results: the other systems

Units and channels that gates select, partitions, merged tasks and block-term layers
([how each works](../systems/units.md)), against the dense network, a small dense network, DARB, and each other.

    python -m benchmarks.systems              # all; hours; stopped, it goes on where it was (data: docs/tasks.md)
    python -m benchmarks.systems fsdd --seeds 1
    python -m benchmarks.systems --page       # this page from docs/results/systems.json

Networks of one table begin with the same dense model of a seed. *dense* is that model, fine-tuned for as many epochs as
units are selected and fine-tuned, cut into parts, or replaced by block terms. DARB, alone or behind units, gets more:
the epochs of the selection besides. A *small* network has the sizes of another one, begins from scratch, gets all
epochs of both its trainings, and learns from the dense model as all others do. Merged networks are trained together for
the epochs that the networks alone get more, before all are pruned alike.

All are quantised to 8 bits, and the metric is that of the integers: mean ± standard deviation over seeds. The
validation split chooses. Cycles are those of inferences back to back on {lanes} lanes, or on {lanes} lanes a cluster,
as the plan says and simulations confirm: of whole sequences in networks that answer at their end, of a time step in
those that answer at each. Stored bits are all ROM contents of an engine.

![Metric against stored bits](systems-bits.png)

## Figures and limits

{goals}
{sections}
## What was left out

{left}"""


def write(results: Results, page: Path) -> None:
    """Write ``page``."""
    sections = []
    titles = {
        "units": ("Units, channels and blocks", "units"), "partitions": ("Partitions", "partitions"),
        "merged-tasks": ("Merged tasks", "merged-tasks"), "block-term-layers": ("Block terms", "block-term-layers"),
    }  # fmt: skip
    for system, (title, link) in titles.items():
        sections.append(f"## {title}\n\n[What it does](../systems/{link}.md).\n")
        for name, subject in SUBJECTS.items():
            if subject.system != system or name not in results.runs:
                continue
            if system == "merged-tasks":
                if name in PAIRS and (text := _pair(results, name)):
                    sections.append(f"### {subject.title}\n\n{_epochs(name)}{text}")
                continue
            sections.append(f"### {subject.title}\n\n{_epochs(name)}{_arms(results, name)}")
            if system == "units":
                sections.append(f"Within 1 % of dense (relative, mean on validation):\n\n{_within(results, name)}")
                sections.append(f"What is left of each layer, first seed:\n\n{_proportions(results, name)}")
    text = PAGE.format(
        lanes=LANES, goals=markdown_table(goals(results)), sections="\n".join(sections), left=_left(results)
    )
    write_atomic(page, text.encode())


def _epochs(name: str) -> str:
    """How long networks are trained."""
    trial = SUBJECTS[name].trial(0)
    dense, own = trial.task.training.get("epochs", 0), tasks.get(trial.task.name).training.get("epochs", 0)
    shorter = f" (the task's own training has {own})" if dense < own else ""
    behind = f"{trial.pruning} behind it, {trial.selecting} of these in steps"
    return f"{dense} epochs of dense training{shorter}, {behind}.\n\n"


def _left(results: Results) -> str:
    """Runs of three seeds that are not there."""
    lines = []
    for name, subject in SUBJECTS.items():
        counts = [len(results.of(name, arm.name)) for arm in subject.arms]
        if min(counts) < SEEDS:
            seeds = f"{min(counts)}" if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"
            lines.append(f"- {subject.title}: {seeds} of {SEEDS} seeds\n")
    return "".join(lines) or "Nothing: three seeds of all.\n"
