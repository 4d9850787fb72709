# amaranth: UnusedElaboratable=no
import math
import shutil
import subprocess
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from amaranth.back import verilog
from amaranth.hdl import ResetInserter, Signal
from hypothesis import given
from hypothesis import strategies as st

from darb_hw.device.memory import FileMemories
from darb_hw.device.modules import verilog_modules
from darb_hw.engine.cell import CellUnit
from darb_hw.plan.cell_memory import GATES, cell_latency, state_half, state_image, tanh_image
from darb_hw.plan.styles import limbs_of
from tests.hw.amaranth_sim import simulate

TANH = [int(value) for value in np.array(tanh_image().integers(), np.uint16).view(np.int16)]
EXTREMES = (-32768, -32767, -1, 0, 1, 32767)
whole = st.one_of(st.integers(-32768, 32767), st.sampled_from(EXTREMES))
sigmoid = st.one_of(st.integers(0, 32767), st.sampled_from([0, 1, 32767]))


def style(width):
    return limbs_of(width, True, 18)


def lut_style(width):
    return limbs_of(width, False, 18)


def unit_of(kind, state, bits=8, style=style):
    return CellUnit(kind, len(state), bits, state_image(state), tanh_image(), style)


def random_gates(rng, kind, count):
    """Gates in the order of GATES, every third one an extreme; r and z of a GRU as a sigmoid gives them."""
    gates = np.where(
        rng.random((count, 4)) < 0.3, rng.choice(EXTREMES, (count, 4)), rng.integers(-32768, 32768, (count, 4))
    )
    if kind == "gru":
        gates[:, :2] &= 32767
    return gates.tolist()


# The model.


def rounded(value: Fraction) -> int:
    return math.floor(value + Fraction(1, 2))


def clamped(value: int, bits: int) -> int:
    return int(np.clip(value, -(2 ** (bits - 1)), 2 ** (bits - 1) - 1))


@given(whole, whole, whole, whole, whole, st.integers(2, 16))
def test_lstm_model_is_exact_arithmetic_rounded_half_up(i, f, g, o, state, bits):
    """In real numbers: gates are units of 2^-15, c of 2^-11, the index of tanh of 2^-5, h of 2^-(bits - 1)."""
    c = Fraction(f, 2**15) * Fraction(state, 2**11) + Fraction(i, 2**15) * Fraction(g, 2**15)
    c = clamped(rounded(c * 2**11), 16)
    t = Fraction(TANH[128 + clamped(rounded(Fraction(c, 2**11) * 2**5), 8)], 2**15)
    h = clamped(rounded(Fraction(o, 2**15) * t * 2 ** (bits - 1)), bits)
    assert CellUnit.model("lstm", (i, f, g, o), state, bits, TANH) == (c, h)


@given(sigmoid, sigmoid, whole, whole, whole, st.integers(2, 16))
def test_gru_model_is_exact_arithmetic_rounded_half_up(r, z, n_x, n_h, state, bits):
    n = Fraction(n_x, 2**11) + Fraction(r, 2**15) * Fraction(n_h, 2**11)
    n = Fraction(TANH[128 + clamped(rounded(n * 2**5), 8)], 2**15)
    s = n + Fraction(rounded(Fraction(z, 2**15) * (Fraction(state, 2**15) - n) * 2**15), 2**15)
    h = clamped(rounded(s * 2 ** (bits - 1)), bits)
    assert CellUnit.model("gru", (r, z, n_x, n_h), state, bits, TANH) == (int(s * 2**15), h)
    assert -32768 <= s * 2**15 <= 32767


def test_tanh_table():
    assert len(TANH) == 256
    assert (TANH[0], TANH[127], TANH[128], TANH[129], TANH[255]) == (-32746, -1024, 0, 1024, 32745)


# The component.


def corners(kind):
    sigmoids = (0, 32767)
    ranges = [sigmoids, sigmoids] if kind == "gru" else [(-32768, 32767)] * 2
    return [list(gates) for gates in product(*ranges, (-32768, 32767), (-32768, 32767))]


class Driver:
    """Offers one gate value a cycle and collects the outputs with the cycles they come at."""

    def __init__(self, ctx, unit):
        self.ctx, self.unit, self.now = ctx, unit, 0
        self.outputs, self.notices = [], []

    async def cycle(self, unit=None, bank=0, value=0, fire=False, fresh=None):
        ctx, i = self.ctx, self.unit.i
        ctx.set(i.valid, int(unit is not None))
        # What comes with no valid value must not matter, nor whether a step is fresh before and after it fires.
        ctx.set(i.unit, self.now % self.unit.units if unit is None else unit)
        ctx.set(i.bank, bank)
        ctx.set(i.value, value)
        ctx.set(i.fire, int(fire or unit is None))
        ctx.set(self.unit.fresh, int(self.now % 2 if fresh is None else fresh))
        await ctx.tick()
        self.now += 1
        o = self.unit.o
        if ctx.get(self.unit.ahead):
            self.notices.append(self.now + 3)
        if ctx.get(o.valid):
            self.outputs.append((self.now, ctx.get(o.unit), ctx.get(o.value)))

    async def idle(self):
        for _ in range(self.unit.latency):
            await self.cycle()


class Reference:
    """States of all units, and what comes out when."""

    def __init__(self, unit, initial):
        self.unit, self.initial = unit, list(initial)
        self.states = [None] * unit.units
        self.expected = []

    def fires(self, now, unit, gates, fresh):
        state = self.initial[unit] if fresh else self.states[unit]
        self.states[unit], value = CellUnit.model(self.unit.kind, gates, state, self.unit.bits, TANH)
        self.expected.append((now + self.unit.latency, unit, value))


async def run_step(driver, reference, gates, fresh, order, back_to_back):
    """One step of all units: three gates of each first and then the fourth, every cycle; or unit after unit, with
    pauses."""
    final = {}
    for unit in order:
        banks = list(np.random.default_rng(unit + driver.now).permutation(4))
        if back_to_back:
            for bank in banks[:3]:
                await driver.cycle(unit, int(bank), gates[unit][bank])
            final[unit] = int(banks[3])
        else:
            for turn, bank in enumerate(banks):
                await driver.cycle()
                if turn == 3:
                    reference.fires(driver.now, unit, gates[unit], fresh)
                await driver.cycle(unit, int(bank), gates[unit][bank], turn == 3, fresh if turn == 3 else None)
    for unit, bank in final.items():
        reference.fires(driver.now, unit, gates[unit], fresh)
        await driver.cycle(unit, bank, gates[unit][bank], True, fresh)
    await driver.idle()


@pytest.mark.parametrize(("bits", "build"), [(2, style), (5, lut_style), (8, style), (16, style)])
@pytest.mark.parametrize("kind", GATES)
def test_sequences(kind, bits, build):
    rng = np.random.default_rng(bits)
    initial = rng.integers(-32768, 32768, 11).tolist()
    unit = unit_of(kind, initial, bits, build)
    reference = Reference(unit, initial)

    async def bench(ctx):
        driver = Driver(ctx, unit)
        for step in range(6):
            gates = random_gates(rng, kind, unit.units)
            order = rng.permutation(unit.units).tolist()
            await run_step(driver, reference, gates, step in (0, 4), order, back_to_back=step % 2 == 0)
        assert driver.outputs == reference.expected
        assert driver.notices == [now for now, *_ in driver.outputs]
        assert len(driver.outputs) == 6 * unit.units

    simulate(unit, bench)


@pytest.mark.parametrize("kind", GATES)
@pytest.mark.parametrize("bits", [2, 16])
def test_corners_of_16_bits(kind, bits):
    """All gates and the state at the ends of their ranges; every unit is one corner."""
    gates = [corner for corner in corners(kind) for _ in range(3)]
    initial = [-32768, 0, 32767] * (len(gates) // 3)
    unit = unit_of(kind, initial, bits)
    reference = Reference(unit, initial)

    async def bench(ctx):
        driver = Driver(ctx, unit)
        for step in range(3):
            await run_step(driver, reference, gates, step != 1, list(range(unit.units)), back_to_back=True)
        assert driver.outputs == reference.expected

    simulate(unit, bench)


@pytest.mark.parametrize("kind", GATES)
def test_ends_of_the_table(kind):
    """Values of which the table has just an entry, and just none; every unit is one of them."""
    near = [*range(-8290, -8190, 3), *range(8130, 8200, 3), 8159, 8160, -8224, -8225]
    # What remains of c, and then goes into the table; n_x alone.
    gates = [(0, 32767, 0, 32767) if kind == "lstm" else (0, 0, value, 0) for value in near]
    unit = unit_of(kind, near, 16)
    reference = Reference(unit, near)

    async def bench(ctx):
        driver = Driver(ctx, unit)
        await run_step(driver, reference, gates, True, list(range(unit.units)), back_to_back=True)
        assert driver.outputs == reference.expected

    simulate(unit, bench)


@pytest.mark.parametrize("kind", GATES)
@pytest.mark.parametrize("units", [1, 2, 4])
def test_a_unit_fires_again_after_its_output(kind, units):
    """As soon as it may: the first gate of the next step in the cycle of the output."""
    rng = np.random.default_rng(units)
    initial = [1000 * (unit_number + 1) for unit_number in range(units)]
    unit = unit_of(kind, initial)
    reference = Reference(unit, initial)

    async def bench(ctx):
        driver = Driver(ctx, unit)
        for turn in range(8):
            (gates,) = random_gates(rng, kind, 1)
            unit_number, fresh = turn % units, turn < units
            for bank in range(4):
                if bank == 3:
                    reference.fires(driver.now, unit_number, gates, fresh)
                await driver.cycle(unit_number, bank, gates[bank], bank == 3, fresh if bank == 3 else None)
            for _ in range(unit.latency - 1):
                await driver.cycle()
        await driver.idle()
        assert driver.outputs == reference.expected
        assert driver.notices == [now for now, *_ in driver.outputs]

    simulate(unit, bench)


@pytest.mark.parametrize("kind", GATES)
def test_reset_in_the_middle(kind):
    """Nothing of what was in flight comes out, and a new sequence starts from the initial state."""
    rng = np.random.default_rng(5)
    initial = [-20000, 5, 20000]
    unit, reset = unit_of(kind, initial), Signal()

    async def bench(ctx):
        for wait in (1, 2, 3, *range(4, unit.latency - 2, 4), *range(unit.latency - 2, unit.latency + 2)):
            driver, reference = Driver(ctx, unit), Reference(unit, initial)
            for bank in range(4):
                await driver.cycle(1, bank, 12345, fire=bank == 3)
            for _ in range(wait - 1):
                await driver.cycle()
            before = len(driver.outputs)
            assert before == (wait >= unit.latency)
            ctx.set(reset, 1)
            await driver.cycle()
            ctx.set(reset, 0)
            await driver.idle()
            assert len(driver.outputs) == before
            driver = Driver(ctx, unit)
            for fresh in (True, False):
                await run_step(driver, reference, random_gates(rng, kind, 3), fresh, [2, 0, 1], back_to_back=True)
            assert driver.outputs == reference.expected

    simulate(ResetInserter(reset)(unit), bench)


@pytest.mark.parametrize("kind", GATES)
@pytest.mark.parametrize("build", [style, lut_style])
def test_latency_is_known_before_the_component(kind, build):
    assert unit_of(kind, [0], style=build).latency == cell_latency(kind, build)


@pytest.mark.parametrize("units", [1, 2, 3, 8])
def test_initial_states_are_behind_the_states(units):
    image = state_image(range(1, units + 1))
    half = state_half(units)
    assert half >= units
    assert half & (half - 1) == 0
    assert image.integers() == [0] * half + list(range(1, units + 1))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "rnn"}, "unknown kind of cell 'rnn': choose one of lstm, gru"),
        ({"bits": 17}, "cell outputs of 17 bits: choose 2 to 16"),
        ({"bits": 1}, "cell outputs of 1 bits"),
        ({"units": 4}, "image cell_state: not the initial state of 4 units"),
        ({"tanh": state_image([0])}, "image cell_state: the table of tanh has 256 entries of 16 bits"),
    ],
)
def test_bad_parameters(changes, message):
    good = {"kind": "lstm", "units": 3, "bits": 8, "state": state_image([0] * 3), "tanh": tanh_image(), "style": style}
    with pytest.raises(ValueError, match=message):
        CellUnit(**good | changes)


BENCH = """
module bench;
    reg clk = 0;
    reg [@WIDTH-1:0] beats [0:@BEATS-1];
    reg [@WIDTH-1:0] beat;
    wire [@OUT-1:0] o;
    integer n;
    cell_unit dut(.clk(clk), .rst(1'b0), .fresh(beat[@WIDTH-1]), .i(beat[@WIDTH-2:0]), .o(o));
    initial begin
        $readmemh("beats.hex", beats);
        for (n = 0; n < @BEATS; n = n + 1) begin
            beat = beats[n];
            #1 clk = 1; #1 clk = 0;
            if (o[0]) $display("%0d %h", n + 1, o);
        end
    end
endmodule
"""


@pytest.mark.simulator
@pytest.mark.parametrize("kind", GATES)
def test_verilog(kind, tmp_path):
    """The generated Verilog in Icarus, with the states of its file: three units, two steps."""
    if shutil.which("iverilog") is None:
        pytest.skip("Icarus Verilog is not installed")
    rng = np.random.default_rng(9)
    initial = [-20000, 5, 20000]
    unit = unit_of(kind, initial, 9)
    reference = Reference(unit, initial)
    layout, beats = unit.i.shape(), []
    for fresh in (True, False):
        gates = random_gates(rng, kind, 3)
        for bank, unit_number in product(range(4), range(3)):
            beat = {"valid": 1, "fire": bank == 3, "bank": bank, "unit": unit_number, "value": gates[unit_number][bank]}
            if bank == 3:
                reference.fires(len(beats), unit_number, gates[unit_number], fresh)
            beats.append(fresh << layout.size | layout.const(beat).as_bits())
        beats += [0] * unit.latency
    bench = BENCH.replace("@BEATS", str(len(beats))).replace("@WIDTH", str(layout.size + 1))
    bench = bench.replace("@OUT", str(unit.o.shape().size))
    text = verilog.convert(unit, name="cell_unit", platform=FileMemories(), emit_src=False)
    (tmp_path / "all.v").write_text(text + verilog_modules() + bench)
    (tmp_path / "beats.hex").write_text("".join(f"{beat:x}\n" for beat in beats))
    (tmp_path / "rom").mkdir()
    for image in (unit.state, unit.tanh):
        (tmp_path / "rom" / f"{image.name}.hex").write_text(image.hex())
    subprocess.run(["iverilog", "-g2005-sv", "-s", "bench", "-o", "bench", "all.v"], cwd=tmp_path, check=True)
    out = subprocess.run(["vvp", "bench"], cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    got = []
    for line in out.splitlines():
        cycle, word = line.split()
        o = unit.o.shape().from_bits(int(word, 16))
        got.append((int(cycle), o.unit, o.value))
    assert got == reference.expected
