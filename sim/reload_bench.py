"""The cocotb test of an engine that gets other networks while it runs.

Environment: ``DARB_SIM`` names a folder with ``request.json`` (two builds of the same Verilog, what to do, a seed); the
outcome goes to ``reports.json`` beside it.
"""

import json
import os
from collections import deque
from pathlib import Path
from typing import Any

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.handle import HierarchyObject
from cocotb.triggers import FallingEdge

from darb_hw.emit import Build
from darb_hw.plan.reload import reload_bytes
from sim.axis import AxisSink, AxisSource, Pauses
from sim.reload_source import ReloadSource
from sim.scenario import Frame
from sim.scoreboard import Mismatch, bit_of, expand, known


class Expected:
    """What the engine must give: each frame is done with the network that is in use as its first element is taken.

    Parameters
    ----------
    outputs : list of arrays
        Of each network, by frame.
    first : int
        Number of the network that is in use at first; -1: none.
    """

    def __init__(self, outputs: list[list[np.ndarray]], first: int) -> None:
        self._outputs = outputs
        self._since: list[tuple[int, int]] = [(0, first)]
        self._frames: deque[tuple[int, list[int]]] = deque()
        self._came: list[int] = []
        self.done = [0, 0]

    @property
    def idle(self) -> bool:
        return not self._frames

    def use(self, now: int, network: int) -> None:
        """A network is in use from now on; -1: none is."""
        self._since.append((now, network))

    def forget(self) -> None:
        """A reset: nothing is to come."""
        self._frames.clear()
        self._came = []

    def fail(self, message: str) -> None:
        raise Mismatch(message)

    def sent(self, taken: int, now: int, frame: Frame, position: int) -> None:
        """An element was ``taken`` from its sender."""
        if position == 0 and frame.sample >= 0:
            network = next(network for since, network in reversed(self._since) if since <= taken)
            if network < 0:
                self.fail(f"cycle {now}: a frame is taken while there is no network")
            self._frames.append((network, expand(self._outputs[network][frame.sample])))

    def offered(self, now: int) -> None:
        """Nothing depends on when an output is offered."""

    def taken(self, now: int, value: int, last: int) -> None:
        """An element of an output."""
        self._came.append(value)
        if not self._frames:
            self.fail(f"cycle {now}: an output without a frame")
        network, expected = self._frames[0]
        if self._came != expected[: len(self._came)] or last != (len(self._came) == len(expected)):
            self.fail(f"cycle {now}: {self._came} came of network {network}, {expected} is right")
        if last:
            self._frames.popleft()
            self._came = []
            self.done[network] += 1


class ReloadBench:
    """An engine, its first network, and another one."""

    def __init__(self, dut: HierarchyObject, builds: list[Build], request: dict[str, Any]) -> None:
        self._rng = np.random.default_rng(request["seed"])
        plan = builds[0].plan
        self._plan, self._request = plan, request
        self._clk, self._rst = bit_of(dut, "clk"), bit_of(dut, "rst")
        self._over = plan.config.overwrites
        self._flags = {name: bit_of(dut, f"reload_{name}") for name in ("done", "error")}
        self._state = bit_of(dut, "reload_present" if self._over else "reload_bank")
        vectors = [build.load_vectors() for build in builds]
        self._starts = vectors[0].starts
        self._inputs = vectors[0].tensors[plan.network.input][:, plan.stream_order]
        self._streams = [reload_bytes(build.plan) for build in builds]
        self._used, self._coming = -self._over, -1  # numbers of networks; -1: none
        self._expected = Expected([self._frames_of(v.tensors[plan.network.output]) for v in vectors], self._used)
        self._source = AxisSource(dut, Pauses(self._rng, 0.05, 20), self._expected, plan.tasks, at_once=True)
        self._sink = AxisSink(dut, Pauses(self._rng, 0.05, 20), self._expected)
        self._reload = ReloadSource(dut, Pauses(self._rng, 0.02, 5))
        self._bank = self._now = 0
        self.counts = {"exchanged": 0, "refused": 0, "resets": 0}

    def _frames_of(self, outputs: np.ndarray) -> list[np.ndarray]:
        frames = [outputs[start:stop] for start, stop in zip(self._starts, self._starts[1:], strict=False)]
        return [frame[-1:] for frame in frames] if self._plan.network.emit == "last" else frames

    async def _cycle(self) -> None:
        await FallingEdge(self._clk)
        self._now += 1
        self._sink.cycle(self._now)
        if len(self._source.frames) < 2:
            self._source.frames.append(self._frame())
        self._source.cycle(self._now)
        self._reload.cycle(self._now)
        if known(self._flags["done"], self._now):
            self._exchanged()
        elif self._over:
            self._follow()

    def _follow(self) -> None:
        """What the engine says of the network in use is what happened."""
        flag = known(self._state, self._now)
        if self._over and self._used >= 0 and not flag:  # another one takes its place
            self._used = -1
            self._expected.use(self._now, -1)
        elif flag != (self._used >= 0 if self._over else self._bank):
            self._exchanged()

    def _exchanged(self) -> None:
        """The network that was sent is in use."""
        self._bank ^= 1
        self._used = self._coming
        if self._reload.bytes or self._used < 0:
            raise Mismatch(f"cycle {self._now}: half a network is in use")
        self._expected.use(self._now, self._used)

    def _frame(self) -> Frame:
        """A frame, now and then one that is too short."""
        sample = int(self._rng.integers(len(self._starts) - 1))
        rows = slice(self._starts[sample], self._starts[sample + 1])
        values, size = expand(self._inputs[rows]), self._plan.input_size
        if size > 1 and not self._plan.network.recurrent and self._rng.random() < 0.1:
            return Frame(values[: int(self._rng.integers(1, size))], -1, [], 0)
        return Frame(values, sample, [], 0)

    async def reset(self) -> None:
        """A cycle of reset."""
        self._rst.value = 1
        self._source.reset(None)
        self._sink.reset()
        self._expected.forget()
        await FallingEdge(self._clk)
        self._now += 1
        self._rst.value = 0
        # In the cycle of the reset the networks may be exchanged; else it leaves what was in use.
        self._follow()
        self._expected.use(self._now, self._used)
        self._reload.send(b"")

    async def _load(self, network: int, data: bytes, cycles: int | None = None) -> str:
        """Send a network, and wait for what comes of it, or so many cycles."""
        self._coming = network if data == self._streams[network] else -1
        self._reload.send(data)
        limit = self._now + (cycles or 100 * len(data) + 100 * self._plan.timing.latency_of(8))
        while self._now < limit:
            # As they were in the cycle that ends here: a pulse lasts for one.
            await self._cycle()
            for flag in ("done", "error"):
                if known(self._flags[flag], self._now):
                    return flag
        if cycles is None:
            raise Mismatch(f"cycle {self._now}: nothing came of a network that was sent")
        return ""

    def _damaged(self, data: bytes) -> bytes:
        """A network that is none: a bit is wrong, bytes are missing, or too many."""
        place = int(self._rng.integers(len(data)))
        match int(self._rng.integers(3)):
            case 0:
                return data[:place] + bytes([data[place] ^ 1 << int(self._rng.integers(8))]) + data[place + 1 :]
            case 1:
                return data[: max(place, 1)]
            case _:
                return data + data[: 1 + place]

    async def run(self) -> None:
        """Exchange the networks, with damaged ones and resets in between."""
        self._rst.value = 0
        await FallingEdge(self._clk)
        await self.reset()
        network = 0
        while self.counts["exchanged"] < self._request["exchanges"]:
            chance = self._rng.random()
            if chance < 0.2:
                if await self._load(1 - network, self._damaged(self._streams[1 - network])) != "error":
                    raise Mismatch(f"cycle {self._now}: a damaged network was taken")
                self.counts["refused"] += 1
            elif chance < 0.4:
                after = int(self._rng.integers(1, len(self._streams[network]) + self._plan.timing.latency_of(2)))
                if await self._load(1 - network, self._streams[1 - network], after) == "done":
                    network = 1 - network
                    self.counts["exchanged"] += 1
                await self.reset()
                network = self._used if self._used >= 0 else network
                self.counts["resets"] += 1
            elif await self._load(1 - network, self._streams[1 - network]) == "done":
                network = 1 - network
                self.counts["exchanged"] += 1
            else:
                raise Mismatch(f"cycle {self._now}: a good network was refused")
            for _ in range(int(self._rng.integers(1, 3 * self._plan.timing.latency_of(1)))):
                await self._cycle()
        self.counts |= {f"frames of network {number}": done for number, done in enumerate(self._expected.done)}


@cocotb.test()
async def reload(dut: HierarchyObject) -> None:
    """What the request says."""
    folder = Path(os.environ["DARB_SIM"])
    request = json.loads((folder / "request.json").read_text())
    Clock(bit_of(dut, "clk"), 10, unit="ns", impl="gpi").start(start_high=False)
    report: dict[str, Any] = {"mismatch": "stopped early"}
    try:
        bench = ReloadBench(dut, [Build.load(request[name]) for name in ("build", "other")], request)
        await bench.run()
        report = {"mismatch": None, **bench.counts}
    except Mismatch as mismatch:
        report = {"mismatch": str(mismatch)}
        raise
    except Exception as error:
        report = {"mismatch": f"the bench failed with {type(error).__name__}: {error}"}
        raise
    finally:
        (folder / "reports.json").write_text(json.dumps(report))
