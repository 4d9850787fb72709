"""Yosys on a folder: its script, its run, and the resources that it counts."""

import json
import subprocess
from pathlib import Path

from darb_hw.errors import ToolError
from darb_hw.synthesis.results import error_line, read_results
from darb_hw.synthesis.tools import Tool

__all__ = ["resources_of", "run_yosys", "yosys_script"]

# A CCU2C is a carry chain of two LUTs; a TRELLIS_DPR16X4 is four LUTs as memory and two as its write port. iCE40
# adders are SB_LUT4 beside an SB_CARRY, which takes no LUT.
_CELLS = {
    "ice40": {
        "luts": {"SB_LUT4": 1},
        "ffs": {"SB_DFF": 1},
        "block_rams": {"SB_RAM40_4K": 1},
        "dsps": {"SB_MAC16": 1},
    },
    "ecp5": {
        "luts": {"LUT4": 1, "CCU2C": 2, "TRELLIS_DPR16X4": 6},
        "ffs": {"TRELLIS_FF": 1},
        "block_rams": {"DP16KD": 1},
        "dsps": {"MULT18X18D": 1},
    },
}
"""For each family and resource: how the names of cell types begin, and how many of the resource such a cell takes."""


def yosys_script(family: str, top: str, verilog: str, primitives: str | None, dsp: bool) -> str:
    """What Yosys is to do in a folder: read ``verilog`` and ``primitives``, synthesise, write into ``synth/``.

    Parameters
    ----------
    family : str
        ``"ice40"`` or ``"ecp5"``.
    top : str
        Name of the top-level module.
    verilog : str
        Name of a file.
    primitives : str or None
        Name of the file with modules made from primitives.
    dsp : bool
        Whether multiplications may become DSP blocks.
    """
    # On ice40 multipliers are instances of the primitive. The pass of -dsp would pack adders into them and forget their
    # registers.
    target = {"ice40": "synth_ice40", "ecp5": "synth_ecp5" + ("" if dsp else " -nodsp")}[family]
    files = f"-D DARB_PRIMITIVES {verilog} {primitives}" if primitives else verilog
    return (
        f"read_verilog {files}\n"
        f"{target} -top {top}\n"
        "tee -q -o synth/cells.json stat -json\n"
        "write_json synth/design.json\n"
        "write_verilog -noattr synth/netlist.v\n"
    )


def run_yosys(yosys: Tool, folder: Path, script: str) -> None:
    """Run a script of :func:`yosys_script` in ``folder``, unless its results are there.

    Raises
    ------
    ToolError
        If Yosys fails.
    """
    synth = folder / "synth"
    done, log = synth / "synthesis.done", synth / "yosys.log"
    made = all((synth / name).is_file() for name in ("design.json", "netlist.v"))
    if done.is_file() and made and read_results(synth / "cells.json") is not None:
        return
    (synth / "run.ys").write_text(script)
    with log.open("w") as stream:
        # In the build folder, so that $readmemh finds rom/.
        run = subprocess.run(
            [*yosys.command, "-s", "synth/run.ys"], cwd=folder, stdout=stream, stderr=subprocess.STDOUT, check=False
        )
    if run.returncode:
        raise ToolError(f"yosys failed: {error_line(log)} (see {log})")
    done.touch()


def resources_of(family: str, statistics: Path) -> dict[str, int]:
    """``luts``, ``ffs``, ``block_rams`` and ``dsps`` of a netlist, from what ``stat -json`` of Yosys has written."""
    cells = json.loads(statistics.read_text())["design"]["num_cells_by_type"]
    return {
        resource: sum(
            count * taken
            for kind, count in cells.items()
            for prefix, taken in prefixes.items()
            if kind.startswith(prefix)
        )
        for resource, prefixes in _CELLS[family].items()
    }
