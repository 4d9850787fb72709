"""What is measured of each point of the engine: plan, simulation, clock and area."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.builds import ROOT, check, identity
from benchmarks.command import bar
from benchmarks.engine.networks import BUILD, NETWORKS, SEEDS, lenet
from darb_hw.config import EngineConfig
from darb_hw.emit import Build, generate
from darb_hw.plan.metrics import ideal_code_bits, index_overhead, layer_table, stored_bits, utilisation
from darb_hw.plan.plan import Plan
from darb_hw.plan.resources import by_memory
from darb_hw.synthesis.synth import synthesise
from darb_prune.encoded import DarbError, EncodedNetwork, write_atomic
from sim.batch import batch

FOLDER = ROOT / "docs" / "results" / "engine"


@dataclass(frozen=True)
class EnginePoint:
    """An engine to measure.

    Parameters
    ----------
    network : str
        Of ``NETWORKS``.
    lanes : int
    device : str
    samples : int
        Test vectors to simulate, 0 for none.
    synthesis : bool
    dense : str, optional
        The network of the same layers without pruning, planned for the same engine.
    memory, input_order : str
        Of :class:`EngineConfig`.
    """

    network: str
    lanes: int
    device: str = "ecp5-85k"
    samples: int = 0
    synthesis: bool = True
    dense: str | None = None
    memory: str = "auto"
    input_order: str = "logical"


_LAYER = "linear-1024-dense"
POINTS = {
    "lenet-300-100": EnginePoint("lenet-300-100", 16, samples=100, dense="lenet-300-100-dense", input_order="storage"),
    **{f"lanes-{lanes}": EnginePoint("linear-1024-16x", lanes, dense=_LAYER) for lanes in (8, 16, 32)},
    "lanes-64": EnginePoint("linear-1024-16x", 64, samples=20, dense=_LAYER),
    "shared-64": EnginePoint("linear-1024-16x", 64, samples=20, dense=_LAYER, memory="shared"),
    "one-64": EnginePoint("linear-1024-16x-one", 64, samples=20, synthesis=False, dense=_LAYER),
    "even-64": EnginePoint("linear-1024-16x-even", 64, samples=20, synthesis=False, dense=_LAYER),
    "25x-64": EnginePoint("linear-1024-25x", 64, samples=20, dense=_LAYER),
    "25x-128": EnginePoint("linear-1024-25x-128", 128, samples=20, dense=_LAYER),
    "hx8k": EnginePoint("digits-4bit", 8, "ice40-hx8k", samples=100),
    "up5k": EnginePoint("digits-8bit", 8, "ice40-up5k", samples=100),
}
PROBES = ("ecp5-85k", "ice40-hx8k", "ice40-up5k")


def network_file(name: str) -> Path:
    """The ``.darb`` file of a network, made unless it exists."""
    path = BUILD / f"{name}.darb"
    NETWORKS[name](path)
    return path


def planned(plan: Plan) -> dict:
    """What the plan says, as plain values.

    ``ideal_bits`` are the bits of the kept weights, weight and block bits each: codes cannot be smaller.
    """
    network, rows = plan.network, plan.images["rows"]
    return {
        "cycles": {
            "load": plan.timing.load,
            "compute": plan.timing.compute,
            "latency": plan.timing.latency_of(1),
            "interval": plan.timing.interval_of(1),
        },
        "utilisation": utilisation(plan),
        "index_overhead": index_overhead(plan),
        "weights": network.weights,
        "kept": network.kept,
        "macs": network.macs,
        "levels": sorted({level.bits for layer in network.layers for level in layer.levels if not level.is_empty}),
        "ideal_bits": ideal_code_bits(plan.network),
        "stored_bits": stored_bits(plan),
        "bits": {name: image.bits for name, image in plan.images.items()},
        "rows": {"count": rows.depth} | {field.name: field.width for field in rows.fields},
        "block_rams": by_memory(plan),
        "requantiser_dsps": plan.requant_style.limbs * plan.requant_style.dsp,
        "layers": layer_table(plan),
        "provenance": network.provenance,
    }


def simulated(name: str, build: Build, samples: int, console: Console) -> dict:
    """``samples`` test vectors back to back on Verilator: all elements of the output, all cycle counts."""
    with bar(console, f"{name}: Verilator", samples) as advance:
        report = batch(build, range(samples), progress=advance)
    check(name, report)
    return {
        "samples": report.frames,
        "elements": report.elements,
        "cycles": report.cycles,
        "latency": report.latency,
        "interval": report.interval,
    }


def synthesised(name: str, build: Build, seeds: range, jobs: int, console: Console) -> dict:
    """Area and clock, or ``refused``: why the engine does not fit the device."""
    with bar(console, f"{name}: Yosys and nextpnr", 1 + len(seeds)) as advance:
        done = []

        def progress(what: str) -> None:
            done.append(what)
            advance(len(done))

        try:
            return synthesise(build, seeds, jobs, progress=progress).as_dict()
        except DarbError as error:
            return {"refused": str(error)}


def measure(
    name: str, point: EnginePoint, seeds: range, jobs: int, synthesis: bool, again: bool, console: Console
) -> dict:
    """Everything about a point; earlier measurements of the same design are kept."""
    saved, source = FOLDER / f"{name}.json", network_file(point.network)
    config = EngineConfig(lanes=point.lanes, device=point.device, memory=point.memory, input_order=point.input_order)
    result: dict[str, Any] = {"point": point.__dict__}
    try:
        build = generate(source, config, BUILD / name)
    except DarbError as error:  # too large for the device
        result |= {"plan": planned(Plan.make(EncodedNetwork.load(source), config)), "refused": str(error)}
    else:
        result |= {"design": identity(build), "plan": planned(build.plan)}
        before = json.loads(saved.read_text()) if saved.is_file() and not again else {}
        if before.get("design") != result["design"]:
            before = {}
        result["sim"] = before.get("sim")
        if point.samples and (not result["sim"] or result["sim"]["samples"] != point.samples):
            result["sim"] = simulated(name, build, point.samples, console)
        result["synth"] = before.get("synth")
        known = set((result["synth"] or {}).get("fmax_mhz", {}))
        if point.synthesis and synthesis and known != {str(seed) for seed in seeds}:
            result["synth"] = synthesised(name, build, seeds, jobs, console)
    if point.dense:
        dense = Plan.make(EncodedNetwork.load(network_file(point.dense)), config)
        result["dense"] = {"interval": dense.timing.interval_of(1), "utilisation": utilisation(dense)}
    return _saved(saved, result)


def _saved(path: Path, values: dict) -> dict:
    """Write a measurement; gives it as it will be read back."""
    text = json.dumps(values, indent=2) + "\n"
    write_atomic(path, text.encode())
    return json.loads(text)


def probed(seeds: range, jobs: int, again: bool) -> dict:
    """Clock of one lane without any control: the limit that device and tools set."""
    from darb_hw.synthesis.probe import limit_probe

    saved = FOLDER / "probe.json"
    before = json.loads(saved.read_text()) if saved.is_file() and not again else {}
    clocks: dict[str, dict] = {}
    for device in PROBES:
        clocks[device] = before.get(device) or {}
        if set(clocks[device]) != {str(seed) for seed in seeds}:
            clocks[device] = limit_probe(device, seeds, jobs)
    return _saved(saved, clocks)


def accuracies() -> dict:
    """Accuracy of LeNet-300-100 on several seeds, with multipliers of 16 and of 8 bits, from the networks' files."""
    by_seed = {}
    for seed in SEEDS:
        by_bits = {}
        for bits in (None, 8):
            narrow = "" if bits is None else f"-m{bits}"
            path = BUILD / f"lenet-300-100-s{seed}{narrow}.darb"
            by_bits["commands"] = lenet(path, seed, mult_bits=bits)
            by_bits[str(bits or 16)] = EncodedNetwork.load(path).provenance["accuracy"]
        by_seed[str(seed)] = by_bits
    return _saved(FOLDER / "accuracy.json", by_seed)
