"""Engines of the digits network on devices that estimates have no model of: what they take, and their clocks.

python -m benchmarks.devices                     # all: about an hour
python -m benchmarks.devices gw2a-18-8
python -m benchmarks.devices --page              # docs/results/devices.md from what was measured
"""

from typing import Annotated, Any

import typer

from benchmarks.builds import ROOT
from benchmarks.command import JOBS, Jobs, PageOnly, chosen, command, measured
from benchmarks.engine.networks import digits
from darb_hw.config import EngineConfig
from darb_hw.emit import generate
from darb_hw.synthesis.report import SynthReport
from darb_hw.synthesis.synth import synthesise
from darb_prune.encoded import write_atomic
from darb_prune.studies import markdown

BUILD, FILE = ROOT / "build" / "devices", ROOT / "docs" / "results" / "devices.json"
SEEDS = 3
DEVICES = ("gw1nr-9", "gw2a-18", "lifcl-40")
LUTS = {"lane_multiplier": "lut", "requant_multiplier": "lut"}
POINTS: dict[str, dict[str, Any]] = {
    f"{device}-{lanes}": {"device": device, "lanes": lanes} for device in DEVICES for lanes in (4, 8, 16)
} | {f"{device}-8-luts": {"device": device, "lanes": 8} | LUTS for device in DEVICES}
_HEAD = (
    "device", "lanes", "multipliers", "LUTs", "logic cells", "flip-flops", "block RAMs", "DSPs", "Fmax, MHz",
    "from .. to", "inferences/s",
)  # fmt: skip


def measure(name: str, jobs: int) -> dict[str, Any]:
    """The report of an engine, as plain values."""
    path = BUILD / "digits.darb"
    digits(path, 8)
    build = generate(path, EngineConfig(**POINTS[name]), BUILD / name)
    return synthesise(build, range(1, SEEDS + 1), jobs).as_dict()


def page(results: dict[str, dict[str, Any]]) -> str:
    """The page of all engines that were measured."""
    rows = []
    for name, point in POINTS.items():
        if name not in results:
            continue
        report = SynthReport.from_dict(results[name])
        usages = (report.luts, report.logic_cells, report.ffs, report.block_rams, report.dsps)
        rows.append(
            [
                report.device,
                str(report.lanes),
                "LUTs" if "lane_multiplier" in point else "DSP blocks",
                *(f"{usage.used:,} of {usage.available:,}" for usage in usages),
                f"{report.fmax_median:.1f}",
                f"{report.fmax_min:.1f} .. {report.fmax_max:.1f}",
                f"{report.inferences_per_second:,.0f}",
            ]
        )
    return (
        "# Engines on Gowin's devices and on Nexus\n\n"
        "    python -m benchmarks.devices\n\n"
        "synthesises the digits network (8x, 8-bit weights) with Yosys, places and routes it with\n"
        f"nextpnr-himbaechel-gowin or nextpnr-nexus ({SEEDS} seeds; Fmax is the median). Only the clock has a pin.\n"
        "Logic cells are the LUTs that placement takes, those before flip-flops included.\n\n"
        "nextpnr has no delays of Gowin's multipliers: ways into them and out of them are not in Fmax. The engines\n"
        "with multipliers from LUTs have all of their ways in it. On Nexus a multiplier is the slowest part: its\n"
        "registers are 2.8 ns apart, whatever is around it.\n\n"
    ) + markdown.table(_HEAD, rows)


def main(
    points: Annotated[list[str] | None, typer.Argument(help=f"Any of {', '.join(POINTS)}; all if absent.")] = None,
    page_only: PageOnly = False,
    jobs: Jobs = JOBS,
) -> None:
    """Measure engines of the digits network on Gowin's devices and on Nexus.

    Example: python -m benchmarks.devices gw2a-18-8
    """
    names = [] if page_only else chosen(points, POINTS)
    results = measured(FILE, names, lambda name: measure(name, jobs), "engines")
    write_atomic(FILE.with_suffix(".md"), page(results).encode())


app = command(main)

if __name__ == "__main__":
    app()
