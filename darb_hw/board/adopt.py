"""A build for the engine that a board has already: its folder gets what belongs to the board."""

from darb_hw.board.report import FOLDER, NETWORK, BoardReport
from darb_hw.emit import Build
from darb_hw.link.network import network_bytes
from darb_prune.encoded import write_files

__all__ = ["adopt_board"]


def adopt_board(build: Build, other: Build) -> BoardReport:
    """Give another build the bitstream of a build, and a report of its own: commands ask the board for it then.

    What the bitstream holds at power-up stays the network of ``build``. Where a board reads its network from flash
    memory, that is the one of ``other``, once it is loaded there.

    Parameters
    ----------
    build : Build
        With a bitstream.
    other : Build
        Of another network for the same engine, which is for the caller to know.

    Raises
    ------
    DarbError
        If ``build`` has no bitstream.
    """
    report = BoardReport.of(build).of_network(other)
    files = {path.name: path.read_bytes() for path in (build.folder / FOLDER).iterdir() if path.is_file()}
    files["report.json"] = report.packed()
    if NETWORK in files:
        files[NETWORK] = network_bytes(other.digest, other.plan)
    write_files({other.folder / FOLDER / name: data for name, data in files.items()})
    return report
