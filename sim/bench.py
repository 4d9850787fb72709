"""The cocotb test: runs the scenarios of a JSON file on the engine and writes what it saw to another.

Environment: ``DARB_SIM`` names a folder with ``request.json`` (build folder, scenarios, whether the inside of the
engine is to be seen); the results go to ``reports.json`` and the number of frames done to ``progress`` beside it.
"""

import json
import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.handle import HierarchyObject, LogicObject
from cocotb.triggers import FallingEdge

from darb_hw.emit import Build
from darb_hw.plan.reload import reload_bytes
from darb_prune.encoded import TestVectors
from sim.axis import AxisSink, AxisSource, Pauses
from sim.reload_source import ReloadSource
from sim.scenario import Frame, Report, Scenario
from sim.scoreboard import Mismatch, RowMonitor, Scoreboard, bit_of, expand, known


class Bench:
    """One scenario on one engine.

    Parameters
    ----------
    dut : cocotb.handle.HierarchyObject
        The top level.
    build : Build
    vectors : TestVectors
    scenario : Scenario
    progress : callable
        Called with the number of frames done.
    inside : bool
        Whether the results inside the engine can be seen; else its ports alone are watched.
    """

    def __init__(
        self,
        dut: HierarchyObject,
        build: Build,
        vectors: TestVectors,
        scenario: Scenario,
        progress: Callable[[int], None],
        inside: bool = True,
    ) -> None:
        plan = build.plan
        self._plan, self._scenario, self._progress = plan, scenario, progress
        self._clk, self._rst = bit_of(dut, "clk"), bit_of(dut, "rst")
        self._frame_error = bit_of(dut, "frame_error")
        self._rng = np.random.default_rng(scenario.seed)
        self._reload = ReloadSource(dut, Pauses(self._rng, 0, 1)) if plan.config.loads else None
        self._present = bit_of(dut, "reload_present") if plan.config.overwrites else None
        self.report = Report()
        self._scoreboard = Scoreboard(plan, vectors, self.report, inside)
        idle = Pauses(self._rng, scenario.idle, scenario.burst)
        stall = Pauses(self._rng, scenario.stall, scenario.burst)
        self._source = AxisSource(dut, idle, self._scoreboard, plan.tasks)
        self._sink = AxisSink(dut, stall, self._scoreboard)
        self._rows = RowMonitor(dut, plan, self._scoreboard) if inside else None
        self._inputs = vectors.tensors[plan.network.input][:, plan.stream_order]
        self._starts = vectors.starts
        self._now = 0
        self._errors = 0
        self._subsets = scenario.subsets or [self._subset() for _ in scenario.samples]

    def _frame(self, sample: int, subset: int) -> Frame:
        rows = range(self._starts[sample], self._starts[sample + 1])
        return Frame(expand(self._inputs[rows.start : rows.stop]), sample, list(rows), subset)

    def _bad_frame(self, sample: int, subset: int) -> Frame | None:
        """A wrong frame, if any exists: of the wrong length or with an unknown symbol. It asks for ``subset``.

        For a recurrent network it goes wrong after some time steps of ``sample``.
        """
        size, network = self._plan.input_size, self._plan.network
        tensor = network.tensor(network.input)
        noise = self._rng.integers(tensor.qmin, tensor.qmax + 1, 2 * size + 2)
        if network.embedding and self._rng.random() < 0.5:
            noise[self._rng.integers(0, size)] = (1 << (tensor.bits - 1)) - 1
        if not network.recurrent:
            lengths = [n for n in range(1, 2 * size + 2) if n != size]
            return Frame([int(v) for v in noise[: self._rng.choice(lengths)]], -1, [], subset)
        good = self._frame(sample, subset)
        steps = int(self._rng.integers(0, len(good.rows)))
        if network.embedding:
            rest = [-1, *(int(v) for v in noise[: self._rng.integers(0, size + 1)])]
        elif size > 1:
            rest = [int(v) for v in noise[: self._rng.integers(1, size)]]
        else:
            return None
        return Frame(good.values[: steps * size] + rest, -1, good.rows[:steps], subset)

    def _subset(self) -> int:
        """A subset of tasks, if the network has any; 0 asks for all."""
        return int(self._rng.integers(0, 1 << self._plan.tasks)) if self._plan.tasks else 0

    def _queue(self, samples: list[int]) -> None:
        self._source.frames = []
        for sample, subset in zip(samples, self._subsets, strict=True):
            bad = self._bad_frame(sample, self._subset()) if self._scenario.bad_frames else None
            if bad:
                self._source.frames.append(bad)
                self.report.bad_frames += 1
            self._source.frames.append(self._frame(sample, subset))

    async def _cycle(self) -> None:
        await FallingEdge(self._clk)
        self._act()

    def _act(self) -> None:
        self._now += 1
        self._errors += known(self._frame_error, self._now)
        if self._rows is not None:
            self._rows.cycle(self._now)
        self._sink.cycle(self._now)
        self._source.cycle(self._now)

    async def _fill(self, reload: ReloadSource, whole: LogicObject) -> None:
        """Give the engine its network, if it has none: single-port RAMs hold nothing at power-up."""
        if known(whole, 0):
            return
        self._rst.value = 1
        await FallingEdge(self._clk)
        self._rst.value = 0
        data = reload_bytes(self._plan)
        reload.send(data)
        for cycle in range(2 * len(data) + 2 * self._plan.timing.latency_of(1)):
            reload.cycle(cycle)
            await FallingEdge(self._clk)
            if known(whole, cycle):
                return
        raise Mismatch("the engine does not take its network")

    async def _reset(self, samples: list[int]) -> None:
        """One cycle of reset, then all frames; their first element comes in the cycle after the reset.

        Half of the resets have an input offered.
        """
        self._rst.value = 1
        self._source.reset(int(self._rng.integers(0, 256)) if self._rng.random() < 0.5 else None)
        self._sink.reset()
        self._scoreboard.reset()
        await FallingEdge(self._clk)
        self._rst.value = 0
        self.report.frames = self.report.bad_frames = self._errors = 0
        self._queue(samples)
        self._act()

    @property
    def _longest(self) -> int:
        """Cycles of the longest sequence."""
        return self._plan.timing.latency_of(int(np.diff(self._starts).max()))

    async def run(self) -> None:
        """Run to the end; raises :class:`Mismatch` at the first thing that is wrong."""
        plan, scenario = self._plan, self._scenario
        # At power-up the ports are something, and nobody resets the engine yet.
        self._rst.value = 0
        self._source.reset(int(self._rng.integers(0, 256)))
        await FallingEdge(self._clk)
        if self._reload is not None and self._present is not None:
            await self._fill(self._reload, self._present)
        samples = list(scenario.samples)
        await self._reset(samples)
        for _ in range(scenario.resets):
            for _ in range(int(self._rng.integers(1, 2 * self._longest + 2))):
                await self._cycle()
                if self._scoreboard.idle and self._source.idle:
                    break
            await self._reset(samples)
            self.report.resets += 1
        slowdown = 1 / (1 - scenario.idle) * (1 + scenario.idle * scenario.burst)
        slowdown *= 1 / (1 - scenario.stall) * (1 + scenario.stall * scenario.burst)
        frames = len(self._source.frames) + 2
        limit = self._now + int(frames * (self._longest + plan.input_size) * slowdown * 2)
        done = 0
        while not (self._source.idle and self._scoreboard.idle):
            await self._cycle()
            if self._scoreboard.done != done:
                done = self._scoreboard.done
                self._progress(done)
            if self._now > limit:
                raise Mismatch(f"cycle {self._now}: stuck, {done} of {len(samples)} frames came out")
        # Nothing may come after the last frame.
        for _ in range(plan.timing.compute + 4):
            await self._cycle()
        self.report.cycles = self._now
        if self.report.frames != len(samples):
            raise Mismatch(f"{self.report.frames} frames came out, {len(samples)} went in")
        if self._errors != self.report.bad_frames:
            raise Mismatch(f"{self._errors} frame errors reported for {self.report.bad_frames} bad frames")
        if not (scenario.idle or scenario.stall or scenario.bad_frames):
            lengths = [int(np.diff(self._starts)[sample]) for sample in samples]
            self._scoreboard.check_pace(lengths, self._subsets)


@cocotb.test()
async def scenarios(dut: HierarchyObject) -> None:
    """Every scenario of the request."""
    folder = Path(os.environ["DARB_SIM"])
    request = json.loads((folder / "request.json").read_text())
    build = Build.load(request["build"])
    vectors = build.load_vectors()
    Clock(bit_of(dut, "clk"), 10, unit="ns", impl="gpi").start(start_high=False)
    reports, done = [], 0

    def progress(frames: int) -> None:
        (folder / "progress").write_text(str(done + frames))

    try:
        for values in request["scenarios"]:
            scenario = Scenario.of(values)
            bench = Bench(dut, build, vectors, scenario, progress, request["inside"])
            try:
                await bench.run()
            except Mismatch as mismatch:
                bench.report.mismatch = str(mismatch)
                raise
            except Exception as error:
                # Nothing that ends a bench early may pass for a good run.
                bench.report.mismatch = f"the bench failed with {type(error).__name__}: {error}"
                raise
            finally:
                reports.append(asdict(bench.report))
            done += len(scenario.samples)
    finally:
        (folder / "reports.json").write_text(json.dumps(reports, indent=2))
