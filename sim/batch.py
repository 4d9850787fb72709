"""Whole test sets through the Verilated engine: a main program in C++ drives it, here is what it did compared."""

import contextlib
import hashlib
import os
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from darb_hw.emit import Build
from darb_hw.plan.plan import Plan
from darb_hw.plan.reload import reload_bytes
from darb_prune.encoded import DarbError, TestVectors
from sim.folders import run_folder
from sim.launch import VERILATOR_OPTIONS, VERILATOR_WAIVERS, compile_once, prepare

__all__ = ["BatchReport", "batch"]

_MAIN = Path(__file__).with_name("batch.cpp")
_BROKEN = 3
"""Exit code for an engine that is stuck or breaks the protocol."""


@dataclass
class BatchReport:
    """What a batch showed.

    Parameters
    ----------
    frames : int
        Samples whose every output element matched, up to the first sample that did not.
    elements : int
        Output elements that matched.
    cycles : int
        Cycles simulated, those after the last output included, in which nothing may come.
    seconds : float
        Time that the simulation took, without compilation.
    compute : list of int
        Distinct numbers of cycles from start to first output.
    latency, interval : int or None
        Cycles of the first frame, and from the end of the last but one to the end of the last; an interval takes two
        frames.
    mismatch : str or None
        The first thing that was wrong.
    outputs : int array of shape (outputs, output size), optional
        What the engine gave, in the order of the model: one a sample, or one a time step.
    """

    frames: int = 0
    elements: int = 0
    cycles: int = 0
    seconds: float = 0.0
    compute: list[int] = field(default_factory=list)
    latency: int | None = None
    interval: int | None = None
    mismatch: str | None = None
    outputs: np.ndarray | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, eq=False)
class _Frames:
    """What is sent, and what is expected.

    Parameters
    ----------
    samples, steps, chunks : int64 arrays of shape (frames,)
        Test vector; time steps of the input; outputs: one a time step, or one.
    inputs : int array of shape (all time steps, input size)
        In the order of the stream.
    outputs : int array of shape (all chunks, output size)
    recurrent : bool
    """

    samples: np.ndarray
    steps: np.ndarray
    chunks: np.ndarray
    inputs: np.ndarray
    outputs: np.ndarray
    recurrent: bool

    @classmethod
    def of(cls, plan: Plan, vectors: TestVectors, samples: Sequence[int]) -> "_Frames":
        network, starts = plan.network, vectors.starts
        numbers = np.asarray(samples, np.int64)
        steps = np.diff(starts)[numbers]
        rows = _ranges(starts[numbers], steps)
        every = network.emit == "step" or not network.recurrent
        inputs = vectors.tensors[network.input][rows][:, plan.stream_order]
        chunks = steps if every else np.ones_like(steps)
        outputs = vectors.tensors[network.output][rows if every else starts[numbers + 1] - 1]
        return cls(numbers, steps, chunks, inputs, outputs, network.recurrent)

    @property
    def step_of(self) -> np.ndarray:
        """For each output the time step that it belongs to, int64, shape (all chunks,)."""
        every = len(self.outputs) == len(self.inputs)
        return np.arange(len(self.inputs)) if every else np.cumsum(self.steps) - 1

    def where(self, chunk: int) -> str:
        """Names the sample and the time step of an output."""
        frame = int(np.searchsorted(np.cumsum(self.chunks), chunk, side="right"))
        step = self.step_of[chunk] - self.steps[:frame].sum()
        return f"sample {self.samples[frame]}" + f", step {step}" * self.recurrent

    def pack(self) -> bytes:
        """The input file of ``batch.cpp``."""
        head = [self.inputs.shape[1], self.outputs.shape[1], len(self.samples)]
        counts = np.stack([self.steps, self.chunks], axis=1).ravel()
        return np.array(head, "<u4").tobytes() + counts.astype("<u4").tobytes() + self.inputs.astype("<i2").tobytes()


def _ranges(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """All of ``start .. start + length`` of the first, then of the second, and so on."""
    before = np.cumsum(lengths) - lengths
    return np.repeat(starts - before, lengths) + np.arange(lengths.sum())


@dataclass(frozen=True, eq=False)
class _Seen:
    """What came back: the output file of ``batch.cpp``.

    Parameters
    ----------
    cycles : int
    elements : int
        Output elements taken.
    accepted, taken : int64 arrays of shape (all time steps, 2) and (all chunks, 2)
        Cycles of the first and the last element of each input and of each output.
    outputs : int16 array of shape (all chunks, output size)
    """

    cycles: int
    elements: int
    accepted: np.ndarray
    taken: np.ndarray
    outputs: np.ndarray

    @classmethod
    def read(cls, path: Path, frames: _Frames) -> "_Seen":
        raw = path.read_bytes()
        times = np.frombuffer(raw, "<i8", 3 + 2 * len(frames.inputs) + 2 * len(frames.outputs))
        accepted, taken = np.split(times[3:].reshape(-1, 2), [len(frames.inputs)])
        outputs = np.frombuffer(raw, "<i2", offset=times.nbytes).reshape(frames.outputs.shape)
        return cls(int(times[0]), int(times[2]), accepted, taken, outputs)


def batch(
    build: Build,
    samples: Sequence[int] | None = None,
    progress: Callable[[int], None] | None = None,
    *,
    seed: int = 1,
) -> BatchReport:
    """Run test vectors through the engine as fast as it takes them.

    Every output element and every cycle count is compared.

    Parameters
    ----------
    build : Build
        With test vectors.
    samples : sequence of int, optional
        Test vectors to send, in this order; all of them if absent. A sequence is one frame.
    progress : callable, optional
        Called now and then with the number of frames done.
    seed : int
        Of what registers and memories hold at power-up.

    Raises
    ------
    DarbError
        If Verilator is missing, or does not compile or run the design.
    """
    vectors = build.load_vectors()
    samples = range(vectors.samples) if samples is None else samples
    for sample in samples:
        if not 0 <= sample < vectors.samples:
            raise DarbError(f"sample {sample} of a batch: the build has vectors 0 to {vectors.samples - 1}")
    if not len(samples):
        raise DarbError("no samples: a batch needs at least one")
    frames = _Frames.of(build.plan, vectors, samples)
    folder = (build.folder / "sim" / "batch").resolve()
    program = _compile(build, folder)
    with run_folder(build, folder) as run:
        network = reload_bytes(build.plan) if build.plan.config.overwrites else b""
        (run / "input").write_bytes(frames.pack() + network)
        broken, seconds = _run(build, program, run, seed, progress)
        seen = _Seen.read(run / "output", frames)
    report = _compare(build.plan, frames, seen, broken, seconds)
    if progress is not None:
        progress(report.frames)
    return report


def _compile(build: Build, folder: Path) -> Path:
    environment = prepare("verilator")
    options = VERILATOR_OPTIONS
    if "OPT_FAST" not in os.environ.get("MAKEFLAGS", ""):  # as in QUICK_COMPILE
        # The model and its main program are what takes time; the rest of Verilator's library need not be fast.
        options = [*options, "-MAKEFLAGS", "OPT_FAST=-O2 OPT_SLOW=-O0 OPT_GLOBAL=-O0"]
    names = ["--top-module", build.plan.config.top, "--prefix", "Vdut", "-o", "batch"]

    def make(workplace: Path, files: list[Path], log: Path) -> None:
        command = ["verilator", "--cc", "--exe", "--build", *options, *names, "--Mdir", workplace, *files]
        with log.open("wb") as file:
            subprocess.run(command, check=True, stdout=file, stderr=subprocess.STDOUT, env=os.environ | environment)

    stamp = {"options": options, "main": hashlib.sha256(_MAIN.read_bytes()).hexdigest()}
    sources = [VERILATOR_WAIVERS, build.verilog.resolve(), _MAIN]
    compile_once(build, "verilator", environment, folder, stamp, sources, make)
    return folder / "batch"


def _run(
    build: Build, program: Path, folder: Path, seed: int, progress: Callable[[int], None] | None
) -> tuple[str | None, float]:
    """Run the program in ``folder``; gives what was wrong with the engine, if anything, and the seconds it took."""
    plan = build.plan
    limit, tail = 4 * plan.timing.latency_of(1) + 100, plan.timing.latency_of(1) + 4
    command = [str(program), "input", "output", str(limit), str(tail), str(seed)]
    begun = time.monotonic()
    with (folder / "errors").open("w+") as errors:
        with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=errors, text=True) as process:
            assert process.stdout is not None  # a pipe was asked for
            for line in process.stdout:
                with contextlib.suppress(ValueError):  # Verilator may print as well
                    if progress is not None:
                        progress(int(line))
        seconds = time.monotonic() - begun
        errors.seek(0)
        words = errors.read().strip().splitlines() or [f"exit code {process.returncode}"]
    if process.returncode not in (0, _BROKEN):
        raise DarbError(f"the simulator of {build.verilog} failed: {words[-1]}")
    return words[-1] if process.returncode else None, seconds


def _compare(plan: Plan, frames: _Frames, seen: _Seen, broken: str | None, seconds: float) -> BatchReport:
    right = (seen.outputs == frames.outputs).ravel()
    right[seen.elements :] = False
    wrong = np.flatnonzero(~right[: seen.elements])
    exact = int(wrong[0]) if len(wrong) else seen.elements
    ends = np.cumsum(frames.chunks) * frames.outputs.shape[1]
    done = int((ends <= exact).sum())
    report = BatchReport(done, int(right.sum()), seen.cycles, seconds, outputs=seen.outputs)
    if len(wrong):
        chunk, element = divmod(exact, frames.outputs.shape[1])
        report.mismatch = (
            f"{frames.where(chunk)}: tensor {plan.network.output!r}, element {element}: engine "
            f"{seen.outputs[chunk, element]}, oracle {frames.outputs[chunk, element]}; {len(wrong)} of {seen.elements} "
            "elements are wrong"
        )
    elif broken:
        report.mismatch = broken
    else:
        report.mismatch = _check_cycles(plan, frames, seen, report)
    return report


def _check_cycles(plan: Plan, frames: _Frames, seen: _Seen, report: BatchReport) -> str | None:
    """Fill in the cycle counts; gives the first one that differs from what the plan says."""
    planned = [times for sequence in plan.timing.times_of(frames.steps.tolist()) for times in sequence]
    base = seen.accepted[0, 0]
    report.compute = [plan.timing.offer]
    for name, cycles, of in (
        ("first element accepted", seen.accepted[:, 0], [step.begun for step in planned]),
        ("first output", seen.taken[:, 0], [planned[step].offered for step in frames.step_of]),
        ("last output", seen.taken[:, 1], [planned[step].left for step in frames.step_of]),
    ):
        odd = np.flatnonzero(cycles - base != of)
        if len(odd):
            first = int(odd[0])
            where = frames.where(first) if "output" in name else f"input {first}"
            return f"{where}: {name} in cycle {cycles[first] - base}, the plan says {of[first]}"
    left = seen.taken[np.cumsum(frames.chunks) - 1, 1]
    report.latency = int(left[0] - base) + 1
    # Not from the inputs: the first ones come in faster, into memory that is still free.
    report.interval = int(left[-1] - left[-2]) if len(left) > 1 else None
    return None
