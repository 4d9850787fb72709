"""A board in a simulator: its top level with the engine, from the oscillator and the link at its pins."""

import contextlib
import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from darb_hw.board.boards import Board, board_named
from darb_hw.board.build import TOP, board_synthesis, top_verilog
from darb_hw.board.pins import clock_mhz_of, pins_of
from darb_hw.board.pll import fastest_pll
from darb_hw.board.report import BoardReport
from darb_hw.emit import Build
from darb_hw.errors import ToolError
from darb_hw.jobs.job import finished
from darb_hw.link.shape import LinkShape
from darb_hw.store.store import Store
from darb_hw.synthesis.circuit import Circuit
from darb_prune.encoded import DarbError, write_atomic, write_files
from sim.launch import VERILATOR_OPTIONS, VERILATOR_WAIVERS, Design, launched
from sim.netlist import cell_models

__all__ = ["BoardModel", "simulate_board", "virtual_board"]

_BENCH = "sim.board_bench"
_PLL = Path(__file__).with_name("cells") / "pll.v"
_WAIVERS = Path(__file__).with_name("board.vlt")


@dataclass(frozen=True)
class BoardModel:
    """What is simulated of a board.

    Parameters
    ----------
    build : Build
        With test vectors.
    board : Board
    mhz : float
        Most that the engine is clocked with: a simulation takes as long as it has cycles.
    cycles : int
        Of the oscillator a bit on the line: few of them make it short.
    buffer : int, optional
        See :meth:`LinkShape.of`.
    link : str
        ``"uart"`` or ``"spi"``.
    flash : str
        What its flash memory has, if it reads one: the network (``"whole"``), that with a wrong bit (``"damaged"``),
        or nothing (``"blank"``).
    """

    build: Build
    board: Board
    mhz: float
    cycles: int = 5
    buffer: int | None = None
    link: str = "uart"
    flash: str = "whole"

    @classmethod
    def of(cls, build: Build, mhz: float) -> "BoardModel":
        """The board that a bitstream was made for, with the same room for inputs.

        Raises
        ------
        DarbError
            If the build has no bitstream.
        """
        report = BoardReport.of(build)
        return cls(build, board_named(report.board), mhz, buffer=report.buffer, link=report.link)

    @property
    def baud(self) -> int:
        """Bits a second of the line."""
        return round(self.clock_mhz * 1e6 / self.cycles)

    @property
    def clock_mhz(self) -> float:
        return clock_mhz_of(self.board)

    def _top(self) -> bytes:
        pll = fastest_pll(self.board.pll, self.clock_mhz, self.mhz, self.build.plan.config.target.chip)
        shape = LinkShape.of(self.build.plan, self.buffer)
        return top_verilog(self.build, self.board, shape, pll, self.baud, self.link).encode()

    def design(self, simulator: str) -> Design:
        """Write the top level, and say how to compile it."""
        text = self._top()
        path = self.build.folder / "sim" / f"{self.board.name}-{self.link}.v"
        path.parent.mkdir(exist_ok=True)
        write_atomic(path, text)
        stamp = {"top": hashlib.sha256(text).hexdigest(), "pll": hashlib.sha256(_PLL.read_bytes()).hexdigest()}
        sources, options = (path, self.build.verilog, _PLL), ()
        if simulator == "verilator":
            sources = (VERILATOR_WAIVERS, _WAIVERS, *sources)
            options = (*VERILATOR_OPTIONS, "--timing")
        name = f"{self.board.name}-{self.link}-{simulator}"
        return Design(name, sources, options, stamp, inside=False, top=TOP, bench=_BENCH)

    def netlist(self) -> Design:
        """Synthesise the board, and say how to compile that.

        Raises
        ------
        ToolError
            If Yosys is missing, or refuses it.
        """
        made = finished(board_synthesis(Circuit.of(self.build), self._top()), Store())
        if made.failure:
            raise ToolError(made.failure)
        folder = self.build.folder / "sim"
        cells = cell_models(self.build.plan.config.target.family).encode()
        name = f"{self.board.name}-{self.link}-netlist"
        files = {folder / "cells.v": cells, folder / f"{name}.v": made.files["netlist.v"]}
        write_files(files)
        digests = [hashlib.sha256(data).hexdigest() for data in (*files.values(), _PLL.read_bytes())]
        return Design(name, (*files, _PLL), stamp={"sources": digests}, inside=False, top=TOP, bench=_BENCH)

    def request(self) -> dict[str, Any]:
        """What every bench must know of it."""
        pins, cycles = pins_of(self.board, self.link), self.build.plan.timing.latency_of(1)
        overwrites, stored = self.build.plan.config.overwrites, self.board.reads_flash(self.build.plan.config)
        elements = LinkShape.of(self.build.plan, self.buffer).buffer
        # A line that is full both ways, and the engine, with room.
        longest = 1e6 * 40 * (elements + self.build.plan.output_size * 8 + 40) / self.baud + 4 * cycles / self.mhz
        return {
            "link": self.link,
            "baud": self.baud,
            "clock_mhz": self.clock_mhz,
            "ready": int(not pins["ready"].inverted),
            "button": int(not pins["button"].inverted) if "button" in pins else None,
            "longest": round(longest) + 100,
            "piece": min(elements, 64),
            "flash": self.flash if stored else None,
            "overwrites": overwrites,
        }


def simulate_board(
    model: BoardModel, simulator: str, requests: int, *, trouble: bool, seed: int = 1, other: Build | None = None
) -> dict[str, int]:
    """Ask a board for inferences, and compare every answer with the oracle.

    Parameters
    ----------
    model : BoardModel
    simulator : str
        ``"icarus"``, ``"verilator"``, or ``"netlist"``: what Yosys makes of it, in Icarus.
    requests : int
        Inferences that must come back right.
    trouble : bool
        Whether there are damaged packets, lost bytes, wrong lengths, resets in between.
    seed : int
    other : Build, optional
        Another network for the same engine: the two are exchanged in between.

    Returns
    -------
    dict of str to int
        How often what was done.

    Raises
    ------
    DarbError
        If an answer is wrong or does not come, or the simulator does not run.
    """
    request = model.request() | {"requests": requests, "trouble": trouble, "seed": seed}
    if other is not None:
        request["other"] = str(other.folder.resolve())
    netlist = simulator == "netlist"
    design = model.netlist() if netlist else model.design(simulator)
    report = launched(model.build, "icarus" if netlist else simulator, design, request, seed, None)
    mismatch = report.pop("mismatch")
    if mismatch is not None:
        raise DarbError(f"{model.board.name} in {simulator}: {mismatch}")
    return report


@contextlib.contextmanager
def virtual_board(model: BoardModel, simulator: str = "verilator") -> Iterator[str]:
    """A board behind a pseudo-terminal. Gives its name, to be opened like a serial port.

    Parameters
    ----------
    model : BoardModel
    simulator : str

    Raises
    ------
    DarbError
        If the board has no UART, or the simulator does not run.
    """
    if model.link != "uart":
        raise DarbError(
            f"{model.build.folder}: its link is {model.link}, and a pseudo-terminal is a serial line: make the "
            "bitstream with darb board --link uart"
        )
    folder = model.build.folder.resolve() / "sim"
    design = model.design(simulator)
    terminal, stop = (folder / f"{model.board.name}-{name}" for name in ("terminal", "stop"))
    for path in (terminal, stop):
        path.unlink(missing_ok=True)
    request = model.request() | {"terminal": str(terminal), "stop": str(stop)}
    errors: list[Exception] = []

    def run() -> None:
        try:
            launched(model.build, simulator, design, request, 1, None)
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        while not terminal.is_file():
            thread.join(0.1)
            if not thread.is_alive():
                raise errors[0] if errors else DarbError(f"{simulator} ended before the board was there")
        yield terminal.read_text()
    finally:
        stop.touch()
        thread.join()
        for path in (terminal, stop):
            path.unlink(missing_ok=True)
