"""The synthesised netlist in Icarus, with models of the device's cells: what nextpnr places, driven by its ports."""

import hashlib
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from darb_hw.emit import Build
from darb_hw.synthesis import tools
from darb_hw.synthesis.synth import netlist
from darb_prune.encoded import write_atomic
from sim.launch import Design, run
from sim.scenario import Report, Scenario

__all__ = ["cell_models", "simulate_netlist"]

_LOOPS = re.compile(r"^\(\* blackbox \*\)\nmodule SB_PLL40_\w+ .*?^endmodule", re.DOTALL | re.MULTILINE)
_ECP5_CELLS = ("LUT2", "LUT4", "PFUMX", "L6MUX21", "CCU2C", "TRELLIS_FF", "TRELLIS_DPR16X4")
_GOWIN_CELLS = (
    *(f"LUT{inputs}" for inputs in range(1, 5)), "MUX2", *(f"MUX2_LUT{inputs}" for inputs in range(5, 9)), "ALU",
    *(f"DFF{control}{enable}" for control in ("", "R", "S", "C", "P") for enable in ("", "E")),
    *(f"RAM16SDP{bits}" for bits in (1, 2, 4)), "IBUF", "OBUF", "VCC", "GND",
)  # fmt: skip
_NEXUS_CELLS = (
    "LUT4", "LUT4_3", "WIDEFN9", "INV", "CCU2", "FD1P3IX", "FD1P3JX", "DPR16X4", "OXIDE_DSP_REG", "OXIDE_DSP_SIM",
    "MULT9X9", "MULT18X18", "IB", "OB", "VHI", "VLO",
)  # fmt: skip
_CELLS = {"ecp5": _ECP5_CELLS, "gowin": _GOWIN_CELLS, "nexus": _NEXUS_CELLS}
_OURS = {"ecp5": ("ecp5",), "gowin": ("block_ram", "gowin"), "nexus": ("block_ram", "nexus")}


def cell_models(family: str) -> str:
    """Verilog of the cells of ``family``: those that Yosys brings, and ours where Yosys has black boxes only.

    Raises
    ------
    DarbError
        If Yosys is missing.
    """
    folder = tools.yosys_data() / family
    if family == "ice40":
        # Icarus does not take the default values of inputs in these models. Those of loops are black boxes.
        text = (folder / "cells_sim.v").read_text()
        return "`define NO_ICE40_DEFAULT_ASSIGNMENTS\n" + _LOOPS.sub("", text)
    # Icarus cannot read all of these files, and some of their modules are black boxes.
    theirs = "".join(path.read_text() for path in sorted(folder.glob("*sim*")))
    if family == "nexus":
        # The last word of Yosys's model of a memory has no contents.
        parse = (folder / "parse_init.vh").read_text()
        theirs = theirs.replace('`include "parse_init.vh"', parse).replace("i < 15", "i < 16")
    modules = re.finditer(r"^module (\w+).*?^\s*endmodule", theirs, re.DOTALL | re.MULTILINE)
    cells = {module[1]: module[0] for module in modules}
    if family == "ecp5":
        # Yosys's model starts a register with a wire that nothing drives yet. Its unknown value would reach memories.
        cells["TRELLIS_FF"] = cells["TRELLIS_FF"].replace("initial Q = srval;", 'initial Q = REGSET == "SET";')
    ours = Path(__file__).with_name("cells")
    return "\n".join(
        [*(cells[name] for name in _CELLS[family]), *((ours / f"{name}.v").read_text() for name in _OURS[family])]
    )


def simulate_netlist(
    build: Build,
    scenarios: Sequence[Scenario],
    *,
    seed: int = 1,
    progress: Callable[[int], None] | None = None,
) -> list[Report]:
    """Run scenarios on the netlist of a build; every output and every cycle count between ports is checked.

    Parameters
    ----------
    build : Build
        With test vectors.
    scenarios : sequence of Scenario
    seed : int
        Of cocotb.
    progress : callable, optional
        Called about once a second with the number of frames done.

    Returns
    -------
    list of Report
        One a scenario, up to the first with a mismatch; without rows and layers, which a netlist does not show.

    Raises
    ------
    DarbError
        If Yosys or Icarus is missing, or does not synthesise, compile or run the design.
    """
    made, models = netlist(build), cell_models(build.plan.config.target.family)
    path = build.folder / "sim" / "cells.v"
    path.parent.mkdir(exist_ok=True)
    write_atomic(path, models.encode())
    stamp = [hashlib.sha256(source.read_bytes()).hexdigest() for source in (path, made)]
    design = Design("netlist", (path, made), stamp={"sources": stamp}, inside=False)
    return run(build, "icarus", design, scenarios, seed=seed, progress=progress)
