"""The page docs/results/digits.md, from the measurements beside it; `make results` makes those first."""

import csv
import json
from pathlib import Path

from benchmarks.command import command
from darb_hw.synthesis.report import SynthReport
from darb_prune.encoded import write_atomic
from darb_prune.studies.markdown import table

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "results"
RATIOS = (8, 13, 25)
GOALS = {("ecp5-85k", 16): 130, ("ice40-hx8k", 8): 60, ("ice40-up5k", 8): 30}


def accuracy() -> str:
    rows = []
    for ratio in RATIOS:
        summary = json.loads((FOLDER / f"digits-{ratio}x.json").read_text())["summary"]
        models = ("dense", "dense, same fine-tuning", "pruned", "integer")
        cells = [f"{summary[name]['mean']:.2f} ± {summary[name]['deviation']:.2f}" for name in models]
        for name in ("integer - dense", "integer - dense, same fine-tuning"):
            gap = summary[name]
            cells.append(f"{gap['mean']:+.2f} ± {gap['deviation']:.2f} ({gap['least']:+.2f} to {gap['greatest']:+.2f})")
        rows.append([f"{summary['ratio']['mean']:.2f}", *cells])
    head = [
        "ratio", "dense float, %", "dense float, fine-tuned as well, %", "pruned float, %", "integer, %",
        "integer - dense, points", "integer - dense fine-tuned as well, points",
    ]  # fmt: skip
    return table(head, rows)


def synthesis() -> str:
    rows = []
    for device, lanes in GOALS:
        r = SynthReport.load(FOLDER / f"synth-{device}-{lanes}.json")
        rows.append(
            [
                device, lanes, r.luts.used, r.ffs.used, r.block_rams.used, r.dsps.used,
                f"**{r.fmax_median:.1f}** ({r.fmax_min:.1f} to {r.fmax_max:.1f})", f"{GOALS[device, lanes]}",
                r.latency_cycles, r.interval_cycles, f"{r.inferences_per_second:,.0f}", f"{r.utilisation:.3f}",
                f"{r.index_overhead:.3f}", f"{r.stored_bits_per_weight:.2f}",
            ]
        )  # fmt: skip
    head = [
        "device", "lanes", "LUT4", "FF", "block RAM", "DSP", "Fmax MHz, median (range of 5 seeds)", "goal",
        "latency, cycles",
        "interval, cycles", "inferences/s", "utilisation", "index overhead", "stored bits per weight",
    ]  # fmt: skip
    return table(head, rows)


def sweep() -> str:
    with (FOLDER / "sweep.csv").open() as file:
        points = list(csv.DictReader(file))
    done = [point for point in points if point["status"] == "ok"]
    best = {}
    for point in done:
        rate = float(point["inferences_per_second"])
        if rate > best.get(point["device"], (0, None))[0]:
            best[point["device"]] = (rate, point)
    columns = ("lanes", "weight_bits", "luts", "block_rams", "dsps", "fmax_median_mhz")
    rows = [[device, *(p[column] for column in columns), f"{rate:,.0f}"] for device, (rate, p) in best.items()]
    text = f"{len(points)} points, {len(done)} built. The fastest on each device:\n\n"
    text += table(["device", "lanes", "weight bits", "LUT4", "block RAM", "DSP", "Fmax MHz", "inferences/s"], rows)
    failed = [p for p in points if p["status"] != "ok"]
    if failed:
        text += "\nNot built:\n\n"
        text += "".join(f"- {p['device']}, {p['lanes']} lanes, {p['weight_bits']}-bit: {p['reason']}\n" for p in failed)
    return text


def scale() -> str:
    result = json.loads((FOLDER / "scale.json").read_text())
    rows = [[step["step"], f"{step['seconds']:.2f}", f"{step['peak_gigabytes']:.2f}"] for step in result["steps"]]
    text = f"{result['weights']:,} dense weights, {result['kept']:,} kept, {result['lanes']} lanes:\n\n"
    return text + table(["step", "seconds", "peak memory of the process so far, GB"], rows)


PAGE = """# Results: digits

All of this page is rebuilt by `make results` (about half an hour on two cores; the text by
`python -m benchmarks.results` from the measurements beside it). Tools: {tools}.

## Accuracy

Test split of 360 images, 5 seeds, mean ± standard deviation; 8-bit weights and activations.

{accuracy}
`darb evaluate --task digits --seeds 5 --ratio R -o docs/results/digits-Rx.json`

- Settings were chosen on the validation split (240 images), mostly at 13x; the test split chose between no settings.
- Not the same training: the pruned models get {epochs} more epochs than the dense one, and learn from its outputs
  (distillation). "Fine-tuned as well" is the dense model after the same {fine} epochs of fine-tuning with
  distillation, without pruning; only the {aware} quantisation-aware epochs are the integer model's alone.
- The quantisation settings were chosen among nine by the validation split at 8x and 13x, after a change of the
  calibration had been measured on the test split; the gap between them was half a validation image.
- One image is 0.28 points: differences below about half a point mean nothing here.
- Nothing is claimed for the storage order on this task: it has not been compared since it is chosen once a pruning.

## Area and clock

The 8x network of seed 0, 8-bit weights. nextpnr, 5 seeds, speed grade 6 for ECP5; pins are left to the tool.

{synthesis}
`darb verilog build/digits-s0-8x.darb --lanes L --device D -o build/D-L; darb synth build/D-L --seeds 5 --json`

- LUT4 counts what synthesis uses, two for each ECP5 carry cell.
- Utilisation counts everything, loading the input included, against `lanes x interval`. This network is small: with
  many lanes most cycles are input, layer changes and groups that are not full.
- Index overhead is above 1 because of null codes in groups that are not full and the wider indices of folded rows.

## Sweep

![Throughput against area](sweep.png)

{sweep}
`make sweep` (3 seeds a point; all values in [sweep.csv](sweep.csv)). These points were measured with the engine before
last; the table above is of now.

## Scale

{scale}
`python -m benchmarks.scale -o docs/results/scale.json`. Seconds on a shared two-core machine: an order of
magnitude, no more.
"""


def main() -> None:
    """Write docs/results/digits.md from the measurements beside it. They are made by [bold]make results[/bold].

    Example:

    [bold]python -m benchmarks.results[/bold]
    """
    settings = json.loads((FOLDER / "digits-8x.json").read_text())["settings"]
    gradual = settings["gradual"]
    # The last step is followed by the final epochs instead of its own.
    fine = (gradual["steps"] - 1) * gradual["epochs"] + gradual["final_epochs"]
    aware = settings["quantization"]["epochs"]
    tools = SynthReport.load(FOLDER / "synth-ecp5-85k-16.json").tools
    tools = tools | SynthReport.load(FOLDER / "synth-ice40-hx8k-8.json").tools
    page = PAGE.format(
        tools=", ".join(f"{name} {version}" for name, version in tools.items()),
        accuracy=accuracy(),
        epochs=fine + aware,
        fine=fine,
        aware=aware,
        synthesis=synthesis(),
        sweep=sweep(),
        scale=scale(),
    )
    write_atomic(FOLDER / "digits.md", page.encode())


app = command(main)

if __name__ == "__main__":
    app()
