"""What a board says of itself, in a memory: contents of block RAMs can be exchanged in a bitstream, logic cannot."""

import numpy as np
from amaranth.hdl import ClockSignal, Instance, Module, Signal, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from darb_hw.device.memory import FileMemories, MemoryShape, Rom
from darb_hw.device.modules import MODULES
from darb_hw.device.primitives import memory_of_blocks
from darb_hw.plan.image import Field, Image, pack

__all__ = ["InfoMemory", "info_image", "with_info"]

_MODULE = "darb_info"
_BEGIN = "// What the board says of itself.\n"
_WORDS = 64


def info_image(info: bytes) -> Image:
    """The bytes as contents of a ROM."""
    return pack("info", {Field("byte", 8): np.frombuffer(info.ljust(_WORDS, b"\0"), np.uint8)})


def with_info(text: str, family: str, info: bytes) -> str:
    """Verilog of a board with that of the memory behind it, in place of another one if it has one already: of blocks of
    a family where ``DARB_PRIMITIVES`` is defined, else as any tool takes it."""
    shape = MemoryShape("darb_rom", 8, _WORDS, info_image(info))
    ports = MODULES["darb_rom"].port_lines({"WIDTH": 8, "ADDRESS": shape.address, "COPIES*ADDRESS": shape.address})
    connections = ".clk(clk), .address(address), .data(data)"
    words = " ".join(f"words[{address}] = {byte};" for address, byte in enumerate(info.ljust(_WORDS, b"\0")))
    return text.partition(_BEGIN)[0] + (
        f"{_BEGIN}`ifdef DARB_PRIMITIVES\n{memory_of_blocks(family, f'{_MODULE}_blocks', shape)}`endif\n"
        f"module {_MODULE} (\n{ports}\n);\n"
        "`ifdef DARB_PRIMITIVES\n"
        "    generate if (1) begin : holds_info\n"
        f"        {_MODULE}_blocks memory ({connections});\n"
        "    end endgenerate\n"
        "`else\n"
        f"    reg [7:0] words [0:{_WORDS - 1}];\n    reg [7:0] fetched, read;\n"
        f"    initial begin\n        {words}\n    end\n"
        "    always @(posedge clk) begin\n        fetched <= words[address];\n        read <= fetched;\n    end\n"
        "    assign data = read;\n"
        "`endif\nendmodule\n"
    )


class InfoMemory(wiring.Component):
    """The memory, as a part of the link. Its Verilog is that of :func:`with_info`.

    Parameters
    ----------
    info : bytes

    Members
    -------
    address : In(unsigned)
    data : Out(8)
        The byte, ``latency`` cycles later.
    """

    latency = Rom.latency

    address: Signal
    data: Signal

    def __init__(self, info: bytes) -> None:
        self._info = info
        super().__init__({"address": In(unsigned((_WORDS - 1).bit_length())), "data": Out(8)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        if isinstance(platform, FileMemories):
            ports = {"i_clk": ClockSignal(), "i_address": self.address, "o_data": self.data}
            m.submodules.memory = Instance(_MODULE, **ports)
            return m
        m.submodules.memory = rom = Rom(info_image(self._info))
        m.d.comb += [rom.address.eq(self.address), self.data.eq(rom.field("byte"))]
        return m
