"""Requantisation: accumulator -> activation, by the parameters of the row (formula: class docstring)."""

from amaranth.hdl import Const, Module, Mux, Signal, signed
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from darb_hw.memory import Rom
from darb_hw.multiplier import Multiplier
from darb_hw.pipeline import delay
from darb_hw.plan import Plan
from darb_hw.planned import Planned

__all__ = ["Requantiser", "result_layout"]


def result_layout(plan: Plan) -> data.StructLayout:
    """A finished row: where it goes (output buffer or activation memory), its value, and whether it is the
    last one of the inference."""
    address = max([field.width for field in plan.images["rows"].fields if field.name == "address"], default=1)
    value = max(plan.widths.activation, plan.widths.output)
    return data.StructLayout({"valid": 1, "last": 1, "output": 1, "address": address, "value": signed(value)})


class Requantiser(Planned):
    """``y = clamp(((acc + bias) * mult + (1 << (shift - 1))) >> shift, qmin, qmax)``, one row a cycle.

    Rows come in the order of the schedule, so their parameters are read one after another.

    Parameters
    ----------
    plan : Plan

    Members
    -------
    valid, value : In
        An accumulator.
    result : Out(result_layout(plan))
        ``latency`` cycles later.
    """

    def __init__(self, plan: Plan):
        super().__init__(
            plan,
            {
                "valid": In(1),
                "value": In(signed(plan.widths.accumulator)),
                "result": Out(result_layout(plan)),
            },
        )

    @property
    def latency(self) -> int:
        return self._plan.latency.requant

    @staticmethod
    def model(value: int, bias: int, mult: int, shift: int, qmin: int, qmax: int) -> int:
        return min(max(((value + bias) * mult + (1 << (shift - 1))) >> shift, qmin), qmax)

    def elaborate(self, platform):
        m = Module()
        plan, widths = self._plan, self._plan.widths
        m.submodules.rows = rom = Rom(plan.images["rows"])
        row = Signal.like(rom.address)
        final = Signal()
        m.d.comb += [rom.address.eq(row), final.eq(row == rom.image.depth - 1)]
        with m.If(self.valid):
            m.d.sync += row.eq(Mux(final, 0, row + 1))
        bias, mult, shift, clamp, output, address = (
            rom.field(name) for name in ("bias", "mult", "shift", "clamp", "output", "address")
        )

        value = delay(m, self.value, rom.latency, "value")
        biased = Signal(signed(widths.biased), reset_less=True)
        m.d.sync += biased.eq(value + bias)
        mult = delay(m, mult, 1, "mult")

        # The operand that is cut into limbs is the wide one on DSP blocks, the short one on LUTs.
        dsp = plan.requant_style.dsp
        wide, short = widths.biased, widths.mult + 1
        m.submodules.multiplier = multiplier = Multiplier(
            short if dsp else wide, wide if dsp else short, plan.requant_style
        )
        a, b = (mult, biased) if dsp else (biased, mult)
        m.d.comb += [multiplier.a.eq(a), multiplier.b.eq(b)]

        # (p + 2**(s-1)) >> s == ((p >> (s-1)) + 1) >> 1: the rounding constant need not be shifted.
        after = 1 + multiplier.latency
        shift = delay(m, shift, after, "shift")
        shifted = Signal(signed(max(2, wide + short - (plan.shift_base - 1))), reset_less=True)
        m.d.sync += shifted.eq((multiplier.o >> (plan.shift_base - 1)) >> shift)
        rounded = Signal(signed(len(shifted)), reset_less=True)
        m.d.sync += rounded.eq((shifted + 1) >> 1)

        clamp = delay(m, clamp, after + 2, "clamp")
        # Nested multiplexers and no Array: its Verilog is a block that Icarus runs only when ``clamp`` changes.
        low, high = (Const(bound, signed(17)) for bound in plan.clamps[0])
        for number, (qmin, qmax) in enumerate(plan.clamps[1:], 1):
            low = Mux(clamp == number, Const(qmin, signed(17)), low)
            high = Mux(clamp == number, Const(qmax, signed(17)), high)
        result = self.result
        m.d.sync += result.value.eq(Mux(rounded < low, low, Mux(rounded > high, high, rounded)))

        assert self.latency == rom.latency + after + 3
        m.d.comb += [
            result.valid.eq(delay(m, self.valid, self.latency, "valid", control=True)),
            result.last.eq(delay(m, self.valid & final, self.latency, "last", control=True)),
            result.output.eq(delay(m, output, after + 3, "output")),
            result.address.eq(delay(m, address, after + 3, "address")),
        ]
        return m
