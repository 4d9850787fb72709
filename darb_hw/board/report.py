"""What a board gets and gives: plain values, to JSON and back."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from darb_hw.board.boards import board_named
from darb_hw.emit import Build
from darb_hw.link.network import network_bytes
from darb_hw.synthesis.report import Usage
from darb_prune.encoded import DarbError

__all__ = ["FOLDER", "NETWORK", "BoardReport"]

FOLDER = "board"
"""Of all that belongs to a board, within the build."""
NETWORK = "network.bin"
"""File of the network that a board reads from its flash memory."""
_ROOM_MOST = 1 << 24
"""Elements that a buffer can have: no block RAMs of a device hold as many."""
_BITS = {"uart": 10, "spi": 8}
"""A byte on each kind of link."""


@dataclass(frozen=True)
class BoardReport:
    """A bitstream, and what it does.

    Parameters
    ----------
    board, network, device : str
    lanes : int
    bitstream : str
        Name of the file.
    clock_mhz, fmax_mhz : float
        What the engine runs at, and what place and route says that it could.
    seed : int
        Of place and route.
    luts, logic_cells, ffs, block_rams, dsps : Usage
        See :class:`~darb_hw.synthesis.report.SynthReport`.
    latency_cycles, interval_cycles : int
        Of one inference in the engine, and from one to the next.
    baud : int
        Bits a second of the link.
    buffer : int
        Elements of inputs that can wait for the engine.
    request_bytes, reply_bytes : int
        On the line, for one inference: of a recurrent network, of one time step. Bytes that must be escaped come on
        top.
    digest : str
        Identity of the engine, see :attr:`darb_hw.emit.Build.digest`.
    tools : dict of str to str
        Version of each tool.
    link : str
        ``"uart"`` or ``"spi"``.
    """

    board: str
    network: str
    device: str
    lanes: int
    bitstream: str
    clock_mhz: float
    fmax_mhz: float
    seed: int
    luts: Usage
    logic_cells: Usage
    ffs: Usage
    block_rams: Usage
    dsps: Usage
    latency_cycles: int
    interval_cycles: int
    baud: int
    buffer: int
    request_bytes: int
    reply_bytes: int
    digest: str
    tools: dict[str, str]
    link: str = "uart"

    @property
    def margin(self) -> float:
        """How much faster than it runs the engine could be clocked."""
        return self.fmax_mhz / self.clock_mhz - 1

    @property
    def engine_rate(self) -> float:
        """Inferences a second of the engine alone."""
        return self.clock_mhz * 1e6 / self.interval_cycles

    @property
    def link_rate(self) -> float:
        """Inferences a second that the line lets through, both ways at once."""
        return self.baud / _BITS[self.link] / max(self.request_bytes, self.reply_bytes)

    @property
    def rate(self) -> float:
        """Inferences a second."""
        return min(self.engine_rate, self.link_rate)

    def of_network(self, build: Build) -> "BoardReport":
        """The report with the network of another build for the same engine."""
        plan = build.plan
        return replace(
            self, network=plan.source.name, digest=build.digest, latency_cycles=plan.timing.latency_of(1),
            interval_cycles=plan.timing.interval_of(1),
        )  # fmt: skip

    def packed(self) -> bytes:
        """As JSON."""
        return (json.dumps(asdict(self), indent=2) + "\n").encode()

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> "BoardReport":
        """From plain values, as ``dataclasses.asdict`` gives them.

        Raises
        ------
        ValueError
            If they are those of something else.
        """
        # As JSON: there, records are no objects yet. Pydantic says what is wrong as a ValueError.
        report = TypeAdapter(cls).validate_json(json.dumps(values), strict=True)
        positive = (report.clock_mhz, report.fmax_mhz, report.baud, report.interval_cycles, report.request_bytes)
        sound = all(0 < number < math.inf for number in positive)
        room = report.buffer in range(1, _ROOM_MOST + 1) and report.buffer.bit_count() == 1
        if not (sound and room and report.link in _BITS and values.keys() <= {field.name for field in fields(cls)}):
            raise ValueError("no report of a board")
        return report

    @classmethod
    def of(cls, build: Build) -> "BoardReport":
        """The report of the bitstream of a build.

        Raises
        ------
        DarbError
            If there is none, it is damaged, or that of an engine which the build had before.
        """
        path = build.folder / FOLDER / "report.json"
        report = cls._load(path)
        bitstream = path.with_name(Path(report.bitstream).name)
        if not bitstream.is_file():
            raise DarbError(f"{bitstream}: missing; make the bitstream again with darb board")
        if report.digest != build.digest:
            raise DarbError(f"{bitstream}: of another engine than the build; make the bitstream again with darb board")
        if board_named(report.board).reads_flash(build.plan.config):
            network = path.with_name(NETWORK)
            if not network.is_file() or network.read_bytes() != network_bytes(build.digest, build.plan):
                raise DarbError(f"{network}: missing or altered; make the bitstream again with darb board")
        return report

    @classmethod
    def _load(cls, path: Path) -> "BoardReport":
        if not path.is_file():
            raise DarbError(f"{path}: no such file; make the bitstream with darb board")
        try:
            return cls.from_values(json.loads(path.read_bytes()))
        except (ValueError, TypeError, RecursionError):
            raise DarbError(f"{path}: damaged; make the bitstream again with darb board") from None
