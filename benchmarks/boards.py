"""Bitstreams: what the digits network costs on each board, and others on some; how fast they run, and their lines.

python -m benchmarks.boards                      # every board: about three minutes each
python -m benchmarks.boards icebreaker
python -m benchmarks.boards --page               # docs/results/boards.md from what was measured
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.builds import ROOT
from benchmarks.command import JOBS, Jobs, PageOnly, chosen, command, measured
from benchmarks.engine.networks import digits
from benchmarks.mlperf.networks import network_file
from darb_hw.board.boards import BOARDS
from darb_hw.board.build import make_board
from darb_hw.board.report import BoardReport
from darb_hw.config import DEVICES, EngineConfig
from darb_hw.emit import generate
from darb_prune.encoded import DarbError, write_atomic
from darb_prune.studies import markdown

BUILD, FILE = ROOT / "build" / "boards", ROOT / "docs" / "results" / "boards.json"
LANES = {"ice40": 8, "ecp5": 16, "gowin": 8}
"""Of digits, for each family."""
SEEDS = 3
_HEAD = (
    "network",
    "board",
    "lanes",
    "LUTs",
    "block RAMs",
    "DSPs",
    "MHz",
    "margin",
    "baud",
    "inferences/s",
    "engine alone",
)


@dataclass(frozen=True)
class BoardPoint:
    """A network on a board.

    Parameters
    ----------
    words : str
        What the network is.
    board : str
        A key of ``BOARDS``.
    lanes : int
    network : callable
        Gives the path of the network, made unless it is there.
    roms, input_order : str
        See :class:`~darb_hw.config.EngineConfig`.
    buffer : int, optional
        See :meth:`~darb_hw.link.shape.LinkShape.of`.
    """

    words: str
    board: str
    lanes: int
    network: Callable[[], Path]
    roms: str = "blocks"
    input_order: str = "logical"
    buffer: int | None = None


def _digits() -> Path:
    path = BUILD / "digits.darb"
    digits(path, 8)
    return path


def _fsdd() -> Path:
    path = ROOT / "build" / "networks" / "fsdd.darb"
    if not path.exists():
        raise DarbError(f"{path}: not there; make it with python -m benchmarks.networks fsdd")
    return path


POINTS = {
    name: BoardPoint("digits, 8x", name, LANES[DEVICES[board.device].family], _digits) for name, board in BOARDS.items()
} | {
    "fsdd-on-ulx3s-25f": BoardPoint("spoken digits, GRU, 13x", "ulx3s-25f", 16, _fsdd),
    "kws-on-ulx3s-85f": BoardPoint(
        "DS-CNN of MLPerf Tiny, dense", "ulx3s-85f", 32, lambda: ROOT / network_file("kws", 1)[0]
    ),
    "kws-on-icebreaker": BoardPoint(
        "DS-CNN of MLPerf Tiny, half the channels, N:M 1:4",
        "icebreaker",
        4,
        lambda: ROOT / network_file("kws_half", 3)[0],
    ),
    "ad-on-icebreaker": BoardPoint(
        "autoencoder of MLPerf Tiny, 8x, from flash memory",
        "icebreaker",
        2,
        lambda: ROOT / network_file("ad", 8)[0],
        roms="spram",
        input_order="storage",
        buffer=640,
    ),
}


def measure(name: str, jobs: int) -> dict[str, object]:
    """The report of a bitstream, as plain values."""
    point = POINTS[name]
    board = BOARDS[point.board]
    config = EngineConfig(lanes=point.lanes, device=board.device, roms=point.roms, input_order=point.input_order)
    build = generate(point.network(), config, BUILD / name)
    return asdict(make_board(build, board, buffer=point.buffer, seeds=range(1, SEEDS + 1), jobs=jobs))


def page(results: dict[str, dict[str, object]]) -> str:
    """The page of all boards that were measured."""
    rows = []
    for name, point in POINTS.items():
        if name not in results:
            continue
        report = BoardReport.from_values(results[name])
        rows.append(
            [
                point.words,
                f"[{BOARDS[point.board].title}](../boards/{point.board}.md)",
                str(report.lanes),
                *(f"{usage.used:,} of {usage.available:,}" for usage in (report.luts, report.block_rams, report.dsps)),
                f"{report.clock_mhz:.2f}",
                f"{report.margin:.1%}",
                f"{report.baud:,}",
                f"{report.link_rate:,.0f}",
                f"{report.engine_rate:,.0f}",
            ]
        )
    return (
        "# Boards\n\n"
        "    python -m benchmarks.boards\n\n"
        "makes the bitstream of the digits network (8x, 8-bit weights) for every board, and four more: engine, host\n"
        "link, PLL, pins. An inference of the GRU is a time step; a clip has 50, which is a request.\n"
        f"The clock is the fastest that the PLL makes and the best of {SEEDS} placements reaches; *margin* is how\n"
        "much faster that placement could be. *Inferences/s* is what the serial line lets through, which is slower\n"
        "than any engine; the last column is what the engine would do without it. No board was at hand: boards are\n"
        "simulated (`tests/sim/test_board.py`), no bitstream was loaded.\n\n"
    ) + markdown.table(_HEAD, rows)


def main(
    points: Annotated[list[str] | None, typer.Argument(help=f"Any of {', '.join(POINTS)}; all if absent.")] = None,
    page_only: PageOnly = False,
    jobs: Jobs = JOBS,
) -> None:
    """Make the bitstream of the digits network for every board, and of others.

    Example: python -m benchmarks.boards icebreaker
    """
    names = [] if page_only else chosen(points, POINTS)
    results = measured(FILE, names, lambda name: measure(name, jobs), "boards")
    write_atomic(FILE.with_suffix(".md"), page(results).encode())


app = command(main)

if __name__ == "__main__":
    app()
