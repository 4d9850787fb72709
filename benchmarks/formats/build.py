"""Skeletons as Verilog: written, simulated with Verilator, synthesised with Yosys, placed with nextpnr.

Each step keeps its result beside the design and does not run again for the same design with the same tools.
"""

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
from amaranth.lib import wiring

from benchmarks.formats.decoders import decoder_of
from benchmarks.formats.encodings import Encoded
from benchmarks.formats.skeleton import CHAIN, Skeleton
from darb_hw.config import DEVICES
from darb_hw.device.memory import FileMemories
from darb_hw.device.modules import verilog_modules
from darb_hw.device.primitives import primitives_text
from darb_hw.device.verilog import verilog_of
from darb_hw.plan.image import signed_bits
from darb_hw.synthesis import tools
from darb_hw.synthesis.route import fmax_of
from darb_hw.synthesis.yosys import resources_of
from darb_prune.encoded import DarbError, write_files
from sim.launch import prepare

__all__ = ["DEVICE", "accumulator_bits", "decoder_resources", "fmax", "resources", "simulate", "write_skeleton"]

DEVICE = DEVICES["ecp5-85k"]

_PRIMITIVES = "primitives.v"


def _verilog(component: wiring.Component, name: str) -> dict[str, str]:
    """The component as Verilog, with the plain modules of its memories, and these modules from primitives."""
    platform = FileMemories()
    texts = {f"{name}.v": verilog_of(component, name, platform) + "\n" + verilog_modules()}
    primitives = primitives_text(DEVICE, platform.shapes.values())
    if platform.shapes and primitives:
        texts[_PRIMITIVES] = primitives
    return texts


def write_skeleton(encoded: Encoded, accumulator: int, folder: Path) -> Skeleton:
    """``skeleton.v``, ``primitives.v`` and ``rom/*.hex``."""
    skeleton = Skeleton(encoded, accumulator)
    texts = _verilog(skeleton, "skeleton")
    texts |= {f"rom/{name}.hex": image.hex() for name, image in skeleton.images.items()}
    write_files({folder / name: text.encode() for name, text in texts.items()})
    return skeleton


def decoder_resources(encoded: Encoded, aligned: bool, folder: Path) -> dict[str, int]:
    """:func:`resources` of the decoder of all lanes alone. Layers with the same decoder share its folder."""
    texts = _verilog(decoder_of(encoded, aligned), "decoder")
    folder = folder / hashlib.sha256(texts["decoder.v"].encode()).hexdigest()[:16]
    write_files({folder / name: text.encode() for name, text in texts.items()})
    return resources(folder, "decoder")


def _key(folder: Path, *words: str) -> str:
    """Digest of the design in ``folder`` and of what is done to it."""
    sha = hashlib.sha256("\0".join(words).encode())
    for path in sorted([*folder.glob("*.v"), *folder.glob("rom/*.hex")]):
        sha.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return sha.hexdigest()


def _once(folder: Path, name: str, key: str, make: Callable[[], dict]) -> dict:
    """The result ``name`` of the design, made unless its file exists."""
    path = folder / f"{name}.json"
    try:
        saved = json.loads(path.read_text())
        if saved["key"] == key:
            return saved["result"]
    except (OSError, ValueError, KeyError):
        pass
    result = make()
    write_files({path: (json.dumps({"key": key, "result": result}) + "\n").encode()})
    return result


def _run(command: list[str], folder: Path, log: str, environment: dict[str, str] | None = None) -> None:
    """Run in ``folder``: $readmemh and WebAssembly tools can read relative names only."""
    done = subprocess.run(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        env=os.environ | (environment or {}),
    )  # fmt: skip
    if done.returncode:
        (folder / log).write_text(done.stdout)
        lines = [line for line in done.stdout.splitlines() if "ERROR" in line or "error" in line]
        raise DarbError(f"{command[0]} failed: {(lines or ['no message'])[0].strip()} (see {folder / log})")


def simulate(skeleton: Skeleton, matrix: np.ndarray, folder: Path, seed: int = 0) -> dict:
    """The skeleton in ``folder`` on Verilator: every sum and the number of cycles.

    One product a region, with random int8 activations, is compared with NumPy's product of ``matrix``, the masked
    weights themselves.

    Raises
    ------
    DarbError
        If anything differs, or Verilator is missing.
    """
    bench = Path(__file__).with_name("bench.v").read_text()
    key = _key(folder, "verilator", bench, str(seed), matrix.tobytes().hex())
    return _once(folder, "simulated", key, lambda: _simulate(skeleton, matrix, folder, bench, seed))


def _simulate(skeleton: Skeleton, matrix: np.ndarray, folder: Path, bench: str, seed: int) -> dict:
    encoded = skeleton.encoded
    rows, columns = encoded.shape
    regions = 1 << len(skeleton.region)
    vectors = np.random.default_rng(seed).integers(-128, 128, (regions, columns))
    memory = np.zeros((regions, skeleton.memory_depth // regions), np.int64)
    memory[:, :columns] = vectors
    (folder / "activations.hex").write_text("".join(f"{value & 255:02x}\n" for value in memory.ravel().tolist()))
    beats = len(encoded.steps) * min(CHAIN, encoded.lanes)
    settings = {
        "ADDRESS": len(skeleton.write_address),
        "REGION": len(skeleton.region),
        "SUMS": len(skeleton.sums.as_value()),
        "BEATS": beats,
        "TIMEOUT": 2 * skeleton.total + 1000,
    }
    write_files({folder / "sim" / "bench.v": bench.encode()})
    options = ["--binary", "--timing", "--x-initial", "unique", "-Wno-fatal", "-Wno-lint", "-Wno-style"]
    options += [f"-G{name}={value}" for name, value in settings.items()]
    # ROM contents are read at run time.
    sources = [bench, (folder / "skeleton.v").read_text()]
    key = hashlib.sha256("\0".join([*options, *sources]).encode()).hexdigest()
    _once(folder, "compiled", key, lambda: _compile(folder, options))
    # Memories and registers are random at power-up.
    program = str((folder / "sim" / "bench").resolve())
    _run([program, "+verilator+rand+reset+2", f"+verilator+seed+{seed + 1}"], folder, "simulation.log")
    lines = (folder / "sums.txt").read_text().split()
    sums_at = [(lines[n], lines[n + 1]) for n in range(0, len(lines), 2)]
    if len(sums_at) != beats * regions or any(not when.isdigit() for when, _ in sums_at):
        raise DarbError(f"{folder}: {len(sums_at)} beats of sums instead of {beats * regions}")
    for region in range(regions):
        part = sums_at[region * beats : (region + 1) * beats]
        if int(part[-1][0]) != skeleton.total:
            raise DarbError(f"{folder}: last sum after {part[-1][0]} cycles instead of {skeleton.total}")
        sums = _sums(skeleton, [text for _, text in part])
        wrong = np.flatnonzero(sums != matrix @ vectors[region])
        if len(wrong):
            raise DarbError(f"{folder}: the sum of row {wrong[0]} is {sums[wrong[0]]}, its reference "
                            f"{(matrix @ vectors[region])[wrong[0]]}")  # fmt: skip
    return {"products": regions, "sums": rows * regions, "cycles": skeleton.total}


def _compile(folder: Path, options: list[str]) -> dict:
    environment = prepare("verilator")
    program = shutil.which("verilator", path=environment.get("PATH")) or "verilator"
    command = [program, *options, "--top", "bench", "-Mdir", "sim/objects", "sim/bench.v", "skeleton.v"]
    shutil.rmtree(folder / "sim" / "objects", ignore_errors=True)
    _run(command, folder, "verilator.log", environment)
    (folder / "sim" / "objects" / "Vbench").replace(folder / "sim" / "bench")
    shutil.rmtree(folder / "sim" / "objects")
    return {}


def _sums(skeleton: Skeleton, texts: list[str]) -> np.ndarray:
    """Sums by row, from the beats (hexadecimal texts)."""
    encoded, width = skeleton.encoded, len(skeleton.sums[0])
    chains = len(skeleton.sums.as_value()) // width
    mask, sign = (1 << width) - 1, 1 << width - 1
    values = np.array(
        [[((int(text, 16) >> width * chain & mask) ^ sign) - sign for chain in range(chains)] for text in texts]
    )
    groups = len(encoded.steps)
    by_lane = values.reshape(groups, -1, chains).transpose(0, 2, 1).reshape(groups, -1)[:, : encoded.lanes]
    out = np.zeros(encoded.shape[0], np.int64)
    there = encoded.rows >= 0
    out[encoded.rows[there]] = by_lane[there]
    return out


def resources(folder: Path, top: str) -> dict[str, int]:
    """LUTs, flip-flops, block RAMs and DSP blocks of ``TOP.v`` in ``folder`` after synthesis."""
    yosys = tools.yosys()
    primitives = (folder / _PRIMITIVES).exists()
    read = f"read_verilog -D DARB_PRIMITIVES {top}.v {_PRIMITIVES}" if primitives else f"read_verilog {top}.v"
    # Nets are split before the mapping to LUTs, which fails on the names of their bits otherwise
    # (github.com/YosysHQ/yosys/issues/4349).
    script = (
        f"{read}\nsynth_ecp5 -top {top} -run begin:map_luts\nsplitnets\n"
        f"synth_ecp5 -top {top} -run map_luts:\ntee -q -o cells.json stat -json\nwrite_json {top}.json\n"
    )

    def make() -> dict:
        (folder / "run.ys").write_text(script)
        _run([*yosys.command, "-s", "run.ys"], folder, "yosys.log")
        return resources_of(DEVICE.family, (folder / "cells.json").read_bytes())

    return _once(folder, "resources", _key(folder, script, yosys.version), make)


def fmax(folder: Path, seed: int) -> float:
    """Highest clock in MHz of the synthesised skeleton in ``folder``, placed with a seed.

    Raises
    ------
    DarbError
        If it does not fit.
    """
    nextpnr = tools.nextpnr(DEVICE.family)
    report = f"seed-{seed}.report"
    options = [
        *DEVICE.nextpnr, "--json", "skeleton.json", "--top", "skeleton", "--freq", str(DEVICE.target_mhz),
        "--seed", str(seed), "--timing-allow-fail", "--lpf-allow-unconstrained", "--report", report, "--quiet",
    ]  # fmt: skip

    def make() -> dict:
        _run([*nextpnr.command, *options], folder, f"seed-{seed}.log")
        return {"mhz": round(fmax_of(json.loads((folder / report).read_text())), 3)}

    key = _key(folder, *options, nextpnr.version, tools.yosys().version)
    return _once(folder, f"seed-{seed}", key, make)["mhz"]


def accumulator_bits(encoded: list[Encoded]) -> int:
    """Bits that hold any sum of any row of all the matrices, for any activations."""
    most = 0
    for codes in encoded:
        starts = np.cumsum(codes.steps) - codes.steps
        most = max(most, int(np.add.reduceat(np.abs(codes.weights), starts, axis=0).max()))
    return signed_bits(-most << 7, most << 7)
