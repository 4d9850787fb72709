# amaranth: UnusedElaboratable=no
import re

import numpy as np
import pytest
from hw.amaranth_sim import simulate

from darb_hw.image import Field, pack
from darb_hw.memory import Ram, Rom, verilog_modules


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


def test_ram_holds_while_reading_is_off():
    ram = Ram(9, 5)

    async def bench(ctx):
        for address in range(5):
            ctx.set(ram.write_enable, 1)
            ctx.set(ram.write_address, address)
            ctx.set(ram.write_data, 100 + address)
            await ctx.tick()
        ctx.set(ram.write_enable, 0)
        ctx.set(ram.read_enable, 1)
        ctx.set(ram.read_address, 3)
        for _ in range(ram.latency):
            await ctx.tick()
        assert ctx.get(ram.read_data) == 103
        ctx.set(ram.read_enable, 0)
        ctx.set(ram.read_address, 1)
        for _ in range(5):
            await ctx.tick()
            assert ctx.get(ram.read_data) == 103
        ctx.set(ram.read_enable, 1)
        await ctx.tick()
        assert ctx.get(ram.read_data) == 103
        await ctx.tick()
        assert ctx.get(ram.read_data) == 101

    simulate(ram, bench)


def test_verilog_modules_have_the_ports_of_the_components():
    text = verilog_modules()
    for module, component in (("ram", Ram(4, 4)), ("rom", Rom(pack("r", {Field("a", 4): np.arange(4)})))):
        (head,) = re.findall(rf"module darb_{module} #\([^)]*\) \((.*?)\);", text, flags=re.DOTALL)
        ports = set(re.findall(r"(\w+)(?:,|$)", head.strip(), flags=re.MULTILINE))
        assert ports == {"clk", *component.signature.members}
