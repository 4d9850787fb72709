"""The cocotb test of a board: the oscillator and the link at its pins, and what is asked of it there.

Environment: ``DARB_SIM`` names a folder with ``request.json``; the outcome goes to ``reports.json`` beside it.

With ``"terminal"`` in the request, what comes over a pseudo-terminal goes to the line and back until the terminal is
closed. Else so many requests are made, good ones and bad ones, and each answer is checked.
"""

import json
import os
import pty
import select
import tty
import zlib
from pathlib import Path
from typing import Any

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.handle import HierarchyObject
from cocotb.triggers import First, Timer
from cocotb.utils import get_sim_steps, get_sim_time

from darb_hw.emit import Build
from darb_hw.link.network import network_bytes
from darb_prune.encoded import write_atomic
from sim.flash_chip import FlashChip
from sim.packets import ReferencePacket, Unpacker, pack
from sim.scoreboard import bit_of
from sim.serial_line import SerialLine
from sim.spi_wires import SpiWires

_INFO, _INFER, _LOAD, _FAULT = 1, 2, 3, 255
_CRC, _LENGTH, _KIND, _SIZE = range(3, 7)
_NETWORK = 9


def network_of(build: Build) -> bytes:
    """A network as it comes: its digest in front."""
    return network_bytes(build.digest, build.plan)


class BoardBench:
    """A board that is asked.

    Parameters
    ----------
    dut : cocotb.handle.HierarchyObject
    line : SerialLine or SpiWires
    builds : list of Build
        Of the network that the board has, and of another one that it can have; with test vectors of the same inputs.
    request : dict
        ``baud``, ``requests``, ``seed``, ``button`` (the level that presses it, or None), ``longest`` (microseconds an
        answer may take).
    """

    def __init__(
        self, dut: HierarchyObject, line: SerialLine | SpiWires, builds: list[Build], request: dict[str, Any]
    ) -> None:
        self._dut, self._line, self._request = dut, line, request
        self._rng = np.random.default_rng(request["seed"])
        # Numbers of networks: that in use, -1 for none, and the one before.
        self._over = request["overwrites"]
        build, self._builds, self._used, self._last = builds[0], builds, -self._over, 0
        network, vectors = build.plan.network, build.load_vectors()
        self._inputs = vectors.tensors[network.input]
        self._outputs = [build.load_vectors().tensors[network.output] for build in builds]
        self._starts, self._network = vectors.starts, network
        self._order = build.plan.stream_order
        self._tasks = -(-build.plan.tasks // 8)  # bytes of zeros: all tasks
        self._sizes = tuple(-(-network.tensor(name).bits // 8) for name in (network.input, network.output))
        self._unpacker, self._sequence = Unpacker(), 0
        self.counts: dict[str, int] = {}

    def _bytes(self, values: np.ndarray, size: int) -> bytes:
        mask = (1 << 8 * size) - 1
        return b"".join((int(value) & mask).to_bytes(size, "little") for value in values.reshape(-1))

    def _good(self) -> tuple[ReferencePacket, ReferencePacket]:
        """A request, and its answer."""
        self._sequence = (self._sequence + 1) % 256
        sample = int(self._rng.integers(len(self._starts) - 1))
        rows = slice(self._starts[sample], self._starts[sample + 1])
        outputs = self._outputs[self._used][rows]
        if self._network.emit == "last":
            outputs = outputs[-1:]
        payload = bytes(self._tasks) + self._bytes(self._inputs[rows][:, self._order], self._sizes[0])
        answer = ReferencePacket(_INFER | 128, self._sequence, self._bytes(outputs, self._sizes[1]))
        return ReferencePacket(_INFER, self._sequence, payload), answer

    async def _answers(self, count: int) -> list[ReferencePacket]:
        """The next packets; fails if they do not come in time."""
        packets: list[ReferencePacket] = []
        end = get_sim_time("step") + get_sim_steps(self._request["longest"], "us")
        while len(packets) < count:
            self._line.came.clear()
            if not self._line.received:
                late = Timer(max(end - get_sim_time("step"), 1))
                assert await First(self._line.came.wait(), late) is not late, f"{len(packets)} answers of {count}"
            packets += self._unpacker.take(bytes(self._line.received))
            self._line.received.clear()
        assert len(packets) == count, f"{len(packets)} answers to {count} requests: {packets}"
        return packets

    def _count(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1

    async def inferences(self, count: int) -> None:
        """Some requests at once, all of them good; refused while the board has no network."""
        if self._used < 0:
            await self._refused(pack(self._good()[0].body), _NETWORK, "requests without a network")
            return
        pairs = [self._good() for _ in range(count)]
        for request, _ in pairs:
            await self._line.send(pack(request.body))
            await self._line.pause(float(self._rng.choice([0, 0.3, 2, 30])))
        for answer, (_, expected) in zip(await self._answers(count), pairs, strict=True):
            assert answer == expected, f"{answer} came, {expected} is right"
        for _ in pairs:
            self._count("inferences")

    async def _refused(self, data: bytes, fault: int, what: str, stop: int = 1) -> None:
        """Send bytes that make one bad packet."""
        await self._line.send(data, stop=stop)
        if not stop:
            await self._line.send(b"\xc0")
        (answer,) = await self._answers(1)
        assert (answer.kind, answer.payload) == (_FAULT, bytes([fault])), (
            f"{what}: {answer} came, fault {fault} is right"
        )
        self._count(what)

    async def _trouble(self) -> None:
        """One of the things that go wrong."""
        request, _ = self._good()
        body = request.body
        place = int(self._rng.integers(2, len(body)))
        payload = request.payload
        bad = bytearray(body)
        bad[place] ^= 1 << int(self._rng.integers(8))
        told = body[:-6] + (len(payload) + 1).to_bytes(2, "little")
        match int(self._rng.integers(7)):
            case 0:
                await self._refused(pack(bytes(bad)), _CRC, "damaged bytes")
            case 1:
                await self._refused(pack(body[:place] + body[place + 1 :]), _CRC, "lost bytes")
            case 2:
                await self._refused(pack(told + zlib.crc32(told).to_bytes(4, "little")), _LENGTH, "wrong lengths")
            case 3:
                longer = ReferencePacket(_INFER, self._sequence, payload + payload[:1])
                await self._refused(pack(longer.body), _SIZE, "wrong sizes")
            case 4:
                cut = pack(body)[: max(place, 4)]
                await self._refused(cut, self._line.fault_of_cut(cut), self._line.CUT, stop=0)
            case 5:
                await self._refused(pack(ReferencePacket(77, 1, payload).body), _KIND, "unknown requests")
            case 6:
                await self._reset(pack(body)[:place], int(self._rng.integers(2)))

    async def _reset(self, sent: bytes, whole: int) -> None:
        """Press the button in the middle of a request, or while the engine works at one."""
        pressed = self._request["button"]
        if pressed is None:
            return
        if whole:
            await self._line.send(pack(self._good()[0].body))
        else:
            await self._line.send(sent)
        button = bit_of(self._dut, "button")
        button.value = pressed
        await Timer(int(self._rng.integers(1000, 20_000)), "ns")
        button.value = 1 - pressed
        await self._line.pause(30)
        self._line.received.clear()
        self._unpacker = Unpacker()
        await ready(self._dut, self._request)
        self._count("resets")

    async def _reload(self) -> None:
        """Another network in pieces, with inferences between them, which the one before does if it is still there, and
        now and then a reset, which leaves that one."""
        number = (self._last + 1) % len(self._builds)
        data = network_of(self._builds[number])
        ends = int(self._rng.integers(len(data))) if self._rng.random() < 0.3 else None
        there = 0
        while there < len(data):
            piece = data[there : there + int(self._rng.integers(1, self._request["piece"] + 1))]
            self._sequence = (self._sequence + 1) % 256
            await self._line.send(
                pack(ReferencePacket(_LOAD, self._sequence, there.to_bytes(4, "little") + piece).body)
            )
            there += len(piece)
            behind = self._over and there < len(data) and self._rng.random() < 0.3
            answer = await self._with_inference_behind() if behind else (await self._answers(1))[0]
            right = ReferencePacket(_LOAD | 128, (self._sequence - behind) % 256, there.to_bytes(4, "little"))
            assert answer == right, f"{answer} came, {right} is right"
            if self._over:
                self._used = -1
            if ends is not None and there > ends and there < len(data) and self._request["button"] is not None:
                await self._reset(pack(b"ab"), 0)
                self._count("networks that a reset has ended")
                break
            if self._rng.random() < 0.2 and there < len(data):
                await self.inferences(1)
        else:
            self._used = self._last = number
            self._count("networks")
        await self._tells()

    async def _with_inference_behind(self) -> ReferencePacket:
        """The answer to a request that brings a network, with one behind it that the board must not begin."""
        await self._line.send(pack(self._good()[0].body))
        answer, refused = await self._answers(2)
        assert (refused.kind, refused.payload) == (_FAULT, bytes([_NETWORK])), f"{refused} came without a network"
        self._count("requests without a network")
        return answer

    async def _tells(self) -> None:
        """The board says which network it has."""
        self._sequence = (self._sequence + 1) % 256
        await self._line.send(pack(ReferencePacket(_INFO, self._sequence).body))
        (told,) = await self._answers(1)
        digest = bytes.fromhex(self._builds[self._used].digest)[:8] if self._used >= 0 else bytes(8)
        assert told.payload[10:18] == digest, f"the board tells of {told.payload[10:18].hex()}, it has {digest.hex()}"

    async def begin(self, chip: FlashChip | None) -> None:
        """Until a board has the network of its flash memory, or has refused it."""
        if chip is None:
            return
        await self.inferences(1)
        size = 8 * len(network_of(self._builds[0]))
        while chip.sent < size:
            await self._line.pause(50)
        await self._line.pause(200)
        self._used = 0 if self._request["flash"] == "whole" else -1
        await self._tells()

    async def run(self) -> None:
        """Good requests, each few of them behind something bad, or another network."""
        while self.counts.get("inferences", 0) < self._request["requests"]:
            if self._request["trouble"]:
                await self._trouble()
            if (len(self._builds) > 1 and self._rng.random() < 0.1) or (self._used < 0 and self._rng.random() < 0.5):
                await self._reload()
            left = self._request["requests"] - self.counts.get("inferences", 0)
            await self.inferences(min(left, int(self._rng.integers(1, 5))))


async def ready(dut: HierarchyObject, request: dict[str, Any]) -> None:
    """Wait until the board has said for a while that it is ready: a clock may be lost in its first time."""
    since = 0
    for _ in range(10_000):
        await Timer(1000, "ns")
        since = since + 1 if str(bit_of(dut, "ready").value) == str(request["ready"]) else 0
        if since == 60:
            return
    raise AssertionError("the board does not become ready")


def _flash(build: Build, holds: str) -> bytes:
    """What the flash memory has."""
    data = bytearray(network_of(build))
    data[len(data) // 2] ^= holds == "damaged"
    return b"" if holds == "blank" else bytes(data)


async def _bridge(line: SerialLine, name: Path, stop: Path) -> None:
    """Bytes between a pseudo-terminal and the line, until a file says that it is enough.

    The name of the terminal goes into the file ``name``.
    """
    ours, theirs = pty.openpty()
    tty.setraw(theirs)
    write_atomic(name, os.ttyname(theirs).encode())
    while not stop.is_file():
        ready, _, _ = select.select([ours], [], [], 0)
        if ready:
            await line.send(os.read(ours, 4096))
        else:
            await line.pause(20)
        if line.received:
            os.write(ours, bytes(line.received))
            line.received.clear()
    os.close(ours)
    os.close(theirs)


@cocotb.test()
async def board(dut: HierarchyObject) -> None:
    """What the request says."""
    folder = Path(os.environ["DARB_SIM"])
    request = json.loads((folder / "request.json").read_text())
    period = round(1e6 / request["clock_mhz"] / 2) * 2
    Clock(bit_of(dut, "clock"), period, unit="ps", impl="gpi").start(start_high=False)
    if request["button"] is not None:
        bit_of(dut, "button").value = 1 - request["button"]
    report: dict[str, Any] = {"mismatch": "stopped early"}
    try:
        baud = request["baud"]
        builds = [Build.load(request[name]) for name in ("build", "other") if request.get(name)]
        chip = FlashChip(dut, _flash(builds[0], request["flash"])) if request["flash"] else None
        line = SpiWires(dut, baud, request["seed"]) if request["link"] == "spi" else SerialLine(dut, baud)
        await ready(dut, request)
        line.listen()
        if "terminal" in request and isinstance(line, SerialLine):
            while chip is not None and chip.sent < 8 * len(network_of(builds[0])):
                await line.pause(200)
            await _bridge(line, Path(request["terminal"]), Path(request["stop"]))
            report = {"mismatch": None}
            return
        bench = BoardBench(dut, line, builds, request)
        await bench.begin(chip)
        await bench.run()
        report = {"mismatch": None, **bench.counts, **line.counts}
    except AssertionError as error:
        report = {"mismatch": str(error) or "an assertion without words"}
        raise
    finally:
        (folder / "reports.json").write_text(json.dumps(report))
