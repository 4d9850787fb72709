"""The bitstream: a job that packs what place and route has made."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from darb_hw.board.boards import Board
from darb_hw.config import Target
from darb_hw.errors import ToolError
from darb_hw.jobs.job import Job
from darb_hw.jobs.program import raise_failure, run_program
from darb_hw.synthesis import tools
from darb_hw.synthesis.route import LAYOUT

__all__ = ["BITSTREAM", "Pack", "packing_of"]

BITSTREAM = {"ice40": "bitstream.bin", "ecp5": "bitstream.bit", "gowin": "bitstream.fs"}
"""The file for each family."""


def packing_of(device: Target, board: Board) -> tuple[str, ...]:
    """Options of the packer for a board and the device on it."""
    options = {"ice40": (), "ecp5": ("--compress",), "gowin": ("--compress", "-d", device.chip)}
    return (*options[device.family], *board.packing)


@dataclass(frozen=True)
class Pack(Job):
    """The layout of nextpnr -> the bitstream.

    Parameters
    ----------
    inputs : mapping of str to bytes
        The file that ``LAYOUT`` names.
    family : str
    options : tuple of str
        Of the packer.
    version : str
        Of the packer.
    title : str
        For people.
    """

    kind: ClassVar[str] = "pack"
    inputs: Mapping[str, bytes]
    family: str
    options: tuple[str, ...]
    version: str
    title: str = ""

    @classmethod
    def of(cls, layout: bytes, device: Target, board: Board, title: str) -> "Pack":
        """The job for a board, with the packer that is installed."""
        family = device.family
        return cls({LAYOUT[family]: layout}, family, packing_of(device, board), tools.packer(family).version, title)

    @property
    def label(self) -> str:
        return f"bitstream of {self.title}"

    def settings(self) -> dict[str, Any]:
        return {"family": self.family, "options": self.options, "packer": self.version}

    def run(self, folder: Path) -> Mapping[str, bytes]:
        packer = tools.of_version(tools.packer(self.family), self.version)
        layout, bitstream, log = LAYOUT[self.family], BITSTREAM[self.family], folder / "output"
        files = ["-o", bitstream, layout] if self.family == "gowin" else [layout, bitstream]
        code = run_program([*packer.command, *self.options, *files], folder, log)
        if code:
            raise_failure(packer.name, code, log.read_text(errors="replace"), {})
        if not (folder / bitstream).is_file():
            raise ToolError(f"{packer.name} left no bitstream; install it again: pip install 'darb[synth]'")
        return {bitstream: (folder / bitstream).read_bytes()}
