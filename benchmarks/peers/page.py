"""Writes docs/results/peers.md and its plots from the measurements."""

import statistics
from collections.abc import Iterator
from pathlib import Path

from benchmarks.peers import plots
from benchmarks.peers.ladder import SIZES
from benchmarks.peers.measure import CUTOFF, DEVICE, NNGEN_MIN, SAMPLES, TARGET_MHZ, TOOLS, rate
from benchmarks.peers.results import PeerResults
from darb_prune.encoded import write_atomic
from darb_prune.studies.markdown import table

__all__ = ["one_line", "write"]


def _number(value: float | None, form: str = ",.0f") -> str:
    return "–" if value is None else format(value, form)


def _fmax(row: dict) -> str:
    mhz = list(row["fmax_mhz"].values())
    if not mhz:
        return "–"
    span = f" ({min(mhz):.0f} to {max(mhz):.0f})" if len(mhz) > 1 else ""
    return f"{statistics.median(mhz):.1f}{span}"


def one_line(row: dict) -> str:
    """A row in words, for the terminal."""
    parts = [f"{row['luts']:,} LUTs" if "luts" in row else "", f"{_fmax(row)} MHz" if row["fmax_mhz"] else ""]
    if rate(row):
        parts.append(f"{rate(row):,.0f} inferences/s")
    parts += [row.get("unchecked", ""), row.get("reason", "")]
    return ", ".join(part for part in parts if part)


def _rows(results: PeerResults) -> Iterator[tuple[str, dict, str, dict]]:
    """Name of the network, its entry, name of the contender, row."""
    for name, entry in results.networks.items():
        for contender, row in entry["rows"].items():
            yield name, entry, contender, row


def _all(results: PeerResults) -> str:
    rows = []
    for name, _, contender, row in _rows(results):
        speed = rate(row)
        cells = [_number(row.get(resource)) for resource in ("luts", "ffs", "dsps", "block_rams")]
        cells += [_fmax(row), str(len(row["fmax_mhz"])), _number(row.get("latency")), _number(row.get("interval"))]
        density = _density(row) if speed else None
        form = ",.1f" if density and density >= 10 else ".2g"
        rows.append([name, contender, *cells, _number(speed), _number(density, form)])
    head = [
        "network", "generator", "LUT4", "FF", "DSP", "block RAM", "Fmax MHz, median (range)", "seeds",
        "latency, cycles", "interval, cycles", "inferences/s", "inferences/s/LUT4",
    ]  # fmt: skip
    return table(head, rows, left=2)


def _networks(results: PeerResults) -> str:
    rows = [
        [name, "-".join(map(str, entry["shape"])), f"{entry['weights']:,}", f"{entry['kept']:,}",
         f"{entry['weights'] / entry['kept']:.2f}"]
        for name, entry in results.networks.items()
    ]  # fmt: skip
    return table(["network", "sizes", "weights", "kept", "ratio"], rows, left=2)


def _unfinished(results: PeerResults) -> str:
    lines = []
    for name, _, contender, row in _rows(results):
        if row.get("reason"):
            size = f"; {row['luts']:,} LUT4 and {row['ffs']:,} FF after synthesis" if "luts" in row else ""
            if "estimated_luts" in row and "luts" not in row:
                size = f"; its own estimate is {row['estimated_luts']:,.0f} LUTs"
            lines.append(f"- {name}, {contender}: {row['reason'].rstrip('.')}{size}\n")
    return "".join(lines)


_OPEN = """
**Rows are missing still** (*Not finished*, below): what the table says of their sizes is expected, not measured.
"""


def _untried(results: PeerResults) -> str:
    """Sizes of the ladder without a row, for each generator."""
    lines = []
    for tool in TOOLS:
        there = {name for name, _, _, row in _rows(results) if row["tool"] == tool}
        names = [f"linear-{size}" for size in SIZES if size >= NNGEN_MIN or tool != "nngen"]
        if missing := [name for name in names if name not in there]:
            lines.append(f"- {tool}, not measured yet: {', '.join(missing)}\n")
    return "".join(lines)


def _checked(results: PeerResults) -> str:
    rows = []
    for name, _, contender, row in _rows(results):
        if row["tool"] == "darb":
            continue
        if "samples" in row:
            rows.append([name, contender, row["samples"], f"{row['elements']:,}", "0"])
        elif row.get("unchecked"):
            rows.append([name, contender, "–", row["unchecked"], "–"])
    return table(["network", "generator", "inputs", "elements of the outputs", "different"], rows, left=2)


def _largest(results: PeerResults) -> str:
    """For every generator the largest network that was placed, that fits after synthesis, and that was tried.

    For the engine, with any number of lanes.
    """
    tools: dict[str, dict[str, tuple]] = {}
    for name, entry, contender, row in _rows(results):
        generator = "darb" if row["tool"] == "darb" else contender
        best = tools.setdefault(generator, {"placed": (0, "–"), "fits": (0, "–"), "tried": (0, "–")})
        entered = (entry["kept"], f"{name} ({entry['weights']:,} weights, {entry['kept']:,} kept)")
        if not row.get("reason", "").startswith("not tried"):
            best["tried"] = max(best["tried"], entered)
        if row["fmax_mhz"]:
            best["placed"] = max(best["placed"], entered)
        if "luts" in row and "does not fit" not in row.get("reason", ""):
            best["fits"] = max(best["fits"], entered)
    rows = [[tool, *(best[key][1] for key in ("placed", "fits", "tried"))] for tool, best in tools.items()]
    return table(
        ["generator", "largest placed and routed", "largest whose synthesis fits", "largest tried"], rows, left=4
    )


def _fed(results: PeerResults) -> str:
    """alkaid behind a stream of an element a cycle, as the engine has it, beside the fastest engine that was placed."""
    rows = []
    for name, entry, unrolled, engine in _beside(results, "alkaid"):
        stream = statistics.median(unrolled["fmax_mhz"].values()) * 1e6 / max(entry["shape"][0], entry["shape"][-1])
        rows.append(
            [name, f"{unrolled['luts'] / engine['luts']:.1f}", f"{_placed_rate(unrolled) / _placed_rate(engine):,.0f}",
             f"{_density(unrolled) / _density(engine):.1f}", f"{stream / _placed_rate(engine):.2f}"]
        )  # fmt: skip
    head = [
        "network", "LUT4, alkaid / engine", "inferences/s, parallel ports", "inferences/s/LUT4, parallel ports",
        "inferences/s, one element a cycle",
    ]  # fmt: skip
    return table(head, rows, left=2) if rows else "No network has both yet.\n"


def _dense(results: PeerResults) -> str:
    """nngen beside the fastest engine that was placed."""
    rows = [
        [name, f"{peer['luts'] / engine['luts']:.1f}", f"{peer['dsps'] / engine['dsps']:.1f}",
         f"{_placed_rate(engine) / _placed_rate(peer):,.0f}", f"{_density(engine) / _density(peer):,.0f}"]
        for name, _, peer, engine in _beside(results, "nngen, 4x4")
    ]  # fmt: skip
    head = [
        "network", "LUT4, nngen / engine", "DSP, nngen / engine", "inferences/s, engine / nngen",
        "inferences/s/LUT4, engine / nngen",
    ]  # fmt: skip
    return table(head, rows, left=1) if rows else "No network has both yet.\n"


def _beside(results: PeerResults, contender: str) -> Iterator[tuple[str, dict, dict, dict]]:
    """Networks with a placed peer and a placed engine: name, entry, the peer's row, the row of the fastest engine."""
    for name, entry in results.networks.items():
        peer = entry["rows"].get(contender, {})
        engines = [row for row in entry["rows"].values() if row["tool"] == "darb" and rate(row)]
        if peer.get("fmax_mhz") and engines:
            yield name, entry, peer, max(engines, key=_placed_rate)


def _placed_rate(row: dict) -> float:
    """:func:`rate` of a row that was placed."""
    speed = rate(row)
    assert speed is not None
    return speed


def _density(row: dict) -> float:
    """Inferences a second and LUT of a row that was placed."""
    return _placed_rate(row) / row["luts"]


PAGE = """# Peers: the same networks through other generators

`make peers` measures all of it and writes this page (hours; rows that [peers.json](peers.json) has of the same network
and version of a peer are not measured again; `python -m benchmarks.peers --tools darb` measures the engine's alone).
Device: {device}, speed grade 6. Tools: {tools}.

- **[alkaid](https://github.com/calad0i/alkaid)** (successor of da4ml) unrolls a network: every weight becomes adders,
  shared where possible, pipelined, an inference a cycle. No DSP, no memory.
- **[nngen](https://github.com/NNgen/nngen)** builds a dense engine that works layer by layer; weights and
  activations come over AXI from external memory. It multiplies by the zeros of pruning as by any number.
- **darb** is the engine of this project: weights on the chip, zeros skipped, one set of lanes for all layers.

## What wins where

{advice}{open}
alkaid against the fastest engine in the table below, where both were placed:

{fed}
The last column feeds alkaid as the engine is fed, an element a cycle: then both wait for the input, and the ratio tells
nothing but their clocks. alkaid's own rate needs all inputs of an inference at once, every cycle.

nngen against the same:

{dense}
Over its 32-bit bus nngen gets four weights a cycle: that is what takes its time, not its 16 multipliers, and a wider
bus would make it up to four times as fast. The LUTs of a memory controller are not counted.

![Throughput against area](peers-area.png)

![Area against size](peers-size.png)

## Largest networks

{largest}
A step of a peer (generator, Yosys, a run of nextpnr, which is WebAssembly here) has {minutes:g} minutes of processor
time, unless *Not finished* says otherwise; "fits" is by the count of Yosys. The ladder has no sizes in between.

## All figures

{networks}
{all}
LUT4 as `darb synth` counts: two for each carry cell, six for each memory of 16 words. Interval: cycles from one
inference to the next, back to back.

Not finished:

{unfinished}
## Is it the same network?

Peers get the integer weights of the `.darb` file, decoded to dense matrices, with biases, multipliers and shifts. Their
Verilog is simulated on {samples} random inputs (the first two at the ends of the range), Icarus for alkaid, Verilator
for nngen, and compared with the integers of docs/arithmetic.md computed by NumPy:

{checked}
- alkaid: "alkaid" computes all of it, requantisation included, in its own fixed-point operations. Multipliers of rows
  become adders, as all constants do. "sums only" is the matrix product without requantisation: what alkaid is made for,
  and near what a network costs that was trained with scales of powers of two and results that wrap around.
- nngen: same formula, but it rounds halves of negative sums away from zero; no such half came up. Shifts must be the
  same for all rows of a layer; where they are not, multipliers take the difference, and no result changes.

## How they were run

- alkaid: delay between registers at most {cutoff:g} of its units, no sums of three (an ECP5 has no carry chain for
  them; they took 12 % more LUTs). Vendor tools would move registers, Yosys does not: behind the sums, rounding and
  clamping end up in one stage, which limits Fmax. `--cutoff` measures other delays.
- nngen: 4 columns x 4 rows at once (16 multipliers), a 32-bit bus; cycles are from the write to its start register to
  the read that finds it idle, with a memory that answers after 10 cycles and then gives a word every cycle. A real
  memory, its controller and its pins come on top.
- darb: default options, lanes as the table says. Cycles are those of the plan, which every simulation of the project
  confirms; latency counts from the first input element to the last output element, one a cycle.
- Peers are placed out of context (no pins: alkaid's ports are up to thousands of bits wide) with {target:g} MHz as the
  aim, the engine with pins and {own:g} MHz.
- Both peers live in one environment with this project (`pip install 'darb[peers]'`).
"""

_ADVICE = (
    (
        "a few hundred kept weights, and need a result every cycle or within a dozen cycles",
        "alkaid, if all inputs arrive at once",
    ),
    (
        "a few hundred kept weights that arrive element by element",
        "either: the input is what takes the time; the engine takes fewer LUTs",
    ),
    (
        "one to a few thousand kept weights",
        "darb; alkaid if nothing but a result every cycle will do: it fills a large device and takes hours to place",
    ),
    (
        "tens of thousands of kept weights, as many as block RAM holds",
        "darb: alkaid does not fit, nngen takes more LUTs and multiplies by zeros",
    ),
    ("few LUTs (iCE40, small ECP5)", "darb with few lanes"),
    ("more weights than block RAM, external memory there anyway, or operators that darb lacks", "nngen"),
)


def write(results: PeerResults, path: Path) -> None:
    """The page and the plots beside the JSON file."""
    rows, untried = [row for *_, row in _rows(results)], _untried(results)
    tools = {name: version for row in rows for name, version in row.get("tools", {}).items()}
    generators = sorted({row["identity"]["generator"] for row in rows if "generator" in row["identity"]})
    names = [f"{name} {version}" for name, version in tools.items()] + generators
    text = PAGE.format(
        device=DEVICE.name,
        target=TARGET_MHZ,
        own=DEVICE.target_mhz,
        tools=", ".join(names),
        advice=table(["you have", "take"], _ADVICE, left=2),
        fed=_fed(results),
        dense=_dense(results),
        largest=_largest(results),
        minutes=max((row["minutes"] for row in rows if "minutes" in row), default=0),
        networks=_networks(results),
        all=_all(results),
        unfinished=_unfinished(results) + untried or "None.\n",
        open=_OPEN if untried else "",
        samples=SAMPLES,
        checked=_checked(results),
        cutoff=CUTOFF,
    )
    write_atomic(path.with_suffix(".md"), text.encode())
    plots.area(results, path.with_name(f"{path.stem}-area.png"))
    plots.size(results, path.with_name(f"{path.stem}-size.png"))
