"""Yosys: its script, the job that runs it, and the resources that it counts."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from darb_hw.errors import ToolError
from darb_hw.jobs.job import Job
from darb_hw.jobs.program import raise_failure, run_program
from darb_hw.synthesis import tools

__all__ = ["Synthesis", "resources_of", "yosys_script"]

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
_RESULTS = ("cells.json", "design.json", "netlist.v")


def yosys_script(family: str, top: str, verilog: str, primitives: str | None, dsp: bool) -> str:
    """What Yosys is to do in a folder: read ``verilog`` and ``primitives``, synthesise, write the netlist and counts.

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
        "tee -q -o cells.json stat -json\n"
        "write_json design.json\n"
        "write_verilog -noattr netlist.v\n"
    )


@dataclass(frozen=True)
class Synthesis(Job):
    """Verilog and contents of ROMs -> ``cells.json`` (counts), ``design.json`` and ``netlist.v``, ``yosys.log``.

    Parameters
    ----------
    inputs : mapping of str to bytes
        The files that ``script`` names, and those of ``$readmemh``.
    script : str
        See :func:`yosys_script`.
    version : str
        Of Yosys.
    title : str
        For people.
    """

    kind: ClassVar[str] = "synthesis"
    inputs: Mapping[str, bytes]
    script: str
    version: str
    title: str = ""

    @property
    def label(self) -> str:
        return f"synthesis of {self.title}"

    def settings(self) -> dict[str, Any]:
        return {"script": self.script, "yosys": self.version}

    def run(self, folder: Path) -> Mapping[str, bytes]:
        yosys = tools.of_version(tools.yosys(), self.version)
        (folder / "run.ys").write_text(self.script)
        log = folder / "yosys.log"
        code = run_program([*yosys.command, "-s", "run.ys"], folder, log)
        text = log.read_text(errors="replace")
        if code:
            raise_failure("yosys", code, text, {"yosys.log": text.encode()})
        for name in _RESULTS:
            if not (folder / name).is_file():
                raise ToolError(f"{yosys.version} left no {name}; install it again: pip install 'darb[synth]'")
        return {name: (folder / name).read_bytes() for name in (*_RESULTS, log.name)}


def resources_of(family: str, statistics: bytes) -> dict[str, int]:
    """``luts``, ``ffs``, ``block_rams`` and ``dsps`` of a netlist, from what ``stat -json`` of Yosys has written."""
    cells = json.loads(statistics)["design"]["num_cells_by_type"]
    return {
        resource: sum(
            count * taken
            for kind, count in cells.items()
            for prefix, taken in prefixes.items()
            if kind.startswith(prefix)
        )
        for resource, prefixes in _CELLS[family].items()
    }
