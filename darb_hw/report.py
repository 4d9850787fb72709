"""Tables for the terminal: what a plan promises, what synthesis measured, what a store keeps."""

import time
from collections import defaultdict
from collections.abc import Iterable

from rich.table import Table
from rich.text import Text

from darb_hw.board.boards import BOARDS
from darb_hw.board.report import BoardReport
from darb_hw.estimate.estimate import Estimate, NoPlan
from darb_hw.estimate.model import Between, Model
from darb_hw.plan import metrics
from darb_hw.plan.banks import BankedLayout
from darb_hw.plan.plan import Plan
from darb_hw.plan.resources import estimated_block_rams
from darb_hw.store.store import Record
from darb_hw.synthesis.report import SynthReport
from darb_prune.encoded import printable

__all__ = [
    "board_table", "boards_table", "entry_table", "error_table", "estimate_table", "kind_table", "layer_table",
    "memory_table", "plan_table",
    "subset_table", "synth_table",
]  # fmt: skip


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def plan_table(plan: Plan) -> Table:
    """Summary of an engine before synthesis."""
    widths, network, device = plan.widths, plan.source, plan.config.target
    title = Text(f"engine of {printable(network.name)}", style="table.title")
    table = Table(title=title, title_justify="left", show_header=False)
    table.add_column()
    table.add_column()
    table.add_row("device", device.name)
    table.add_row("lanes", f"{plan.config.lanes}, multipliers in {'DSP blocks' if plan.lane_style.dsp else 'LUTs'}")
    if plan.clustered:
        clusters = plan.config.clusters
        table.add_row("clusters", f"{clusters} of {plan.config.lanes // clusters} lanes")
    if plan.banked:
        config = plan.config
        table.add_row("at once", f"{config.banks} positions x {config.streams} rows, {config.ways} results")
    table.add_row("requantiser", f"multiplier in {'DSP blocks' if plan.requant_style.dsp else 'LUTs'}")
    if plan.latency.product:
        table.add_row("products", f"multiplier in {'DSP blocks' if plan.product_style.dsp else 'LUTs'}")
    table.add_row(
        "bits", f"weight {widths.weight}, index {widths.index}, activation {widths.activation}, "
        f"accumulator {widths.accumulator}",
    )  # fmt: skip
    kind = "banks" if plan.banked else "copies"
    kind += f" in {plan.sprams} single-port RAMs" if plan.latency.paired else ""
    table.add_row("activation memory", f"{plan.memory_depth:,} elements, {plan.copies} {kind}; input {plan.input_mode}")
    for name, image in plan.images.items():
        rams = f", {plan.in_spram(name)} of them in single-port RAMs" if plan.in_spram(name) else ""
        table.add_row(f"ROM {name}", f"{image.depth:,} x {image.width} bits{rams}")
    estimate = estimated_block_rams(plan)
    style = "red" if estimate > device.block_rams else ""
    table.add_row("block RAMs (estimate)", f"{estimate} of {device.block_rams}", style=style)
    table.add_section()
    table.add_row("weights", f"{network.weights:,} dense, {network.kept:,} kept")
    table.add_row("pruning ratio", f"{network.ratio:.2f}")
    table.add_row("stored bits per weight", f"{metrics.stored_bits_per_weight(plan):.2f}")
    for name, bits in (
        ("depthwise layers", metrics.depthwise_bits(plan)), ("contents at power-up", metrics.power_up_bits(plan))
    ):  # fmt: skip
        if bits:
            table.add_row(name, f"{bits:,} bits besides")
    table.add_row("index overhead", f"{metrics.index_overhead(plan):.3f}")
    table.add_section()
    table.add_row("cycles, one inference", f"{plan.timing.latency_of(1):,}")
    interval = plan.timing.interval_of(1)
    bound = ", bound by the input" if interval > plan.schedule.period else ""
    table.add_row("cycles, back to back", f"{interval:,}{bound}")
    table.add_row("utilisation", _percent(metrics.utilisation(plan)))
    return table


def layer_table(plan: Plan) -> Table:
    """One row a layer: where the cycles go."""
    table = Table(title="layers", title_justify="left")
    table.add_column("layer")
    names = ("rows", "positions", "steps", "cycles")
    for column in (*names[:2], "P x Q", "codes", "cycles", "bound by", "used"):
        table.add_column(column, justify="right")
    for row in metrics.layer_table(plan):
        cells = [f"{row[name]:,}" for name in names]
        at_once = f"{row['at once']} x {row['at once rows']}"
        name, used = Text(printable(row["layer"])), _percent(row["utilisation"])
        table.add_row(name, *cells[:2], at_once, *cells[2:], row["bound"], used)
    return table


def subset_table(plan: Plan) -> Table:
    """One row a subset of the tasks of a network: the number that asks for it, and its cycles."""
    table = Table(title="tasks", title_justify="left")
    table.add_column("tasks")
    names = ("layers", "elements", "latency", "interval")
    for column in ("s_axis_tuser", *names[:2], "cycles, one inference", "cycles, back to back"):
        table.add_column(column, justify="right")
    for row in metrics.subset_table(plan):
        name = Text(" + ".join(printable(task) for task in row["tasks"]))
        table.add_row(name, str(row["subset"]), *(f"{row[name]:,}" for name in names))
    return table


def memory_table(plan: Plan) -> Table:
    """One row a tensor of the activation memory: where it is, and from which layer to which."""
    table = Table(title="activation memory", title_justify="left")
    table.add_column("tensor")
    arrangement = "phases, tiles" if plan.banked else "zeros around"
    elements = "of each bank" if plan.banked else "elements"
    for column in ("from", "to", elements, "shape", arrangement, "layers"):
        table.add_column(column, justify="right")
    layers = plan.network.layers
    for row in metrics.memory_table(plan):
        written = "loaded" if row["first"] < 0 else layers[row["first"]].name
        read = layers[min(row["last"], len(layers) - 1)].name if row["last"] >= 0 else "none"
        table.add_row(
            Text(printable(row["tensor"])),
            f"{row['start']:,}",
            f"{row['start'] + row['size'] - 1:,}",
            f"{row['size']:,}",
            "x".join(map(str, row["shape"])),
            _arrangement(plan, row),
            Text(f"{printable(written)} .. {printable(read)}"),
        )
    return table


def _arrangement(plan: Plan, row: dict) -> str:
    """How a map lies in the memory: its zeros, or the phases and tiles in the banks."""
    if not plan.banked:
        return "x".join(map(str, row["padding"]))
    layout = plan.memory.regions[row["tensor"]].layout
    assert isinstance(layout, BankedLayout)
    return f"{layout.phases[0]}x{layout.phases[1]}, {layout.tiles}"


def synth_table(reports: Iterable[SynthReport]) -> Table:
    """One column a design."""
    reports = list(reports)
    table = Table(title="synthesis", title_justify="left", show_header=False)
    table.add_column()
    for _ in reports:
        table.add_column(justify="right")
    for name, text in _SYNTH_ROWS:
        if text is None:
            table.add_section()
        else:
            table.add_row(name, *(Text(printable(text(report))) for report in reports))
    return table


def board_table(report: BoardReport) -> Table:
    """A bitstream."""
    title = Text(f"{printable(report.network)} on {report.board}", style="table.title")
    table = Table(title=title, title_justify="left", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_row("device", report.device)
    table.add_row("lanes", str(report.lanes))
    for name, usage in (
        ("LUTs", report.luts), ("flip-flops", report.ffs), ("block RAMs", report.block_rams), ("DSPs", report.dsps),
    ):  # fmt: skip
        table.add_row(name, f"{usage.used:,} / {usage.available:,}")
    table.add_section()
    table.add_row("clock", f"{report.clock_mhz:.2f} MHz")
    table.add_row("could be", f"{report.fmax_mhz:.2f} MHz, {_percent(report.margin)} more")
    table.add_row(f"link, {report.link}", f"{report.baud:,} baud, room for {report.buffer:,} elements of inputs")
    table.add_row("bytes an inference", f"{report.request_bytes:,} there, {report.reply_bytes:,} back")
    table.add_row("inferences/s", f"{report.rate:,.0f}", style="bold")
    table.add_row("of the engine alone", f"{report.engine_rate:,.0f}")
    return table


def boards_table() -> Table:
    """All boards."""
    table = Table(title="boards", title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("name", "board", "device", "links"):
        table.add_column(name, no_wrap=True)
    for board in BOARDS.values():
        table.add_row(board.name, board.title, board.device, ", ".join(board.bauds))
    return table


def estimate_table(made: Iterable[Estimate | NoPlan]) -> Table:
    """A row an engine. What has an interval has it below."""
    # Narrow enough for a terminal of 80 columns.
    table = Table(title="estimates", title_justify="left", pad_edge=False, box=None, padding=(0, 1, 0, 0))
    table.add_column("device", no_wrap=True)
    for name in ("lanes", "cycles", "LUTs", "FFs", "BRAM", "DSP", "MHz", "inf/s"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("fits", no_wrap=True)
    for one in made:
        if isinstance(one, NoPlan):
            table.add_row(one.device, str(one.lanes), *[""] * 7, "[red]no plan")
            continue
        style = {"no": "[red]", "perhaps": "[yellow]", "yes": ""}[one.fits]
        table.add_row(
            one.device, str(one.lanes), f"{one.interval_cycles:,}", _between(one.luts), f"{one.ffs.value:,.0f}",
            str(one.block_rams), str(one.dsps), _between(one.fmax_mhz), _between(one.inferences_per_second),
            f"{style}{one.fits}",
        )  # fmt: skip
    return table


def _between(number: Between) -> str:
    return f"{number.value:,.0f}\n[dim]{_short(number.low)}-{_short(number.high)}[/]"


def _short(number: float) -> str:
    return f"{number:,.0f}" if number < 10_000 else f"{number / 1000:,.0f}k"


def error_table(model: Model) -> Table:
    """How far a model is off for networks that it has not seen: a row a figure, and a family or device."""
    table = Table(title="errors, unseen networks", title_justify="left", pad_edge=False, box=None)
    for name in ("figure", "devices"):
        table.add_column(name)
    for name in ("networks", "median", "90 % up to"):
        table.add_column(name, justify="right")
    titles = {"luts": "LUTs", "ffs": "FFs", "fmax_mhz": "MHz"}
    for row in model.errors():
        shares = _percent(row["median_error"]), _percent(row["large_error"])
        table.add_row(titles[row["figure"]], row["devices"], str(row["networks"]), *shares)
    return table


_SYNTH_ROWS = (
    ("network", lambda r: r.network),
    ("device", lambda r: r.device),
    ("lanes", lambda r: str(r.lanes)),
    ("weight bits", lambda r: str(r.weight_bits)),
    ("", None),
    ("LUTs", lambda r: str(r.luts)),
    ("logic cells", lambda r: str(r.logic_cells)),
    ("flip-flops", lambda r: str(r.ffs)),
    ("block RAMs", lambda r: str(r.block_rams)),
    ("DSP blocks", lambda r: str(r.dsps)),
    ("", None),
    ("Fmax, median", lambda r: f"{r.fmax_median:.1f} MHz"),
    ("Fmax, range", lambda r: f"{r.fmax_min:.1f} .. {r.fmax_max:.1f}, {len(r.fmax_mhz)} seeds"),
    ("slowest path, from", lambda r: r.critical_path.start),
    ("slowest path, to", lambda r: r.critical_path.end),
    ("slowest path", lambda r: f"{r.critical_path.delay_ns:.2f} ns, wires {r.critical_path.routing_ns:.2f} ns"),
    ("", None),
    ("cycles, one inference", lambda r: f"{r.latency_cycles:,}"),
    ("cycles, back to back", lambda r: f"{r.interval_cycles:,}"),
    ("latency", lambda r: f"{r.latency_us:.2f} us"),
    ("inferences per second", lambda r: f"{r.inferences_per_second:,.0f}"),
    ("throughput, actual", lambda r: f"{r.actual_gops:.2f} GOP/s"),
    ("throughput, dense equivalent", lambda r: f"{r.dense_equivalent_gops:.2f} GOP/s"),
    ("utilisation", lambda r: _percent(r.utilisation)),
    ("pruning ratio", lambda r: f"{r.pruning_ratio:.2f}"),
    ("stored bits per weight", lambda r: f"{r.stored_bits_per_weight:.2f}"),
    ("index overhead", lambda r: f"{r.index_overhead:.3f}"),
    ("", None),
    ("tools", lambda r: ", ".join(f"{name} {version}" for name, version in r.tools.items())),
)


def kind_table(records: Iterable[Record]) -> Table:
    """One row a kind of the results in a store."""
    table = Table(title="results", title_justify="left")
    table.add_column("kind")
    for column in ("results", "failed", "MB"):
        table.add_column(column, justify="right")
    kinds = defaultdict(list)
    for record in records:
        kinds[record.kind or "damaged"].append(record)
    for kind, members in sorted(kinds.items()):
        size = sum(record.size for record in members) / 1e6
        failed = sum(bool(record.failure) for record in members)
        table.add_row(Text(printable(kind)), f"{len(members):,}", f"{failed:,}", f"{size:,.1f}")
    return table


def entry_table(records: Iterable[Record]) -> Table:
    """One row a result in a store, the last used one at the end."""
    table = Table(title="results", title_justify="left")
    for column in ("key", "kind", "of", "kB", "used"):
        table.add_column(column, justify="right" if column == "kB" else "left")
    for record in sorted(records, key=lambda record: (record.used, record.key)):
        label = f"{record.label}: {record.failure}" if record.failure else record.label
        table.add_row(
            record.key[:12],
            Text(printable(record.kind or "damaged")),
            Text(printable(label)),
            f"{record.size / 1e3:,.1f}",
            time.strftime("%Y-%m-%d %H:%M", time.localtime(record.used)),
        )
    return table
