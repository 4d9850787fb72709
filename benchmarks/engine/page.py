"""Writes docs/results/engine.md and its plots from the measurements of ``measure.py``."""

from pathlib import Path
from statistics import mean, stdev

from benchmarks.engine.goals import dense_equivalent_gops, goals, gops_a_dsp, memory_blocks_a_lane, probe_mhz
from benchmarks.engine.plots import bit_shares, cycle_shares, plots
from darb_prune.encoded import write_atomic, write_files
from darb_prune.studies.markdown import table

__all__ = ["write"]

TITLES = {
    "lenet-300-100": "LeNet-300-100, 13x",
    "lanes-8": "1024x1024, 16x",
    "lanes-16": "1024x1024, 16x",
    "lanes-32": "1024x1024, 16x",
    "lanes-64": "1024x1024, 16x",
    "shared-64": "1024x1024, 16x, two lanes a memory",
    "one-64": "1024x1024, 16x, blocks of 16",
    "even-64": "1024x1024, 16x, equal codes",
    "25x-64": "1024x1024, 25x",
    "25x-128": "1024x1024, 25x",
    "hx8k": "digits, 8x, 4-bit weights",
    "up5k": "digits, 8x",
}


def _goals(results: dict[str, dict]) -> str:
    rows = []
    for goal in goals(results):
        said = "" if goal.limit is None else "yes" if goal.holds else "**no**" if goal.measured else "not measured"
        rows.append([goal.name.strip(), goal.text, goal.bound.replace("<", "&lt;"), goal.ratio_text, said])
    return table(["figure", "measured", "limit", "ratio", "holds"], rows, left=1)


def _engines(points: dict[str, dict], results: dict[str, dict]) -> str:
    rows = []
    for name, result in points.items():
        point, synth = result["point"], result.get("synth") or {}
        start = [TITLES[name], point["device"], point["lanes"]]
        if "luts" not in synth:
            if point["synthesis"]:
                rows.append([*start, *["-"] * 8, result.get("refused") or synth.get("refused") or "not measured"])
            continue
        derived, probe = synth["derived"], probe_mhz(results, point["device"])
        clock = f"**{derived['fmax_median']:.1f}** ({derived['fmax_min']:.1f} to {derived['fmax_max']:.1f})"
        path = synth["critical_path"]
        rows.append(
            [
                *start, f"{synth['luts']['used']:,}", f"{synth['luts']['used'] / point['lanes']:.1f}",
                f"{synth['ffs']['used'] / point['lanes']:.1f}", synth["block_rams"]["used"],
                f"{memory_blocks_a_lane(result):.2f}", synth["dsps"]["used"], clock,
                f"{derived['fmax_median'] / probe:.2f}" if probe else "-", f"`{path['start']}` to `{path['end']}`",
            ]
        )  # fmt: skip
    head = [
        "network", "device", "lanes", "LUT4", "LUT4 a lane", "FF a lane", "block RAM",
        "of it activations, a lane", "DSP", "MHz, median (range)", "of the probe", "slowest path",
    ]  # fmt: skip
    return table(head, rows, left=1)


def _bits(results: dict[str, dict]) -> str:
    rows = []
    for name, result in results.items():
        plan = result["plan"]
        shares = {kind: share for kind, share in bit_shares(result).items() if kind != "weights and indices"}
        rows.append(
            [
                TITLES[name], result["point"]["lanes"], " ".join(map(str, plan["levels"])),
                f"{plan['ideal_bits'] / plan['kept']:.3f}", f"{plan['index_overhead']:.4f}",
                f"{plan['stored_bits'] / plan['kept']:.3f}", f"**{plan['stored_bits'] / plan['ideal_bits']:.4f}**",
                ", ".join(f"{kind} {100 * share:.2f} %" for kind, share in shares.items() if share),
            ]
        )  # fmt: skip
    head = [
        "network", "lanes", "block bits in use", "w + mean b", "index overhead", "stored bits a weight", "ratio",
        "what comes on top of w + b",
    ]  # fmt: skip
    return table(head, rows, left=1)


def _row_fields(result: dict) -> str:
    fields = {name: width for name, width in result["plan"]["rows"].items() if name != "count"}
    listed = ", ".join(f"{name} {width}" for name, width in fields.items())
    return f"{sum(fields.values())} bits a row ({listed}), {result['plan']['rows']['count']} rows"


def _cycles(results: dict[str, dict]) -> str:
    rows = []
    for name, result in results.items():
        cycles, dense = result["plan"]["cycles"], result.get("dense")
        ratio = result["plan"]["weights"] / result["plan"]["kept"]
        seen, shares = result.get("sim"), list(cycle_shares(result).values())
        speed = dense["interval"] / cycles["interval"] if dense else None
        rows.append(
            [
                TITLES[name], result["point"]["lanes"], f"{cycles['compute']:,}", f"{cycles['interval']:,}",
                f"{seen['interval']:,} ({seen['samples']} samples)" if seen else "-",
                f"**{result['plan']['utilisation']:.4f}**", *(f"{share:.4f}" for share in shares[1:]),
                f"{dense['interval']:,}" if dense else "-", f"{ratio:.2f}", f"{speed:.2f}" if dense else "-",
                f"{speed / ratio:.3f}" if dense else "-",
            ]
        )  # fmt: skip
    head = [
        "network", "lanes", "cycles to compute", "interval", "interval seen", "utilisation", "null codes", "waits",
        "start, input, output", "interval, dense rows", "pruning ratio", "speed-up", "speed-up / ratio",
    ]  # fmt: skip
    return table(head, rows, left=1)


def _throughput(results: dict[str, dict]) -> str:
    rows = []
    for name, result in results.items():
        synth = result.get("synth") or {}
        if "luts" not in synth or not name.startswith(("25x", "lanes")):
            continue
        derived, rate = synth["derived"], dense_equivalent_gops(result)
        rows.append(
            [
                TITLES[name], result["point"]["lanes"], f"{derived['fmax_median']:.1f}",
                f"{derived['inferences_per_second']:,.0f}", f"{derived['actual_gops']:.2f}", f"**{rate:.1f}**",
                synth["dsps"]["used"], f"{gops_a_dsp(result):.2f}",
            ]
        )  # fmt: skip
    head = ["layer", "lanes", "MHz", "inferences/s", "actual GOP/s", "dense-equivalent GOP/s", "DSP", "of these, a DSP"]
    return table(head, rows, left=1)


def _accuracy(accuracies: dict[str, dict]) -> str:
    models = {
        "dense float": lambda of: of["16"]["dense"],
        "pruned float": lambda of: of["16"]["pruned"],
        "integer, 16-bit multipliers": lambda of: of["16"]["integer"],
        "integer, 8-bit multipliers": lambda of: of["8"]["integer"],
    }
    rows = []
    for name, model in models.items():
        cells = []
        for split in ("validation", "test"):
            values = [100 * model(of)[split] for of in accuracies.values()]
            cells += [f"{mean(values):.2f} ± {stdev(values):.2f}", " ".join(f"{value:.2f}" for value in values)]
        rows.append([name, *cells])
    return table(["model", "validation, %", "seeds", "test, %", "seeds"], rows, left=1)


PAGE = """# Results: the engine against its limits

All of this page is rebuilt by `make engine` (MNIST in `$DARB_DATA`, see [tasks.md](../tasks.md)); stopped, it goes on
where it was. Tools: {tools}. `ecp5-85k` is speed grade 6; {seeds} seeds of nextpnr, median and range. 8-bit weights and
activations unless said otherwise.

## What has to be shown

{goals}
The ratio is figure over limit. *Limit probe*: one lane without any control on the same device, in the same run. *DSP a
lane* leaves out what the requantiser takes. Utilisation is of the whole inference, back to back; it and the speed-up
count only where a simulation saw the interval that the plan says. The same of levels of equal codes, of another network
(below), stands beside them and has no limit of its own.

## Networks

- **LeNet-300-100**, trained and pruned on MNIST: {lenet_ratio:.2f}x, DARB levels of 4, 8, 16 and 32 columns, order
  spread, pruned for 16 lanes. These levels were the better of two sets on the validation split of seed 0 (the other:
  2, 8, 16 and 32).
- **1024x1024**: one layer with random weights (seed 0; Student's t with 3 degrees of freedom, rows of different
  norms), pruned in one shot for the lanes it is named with. No accuracy is meant: what an engine costs does not depend
  on the values. DARB levels of 8, 16, 32 and 64 columns; *two lanes a memory*: the same with `--memory shared`; *blocks
  of 16*: the level of 16 columns only; *equal codes*: levels of 16, 32, 64 and 128 columns that keep
  1, 2, 4 and 8, so that all rows take as many cycles.
- **digits**: 64-128-64-10, 8x, for the two iCE40 devices.

Row parameters have multipliers of 8 bits (`--mult-bits 8`). What that costs, LeNet-300-100, {accuracy_seeds} seeds,
mean ± standard deviation:

{accuracy}
One image of the test split is 0.01 points, of the validation split 0.02. The 8 bits, and how coarse biases are
with them, were chosen on seed 0 among 6 to 12 bits, by the validation split; the test split was printed beside it.

## Area and clock

{engines}
![Area and clock over lanes](engine/lanes.png)

LUT4 counts what synthesis uses, two for each carry cell, everything included. The 1024x1024 layer of 16x is pruned for
64 lanes in all rows of this table; the plot has that of 25x at 128 lanes.

## Memory

{bits}
![Where bits go](engine/bits.png)

Everything that depends on the network: codes with null codes, row parameters, program, and the order of the input (the
host may do that: `--input-order storage`). LeNet-300-100 has {row_fields}.

## Cycles

{cycles}
![Where cycles go](engine/cycles.png)

*Interval seen*: between the last two frames of a simulation, all of which begin and end in the very cycle that the plan
says. Where the interval is not the same for every frame (as 1,024 and 1,029 cycles in turn) the plan's is the mean.

Shares are of lanes x interval. *Dense rows*: the same engine with the same lanes running the same layers unpruned (by
the plan; its codes would not fit the device).

At 25x rows have fewer codes than there are lanes: then one result, one element in and one element out a cycle are what
bounds an inference, and more lanes only wait more.

## Throughput

{throughput}
Dense-equivalent counts the weights before pruning, actual those that are kept.
"""


def write(results: dict[str, dict], folder: Path) -> None:
    """Write the page beside ``folder`` and the plots into it, if all points are measured."""
    points = {name: results[name] for name in TITLES if name in results}
    if set(points) != set(TITLES) or "accuracy" not in results:
        return
    points_and_probe = points | {"probe": results.get("probe", {})}
    placed = [result["synth"] for result in points.values() if "luts" in (result.get("synth") or {})]
    tools = {name: version for synth in placed for name, version in synth["tools"].items()}
    lenet = points["lenet-300-100"]
    page = PAGE.format(
        tools=", ".join(f"{name} {version}" for name, version in tools.items()) or "none yet",
        seeds=min((len(synth["fmax_mhz"]) for synth in placed), default=0),
        goals=_goals(points_and_probe),
        lenet_ratio=lenet["plan"]["weights"] / lenet["plan"]["kept"],
        accuracy_seeds=len(results["accuracy"]),
        accuracy=_accuracy(results["accuracy"]),
        engines=_engines(points, points_and_probe),
        bits=_bits(points),
        row_fields=_row_fields(lenet),
        cycles=_cycles(points),
        throughput=_throughput(points),
    )
    write_files({folder / name: data for name, data in plots(points_and_probe).items()})
    write_atomic(folder.with_suffix(".md"), page.encode())
