"""Memories and multipliers made from the primitives of a device: the text of ``primitives.v``.

Any tool takes the plain modules of ``memory.v``. Where a family has block RAMs with a register at the output, or
multipliers with registers inside, modules of the same names, ports and latencies are made of these.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np

from darb_hw.config import Target
from darb_hw.device.ice40_roms import rom_text
from darb_hw.device.memory import MemoryShape
from darb_hw.device.modules import MODULES, SINGLE_PORT
from darb_hw.plan.blocks import BESIDE, LUT_WORDS, SHAPES, Row, rows_of, shapes_of
from darb_hw.plan.image import Image, unsigned_bits

__all__ = ["BLOCK_NAME", "initial_bits", "memory_of_blocks", "primitives_text", "rows_of_shape"]

BLOCK_NAME = re.compile(r"(?:^|\.)holds_(\w+)\.memory\.block_(\d+)_(\d+)\.block(?:_RAM)?$", re.ASCII)
"""How the name of a cell ends that is a block of exchangeable contents: the image, its column and its row of blocks.
nextpnr adds to the names of block RAMs of iCE40."""
_SHAPES = SHAPES["ecp5"]


def rows_of_shape(shape: MemoryShape) -> tuple[Row, ...]:
    """The blocks of a memory. Only ROMs have blocks of 36 bits: their two ports are side by side, and the lower half of
    a word stands in the lower half of the block."""
    return rows_of(shape.width, shape.depth, shapes_of("ecp5", shape.module == "darb_rom"))


def initial_bits(image: Image, row: Row, column: int) -> str:
    """Contents of a block, as hexadecimal digits of 1024 lines of 20 bits, the first one lowest.

    A line holds two bytes of 9 bits; words of 9 or 18 bits use them whole, narrower ones the lowest 8 bits of each
    (Lattice TN1264, and what Yosys makes of inferred memories).
    """
    bits = np.unpackbits(image.words, axis=1, bitorder="little", count=image.width)
    part = bits[row.first : row.first + row.depth, column * row.width : (column + 1) * row.width]
    block = np.zeros((row.depth, row.width), np.uint8)
    block[: part.shape[0], : part.shape[1]] = part
    if row.width == BESIDE:
        block = np.concatenate([block[:, :18], block[:, 18:]])
    used = block.reshape(1024, 2, -1)
    lines = np.zeros((1024, 20), np.uint8)
    lines[:, : used.shape[2]] = used[:, 0]
    lines[:, 9 : 9 + used.shape[2]] = used[:, 1]
    return np.packbits(lines.reshape(-1), bitorder="little")[::-1].tobytes().hex()


def primitives_text(device: Target, shapes: Iterable[MemoryShape], exchangeable: bool = False) -> str | None:
    """Verilog that stands in for the modules of ``memory.v`` on ``device``. None if it has no better modules.

    Parameters
    ----------
    device : Target
    shapes : iterable of MemoryShape
        The memories of the design.
    exchangeable : bool
        Whether it must be known which block of a layout has which words: then ROMs are made of blocks on every device,
        and the names of cells say what they hold (:data:`BLOCK_NAME`).
    """
    if not device.has_primitives and not exchangeable:
        return None
    shapes = list(shapes)
    if device.family == "ice40":
        return "\n".join(_ice40_texts(device, shapes, exchangeable))
    large = [shape for shape in shapes if shape.depth > LUT_WORDS]
    texts = [Path(__file__).with_name(f"{device.family}.v").read_text(), MODULES["darb_multiply"].fallback]
    if device.family in ("gowin", "nexus"):
        # nextpnr takes flip-flops for the registers of Gowin's block RAMs, which have a fault: there is nothing to win.
        texts.append(Path(__file__).with_name("two_port_ram.v").read_text())
        return "\n".join([*texts, *(MODULES[name].plain for name in ("darb_rom", "darb_ram", "darb_accumulate"))])
    texts += [MODULES[name].fallback for name in _PORTS]
    for name in _PORTS:
        alike = [shape for shape in large if shape.module == name]
        numbered = {f"{name}_{number}": shape for number, shape in enumerate(alike)}
        texts += [_memory(module, shape) for module, shape in numbered.items()]
        texts.append(_choice(name, numbered, exchangeable))
    return "\n".join(texts)


def _ice40_texts(device: Target, shapes: list[MemoryShape], exchangeable: bool) -> list[str]:
    """Modules for iCE40. Its block RAMs have no register at the output: there is nothing to win but what is known of
    their contents."""
    multiply = MODULES["darb_multiply"]
    texts = [Path(__file__).with_name("ice40.v").read_text(), multiply.fallback] if device.dsps else [multiply.plain]
    for name, file in SINGLE_PORT.items():
        if any(shape.module == name for shape in shapes):
            texts.append(Path(__file__).with_name(f"ice40_{file}").read_text())
    others = [MODULES[name].plain for name in (*_PORTS, "darb_accumulate") if not exchangeable or name != "darb_rom"]
    if not exchangeable:
        return [*texts, *others]
    numbered = {
        f"darb_rom_{number}": shape
        for number, shape in enumerate(
            shape for shape in shapes if shape.module == "darb_rom" and shape.depth > LUT_WORDS
        )
    }
    texts += [Path(__file__).with_name("ice40_rom.v").read_text(), MODULES["darb_rom"].fallback]
    texts += [rom_text(module, shape) for module, shape in numbered.items()]
    return [*texts, _choice("darb_rom", numbered, exchangeable), *others]


def memory_of_blocks(family: str, module: str, shape: MemoryShape) -> str:
    """The module ``module``, a ROM of blocks of a family."""
    return rom_text(module, shape) if family == "ice40" else _memory(module, shape)


def _choice(name: str, shapes: dict[str, MemoryShape], exchangeable: bool) -> str:
    """The module ``name``. Its parameters choose a module of ``shapes``, or the plain one if there is none."""
    plain = MODULES[name]
    ports = ", ".join(f".{port}({port})" for port in ("clk", *(port.name for port in plain.ports)))
    # What only ROMs have comes last.
    parameters = ", ".join(
        f".{name}({name})" for name in sorted(plain.parameters, key=lambda name: name in ("COPIES", "LATE"))
    )
    head = f"module {name} #(\n{plain.parameter_lines}\n) (\n{plain.port_lines()}\n);\n"
    fallback = f"{name}_plain #({parameters}) memory ({ports});"
    if not shapes:
        return f"{head}    {fallback}\nendmodule\n"
    branches = "".join(
        f'if (WIDTH == {shape.width} && DEPTH == {shape.depth} && FILE == "{shape.file}") begin : '
        f"{f'holds_{shape.image.name}' if exchangeable and shape.image else f'at_{number}'}\n"
        f"            {module} memory ({ports});\n"
        "        end else "
        for number, (module, shape) in enumerate(shapes.items())
    )
    return (
        f"{head}"
        "    generate\n"
        f"        {branches}begin : plain\n"
        f"            {fallback}\n"
        "        end\n"
        "    endgenerate\n"
        "endmodule\n"
    )


@dataclass(frozen=True)
class _BlockPort:
    """What one of the two ports of the blocks does.

    Parameters
    ----------
    address : str
        The port of the module with its address.
    writes : bool
    reads : str
        The port of the module for what it reads; empty if it reads nothing.
    enable, output : str
        The condition for a read of the array, and the one for the register behind it.
    """

    address: str
    writes: bool = False
    reads: str = ""
    enable: str = "1'b1"
    output: str = "1'b1"


_PORTS = {
    "darb_rom": {"a": _BlockPort("address", reads="data")},
    "darb_ram": {
        "a": _BlockPort("write_address", writes=True),
        "b": _BlockPort("read_address", reads="read_data", enable="read_enable", output="output_enable"),
    },
    "darb_shared_ram": {
        "a": _BlockPort("address_a", writes=True, reads="read_data_a"),
        "b": _BlockPort("address_b", reads="read_data_b"),
    },
}


def _memory(module: str, shape: MemoryShape) -> str:
    """A memory of blocks."""
    rows, ports = rows_of_shape(shape), _PORTS[shape.module]
    bits = {"WIDTH": shape.width, "ADDRESS": shape.address, "COPIES*ADDRESS": shape.copies * shape.address}
    head = MODULES[shape.module].port_lines(bits)
    alike = [list(group) for _, group in groupby(rows, lambda row: row.width)]
    blocks = ", ".join(f"{r[0].columns} x {len(r)} blocks of {r[0].width} bits x {r[0].depth} words" for r in alike)
    words = f"{shape.width} bits x {shape.depth} words in {blocks}"
    lines = [f"// {shape.file or 'no contents'}: {words}.", f"module {module} (\n{head}\n);"]
    for row, *_ in alike:
        for copy in range(shape.copies):
            for name, port in ports.items():
                lines.append(f"    wire [13:0] {_at(rows, row, name, copy)} = {_address(shape, row, port, copy)};")
            if row.width == BESIDE:
                a, b = (_at(rows, row, name, copy) for name in "ab")
                lines.append(f"    wire [13:0] {b} = {a} | 14'h2000;")
    for row in rows:
        for column in range(row.columns):
            lines += _block(shape, rows, row, ports, column)
    for name, port in ports.items():
        if port.reads:
            lines += _output(shape, rows, name, port)
    return "\n".join([*lines, "endmodule\n"])


def _at(rows: tuple[Row, ...], row: Row, name: str, copy: int) -> str:
    """The wire with the address of a port of the blocks of ``row``."""
    return f"at_{name}_{copy}" + (f"_{row.width}" if row.width != rows[0].width else "")


def _address(shape: MemoryShape, row: Row, port: _BlockPort, copy: int) -> str:
    """The 14 address bits of a port of a block; below a word of 18 bits stand the enables of its two bytes."""
    used = min(unsigned_bits(row.depth - 1), shape.address)
    below = 14 - unsigned_bits(_SHAPES[min(row.width, 18)] - 1)
    parts = [
        f"{14 - below - used}'d0" if below + used < 14 else "",
        f"{port.address}[{copy * shape.address + used - 1}:{copy * shape.address}]",
        f"{below}'d{3 if below == 4 and port.writes else 0}" if below else "",
    ]
    return f"{{{', '.join(filter(None, parts))}}}"


def _select(row: Row) -> int:
    """The address bits above those of the blocks, for the words of ``row``."""
    return row.first // row.depth


def _block(shape: MemoryShape, rows: tuple[Row, ...], row: Row, ports: dict[str, _BlockPort], column: int) -> list[str]:
    """One block, and the wires with what it reads."""
    width, first = min(row.width, 18), column * row.width
    bits = min(width, shape.width - first)
    written = f"write_data[{first + bits - 1}:{first}]"
    connections = {"clk": "clk", "write_a": "1'b0", "data_a": "18'd0", "enable_b": "1'b0", "output_b": "1'b0"}
    connections["address_b"] = "14'd0"
    wires, position = [], f"{column}_{rows.index(row)}"
    for name, port in (ports | {"b": ports["a"]} if row.width == BESIDE else ports).items():
        copy = column * shape.copies // row.columns
        connections |= {f"enable_{name}": port.enable, f"address_{name}": _at(rows, row, name, copy)}
        connections |= {"output_b": port.output} if name == "b" else {}
        if port.writes:
            above = f"{port.address}[{shape.address - 1}:{unsigned_bits(row.depth - 1)}]"
            here = f" && {above} == {_select(row)}" if len(rows) > 1 else ""
            connections |= {
                "write_a": f"write_enable{here}",
                "data_a": f"{{{18 - bits}'d0, {written}}}" if bits < 18 else written,
            }
        if port.reads:
            connections[f"q_{name}"] = f"{name}_{position}"
            wires.append(f"{name}_{position}")
    parameters = f".WIDTH_A({width}), .WIDTH_B({width})"
    digits = initial_bits(shape.image, row, column) if shape.image else ""
    if digits.strip("0"):
        parameters += f", .CONTENTS(20480'h{digits})"
    text = ", ".join(f".{name}({value})" for name, value in connections.items())
    return [
        f"    wire [17:0] {', '.join(wires)};",
        f"    darb_dp16kd #({parameters}) block_{position} (",
        f"        {text}",
        "    );",
    ]


def _output(shape: MemoryShape, rows: tuple[Row, ...], name: str, port: _BlockPort) -> list[str]:
    """What a port of the module reads. Several rows of blocks are multiplexed behind the registers of the blocks, or
    those behind them. The address for that is delayed by as many registers."""
    words = []
    for index, row in enumerate(rows):
        parts = []
        for column in range(row.columns):
            bits = min(row.width, shape.width - column * row.width)
            parts.append(f"{name}_{column}_{index}[{min(bits, 18) - 1}:0]")
            if bits > 18:
                parts.append(f"b_{column}_{index}[{bits - 19}:0]")
        words.append(f"{{{', '.join(reversed(parts))}}}")
    late = []
    if shape.late:
        late = [f"    reg [{shape.width - 1}:0] " + ", ".join(f"late_{index}" for index in range(len(rows))) + ";"]
        late += [f"    always @(posedge clk) late_{index} <= {word};" for index, word in enumerate(words)]
        words = [f"late_{index}" for index in range(len(rows))]
    if len(rows) == 1:
        return [*late, f"    assign {port.reads} = {words[0]};"]
    low = unsigned_bits(rows[-1].depth - 1)
    top = shape.address - low - 1
    choices = ""
    for row, word in zip(rows[:-1], words, strict=False):
        above = f"[{top}:{unsigned_bits(row.depth - 1) - low}]" if row.depth > rows[-1].depth else ""
        choices += f"{'late_row' if shape.late else f'row_{name}'}{above} == {_select(row)} ? {word} :\n        "
    if shape.late:
        late += [f"    reg [{top}:0] late_row;", f"    always @(posedge clk) late_row <= row_{name};"]
    return [
        f"    reg [{top}:0] next_{name}, row_{name};",
        f"    always @(posedge clk) if ({port.enable}) next_{name} <= {port.address}[{shape.address - 1}:{low}];",
        f"    always @(posedge clk) if ({port.output}) row_{name} <= next_{name};",
        *late,
        f"    assign {port.reads} = {choices}{words[-1]};",
    ]
