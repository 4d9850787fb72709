"""Writes docs/results/networks.md from the measurements of ``measure.py``."""

from pathlib import Path

from benchmarks.goals import markdown_table
from benchmarks.networks.goals import goals
from darb_prune.encoded import metrics, write_atomic
from darb_prune.studies.markdown import table

__all__ = ["write"]

TITLES = {
    "lenet5": "LeNet-5, Fashion-MNIST",
    "lenet5-fast": "the same in fewer cycles",
    "cifar10": "ResNet-20, CIFAR-10 subset",
    "cifar10-lanes32": "the same on 32 lanes",
    "chars": "character LSTM, tinyshakespeare",
    "fsdd": "GRU, spoken digits (FSDD)",
    "gru-kws": "GRU_L keyword weights",
    "lstm-kws": "LSTM_L keyword weights",
    "lstm-200": "2x200 LSTM, random weights",
}


def _accuracy(results: dict[str, dict]) -> str:
    rows = []
    for name, result in results.items():
        accuracy, seen = result["provenance"]["accuracy"], result["verilator"]
        if accuracy is None:
            continue
        text = metrics.get(result["provenance"]["metric"]).text
        models = [text(accuracy[model]["test"]) for model in ("dense", "pruned", "integer")]
        simulated = _samples(seen["samples"], seen["steps"])
        rows.append([TITLES[name], _ratio(result), *models, simulated, text(seen["oracle"]), text(seen["rtl"])])
    head = ["network", "ratio", "dense float", "pruned float", "integer oracle", "simulated", "oracle on these", "RTL"]
    return table(head, rows, left=1)


def _ratio(result: dict) -> str:
    return f"{result['provenance']['ratio']:.2f}"


def _samples(samples: int, steps: int) -> str:
    return f"{samples:,}" if steps == samples else f"{samples:,} ({steps:,} steps)"


def _simulated(results: dict[str, dict]) -> str:
    rows = []
    for name, result in results.items():
        fast, slow = result["verilator"], result["icarus"]
        cells = [_samples(fast["samples"], fast["steps"]), f"{fast['elements']:,}", f"{fast['cycles']:,}"]
        if slow:
            cells += [_samples(slow["samples"], slow["steps"]), f"{slow['results']:,}", f"{slow['cycles']:,}"]
        else:
            cells += ["-"] * 3
        rows.append([TITLES[name], result["lanes"], *cells])
    head = [
        "network", "lanes", "Verilator: samples", "output elements", "cycles", "Icarus: samples",
        "results inside the engine", "cycles",
    ]  # fmt: skip
    return table(head, rows, left=1)


def _engines(results: dict[str, dict]) -> str:
    rows = []
    for name, result in results.items():
        used, cycles = result["utilisation"], result["cycles"]
        weights = _ratio(result), f"{result['weights']:,}", f"{result['kept']:,}"
        times = f"{cycles['load']:,}", f"{cycles['compute']:,}", f"{cycles['interval']:,}"
        shares = f"{used['computing']:.3f}", f"{used['whole']:.3f}"
        rows.append([TITLES[name], result["lanes"], *weights, *times, *shares, result["block_rams"]])
    head = [
        "network", "lanes", "ratio", "weights", "kept", "cycles to load", "to compute", "back to back",
        "utilisation, computing", "utilisation, all", "block RAMs of 208",
    ]  # fmt: skip
    return table(head, rows, left=1)


def _layers(result: dict) -> str:
    ends = (result["icarus"] or {}).get("layer_ends") or ["-"] * len(result["layers"])
    rows = [
        [
            f"`{layer['layer']}`", layer["rows"], layer["columns"], layer["positions"], f"{layer['kept']:,}",
            f"{layer['steps']:,}", f"{layer['idle']:,}", f"{layer['utilisation']:.3f}", f"{end:,}",
        ]
        for layer, end in zip(result["layers"], ends, strict=True)
    ]  # fmt: skip
    head = ["layer", "rows", "columns", "positions", "kept", "steps", "idle", "utilisation", "last result after"]
    return table(head, rows, left=1)


def _distances(results: dict[str, dict]) -> str:
    rows = []
    for name, result in results.items():
        for inputs, seen in (result["provenance"]["distances"] or {}).items():
            rows.append([TITLES[name], inputs, seen["samples"], f"{seen['output']:.4f}", f"{seen['off']:.4f}"])
    return table(["network", "inputs", "sequences", "mean magnitude of an output", "mean difference"], rows, left=1)


PAGE = """# Results: networks people use

All of this page is rebuilt by `make networks` with the data sets of [tasks.md](../tasks.md) in `$DARB_DATA`; stopped,
it goes on where it was. One seed (0): differences of a point or so mean nothing. Weights and activations have 8 bits.

## Accuracy

{accuracy}
Float and integer models: the whole test split. The last two columns are the same inputs through the oracle and
through the generated Verilog (Verilator), and the RTL column is computed from what the engine gave: all test images of
LeNet-5, all test clips, {cifar_images} images of ResNet-20, and the first
{chars_steps:,} characters of the test text in sequences of 50, each from an empty state. So the bits per character
there are not those of the whole running text.

- LeNet-5, the LSTM and the GRU are small for their data, so 13x costs what it costs; their settings were chosen for it
  on validation data. LeNet-5 loses least if gradients say which weights stay (`taylor`): then more of them are in
  convolutions, which run at every position. With `--saliency mean` it takes a third of the cycles. ResNet-20 is pruned
  from the published weights with 50 epochs of 4,000 images, which a teacher labels.
- ResNet-20 has 500 test images here: one is 0.2 points, and of the {cifar_images} simulated ones {cifar_points:g}.

Commands:

{commands}
## What was simulated

{simulated}
Nothing differed. On Verilator every element of the output of every sample (for a network that answers at every step:
of every step) is compared with the oracle, on Icarus also every result of every layer and every output of a cell
inside the engine. Both compare every latency and every interval with the plan, Icarus also the cycle in which each
layer ends.

The same with a progress bar, for all test images of LeNet-5: `darb sim build/networks/lenet5 --all`.

## Cycles and utilisation

{engines}
Weights and kept weights are those of the engine: the mean over the image of ResNet-20 and the copy in the last network
are layers of weights of 1 that no pruning touches; the ratio is without them. Utilisation is useful
multiply-accumulates / (lanes x cycles): *computing* over the cycles from the last input element to the first output
element, *all* over the whole interval from one inference (or step) to the next, loading and sending included. Block
RAMs are the estimate of the plan for ECP5-85. In the tables of layers it is over the cycles from the first step of a
layer to the first of the next; *last result after* counts from the last input element, the plan says it and Icarus
confirms it for every layer, inference and step.

Lanes of ResNet-20 compute neighbouring output positions
([engine.md](../engine.md#lanes-over-output-positions)): each has a bank of every map. Its network is pruned for the
engine of 16 lanes; that of 32 takes the same.

## Limits

{goals}
### LeNet-5 in fewer cycles, {lenet_lanes} lanes (goal: each convolution at least 0.80)

{lenet}
### One time step of a 2x200 LSTM, {lstm_lanes} lanes, {lstm_ratio}x (goal: at least 0.85)

{lstm}
The whole step: **{lstm_all}** with loading and sending, {lstm_computing} without. The `copy` is there because the
output of a cell can not be that of the network; with a layer behind the LSTM there is none.

### Character LSTM and GRU

{chars}
{fsdd}
In small recurrent layers the idle cycles between layers (a group has to drain, and a cell has to finish, before what
it gives can be read) are no longer small against the work: 13x leaves these few steps a layer.

## Keyword-spotting weights

Weights that were trained elsewhere (Arm's ML-KWS-for-MCU, TensorFlow), pruned in one shot at 13x, not fine-tuned: they
are here for their real distributions, **no accuracy is claimed**. Inputs are 20 sequences of random int8 values and 20
clips of int8 MFCC (49 steps of 10 features, from another front end than the weights were trained with). What is run:

- `GRU_L` (400 units): torch's GRU with the same matrices. TensorFlow's candidate is `tanh(W [x, r h] + b)`, torch's
  and the engine's `tanh(W_x x + b + r (W_h h))`.
- `LSTM_L` (500 units, projected to 188 values): the projection is multiplied into the matrices that read it, which is
  the same function with more weights; the peepholes (three diagonals from the cell state to the gates) are left out.

Oracle against the pruned float model:

{distances}
"""


def write(results: dict[str, dict], page: Path) -> None:
    """Write ``page`` from the measurements of all networks."""
    cifar, lstm = results["cifar10"], results["lstm-200"]
    used = lstm["utilisation"]
    lines = dict.fromkeys(line for result in results.values() for line in result["commands"])  # engines share runs
    commands = "".join(f"    {line}\n" for line in lines)
    text = PAGE.format(
        accuracy=_accuracy(results),
        cifar_images=cifar["verilator"]["samples"],
        cifar_points=100 / cifar["verilator"]["samples"],
        chars_steps=results["chars"]["verilator"]["steps"],
        commands=commands,
        simulated=_simulated(results),
        goals=markdown_table(goals(results)),
        engines=_engines(results),
        lenet_lanes=results["lenet5-fast"]["lanes"],
        lenet=_layers(results["lenet5-fast"]),
        lstm_lanes=lstm["lanes"],
        lstm_ratio=_ratio(lstm),
        lstm=_layers(lstm),
        lstm_all=f"{used['whole']:.3f}",
        lstm_computing=f"{used['computing']:.3f}",
        chars=_layers(results["chars"]),
        fsdd=_layers(results["fsdd"]),
        distances=_distances(results),
    )
    write_atomic(page, text.encode())
