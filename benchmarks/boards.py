"""Bitstreams of all boards: what the digits network costs on each, how fast it runs, and what its line lets through.

python -m benchmarks.boards                      # every board: about three minutes each
python -m benchmarks.boards icebreaker
python -m benchmarks.boards --page               # docs/results/boards.md from what was measured
"""

from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console

from benchmarks.builds import ROOT
from benchmarks.command import JOBS, Jobs, bar, chosen, command, measured
from benchmarks.engine.networks import digits
from darb_hw.board.boards import BOARDS
from darb_hw.board.build import make_board
from darb_hw.board.report import BoardReport
from darb_hw.config import EngineConfig
from darb_hw.emit import generate
from darb_prune.encoded import write_atomic
from darb_prune.studies import markdown

BUILD, FILE = ROOT / "build" / "boards", ROOT / "docs" / "results" / "boards.json"
LANES = {"ice40": 8, "ecp5": 16}
"""For each family."""
SEEDS = 3


def measure(board: str, jobs: int) -> dict[str, object]:
    """The report of the bitstream of a board, as plain values."""
    network = BUILD / "digits.darb"
    digits(network, 8)
    chosen_board = BOARDS[board]
    config = EngineConfig(lanes=LANES[chosen_board.device.partition("-")[0]], device=chosen_board.device)
    build = generate(network, config, BUILD / board)
    return asdict(make_board(build, chosen_board, seeds=range(1, SEEDS + 1), jobs=jobs))


def page(results: dict[str, dict[str, object]]) -> str:
    """The page of all boards that were measured."""
    rows = []
    for name in BOARDS:
        if name not in results:
            continue
        report = BoardReport.from_values(results[name])
        rows.append(
            [
                f"[{BOARDS[name].title}](../boards/{name}.md)",
                str(report.lanes),
                *(f"{usage.used:,} of {usage.available:,}" for usage in (report.luts, report.block_rams, report.dsps)),
                f"{report.clock_mhz:.2f}",
                f"{report.margin:.1%}",
                f"{report.baud:,}",
                f"{report.link_rate:,.0f}",
                f"{report.engine_rate:,.0f}",
            ]
        )
    head = ["board", "lanes", "LUTs", "block RAMs", "DSPs", "MHz", "margin", "baud", "inferences/s", "engine alone"]
    return (
        "# Boards\n\n"
        "    python -m benchmarks.boards\n\n"
        "makes the bitstream of the digits network (8x, 8-bit weights) for every board: engine, host link, PLL, pins.\n"
        f"The clock is the fastest that the PLL makes and the best of {SEEDS} placements reaches; *margin* is how\n"
        "much faster that placement could be. *Inferences/s* is what the serial line lets through, which is slower\n"
        "than any engine; the last column is what the engine would do without it. No board was at hand: boards are\n"
        "simulated (`tests/sim/test_board.py`), no bitstream was loaded.\n\n"
    ) + markdown.table(head, rows)


def main(
    boards: Annotated[list[str] | None, typer.Argument(help="Boards; all if absent.")] = None,
    page_only: Annotated[
        bool, typer.Option("--page", help="Write the page of what was measured, and no more.")
    ] = False,
    jobs: Jobs = JOBS,
) -> None:
    """Make the bitstream of the digits network for every board.

    Example: python -m benchmarks.boards icebreaker
    """
    console, names = Console(stderr=True), [] if page_only else chosen(boards, BOARDS)
    with bar(console, "boards", len(names)) as done:

        def one(name: str) -> dict[str, object]:
            made = measure(name, jobs)
            done(names.index(name) + 1)
            return made

        results = measured(FILE, names, one)
    write_atomic(FILE.with_suffix(".md"), page(results).encode())


app = command(main)

if __name__ == "__main__":
    app()
