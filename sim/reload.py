"""An engine that gets other networks while it runs, in a simulator."""

from darb_hw.emit import Build
from darb_prune.encoded import DarbError
from sim.launch import VERILATOR_OPTIONS, VERILATOR_WAIVERS, Design, launched

__all__ = ["simulate_reload"]


def simulate_reload(build: Build, other: Build, simulator: str, exchanges: int, seed: int = 1) -> dict[str, int]:
    """Exchange two networks while frames come, damaged ones and resets in between, and compare every output.

    Parameters
    ----------
    build, other : Build
        Of the same Verilog, both with vectors of the same inputs.
    simulator : str
        ``"icarus"`` or ``"verilator"``.
    exchanges : int
    seed : int

    Returns
    -------
    dict of str to int
        How often what was done.

    Raises
    ------
    DarbError
        If an output is wrong, or the simulator does not run.
    """
    sources, options = (build.verilog,), ()
    if simulator == "verilator":
        sources, options = (VERILATOR_WAIVERS, build.verilog), (*VERILATOR_OPTIONS,)
    design = Design(f"reload-{simulator}", sources, tuple(options), inside=False, bench="sim.reload_bench")
    request = {"other": str(other.folder.resolve()), "exchanges": exchanges, "seed": seed}
    report = launched(build, simulator, design, request, seed, None)
    mismatch = report.pop("mismatch")
    if mismatch is not None:
        raise DarbError(f"{build.folder} in {simulator}: {mismatch}")
    return report
