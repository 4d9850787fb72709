"""From a build to a bitstream: top level, synthesis, place and route at a clock that the engine reaches, packing."""

import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

from darb_hw.board.boards import Board
from darb_hw.board.pack import BITSTREAM, Pack
from darb_hw.board.pins import clock_mhz_of, constraints_text, pins_of
from darb_hw.board.pll import Pll, fastest_pll
from darb_hw.board.report import FOLDER, NETWORK, BoardReport
from darb_hw.board.top import BoardTop
from darb_hw.device.memory import FileMemories
from darb_hw.device.verilog import verilog_of
from darb_hw.emit import Build
from darb_hw.errors import PlanError, ToolError
from darb_hw.jobs.flow import Flow, outcome
from darb_hw.jobs.threads import ThreadPool
from darb_hw.link.flash import FlashReader
from darb_hw.link.info import BoardInfo
from darb_hw.link.info_memory import with_info
from darb_hw.link.network import network_bytes
from darb_hw.link.protocol import HEAD, PENDING, TAIL, VERSION
from darb_hw.link.shape import LinkShape
from darb_hw.link.spi import SpiSlave
from darb_hw.link.uart import Uart
from darb_hw.store.entry import Entry
from darb_hw.store.store import Store
from darb_hw.synthesis import tools
from darb_hw.synthesis.blocks import BLOCKS, FAMILIES
from darb_hw.synthesis.boards import SUFFIX
from darb_hw.synthesis.circuit import Circuit
from darb_hw.synthesis.route import LAYOUT, fmax_of, route_of
from darb_hw.synthesis.synth import SEEDS, Told, lacking_of, usage_of
from darb_hw.synthesis.yosys import Synthesis, resources_of
from darb_prune.encoded import DarbError, write_files

__all__ = ["TOP", "blocks_record", "board_synthesis", "info_of", "make_board", "patchable", "top_verilog"]

TOP = "top"
_ROUNDS = 6
_STEP = 0.99
"""The next clock to try is below what place and route has reached by this."""
_WORTH = 0.03
"""A clock that is faster by this is worth another round."""
_BAUD_ERROR = 0.02
"""A receiver looks at the last bit of a byte half a bit off if the sender is 5 % faster; both may be off."""
_FIGURES = ("network", "device", "lanes", "latency_cycles", "interval_cycles")
_MARKS = 2
"""Bytes that begin and end a packet."""


def info_of(build: Build, shape: LinkShape, mhz: float) -> BoardInfo:
    """What a board says of itself."""
    digests = build.digest[:16], build.engine_digest[:16]
    return BoardInfo(VERSION, PENDING, round(mhz * 1e6), shape.buffer, *digests)


def patchable(build: Build) -> bool:
    """Whether other networks may come into its layout. Those for ``--reload`` come over the line, into memories that
    are written; of some families nobody knows which blocks of a layout have which words."""
    config = build.plan.config
    return build.plan.capacity is not None and not config.loads and config.target.family in FAMILIES


def divisor_of(mhz: float, baud: int) -> int:
    """Clock cycles of a bit of a UART.

    Raises
    ------
    DarbError
        If no whole number of cycles is near enough.
    """
    divisor = round(mhz * 1e6 / baud)
    if divisor < 4 or abs(mhz * 1e6 / divisor / baud - 1) > _BAUD_ERROR:
        nearest = round(mhz * 1e6 / max(divisor, 4))
        raise DarbError(f"--baud {baud}: not with a clock of {mhz:g} MHz; choose {nearest}")
    return divisor


def _line(link: str, mhz: float, baud: int) -> Uart | SpiSlave:
    """What brings bytes to the link; refuses what is too fast for it."""
    if link == "uart":
        return Uart(divisor_of(mhz, baud))
    if baud > mhz * 1e6:
        raise DarbError(f"--baud {baud}: SPI is no faster than the oscillator: choose up to {round(mhz * 1e6)}")
    return SpiSlave()


def top_verilog(build: Build, board: Board, shape: LinkShape, pll: Pll, baud: int, link: str = "uart") -> str:
    """Verilog of the top level, without the engine and the modules that are beside it. Where other networks may come
    into its layout, what the board says of itself is in a memory."""
    stored, mhz = board.reads_flash(build.plan.config), clock_mhz_of(board)
    info, pins, line = info_of(build, shape, pll.mhz).packed(), pins_of(board, link, stored), _line(link, mhz, baud)
    flash = FlashReader(shape.load_bytes, 1e6 * mhz) if stored else None
    top = BoardTop(build.plan.config.top, shape, info, pll, line, pins, patchable(build), flash)
    text = verilog_of(top, TOP, FileMemories())
    return with_info(text, build.plan.config.target.family, info) if patchable(build) else text


def make_board(
    build: Build,
    board: Board,
    *,
    link: str = "uart",
    baud: int | None = None,
    buffer: int | None = None,
    mhz: float | None = None,
    seeds: Sequence[int] = SEEDS,
    jobs: int | None = None,
    progress: Callable[[str], None] | None = None,
    store: Store | None = None,
) -> BoardReport:
    """Make the bitstream of a build for a board; write it, its report and all that it is made from into ``board/``.

    The clock is the fastest that the PLL makes and a placement reaches. It begins out of reach and comes down to a step
    below what the best of the seeds has reached, until one of them reaches it; as long as that could be worth it, it
    goes on to a step below what the last round has reached.

    Parameters
    ----------
    build : Build
        For the device of the board.
    board : Board
    link : str
        A key of :attr:`Board.bauds`: ``"uart"`` or ``"spi"``.
    baud : int, optional
        Bits a second of the link; by default what the board takes without trouble.
    buffer : int, optional
        See :meth:`LinkShape.of`.
    mhz : float, optional
        Most that the engine is clocked with.
    seeds : sequence of int
        Place-and-route runs of a round.
    jobs : int, optional
        Runs at a time; by default as many as there are processors.
    progress : callable, optional
        Called with a word or two whenever a run of a tool has ended.
    store : Store, optional
        ``$DARB_STORE``, or that of the user, if absent.

    Raises
    ------
    ToolError
        If a tool is missing or fails.
    PlanError
        If the design does not fit the device.
    DarbError
        If the build is for another device, or the board has no such link or none so fast.
    """
    if build.plan.config.device != board.device:
        raise DarbError(
            f"{build.folder}: made for {build.plan.config.device}, {board.title} carries {board.device}: make the "
            f"build with --device {board.device}"
        )
    store = store or Store()
    design = _Design(build, board, LinkShape.of(build.plan, buffer), link, baud)
    with ThreadPool(jobs or os.cpu_count() or 1, store) as pool:
        made = outcome(
            _flow(design, tuple(dict.fromkeys(seeds)), mhz), pool, store, Told(progress) if progress else None
        )
    folder = build.folder / FOLDER
    write_files({folder / name: data for name, data in made.files.items()})
    for stale in folder.iterdir():
        if stale.name not in made.files and stale.is_file():
            stale.unlink()
    return made.report


class _Design:
    """What is the same in all rounds."""

    def __init__(self, build: Build, board: Board, shape: LinkShape, link: str, baud: int | None) -> None:
        pins = pins_of(board, link, board.reads_flash(build.plan.config))
        self.build, self.board, self.shape = build, board, shape
        self.link, self.baud = link, baud or board.bauds[link]
        self.circuit = Circuit.of(build)
        self.clock = clock_mhz_of(board)
        target = self.circuit.target
        self.device = replace(target, nextpnr=board.package or target.nextpnr)
        self.constraints = constraints_text(target.family, pins, self.clock).encode()

    @property
    def title(self) -> str:
        return f"{self.circuit.figures['network']} on {self.board.name}"


def board_synthesis(circuit: Circuit, top: bytes) -> Synthesis:
    """The job that synthesises the top level of a board with an engine.

    Parameters
    ----------
    circuit : Circuit
        The engine.
    top : bytes
        Of :func:`top_verilog`.
    """
    files = {**circuit.files, f"{TOP}.v": top}
    return Synthesis(files, circuit.script_for(TOP), tools.yosys().version, f"the board of {circuit.title}")


@dataclass(frozen=True)
class _Placed:
    """A round: the best of its placements."""

    pll: Pll
    seed: int
    fmax: float
    usage: Mapping[str, Any]
    files: Mapping[str, bytes]
    layout: bytes
    blocks: bytes | None


@dataclass(frozen=True)
class _Made:
    files: Mapping[str, bytes]
    report: BoardReport


def _round(design: _Design, seeds: Sequence[int], aim: float) -> Flow[_Placed | str]:
    """Place the top level with a clock of at most ``aim`` MHz; if no seed can be routed, why the first one cannot."""
    device, nextpnr = design.device, tools.nextpnr(design.device.family)
    pll = fastest_pll(design.board.pll, design.clock, aim, device.chip)
    top = top_verilog(design.build, design.board, design.shape, pll, design.baud, design.link).encode()
    (made,) = yield [board_synthesis(design.circuit, top)]
    _raise_failures([made])
    needed = resources_of(device.family, made.files["cells.json"])
    lacking = lacking_of(needed, device, "a smaller --buffer")
    if lacking:
        raise lacking
    title, netlist = f"{design.title} at {pll.mhz:.1f} MHz", made.files["design.json"]
    placed = yield [
        route_of(
            nextpnr, device, TOP, seed, netlist, design.constraints, title, whole=True, blocks=patchable(design.build)
        )
        for seed in seeds
    ]  # fmt: skip
    # Routers do not get on with some seeds.
    runs = {seed: entry for seed, entry in zip(seeds, placed, strict=True) if not entry.failure}
    if not runs:
        return str(placed[0].failure)
    reports = {seed: json.loads(entry.files["report.json"]) for seed, entry in runs.items()}
    fmax = {seed: fmax_of(report) for seed, report in reports.items()}
    best = max(runs, key=lambda seed: fmax[seed])
    files = {
        f"{TOP}.v": top,
        f"constraints{SUFFIX[device.family]}": design.constraints,
        "netlist.v": made.files["netlist.v"],
        "yosys.log": made.files["yosys.log"],
        "nextpnr.log": runs[best].files["nextpnr.log"],
    }
    layout = runs[best].files[LAYOUT[device.family]]
    usage = usage_of(device, needed, reports[best])
    return _Placed(pll, best, fmax[best], usage, files, layout, runs[best].files.get(BLOCKS))


def _flow(design: _Design, seeds: Sequence[int], mhz: float | None) -> Flow[_Made]:
    limit = mhz or math.inf
    aim, aimed = min(design.device.target_mhz, limit), 0.0
    best = None
    for _ in range(_ROUNDS):
        placed = yield from _round(design, seeds, aim)
        if isinstance(placed, str):
            if not aimed:
                raise ToolError(f"no seed can be placed and routed: {placed}: try other --seeds, or fewer lanes")
            break
        aimed = placed.pll.mhz
        if placed.fmax >= aimed:
            best = placed
        aim = min(_STEP * placed.fmax, limit)
        if best is not None and aim < (1 + _WORTH) * best.pll.mhz:
            break
    if best is None:
        raise PlanError(f"no placement reaches a clock of {aimed:.1f} MHz: try more --seeds, or fewer lanes")
    family = design.device.family
    (packed,) = yield [Pack.of(best.layout, design.device, design.board, design.title)]
    _raise_failures([packed])
    report, bitstream = _report(design, best), packed.files[BITSTREAM[family]]
    files = {**best.files, BITSTREAM[family]: bitstream, "report.json": report.packed()}
    if design.board.reads_flash(design.build.plan.config):
        files[NETWORK] = network_bytes(design.build.digest, design.build.plan)
    if best.blocks:
        files |= {LAYOUT[family]: best.layout, BLOCKS: blocks_record(json.loads(best.blocks), best.layout, bitstream)}
    return _Made(files, report)


def blocks_record(blocks: Mapping[str, str], layout: bytes, bitstream: bytes) -> bytes:
    """What of a layout is kept for :mod:`darb_hw.board.patch`: where its block RAMs are, and digests of it and of its
    bitstream."""
    record = {"layout": sha256(layout).hexdigest(), "bitstream": sha256(bitstream).hexdigest(), "blocks": dict(blocks)}
    return (json.dumps(record, indent=2) + "\n").encode()


def _raise_failures(entries: Sequence[Entry]) -> None:
    for entry in entries:
        if entry.failure:
            raise ToolError(entry.failure)


def _report(design: _Design, placed: _Placed) -> BoardReport:
    family, figures = design.device.family, design.circuit.figures
    used = (tools.yosys(), tools.nextpnr(family), tools.packer(family))
    return BoardReport(
        board=design.board.name,
        bitstream=BITSTREAM[family],
        clock_mhz=placed.pll.mhz,
        fmax_mhz=round(placed.fmax, 3),
        seed=placed.seed,
        link=design.link,
        baud=design.baud,
        buffer=design.shape.buffer,
        digest=design.build.digest,
        tools={tool.name: tool.version for tool in used},
        **{name: figures[name] for name in _FIGURES},
        **placed.usage,
        **_packet_bytes(design.build, design.shape),
    )


def _packet_bytes(build: Build, shape: LinkShape) -> dict[str, Any]:
    around = _MARKS + HEAD + TAIL
    return {
        "request_bytes": around + shape.task_bytes + shape.inputs * shape.input_bytes,
        "reply_bytes": around + build.plan.output_size * shape.output_bytes,
    }
