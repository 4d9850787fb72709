"""Yosys: its script, the job that runs it, and the resources that it counts."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from darb_hw.config import Target
from darb_hw.errors import ToolError
from darb_hw.jobs.job import Job
from darb_hw.jobs.program import raise_failure, run_program
from darb_hw.synthesis import tools

__all__ = ["Synthesis", "resources_of", "yosys_script"]

# A CCU2C is a carry chain of two LUTs; a TRELLIS_DPR16X4 is four LUTs as memory and two as its write port. iCE40
# adders are SB_LUT4 beside an SB_CARRY, which takes no LUT. A RAM16SDP4 takes a block of eight LUTs for itself.
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
    "gowin": {
        "luts": {"LUT": 1, "ALU": 1, "RAM16SDP": 8},
        "ffs": {"DFF": 1},
        "block_rams": {"SP": 1, "SDP": 1, "DP": 1},
        "dsps": {"MULT18X18": 1},
    },
    "nexus": {
        "luts": {"LUT4": 1, "WIDEFN9": 2, "CCU2": 2, "DPR16X4": 6},
        "ffs": {"FD1P3": 1},
        "block_rams": {"DP16K": 1, "PDP": 1},
        "dsps": {"MULT9X9": 1, "MULT18X18": 2},
    },
}
"""For each family and resource: how the names of cell types begin, and how many of the resource such a cell takes."""
_RESULTS = ("cells.json", "design.json", "netlist.v")


def yosys_script(device: Target, top: str, verilog: str, primitives: str | None, dsp: bool, pins: bool = False) -> str:
    """What Yosys is to do in a folder: read ``verilog`` and ``primitives``, synthesise, write the netlist and counts.

    Parameters
    ----------
    device : Target
    top : str
        Name of the top-level module.
    verilog : str
        Name of a file.
    primitives : str or None
        Name of the file with modules made from primitives.
    dsp : bool
        Whether multiplications may become DSP blocks.
    pins : bool
        Whether every port gets a pin. Else nextpnr chooses one for it; where it does not, only the clock has a pin, and
        all other ports are cut off.
    """
    files = f"-D DARB_PRIMITIVES {verilog} {primitives}" if primitives else verilog
    cut = device.needs_pins and not pins
    return (
        f"read_verilog {files}\n"
        f"{_synthesis(device, top, dsp, cut)}"
        "tee -q -o cells.json stat -json\n"
        f"{_CUT.format(top=top, buffer=_INPUT_BUFFER[device.family]) if cut else ''}"
        "write_json design.json\n"
        f"{_WHOLE if cut else ''}"
        "write_verilog -noattr netlist.v\n"
    )


# Yosys would simplify what has no driver, but no such pass comes behind these.
_CUT = """design -push-copy
select {top}/clk
iopadmap -bits -inpad {buffer} O:I
select -clear
delete -port {top}/* {top}/clk %d
"""
_WHOLE = "design -pop\n"
_INPUT_BUFFER = {"gowin": "IBUF", "nexus": "IB"}

# Yosys connects the first cell of a carry chain to a constant, which nextpnr-nexus refuses (issue 4081 of Yosys). What
# that cell does depends on no carry (nexus_carry.v knows it by its tables), so its input is left open.
_CARRY = """design -push
read_verilog <<EOT
{verilog}EOT
design -stash carry
design -pop
techmap -map %carry
"""


def _synthesis(device: Target, top: str, dsp: bool, cut: bool) -> str:
    """The commands of Yosys."""
    if device.family == "ecp5":
        return f"synth_ecp5{'' if dsp else ' -nodsp'} -top {top}\n"
    # Multipliers are instances of the primitive. On ice40 the pass of -dsp would pack adders into them and forget their
    # registers; that for Gowin's devices knows of no registers.
    if device.family == "ice40":
        return f"synth_ice40 -top {top}\n"
    if device.family == "gowin":
        chip = device.chip.partition("-")[0].lower()
        return f"synth_gowin -family {chip} -nodsp{' -noiopads' if cut else ''} -top {top}\n"
    command = f"synth_lattice -family lifcl -nodsp{' -noiopad' if cut else ''} -top {top}"
    carry = _CARRY.format(verilog=Path(__file__).with_name("nexus_carry.v").read_text())
    return f"{command} -run :map_cells\n{carry}{command} -run map_cells:\n"


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
