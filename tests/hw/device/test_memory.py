# amaranth: UnusedElaboratable=no
import re
import shutil
import subprocess

import numpy as np
import pytest

from darb_hw.config import DEVICES
from darb_hw.device.memory import FileMemories, MemoryShape, PairedRam, Ram, Rom, SharedRam, SingleRam
from darb_hw.device.modules import verilog_modules
from darb_hw.device.multiplier import Multiplier
from darb_hw.device.pipeline import Copy
from darb_hw.device.primitives import primitives_text
from darb_hw.device.verilog import verilog_of
from darb_hw.plan.image import Field, pack
from darb_hw.plan.styles import limbs_of
from sim.netlist import cell_models
from tests.hw.amaranth_sim import simulate


@pytest.mark.parametrize("copies", [1, 3])
def test_rom_gives_its_fields_after_its_latency(copies):
    rng = np.random.default_rng(copies)
    signed, unsigned = rng.integers(-16, 16, (20, copies)), rng.integers(0, 8, (20, copies))
    rom = Rom(pack("r", {Field("a", 3): unsigned, Field("b", 5, True): signed, Field("none", 0): 0 * signed}, copies))
    addresses = [int(n) for n in rng.integers(0, 20, 40)]

    async def bench(ctx):
        got = []
        for address in addresses + [0] * rom.latency:
            ctx.set(rom.address, address)
            await ctx.tick()
            got.append(
                [(ctx.get(rom.data[i].a), ctx.get(rom.data[i].b), ctx.get(rom.field("none", i))) for i in range(copies)]
            )
        expected = [[(int(unsigned[n, i]), int(signed[n, i]), 0) for i in range(copies)] for n in addresses]
        assert got[rom.latency - 1 :][: len(addresses)] == expected

    simulate(rom, bench)


async def fill(ctx, ram, values):
    for address, value in enumerate(values):
        ctx.set(ram.write_enable, 1)
        ctx.set(ram.write_address, address)
        ctx.set(ram.write_data, value)
        await ctx.tick()
    ctx.set(ram.write_enable, 0)


def test_ram_holds_while_reading_is_off():
    ram = Ram(9, 5)

    async def bench(ctx):
        await fill(ctx, ram, range(100, 105))
        ctx.set(ram.read_enable, 1)
        ctx.set(ram.output_enable, 1)
        ctx.set(ram.read_address, 3)
        for _ in range(ram.latency):
            await ctx.tick()
        assert ctx.get(ram.read_data) == 103
        ctx.set(ram.read_enable, 0)
        ctx.set(ram.output_enable, 0)
        ctx.set(ram.read_address, 1)
        for _ in range(5):
            await ctx.tick()
            assert ctx.get(ram.read_data) == 103
        ctx.set(ram.read_enable, 1)
        ctx.set(ram.output_enable, 1)
        await ctx.tick()
        assert ctx.get(ram.read_data) == 103
        await ctx.tick()
        assert ctx.get(ram.read_data) == 101

    simulate(ram, bench)


def test_each_stage_of_a_ram_holds_on_its_own():
    """The enables at random, against two registers in a row: what the first one took stays while the second moves on,
    and the other way round."""
    values = [100 + address for address in range(5)]
    ram, rng = Ram(9, 5), np.random.default_rng(3)

    async def bench(ctx):
        await fill(ctx, ram, values)
        ctx.set(ram.read_enable, 1)
        ctx.set(ram.output_enable, 1)
        ctx.set(ram.read_address, 0)
        for _ in range(ram.latency):
            await ctx.tick()
        fetched = given = values[0]
        seen = set()
        for _ in range(200):
            read, output, address = (int(rng.integers(0, limit)) for limit in (2, 2, 5))
            ctx.set(ram.read_enable, read)
            ctx.set(ram.output_enable, output)
            ctx.set(ram.read_address, address)
            await ctx.tick()
            given = fetched if output else given
            fetched = values[address] if read else fetched
            assert ctx.get(ram.read_data) == given
            seen.add((read, output))
        assert len(seen) == 4

    simulate(ram, bench)


def image_of(depth: int, seed: int = 0):
    values = np.random.default_rng(seed).integers(-256, 256, depth)
    return values.tolist(), pack("start", {Field("value", 9, True): values})


def test_ram_starts_with_its_image():
    values, image = image_of(5)
    ram = Ram(9, 5, image)

    async def bench(ctx):
        ctx.set(ram.write_enable, 1)
        ctx.set(ram.write_address, 2)
        ctx.set(ram.write_data, 77)
        await ctx.tick()
        ctx.set(ram.write_enable, 0)
        ctx.set(ram.read_enable, 1)
        ctx.set(ram.output_enable, 1)
        got = []
        for address in [*range(5)] + [0] * ram.latency:
            ctx.set(ram.read_address, address)
            await ctx.tick()
            got.append(ctx.get(ram.read_data))
        assert got[ram.latency - 1 :][:5] == [77 if address == 2 else v % 512 for address, v in enumerate(values)]

    simulate(ram, bench)


def test_ram_refuses_an_image_of_another_shape():
    _, image = image_of(5)
    for width, depth in ((9, 6), (8, 5)):
        with pytest.raises(ValueError, match=f"image start: 5 words of 9 bits do not fill a memory of {depth} words"):
            Ram(width, depth, image)
        with pytest.raises(ValueError, match=f"do not fill a memory of {depth} words"):
            SharedRam(width, depth, image)


@pytest.mark.simulator
def test_verilog_ram_reads_its_file(tmp_path):
    """The file that the Verilog names, through Icarus: contents at power-up, then what was written."""
    if shutil.which("iverilog") is None:
        pytest.skip("Icarus Verilog is not installed")
    values, image = image_of(5)
    text = verilog_of(Ram(9, 5, image), "ram", FileMemories())
    assert "FILE" not in verilog_of(Ram(9, 5), "ram", FileMemories())
    (tmp_path / "rom").mkdir()
    (tmp_path / "rom" / "start.hex").write_text(image.hex())
    bench = """
module bench;
    reg clk = 0, write = 1;
    reg [2:0] address = 0;
    wire [8:0] data;
    ram dut(.clk(clk), .rst(1'b0), .write_enable(write), .write_address(3'd2), .write_data(9'd77),
            .read_enable(1'b1), .output_enable(1'b1), .read_address(address), .read_data(data));
    integer i;
    initial begin
        #1 clk = 1; #1 clk = 0; write = 0;
        for (i = 0; i < 5; i = i + 1) begin
            address = i;
            repeat (2) begin #1 clk = 1; #1 clk = 0; end
            $display("%d", data);
        end
    end
endmodule
"""
    (tmp_path / "all.v").write_text(text + verilog_modules() + bench)
    subprocess.run(["iverilog", "-g2005-sv", "-s", "bench", "-o", "bench", "all.v"], cwd=tmp_path, check=True)
    out = subprocess.run(["vvp", "bench"], cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    assert [int(v) for v in out.split()] == [77 if address == 2 else v % 512 for address, v in enumerate(values)]


def test_two_banks_have_one_address():
    """A cycle writes one bank, or both, or reads both; in any order."""
    ram, rng = PairedRam(5, 6), np.random.default_rng(0)
    expected = np.zeros((2, 6), int)
    cycles = [(enable, int(rng.integers(6)), rng.integers(32, size=2)) for enable in rng.integers(0, 4, 80).tolist()]

    async def bench(ctx):
        reads = []
        for cycle, (enable, address, values) in enumerate(cycles + [(3, 0, np.zeros(2, int))] * ram.latency):
            ctx.set(ram.write_enable, enable)
            ctx.set(ram.address, address)
            ctx.set(ram.write_data, int(values[0]) | int(values[1]) << 5)
            reads.append(expected[:, address].copy() if not enable else None)
            for bank in range(2):
                if enable >> bank & 1:
                    expected[bank, address] = values[bank]
            await ctx.tick()
            read = reads[cycle - ram.latency + 1] if cycle >= ram.latency - 1 else None
            if read is not None:
                assert ctx.get(ram.read_data) == read[0] | read[1] << 5

    simulate(ram, bench)


@pytest.mark.simulator
@pytest.mark.parametrize("primitive", [False, True])
def test_verilog_of_two_banks(primitive, tmp_path):
    """The plain module, and the one of the UltraPlus with Yosys's model of its RAM, do the same. What nobody has
    written is unknown."""
    if shutil.which("iverilog") is None:
        pytest.skip("Icarus Verilog is not installed")
    text = verilog_of(PairedRam(7, 300), "ram", FileMemories())
    if primitive:
        shape = MemoryShape("darb_paired_ram", 7, 300, None)
        text += cell_models("ice40") + (primitives_text(DEVICES["ice40-up5k"], [shape]) or "")
    else:
        text += verilog_modules()
    bench = """
module bench;
    reg clk = 0;
    reg [1:0] write;
    reg [8:0] address;
    reg [13:0] in;
    wire [13:0] data;
    ram dut(.clk(clk), .rst(1'b0), .write_enable(write), .address(address), .write_data(in), .read_data(data));
    task cycle(input [1:0] enable, input [8:0] at, input [13:0] value);
        begin
            write = enable; address = at; in = value;
            #1 clk = 1; #1 clk = 0;
        end
    endtask
    initial begin
        cycle(0, 290, 0); cycle(3, 290, {7'd11, 7'd22}); $display("%h", data);
        cycle(1, 290, {7'd33, 7'd44}); cycle(2, 5, {7'd55, 7'd66}); cycle(1, 5, {7'd77, 7'd88});
        cycle(0, 290, 0); cycle(0, 5, 0); $display("%0d %0d", data[13:7], data[6:0]);
        cycle(3, 290, 0); $display("%0d %0d", data[13:7], data[6:0]);
    end
endmodule
"""
    (tmp_path / "all.v").write_text(text + bench)
    subprocess.run(["iverilog", "-g2005-sv", "-s", "bench", "-o", "bench", "all.v"], cwd=tmp_path, check=True)
    out = subprocess.run(["vvp", "bench"], cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    assert out.splitlines() == ["xxxx", "11 44", "55 88"]


@pytest.mark.simulator
@pytest.mark.parametrize("primitive", [False, True])
def test_verilog_of_one_port(primitive, tmp_path):
    """The plain module, and that of the UltraPlus with RAMs beside and behind each other, do the same: a cycle writes
    or reads."""
    if shutil.which("iverilog") is None:
        pytest.skip("Icarus Verilog is not installed")
    rng, shape = np.random.default_rng(2), MemoryShape("darb_single_ram", 21, 20_000, None)
    text = verilog_of(SingleRam(shape.width, shape.depth), "ram", FileMemories())
    if primitive:
        made = primitives_text(DEVICES["ice40-up5k"], [shape]) or ""
        text += cell_models("ice40") + made
    else:
        text += verilog_modules()
    places = [0, 1, 16383, 16384, 19_999, *rng.integers(0, 20_000, 5).tolist()]
    values = rng.integers(0, 1 << 21, len(places)).tolist()
    writes = "".join(f"cycle(1, {place}, {value}, 3); " for place, value in zip(places, values, strict=True))
    reads = "".join(f'cycle(0, 7, 0, {place}); cycle(0, 7, 0, 0); $display("%0d", data); ' for place in places)
    bench = f"""
module bench;
    reg clk = 0;
    reg write;
    reg [14:0] at, from;
    reg [20:0] in;
    wire [20:0] data;
    ram dut(.clk(clk), .rst(1'b0), .write_enable(write), .write_address(at), .write_data(in), .read_address(from),
            .read_data(data));
    task cycle(input enable, input [14:0] to, input [20:0] value, input [14:0] place);
        begin
            write = enable; at = to; in = value; from = place;
            #1 clk = 1; #1 clk = 0;
        end
    endtask
    initial begin
        {writes}
        {reads}
    end
endmodule
"""
    (tmp_path / "all.v").write_text(text + bench)
    subprocess.run(["iverilog", "-g2005-sv", "-s", "bench", "-o", "bench", "all.v"], cwd=tmp_path, check=True)
    out = subprocess.run(["vvp", "bench"], cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    held = dict(zip(places, values, strict=True))
    assert [int(line) for line in out.split()] == [held[place] for place in places]


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize(("filled", "single"), [("beside", 0), ("over", 0), ("over", 7), ("over", 12)])
def test_roms_that_are_filled(filled, single, late):
    """Words that come are read in the place of the image's, from whatever memories their bits are in."""
    rng = np.random.default_rng(3)
    image = pack("r", {Field("a", 12): rng.integers(0, 4096, 9)})
    rom, words = Rom(image, late=late, filled=filled, single=single), rng.integers(0, 4096, 9).tolist()

    async def read(ctx):
        given = []
        for address in [*range(9), *[0] * (rom.latency + late)]:
            ctx.set(rom.address, address)
            given.append(ctx.get(rom.field("a")))
            await ctx.tick()
        return given[rom.latency + late :]

    async def bench(ctx):
        if not single:
            assert await read(ctx) == image.field("a").tolist()
        for address, word in enumerate(words):
            ctx.set(rom.write_enable, 1)
            ctx.set(rom.write_address, address)
            ctx.set(rom.write_data, word)
            await ctx.tick()
        ctx.set(rom.write_enable, 0)
        if filled == "beside":
            assert await read(ctx) == image.field("a").tolist()
            ctx.set(rom.bank, 1)
        assert await read(ctx) == words

    simulate(rom, bench)


def test_verilog_modules_have_the_ports_of_the_components():
    text = verilog_modules()
    rom = Rom(pack("r", {Field("a", 4): np.arange(4)}))
    multiplier = Multiplier(4, 4, limbs_of(4, True, 18))
    components = {
        "ram": Ram(4, 4),
        "shared_ram": SharedRam(4, 4),
        "paired_ram": PairedRam(4, 4),
        "single_ram": SingleRam(4, 4),
        "rom": rom,
        "multiply": multiplier,
    }
    components["copy"] = Copy()
    for module, component in components.items():
        (head,) = re.findall(rf"module darb_{module} #\([^)]*\) \((.*?)\);", text, flags=re.DOTALL)
        ports = set(re.findall(r"(\w+)(?:,|$)", head.strip(), flags=re.MULTILINE))
        assert ports == {"clk", *component.signature.members}
