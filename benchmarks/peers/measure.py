"""One row of the comparison: a network through one generator, checked, placed and counted."""

import json
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks.peers.dense import Dense, digest, layers_of
from benchmarks.peers.limits import Stopped, module, run
from benchmarks.peers.place import RESOURCES, place
from benchmarks.peers.simulate import simulate
from darb_hw.config import DEVICES, EngineConfig
from darb_hw.emit import generate
from darb_hw.synthesis.synth import synthesise
from darb_prune.encoded import DarbError, EncodedNetwork

__all__ = ["DEVICE", "TARGET_MHZ", "TOOLS", "Contender", "Subject", "contenders", "measure", "rate"]

DEVICE = DEVICES["ecp5-85k"]
TARGET_MHZ = 200.0  # what place and route of the peers aims for; their own, so that their rows stay
TOOLS = ("darb", "alkaid", "nngen")
CUTOFF = 2.0  # delay between registers that alkaid is given: see the page
NNGEN_MIN = 128  # rows: its engine is about the same for all networks
SAMPLES = 100


@dataclass(frozen=True)
class Subject:
    """A network to measure, named after its file.

    Parameters
    ----------
    path : Path
        The ``.darb`` file.
    layers : list of Dense
    kept : int
        Weights kept by pruning.
    """

    path: Path
    layers: list[Dense] = field(repr=False)
    kept: int

    @classmethod
    def of(cls, path: Path) -> "Subject":
        network = EncodedNetwork.load(path)
        return cls(path, layers_of(network), network.kept)

    @property
    def name(self) -> str:
        return self.path.stem

    @property
    def rows(self) -> int:
        return max(len(layer.bias) for layer in self.layers)


@dataclass(frozen=True)
class Contender:
    """A generator and what it is asked for; ``options`` are those of ``generate.py``, or of ``EngineConfig``."""

    tool: str
    name: str
    options: dict


def contenders(subject: Subject, cutoff: float = CUTOFF) -> list[Contender]:
    """The generators that a network is measured with; ``cutoff`` is alkaid's greatest delay between registers."""
    other = "" if cutoff == CUTOFF else f", cutoff {cutoff:g}"
    lanes = [count for count in (4, 16, 64) if 4 * count <= subject.rows][-2:] or [1]
    chosen = [Contender("darb", f"darb, {count} lanes", {"lanes": count}) for count in lanes]
    chosen.append(Contender("alkaid", f"alkaid{other}", {"cutoff": cutoff}))
    if len(subject.layers) == 1:
        chosen.append(Contender("alkaid", f"alkaid, sums only{other}", {"cutoff": cutoff, "sums": True}))
    if subject.rows >= NNGEN_MIN:
        chosen.append(Contender("nngen", "nngen, 4x4", {"left": 4, "right": 4}))
    return chosen


def measure(
    subject: Subject,
    contender: Contender,
    seeds: Sequence[int],
    minutes: float,
    folder: Path,
    before: dict | None,
    obstacle: str | None,
    progress: Callable[[str], None],
) -> dict:
    """Build, check and place a network; gives plain values.

    A row that ended early has a ``reason``, and ``too_large`` if larger networks can only fare worse.

    Parameters
    ----------
    seeds : sequence of int
    minutes : float
        Of processor time for each step.
    folder : Path
        Build folder of this row; what it holds of an earlier run is used again.
    before : dict, optional
        An earlier row. The row of a peer is kept if network, options, version and limit of time are the same, and it
        has all seeds or a reason why not.
    obstacle : str, optional
        Why a peer need not try.
    """
    if contender.tool == "darb":
        return _darb(subject, contender, seeds, folder, progress)
    identity = {
        "network": digest(subject.layers),
        "options": contender.options,
        "generator": f"{contender.tool} {_version(contender.tool)}",
        "device": DEVICE.name,
        "target_mhz": TARGET_MHZ,
    }
    if before and before["identity"] == identity:
        done = {int(seed) for seed in before["fmax_mhz"]} >= set(seeds)
        if done or (before.get("reason") and before["minutes"] >= minutes):
            return before
    if obstacle:
        return {"identity": identity, "minutes": minutes, "fmax_mhz": {}, "reason": obstacle}
    row = {"identity": identity, "minutes": minutes, "fmax_mhz": {}}
    try:
        design = _generated(subject, contender, identity, minutes, folder, progress)
    except Stopped as stopped:
        return row | {"reason": f"{contender.tool} {stopped}", "too_large": True}
    row |= {name: design[name] for name in ("estimated_luts", "weight_bytes") if name in design}
    try:
        row |= _simulated(folder, design, minutes, progress)
    except Stopped as stopped:
        row["unchecked"] = f"the simulation {stopped}"
    return row | place(folder, design, replace(DEVICE, target_mhz=TARGET_MHZ), seeds, minutes, progress)


def _version(tool: str) -> str:
    try:
        return metadata.version(tool)
    except metadata.PackageNotFoundError:
        raise DarbError(f"{tool} is not installed: pip install 'darb[peers]' brings it") from None


def _generated(
    subject: Subject,
    contender: Contender,
    identity: dict,
    minutes: float,
    folder: Path,
    progress: Callable[[str], None],
) -> dict:
    """Run the generator unless the folder holds the same design."""
    made, mark = folder / "generated.json", folder / "identity.json"
    text = json.dumps(identity)
    if not (made.is_file() and mark.is_file() and mark.read_text() == text):
        progress("generator")
        folder.mkdir(parents=True, exist_ok=True)
        made.unlink(missing_ok=True)
        (folder / "simulated.json").unlink(missing_ok=True)
        options = [
            word
            for name, value in contender.options.items()
            for word in ([f"--{name}"] if value is True else [f"--{name}", value])
        ]
        command = module("generate", subject.path.resolve(), folder.resolve(), "--tool", contender.tool, *options)
        run([*command, "--samples", str(SAMPLES)], folder, "generator.log", minutes)
        mark.write_text(text)
    return json.loads(made.read_text())


def _simulated(folder: Path, design: dict, minutes: float, progress: Callable[[str], None]) -> dict:
    """Simulate the design unless the folder holds the result."""
    seen = folder / "simulated.json"
    if not seen.is_file():
        progress("simulation")
        seen.write_text(json.dumps(asdict(simulate(folder, design, minutes))))
    return json.loads(seen.read_text())


def _darb(
    subject: Subject, contender: Contender, seeds: Sequence[int], folder: Path, progress: Callable[[str], None]
) -> dict:
    """The engine; ``synthesise`` keeps what it has made before."""
    row: dict[str, Any] = {"identity": {"network": digest(subject.layers)}, "fmax_mhz": {}}
    try:
        progress("generator")
        build = generate(subject.path, EngineConfig(device=DEVICE.name, **contender.options), folder)
        row["identity"]["design"] = build.digest
        row |= {"latency": build.plan.timing.latency_of(1), "interval": build.plan.timing.interval_of(1)}
        progress("Yosys and nextpnr")
        report = synthesise(build, seeds, jobs=1, progress=progress)
    except DarbError as error:
        return row | {"reason": str(error).partition(" (see ")[0]}
    row |= {name: getattr(report, name).used for name in RESOURCES}
    return row | {"fmax_mhz": {str(seed): mhz for seed, mhz in report.fmax_mhz.items()}, "tools": report.tools}


def rate(row: dict) -> float | None:
    """Inferences a second, back to back, at the median Fmax."""
    return statistics.median(row["fmax_mhz"].values()) * 1e6 / row["interval"] if row["fmax_mhz"] else None
