"""Memories and multipliers made from the primitives of a device: the text of ``primitives.v``.

The plain modules of ``memory.v`` are what any tool takes; a family with block RAMs that have a register at the
output, or with multipliers that have registers inside, gets modules of the same names, ports and latencies here.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from darb_hw.config import Device
from darb_hw.image import Image, unsigned_bits
from darb_hw.memory import MemoryShape, verilog_modules
from darb_hw.resources import LUT_WORDS

__all__ = ["Grid", "grid_of", "initial_bits", "primitives_text"]

_DEPTHS = {18: 1024, 9: 2048, 4: 4096, 2: 8192, 1: 16384}
_BESIDE = 36


@dataclass(frozen=True)
class Grid:
    """Blocks of ``width`` bits and ``depth`` words in ``columns`` and ``rows``. A width of 36 bits are the two ports
    of a ROM side by side: the lower half of a word stands in the lower half of the block."""

    width: int
    depth: int
    columns: int
    rows: int

    @property
    def blocks(self) -> int:
        return self.columns * self.rows


def grid_of(shape: MemoryShape) -> Grid:
    """The grid with the fewest blocks; of those with equally many the one with the fewest rows, whose outputs have
    to be multiplexed."""
    depths = ({_BESIDE: 512} if shape.module == "darb_rom" else {}) | _DEPTHS
    grids = [Grid(w, d, -(-shape.width // w), -(-shape.depth // d)) for w, d in depths.items()]
    return min(grids, key=lambda grid: (grid.blocks, grid.rows))


def initial_bits(image: Image, grid: Grid, column: int, row: int) -> str:
    """Contents of a block, as hexadecimal digits of 1024 rows of 20 bits, the first one lowest.

    A row holds two bytes of 9 bits; words of 9 or 18 bits use them whole, narrower ones the lowest 8 bits of each
    (Lattice TN1264, and what Yosys makes of inferred memories).
    """
    bits = np.unpackbits(image.words, axis=1, bitorder="little", count=image.width)
    part = bits[row * grid.depth : (row + 1) * grid.depth, column * grid.width : (column + 1) * grid.width]
    block = np.zeros((grid.depth, grid.width), np.uint8)
    block[: part.shape[0], : part.shape[1]] = part
    if grid.width == _BESIDE:
        block = np.concatenate([block[:, :18], block[:, 18:]])
    used = block.reshape(1024, 2, -1)
    rows = np.zeros((1024, 20), np.uint8)
    rows[:, : used.shape[2]] = used[:, 0]
    rows[:, 9 : 9 + used.shape[2]] = used[:, 1]
    return np.packbits(rows.reshape(-1), bitorder="little")[::-1].tobytes().hex()


def primitives_text(device: Device, shapes: Iterable[MemoryShape]) -> str | None:
    """Verilog that stands in for the modules of ``memory.v`` on ``device``; nothing if it has no better ones.

    Parameters
    ----------
    device : Device
    shapes : iterable of MemoryShape
        The memories that there are.
    """
    if device.family == "ice40" and not device.dsps:
        return None
    family = Path(__file__).with_name(f"{device.family}.v").read_text()
    plain = _plain_modules()
    texts = [family, _renamed(plain, "darb_multiply")]
    if device.family != "ecp5":
        # Block RAMs of iCE40 have no register at the output: there is nothing to win.
        return "\n".join([*texts, *(plain[name] for name in _PORTS), plain["darb_accumulate"]])
    texts += [_renamed(plain, name) for name in _PORTS]
    large = [shape for shape in shapes if shape.depth > LUT_WORDS]
    for name in _PORTS:
        numbered = [(f"{name}_{n}", s) for n, s in enumerate(shape for shape in large if shape.module == name)]
        texts += [_memory(module, shape, plain) for module, shape in numbered]
        texts.append(_choice(name, numbered, plain))
    return "\n".join(texts)


def _plain_modules() -> dict[str, str]:
    """The modules of ``memory.v`` by name."""
    found = re.finditer(r"^module (\w+).*?^endmodule\n", verilog_modules(), flags=re.DOTALL | re.MULTILINE)
    return {match[1]: match[0] for match in found}


def _renamed(plain: dict[str, str], name: str) -> str:
    """A plain module under the name that the primitives fall back to."""
    return re.sub(r"\bdarb_\w+(?= #)", lambda match: f"{match[0]}_plain", plain[name])


def _head(plain: dict[str, str], name: str) -> str:
    """Parameters and ports of a module; outputs are wires."""
    return re.sub(r"output (reg |wire)", "output wire", plain[name].partition(");\n")[0].partition("#")[2])


def _ports(head: str) -> list[str]:
    return re.findall(r"(\w+)(?:,|$)", head.partition(") (")[2].strip(), flags=re.MULTILINE)


def _choice(name: str, numbered: list[tuple[str, MemoryShape]], plain: dict[str, str]) -> str:
    """The module ``name``: that of the shape that its parameters say."""
    head = _head(plain, name)
    ports = ", ".join(f".{port}({port})" for port in _ports(head))
    parameters = "#(.WIDTH(WIDTH), .DEPTH(DEPTH), .ADDRESS(ADDRESS), .FILE(FILE))"
    if "COPIES" in head:
        parameters = parameters[:-1] + ", .COPIES(COPIES))"
    fallback = f"{name}_plain {parameters} memory ({ports});"
    if not numbered:
        return f"module {name} #{head});\n    {fallback}\nendmodule\n"
    branches = "".join(
        f'if (WIDTH == {s.width} && DEPTH == {s.depth} && FILE == "{s.file}") begin : at_{n}\n'
        f"            {module} memory ({ports});\n"
        "        end else "
        for n, (module, s) in enumerate(numbered)
    )
    return (
        f"module {name} #{head});\n"
        "    generate\n"
        f"        {branches}begin : plain\n"
        f"            {fallback}\n"
        "        end\n"
        "    endgenerate\n"
        "endmodule\n"
    )


@dataclass(frozen=True)
class _Port:
    """What one of the two ports of the blocks does.

    Parameters
    ----------
    address : str
        The port of the module that it takes its address from.
    writes : bool
    reads : str
        The port of the module that gets what it reads.
    enable, output : str
        Conditions under which the array is read, and the register behind it takes over.
    """

    address: str
    writes: bool = False
    reads: str = ""
    enable: str = "1'b1"
    output: str = "1'b1"


_PORTS = {
    "darb_rom": {"a": _Port("address", reads="data")},
    "darb_ram": {
        "a": _Port("write_address", writes=True),
        "b": _Port("read_address", reads="read_data", enable="read_enable", output="output_enable"),
    },
    "darb_shared_ram": {
        "a": _Port("address_a", writes=True, reads="read_data_a"),
        "b": _Port("address_b", reads="read_data_b"),
    },
}


def _memory(module: str, shape: MemoryShape, plain: dict[str, str]) -> str:
    """A memory of blocks."""
    grid, ports = grid_of(shape), _PORTS[shape.module]
    head = _head(plain, shape.module).partition(") (")[2]
    head = head.replace("COPIES*ADDRESS-1", str(shape.copies * shape.address - 1))
    head = head.replace("WIDTH-1", str(shape.width - 1)).replace("ADDRESS-1", str(shape.address - 1))
    words = f"{shape.width} bits x {shape.depth} words in {grid.columns} x {grid.rows} blocks of {grid.width} bits"
    lines = [f"// {shape.file or 'no contents'}: {words} x {grid.depth} words.", f"module {module} ({head});"]
    for copy in range(shape.copies):
        for name, port in ports.items():
            lines.append(f"    wire [13:0] at_{name}_{copy} = {_address(shape, grid, port, copy)};")
        if grid.width == _BESIDE:
            lines.append(f"    wire [13:0] at_b_{copy} = at_a_{copy} | 14'h2000;")
    if grid.width == _BESIDE:
        ports = ports | {"b": ports["a"]}
    for row in range(grid.rows):
        for column in range(grid.columns):
            lines += _block(shape, grid, ports, column, row)
    for name, port in ports.items():
        if port.reads and not (name == "b" and grid.width == _BESIDE):
            lines += _output(shape, grid, name, port)
    return "\n".join([*lines, "endmodule\n"])


def _address(shape: MemoryShape, grid: Grid, port: _Port, copy: int) -> str:
    """The 14 address bits of a port of a block; below a word of 18 bits stand the enables of its two bytes."""
    used = min(unsigned_bits(grid.depth - 1), shape.address)
    below = 14 - unsigned_bits(_DEPTHS[min(grid.width, 18)] - 1)
    parts = [
        f"{14 - below - used}'d0" if below + used < 14 else "",
        f"{port.address}[{copy * shape.address + used - 1}:{copy * shape.address}]",
        f"{below}'d{3 if below == 4 and port.writes else 0}" if below else "",
    ]
    return f"{{{', '.join(filter(None, parts))}}}"


def _row_of(shape: MemoryShape, grid: Grid, port: _Port) -> str:
    """The upper bits of an address, which choose a row of blocks."""
    return f"{port.address}[{shape.address - 1}:{unsigned_bits(grid.depth - 1)}]"


def _block(shape: MemoryShape, grid: Grid, ports: dict[str, _Port], column: int, row: int) -> list[str]:
    """One block, and the wires with what it reads."""
    width, first = min(grid.width, 18), column * grid.width
    bits = min(width, shape.width - first)
    given = f"write_data[{first + bits - 1}:{first}]"
    connections = {"clk": "clk", "write_a": "1'b0", "data_a": "18'd0", "enable_b": "1'b0", "output_b": "1'b0"}
    connections["address_b"] = "14'd0"
    wires = []
    for name, port in ports.items():
        copy = column * shape.copies // grid.columns
        connections |= {f"enable_{name}": port.enable, f"address_{name}": f"at_{name}_{copy}"}
        connections |= {"output_b": port.output} if name == "b" else {}
        if port.writes:
            here = f" && {_row_of(shape, grid, port)} == {row}" if grid.rows > 1 else ""
            connections |= {
                "write_a": f"write_enable{here}",
                "data_a": f"{{{18 - bits}'d0, {given}}}" if bits < 18 else given,
            }
        if port.reads:
            connections[f"q_{name}"] = f"{name}_{column}_{row}"
            wires.append(f"{name}_{column}_{row}")
    parameters = f".WIDTH_A({width}), .WIDTH_B({width})"
    digits = initial_bits(shape.image, grid, column, row) if shape.image else ""
    if digits.strip("0"):
        parameters += f", .CONTENTS(20480'h{digits})"
    text = ", ".join(f".{name}({value})" for name, value in connections.items())
    return [
        f"    wire [17:0] {', '.join(wires)};",
        f"    darb_dp16kd #({parameters}) block_{column}_{row} (",
        f"        {text}",
        "    );",
    ]


def _output(shape: MemoryShape, grid: Grid, name: str, port: _Port) -> list[str]:
    """What a port of the module reads. Several rows of blocks are multiplexed behind the registers of the blocks, by
    an address as late as they are."""
    words = []
    for row in range(grid.rows):
        parts = []
        for column in range(grid.columns):
            bits = min(grid.width, shape.width - column * grid.width)
            parts.append(f"{name}_{column}_{row}[{min(bits, 18) - 1}:0]")
            if bits > 18:
                parts.append(f"b_{column}_{row}[{bits - 19}:0]")
        words.append(f"{{{', '.join(reversed(parts))}}}")
    if grid.rows == 1:
        return [f"    assign {port.reads} = {words[0]};"]
    top = shape.address - unsigned_bits(grid.depth - 1) - 1
    choices = "".join(f"row_{name} == {row} ? {word} :\n        " for row, word in enumerate(words[:-1]))
    return [
        f"    reg [{top}:0] next_{name}, row_{name};",
        f"    always @(posedge clk) if ({port.enable}) next_{name} <= {_row_of(shape, grid, port)};",
        f"    always @(posedge clk) if ({port.output}) row_{name} <= next_{name};",
        f"    assign {port.reads} = {choices}{words[-1]};",
    ]
