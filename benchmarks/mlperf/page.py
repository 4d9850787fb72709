"""Writes docs/results/mlperf-tiny.md from the measurements of ``measure.py``."""

from pathlib import Path
from typing import Any

from benchmarks.goals import markdown_table
from benchmarks.mlperf.goals import goals, inferences
from benchmarks.mlperf.networks import NETWORKS
from darb_prune.encoded import metrics, write_atomic
from darb_prune.studies.markdown import table

__all__ = ["write"]

PUBLISHED = (
    ("Zybo, Zynq 7010", "closed", {"kws": 465, "ic": 318}),
    ("ZedBoard, Zynq 7020", "closed", {"kws": 3088, "ic": 2431, "vww": 105}),
    ("Pynq-Z2, Zynq 7020: binary and small networks", "open", {"kws": 57268, "ic": 661, "ad": 53365}),
    ("Cortex-M4, 120 MHz: a microcontroller", "closed", {"kws": 23, "ic": 6, "vww": 11, "ad": 190}),
)
"""Inferences a second in the result files of MLPerf Tiny v0.7 to v1.3."""
_COMPARED = tuple(name for name in NETWORKS if any(name in rates for *_, rates in PUBLISHED))


def _title(result: dict[str, Any]) -> tuple[str, str]:
    point = result["point"]
    return NETWORKS[point["network"]].title, f"{round(result['provenance']['ratio'], 1):g}"


def _each_network(results: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """One measurement of each network and ratio."""
    return list(
        {(result["point"]["network"], result["point"]["ratio"]): result for result in results.values()}.values()
    )


def _accuracy(results: dict[str, dict[str, Any]]) -> str:
    rows = []
    for result in _each_network(results):
        provenance = result["provenance"]
        metric, accuracy = metrics.get(provenance["metric"]), provenance["accuracy"]
        shown = [metric.text(accuracy[model]["test"]) if model in accuracy else "-" for model in _MODELS]
        division = "closed" if result["point"]["ratio"] == 1 else "open"
        codes = f"{result['codes']:,}" if "codes" in result else "-"  # measured before they were counted
        rows.append([*_title(result), division, f"{result['macs']:,}", codes, metric.name, *shown])
    head = [
        "network", "ratio", "division", "multiplications", "codes", "metric", "published, float", "pruned, float",
        "integer",
    ]  # fmt: skip
    return table(head, rows, left=1)


_MODELS = ("dense", "pruned", "integer")


def _engines(results: dict[str, dict[str, Any]]) -> str:
    rows = []
    for result in results.values():
        point, synth = result["point"], result.get("synth") or {}
        cells = [*_title(result), point["device"], point["lanes"]]
        if "refused" in result:
            rows.append([*cells, *["-"] * 8])
            continue
        cells += [f"{result['plan']['interval']:,}", f"{result['plan']['utilisation']:.3f}"]
        if "derived" not in synth:
            rows.append([*cells, *["-"] * 6])
            continue
        clocks = synth["derived"]
        spread = f"{clocks['fmax_median']:.1f} ({clocks['fmax_min']:.1f} to {clocks['fmax_max']:.1f})"
        used = [f"{synth[resource]['used']:,}" for resource in ("luts", "ffs", "block_rams", "dsps")]
        rows.append([*cells, spread, f"{inferences(result):,.0f}", *used])
    head = [
        "network", "ratio", "device", "lanes", "cycles an inference", "utilisation", "Fmax, MHz", "inferences/s",
        "LUT4", "flip-flops", "block RAMs", "DSPs",
    ]  # fmt: skip
    return table(head, rows, left=1)


def _refused(results: dict[str, dict[str, Any]]) -> str:
    lines = []
    for name, result in results.items():
        if reason := result.get("refused") or (result.get("synth") or {}).get("refused"):
            lines.append(f"- `{name}`: {reason}\n")
    return f"No engine:\n\n{''.join(lines)}\n" if lines else ""


def _rates(results: dict[str, dict[str, Any]], dense: bool) -> dict[str, float]:
    """The most inferences a second that were reached on ECP5-85F for each network, dense or pruned."""
    best: dict[str, float] = {}
    for result in results.values():
        point = result["point"]
        placed = "derived" in (result.get("synth") or {}) and point["device"] == "ecp5-85k"
        if placed and (point["ratio"] == 1) == dense:
            best[point["network"]] = max(best.get(point["network"], 0), inferences(result))
    return best


def _beside(results: dict[str, dict[str, Any]]) -> str:
    ours = (
        ("this engine, ECP5-85F: published weights", "as closed", _rates(results, True)),
        ("this engine, ECP5-85F: pruned", "open", _rates(results, False)),
    )
    rows = [
        [system, division, *(f"{rates[name]:,.0f}" if name in rates else "-" for name in _COMPARED)]
        for system, division, rates in (*ours, *PUBLISHED)
    ]
    return table(["system", "division", *(NETWORKS[name].short for name in _COMPARED)], rows, left=2)


def _simulated(results: dict[str, dict[str, Any]]) -> str:
    rows = []
    for name, result in results.items():
        if "refused" not in result:
            seen = result["sim"]
            rows.append([f"`{name}`", seen["samples"], f"{seen['elements']:,}", f"{seen['cycles']:,}"])
    return table(["engine", "samples", "elements of the output", "cycles"], rows, left=1)


def _commands(results: dict[str, dict[str, Any]]) -> str:
    lines = dict.fromkeys(line for result in results.values() for line in result["commands"])
    return "".join(f"    {line}\n" for line in lines)


PAGE = """# Results: MLPerf Tiny's networks

The four reference networks of MLPerf Tiny (github.com/mlcommons/tiny) with their published weights, on one engine. All
of this page is rebuilt by `make mlperf` with the data sets of [tasks.md](../tasks.md) in `$DARB_DATA`; stopped, it goes
on where it was. These are no submissions to MLPerf: nothing was measured on a board, and the data of two of the four
tasks are not here. Weights and activations have 8 bits, unless it says otherwise. One seed (0).

## Accuracy

{accuracy}
All on the test split. Settings were chosen on the validation split, but the test split was looked at more than once
while they were tried, so the pruned rows flatter a little. *Integer* is the oracle, whose outputs the
generated Verilog gives bit for bit. Dense rows are the published weights as they are: nothing was trained, quantised
after training. In MLPerf's rules pruning *with retraining* belongs to the **open division**; the closed division takes
the weights as they are. All pruned rows are open, those in one shot too. The ratio counts the weights of layers that
can be pruned: depthwise convolutions stay dense, and have no part in it. Multiplications are those of an inference.
Codes are all that are stored, those of depthwise layers and of the average included.

- **KWS**: 300 of the 1,000 clips of the reference set; one clip is 0.33 points. 4x, 8x: the dense network teaches the
  pruned one on 600 others of these clips, moved in time, mixed, with noise. 100 more chose the settings.
- **KWS of fewer channels**: the same data. Half of the weights go with whole channels, then one of four weights stays
  in each group of four. 4-bit weights, trained with their rounding. It fits the 15 KB of block RAM of an iCE40
  UltraPlus; the feature maps stand in its single-port RAMs ([engine.md](../engine.md#single-port-rams)).
- **IC**: 1,000 images of the CIFAR-10 test set; one image is 0.1 points. 4x: the dense network teaches the pruned one
  on 3,600 training images, mirrored, moved and mixed. 400 more chose the settings. The published weights were
  trained with all 50,000.
- **VWW**, **AD**: *no accuracy is claimed.* No data of these tasks are here, so calibration and test have stand-ins
  (CIFAR-10 images enlarged; noisy copies of a mean spectrum). The metric is the distance from the outputs of the
  published float network. Pruning is one shot, without any training: these rows are about speed only. 87 % of the
  published weights of VWW that can be pruned are zero (below 1e-20), so 4x changes nothing in its outputs.

## Engines

{engines}
{refused}Utilisation is useful multiply-accumulates / (lanes x cycles), whole inferences back to back, loading included.
The engine on ice40-up5k reads taps of odd rotation twice; these steps count as not useful.
Fmax is the median of all seeds of nextpnr and its range. Inferences a second: this clock over these cycles.
LUT4 counts a carry cell as two LUTs, as `darb synth` does. Rotation takes 8 LUTs a lane for each of its stages: both
networks of the limits below need four on 32 lanes, because their maps are narrower than a tile.

Simulated on Verilator, every element of the output of every sample and every cycle count compared:

{simulated}
## Beside published results

Inferences a second, the best row of each kind; ours at the placed clock, not on a board.

{beside}
Other chips, so this is only a scale: a Zynq 7010 has 80 multipliers and 17,600 6-input LUTs, a Zynq 7020 has 220 and
53,200, both in 28 nm. An ECP5-85F has 156 multipliers and 83,640 4-input LUTs, in 40 nm. Theirs were measured on
boards. The open row of Pynq-Z2 has other networks than the reference. No entry covers all four networks on an FPGA,
and none uses an open place and route.

## Limits

{goals}
## Commands

{commands}"""


def write(results: dict[str, dict[str, Any]], page: Path) -> None:
    """Write ``page`` from the measurements that are there."""
    text = PAGE.format(
        accuracy=_accuracy(results),
        engines=_engines(results),
        refused=_refused(results),
        simulated=_simulated(results),
        beside=_beside(results),
        goals=markdown_table(goals(results)),
        commands=_commands(results),
    )
    write_atomic(page, text.encode())
