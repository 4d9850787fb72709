"""ROM contents out of a bitstream: unpacked, and put together again from what nextpnr, Lattice and the build say."""

import json
import re
import subprocess
import sys
from pathlib import Path

__all__ = ["roms_of"]

_UNPACKERS = {"bitstream.bit": "yowasp-ecpunpack", "bitstream.bin": "yowasp-iceunpack"}
_NUMBERS = {
    "ecp5": r"(\d+) x (\d+) blocks of (\d+) bits x (\d+) words",
    "ice40": r"(\d+)() blocks of (\d+) bits x (\d+) words",
}


def unpacked(bitstream: Path, folder: Path) -> dict[str, str]:
    """Contents of each block RAM as one string of bits, the lowest first, by what the layout calls it."""
    ecp5 = bitstream.suffix == ".bit"
    text = folder / "unpacked"
    (folder / bitstream.name).write_bytes(bitstream.read_bytes())
    # Beside the interpreter, whose folder need not be in the PATH.
    program = Path(sys.executable).with_name(_UNPACKERS[bitstream.name])
    subprocess.run([program, bitstream.name, text.name], cwd=folder, check=True)
    blocks, called = {}, None
    for line in text.read_text().splitlines():
        if line.startswith("."):
            kind, _, called = line.partition(" ")
            if kind not in (".bram_init", ".ram_data"):
                called = None
        elif called is not None and line.strip():
            if ecp5:
                bits = "".join(f"{int(word, 16):09b}"[::-1] for word in line.split())
            else:
                bits = f"{int(line, 16):0256b}"[::-1]
            blocks[called] = blocks.get(called, "") + bits
    return blocks


def _word(family: str, block: str, width: int, address: int) -> str:
    """A word of a block, lowest bit first."""
    if family == "ice40":
        row, turn, apart = address % 256, address // 256, 16 // width
        return "".join(block[16 * row + apart * bit + turn] for bit in range(width))
    if width == 36:  # the upper halves of the words fill the upper half of the block
        return block[18 * address : 18 * address + 18] + block[18 * (address + 512) : 18 * (address + 512) + 18]
    if width >= 9:
        return block[width * address : width * (address + 1)]
    each = 8 // width  # words in nine bits, of which the last one is not used
    begin = 9 * (address // each) + width * (address % each)
    return block[begin : begin + width]


def roms_of(build: Path, folder: Path) -> dict[str, list[int]]:
    """The words of every ROM that is in block RAMs of the bitstream of a build."""
    bitstream = next(path for path in (build / "board").iterdir() if path.name in _UNPACKERS)
    family = "ecp5" if bitstream.suffix == ".bit" else "ice40"
    blocks = unpacked(bitstream, folder)
    text = (build / "primitives.v").read_text() + (build / "board" / "top.v").read_text()
    places = {}
    for cell, called in json.loads((build / "board" / "blocks.json").read_text())["blocks"].items():
        if "holds_" in cell:
            name, column, row = re.search(r"holds_(\w+)\.memory\.block_(\d+)_(\d+)", cell).groups()
            places.setdefault(name, {}).setdefault((int(column), int(row)), []).append(called)
    roms = {}
    for name, made in places.items():
        said = re.search(rf"^// rom/{name}\.hex: (\d+) bits x (\d+) words in (.*)\.$", text, re.MULTILINE)
        width, depth = int(said[1]), int(said[2])
        rows = []
        for columns, alike, bits, words in re.findall(_NUMBERS[family], said[3]):
            rows += [(int(columns), int(bits), int(words))] * int(alike or 1)
        for copy in range(len(made[0, 0])):
            contents = []
            for row, (columns, bits, words) in enumerate(rows):
                for address in range(words):
                    parts = (_word(family, blocks[made[column, row][copy]], bits, address) for column in range(columns))
                    contents.append(int("".join(parts)[:width][::-1], 2))
            assert roms.setdefault(name, contents[:depth]) == contents[:depth], "copies differ"
    return roms
