# amaranth: UnusedElaboratable=no
"""Memories and multipliers of device primitives: with models of the cells they do what the plain ones do."""

import subprocess
from pathlib import Path

import numpy as np
import pytest
from amaranth.hdl import Module, Mux, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from darb_hw.config import DEVICES
from darb_hw.device.memory import FileMemories, MemoryShape, Ram, Rom, SharedRam
from darb_hw.device.modules import MODULES, verilog_modules
from darb_hw.device.multiplier import Multiplier
from darb_hw.device.primitives import primitives_text, rows_of_shape
from darb_hw.plan.blocks import SHAPES as SHAPES_OF
from darb_hw.plan.blocks import Row
from darb_hw.plan.image import Field, pack
from darb_hw.plan.styles import limbs_of
from darb_hw.synthesis import tools
from darb_hw.synthesis.yosys import yosys_script
from sim.netlist import cell_models
from tests.hw.trace import amaranth_trace, icarus_trace, run_icarus, verilog_of

ECP5, UP5K, HX8K, GW2A, LIFCL = (
    DEVICES[name] for name in ("ecp5-85k", "ice40-up5k", "ice40-hx8k", "gw2a-18", "lifcl-40")
)
CYCLES = 300

# width, depth: every shape of a block, several side by side, several rows, sizes that fill none of them.
SHAPES = [
    (36, 512), (50, 40), (18, 1024), (25, 900), (9, 2048), (8, 1500), (4, 4096), (3, 2500), (2, 8192), (1, 16384),
    (1, 9000), (9, 5000), (12, 2100), (20, 4130), (40, 2600),
]  # fmt: skip


def image_of(width: int, depth: int, seed: int = 1, name: str = "contents"):
    rng = np.random.default_rng([seed, width, depth])
    bits = rng.integers(0, 2, (depth, width))
    return pack(name, {Field(f"bit_{n}", 1): bits[:, n] for n in range(width)})


def texts(folder: Path, component, device, exchangeable: bool = False) -> list[Path]:
    """Files of ``component`` with the primitives of ``device``."""
    platform = FileMemories()
    (folder / "dut.v").write_text(verilog_of(component, platform) + verilog_modules())
    (folder / "primitives.v").write_text(primitives_text(device, platform.shapes.values(), exchangeable))
    return [folder / "dut.v", folder / "primitives.v"]


def write_models(folder: Path, device) -> Path:
    """A file with models of the cells of ``device``."""
    (folder / "cells.v").write_text(cell_models(device.family))
    return folder / "cells.v"


def primitives_trace(component, folder: Path, device, sources, inputs):
    """Outputs of the primitives, with models of their cells."""
    sources = [*sources, write_models(folder, device)]
    return icarus_trace(component, folder, sources, inputs, ["-DDARB_PRIMITIVES"])


def write_rom(folder: Path, image) -> None:
    (folder / "rom").mkdir()
    (folder / "rom" / f"{image.name}.hex").write_text(image.hex())


def addresses(rng, depth: int) -> list[int]:
    """Random ones, both ends, and the borders of blocks."""
    ends = [0, depth - 1, *(n for size in (512, 1024, 2048, 4096, 8192) for n in (size - 1, size) if n < depth)]
    return [*ends, *(int(n) for n in rng.integers(0, depth, CYCLES - len(ends)))]


def agree(component, folder, device, inputs, defined=None, exchangeable=False) -> None:
    """Amaranth, the plain Verilog and the primitives give the same outputs, wherever ``defined`` says so."""
    expected = amaranth_trace(component, inputs)
    sources = texts(folder, component, device, exchangeable)
    plain = icarus_trace(component, folder, sources[:1], inputs)
    made = primitives_trace(component, folder, device, sources, inputs)
    for name, values in expected.items():
        ok = (defined or {}).get(name, [True] * len(values))
        assert len(made[name]) == len(plain[name]) == len(values)
        for cycle in range(component.latency, len(values)):
            if ok[cycle]:
                assert values[cycle] == plain[name][cycle], (name, cycle, "plain")
                assert values[cycle] == made[name][cycle], (name, cycle, "primitives")


@pytest.mark.simulator
@pytest.mark.parametrize(("width", "depth"), SHAPES)
def test_rom(width, depth, tmp_path):
    image = image_of(width, depth)
    write_rom(tmp_path, image)
    agree(Rom(image), tmp_path, ECP5, {"address": addresses(np.random.default_rng(depth), depth)})


@pytest.mark.simulator
@pytest.mark.parametrize("device", [ECP5, UP5K, HX8K], ids=lambda device: device.name)
@pytest.mark.parametrize(
    ("width", "depth", "copies", "late"),
    [
        (16, 256, 1, False), (20, 40, 1, False), (8, 512, 1, False), (5, 1024, 1, True), (2, 2048, 1, False),
        (33, 700, 2, False), (12, 2600, 1, False), (9, 2600, 2, True),
    ],
)  # fmt: skip
def test_rom_of_exchangeable_contents(width, depth, copies, late, device, tmp_path):
    """Also on iCE40 it is made of blocks; the name of each says what it holds."""
    image = image_of(width, depth)
    write_rom(tmp_path, image)
    at, bits = addresses(np.random.default_rng(depth), depth), (depth - 1).bit_length()
    inputs = {"address": [sum(n << copy * bits for copy in range(copies)) for n in at]}
    agree(Rom(image, copies, late), tmp_path, device, inputs, exchangeable=True)
    assert "begin : holds_contents" in (tmp_path / "primitives.v").read_text()


def ram_inputs(rng, width: int, depth: int) -> dict[str, list[int]]:
    """Written and read at random, not the same address at once; either stage of a read pauses now and then."""
    few = addresses(rng, depth)[:20]
    inputs = {
        "write_enable": rng.integers(0, 2, CYCLES).tolist(),
        "write_address": [few[n] for n in rng.integers(0, 20, CYCLES)],
        "write_data": [int.from_bytes(rng.bytes(8), "little") % (1 << width) for _ in range(CYCLES)],
        "read_enable": rng.choice([1, 1, 1, 0], CYCLES).tolist(),
        "output_enable": rng.choice([1, 1, 1, 0], CYCLES).tolist(),
        "read_address": [few[n] for n in rng.integers(0, 20, CYCLES)],
    }
    for cycle in range(CYCLES):
        inputs["write_enable"][cycle] &= inputs["write_address"][cycle] != inputs["read_address"][cycle]
    inputs["read_enable"][:2] = inputs["output_enable"][:2] = 1, 1
    assert len(set(zip(inputs["read_enable"], inputs["output_enable"], strict=True))) == 4
    return inputs


@pytest.mark.simulator
@pytest.mark.parametrize(("width", "depth"), SHAPES)
def test_ram(width, depth, tmp_path):
    image, rng = image_of(width, depth), np.random.default_rng(depth)
    write_rom(tmp_path, image)
    agree(Ram(width, depth, image), tmp_path, ECP5, ram_inputs(rng, width, depth))


@pytest.mark.simulator
@pytest.mark.parametrize(
    ("width", "depth", "device"), [*((*shape, ECP5) for shape in SHAPES), (8, 1500, GW2A), (8, 1500, LIFCL)]
)
def test_shared_ram(width, depth, device, tmp_path):
    """Both ports read at random; what port A reads in a cycle that writes counts for nothing."""
    image, rng = image_of(width, depth), np.random.default_rng(depth)
    write_rom(tmp_path, image)
    few = addresses(rng, depth)[:20]
    inputs = {
        "write_enable": rng.choice([0, 0, 1], CYCLES).tolist(),
        "write_data": [int.from_bytes(rng.bytes(8), "little") % (1 << width) for _ in range(CYCLES)],
        "address_a": [few[n] for n in rng.integers(0, 20, CYCLES)],
        "address_b": [few[n] for n in rng.integers(0, 20, CYCLES)],
    }
    for cycle in range(CYCLES):
        inputs["write_enable"][cycle] &= inputs["address_a"][cycle] != inputs["address_b"][cycle]
    read_a = [True] + [not written for written in inputs["write_enable"]][:-1]
    agree(SharedRam(width, depth, image), tmp_path, device, inputs, {"read_data_a": read_a})


@pytest.mark.simulator
@pytest.mark.parametrize("component", [Ram(8, 1024), SharedRam(8, 1024)])
def test_ram_without_contents_keeps_what_is_written(component, tmp_path):
    shared = isinstance(component, SharedRam)
    to, back = ("address_a", "address_b") if shared else ("write_address", "read_address")
    values = np.random.default_rng(0).integers(0, 256, 1024).tolist()
    inputs = {
        "write_enable": [1] * 1024 + [0] * 1024,
        to: [*range(1024)] * 2,
        "write_data": values * 2,
        back: [1023] * 1024 + [*range(1024)],
    } | ({} if shared else {"read_enable": [1] * 2048, "output_enable": [1] * 2048})
    made = primitives_trace(component, tmp_path, ECP5, texts(tmp_path, component, ECP5), inputs)
    for data in [name for name in made if name.startswith("read_data")]:
        assert made[data][1025:] == values[: 1024 - 1]


@pytest.mark.simulator
@pytest.mark.parametrize("device", [ECP5, UP5K, GW2A, LIFCL], ids=lambda device: device.name)
@pytest.mark.parametrize(
    ("a_width", "b_width"), [(8, 8), (16, 16), (9, 2), (18, 18), (17, 24), (18, 40), (8, 17), (20, 8)]
)
def test_multiplier(a_width, b_width, device, tmp_path):
    """The operands of a block, operands cut into limbs, and those that are too wide for it."""
    rng = np.random.default_rng(a_width * 64 + b_width)
    edges = [(-(1 << width - 1), -1, 0, (1 << width - 1) - 1) for width in (a_width, b_width)]
    ends = [(a, b) for a in edges[0] for b in edges[1]]
    drawn = [tuple(int(rng.integers(-(1 << n - 1), 1 << n - 1)) for n in (a_width, b_width)) for _ in range(100)]
    a, b = zip(*ends, *drawn, strict=True)
    multiplier = Multiplier(a_width, b_width, limbs_of(b_width, True, device.dsp_bits))
    agree(multiplier, tmp_path, device, {"a": list(a), "b": list(b)})


class Accumulate(wiring.Component):
    """The accumulator of a lane on its own."""

    latency = 1

    def __init__(self, width: int, p_width: int):
        super().__init__({"enable": In(1), "clear": In(1), "p": In(signed(p_width)), "o": Out(signed(width))})

    def elaborate(self, platform):
        m = Module()
        if isinstance(platform, FileMemories):
            widths = {"WIDTH": len(self.o), "P_WIDTH": len(self.p)}
            m.submodules.sum = MODULES["darb_accumulate"].instance(
                widths, enable=self.enable, clear=self.clear, p=self.p, o=self.o
            )
        else:
            with m.If(self.enable):
                m.d.sync += self.o.eq(Mux(self.clear, 0, self.o) + self.p)
        return m


def accumulate_inputs(p_width: int) -> dict[str, list[int]]:
    """A sum that begins in the first cycle; pauses, further beginnings, products at the ends of their range."""
    rng = np.random.default_rng(p_width)
    ends = [-(1 << p_width - 1), -1, 0, 1, (1 << p_width - 1) - 1]
    drawn = rng.integers(-(1 << p_width - 1), 1 << p_width - 1, CYCLES)
    return {
        "enable": [1, *rng.choice([1, 1, 1, 0], CYCLES - 1).tolist()],
        "clear": [1, *rng.choice([1, 0, 0, 0, 0, 0], CYCLES - 1).tolist()],
        "p": np.where(rng.random(CYCLES) < 0.3, rng.choice(ends, CYCLES), drawn).tolist(),
    }


@pytest.mark.simulator
@pytest.mark.parametrize("device", [ECP5, UP5K], ids=lambda device: device.name)
@pytest.mark.parametrize(("width", "p_width"), [(24, 16), (23, 16), (17, 17), (12, 16), (2, 1), (1, 3), (33, 10)])
def test_accumulate(width, p_width, device, tmp_path):
    """Pairs of bits that are all used, and not; products that are narrower than the sum, as wide, wider."""
    agree(Accumulate(width, p_width), tmp_path, device, accumulate_inputs(p_width))


@pytest.mark.simulator
@pytest.mark.parametrize(
    ("right", "wrong"),
    [(".D0(clear)", ".D0(1'b0)"), ("if (enable) held", "held"), ("product = p", "product = {1'b0, p}")],
)
def test_a_wrong_sum_is_noticed(right, wrong, tmp_path):
    dut, inputs = Accumulate(24, 16), accumulate_inputs(16)
    expected = amaranth_trace(dut, inputs)
    sources = texts(tmp_path, dut, ECP5)
    broken(tmp_path, "primitives.v", right, wrong)
    assert primitives_trace(dut, tmp_path, ECP5, sources, inputs)["o"] != expected["o"]


def broken(folder: Path, name: str, right: str, wrong: str) -> None:
    text = (folder / name).read_text()
    assert right in text
    (folder / name).write_text(text.replace(right, wrong, 1))


@pytest.mark.simulator
@pytest.mark.parametrize(
    ("right", "wrong"),
    [('.REGMODE_A("OUTREG")', '.REGMODE_A("NOREG")'), ("4'd0}", "4'd1} + 16"), ("data = {", "data = ~{")],
)
def test_a_wrong_primitive_is_noticed(right, wrong, tmp_path):
    image = image_of(18, 1024)
    write_rom(tmp_path, image)
    rom, inputs = Rom(image), {"address": addresses(np.random.default_rng(0), 1024)}
    expected = amaranth_trace(rom, inputs)
    sources = texts(tmp_path, rom, ECP5)
    broken(tmp_path, "primitives.v", right, wrong)
    seen = primitives_trace(rom, tmp_path, ECP5, sources, inputs)
    assert seen["data"][2:] != expected["data"][2:]


@pytest.mark.simulator
@pytest.mark.parametrize(
    ("cell", "parameters"),
    [
        ("DP16KD", '.REGMODE_B("INREG")'),
        ("DP16KD", ".DATA_WIDTH_B(36)"),
        ("DP16KD", '.CLKAMUX("INV")'),
        ("MULT18X18D", '.REG_OUTPUT_CLK("CLK1")'),
        ("MULT18X18D", '.REG_INPUTC_CLK("CLK0")'),
        ("MULT18X18", ".SOA_REG(1'b1)"),
        ("SDPX9B", ".BIT_WIDTH_1(8)"),
    ],
)
def test_the_models_stop_at_what_they_do_not_know(cell, parameters, tmp_path):
    low = {
        "DP16KD": ("CLKA", "CLKB"), "MULT18X18D": ("SOURCEA", "SOURCEB"), "MULT18X18": ("ASEL", "BSEL"),
        "SDPX9B": ("CEA", "CEB"),
    }[cell]  # fmt: skip
    models = [write_models(tmp_path, ECP5 if cell in ("DP16KD", "MULT18X18D") else GW2A)]
    ports = ", ".join(f".{port}(1'b0)" for port in low)
    run_icarus(tmp_path, f"module bench; {cell} dut({ports}); endmodule", models)
    with pytest.raises(subprocess.CalledProcessError) as stopped:
        run_icarus(tmp_path, f"module bench; {cell} #({parameters}) dut({ports}); endmodule", models)
    assert "modelled" in stopped.value.stdout


@pytest.mark.simulator
def test_the_model_knows_when_a_word_is_read_and_written_at_once(tmp_path):
    """Unknown, like the word itself after a write to an unknown address."""
    ram = Ram(9, 2048, image_of(9, 2048))
    write_rom(tmp_path, ram.image)
    inputs = {
        "write_enable": [1, 1, 0, 0, 0],
        "write_address": [5, 6, 0, 0, 0],
        "write_data": [1, 2, 0, 0, 0],
        "read_enable": [1] * 5,
        "output_enable": [1] * 5,
        "read_address": [5, 5, 5, 6, 7],
    }
    seen = primitives_trace(ram, tmp_path, ECP5, texts(tmp_path, ram, ECP5), inputs)
    assert seen["read_data"] == [None, None, 1, 1, 2]


@pytest.mark.simulator
@pytest.mark.synthesis
@pytest.mark.parametrize(
    ("device", "cells", "widths"), [(ECP5, ("DP16KD",), 18), (GW2A, ("SP", "SPX9"), 36), (LIFCL, ("PDPSC16K",), 36)]
)
def test_the_model_lays_words_out_as_yosys_does(device, cells, widths, tmp_path):
    """ROMs of every width that Yosys infers, through the model of the block RAM."""
    shapes = [(width, depth) for width, depth in sorted(SHAPES_OF[device.family].items()) if width <= widths]
    (tmp_path / "rom").mkdir()
    plain, ports = verilog_modules(), []
    for width, depth in shapes:
        image = image_of(width, depth, name=f"r{width}")
        (tmp_path / "rom" / f"r{width}.hex").write_text(image.hex())
        bits = (depth - 1).bit_length()
        ports.append(
            f'    darb_rom #(.WIDTH({width}), .DEPTH({depth}), .ADDRESS({bits}), .FILE("rom/r{width}.hex")) '
            f"rom_{width} (.clk(clk), .address(address[{bits - 1}:0]), .data(data_{width}));"
        )
    outputs = ", ".join(f"output [{width - 1}:0] data_{width}" for width, _ in shapes)
    top = f"module top(input clk, input [13:0] address, {outputs});\n{chr(10).join(ports)}\nendmodule\n"
    (tmp_path / "top.v").write_text(top + plain)
    (tmp_path / "run.ys").write_text(yosys_script(device, "top", "top.v", None, True, pins=True))
    subprocess.run([*tools.yosys().command, "-s", "run.ys"], cwd=tmp_path, check=True, capture_output=True)
    netlist = (tmp_path / "netlist.v").read_text()
    assert sum(netlist.count(f"  {cell} #(") for cell in cells) == len(shapes)
    read = ", ".join(f"data_{width}" for width, _ in shapes)
    wires = "\n".join(f"    wire [{width - 1}:0] data_{width};" for width, _ in shapes)
    data = ", ".join(f".data_{width}(data_{width})" for width, _ in shapes)
    bench = f"""
module bench;
    reg clk = 0;
    reg [13:0] address;
    integer n, i;
{wires}
    top top(.clk(clk), .address(address), {data});
    initial for (n = 0; n < 16384; n = n + 37) begin
        address = n;
        for (i = 0; i < 4; i = i + 1) #1 clk = !clk;
        $display("%h", {{{read}}});
    end
endmodule
"""
    lines = run_icarus(tmp_path, bench, [tmp_path / "netlist.v", write_models(tmp_path, device)]).split()
    contents = {width: image_of(width, depth, name=f"r{width}").integers() for width, depth in shapes}
    for line, n in zip(lines, range(0, 16384, 37), strict=True):
        word = 0
        for width, depth in shapes:
            word = word << width | contents[width][n % depth]
        assert int(line, 16) == word


@pytest.mark.simulator
@pytest.mark.synthesis
@pytest.mark.parametrize(
    ("device", "width", "depth", "cell"),
    [
        (GW2A, 36, 512, "SDPX9B"), (GW2A, 4, 4096, "DPB"), (GW2A, 18, 1024, "DPX9B"),
        (LIFCL, 4, 4096, "PDPSC16K"), pytest.param(LIFCL, 36, 512, "PDPSC16K", marks=pytest.mark.long),
    ],
)  # fmt: skip
def test_what_yosys_makes_of_a_ram(device, width, depth, cell, tmp_path):
    """Block RAMs that are written, through their models."""
    image, rng = image_of(width, depth), np.random.default_rng(depth)
    write_rom(tmp_path, image)
    ram, inputs = Ram(width, depth, image), ram_inputs(rng, width, depth)
    texts(tmp_path, ram, device)
    (tmp_path / "run.ys").write_text(yosys_script(device, "dut", "dut.v", "primitives.v", True, pins=True))
    subprocess.run([*tools.yosys().command, "-s", "run.ys"], cwd=tmp_path, check=True, capture_output=True)
    assert (tmp_path / "netlist.v").read_text().count(f"  {cell} #(") == 1
    made = icarus_trace(ram, tmp_path, [tmp_path / "netlist.v", write_models(tmp_path, device)], inputs)
    assert made["read_data"][2:] == amaranth_trace(ram, inputs)["read_data"][2:]


@pytest.mark.parametrize(
    ("module", "width", "depth", "rows"),
    [
        ("darb_rom", 36, 512, [Row(36, 512, 1)]),
        ("darb_ram", 36, 512, [Row(18, 1024, 2)]),
        ("darb_shared_ram", 8, 1024, [Row(18, 1024, 1)]),
        ("darb_ram", 1, 16384, [Row(1, 16384, 1)]),
    ],
)
def test_only_a_memory_that_nobody_writes_takes_both_ports(module, width, depth, rows):
    assert list(rows_of_shape(MemoryShape(module, width, depth, None))) == rows


def test_devices_without_better_modules_have_none():
    assert primitives_text(DEVICES["ice40-hx8k"], []) is None
    assert "SB_MAC16" in primitives_text(UP5K, [])
    assert primitives_text(GW2A, []).count("module darb_shared_ram #(") == 1
    assert "MULT18X18 #(" in primitives_text(LIFCL, [])
    assert "DP16KD" in primitives_text(ECP5, [])


def test_small_memories_are_left_to_synthesis():
    shapes = [MemoryShape("darb_ram", 40, depth, None) for depth in (32, 33)]
    text = primitives_text(ECP5, shapes)
    assert "40 bits x 33 words" in text
    assert "40 bits x 32 words" not in text
