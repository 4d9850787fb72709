"""A line with a board at its other end that is all Python: what it answers, the oracle has computed."""

import json
import zlib

import numpy as np

from darb_hw.board.boards import board_named
from darb_hw.board.report import FOLDER, NETWORK
from darb_hw.emit import Build
from darb_hw.link.network import network_bytes
from darb_hw.link.shape import LinkShape
from sim.packets import ReferencePacket, pack


def pretend(build: Build, buffer: int, link: str = "uart", board: str = "ulx3s-85f") -> LinkShape:
    """Give a build the report of a bitstream."""
    device, bitstream = build.plan.config.target, f"bitstream.{'bin' if board == 'icebreaker' else 'bit'}"
    shape = LinkShape.of(build.plan, buffer)
    usage = {name: {"used": 1, "available": 2} for name in ("luts", "logic_cells", "ffs", "block_rams", "dsps")}
    numbers = dict.fromkeys(("lanes", "seed", "latency_cycles", "interval_cycles", "request_bytes", "reply_bytes"), 1)
    report = {
        "board": board, "network": "n", "device": device.name, "bitstream": bitstream, "clock_mhz": 100.0,
        "fmax_mhz": 110.0, "baud": 10**6, "digest": build.digest, "tools": {}, "buffer": shape.buffer, "link": link,
        **usage, **numbers,
    }  # fmt: skip
    (build.folder / FOLDER).mkdir(exist_ok=True)
    (build.folder / FOLDER / "report.json").write_text(json.dumps(report))
    (build.folder / FOLDER / bitstream).write_bytes(b"bits")
    if board_named(board).reads_flash(build.plan.config):
        (build.folder / FOLDER / NETWORK).write_bytes(network_bytes(build.digest, build.plan))
    return shape


class PretendedLine:
    """What a ``serial.Serial`` would be.

    ``damage``: how likely a packet is damaged, each way. A board that has more than four requests, or more elements
    than its buffer holds, fails the test: a host must not do that.
    """

    name = "line"

    def __init__(self, build: Build, shape: LinkShape, answers, damage: float = 0.0, seed: int = 0, **info) -> None:
        self.build, self.shape, self.answers, self.damage = build, shape, answers, damage
        self.rng, self.timeout, self.closed = np.random.default_rng(seed), None, False
        self.info = {"version": 2, "digest": build.digest, "engine": build.engine_digest} | info
        self.loaded, self.lost = bytearray(), 0
        self.out, self.requests = bytearray(), 0
        self.most = 0

    @property
    def in_waiting(self) -> int:
        return len(self.out)

    def read(self, size: int = 1) -> bytes:
        """What has come; nothing comes later, so nobody has to wait for it."""
        taken, self.out = bytes(self.out[:size]), self.out[size:]
        return taken

    def write(self, data: bytes) -> int:
        self.requests += 1
        self.most = max(self.most, 1 + self.out.count(b"\xc0") // 2)
        body, damaged = self._body(data), self.rng.random() < self.damage
        if damaged and self.rng.random() < 0.3:
            return len(data)  # lost altogether
        if damaged:
            self._reply(ReferencePacket(255, 0, bytes([int(self.rng.choice([1, 2, 3, 8]))])))
            return len(data)
        packet = ReferencePacket(body[0], body[1], body[2:-6])
        assert packet.body == body
        self._reply(self._answer(packet))
        return len(data)

    def _body(self, data: bytes) -> bytes:
        assert data[0] == data[-1] == 0xC0
        return data[1:-1].replace(b"\xdb\xdc", b"\xc0").replace(b"\xdb\xdd", b"\xdb")

    def _answer(self, packet: ReferencePacket) -> ReferencePacket:
        if packet.kind == 1:
            told = bytes([self.info["version"], 4]) + (10**8).to_bytes(4, "little")
            told += self.shape.buffer.to_bytes(4, "little") + bytes.fromhex(self.info["digest"])[:8]
            told += bytes.fromhex(self.info["engine"])[:8]
            return ReferencePacket(0x81, packet.sequence, told)
        if packet.kind == 3:
            return self._load(packet)
        answer = self.answers(packet.payload)
        if isinstance(answer, int):
            return ReferencePacket(255, packet.sequence, bytes([answer]))
        return ReferencePacket(0x82, packet.sequence, answer)

    def _load(self, packet: ReferencePacket) -> ReferencePacket:
        """Takes a piece of another network; now and then it has ``lost`` what was there."""
        offset, piece = int.from_bytes(packet.payload[:4], "little"), packet.payload[4:]
        assert len(piece) <= self.shape.buffer
        if self.lost and self.rng.random() < 0.5:
            self.lost, self.loaded = self.lost - 1, bytearray()
        if offset == 0:
            self.loaded = bytearray()
        if offset == len(self.loaded):
            self.loaded += piece
        if len(self.loaded) == self.shape.load_bytes:
            words, told = bytes(self.loaded[8:-4]), int.from_bytes(self.loaded[-4:], "little")
            if zlib.crc32(words) != told:
                return ReferencePacket(255, packet.sequence, bytes([9]))
            self.info["digest"] = bytes(self.loaded[:8]).hex()
        return ReferencePacket(0x83, packet.sequence, len(self.loaded).to_bytes(4, "little"))

    def _reply(self, packet: ReferencePacket) -> None:
        data = bytearray(pack(packet.body))
        if self.rng.random() < self.damage:
            data[int(self.rng.integers(1, len(data) - 1))] ^= 1 << int(self.rng.integers(8))
        self.out += data

    def close(self) -> None:
        self.closed = True
