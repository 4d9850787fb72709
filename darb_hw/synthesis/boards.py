"""Boards and their pins: which constraints file a place-and-route run gets."""

from pathlib import Path

from darb_hw.config import Target
from darb_prune.encoded import DarbError

__all__ = ["BOARDS", "SUFFIX", "constraints_file"]

BOARDS = {
    "icebreaker": "ice40-up5k",
    "ice40-hx8k-b-evn": "ice40-hx8k",
    "ulx3s-12f": "ecp5-12k",
    "ulx3s-25f": "ecp5-25k",
    "ulx3s-45f": "ecp5-45k",
    "ulx3s-85f": "ecp5-85k",
}
"""Boards with a pin file in ``constraints/``, and the device on each."""

# A link to the folder constraints/ of the repository; its files in an installed package.
_CONSTRAINTS = Path(__file__).with_name("constraints")
SUFFIX = {"ice40": ".pcf", "ecp5": ".lpf", "gowin": ".cst", "nexus": ".pdc"}


def constraints_file(device: Target, board: str | None = None) -> Path | None:
    """The constraints given to nextpnr: pins of ``board``, or without one the clock of ``device``.

    Where the link to ``constraints/`` is no link (a file system without), there is no file for a device. That loses
    nothing where nextpnr does without a pin of the clock: it always has the same frequency on its command line.

    Parameters
    ----------
    board : str, optional
        A key of :data:`BOARDS`, or the path of a ``.pcf`` (iCE40), ``.lpf`` (ECP5), ``.cst`` (Gowin) or ``.pdc``
        (Nexus) file.

    Raises
    ------
    DarbError
        If there is no such board, it carries another device, or a file that is needed is missing.
    """
    suffix = SUFFIX[device.family]
    if board is None:
        path = _CONSTRAINTS / f"{device.name}{suffix}"
        if device.needs_pins and not path.is_file():
            raise DarbError(f"{path}: no such file; name a {suffix} file with a pin for clk")
        return path if path.is_file() else None
    if board in BOARDS:
        if BOARDS[board] != device.name:
            raise DarbError(
                f"board {board} carries {BOARDS[board]}, the build is for {device.name}: make the build with "
                f"--device {BOARDS[board]}"
            )
        path = _CONSTRAINTS / f"{board}{suffix}"
    else:
        path = Path(board)
        if path.suffix not in SUFFIX.values():
            raise DarbError(
                f"unknown board {board!r}: choose one of {', '.join(BOARDS)}, or name a {suffix} file with your pins"
            )
        if path.suffix != suffix:
            raise DarbError(f"{board}: {device.name} takes {suffix} files")
    if not path.is_file():
        raise DarbError(f"{path}: no such file; name a {suffix} file with the pins of your board")
    return path
