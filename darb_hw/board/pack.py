"""The bitstream: a job that packs what place and route has made."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from darb_hw.errors import ToolError
from darb_hw.jobs.job import Job
from darb_hw.jobs.program import raise_failure, run_program
from darb_hw.synthesis import tools
from darb_hw.synthesis.route import LAYOUT

__all__ = ["BITSTREAM", "Pack"]

BITSTREAM = {"ice40": "bitstream.bin", "ecp5": "bitstream.bit"}
"""The file for each family."""


@dataclass(frozen=True)
class Pack(Job):
    """The layout of nextpnr -> the bitstream.

    Parameters
    ----------
    inputs : mapping of str to bytes
        ``design.asc`` or ``design.config``.
    family : str
    version : str
        Of the packer.
    title : str
        For people.
    """

    kind: ClassVar[str] = "pack"
    inputs: Mapping[str, bytes]
    family: str
    version: str
    title: str = ""

    @property
    def label(self) -> str:
        return f"bitstream of {self.title}"

    def settings(self) -> dict[str, Any]:
        return {"family": self.family, "packer": self.version}

    def run(self, folder: Path) -> Mapping[str, bytes]:
        packer = tools.of_version(tools.packer(self.family), self.version)
        layout, bitstream, log = LAYOUT[self.family], BITSTREAM[self.family], folder / "output"
        options = ["--compress"] if self.family == "ecp5" else []
        code = run_program([*packer.command, *options, layout, bitstream], folder, log)
        if code:
            raise_failure(packer.name, code, log.read_text(errors="replace"), {})
        if not (folder / bitstream).is_file():
            raise ToolError(f"{packer.name} left no bitstream; install it again: pip install 'darb[synth]'")
        return {bitstream: (folder / bitstream).read_bytes()}
