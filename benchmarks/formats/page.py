"""Writes docs/results/formats.md and its plots from the measurements."""

from pathlib import Path
from statistics import median

from benchmarks.formats import plots
from benchmarks.formats.layers import FORMATS, LAYERS, RUN_BITS
from benchmarks.formats.measure import PLACED
from darb_prune.encoded import write_atomic
from darb_prune.studies.markdown import table

__all__ = ["line", "write"]


def line(point: dict) -> str:
    """A point in a line of the terminal."""
    words = [
        f"{point['layer']} {point['asked']}x {point['format']}, {point['lanes']} lanes:",
        f"{point['cycles']:,} cycles, utilisation {utilisation(point):.3f},",
        f"{point['stored_bits'] / point['kept']:.2f} bits a weight,",
        f"decoder {point['decoder']['aligned']['luts']} to {point['decoder']['any']['luts']} LUTs",
    ]
    if "fmax_mhz" in point:
        words.append(f", {median(point['fmax_mhz'].values()):.1f} MHz")
    return " ".join(words)


def utilisation(point: dict) -> float:
    return point["kept"] / point["cycles"] / point["lanes"]


def efficiency(point: dict, kind: str) -> float | None:
    """Codes a cycle and LUT of the decoder; nothing for a decoder without LUTs."""
    luts = point["decoder"][kind]["luts"]
    return point["kept"] / point["cycles"] / luts if luts else None


def _sparsity(points: list[dict]) -> str:
    """What does not depend on the lanes, from the points of one number of lanes."""
    rows = []
    for p in points:
        levels = p["levels"]
        text = "" if levels is None else ", ".join(f"{count} x {level}" for level, count in levels.items())
        rows.append(
            [
                FORMATS[p["format"]].title, f"{p['weights'] / p['kept']:.2f}", f"{p['kept']:,}", f"{p['retained']:.3f}",
                p["order"], f"{p['codes'] / p['kept']:.3f}", f"{p['imbalance']:.2f}" if levels is None else "",
                f"{p['best_bits'] / p['kept']:.2f} ({p['best_encoding']})", text,
            ]
        )  # fmt: skip
    head = [
        "format", "ratio", "kept", "norm retained", "order", "codes / kept", "longest / mean row",
        "bits a weight, best encoding", "rows x level (block bits, kept)",
    ]  # fmt: skip
    return table(head, rows, left=1)


def _cycles(points: list[dict]) -> str:
    rows = []
    for p in points:
        plan = p.get("engine")
        rows.append(
            [
                FORMATS[p["format"]].title, f"{p['cycles']:,}", f"{p['kept'] / p['cycles']:.2f}",
                f"{utilisation(p):.3f}", f"{p['waiting']:.3f}", f"{p['stored_bits'] / p['kept']:.2f}",
                f"{plan['compute']:,}" if plan else "", f"{plan['bits_per_weight']:.2f}" if plan else "",
            ]
        )  # fmt: skip
    head = [
        "format", "cycles", "codes a cycle", "utilisation", "lock-step", "bits a weight", "engine: cycles",
        "engine: bits a weight",
    ]  # fmt: skip
    return table(head, rows, left=1)


def _decoders(points: list[dict]) -> str:
    rows = []
    for p in points:
        row = [FORMATS[p["format"]].title, p["copies"]]
        for kind in ("aligned", "any"):
            cost, value = p["decoder"][kind], efficiency(p, kind)
            row += [cost["luts"], f"{cost['luts'] / p['lanes']:.2f}", cost["ffs"]]
            row.append("no LUT" if value is None else f"{value:.3f}")
        rows.append(row)
    head = ["format", "addresses"]
    for kind in ("aligned", "anywhere"):
        head += [f"{kind}: LUT4", "a lane", "FF", "codes a cycle and LUT4"]
    return table(head, rows, left=1)


def _placed(points: list[dict]) -> str:
    rows = []
    for p in points:
        cost, clock = p["skeleton"], p["fmax_mhz"].values()
        middle = median(clock)
        rows.append(
            [
                FORMATS[p["format"]].title, cost["luts"], f"{cost['luts'] / p['lanes']:.1f}", cost["ffs"],
                cost["block_rams"], cost["dsps"], f"**{middle:.1f}** ({min(clock):.1f} to {max(clock):.1f})",
                f"{p['cycles'] / middle:.2f}", f"{p['kept'] / p['cycles'] * middle:,.0f}",
            ]
        )  # fmt: skip
    head = [
        "format", "LUT4", "a lane", "FF", "block RAM", "DSP", "Fmax MHz, median (range)", "µs a product",
        "million codes/s",
    ]  # fmt: skip
    return table(head, rows, left=1)


def _equal(rows: list[dict]) -> str:
    first = next(row for row in rows if row["format"] == "darb")
    cells = [
        [
            FORMATS[r["format"]].title, f"{r['retained']:.3f}", f"{r['weights'] / r['kept']:.2f}", f"{r['cycles']:,}",
            f"{r['cycles'] / first['cycles']:.2f}", f"{r['stored_bits']:,}",
            f"{r['stored_bits'] / first['stored_bits']:.2f}",
        ]
        for r in rows
    ]  # fmt: skip
    return table(["format", "norm retained", "ratio", "cycles", "/ DARB", "stored bits", "/ DARB"], cells, left=1)


PAGE = """# Results: what sparsity formats cost in hardware

All of this page is rebuilt by `make formats` (MNIST in `$DARB_DATA`, see [tasks.md](../tasks.md); stopped, it goes on
where it was). Tools: {tools}. Numbers: [formats.json](formats.json).

**Not the subject here: accuracy.** At the same ratio formats lose differently; [pruning.md](pruning.md) has that. Masks
are made in one shot from the same weights; *norm retained* is the share of the sum of squares that they keep, a rough
stand-in.

In short (all of it below):

- Stored bits: for the same norm the other formats need {others_bits} times the bits of DARB; where rows differ in
  size, the levels with one block size for all rows fall behind most. Coordinates need {coordinate_bits} times the bits,
  but only {coordinate_cycles} times the cycles: their mask is free.
- Time: dense rows, DARB, bank-balanced and N:M lose cycles only where rows do not fill the lanes and where a group is
  over before the sums of the one before have left. The others lose {lost_16} of the cycles at {few} lanes, {lost_64} at
  {many}, although rows are sorted: a group is as long as its longest row, and 4-bit runs need codes of weight 0.
- Decoding costs next to nothing where regions of activations are aligned, run-length ({run_luts} LUT4 a lane) excepted;
  where they begin anywhere every lane needs an adder. **By this measure DARB does not decode more efficiently than
  block pruning**, whose lanes share addresses. What speaks against blocks is what they keep.

## What is compared

One skeleton of an engine (`benchmarks/formats/skeleton.py`): lanes in lock-step, weight ROM, index ROMs, activation
memory, a multiplier and a sum a lane, shadow row, program ROM; raw sums come out. 8-bit weights and activations,
`{device}`, memories and multipliers from the primitives that the engine itself uses. What differs is what the index
ROMs hold, the decoder that makes addresses of it, and the number of steps of a group of rows.

- **Dense**: nothing is stored but weights. A counter serves all lanes, which share a copy of the activations.
- **DARB, bank-balanced, N:M**: the index in the block. All lanes share a base, to which each adds (aligned: ors) its
  index; rows of a group have one level.
- **Block 4x4, 8x8**: the number of the block in its strip of rows, once a block. The 4 or 8 lanes of a strip share an
  address, and with it a copy of the activations.
- **Run-length**: the zeros since the last weight of the row in {run_bits} bits, as in EIE; longer runs take codes of
  weight 0. Every lane has an adder with memory.
- **Coordinate**: the column, added in each lane (aligned: nothing is to be done).

How it was measured:

- Everything is simulated: {simulated:,} sums of {count} skeletons on Verilator, and the cycle of the last one. All
  equal NumPy's product of the masked matrix and the vector, and the prediction. The decoders by themselves are tested
  step by step against a reference in NumPy (`tests/benchmarks/formats/test_hardware.py`).
- Rows of different length (block, run-length, coordinate) are **sorted by length** and grouped, longest first, which is
  the kindest that lock-step can be to them. EIE has queues and lanes that go on by themselves instead; that hardware
  is not built here.
- Sums leave 16 lanes one after another while the next group runs, so that a group of fewer steps waits.
- Storage order of the columns: as they are or `spread`, whichever retains more; it costs nothing.
- Bank-balanced and N:M take the level nearest to the ratio (banks of 64 to 256; M up to 32), so that their ratio is not
  always that of the others. Rows of DARB come in multiples of 64 lanes where they can.
- *Codes* are kept weights: padding and codes that only wait are not counted as work. *Utilisation* is codes / (cycles x
  lanes), *lock-step* is steps x lanes / stored codes: 1.00 is the limit of both. *Longest / mean row* is what lock-step
  would cost without sorting and with one group. *Bits a weight* are all ROM bits (program, padding and waiting codes
  included) / kept weights; *best encoding* is what the format takes in a file
  (`darb_prune/patterns/storage.py`), lengths of rows included, without an engine.
- The columns *engine* are the plan of the real engine for the same matrix: dense, DARB, bank-balanced and N:M are
  levels of it. Its cycles are those from the last input element to the first output element, with all fill and drain;
  its bits include row parameters, which the skeleton does not have.

![Utilisation and stored bits](formats.png)

{sections}
## Decoders

Synthesised alone, for all lanes, with all that lanes share. *Aligned*: the activations of a layer begin at a
multiple of a power of two that is not smaller than they are, so that upper address bits are wires. *Anywhere*: they
begin at any address (convolution windows, memory without holes), so that something has to be added.
Decoding efficiency is the codes decoded per cycle per LUT4 of the decoder. {decoder_layer}

{decoders}
![LUTs of the decoders](formats-decoders.png)

- Aligned, decoding is next to nothing for every format but run-length: wires, or one base for all lanes.
- Run-length decoding has an adder in a loop that begins anew with each row; mapped by hand the gate would
  go into the carry chain and save 10 LUTs a lane. Yosys does not do that.
- DARB pays {or_luts} LUT4 a lane here for blocks of several sizes (aligned, the shared base included): an index bit of
  the larger ones stands where the smaller have a bit of the base. With many sizes it is more: {or_skewed} for those of
  the last layer above. One size for all rows (bank-balanced, N:M) needs none.
- **Blocks decode cheapest**, since 4 or 8 lanes share an address. The DARB paper claims 14.3 times the decoding
  efficiency of block pruning; by this definition it is the other way round. What its authors count is not known to us.

## Placed and routed

{placed}
## At equal norm

What every format takes to retain as much of the sum of squares as DARB does at the ratio given (one shot, 16 lanes).
A fairer comparison of costs than equal ratios as long as nobody trains. Bank-balanced and N:M have few ratios to choose
from: some retain more than was asked for.

![At equal norm](formats-equal.png)

{equal}"""


def write(results: dict, folder: Path) -> None:
    """Write ``formats.md`` and its plots into ``folder``."""
    points, equal = results["points"], results["equal_norm"]
    groups = {}
    for point in points:
        groups.setdefault((point["layer"], point["asked"]), {}).setdefault(point["lanes"], []).append(point)
    sections = []
    for (layer, asked), by_lanes in groups.items():
        text = f"## {LAYERS[layer].title}, {asked}x\n\n{_sparsity(next(iter(by_lanes.values())))}\n"
        sections.append(text + "\n".join(f"{n} lanes:\n\n{_cycles(ps)}" for n, ps in by_lanes.items()))
    (layer, asked), *_ = PLACED
    chosen = groups[layer, asked]
    title = f"{LAYERS[layer].title}, {asked}x"
    placed = {n: ps for n, ps in chosen.items() if all("fmax_mhz" in p for p in ps)}
    from benchmarks.formats.build import DEVICE

    text = PAGE.format(
        tools=", ".join(f"{name} {version}" for name, version in results["tools"].items()),
        device=DEVICE.name,
        run_bits=RUN_BITS,
        simulated=sum(point["simulated"]["sums"] for point in points),
        count=len(points),
        sections="\n".join(sections),
        decoder_layer=f"For {title}.",
        decoders="\n".join(f"{n} lanes:\n\n{_decoders(ps)}" for n, ps in chosen.items()),
        or_luts=_darb_luts(points, layer),
        or_skewed=_darb_luts(points, points[-1]["layer"]),
        placed=_placed_text(title, placed, DEVICE.target_mhz),
        equal="\n".join(
            f"{LAYERS[layer].title}, DARB at {asked}x:\n\n"
            + _equal([row for row in equal if (row["layer"], row["asked"]) == (layer, asked)])
            for layer, asked in groups
        ),
        **_summary(points, equal),
    )
    write_atomic(folder / "formats.md", text.encode())
    plots.write(results, folder)


def _placed_text(title: str, placed: dict[int, list[dict]], target: float) -> str:
    if not placed:
        return "Not measured.\n"
    counts = sorted({len(p["fmax_mhz"]) for ps in placed.values() for p in ps})
    seeds = " to ".join(str(count) for count in dict.fromkeys((counts[0], counts[-1])))
    text = f"{title}, nextpnr, seeds: {seeds}, aligned decoders, {target:g} MHz asked for.\n\n"
    return text + "\n".join(f"{n} lanes:\n\n{_placed(ps)}" for n, ps in placed.items())


def _darb_luts(points: list[dict], layer: str) -> str:
    return _range([
        p["decoder"]["aligned"]["luts"] / p["lanes"] for p in points if (p["format"], p["layer"]) == ("darb", layer)
    ], "{:.1f}")  # fmt: skip


def _range(values: list[float], form: str) -> str:
    low, high = form.format(min(values)), form.format(max(values))
    return low if low == high else f"{low} to {high}"


def _summary(points: list[dict], equal: list[dict]) -> dict[str, str]:
    """What the beginning of the page says."""
    first = {(r["layer"], r["asked"]): r for r in equal if r["format"] == "darb"}
    ratios = {
        field: [(r["format"], r[field] / first[r["layer"], r["asked"]][field]) for r in equal if r["format"] != "darb"]
        for field in ("stored_bits", "cycles")
    }
    lanes = sorted({p["lanes"] for p in points})
    lost = [
        [1 - utilisation(p) for p in points if p["lanes"] == count and p["levels"] is None]
        for count in (lanes[0], lanes[-1])
    ]
    return {
        "others_bits": _range([ratio for _, ratio in ratios["stored_bits"]], "{:.2f}"),
        "coordinate_bits": _range([ratio for name, ratio in ratios["stored_bits"] if name == "coordinate"], "{:.2f}"),
        "coordinate_cycles": _range([ratio for name, ratio in ratios["cycles"] if name == "coordinate"], "{:.2f}"),
        "few": str(lanes[0]),
        "many": str(lanes[-1]),
        "lost_16": _range(lost[0], "{:.0%}"),
        "lost_64": _range(lost[1], "{:.0%}"),
        "run_luts": _range(
            [p["decoder"]["aligned"]["luts"] / p["lanes"] for p in points if p["format"] == "run"] or [0], "{:.0f}"
        ),
    }
