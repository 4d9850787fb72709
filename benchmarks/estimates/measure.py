"""One design through Yosys, and in part through place and route; what is there already is not run again."""

from collections.abc import Sequence
from pathlib import Path

from benchmarks.estimates.points import Point
from darb_hw.emit import generate
from darb_hw.errors import PlanError, ToolError
from darb_hw.synthesis.synth import netlist, synthesise
from darb_prune.encoded import write_atomic

__all__ = ["BUILD", "measure"]

BUILD = Path("build") / "estimates"


def measure(point: Point, seeds: Sequence[int]) -> str:
    """Measure a design; ``seeds`` are those of place and route, if it is placed. Gives why it has no such results, or
    nothing."""
    folder = BUILD / "points" / point.label
    refused = BUILD / "refused" / f"{point.label}.txt"
    names = [f"seed-{seed}.json" for seed in seeds if point.placed] or ["netlist.v"]
    if refused.is_file():
        return refused.read_text()
    if all((folder / "synth" / name).is_file() for name in names):
        return ""
    try:
        build = generate(point.variant.file(BUILD / "networks"), point.config, folder)
        if point.placed and seeds:
            synthesise(build, seeds, jobs=1)
        else:
            netlist(build)
    except (PlanError, ToolError) as error:
        write_atomic(refused, str(error).encode())
        return str(error)
    return ""
