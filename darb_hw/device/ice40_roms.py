"""ROMs of iCE40 made of its block RAMs, so that each block holds known bits of known words.

Yosys infers block RAMs as well, but leaves out what is constant in the contents that it sees.
"""

from itertools import pairwise

import numpy as np

from darb_hw.device.memory import MemoryShape
from darb_hw.device.modules import MODULES
from darb_hw.plan.blocks import SHAPES, Row, rows_of
from darb_hw.plan.image import Image, unsigned_bits

__all__ = ["block_bits", "rom_text"]

_SHAPES = SHAPES["ice40"]
_MODES = {16: 0, 8: 1, 4: 2, 2: 3}
_READ_AT = {16: (0, 1), 8: (0, 2), 4: (1, 4), 2: (3, 8)}
"""For each width of a word, the output with its first bit, and how many outputs further the next bit is."""


def block_bits(image: Image, row: Row, column: int) -> np.ndarray:
    """Contents of a block, uint8 of shape (256, 16).

    Words that share 16 bits have their bits in turn: bit ``b`` of word ``256 s + a`` is bit ``b * 16 / width + s`` of
    row ``a`` (Lattice TN1250, and the models of Yosys).
    """
    bits = np.unpackbits(image.words, axis=1, bitorder="little", count=image.width)
    part = bits[row.first : row.first + row.depth, column * row.width : (column + 1) * row.width]
    block = np.zeros((row.depth, row.width), np.uint8)
    block[: part.shape[0], : part.shape[1]] = part
    return block.reshape(-1, 256, row.width).transpose(1, 2, 0).reshape(256, 16)


def rom_text(module: str, shape: MemoryShape) -> str:
    """The module ``module``: a ROM of blocks, in the latency of ``darb_rom``."""
    assert shape.image is not None
    rows = rows_of(shape.width, shape.depth, _SHAPES)
    bits = {"WIDTH": shape.width, "ADDRESS": shape.address, "COPIES*ADDRESS": shape.copies * shape.address}
    head = MODULES["darb_rom"].port_lines(bits)
    blocks = ", ".join(f"{row.columns} blocks of {row.width} bits x {row.depth} words" for row in rows)
    lines = [
        f"// {shape.file}: {shape.width} bits x {shape.depth} words in {blocks}.",
        f"module {module} (\n{head}\n);",
    ]
    words = []
    for number, row in enumerate(rows):
        parts = []
        for column in range(row.columns):
            lines += _block(shape, row, column, f"{column}_{number}")
            first, step = _READ_AT[row.width]
            used = min(row.width, shape.width - column * row.width)
            parts += [f"q_{column}_{number}[{first + step * bit}]" for bit in range(used)]
        words.append(f"{{{', '.join(reversed(parts))}}}")
    return "\n".join([*lines, *_output(shape, rows, words), "endmodule\n"])


def _block(shape: MemoryShape, row: Row, column: int, position: str) -> list[str]:
    """A block, and the wire with what it reads."""
    assert shape.image is not None
    copy, used = column * shape.copies // row.columns, min(unsigned_bits(row.depth - 1), shape.address)
    above = f"{11 - used}'d0, " if used < 11 else ""
    contents = np.packbits(block_bits(shape.image, row, column).reshape(-1), bitorder="little")[::-1].tobytes().hex()
    return [
        f"    wire [15:0] q_{position};",
        f"    darb_sb_rom #(.MODE({_MODES[row.width]}), .CONTENTS(4096'h{contents})) block_{position} (",
        f"        .clk(clk), .address({{{above}address[{copy * shape.address + used - 1}:{copy * shape.address}]}}), "
        f".q(q_{position})",
        "    );",
    ]


def _output(shape: MemoryShape, rows: tuple[Row, ...], words: list[str]) -> list[str]:
    """The register behind the blocks. Several rows of blocks are multiplexed in front of it, by an address that is as
    late as what they read; with ``LATE`` there is another register in front of that."""
    lines, stages = [], 1
    if shape.late:
        stages, names = 2, [f"late_{number}" for number in range(len(rows))]
        lines = [f"    reg [{shape.width - 1}:0] {', '.join(names)};"]
        lines += [f"    always @(posedge clk) {name} <= {word};" for name, word in zip(names, words, strict=True)]
        words = names
    if len(rows) > 1:
        low = unsigned_bits(min(row.depth for row in rows) - 1)
        top = shape.address - low - 1
        at = [f"address[{shape.address - 1}:{low}]", *(f"row_{stage}" for stage in range(stages))]
        lines.append(f"    reg [{top}:0] {', '.join(at[1:])};")
        lines += [f"    always @(posedge clk) {after} <= {before};" for before, after in pairwise(at)]
        chosen = words[-1]
        for row, word in zip(rows[-2::-1], words[-2::-1], strict=True):
            above = f"{at[-1]}[{top}:{unsigned_bits(row.depth - 1) - low}]"
            chosen = f"{above} == {row.first // row.depth} ? {word} :\n        {chosen}"
    else:
        chosen = words[0]
    return [
        *lines,
        f"    reg [{shape.width - 1}:0] read;",
        f"    always @(posedge clk) read <= {chosen};",
        "    assign data = read;",
    ]
