"""Yosys and nextpnr on the Verilog of a peer: the commands and the counting of ``darb synth``, with limits.

One difference: peers are placed out of context, without pins, since their ports are wider than any package.
"""

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.peers.limits import Stopped, run
from darb_hw.config import Target
from darb_hw.synthesis import tools
from darb_hw.synthesis.route import fmax_of
from darb_hw.synthesis.yosys import resources_of
from darb_prune.encoded import DarbError, write_atomic

__all__ = ["RESOURCES", "place"]

RESOURCES = ("luts", "ffs", "block_rams", "dsps")


def place(
    folder: Path, design: dict, device: Target, seeds: Sequence[int], minutes: float, progress: Callable[[str], None]
) -> dict:
    """Synthesise, place and route; results of earlier calls in this folder are used again.

    Parameters
    ----------
    folder : Path
        With the sources of ``design``.
    design : dict
        Of the generator: ``top``, ``clock``, ``sources``.
    seeds : sequence of int
        One run of place and route each; after one that reaches the limit there is no other.
    minutes : float
        Limit of each step.

    Returns
    -------
    dict
        Number of each of ``RESOURCES``, ``fmax_mhz`` for each seed, and ``reason`` if there is not all of it;
        ``too_large`` if it ended before place and route.
    """
    yosys, nextpnr = tools.yosys(), tools.nextpnr(device.family)
    measured = {"fmax_mhz": {}, "tools": {tool.name: tool.version for tool in (yosys, nextpnr)}}
    script = (
        f"read_verilog {' '.join(design['sources'])}\nsynth_{device.family} -top {design['top']}\n"
        "tee -q -o cells.json stat -json\nwrite_json design.json\n"
    )
    _prepare(folder, design["sources"], script, [*device.nextpnr, str(device.target_mhz), measured["tools"]])
    try:
        if not (folder / "design.json.done").is_file():
            progress("Yosys")
            (folder / "run.ys").write_text(script)
            run([*yosys.command, "-s", "run.ys"], folder, "yosys.log", minutes)
            (folder / "design.json.done").touch()
        measured |= resources_of(device.family, (folder / "cells.json").read_bytes())
        lacking = [name for name in ("luts", "ffs") if measured[name] > device.luts]
        lacking += [name for name in ("block_rams", "dsps") if measured[name] > getattr(device, name)]
        if lacking:
            return measured | {"reason": f"does not fit: too many {', '.join(lacking)}", "too_large": True}
        for seed in seeds:
            report = folder / f"seed-{seed}.json"
            if not report.is_file():
                progress(f"nextpnr, seed {seed}")
                options = [
                    *device.nextpnr, "--json", "design.json", "--top", design["top"], "--freq", str(device.target_mhz),
                    "--seed", str(seed), "--timing-allow-fail", "--out-of-context", "--report", "part.json", "--quiet",
                ]  # fmt: skip
                run([*nextpnr.command, *options], folder, f"seed-{seed}.log", minutes)
                os.replace(folder / "part.json", report)
            measured["fmax_mhz"][str(seed)] = round(fmax_of(json.loads(report.read_text()), design["clock"]), 3)
    except Stopped as stopped:
        tool = "nextpnr" if "luts" in measured else "Yosys"
        return measured | {"reason": f"{tool} {stopped}"} | ({"too_large": True} if tool == "Yosys" else {})
    except DarbError as error:
        return measured | {"reason": str(error).partition(" (see ")[0]}
    return measured


def _prepare(folder: Path, sources: list[str], *options: object) -> None:
    """Forget results of other sources, options or tools."""
    content = hashlib.sha256(b"".join((folder / source).read_bytes() for source in sources)).hexdigest()
    mark, text = folder / "state.json", json.dumps([content, *options]).encode()
    if mark.is_file() and mark.read_bytes() == text:
        return
    for path in (*folder.glob("seed-*"), folder / "design.json.done"):
        path.unlink(missing_ok=True)
    write_atomic(mark, text)
