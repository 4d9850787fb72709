"""What synthesis makes of the memories of an engine: block RAMs, or LUTs and flip-flops.

On ECP5 every memory that the plan gives blocks is made from instances of the primitive, so the plan is exact. On iCE40
Yosys chooses (pass ``memory_libmap``): it compares what blocks cost with what the same bits cost as logic, and packs
the rows of a deep memory into blocks bit by bit. It chooses for Gowin's devices too, which no model is fitted for; the
plan, which never says less, stands in for that.
"""

from dataclasses import dataclass

import numpy as np

from darb_hw.plan.blocks import FLIP_FLOPS, LUT_WORDS, SHAPES, rows_of, shapes_of
from darb_hw.plan.plan import Plan
from darb_hw.plan.reload import reloadable
from darb_hw.plan.resources import memories

__all__ = ["Mapped", "inferred_blocks", "mapped"]

_WRITTEN = ("ROM cell_state", "gates of the cells", "output buffer", "activation memory", "memory of the write-back")
"""Names of the memories that the engine writes."""
_CODES = ("ROM weights", "ROM index", "ROM columns")
"""How names of memories with weights and indices begin."""
_BLOCK, _ROM_BITS = float(FLIP_FLOPS), 16
"""Of Yosys: what a block costs, and how many bits of a ROM cost 1 as logic. A bit that is written costs 1."""


@dataclass(frozen=True)
class Mapped:
    """A memory: its size, whether it is written, whether it has weights or indices, its block RAMs (0: it is made from
    logic), and the rows of these."""

    width: int
    depth: int
    written: bool
    codes: bool
    block_rams: int
    rows: int


def mapped(plan: Plan) -> list[Mapped]:
    """The memories of an engine, as synthesis makes them; those without words are left out."""
    made = _inferred if plan.config.target.family == "ice40" else _instances
    return [
        made(plan, name, width, depth)
        for name, sizes in memories(plan).items()
        for width, depth in sizes * _repeated(plan, name) + _second_readers(plan, name)
        if width * depth
    ]


def _repeated(plan: Plan, name: str) -> int:
    """How many memories of the engine are alike: each stream looks up its own taps, each requantiser its functions."""
    if name in ("ROM taps", "ROM masks"):
        return plan.config.streams if "columns" in plan.images else 1
    return plan.config.ways if name == "ROM functions" else 1


def _second_readers(plan: Plan, name: str) -> list[tuple[int, int]]:
    """On iCE40 no block has two ports that read: lanes that share a memory have a copy each."""
    if name != "activation memory" or not plan.latency.shared or plan.config.target.family != "ice40":
        return []
    return [(plan.widths.activation, plan.memory_depth)] * (plan.config.lanes // 2)


def _is_written(plan: Plan, name: str) -> bool:
    """Whether a memory is written, by the engine or by who loads another network."""
    return name in _WRITTEN or name.removeprefix("ROM ") in reloadable(plan)


def _instances(plan: Plan, name: str, width: int, depth: int) -> Mapped:
    """A memory as the plan has it; a small one is left to synthesis, which takes logic."""
    written = _is_written(plan, name)
    shapes = shapes_of("ecp5", name.removeprefix("ROM ") not in reloadable(plan))
    rows = rows_of(width, depth, shapes) if depth > LUT_WORDS else ()
    if not written and not rows:
        width = _varying(plan.images[name.removeprefix("ROM ")].words)
    return Mapped(width, depth, written, name.startswith(_CODES), sum(row.columns for row in rows), len(rows))


def _inferred(plan: Plan, name: str, width: int, depth: int) -> Mapped:
    """A memory as Yosys chooses. It leaves out bits of a ROM that are the same in all words."""
    written = _is_written(plan, name)
    if not written:
        width = _varying(plan.images[name.removeprefix("ROM ")].words)
    return Mapped(width, depth, written, name.startswith(_CODES), *inferred_blocks(width, depth, written))


def _varying(words: np.ndarray) -> int:
    """Bits that are not the same in all words, of words of bytes."""
    same = np.bitwise_and.reduce(words, axis=0) ^ np.bitwise_or.reduce(words, axis=0)
    return int(np.bitwise_count(same).sum())


def inferred_blocks(width: int, depth: int, written: bool) -> tuple[int, int]:
    """Block RAMs that Yosys takes on iCE40 for a memory, and the rows of these: (0, 0) if it is made from logic."""
    made = []
    for wide, deep in SHAPES["ice40"].items():
        rows = -(-depth // deep)
        blocks = -(-width * rows // wide)
        choice = (rows - 1) * width / 2 + (rows / 2 if rows > 1 and written else 0)
        made.append((_BLOCK * blocks + choice, blocks, rows))
    cost, blocks, rows = min(made)
    return (blocks, rows) if cost < width * depth // (1 if written else _ROM_BITS) else (0, 0)
