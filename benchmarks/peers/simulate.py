"""The Verilog of a peer in a simulator: are its results the integers expected, and how many cycles do they take?"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.peers.limits import run
from darb_prune.encoded import DarbError
from sim.launch import prepare

__all__ = ["Seen", "simulate"]

_OPTIONS = ("--binary", "--timing", "-Wno-fatal", "-Wno-lint", "-Wno-style", "-CFLAGS", "-O1", "-j", "1")


@dataclass(frozen=True)
class Seen:
    """What a simulation showed.

    Parameters
    ----------
    samples, elements : int
        Inferences; elements of their outputs, all of them equal to what is expected.
    latency, interval : int
        Cycles of an inference, and from one to the next.
    """

    samples: int
    elements: int
    latency: int
    interval: int


def simulate(folder: Path, design: dict, minutes: float, simulator: str | None = None) -> Seen:
    """Compile and run the bench of a folder.

    Parameters
    ----------
    design : dict
        What the generator said of the design.
    minutes : float
        Limit of processor time of compiler and simulation, each.
    simulator : str, optional
        ``"icarus"`` or ``"verilator"``; if absent Icarus for a pipeline, whose cycles are few and which Verilator
        takes minutes to compile, and Verilator for inferences of thousands of cycles.

    Raises
    ------
    Stopped
        At the limit.
    DarbError
        If a result differs.
    """
    pipeline = "fields" in design
    # The bench of nngen contains the design.
    sources = ["bench.v", *(design["sources"] if pipeline else [])]
    simulator = simulator or ("icarus" if pipeline else "verilator")
    environment = prepare(simulator)
    if simulator == "icarus":
        command, program = ["iverilog", "-g2012", "-s", "bench", "-o", "bench.vvp"], ["vvp", "-n", "bench.vvp"]
    else:
        command, program = ["verilator", *_OPTIONS, "--top-module", "bench", "--Mdir", "obj"], ["obj/Vbench"]
    run([*command, *sources], folder, "compiler.log", minutes, environment)
    run(program, folder, "bench.log", minutes)
    lines, expected = (folder / "bench.log").read_text().splitlines(), np.load(folder / "expected.npy")
    return _pipeline(lines, expected, design["fields"]) if pipeline else _frames(lines, expected)


def _frames(lines: list[str], expected: np.ndarray) -> Seen:
    """One inference behind the other; each line a number."""
    outputs = np.array([int(line.split()[1]) for line in lines if line.startswith("output ")])
    cycles = [int(line.split()[1]) for line in lines if line.startswith("cycles ")]
    if outputs.shape != (expected.size,) or (outputs != expected.reshape(-1)).any():
        raise DarbError(f"{_wrong(outputs, expected.reshape(-1))} of {expected.size} elements differ in simulation")
    return Seen(len(expected), expected.size, max(cycles), max(cycles))


def _pipeline(lines: list[str], expected: np.ndarray, fields: list[list[int]]) -> Seen:
    """An input a cycle; each line is the output of a cycle, all elements in one number."""
    words = [line.split()[1] for line in lines if line.startswith("output ")]
    starts = np.cumsum([0] + [sum(field) for field in fields])
    bits = np.zeros((len(words), int(starts[-1]) + 7), np.uint8)
    for cycle, word in enumerate(words):
        # Unknown before the first result is out.
        if set(word) <= set("0123456789abcdef"):
            raw = np.frombuffer(bytes.fromhex(word.zfill(len(word) + len(word) % 2))[::-1], np.uint8)
            bits_of_word = np.unpackbits(raw, bitorder="little")[: bits.shape[1]]
            bits[cycle, : len(bits_of_word)] = bits_of_word
    values = np.stack([_value(bits, start, *field) for start, field in zip(starts, fields, strict=False)], axis=1)
    samples = len(expected)
    delays = range(len(words) - samples + 1)
    wrong = [_wrong(values[delay : delay + samples], expected) for delay in delays]
    latency = int(np.argmin(wrong))
    if wrong[latency]:
        raise DarbError(f"{wrong[latency]} of {expected.size} elements differ in simulation")
    return Seen(samples, expected.size, latency, 1)


def _value(bits: np.ndarray, start: int, signed: int, integers: int, fraction: int) -> np.ndarray:
    """A fixed-point field of every cycle; integers only, so its fraction, if it has any, is zero."""
    width = signed + integers + fraction
    if width <= 0:
        return np.zeros(len(bits), np.int64)
    weights = 1 << np.arange(width, dtype=np.int64)
    if signed:
        weights[-1] = -weights[-1]
    value = bits[:, start : start + width] @ weights
    return value << -fraction if fraction < 0 else value >> fraction


def _wrong(outputs: np.ndarray, expected: np.ndarray) -> int:
    return int((outputs != expected).sum()) if outputs.shape == expected.shape else expected.size
