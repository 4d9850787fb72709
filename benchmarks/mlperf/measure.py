"""What is measured of each engine: plan, simulation, clock and area. Measurements of the same design are kept."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.builds import ROOT, identity
from benchmarks.engine.measure import simulated, synthesised
from benchmarks.mlperf.networks import BUILD, NETWORKS, network_file
from darb_hw.config import EngineConfig
from darb_hw.emit import generate
from darb_hw.plan.metrics import layer_table, utilisation
from darb_hw.plan.plan import Plan
from darb_hw.plan.resources import by_memory
from darb_prune.encoded import DarbError, EncodedNetwork, write_atomic

__all__ = ["FOLDER", "POINTS", "MlperfPoint", "measure"]

FOLDER = ROOT / "docs" / "results" / "mlperf-tiny"


@dataclass(frozen=True)
class MlperfPoint:
    """A network on an engine.

    Parameters
    ----------
    network : str
        A key of ``NETWORKS``.
    ratio : float
        1 for the published weights.
    lanes : int
    device : str
    roms : str
        Where the network stands, see :class:`~darb_hw.config.EngineConfig`.
    """

    network: str
    ratio: float
    lanes: int
    device: str = "ecp5-85k"
    roms: str = "blocks"

    @property
    def name(self) -> str:
        """Of its file and on the command line."""
        device = "" if self.device == "ecp5-85k" else f"-{self.device}"
        return f"{self.network}-{self.ratio:g}x-{self.lanes}{device}"


POINTS = {
    point.name: point
    for point in (
        *(MlperfPoint(name, ratio, lanes) for name in ("kws", "ic") for ratio in (1, 4) for lanes in (16, 32)),
        MlperfPoint("kws", 8, 16),
        *(MlperfPoint("vww", ratio, 16) for ratio in (1, 4)),
        MlperfPoint("ad", 1, 16),
        MlperfPoint("ad", 8, 64),
        MlperfPoint("kws", 1, 8, "ecp5-25k"),
        MlperfPoint("ic", 4, 8, "ecp5-25k"),
        MlperfPoint("ad", 8, 8, "ecp5-25k"),
        MlperfPoint("kws_half", 3, 8, "ice40-up5k"),
        MlperfPoint("ad", 8, 2, "ice40-up5k", roms="spram"),
    )
}


def planned(plan: Plan) -> dict[str, Any]:
    """What the plan says, as plain values."""
    return {
        "interval": plan.timing.interval_of(1),
        "latency": plan.timing.latency_of(1),
        "utilisation": utilisation(plan),
        "block_rams": by_memory(plan),
        "layers": layer_table(plan),
    }


def measure(
    point: MlperfPoint, seeds: range, jobs: int, synthesis: bool, again: bool, console: Console
) -> dict[str, Any]:
    """Everything about a point: its network made, its engine generated, simulated, placed.

    Parameters
    ----------
    point : MlperfPoint
    seeds : range
        One place-and-route run each.
    jobs : int
        Such runs at the same time.
    synthesis : bool
        Whether to run Yosys and nextpnr; without it the clock of an earlier run of the same design is kept.
    again : bool
        Whether to simulate and place again what was measured before.
    console : rich.console.Console
        For progress bars.

    Returns
    -------
    dict
        ``refused`` says why there is no engine: the device is too small for it, or the network has what the engine
        does not support.
    """
    name, saved = point.name, FOLDER / f"{point.name}.json"
    result: dict[str, Any] = {"point": asdict(point)}
    path, commands = network_file(point.network, point.ratio)
    network = EncodedNetwork.load(path)
    result |= {
        "macs": network.macs,
        "codes": sum(len(layer.index) for layer in network.layers),
        "provenance": {key: network.provenance.get(key) for key in ("ratio", "metric", "accuracy")},
    }
    config = EngineConfig(lanes=point.lanes, device=point.device, roms=point.roms)
    folder = BUILD / name
    options = "" if point.device == "ecp5-85k" else f" --device {point.device}"
    options += "" if point.roms == "blocks" else f" --roms {point.roms}"
    result["commands"] = [*commands, f"darb verilog {path} --lanes {point.lanes}{options} -o {folder}"]
    try:
        build = generate(path, config, folder)
    except DarbError as error:
        result["refused"] = str(error)
        return _saved(saved, result)
    result |= {"design": identity(build), "plan": planned(build.plan)}
    before = json.loads(saved.read_text()) if saved.is_file() and not again else {}
    if before.get("design") != result["design"]:
        before = {}
    result["sim"] = before.get("sim") or simulated(name, build, NETWORKS[point.network].samples, console)
    result["synth"] = before.get("synth")
    known = set((result["synth"] or {}).get("fmax_mhz", {}))
    if synthesis and known != {str(seed) for seed in seeds}:
        result["synth"] = synthesised(name, build, seeds, jobs, console)
    return _saved(saved, result)


def _saved(path: Path, values: dict[str, Any]) -> dict[str, Any]:
    """Write a measurement; gives it as it will be read back."""
    text = json.dumps(values, indent=2) + "\n"
    write_atomic(path, text.encode())
    return json.loads(text)
