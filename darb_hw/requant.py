"""From accumulator to result, by the parameters of the row (formulas: class docstring)."""

from amaranth.hdl import Const, Module, Mux, Signal, signed
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from darb_hw.memory import Ram, Rom
from darb_hw.multiplier import Multiplier
from darb_hw.pipeline import delay
from darb_hw.plan import Plan
from darb_hw.planned import Planned
from darb_hw.sequencer import context_layout

__all__ = ["Requantiser", "result_layout"]


def result_layout(plan: Plan) -> data.StructLayout:
    """A result: where it goes (``roms.INSIDE``, ``OUTPUT`` or ``GATE``, and the address there, of a gate the number of
    its unit), its value; of a gate, which one it is, and whether it is the last of its unit."""
    fields = {"valid": 1, "target": 2, "address": plan.widths.target, "value": signed(plan.widths.value)}
    if plan.network.cells:
        fields |= {"bank": 2, "fire": 1}
    return data.StructLayout(fields)


class Requantiser(Planned):
    """One row a cycle::

        v = ((acc + bias) * mult + (1 << (shift - 1))) >> shift
        v = function[clamp(v, -128, 127) + 128]             if the row has a function
        v = v + operand                                     if the row has an operand
        y = clamp(v, qmin, qmax)
        y = max(y, what is there)                           if the pass asks for it

    Rows come in the order of the schedule, so their parameters are read one after another, those of a group once for
    each of its passes.

    Parameters
    ----------
    plan : Plan

    Members
    -------
    restart : In(1)
        The next row is the first of the program again.
    valid, opening, value, context : In
        An accumulator; whether it is the first of its pass; what the sequencer said of the pass.
    read_address : Out(unsigned)
        Where operand or old value are in the activation memory.
    read_data : In(signed)
        Its contents, ``Ram.latency`` cycles later.
    result : Out(result_layout(plan))
        ``latency`` cycles later.
    """

    def __init__(self, plan: Plan):
        super().__init__(
            plan,
            {
                "restart": In(1),
                "valid": In(1),
                "opening": In(1),
                "value": In(signed(plan.widths.accumulator)),
                "context": In(context_layout(plan)),
                "read_address": Out(plan.widths.address),
                "read_data": In(signed(plan.widths.activation)),
                "result": Out(result_layout(plan)),
            },
        )

    @property
    def latency(self) -> int:
        return self._plan.latency.requant

    @staticmethod
    def model(
        value: int,
        bias: int,
        mult: int,
        shift: int,
        qmin: int,
        qmax: int,
        function: list[int] | None = None,
        operand: int = 0,
        old: int | None = None,
    ) -> int:
        value = ((value + bias) * mult + (1 << (shift - 1))) >> shift
        if function is not None:
            value = function[min(max(value, -128), 127) + 128]
        value = min(max(value + operand, qmin), qmax)
        return value if old is None else max(value, old)

    def elaborate(self, platform):
        m = Module()
        plan, widths, latency = self._plan, self._plan.widths, self._plan.latency
        m.submodules.rows = rom = Rom(plan.images["rows"])
        m.d.comb += rom.address.eq(self._row(m, rom))
        names = "bias", "mult", "shift", "function", "clamp", "target", "address", "aux", "operand", "bank", "fire"
        parameter = {name: rom.field(name) for name in names}
        passing = {
            name: delay(m, self.context[name], rom.latency, name)
            for name in self.context.shape().members
            if name in ("write", "aux", "maximum")
        }

        value = delay(m, self.value, rom.latency, "value")
        biased = Signal(signed(widths.biased), reset_less=True)
        m.d.sync += biased.eq(value + parameter["bias"])
        mult = delay(m, parameter["mult"], 1, "mult")

        # The operand that is cut into limbs is the wide one on DSP blocks, the short one on LUTs.
        dsp = plan.requant_style.dsp
        wide, short = widths.biased, widths.mult + 1
        m.submodules.multiplier = multiplier = Multiplier(
            short if dsp else wide, wide if dsp else short, plan.requant_style
        )
        a, b = (mult, biased) if dsp else (biased, mult)
        m.d.comb += [multiplier.a.eq(a), multiplier.b.eq(b)]

        # (p + 2**(s-1)) >> s == ((p >> (s-1)) + 1) >> 1: the rounding constant need not be shifted.
        at = 1 + multiplier.latency
        shift = delay(m, parameter["shift"], at, "shift")
        shifted = Signal(signed(max(2, wide + short - (plan.shift_base - 1))), reset_less=True)
        m.d.sync += shifted.eq((multiplier.o >> (plan.shift_base - 1)) >> shift)
        rounded = Signal(signed(len(shifted)), reset_less=True)
        m.d.sync += rounded.eq((shifted + 1) >> 1)
        at += 2
        assert latency.round == rom.latency + at

        value = rounded
        if latency.functions:
            value = self._function(m, value, delay(m, parameter["function"], at, "function"))
            at += latency.function
        if latency.operand or latency.maximum:
            # The address is presented so that its contents arrive with the value.
            address = Signal(widths.address, reset_less=True)
            m.d.sync += address.eq(parameter["aux"] + passing["aux"])
            m.d.comb += self.read_address.eq(delay(m, address, at - 1 - Ram.latency, "read_address"))
        old = self.read_data
        if latency.operand:
            operand = delay(m, parameter["operand"], at, "operand")
            total = Signal(signed(max(len(value), widths.activation) + 1), reset_less=True)
            m.d.sync += total.eq(value + Mux(operand, old, 0))
            value, old, at = total, delay(m, old, 1, "old"), at + 1

        clamp = delay(m, parameter["clamp"], at, "clamp")
        # Nested multiplexers and no Array: its Verilog is a block that Icarus runs only when ``clamp`` changes.
        low, high = (Const(bound, signed(17)) for bound in plan.clamps[0])
        for number, (qmin, qmax) in enumerate(plan.clamps[1:], 1):
            low = Mux(clamp == number, Const(qmin, signed(17)), low)
            high = Mux(clamp == number, Const(qmax, signed(17)), high)
        clamped = Signal(signed(widths.value), reset_less=True)
        m.d.sync += clamped.eq(Mux(value < low, low, Mux(value > high, high, value)))
        value, at = clamped, at + 1
        if latency.maximum:
            maximum = delay(m, passing["maximum"], at, "maximum")
            old = delay(m, old, 1, "old_clamped")
            largest = Signal(signed(widths.value), reset_less=True)
            m.d.sync += largest.eq(Mux(maximum & (old > value), old, value))
            value, at = largest, at + 1

        assert self.latency == rom.latency + at
        result, moved = self.result, parameter["address"]
        if "write" in passing:
            target = Signal(widths.target, reset_less=True)
            m.d.sync += target.eq(parameter["address"] + passing["write"])
            moved = target
        m.d.comb += [
            result.valid.eq(delay(m, self.valid, self.latency, "valid", control=True)),
            result.target.eq(delay(m, parameter["target"], at, "target")),
            result.address.eq(delay(m, moved, at - ("write" in passing), "address")),
            result.value.eq(value),
        ]
        if plan.network.cells:
            m.d.comb += [
                result.bank.eq(delay(m, parameter["bank"], at, "bank")),
                result.fire.eq(delay(m, parameter["fire"], at, "fire")),
            ]
        return m

    def _row(self, m: Module, rom: Rom):
        """Number of the row: the next one; after a pass that is to come again, the first of the group."""
        row = Signal.like(rom.address)
        with m.If(self.valid):
            m.d.sync += row.eq(row + 1)
        if not self._plan.walks:
            with m.If(self.restart):
                m.d.sync += row.eq(0)
            return row
        first, again = Signal.like(row), Signal()
        number = Signal.like(row)
        m.d.comb += number.eq(Mux(self.opening & again, first, row))
        with m.If(self.valid):
            m.d.sync += row.eq(number + 1)
        with m.If(self.opening):
            m.d.sync += [first.eq(number), again.eq(self.context.again)]
        with m.If(self.restart):
            m.d.sync += [row.eq(0), again.eq(0)]
        return number

    def _function(self, m: Module, value, function):
        """The entry of the table that the row names, or the value itself; three cycles later."""
        plan = self._plan
        m.submodules.functions = table = Rom(plan.images["functions"])
        index = Signal(8, reset_less=True)
        m.d.sync += index.eq(Mux(value < -128, 0, Mux(value > 127, 255, value[:8] ^ 0x80)))
        number = Signal(range(max(len(plan.network.functions), 2)), reset_less=True)
        m.d.sync += number.eq(function - 1)
        m.d.comb += table.address.eq(index | (number << 8))
        found, plain = table.field("value"), delay(m, value, 3, "plain")
        chosen = delay(m, function != 0, 3, "chosen")
        assert plan.latency.function == 1 + table.latency
        return Mux(chosen, found, plain)
